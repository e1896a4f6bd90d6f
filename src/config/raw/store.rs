//! `[store]`, `[bigquery]`, `[consumer]`: where facts go, and how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{port, url, within};
use crate::config::{ConfigError, ConsumerConfig, StoreUrl};
use crate::store::batch::Batching;
use crate::store::bigquery::BigQueryConfig;
use crate::telemetry::redact;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStore {
    url: String,
}

impl RawStore {
    pub(super) fn validate(&self) -> Result<Option<StoreUrl>, ConfigError> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let refuse = |_| ConfigError::Invalid {
            key: "store.url",
            value: format!("{:?}", redact::url(&self.url)),
            wanted: "expected \"sqlite:FILE\" or \"bigquery:PROJECT.DATASET\"".to_owned(),
        };
        self.url.parse().map(Some).map_err(refuse)
    }
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
    pub(super) fn validate(self) -> Result<BigQueryConfig, ConfigError> {
        let endpoint = url("bigquery.endpoint", self.endpoint)?;
        // 600 s is the longest that Pub/Sub waits for an acknowledgement.
        let deadline = within("bigquery.deadline_seconds", self.deadline_seconds, 1..=600)?;
        // Each request of 500 rows may take some MB; more would only queue at BigQuery's own quota.
        let requests = within("bigquery.requests_in_flight", self.requests_in_flight, 1..=64)?;
        // Partitions are days, and a table has at most 10,000 of them.
        let days = within("bigquery.partition_expiration_days", self.partition_expiration_days, 0..=10_000)?;
        Ok(BigQueryConfig {
            endpoint,
            anonymous: self.anonymous,
            location: Some(self.location).filter(|location| !location.is_empty()),
            deadline: Duration::from_secs(deadline.into()),
            requests_in_flight: requests as usize,
            partition_expiration_days: Some(days).filter(|&days| days > 0),
        })
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
    metrics_port: i64,
}

impl Default for RawConsumer {
    fn default() -> Self {
        RawConsumer {
            batch_rows: 500,
            batch_wait_ms: None,
            batches_in_flight: 4,
            limits_refresh_seconds: 60,
            metrics_port: 9090,
        }
    }
}

impl RawConsumer {
    pub(super) fn validate(&self) -> Result<ConsumerConfig, ConfigError> {
        let refresh = within("consumer.limits_refresh_seconds", self.limits_refresh_seconds, 1..=300)?;
        Ok(ConsumerConfig {
            batching: Batching {
                rows: within("consumer.batch_rows", self.batch_rows, 1..=10_000)? as usize,
                in_flight: within("consumer.batches_in_flight", self.batches_in_flight, 1..=64)? as usize,
                ..Batching::default()
            },
            limits_refresh: Duration::from_secs(refresh.into()),
            metrics_port: port("consumer.metrics_port", self.metrics_port)?,
        })
    }
}
