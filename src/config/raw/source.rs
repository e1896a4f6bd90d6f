//! `[push]`, `[pull]` and `[backfill]`: where messages come from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::source::logging::LoggingConfig;
use crate::source::pull::{PullConfig, subscription};
use crate::source::push::{PushAuth, PushConfig};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPushAuth {
    Oidc,
    Platform,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPush {
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
    pub(super) fn validate(self, faults: &mut Faults) -> PushConfig {
        if !self.service_account.is_empty() && !self.service_account.contains('@') {
            let wanted = "expected the e-mail address of a service account".to_owned();
            faults.add("push.service_account", format!("{:?}", self.service_account), wanted);
        }
        let auth = match self.auth {
            RawPushAuth::Platform => PushAuth::Platform,
            // Whether audience and account are there matters to `serve` alone, which asks for them.
            RawPushAuth::Oidc => PushAuth::Oidc {
                audience: self.audience,
                service_account: self.service_account,
                certs_url: faults.url("push.certs_url", self.certs_url).unwrap_or_default(),
            },
        };
        let max_in_flight = faults.within("push.max_in_flight", self.max_in_flight, 1..=10_000) as usize;
        PushConfig { port: faults.port("push.port", self.port), auth, max_in_flight }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPull {
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
    pub(super) fn validate(self, faults: &mut Faults) -> PullConfig {
        let named = Some(self.subscription).filter(|named| !named.is_empty());
        let subscription = named.and_then(|named| match subscription(&named) {
            Ok(subscription) => Some(subscription),
            Err(wanted) => {
                faults.add("pull.subscription", format!("{named:?}"), wanted);
                None
            }
        });
        PullConfig {
            subscription,
            endpoint: faults.url("pull.endpoint", self.endpoint),
            anonymous: self.anonymous,
            max_outstanding_messages: faults.within(
                "pull.max_outstanding_messages",
                self.max_outstanding_messages,
                1..=100_000,
            ),
            max_outstanding_mib: faults.within("pull.max_outstanding_mib", self.max_outstanding_mib, 1..=4_096),
            // The range is Pub/Sub's: https://cloud.google.com/pubsub/docs/lease-management.
            lease: Duration::from_secs(faults.within("pull.lease_seconds", self.lease_seconds, 10..=600).into()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBackfill {
    endpoint: String,
    anonymous: bool,
    requests_per_minute: i64,
    deadline_seconds: i64,
}

impl Default for RawBackfill {
    fn default() -> Self {
        RawBackfill { endpoint: String::new(), anonymous: false, requests_per_minute: 50, deadline_seconds: 300 }
    }
}

impl RawBackfill {
    pub(super) fn validate(self, faults: &mut Faults) -> LoggingConfig {
        let deadline = faults.within("backfill.deadline_seconds", self.deadline_seconds, 1..=3_600);
        LoggingConfig {
            endpoint: faults.url("backfill.endpoint", self.endpoint),
            anonymous: self.anonymous,
            // A thousand a second: nobody has such a quota.
            requests_per_minute: faults.within("backfill.requests_per_minute", self.requests_per_minute, 1..=60_000),
            deadline: Duration::from_secs(deadline.into()),
        }
    }
}
