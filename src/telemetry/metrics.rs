//! Prometheus metrics. Labels are bounded: no names of people, Deployments or clusters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MessageLabels {
    /// `recorded`, `ignored`, `quarantined` or `retried`.
    pub outcome: &'static str,
    /// Why it was ignored, quarantined or retried; empty otherwise.
    pub reason: &'static str,
}

/// Counts a message as being handled for as long as it lives, however its handling ends.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    /// Counts one more.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        InFlight(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What was alerted about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlertLabels {
    /// The alert's type.
    pub alert_type: String,
    /// As configured.
    pub severity: String,
}

/// A step of a message's way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    /// `assess` (decoded and judged), `limits` (they were read again) or `append`.
    pub stage: &'static str,
}

/// All metrics; a clone is the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    messages: Family<MessageLabels, Counter>,
    alerts: Family<AlertLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    event_age: Histogram,
    /// Rows of each batch that was written.
    pub batch_rows: Histogram,
    in_flight: Gauge,
    /// Requests to the store that were sent again.
    pub store_retries: Counter,
    last_message: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 10 µs, which decoding takes, to 40 s, longer than any append may take.
        let stage = || Histogram::new(exponential_buckets(1e-5, 4.0, 12));
        let metrics = Metrics {
            registry: Arc::default(),
            messages: Family::default(),
            alerts: Family::default(),
            stages: Family::new_with_constructor(stage),
            // From 0.25 s, which Logging takes at least, to an hour, when somebody should have noticed.
            event_age: Histogram::new(exponential_buckets(0.25, 2.0, 15)),
            batch_rows: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            in_flight: Gauge::default(),
            store_retries: Counter::default(),
            last_message: Gauge::default(),
        };
        Metrics { registry: Arc::new(metrics.registered()), ..metrics }
    }
}

impl Metrics {
    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("pedwatch");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", super::COMMIT)]);
        registry.register("build", "What is running", build);
        registry.register("messages", "Messages by what became of them", self.messages.clone());
        registry.register("alerts", "Alerts raised, duplicates included", self.alerts.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("stage_duration", "Time of each step", seconds.clone(), self.stages.clone());
        let age = "From an event's own time until it was durable";
        registry.register_with_unit("event_age", age, seconds.clone(), self.event_age.clone());
        registry.register("batch_rows", "Rows of each batch written", self.batch_rows.clone());
        registry.register("messages_in_flight", "Messages being handled", self.in_flight.clone());
        registry.register("store_retries", "Requests to the store that were sent again", self.store_retries.clone());
        let last = "Unix time of the last message that came; 0 before the first";
        registry.register_with_unit("last_message_timestamp", last, seconds, self.last_message.clone());
        registry
    }

    /// All metrics as Prometheus scrapes them (OpenMetrics text).
    ///
    /// # Errors
    /// Never: text always takes more text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts one message.
    pub fn message(&self, outcome: &'static str, reason: &'static str) {
        self.messages.get_or_create(&MessageLabels { outcome, reason }).inc();
    }

    /// Counts one alert.
    pub fn alert(&self, alert_type: &str, severity: &str) {
        let labels = AlertLabels { alert_type: alert_type.to_owned(), severity: severity.to_owned() };
        self.alerts.get_or_create(&labels).inc();
    }

    /// Observes how long a step took.
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.stages.get_or_create(&StageLabels { stage }).observe(took.as_secs_f64());
    }

    /// Observes how old an event was when it was durable.
    pub fn durable(&self, event_time: DateTime<Utc>, now: DateTime<Utc>) {
        self.event_age.observe((now - event_time).as_seconds_f64());
    }

    /// Notes that a message came.
    pub fn came(&self, now: DateTime<Utc>) {
        self.last_message.set(now.timestamp());
    }
}
