//! A store for the facts, with its versions in a registry of their own.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc::Sender;

use super::super::query::{Query, Rows};
use super::super::row::Record;
use super::super::{Appended, Registry, Store, StoreError, Written};
use super::registry::Versions;
use super::{DatabaseName, FirestoreConfig};
use crate::notify::ledger::{Change, FileId};
use crate::ped::Deployment;

/// A store whose versions are in a registry of their own.
pub struct Registered {
    facts: Arc<dyn Store>,
    versions: Versions,
}

impl Registered {
    /// Takes a store for the facts and for a copy of all versions. Nothing is sent yet but a request for a token.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] where there are no credentials.
    pub async fn open(
        facts: Arc<dyn Store>,
        name: &DatabaseName,
        config: &FirestoreConfig,
    ) -> Result<Self, StoreError> {
        let versions = Versions::open(Arc::clone(&facts), name, config).await?;
        Ok(Registered { facts, versions })
    }
}

/// The facts are the store's, and all but the versions is asked of it.
#[async_trait]
impl Store for Registered {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.facts.append(records).await
    }

    async fn append_with(&self, records: Arc<[Record]>, changes: Vec<Change>) -> Result<Written, StoreError> {
        self.facts.append_with(records, changes).await
    }

    fn file(&self) -> Option<FileId> {
        self.facts.file()
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(&self.versions)
    }

    fn appends_at_once(&self) -> usize {
        self.facts.appends_at_once()
    }

    fn bills_questions(&self) -> bool {
        self.facts.bills_questions()
    }

    fn takes_from(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.facts.takes_from(now)
    }

    fn keeps_events_from(&self) -> Option<DateTime<Utc>> {
        self.facts.keeps_events_from()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.facts.check().await?;
        self.versions.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.facts.fetch(query).await
    }

    async fn fetch_pages(&self, query: &Query, page_rows: usize, pages: Sender<Rows>) -> Result<(), StoreError> {
        self.facts.fetch_pages(query, page_rows, pages).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.facts.ping().await?;
        // No Deployment has this name.
        self.versions.claims(Some(&[Deployment::default()])).await.map(drop)
    }
}
