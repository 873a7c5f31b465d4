//! What a node tells of its work while it works: events of the `tracing` crate, on stderr and kept.
//!
//! Code anywhere in this crate says `tracing::info!(…)`. A subscriber, which a program [`start`]s once,
//! makes a [`Record`] of each event that somebody wants, and
//! - **shows** those that the [`Filter`] asks for: the program writes them, as text or JSON lines;
//! - **keeps** the last [`KEPT`] of level debug and above (of libraries: warnings) in [`recent`], from
//!   where `potluck log` has them, whatever is shown.
//!
//! # Levels
//! | level | what | how often |
//! |---|---|---|
//! | error | the node cannot go on | once |
//! | warn | something failed that a person may want to mend: a device is not reached, a connection broke | when it begins, and when its reason changes; repetitions are counted |
//! | info | who connected, paired, was refused; which layers are computed for whom | a few a conversation |
//! | debug | what led to it: addresses, streams, placements, weights | some tens a conversation |
//! | trace | each frame, message and dial | each token; never kept |
//!
//! # Spans
//! An event stands in the spans it belongs to, the outer one first:
//!
//! | span | from | to |
//! |---|---|---|
//! | `peer` | a connection to a member counts | its end |
//! | `pairing` | an invitation, or a joining, begins | it is over |
//! | `session` | a conversation begins at this node | it is finished |
//! | `epoch`, in it | its layers are placed | they are placed anew |
//! | `recovery`, in `session` | a stage failed | all stages are ready again |
//! | `stage` | layers are to be computed here, for this node or another | they are freed |
//! | `request` | a program asks the HTTP API | its answer ends |
//! | `transfer` | weights are fetched from other devices | they are here, or could not be fetched |
//! | `giving` | another device asks for weights | it has asked for none for five seconds |
//! | `fetch` | a model of the catalogue is looked for | it is here, or cannot be fetched |
//! | `measuring` | this device measures itself | it has done so |
//!
//! With the feature `otlp`, those of level info and above go to a collector of OpenTelemetry, if one is
//! named: `node/src/otlp.rs`.
//!
//! `node/src/net/journal` holds them: the protocol's machine does no I/O and logs nothing itself, so the
//! network thread logs what goes into the machine and comes out.
//!
//! # What is never logged
//! No text of a prompt or an answer, no token, no hidden state, no key and no invitation, at any level.
//! - Text is [`Private`](crate::Private) wherever this crate keeps it. That has neither `Debug` nor
//!   `Display`, so no event can take it up by accident.
//! - Events format no value with `Debug` (`?value`): whoever adds a field to a struct does not know who
//!   logs it. A test looks for that.
//! - End-to-end tests search all that two devices log at level trace for the words that were said.
//!
//! Names, ids and addresses of devices are logged, and paths of models. They stay on this device; whoever
//! shows a log to others shows those.

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

/// A second subscriber was started.
#[derive(Debug, thiserror::Error)]
#[error("events of this process are logged already")]
pub struct StartError;

/// What takes up spans and events, too, by a filter of its own.
pub type Beside = Box<dyn Layer<Registry> + Send + Sync>;

/// Keeps events of this process from now on, and gives those that `filter` asks for to `show`, on the
/// thread where they happen: it must not wait for that thread, nor log. `beside` has them as well.
///
/// # Errors
/// It was done before.
pub fn start(
    filter: Filter,
    show: impl Fn(&Record) + Send + Sync + 'static,
    beside: Option<Beside>,
) -> Result<(), StartError> {
    let recorder = layer::Recorder::new(filter, recent(), Box::new(show));
    let subscriber = tracing_subscriber::registry().with(beside).with(recorder);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| StartError)
}
