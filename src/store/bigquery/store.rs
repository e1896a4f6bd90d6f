//! The store in a dataset of BigQuery.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Sender};

use super::super::query::{Query, Rows};
use super::super::reach::day;
use super::super::row::Record;
use super::super::{Appended, Store, StoreError};
use super::client::Client;
use super::{BigQueryConfig, Change, DatasetName};

/// How far back rows are streamed: 1,825 days, less one that a long run may take.
/// <https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#time-unit_column_partitioning>
const STREAMED_BACK: TimeDelta = TimeDelta::days(1_824);

/// What requests share.
pub(super) struct Shared {
    pub(super) name: DatasetName,
    pub(super) config: BigQueryConfig,
    pub(super) client: Client,
    pub(super) requests: Semaphore,
}

/// One dataset.
#[derive(Clone)]
pub struct BigQuery {
    pub(super) shared: Arc<Shared>,
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
