//! Log lines in the form that Cloud Run's agent reads:
//! <https://cloud.google.com/logging/docs/structured-logging#special-payload-fields>.

use std::fmt;

use chrono::Utc;
use serde_json::{Map, Value as Json, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::shown;

/// One JSON object a line: `severity`, `time`, `message`, the event's fields, and those of the spans around it. A span's
/// field `trace` is the request's trace.
pub(super) struct Format;

/// The special field by which Cloud Logging shows a request's lines together.
const TRACE: &str = "logging.googleapis.com/trace";

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            // The fields of a span are formatted once, as JSON; see `telemetry::start`.
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            if let Some(Ok(Json::Object(fields))) = fields.map(serde_json::from_str) {
                line.extend(fields);
            }
        }
        if let Some(trace) = line.remove("trace") {
            line.insert(TRACE.to_owned(), trace);
        }
        event.record(&mut Fields(&mut line));
        // An alert says its own: Cloud Logging has more of them than there are levels.
        line.entry("severity").or_insert_with(|| severity(*event.metadata().level()).into());
        line.insert("time".to_owned(), Utc::now().to_rfc3339().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        writeln!(writer, "{}", shown::Json(Json::Object(line)))
    }
}

/// A line about the process itself, which no level keeps back.
pub(super) fn last_word(message: &str) -> String {
    let time = Utc::now().to_rfc3339();
    let line = json!({ "severity": severity(Level::ERROR), "time": time, "message": message, "target": "pedwatch" });
    format!("{}\n", shown::Json(line))
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

struct Fields<'f>(&'f mut Map<String, Json>);

impl Visit for Fields<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
