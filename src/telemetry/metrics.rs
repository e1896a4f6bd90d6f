//! Prometheus metrics. Labels are bounded: no names of people or Deployments, and of clusters so many and no more.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
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

/// What became of an attempt to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoticeLabels {
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// `sent`, `later` or `refused`.
    pub outcome: &'static str,
}

/// A step of a message's way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    /// `assess` (decoded and judged), `limits` (they were read again), `append` or `incidents`.
    pub stage: &'static str,
}

/// Which cluster. Not `cluster`, `namespace`, `location` or `project_id`: those are what scrapes for Managed Service for
/// Prometheus call the process that is scraped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClusterLabels {
    /// `projects/PROJECT/locations/LOCATION/clusters/NAME`, as the views have it.
    pub cluster_id: String,
}

/// So many clusters have a series of their own. Names come from outside, and each is a line of every scrape: a large
/// organization has some hundreds.
const CLUSTERS_AT_MOST: usize = 2_000;

/// All metrics; a clone is the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    messages: Family<MessageLabels, Counter>,
    alerts: Family<AlertLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    event_age: Histogram,
    /// Rows of each batch that was written.
    pub batch_rows: Histogram,
    in_flight: Gauge,
    /// Requests to the store that were sent again.
    pub store_retries: Counter,
    last_message: Gauge,
    oldest_notice: Gauge,
    open: Gauge,
    last_events: Family<ClusterLabels, Gauge>,
    clusters: Arc<AtomicUsize>,
    last_canaries: Family<ClusterLabels, Gauge>,
    canary_delays: Family<ClusterLabels, Gauge<f64, AtomicU64>>,
    canary_clusters: Arc<AtomicUsize>,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 10 µs, which decoding takes, to 40 s, longer than any append may take.
        let stage = || Histogram::new(exponential_buckets(1e-5, 4.0, 12));
        let metrics = Metrics {
            registry: Arc::default(),
            messages: Family::default(),
            alerts: Family::default(),
            notices: Family::default(),
            stages: Family::new_with_constructor(stage),
            // From 0.25 s, which Logging takes at least, to an hour, when somebody should have noticed.
            event_age: Histogram::new(exponential_buckets(0.25, 2.0, 15)),
            batch_rows: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            in_flight: Gauge::default(),
            store_retries: Counter::default(),
            last_message: Gauge::default(),
            oldest_notice: Gauge::default(),
            open: Gauge::default(),
            last_events: Family::default(),
            clusters: Arc::default(),
            last_canaries: Family::default(),
            canary_delays: Family::default(),
            canary_clusters: Arc::default(),
        };
        Metrics { registry: Arc::new(metrics.registered()), ..metrics }
    }
}

impl Metrics {
    /// With what a collector tells at each scrape.
    pub fn collecting(collector: Box<dyn Collector>) -> Self {
        let metrics = Metrics::default();
        let mut registry = metrics.registered();
        registry.register_collector(collector);
        Metrics { registry: Arc::new(registry), ..metrics }
    }

    fn registered(&self) -> Registry {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("pedwatch");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", super::COMMIT)]);
        registry.register("build", "What is running", build);
        registry.register("messages", "Messages by what became of them", self.messages.clone());
        registry.register("alerts", "Alerts that were told, each once an instance", self.alerts.clone());
        let help = "Attempts to tell somebody, by what became of them";
        registry.register("notifications", help, self.notices.clone());
        let help = "Deployments of which an incident is open, where somebody is told of incidents";
        registry.register("open_incidents", help, self.open.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("stage_duration", "Time of each step", seconds.clone(), self.stages.clone());
        let age = "From an event's own time until it was durable";
        registry.register_with_unit("event_age", age, seconds.clone(), self.event_age.clone());
        registry.register("batch_rows", "Rows of each batch written", self.batch_rows.clone());
        registry.register("messages_in_flight", "Messages being handled", self.in_flight.clone());
        registry.register("store_retries", "Requests to the store that were sent again", self.store_retries.clone());
        let last = "Unix time of the last message that came; 0 before the first";
        registry.register_with_unit("last_message_timestamp", last, seconds.clone(), self.last_message.clone());
        let oldest = "Unix time at which the oldest notice was made that is not sent yet; 0 where all are";
        let name = "oldest_unsent_notification_timestamp";
        registry.register_with_unit(name, oldest, seconds.clone(), self.oldest_notice.clone());
        let last = "Unix time of the last event recorded of each cluster, as the cluster's log has it";
        registry.register_with_unit("last_event_timestamp", last, seconds.clone(), self.last_events.clone());
        let last = "Unix time of the last canary of each cluster that came, as the cluster's log has it";
        registry.register_with_unit("canary_timestamp", last, seconds.clone(), self.last_canaries.clone());
        let delay = "From the call of the canary of each cluster that came last until its entry was here";
        registry.register_with_unit("canary_delay", delay, seconds, self.canary_delays.clone());
        root
    }

    /// All metrics, as OpenMetrics: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
    ///
    /// # Errors
    /// Never: text always takes more text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// The same in the older text format, version 0.0.4, which everything reads:
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    ///
    /// # Errors
    /// Never: text always takes more text.
    pub fn text_0_0_4(&self) -> Result<String, fmt::Error> {
        Ok(in_0_0_4(&self.text()?))
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

    /// Counts one attempt to tell somebody.
    pub fn notice(&self, receiver: &str, outcome: &'static str) {
        self.notices.get_or_create(&NoticeLabels { receiver: receiver.to_owned(), outcome }).inc();
    }

    /// Notes since when somebody waits to be told, if somebody does, and of how many Deployments something is open.
    pub fn untold(&self, oldest: Option<DateTime<Utc>>, open: u64) {
        self.oldest_notice.set(oldest.map_or(0, |made_at| made_at.timestamp()));
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Observes how long a step took.
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.stages.get_or_create(&StageLabels { stage }).observe(took.as_secs_f64());
    }

    /// Observes how old an event was when it was durable.
    pub fn durable(&self, event_time: DateTime<Utc>, now: DateTime<Utc>) {
        self.event_age.observe((now - event_time).as_seconds_f64());
    }

    /// Notes that an event of a cluster is recorded. Events come in any order: the latest counts.
    pub fn recorded(&self, cluster_id: String, event_time: DateTime<Utc>) {
        if let Some(gauge) = gauge_of(&self.last_events, &self.clusters, &ClusterLabels { cluster_id }) {
            gauge.inner().fetch_max(event_time.timestamp(), Ordering::Relaxed);
        }
    }

    /// Notes that a canary of a cluster came, and how long after its call.
    pub fn canary(&self, cluster_id: String, event_time: DateTime<Utc>, seconds: f64) {
        let labels = ClusterLabels { cluster_id };
        if let Some(gauge) = gauge_of(&self.last_canaries, &self.canary_clusters, &labels) {
            gauge.inner().fetch_max(event_time.timestamp(), Ordering::Relaxed);
            self.canary_delays.get_or_create(&labels).set(seconds);
        }
    }

    /// Notes that a message came.
    pub fn came(&self, now: DateTime<Utc>) {
        self.last_message.set(now.timestamp());
    }
}

/// The gauge of a cluster, if there is room for one more.
fn gauge_of(family: &Family<ClusterLabels, Gauge>, clusters: &AtomicUsize, labels: &ClusterLabels) -> Option<Gauge> {
    let known = family.get(labels).map(|gauge| gauge.clone());
    known.or_else(|| {
        let has_room = clusters.fetch_add(1, Ordering::Relaxed) < CLUSTERS_AT_MOST;
        has_room.then(|| family.get_or_create(labels).clone())
    })
}

/// OpenMetrics in the older format. It names a counter as its samples are named, knows no `info`, units or end, and has a
/// comment in the place of what it does not know.
fn in_0_0_4(open_metrics: &str) -> String {
    let types: HashMap<&str, &str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let line = |line: &str| -> Option<String> {
        let Some(comment) = line.strip_prefix("# ") else { return Some(format!("{line}\n")) };
        let (what, about) = comment.split_once(' ')?;
        let (name, rest) = about.split_once(' ')?;
        let (suffix, type_name) = match types.get(name).copied().unwrap_or_default() {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            other => ("", other),
        };
        match what {
            "HELP" => Some(format!("# HELP {name}{suffix} {rest}\n")),
            "TYPE" => Some(format!("# TYPE {name}{suffix} {type_name}\n")),
            _ => None,
        }
    };
    open_metrics.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_event_of_a_cluster_counts_whatever_order_they_come_in() {
        let metrics = Metrics::default();
        for seconds in [100, 300, 200] {
            metrics.recorded("c".to_owned(), DateTime::from_timestamp(seconds, 0).expect("a time"));
        }
        let text = metrics.text().expect("text");
        assert!(text.contains("pedwatch_last_event_timestamp_seconds{cluster_id=\"c\"} 300"), "{text}");
    }

    #[test]
    fn clusters_without_end_are_series_with_an_end() {
        let metrics = Metrics::default();
        for number in 0..CLUSTERS_AT_MOST + 500 {
            metrics.recorded(format!("c{number}"), Utc::now());
        }
        let text = metrics.text().expect("text");
        assert_eq!(text.matches("pedwatch_last_event_timestamp_seconds{").count(), CLUSTERS_AT_MOST);
    }
}
