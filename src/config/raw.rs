//! The configuration as it is written: serde's structs, their defaults, and the one conversion into a valid [`Config`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, ConsumerConfig, Origin};
use crate::policy::{AlertType, Policy, Routes, Scope, Severities, Severity};
use crate::source::pull::PullConfig;
use crate::source::push::{PushAuth, PushConfig};
use crate::store::batch::Batching;
use crate::store::bigquery::BigQueryConfig;
use crate::telemetry::{LogFormat, redact};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    platform: RawPlatform,
    actors: RawActors,
    scope: RawScope,
    rules: RawRules,
    store: RawStore,
    bigquery: RawBigQuery,
    consumer: RawConsumer,
    push: RawPush,
    pull: RawPull,
    log: RawLog,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPlatform {
    min_replicas: i64,
    max_replicas: i64,
    allow_zero: bool,
}

impl Default for RawPlatform {
    fn default() -> Self {
        RawPlatform { min_replicas: 2, max_replicas: 8, allow_zero: true }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawActors {
    pipeline: Vec<String>,
    autoscaler: Vec<String>,
    controller: Vec<String>,
    proxies: Vec<String>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl Default for RawActors {
    fn default() -> Self {
        RawActors {
            pipeline: Vec::new(),
            // GKE's horizontal autoscaling writes as the second.
            autoscaler: owned(&[
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                "system:vpa-recommender",
            ]),
            controller: owned(&[
                "system:serviceaccount:kube-system:*",
                "system:kube-controller-manager",
                "system:addon-manager",
                "system:node:*",
                "*@container-engine-robot.iam.gserviceaccount.com",
            ]),
            // The Connect gateway's agent calls for whoever uses the gateway.
            proxies: owned(&["system:serviceaccount:gke-connect:connect-agent-sa"]),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawScope {
    exclude_clusters: Vec<String>,
    exclude_namespaces: Vec<String>,
    exclude_deployments: Vec<String>,
}

impl Default for RawScope {
    fn default() -> Self {
        RawScope {
            exclude_clusters: Vec::new(),
            // What GKE runs for itself.
            exclude_namespaces: owned(&[
                "kube-system",
                "kube-public",
                "kube-node-lease",
                "gke-*",
                "gmp-system",
                "gmp-public",
                "gkebackup",
                "asm-system",
                "config-management-*",
                "resource-group-system",
            ]),
            exclude_deployments: Vec::new(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRules {
    over_limit: RawRule,
    outside_platform_range: RawRule,
    unregistered: RawRule,
    bypass: RawRule,
    over_initial: RawRule,
    unknown_value: RawRule,
    unknown_removal: RawRule,
}

impl Default for RawRules {
    fn default() -> Self {
        let on = |severity| RawRule { enabled: Some(true), severity: Some(severity) };
        RawRules {
            over_limit: on(Severity::Critical),
            outside_platform_range: on(Severity::Warning),
            unregistered: on(Severity::Warning),
            bypass: on(Severity::Info),
            over_initial: on(Severity::Info),
            unknown_value: on(Severity::Warning),
            unknown_removal: on(Severity::Warning),
        }
    }
}

impl RawRules {
    fn severity_of(&self, alert_type: AlertType) -> Option<Severity> {
        let rule = match alert_type {
            AlertType::OverLimit => &self.over_limit,
            AlertType::OutsidePlatformRange => &self.outside_platform_range,
            AlertType::Unregistered => &self.unregistered,
            AlertType::Bypass => &self.bypass,
            AlertType::OverInitial => &self.over_initial,
            AlertType::UnknownValue => &self.unknown_value,
            AlertType::UnknownRemoval => &self.unknown_removal,
        };
        rule.severity.filter(|_| rule.enabled == Some(true))
    }
}

/// Optional, because a rule in the file may give one of its keys; laid over the defaults, both are there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRule {
    enabled: Option<bool>,
    #[serde(with = "severity", skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
}

/// A severity by its name.
mod severity {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::names::Named;
    use crate::policy::Severity;

    pub(super) fn serialize<S: Serializer>(severity: &Option<Severity>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(severity.map_or("", Named::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Severity>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawStore {
    url: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawBigQuery {
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
    fn validate(self) -> Result<BigQueryConfig, ConfigError> {
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
struct RawConsumer {
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
    fn validate(&self) -> Result<ConsumerConfig, ConfigError> {
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

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPushAuth {
    Oidc,
    Platform,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPush {
    port: i64,
    auth: RawPushAuth,
    audience: String,
    service_account: String,
    certs_url: String,
    max_in_flight: i64,
}

impl Default for RawPush {
    fn default() -> Self {
        RawPush {
            port: 8080,
            auth: RawPushAuth::Oidc,
            audience: String::new(),
            service_account: String::new(),
            certs_url: "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
            max_in_flight: 256,
        }
    }
}

impl RawPush {
    fn validate(self) -> Result<PushConfig, ConfigError> {
        let auth = match self.auth {
            RawPushAuth::Platform => PushAuth::Platform,
            // Whether audience and account are there matters to `serve` alone, which asks for them.
            RawPushAuth::Oidc => PushAuth::Oidc {
                audience: self.audience,
                service_account: self.service_account,
                certs_url: url("push.certs_url", self.certs_url)?.unwrap_or_default(),
            },
        };
        let max_in_flight = within("push.max_in_flight", self.max_in_flight, 1..=10_000)? as usize;
        Ok(PushConfig { port: port("push.port", self.port)?, auth, max_in_flight })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPull {
    subscription: String,
    endpoint: String,
    anonymous: bool,
    max_outstanding_messages: i64,
    max_outstanding_mib: i64,
    lease_seconds: i64,
}

impl Default for RawPull {
    fn default() -> Self {
        RawPull {
            subscription: String::new(),
            endpoint: String::new(),
            anonymous: false,
            max_outstanding_messages: 1_000,
            max_outstanding_mib: 64,
            lease_seconds: 60,
        }
    }
}

impl RawPull {
    fn validate(self) -> Result<PullConfig, ConfigError> {
        let parts: Vec<&str> = self.subscription.split('/').collect();
        let subscription = match parts.as_slice() {
            [""] => None,
            ["projects", project, "subscriptions", name] if !project.is_empty() && !name.is_empty() => {
                Some(self.subscription)
            }
            _ => {
                return Err(ConfigError::Invalid {
                    key: "pull.subscription",
                    value: format!("{:?}", self.subscription),
                    wanted: "expected \"projects/PROJECT/subscriptions/NAME\"".to_owned(),
                });
            }
        };
        Ok(PullConfig {
            subscription,
            endpoint: url("pull.endpoint", self.endpoint)?,
            anonymous: self.anonymous,
            max_outstanding_messages: within(
                "pull.max_outstanding_messages",
                self.max_outstanding_messages,
                1..=100_000,
            )?,
            max_outstanding_mib: within("pull.max_outstanding_mib", self.max_outstanding_mib, 1..=4_096)?,
            // The range is Pub/Sub's: https://cloud.google.com/pubsub/docs/lease-management.
            lease: Duration::from_secs(within("pull.lease_seconds", self.lease_seconds, 10..=600)?.into()),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLog {
    format: LogFormat,
}

impl Default for RawLog {
    fn default() -> Self {
        RawLog { format: LogFormat::Text }
    }
}

/// A URL, or nothing.
fn url(key: &'static str, text: String) -> Result<Option<String>, ConfigError> {
    if text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Some(text).filter(|text| !text.is_empty()));
    }
    let wanted = "expected a URL such as \"http://127.0.0.1:9050\", or empty for Google's".to_owned();
    Err(ConfigError::Invalid { key, value: format!("{:?}", redact::url(&text)), wanted })
}

fn port(key: &'static str, value: i64) -> Result<u16, ConfigError> {
    Ok(u16::try_from(within(key, value, 1..=65_535)?).unwrap_or(u16::MAX))
}

/// A number inside the range that the message names.
fn within(key: &'static str, value: i64, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    u32::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| ConfigError::Invalid {
        key,
        value: value.to_string(),
        wanted: format!("expected from {} to {}", range.start(), range.end()),
    })
}

impl Raw {
    pub(super) fn validate(self, origins: BTreeMap<String, (String, Origin)>) -> Result<Config, ConfigError> {
        let RawPlatform { min_replicas, max_replicas, allow_zero } = self.platform;
        if min_replicas < 0 {
            let wanted = "expected 0 or more".to_owned();
            return Err(ConfigError::Invalid { key: "platform.min_replicas", value: min_replicas.to_string(), wanted });
        }
        if max_replicas < min_replicas || max_replicas > i64::from(i32::MAX) {
            let wanted = format!("expected from {min_replicas} (platform.min_replicas) to {}", i32::MAX);
            return Err(ConfigError::Invalid { key: "platform.max_replicas", value: max_replicas.to_string(), wanted });
        }
        let store = match self.store.url.as_str() {
            "" => None,
            url => Some(url.parse().map_err(|_| ConfigError::Invalid {
                key: "store.url",
                value: format!("{:?}", redact::url(url)),
                wanted: "expected \"sqlite:FILE\" or \"bigquery:PROJECT.DATASET\"".to_owned(),
            })?),
        };
        let bigquery = self.bigquery.validate()?;
        let policy = Policy {
            platform: min_replicas..=max_replicas,
            allow_zero,
            severity: Severities::from_fn(|alert_type| self.rules.severity_of(alert_type)),
            routes: Routes::new(
                &self.actors.pipeline,
                &self.actors.autoscaler,
                &self.actors.controller,
                &self.actors.proxies,
            ),
            scope: Scope::new(
                &self.scope.exclude_clusters,
                &self.scope.exclude_namespaces,
                &self.scope.exclude_deployments,
            ),
        };
        Ok(Config {
            ignored: Vec::new(),
            policy,
            store,
            bigquery,
            consumer: self.consumer.validate()?,
            push: self.push.validate()?,
            pull: self.pull.validate()?,
            log_format: self.log.format,
            origins,
        })
    }
}
