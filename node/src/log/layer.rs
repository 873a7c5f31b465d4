//! Turns `tracing` events into records.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::filter::Filter;
use super::recent::Recent;
use super::record::{self, Fields, Level, MOST_BYTES, Record, SpanRecord};

/// Most values of a record or a span; the rest is dropped.
const MOST_FIELDS: usize = 16;
/// Most spans of a record; the rest is dropped.
const MOST_SPANS: usize = 8;

/// Shows and keeps events.
pub(super) struct Recorder {
    shown: Targets,
    kept: Targets,
    recent: &'static Recent,
    show: Box<dyn Fn(&Record) + Send + Sync>,
}

impl Recorder {
    pub(super) fn new(
        shown: Filter,
        recent: &'static Recent,
        show: Box<dyn Fn(&Record) + Send + Sync>,
    ) -> Self {
        Self {
            shown: shown.0,
            kept: Filter::kept().0,
            recent,
            show,
        }
    }

    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        takes(&self.shown, metadata) || takes(&self.kept, metadata)
    }
}

fn takes(targets: &Targets, metadata: &Metadata<'_>) -> bool {
    targets.would_enable(metadata.target(), metadata.level())
}

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    // Called once per callsite: a disabled event then costs one load.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.takes(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.takes(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let shown = Layer::<S>::max_level_hint(&self.shown)?;
        Some(shown.max(Layer::<S>::max_level_hint(&self.kept)?))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut left = MOST_BYTES;
        let mut visitor = Visitor::new(&mut left);
        attributes.record(&mut visitor);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(visitor.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut left = MOST_BYTES;
        let mut visitor = Visitor::new(&mut left);
        event.record(&mut visitor);
        let Visitor {
            fields, message, ..
        } = visitor;
        let mut spans = Vec::new();
        let scope = context.event_scope(event);
        for span in scope.into_iter().flat_map(|scope| scope.from_root()) {
            if spans.len() >= MOST_SPANS || left == 0 {
                break;
            }
            let extensions = span.extensions();
            let known = extensions.get::<Fields>().into_iter().flatten();
            let cut = known.map(|(name, value)| (name.clone(), record::words(value, &mut left)));
            spans.push(SpanRecord {
                name: span.name().to_owned(),
                fields: cut.collect(),
            });
        }
        let mut record = Record {
            number: 0,
            time: record::now(),
            level: Level::from(metadata.level()),
            target: metadata.target().to_owned(),
            spans,
            message,
            fields,
        };
        if takes(&self.kept, metadata) {
            self.recent.keep(&mut record);
        }
        if takes(&self.shown, metadata) {
            (self.show)(&record);
        }
    }
}

/// Collects the values of an event or a span.
struct Visitor<'a> {
    message: String,
    fields: Fields,
    left: &'a mut usize,
}

impl<'a> Visitor<'a> {
    fn new(left: &'a mut usize) -> Self {
        Self {
            message: String::new(),
            fields: Fields::default(),
            left,
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = record::words(value, self.left);
        } else if self.fields.len() < MOST_FIELDS {
            let value = record::words(value, self.left);
            self.fields.insert(field.name().to_owned(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::log::recent;

    /// The records that the filter shows while `then` runs.
    fn shown(filter: Filter, then: impl FnOnce()) -> Vec<Record> {
        let records = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&records);
        let show = move |record: &Record| shown.lock().expect("unharmed").push(record.clone());
        let recorder = Recorder::new(filter, recent(), Box::new(show));
        let subscriber = tracing_subscriber::registry().with(recorder);
        tracing::subscriber::with_default(subscriber, then);
        records.lock().expect("unharmed").clone()
    }

    #[test]
    fn an_event_is_told_with_the_spans_that_it_stands_in() {
        let records = shown(Filter::level(Some(Level::Info)), || {
            let session = tracing::info_span!("session", id = "07");
            let epoch = tracing::info_span!(parent: &session, "epoch", number = 2);
            tracing::warn!(parent: &epoch, layers = 3, who = %"kitchen\n", "it broke");
            tracing::debug!("not shown");
            tracing::trace!("nor kept");
        });
        let [record] = records.as_slice() else {
            panic!("{records:?}");
        };
        let names: Vec<_> = record.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["session", "epoch"]);
        assert_eq!(record.spans[1].fields["number"], "2");
        assert_eq!(
            (record.level, record.message.as_str()),
            (Level::Warn, "it broke")
        );
        assert_eq!(record.fields["who"], "kitchen ");
        assert_eq!(record.fields["layers"], "3");
        assert!(record.number > 0, "it is kept, too");
        let kept = recent().after(record.number - 1, Level::Trace).records;
        assert!(kept.contains(record));
        assert!(kept.iter().any(|kept| kept.message == "not shown"));
        assert!(kept.iter().all(|kept| kept.message != "nor kept"));
    }

    #[test]
    fn however_long_the_words_are_a_record_is_short() {
        let long = "x".repeat(10_000);
        let records = shown(Filter::level(Some(Level::Info)), || {
            let outer = tracing::info_span!("outer", a = %long, b = %long, c = %long, d = %long);
            let inner =
                tracing::info_span!(parent: &outer, "inner", a = %long, b = %long, c = %long);
            tracing::info!(parent: &inner, e = %long, f = %long, g = %long, "{long}");
        });
        let line = records[0].to_string();
        assert!(line.len() < MOST_BYTES + 500, "{}", line.len());
    }
}
