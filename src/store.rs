//! Where facts are kept. [`Store`] is the one seam with more than one implementation; all pass the same tests.
//!
//! Facts are append-only and carry deterministic ids, so appending one twice changes nothing. Whatever depends on
//! order is a view.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use crate::ped::history::Registration;
use row::{AlertLog, DeploymentConfig, Quarantine, Record};

pub mod row;
pub mod schema;
pub mod sqlite;

/// What became of one appended row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored now.
    New,
    /// A row of that id was there already; nothing changed.
    Duplicate,
    /// The store will not take it, for this reason. Its neighbours are stored.
    Refused(String),
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later: the message is to be redelivered.
    #[error("the store cannot be written now, nothing was stored: {0}")]
    Transient(String),
    /// It will not work without a person.
    #[error("the store does not work: {0}")]
    Permanent(String),
}

/// A place for facts.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends rows, and returns only when they are durable. One outcome for each row, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when none of them was stored.
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError>;

    /// Appends the version that follows from what is registered, atomically; `None` when nothing recorded changes.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    async fn register(&self, registration: Registration) -> Result<Option<DeploymentConfig>, StoreError>;

    /// All versions, or those of one Deployment (namespace, name), oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    async fn versions(&self, of: Option<(String, String)>) -> Result<Vec<DeploymentConfig>, StoreError>;

    /// What a run recorded: see [`RunReport`].
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    async fn report(&self, run: DateTime<Utc>, at_most: usize) -> Result<RunReport, StoreError>;

    /// All rows of a table or view, as objects of their columns in no particular order. Times and JSON are text.
    ///
    /// # Errors
    /// [`StoreError`] when there is no such table, or it cannot be read.
    async fn dump(&self, table: &str) -> Result<Vec<Json>, StoreError>;
}

/// What one run recorded, told by its `ingested_at`: at most so many of each, the earliest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunReport {
    /// From the view `replica_changes`.
    pub changes: Vec<row::Change>,
    /// From `alert_log`.
    pub alerts: Vec<AlertLog>,
    /// From `quarantine`.
    pub quarantined: Vec<Quarantine>,
}
