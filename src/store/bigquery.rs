//! BigQuery: the same facts at scale.
//!
//! Facts and PED versions are streamed (`streaming`), and questions are parameterised queries (`sql`). The dataset itself is made by Terraform or `pedwatch schema apply` (`dataset`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use super::query::{Query, Rows};
use super::row::Record;
use super::{Appended, Store, StoreError};
use client::Client;

mod client;
mod dataset;
mod sql;
mod streaming;

pub use dataset::Change;

/// A dataset, `PROJECT.DATASET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetName {
    /// Google Cloud project that holds it, and that pays for the queries.
    pub project: String,
    /// Its name in there.
    pub dataset: String,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project, self.dataset)
    }
}

impl DatasetName {
    /// How it stands in SQL.
    pub fn quoted(&self) -> String {
        format!("`{}`.{}", self.project, self.dataset)
    }
}

impl FromStr for DatasetName {
    type Err = String;

    /// A dataset's name stands in every query, so nothing but what BigQuery allows in one gets in:
    /// <https://cloud.google.com/bigquery/docs/datasets#dataset-naming>.
    fn from_str(text: &str) -> Result<Self, String> {
        let dataset = |c: char| c.is_ascii_alphanumeric() || c == '_';
        // `:` and `.` are in the names of projects under a domain, such as `example.com:acme-prod`.
        let project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        match text.rsplit_once('.') {
            Some((left, right))
                if !left.is_empty() && !right.is_empty() && left.chars().all(project) && right.chars().all(dataset) =>
            {
                Ok(DatasetName { project: left.to_owned(), dataset: right.to_owned() })
            }
            _ => Err(format!("{text:?} is not a dataset; expected PROJECT.DATASET, such as acme-prod.pedwatch")),
        }
    }
}

/// How BigQuery is reached. Made by [`crate::config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BigQueryConfig {
    /// Base URL of another server than Google's.
    pub endpoint: Option<String>,
    /// Sends no credentials: for an emulator.
    pub anonymous: bool,
    /// Where the dataset lies; `None` leaves it to BigQuery.
    pub location: Option<String>,
    /// How long an append or a query may take with all its retries. Less than a message's acknowledgement deadline, so
    /// that it can be given back in time.
    pub deadline: Duration,
    /// insertAll requests on their way at once.
    pub requests_in_flight: usize,
    /// Days after which partitions of facts are dropped; `None` keeps them for ever. Never applied to
    /// `deployment_config`, whose old versions still judge old writes.
    pub partition_expiration_days: Option<u32>,
}

/// What requests share.
struct Shared {
    name: DatasetName,
    config: BigQueryConfig,
    client: Client,
    requests: Semaphore,
}

/// One dataset.
#[derive(Clone)]
pub struct BigQuery {
    shared: Arc<Shared>,
}

impl BigQuery {
    /// Prepares the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] when there are no credentials.
    pub async fn open(name: DatasetName, config: &BigQueryConfig) -> Result<Self, StoreError> {
        Self::open_counting(name, config, Counter::default()).await
    }

    /// As [`BigQuery::open`]; counts the requests that are sent again.
    ///
    /// # Errors
    /// As [`BigQuery::open`].
    pub async fn open_counting(
        name: DatasetName,
        config: &BigQueryConfig,
        retries: Counter,
    ) -> Result<Self, StoreError> {
        let client = Client::new(config, retries).await?;
        let requests = Semaphore::new(config.requests_in_flight);
        Ok(BigQuery { shared: Arc::new(Shared { name, config: config.clone(), client, requests }) })
    }
}

#[async_trait]
impl Store for BigQuery {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        Ok(self.stream(&records).await?)
    }

    /// Each is a request of its own, and its configuration says how many it takes.
    fn appends_at_once(&self) -> usize {
        self.shared.config.requests_in_flight
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        // The views are for people: nothing here asks them.
        for change in self.table_changes().await? {
            match change {
                Change::CreateDataset | Change::CreateTable(_) | Change::AddColumns(..) | Change::RelaxColumns(..) => {
                    missing.push(change.to_string());
                }
                Change::ReplaceView(_) | Change::Refused(_) => {
                    tracing::warn!(%change, "the dataset differs from what this version of pedwatch knows");
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let name = &self.shared.name;
        let what = missing.join("; ");
        Err(StoreError::Permanent(format!(
            "{name} lacks something: {what} (pedwatch schema apply, or Terraform, does)"
        )))
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        Ok(self.query(query).await?)
    }
}
