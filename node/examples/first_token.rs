//! Measures how long a first token takes from the engine's choice to a client on this device:
//!
//! ```sh
//! cargo run --release --workspace --example first_token -- MODEL.gguf [COUNT]
//! ```
//!
//! One client asks again and again over a kept connection, first alone, then beside 16 answers that are
//! streamed to others. The server is that of `potluck serve`, in this process, so that one clock tells
//! both times: that of the event "a first token is chosen", and that at which the client has read the first
//! bytes of the text.
#![allow(
    clippy::print_stdout,
    reason = "a program that measures says what it found"
)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use potluck::ModelRef;
use potluck::catalogue::ModelsFolder;
use potluck::home::Home;
use potluck::http::{Access, Listening};
use potluck::serve::{Service, Settings};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Answers beside the one that is measured.
const BESIDE: usize = 16;
/// The path of the requests that are measured; the others use another one.
const MEASURED: &str = "/v1/completions";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("give a model file")?;
    let count = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let chosen = Chosen::default();
    let subscriber = tracing_subscriber::registry().with(chosen.clone());
    tracing::subscriber::set_global_default(subscriber)?;

    let mut settings = Settings::new(ModelsFolder::of(&Home::from_environment()?));
    settings.model = file.parse::<ModelRef>()?;
    settings.streams = BESIDE + 1;
    let service = Service::start(settings)?;
    let listening = Listening::on(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listening.address();
    let server = listening.serve(service.clone(), Access::default())?;

    measure(address, &chosen, 5)?;
    tell("alone", measure(address, &chosen, count)?);
    let over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..BESIDE)
        .map(|number| {
            let over = Arc::clone(&over);
            thread::spawn(
                move || while !over.load(Ordering::Relaxed) && stream(address, number).is_ok() {},
            )
        })
        .collect();
    // Until all are answered.
    thread::sleep(Duration::from_secs(3));
    let beside = measure(address, &chosen, count)?;
    over.store(true, Ordering::Relaxed);
    tell("beside 16 answers", beside);
    service.stop();
    drop(server);
    for other in others {
        let _ = other.join();
    }
    Ok(())
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at =
        |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {} first tokens, median {:.2} ms, 99 of 100 within {:.2} ms, slowest {:.2} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// For each of so many requests, one after the other, the time from the choice of the first token until
/// it is read.
fn measure(
    address: SocketAddr,
    chosen: &Chosen,
    count: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut client = BufReader::new(TcpStream::connect(address)?);
    client.get_ref().set_nodelay(true)?;
    let mut times = Vec::new();
    for number in 0..count {
        chosen.take();
        let body = format!(
            "{{\"prompt\": \"The {number}th letter says\", \"max_tokens\": 3, \"stream\": true, \"temperature\": 0}}"
        );
        post(client.get_mut(), MEASURED, &body)?;
        let mut first = None;
        let mut line = String::new();
        while line.trim_end() != "data: [DONE]" {
            line.clear();
            if client.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            if line.starts_with("data: {") && first.is_none() {
                first = Some(Instant::now());
            }
        }
        // The rest of the last chunk, and the chunk that ends the body.
        let mut rest = Vec::new();
        while !rest.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            rest.push(byte[0]);
        }
        let first = first.ok_or("an answer without text")?;
        let at = chosen.take().ok_or("no token was chosen")?;
        times.push(first.saturating_duration_since(at));
    }
    Ok(times)
}

/// One long answer, read to its end.
fn stream(address: SocketAddr, number: usize) -> std::io::Result<()> {
    let mut client = TcpStream::connect(address)?;
    let body = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Tell the story of {number} travellers.\"}}], \
         \"max_tokens\": 200, \"stream\": true, \"logit_bias\": {{\"2\": -100, \"0\": -100}}}}"
    );
    post(&mut client, "/v1/chat/completions", &body)?;
    let mut lines = BufReader::new(client).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| line != "data: [DONE]")
    {}
    Ok(())
}

fn post(client: &mut TcpStream, path: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    client.write_all(head.as_bytes())
}

/// When the first token of a measured request was chosen.
#[derive(Clone, Default)]
struct Chosen(Arc<Mutex<Option<Instant>>>);

impl Chosen {
    fn take(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Marks the span of a request that is measured.
struct IsMeasured;

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Chosen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut found = Found::default();
        attributes.record(&mut found);
        if let Some(span) = context.span(id).filter(|_| found.is_measured) {
            span.extensions_mut().insert(IsMeasured);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let now = Instant::now();
        let mut found = Found::default();
        event.record(&mut found);
        let span = context.event_span(event).filter(|_| found.is_choice);
        if span.is_some_and(|span| span.extensions().get::<IsMeasured>().is_some()) {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(now);
        }
    }
}

#[derive(Default)]
struct Found {
    is_measured: bool,
    is_choice: bool,
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.is_measured |= field.name() == "path" && value == MEASURED;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.is_choice |=
            field.name() == "message" && format!("{value:?}") == "a first token is chosen";
    }
}
