//! Logs the fetching of a model.

use std::path::PathBuf;
use std::time::Instant;

use super::{Entry, FetchError, FetchEvent};

/// Runs a fetch in its span, with all that it tells in the log, too.
pub(super) fn in_span(
    entry: &Entry,
    on_event: &mut dyn FnMut(FetchEvent<'_>),
    fetch: impl FnOnce(&mut dyn FnMut(FetchEvent<'_>)) -> Result<PathBuf, FetchError>,
) -> Result<PathBuf, FetchError> {
    let span = tracing::info_span!("fetch", model = entry.name);
    let _in = span.enter();
    let (begin, bytes) = (Instant::now(), entry.bytes);
    tracing::info!(bytes, "a model of the catalogue is looked for");
    let fetched = fetch(&mut |event| {
        note(&event);
        on_event(event);
    });
    let after_s = begin.elapsed().as_secs_f32();
    match &fetched {
        Ok(_) => tracing::info!(after_s, "the model is here"),
        Err(FetchError::Cancelled { .. }) => tracing::info!(after_s, "fetching was cancelled"),
        Err(why) => tracing::warn!(after_s, why = %why, "the model could not be fetched"),
    }
    fetched
}

fn note(event: &FetchEvent<'_>) {
    match event {
        FetchEvent::Waiting => tracing::debug!("another process fetches it: waiting"),
        FetchEvent::Damaged => tracing::warn!("the file that is here is damaged"),
        FetchEvent::Trying(source) => tracing::debug!(source = %source, "trying a source"),
        FetchEvent::Fetched(bytes) => tracing::trace!(bytes, "fetched"),
        FetchEvent::Checked(bytes) => tracing::trace!(bytes, "checked"),
        FetchEvent::TryingAgain { error, pause } => {
            let pause_s = pause.as_secs_f32();
            tracing::warn!(why = %error, pause_s, "the connection broke: trying again");
        }
        FetchEvent::Failed(failure) => {
            let source = &failure.source;
            tracing::warn!(source, why = %failure.error, "a source failed");
        }
    }
}
