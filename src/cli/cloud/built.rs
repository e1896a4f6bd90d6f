//! This build has all of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use prometheus_client::metrics::counter::Counter;

use super::super::ledger::{no_ledger, open, refused};
use crate::bucket::{self, ObjectName};
use crate::config::Config;
use crate::notify::channel::Channels;
use crate::notify::ledger::Ledger;
use crate::pipeline::incidents::Telling;
use crate::store::bigquery::{BigQuery, DatasetName};
use crate::store::firestore::{DatabaseName, Firestore, Registered};
use crate::store::{Store, StoreError};

pub(in crate::cli) async fn open_bigquery(name: DatasetName, config: &Config) -> Result<Arc<dyn Store>> {
    open_counting_bigquery(name, config, Counter::default()).await
}

/// As [`open_bigquery`]; counts the requests that are sent again.
pub(in crate::cli) async fn open_counting_bigquery(
    name: DatasetName,
    config: &Config,
    retries: Counter,
) -> Result<Arc<dyn Store>> {
    let context = format!("cannot open the store {name}");
    let opened = BigQuery::open_counting(name, &config.bigquery, retries).await;
    Ok(Arc::new(opened.context(context)?))
}

pub(in crate::cli) async fn open_firestore(name: &DatabaseName, config: &Config) -> Result<Arc<dyn Ledger>> {
    let opened = Firestore::open(name, &config.firestore).await;
    Ok(Arc::new(opened.with_context(|| format!("cannot open the ledger firestore:{name}"))?))
}

/// A store for the facts, with its versions in a registry.
pub(in crate::cli) async fn open_registry(
    facts: Arc<dyn Store>,
    name: &DatabaseName,
    config: &Config,
) -> Result<Arc<dyn Store>> {
    let opened = Registered::open(facts, name, &config.firestore).await;
    // It is named in what is told, and the store itself works.
    let told = |error| match error {
        StoreError::Transient(why) | StoreError::Missing(why) | StoreError::Permanent(why) => anyhow::Error::msg(why),
    };
    Ok(Arc::new(opened.map_err(told)?))
}

/// What telling people takes; `None` where nobody is to be told.
pub(in crate::cli) async fn open_telling(config: &Config) -> Result<Option<Arc<Telling>>> {
    open(config, Channels::open(&config.notify)).await
}

/// As [`open_telling`], for commands that make no sense without.
pub(in crate::cli) async fn require_telling(config: &Config) -> Result<Arc<Telling>> {
    open_telling(config).await?.ok_or_else(no_ledger)
}

/// The receivers, with their secrets and templates.
pub(in crate::cli) fn open_channels(config: &Config) -> Result<Channels> {
    Channels::open(&config.notify).map_err(refused)
}

/// Checks the receivers, with their secrets and templates.
pub(in crate::cli) fn check_channels(config: &Config) -> Result<()> {
    open_channels(config).map(drop)
}

/// Cloud Storage.
pub(in crate::cli) struct Storage(bucket::Storage);

impl Storage {
    /// For an object that is to be put there later.
    pub(in crate::cli) async fn open(_: &ObjectName, config: &Config) -> Result<Self> {
        Ok(Storage(bucket::Storage::new(&config.storage).await?))
    }

    pub(in crate::cli) async fn put(&self, object: &ObjectName, content_type: &str, content: &str) -> Result<()> {
        let uploaded = self.0.upload(object, content_type, content).await;
        uploaded.with_context(|| format!("failed to write {object}"))
    }
}
