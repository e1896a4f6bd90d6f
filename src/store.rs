//! Where facts are kept. [`Store`] is the one seam with more than one implementation; all pass the same tests.
//!
//! Facts are append-only and carry deterministic ids, so appending one twice changes nothing. Whatever depends on
//! order is a view.

use std::sync::Arc;

use async_trait::async_trait;

use crate::ped::history::Registration;
use query::{Query, Rows};
use row::{DeploymentConfig, Record};

pub mod batch;
pub mod bigquery;
pub mod query;
pub mod row;
pub mod schema;
pub mod sqlite;

/// What became of one appended row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, by this append or by an earlier one.
    Stored,
    /// The store will not take it, for this reason. Its neighbours are stored.
    Refused(String),
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may work later: the message is to be redelivered.
    #[error("the store cannot be used now, it may work later: {0}")]
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
    /// [`StoreError`] when some of them may not be stored; appending them all again is safe.
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError>;

    /// Checks that tables and views are what this binary needs, before it begins to write for long.
    ///
    /// # Errors
    /// [`StoreError`] with what is missing, and how to make it.
    async fn check(&self) -> Result<(), StoreError>;

    /// Answers a question. The questions there are stand in [`query`].
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be answered.
    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError>;
}

/// Appends the version that follows from what is registered; `None` when nothing recorded changes.
///
/// # Errors
/// [`StoreError`] when it may not be stored; registering it again is safe.
pub async fn register(store: &dyn Store, registration: Registration) -> Result<Option<DeploymentConfig>, StoreError> {
    let subject = &registration.ped.subject;
    let query = query::versions_of(&[(subject.namespace.clone(), subject.deployment.clone())]);
    let registered: Vec<DeploymentConfig> = store.fetch(&query).await?.read()?;
    let next = registration.next(&registered);
    if let Some(version) = &next {
        store.append(Arc::new([Record::Version(Box::new(version.clone()))])).await?;
    }
    Ok(next)
}
