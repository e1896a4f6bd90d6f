//! This build speaks to nobody.

use std::sync::Arc;

use anyhow::Result;

use super::super::ledger::refused;
use super::super::{Usage, report};
use crate::bucket::ObjectName;
use crate::config::Config;
use crate::notify::channel::Channels;
use crate::notify::ledger::Ledger;
use crate::store::Store;
use crate::store::bigquery::DatasetName;
use crate::store::firestore::DatabaseName;

/// That this binary does not have something; `instead` is what it has, where it has something.
pub(in crate::cli) fn without(what: &str, instead: Option<&str>) -> anyhow::Error {
    let instead = instead.map(|instead| format!(", or {instead}")).unwrap_or_default();
    Usage(format!(
        "{what} needs what speaks to Google Cloud and to receivers, which this pedwatch is built without; expected a build \
         with cargo build --release, or the image{instead}"
    ))
    .into()
}

pub(in crate::cli) async fn open_bigquery(name: DatasetName, _: &Config) -> Result<Arc<dyn Store>> {
    Err(without(&format!("bigquery:{name}"), Some("a store in sqlite:FILE")))
}

pub(in crate::cli) async fn open_firestore(name: &DatabaseName, _: &Config) -> Result<Arc<dyn Ledger>> {
    Err(without(&format!("firestore:{name}"), Some("a ledger in sqlite:FILE")))
}

pub(in crate::cli) async fn open_registry(
    _: Arc<dyn Store>,
    name: &DatabaseName,
    _: &Config,
) -> Result<Arc<dyn Store>> {
    Err(without(&format!("firestore:{name}"), Some("no registry, for versions in the store itself")))
}

/// Checks how the receivers are told things. What opens them, and with it their secrets, is not here.
pub(in crate::cli) fn check_channels(config: &Config) -> Result<()> {
    Channels::for_words(&config.notify).map_err(refused)?;
    if !config.notify.receivers.is_empty() {
        report::note("the secrets of the receivers are not checked: this pedwatch is built with --no-default-features");
    }
    Ok(())
}

/// Cloud Storage, which is not there.
pub(in crate::cli) enum Storage {}

impl Storage {
    pub(in crate::cli) async fn open(object: &ObjectName, _: &Config) -> Result<Self> {
        Err(without(&object.to_string(), Some("--output FILE")))
    }

    pub(in crate::cli) async fn put(&self, _: &ObjectName, _: &str, _: &str) -> Result<()> {
        match *self {}
    }
}
