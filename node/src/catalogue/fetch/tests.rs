//! Fetching from a model hub that lives in this test: a few hundred bytes over local HTTP.

mod interrupted;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::catalogue::HubFile;
use crate::home::Home;

/// What the hub does wrong, if anything.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Says that its file has another hash.
    OtherHash,
    /// Delivers other bytes than it says.
    OtherBytes,
    NotFound,
    /// Closes the connection after this many bytes of an answer, the first time.
    BreakOnce(usize),
    /// Closes the connection after this many bytes of each answer.
    Break(usize),
    /// Closes the connection after this many bytes of an answer, and is not found afterwards.
    BreakAndVanish(usize),
    /// Answers everything with a page, as a network that wants a login does.
    Portal,
    /// Answers as the hub would, but with a page in place of the file.
    PortalForBytes,
    /// Has a file of another length, and no ranges.
    OtherLength,
    /// Has another file, does not say its length, and has no ranges.
    OtherWithoutLength,
    /// Refuses ranges.
    RefusesRanges,
    /// Ignores ranges.
    NoRanges,
    /// Nothing, but sends the client elsewhere for the bytes, as the hub does with large files.
    Redirect,
}

struct Hub {
    endpoint: String,
    /// `METHOD range` of every request.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start(content: &'static [u8], fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            let mut fault = fault;
            for stream in listener.incoming().flatten() {
                // The client hanging up is part of some tests.
                let _ = answer(stream, content, &mut fault, &log);
            }
        });
        Self { endpoint, requests }
    }

    fn options(&self) -> FetchOptions {
        FetchOptions {
            hub_endpoint: Some(self.endpoint.clone()),
            first_pause: Duration::from_millis(1),
            ..FetchOptions::default()
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .expect("no test thread panicked with it")
            .clone()
    }
}

/// What is answered in place of the file, if it is not the file.
fn other_answer(fault: Fault, method: &str, ranged: bool) -> Option<String> {
    let is_get = method == "GET";
    let (status, headers, body) = match fault {
        Fault::PortalForBytes if !is_get => return None,
        Fault::Portal | Fault::PortalForBytes => (
            "200 OK",
            "Content-Type: text/html; charset=utf-8\r\nContent-Length: 53",
            "<!DOCTYPE html><p>Welcome to our network. Log in now!",
        ),
        Fault::OtherLength if is_get => ("200 OK", "Content-Length: 5", "other"),
        Fault::OtherWithoutLength if is_get => ("200 OK", "X-Length: none", "other"),
        Fault::RefusesRanges if ranged => ("416 Range Not Satisfiable", "Content-Length: 0", ""),
        _ => return None,
    };
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n{body}");
    Some(answer)
}

/// Answers one request and closes the connection.
fn answer(
    mut stream: TcpStream,
    content: &[u8],
    fault: &mut Fault,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            range = value.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let mut words = request.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let note = range.map_or_else(|| method.clone(), |start| format!("{method} {start}-"));
    log.lock()
        .expect("no test thread panicked with it")
        .push(note);

    if let Some(answer) = other_answer(*fault, &method, range.is_some()) {
        return stream.write_all(answer.as_bytes());
    }
    let hash = if *fault == Fault::OtherHash {
        Sha256::of(b"other")
    } else {
        Sha256::of(content)
    };
    let (status, start) = match range {
        _ if *fault == Fault::NotFound => ("404 Not Found", 0),
        Some(start) if *fault != Fault::NoRanges => ("206 Partial Content", start),
        _ => ("200 OK", 0),
    };
    if *fault == Fault::Redirect && path != "/elsewhere" {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nConnection: close\r\nX-Linked-Etag: \"{hash}\"\r\n\
             Location: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        );
    }
    let mut body = content[start..].to_vec();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\n\
         Content-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\r\n",
        content.len(),
        content.len() - 1,
        content.len(),
        body.len()
    )?;
    if method == "HEAD" {
        return Ok(());
    }
    spoil(&mut body, fault);
    stream.write_all(&body)
}

/// What the fault does to the bytes of an answer.
fn spoil(body: &mut Vec<u8>, fault: &mut Fault) {
    match *fault {
        Fault::OtherBytes => body.fill(b'x'),
        Fault::BreakOnce(after) => {
            body.truncate(after);
            *fault = Fault::None;
        }
        Fault::Break(after) => body.truncate(after),
        Fault::BreakAndVanish(after) => {
            body.truncate(after);
            *fault = Fault::NotFound;
        }
        _ => {}
    }
}

const CONTENT: &[u8] = b"GGUF, as far as these tests are concerned, followed by some weights";

fn entry() -> Entry {
    Entry {
        name: "test:1b",
        title: "a test",
        file: "test.gguf",
        bytes: CONTENT.len() as u64,
        sha256: Sha256::of(CONTENT),
        licence: "none",
        licence_url: "none",
        sources: &[Source::Hub(HubFile {
            repository: "a/b",
            revision: "main",
            path: "c.gguf",
        })],
    }
}

struct Device {
    _folder: tempfile::TempDir,
    store: ModelsFolder,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = ModelsFolder::of(&Home::at(folder.path()));
        Self {
            _folder: folder,
            store,
        }
    }

    /// A device whose models folder holds this file.
    fn with(file: &str, bytes: &[u8]) -> Self {
        let device = Self::new();
        fs::create_dir_all(device.store.folder()).expect("created");
        fs::write(device.store.folder().join(file), bytes).expect("written");
        device
    }

    fn fetch(&self, options: &FetchOptions) -> Result<PathBuf, FetchError> {
        self.fetch_telling(options, &mut |_| ())
    }

    fn fetch_telling(
        &self,
        options: &FetchOptions,
        on_event: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, FetchError> {
        fetch(&entry(), &self.store, options, &Cancel::new(), on_event)
    }

    fn state(&self) -> CacheState {
        self.store.state(&entry()).expect("readable")
    }
}

#[test]
fn fetches_once_and_then_needs_no_network() {
    let (hub, device) = (Hub::start(CONTENT, Fault::None), Device::new());
    let path = device.fetch(&hub.options()).expect("fetched");
    assert_eq!(fs::read(path).expect("readable"), CONTENT);
    assert_eq!(hub.requests(), ["HEAD", "GET"]);
    assert_eq!(device.state(), CacheState::Ready);

    let offline = FetchOptions {
        offline: true,
        verify: true,
        ..FetchOptions::default()
    };
    device.fetch(&offline).expect("in the cache");
    assert_eq!(hub.requests().len(), 2);
}

#[test]
fn offline_without_the_file_says_what_to_do() {
    let offline = FetchOptions {
        offline: true,
        ..FetchOptions::default()
    };
    let error = Device::new().fetch(&offline).expect_err("nothing is there");
    assert!(
        error.to_string().contains("potluck pull test:1b"),
        "{error}"
    );
}

#[test]
fn a_redirect_is_followed_with_its_range() {
    let hub = Hub::start(CONTENT, Fault::Redirect);
    let device = Device::with(".partial-test.gguf", &CONTENT[..20]);
    let path = device.fetch(&hub.options()).expect("fetched");
    assert_eq!(fs::read(path).expect("readable"), CONTENT);
    assert_eq!(hub.requests(), ["HEAD", "GET 20-", "GET 20-"]);
}

/// As far as TLS can be tested without a certificate that the world knows.
#[test]
fn a_hub_that_does_not_speak_tls_is_unreachable() {
    let (hub, device) = (Hub::start(CONTENT, Fault::None), Device::new());
    let endpoint = hub.endpoint.replace("http:", "https:");
    let options = FetchOptions {
        hub_endpoint: Some(endpoint),
        ..FetchOptions::default()
    };
    let error = device.fetch(&options).expect_err("no TLS there");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[test]
fn a_wrong_beginning_is_thrown_away_and_fetched_again() {
    let hub = Hub::start(CONTENT, Fault::None);
    let device = Device::with(".partial-test.gguf", &[0; 20]);
    let path = device.fetch(&hub.options()).expect("fetched");
    assert_eq!(fs::read(path).expect("readable"), CONTENT);
    assert_eq!(hub.requests(), ["HEAD", "GET 20-", "HEAD", "GET"]);
}

#[test]
fn a_whole_partial_file_is_only_checked() {
    let hub = Hub::start(CONTENT, Fault::None);
    let device = Device::with(".partial-test.gguf", CONTENT);
    device.fetch(&hub.options()).expect("moved into place");
    assert_eq!(hub.requests(), ["HEAD"]);
}

#[test]
fn other_bytes_are_refused_before_or_after_the_download() {
    let (hub, device) = (Hub::start(CONTENT, Fault::OtherHash), Device::new());
    let error = device.fetch(&hub.options()).expect_err("another file");
    assert!(
        error
            .to_string()
            .contains("not the one the catalogue names"),
        "{error}"
    );
    assert_eq!(hub.requests(), ["HEAD"]);

    let hub = Hub::start(CONTENT, Fault::OtherBytes);
    let error = device.fetch(&hub.options()).expect_err("another file");
    assert!(error.to_string().contains("wrong SHA-256"), "{error}");
    assert_eq!(device.state(), CacheState::Absent);
}

#[test]
fn every_failed_source_is_named() {
    let (hub, device) = (Hub::start(CONTENT, Fault::NotFound), Device::new());
    let mut failed = Vec::new();
    let error = device
        .fetch_telling(&hub.options(), &mut |event| {
            if let FetchEvent::Failed(failure) = event {
                failed.push(failure.to_string());
            }
        })
        .expect_err("not found");
    assert_eq!(
        failed,
        ["the model hub (a/b): it answered with status 404 (not found)"]
    );
    assert_eq!(
        error.to_string(),
        format!("test:1b could not be fetched: {}", failed[0])
    );

    // A port that nothing listens on: refused at once.
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound");
    let options = FetchOptions {
        hub_endpoint: Some(format!("http://{closed}")),
        ..FetchOptions::default()
    };
    let error = device.fetch(&options).expect_err("nothing is there");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[test]
fn a_changed_file_is_noticed_and_replaced() {
    let hub = Hub::start(CONTENT, Fault::None);
    let device = Device::new();
    let path = device.fetch(&hub.options()).expect("fetched");
    let mut changed = CONTENT.to_vec();
    changed[30] ^= 1;
    for damage in [changed.as_slice(), &CONTENT[..9], b""] {
        fs::write(&path, damage).expect("written");
        let offline = FetchOptions {
            offline: true,
            ..FetchOptions::default()
        };
        assert!(matches!(
            device.fetch(&offline),
            Err(FetchError::Offline { .. })
        ));
        let mut damaged = 0;
        device
            .fetch_telling(&hub.options(), &mut |event| {
                damaged += i32::from(matches!(event, FetchEvent::Damaged));
            })
            .expect("fetched again");
        assert_eq!(damaged, 1);
        assert_eq!(fs::read(&path).expect("readable"), CONTENT);
    }
}

#[test]
fn a_file_that_was_copied_in_is_hashed_once() {
    let device = Device::with("test.gguf", CONTENT);
    assert_eq!(device.state(), CacheState::Unchecked);
    let offline = FetchOptions {
        offline: true,
        ..FetchOptions::default()
    };
    device.fetch(&offline).expect("its hash is right");
    assert_eq!(device.state(), CacheState::Ready);
}

#[test]
fn stopping_keeps_what_is_there() {
    let (hub, device) = (Hub::start(CONTENT, Fault::None), Device::new());
    let cancel = Cancel::new();
    let outcome = fetch(
        &entry(),
        &device.store,
        &hub.options(),
        &cancel,
        &mut |event| {
            if let FetchEvent::Fetched(1..) = event {
                cancel.cancel();
            }
        },
    );
    assert!(matches!(outcome, Err(FetchError::Cancelled { .. })));
    assert!(matches!(device.state(), CacheState::Partial { .. }));
    device.fetch(&hub.options()).expect("fetched");
}

#[test]
fn two_at_once_fetch_it_once() {
    let (hub, device) = (Hub::start(CONTENT, Fault::None), Device::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| device.fetch(&hub.options()).expect("fetched"));
        }
    });
    assert_eq!(hub.requests(), ["HEAD", "GET"]);
}
