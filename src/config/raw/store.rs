//! `registry`, `[store]`, `[bigquery]`, `[consumer]`: where versions and facts go, and how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::config::{ConsumerConfig, REGISTRY_URL, RegistryUrl, StoreUrl};
use crate::store::batch::Batching;
use crate::store::bigquery::BigQueryConfig;
use crate::telemetry::redact;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStore {
    url: String,
}

impl RawStore {
    pub(super) fn validate(&self, faults: &mut Faults) -> Option<StoreUrl> {
        let url = self.url.parse().ok();
        if url.is_none() && !self.url.is_empty() {
            let wanted = "expected \"sqlite:FILE\" or \"bigquery:PROJECT.DATASET\"".to_owned();
            faults.add("store.url", format!("{:?}", redact::url(&self.url)), wanted);
        }
        url
    }
}

/// Where versions are kept; `None` for the store itself.
pub(super) fn registry(url: &str, faults: &mut Faults) -> Option<RegistryUrl> {
    let parsed = url.parse().ok();
    if parsed.is_none() && !url.is_empty() {
        let wanted = format!("expected \"{REGISTRY_URL}\", or empty for the store itself");
        faults.add("registry", format!("{:?}", redact::url(url)), wanted);
    }
    parsed
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBigQuery {
    endpoint: String,
    anonymous: bool,
    location: String,
    deadline_seconds: i64,
    requests_in_flight: i64,
    partition_expiration_days: i64,
}

impl Default for RawBigQuery {
    fn default() -> Self {
        RawBigQuery {
            endpoint: String::new(),
            anonymous: false,
            location: String::new(),
            deadline_seconds: 30,
            requests_in_flight: 8,
            partition_expiration_days: 0,
        }
    }
}

impl RawBigQuery {
    pub(super) fn validate(self, faults: &mut Faults) -> BigQueryConfig {
        let endpoint = faults.url("bigquery.endpoint", self.endpoint);
        // 600 s is the longest that Pub/Sub waits for an acknowledgement.
        let deadline = faults.within("bigquery.deadline_seconds", self.deadline_seconds, 1..=600);
        // Each request of 500 rows may take some MB; more would only queue at BigQuery's own quota.
        let requests = faults.within("bigquery.requests_in_flight", self.requests_in_flight, 1..=64);
        // Partitions are days, and a table has at most 10,000 of them.
        let days = faults.within("bigquery.partition_expiration_days", self.partition_expiration_days, 0..=10_000);
        BigQueryConfig {
            endpoint,
            anonymous: self.anonymous,
            location: Some(self.location).filter(|location| !location.is_empty()),
            deadline: Duration::from_secs(deadline.into()),
            requests_in_flight: requests as usize,
            partition_expiration_days: Some(days).filter(|&days| days > 0),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConsumer {
    batch_rows: i64,
    /// Of the first release, which gathered by a timer: without effect.
    #[serde(skip_serializing)]
    batch_wait_ms: Option<i64>,
    batches_in_flight: i64,
    limits_refresh_seconds: i64,
    start_wait_seconds: i64,
    metrics_port: i64,
}

impl Default for RawConsumer {
    fn default() -> Self {
        RawConsumer {
            batch_rows: 500,
            batch_wait_ms: None,
            batches_in_flight: 4,
            limits_refresh_seconds: 60,
            start_wait_seconds: 120,
            metrics_port: 9090,
        }
    }
}

impl RawConsumer {
    pub(super) fn validate(&self, faults: &mut Faults) -> ConsumerConfig {
        let refresh = faults.within("consumer.limits_refresh_seconds", self.limits_refresh_seconds, 1..=300);
        // IAM's slowest changes take longer; whoever starts us tries again then.
        let wait = faults.within("consumer.start_wait_seconds", self.start_wait_seconds, 0..=600);
        ConsumerConfig {
            batching: Batching {
                rows: faults.within("consumer.batch_rows", self.batch_rows, 1..=10_000) as usize,
                in_flight: faults.within("consumer.batches_in_flight", self.batches_in_flight, 1..=64) as usize,
                ..Batching::default()
            },
            limits_refresh: Duration::from_secs(refresh.into()),
            start_wait: Duration::from_secs(wait.into()),
            metrics_port: faults.port("consumer.metrics_port", self.metrics_port),
        }
    }
}
