//! BigQuery: the same facts at scale.
//!
//! Facts and PED versions are streamed (`streaming`), and questions are parameterised queries (`sql`). The dataset itself is made by Terraform or `pedwatch schema apply` (`dataset`).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Sender};

use super::query::{Query, Rows};
use super::reach::day;
use super::row::Record;
use super::{Appended, Store, StoreError};
use client::Client;

mod client;
mod dataset;
mod sql;
mod streaming;

pub use dataset::Change;

/// How far back rows are streamed: 1,825 days, less one that a long run may take.
/// <https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#time-unit_column_partitioning>
const STREAMED_BACK: TimeDelta = TimeDelta::days(1_824);

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

/// How long the id of a project is: <https://cloud.google.com/resource-manager/docs/creating-managing-projects>. Those
/// under a domain have it behind their colon; a project's number is within it too.
const PROJECT_CHARACTERS: RangeInclusive<usize> = 6..=30;

/// Longest name of a dataset, by BigQuery's own rule.
const DATASET_MAX_CHARACTERS: usize = 1_024;

impl FromStr for DatasetName {
    type Err = String;

    /// A dataset's name stands in every query, so nothing but what BigQuery allows in one gets in:
    /// <https://cloud.google.com/bigquery/docs/datasets#dataset-naming>.
    fn from_str(text: &str) -> Result<Self, String> {
        let dataset = |c: char| c.is_ascii_alphanumeric() || c == '_';
        // `:` and `.` are in the names of projects under a domain, such as `example.com:acme-prod`.
        let project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        let is_project = |text: &str| {
            let id = text.rsplit(':').next().unwrap_or_default();
            text.chars().all(project) && PROJECT_CHARACTERS.contains(&id.len())
        };
        let is_dataset = |text: &str| (1..=DATASET_MAX_CHARACTERS).contains(&text.len()) && text.chars().all(dataset);
        match text.rsplit_once('.') {
            Some((left, right)) if is_project(left) && is_dataset(right) => {
                Ok(DatasetName { project: left.to_owned(), dataset: right.to_owned() })
            }
            _ => Err(format!(
                "{text:?} is not a dataset; expected PROJECT.DATASET, such as acme-prod.pedwatch, of {} to {} and at most \
                 {DATASET_MAX_CHARACTERS} characters",
                PROJECT_CHARACTERS.start(),
                PROJECT_CHARACTERS.end(),
            )),
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
    /// Prepares the client. BigQuery itself is sent nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] when there are no credentials, within 5 s.
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

    fn bills_questions(&self) -> bool {
        true
    }

    fn takes_from(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - STREAMED_BACK
    }

    /// A partition is dropped so long after its day began.
    fn keeps_events_from(&self) -> Option<DateTime<Utc>> {
        let kept = TimeDelta::days(self.shared.config.partition_expiration_days?.into());
        Some(day(Utc::now() - kept) + TimeDelta::days(1))
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
        Err(StoreError::Missing(format!("{name} lacks something: {what} (pedwatch schema apply, or Terraform, does)")))
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let (sender, mut pages) = mpsc::channel::<Rows>(1);
        let gather = async move {
            let mut found = Rows::default();
            while let Some(page) = pages.recv().await {
                found.columns = page.columns;
                found.rows.extend(page.rows);
            }
            found
        };
        // As many rows a page as BigQuery likes to give.
        let (asked, found) = tokio::join!(self.query(query, None, sender), gather);
        asked?;
        Ok(found)
    }

    async fn fetch_pages(&self, query: &Query, page_rows: usize, pages: Sender<Rows>) -> Result<(), StoreError> {
        Ok(self.query(query, i32::try_from(page_rows).ok(), pages).await?)
    }
}
