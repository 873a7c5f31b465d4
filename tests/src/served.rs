//! `potluck serve` of a test, and a client that shows every byte.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::circle::{PATIENCE, Program};
use crate::{Device, Output, Pinned};

/// A device that serves programs. It ends with this.
pub struct Served {
    program: Program,
    device: Device,
    client: Client,
    /// What it said when it was ready.
    pub ready: Value,
}

/// Whoever asks it something.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    /// The text of the token file; none if everybody is let in.
    token: Option<String>,
    /// How it is spoken to by TLS.
    tls: Option<Arc<Pinned>>,
}

/// A connection to it.
pub trait Connection: Read + io::Write + Send {}

impl<T: Read + io::Write + Send> Connection for T {}

impl Deref for Served {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Served {
    /// Starts it, with these options.
    ///
    /// # Panics
    /// When it does not say that it is ready.
    pub fn start(device: Device, options: &[&str]) -> Self {
        device.remember_measurements(crate::circle::measurements());
        let always = [
            "serve",
            "--http",
            "127.0.0.1:0",
            "--json",
            "--no-mdns",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
        ];
        let command = device.command(always.iter().chain(options));
        let mut program = Program::start("serve", command);
        let ready = program.json();
        let address = ready["http"].as_str().expect("an address");
        let address = address.strip_prefix("http://").expect("an address");
        let file = ready["token_file"].as_str().map(PathBuf::from);
        let token = file.map(|file| std::fs::read_to_string(file).expect("a token file"));
        Self {
            program,
            device,
            client: Client {
                address: address.parse().expect("an address"),
                token: token.map(|token| token.trim().to_owned()),
                tls: None,
            },
            ready,
        }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// Waits for its end.
    pub fn end(self) -> Output {
        self.program.end()
    }

    /// A client from elsewhere, who trusts the key that the device said it has, and sends no token.
    ///
    /// # Panics
    /// When nothing is shared.
    pub fn guest(&self) -> Client {
        let share = &self.ready["share"];
        let address = share["https"][0].as_str().expect("an address");
        let address = address.strip_prefix("https://").expect("an address");
        let fingerprint = share["fingerprint"].as_str().expect("a fingerprint");
        Client {
            address: address.parse().expect("an address"),
            token: None,
            tls: Some(Arc::new(Pinned::new(fingerprint))),
        }
    }

    /// A guest that trusts the certificate in a PEM file.
    ///
    /// # Panics
    /// As [`Self::guest`], or when there is no certificate in the file.
    pub fn guest_trusting(&self, pem: &str) -> Client {
        let tls = Some(Arc::new(Pinned::file(pem)));
        Client {
            tls,
            ..self.guest()
        }
    }

    /// The next object on stdout that is this event.
    ///
    /// # Panics
    /// When none comes.
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            let event = self.program.json();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits for its end, and keeps the device.
    pub fn end_and_keep(self) -> (Output, Device) {
        (self.program.end(), self.device)
    }

    /// What it tells on stderr, up to a line with these words.
    pub fn told(&mut self, words: &str) -> String {
        self.program.told(words)
    }
}

impl Client {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its token, if it has one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same with this token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// Sends a request with these headers, besides those that every client sends.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.open();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if let Some(token) = self.token.as_ref().filter(|_| !has("authorization")) {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).expect("it listens");
        // It may answer before it has read all of a body that is too long.
        let _ = stream.write_all(body);
        let _ = stream.flush();
        Answer::read(stream).expect("an answer")
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let json = ("content-type", "application/json");
        self.send("POST", path, &[json], body.to_string().as_bytes())
    }

    /// Gets a path.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// A connection on which a request can be sent.
    fn open(&self) -> Box<dyn Connection> {
        let stream = self.connect();
        match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.over(stream, &self.address.ip().to_string())),
        }
    }

    /// A connection of TCP.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Waits until a number of `/metrics` is as it should be.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn await_number(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let begun = Instant::now();
        loop {
            let text = self.get("/metrics").text();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.trim().parse().ok());
            let number = number.unwrap_or_else(|| panic!("no {name} in {text}"));
            if wanted(number) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} stays {number}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An answer whose body may still come.
pub struct Answer {
    /// Its status.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

type Reader = BufReader<Box<dyn Read + Send>>;

enum Body {
    Chunked(Reader),
    Whole(Reader, usize),
}

impl Answer {
    /// Reads the head of an answer.
    ///
    /// # Errors
    /// The connection broke.
    pub fn read(stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut reader: Reader = BufReader::new(Box::new(stream));
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let length = find("content-length").and_then(|text| text.parse().ok());
        let body = match find("transfer-encoding") {
            Some(_) => Body::Chunked(reader),
            None => Body::Whole(reader, length.unwrap_or(0)),
        };
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next part of the body as it came; `None` at its end.
    ///
    /// # Errors
    /// The connection broke before the end.
    pub fn part(&mut self) -> io::Result<Option<String>> {
        let (reader, length) = match &mut self.body {
            Body::Whole(reader, length) => (reader, std::mem::take(length)),
            Body::Chunked(reader) => {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let length = usize::from_str_radix(line.trim_end(), 16);
                (reader, length.map_err(|_| io::ErrorKind::UnexpectedEof)?)
            }
        };
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        if let Body::Chunked(reader) = &mut self.body {
            reader.read_line(&mut String::new())?;
        }
        let text = String::from_utf8(bytes).expect("UTF-8, and no character is cut");
        Ok((!text.is_empty()).then_some(text))
    }

    /// The rest of the body.
    ///
    /// # Panics
    /// When the connection breaks before its end.
    pub fn text(mut self) -> String {
        let mut text = String::new();
        while let Some(part) = self.part().expect("the whole body") {
            text += &part;
        }
        text
    }

    /// The rest of the body, which is JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The JSON of all server-sent events, without the last word.
    ///
    /// # Panics
    /// When a frame has something else.
    pub fn events(self) -> Vec<Value> {
        Self::events_in(&self.text())
    }

    /// As [`Self::events`], and does something once so many frames have come.
    ///
    /// # Panics
    /// When there are no more frames than that, or one has something else.
    pub fn events_and(mut self, frames: usize, act: impl FnOnce()) -> Vec<Value> {
        let mut text = String::new();
        while text.matches("\n\n").count() <= frames {
            text += &self.part().expect("the body").expect("more of it");
        }
        act();
        text += &self.text();
        Self::events_in(&text)
    }

    /// As [`Self::events`], of a text.
    ///
    /// # Panics
    /// When a frame has something else.
    pub fn events_in(text: &str) -> Vec<Value> {
        let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
        let frames = frames.filter(|frame| !frame.starts_with(':'));
        let data = frames.map(|frame| {
            let line = frame.lines().find_map(|line| line.strip_prefix("data: "));
            line.unwrap_or_else(|| panic!("a frame without data: {frame:?}"))
        });
        let json = data.filter(|data| *data != "[DONE]");
        json.map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    /// The JSON of all lines.
    ///
    /// # Panics
    /// When one has something else.
    pub fn lines(self) -> Vec<Value> {
        let text = self.text();
        assert!(text.ends_with('\n'), "the last line ends, too: {text:?}");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// The text of a chat completion's events.
pub fn content_of(events: &[Value]) -> String {
    let contents = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    contents.collect()
}
