//! `[push]` and `[pull]`: where messages come from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{port, url, within};
use crate::config::ConfigError;
use crate::source::pull::PullConfig;
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
    pub(super) fn validate(self) -> Result<PushConfig, ConfigError> {
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
    pub(super) fn validate(self) -> Result<PullConfig, ConfigError> {
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
