//! The configuration as it is written: serde's structs, their defaults, and the one conversion into a valid [`Config`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Config, Origin};
use crate::telemetry::LogFormat;
use billing::RawBilling;
pub(super) use check::Faults;
use cluster::{RawCanary, RawCluster, RawGke, RawSnapshot};
use comparison::RawComparison;
pub(super) use notify::SECRETS;
use notify::{RawFirestore, RawNotify, RawReceiver, RawRoute};
use policy::{RawActors, RawPlatform, RawRules, RawScope};
use source::{RawBackfill, RawPull, RawPush};
use storage::RawStorage;
use store::{RawBigQuery, RawConsumer, RawStore};

mod billing;
mod check;
mod cluster;
mod comparison;
mod notify;
mod policy;
mod source;
mod storage;
mod store;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    registry: String,
    platform: RawPlatform,
    actors: RawActors,
    scope: RawScope,
    rules: RawRules,
    comparison: RawComparison,
    store: RawStore,
    bigquery: RawBigQuery,
    consumer: RawConsumer,
    push: RawPush,
    pull: RawPull,
    backfill: RawBackfill,
    billing: RawBilling,
    storage: RawStorage,
    snapshot: RawSnapshot,
    canary: RawCanary,
    gke: RawGke,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    clusters: BTreeMap<String, RawCluster>,
    notify: RawNotify,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    receivers: BTreeMap<String, RawReceiver>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RawRoute>,
    firestore: RawFirestore,
    log: RawLog,
}

/// Sections of which there may be several, each with a name, and what each has by default.
pub(super) fn named_sections() -> [(&'static str, Table); 2] {
    // As all defaults, plain values.
    [
        ("clusters", Table::try_from(RawCluster::default()).unwrap_or_default()),
        ("receivers", Table::try_from(RawReceiver::default()).unwrap_or_default()),
    ]
}

/// What a route is by default.
pub(super) fn route() -> Table {
    Table::try_from(RawRoute::default()).unwrap_or_default()
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
    /// The configuration that it says. It is valid where no fault is added.
    pub(super) fn validate(self, origins: BTreeMap<String, (String, Origin)>, faults: &mut Faults) -> Config {
        let receivers = notify::receivers(self.receivers, &origins, faults);
        Config {
            ledger: self.notify.ledger(faults),
            notify: self.notify.validate(receivers, self.routes, faults),
            firestore: self.firestore.validate(faults),
            policy: policy::policy(
                &self.platform,
                &self.actors,
                &self.canary.left_out(self.scope, origins.get("canary.namespace").map(|(_, origin)| origin)),
                &self.rules,
                faults,
            ),
            thresholds: self.comparison.validate(faults),
            store: self.store.validate(faults),
            registry: store::registry(&self.registry, faults),
            bigquery: self.bigquery.validate(faults),
            consumer: self.consumer.validate(faults),
            push: self.push.validate(faults),
            pull: self.pull.validate(faults),
            backfill: self.backfill.validate(faults),
            prices: self.billing.validate(faults),
            storage: self.storage.validate(faults),
            snapshot: self.snapshot.validate(faults),
            canary: self.canary.validate(faults),
            gke: self.gke.validate(faults),
            clusters: cluster::clusters(self.clusters, faults),
            log_format: self.log.format,
            file: None,
            origins,
            ignored: Vec::new(),
        }
    }
}
