//! The configuration as it is written: serde's structs, their defaults, and the one conversion into a valid [`Config`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Origin};
use crate::telemetry::LogFormat;
use policy::{RawActors, RawPlatform, RawRules, RawScope};
use source::{RawPull, RawPush};
use store::{RawBigQuery, RawConsumer, RawStore};

mod check;
mod policy;
mod source;
mod store;

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
struct RawLog {
    format: LogFormat,
}

impl Default for RawLog {
    fn default() -> Self {
        RawLog { format: LogFormat::Text }
    }
}

impl Raw {
    pub(super) fn validate(self, origins: BTreeMap<String, (String, Origin)>) -> Result<Config, ConfigError> {
        Ok(Config {
            policy: policy::policy(&self.platform, &self.actors, &self.scope, &self.rules)?,
            store: self.store.validate()?,
            bigquery: self.bigquery.validate()?,
            consumer: self.consumer.validate()?,
            push: self.push.validate()?,
            pull: self.pull.validate()?,
            log_format: self.log.format,
            origins,
            ignored: Vec::new(),
        })
    }
}
