//! Logging: events of the `tracing` crate, shown on stderr and kept in memory.
//!
//! Any code in this crate calls `tracing::info!(…)`. A subscriber, which a program [`start`]s once,
//! makes a [`Record`] of each enabled event, and
//! - **shows** those that match the [`Filter`]: the program writes them, as text or JSON lines;
//! - **keeps** the last [`KEPT`] of level debug and above (of libraries: warnings) in [`recent`],
//!   where `potluck log` reads them, independent of the filter.
//!
//! # Levels
//! | level | meaning | how often |
//! |---|---|---|
//! | error | the node cannot continue | once |
//! | warn | a failure that a person may want to fix: a device is unreachable, a connection broke | when it begins, and when its reason changes; repetitions are counted |
//! | info | devices that connected, paired or were refused; layers computed and for which device | a few per conversation |
//! | debug | the details behind it: addresses, streams, placements, weights | some tens per conversation |
//! | trace | each frame, message and dial | each token; never kept |
//!
//! # Spans
//! An event is recorded with the spans that enclose it, the outermost first:
//!
//! | span | from | to |
//! |---|---|---|
//! | `peer` | a connection to a member counts | its end |
//! | `pairing` | an invitation, or a joining, begins | it is over |
//! | `session` | a conversation begins at this node | it is finished |
//! | `epoch`, in it | its layers are placed | they are placed again |
//! | `recovery`, in `session` | a stage failed | all stages are ready again |
//! | `stage` | this node is assigned layers, by itself or another | they are freed |
//! | `request` | a client sends a request to the HTTP API | its answer ends |
//! | `transfer` | a fetch of weights from other devices begins | they are complete, or failed |
//! | `giving` | another device requests weights | it has requested none for five seconds |
//! | `fetch` | a lookup of a catalogue model begins | it is downloaded, or failed |
//! | `measuring` | this device starts to measure itself | it has finished |
//!
//! With the feature `otlp`, spans of level info and above are exported to an OpenTelemetry
//! collector, if one is configured: `node/src/otlp.rs`.
//!
//! `node/src/net/journal` holds the spans of the network: the protocol's machine does no I/O and
//! logs nothing itself, so the network thread logs the machine's inputs and outputs.
//!
//! # What is never logged
//! No text of a prompt or an answer, no token, no hidden state, no key and no invitation, at any
//! level.
//! - Text is [`Private`](crate::Private) wherever this crate stores it. That type has neither
//!   `Debug` nor `Display`, so no event can include it by accident.
//! - Events format no value with `Debug` (`?value`), because a field added to a struct later would
//!   be logged unnoticed. A test checks this.
//! - End-to-end tests search everything that two devices log at level trace for the text of the
//!   conversation.
//!
//! Names, ids and addresses of devices are logged, and paths of models. They stay on this device;
//! showing the log to other people reveals them.

mod filter;
mod layer;
mod recent;
mod record;

use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

pub use filter::{Filter, FilterError};
pub use recent::{KEPT, Page, Recent, recent};
pub use record::time_of;
pub use record::{Level, Record, SpanRecord};

/// A subscriber was already started.
#[derive(Debug, thiserror::Error)]
#[error("events of this process are logged already")]
pub struct StartError;

/// A layer that also receives spans and events, with its own filter.
pub type Beside = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts to keep this process's events, and passes those that match `filter` to `show`, on the
/// thread that emitted them: `show` must neither wait for that thread nor log. `beside` receives
/// them as well.
///
/// # Errors
/// Logging was already started.
pub fn start(
    filter: Filter,
    show: impl Fn(&Record) + Send + Sync + 'static,
    beside: Option<Beside>,
) -> Result<(), StartError> {
    let recorder = layer::Recorder::new(filter, recent(), Box::new(show));
    let subscriber = tracing_subscriber::registry().with(beside).with(recorder);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| StartError)
}
