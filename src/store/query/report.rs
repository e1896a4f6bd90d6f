//! What a run recorded, told by its `ingested_at`.

use chrono::{DateTime, Utc};

use super::pages::{limit, paged, streamed};
use super::quarantine::heads;
use super::{Query, Value, select};
use crate::store::reach::Reach;
use crate::store::row::{Change, QuarantineHead, RaisedAlert};
use crate::store::{Store, StoreError};

/// A run, and what is read to tell of it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'r> {
    /// When it began: what its rows have as `ingested_at`.
    pub run: DateTime<Utc>,
    /// Also changes of what is out of scope.
    pub out_of_scope: bool,
    /// What is asked about it.
    pub reach: &'r Reach,
}

impl Recorded<'_> {
    fn parameters(&self) -> Vec<(String, Value)> {
        vec![("run".to_owned(), Value::Time(self.run))]
    }

    /// The changes, page by page, the earliest first: at most so many.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read, or as `take` gives it.
    pub async fn changes<E: From<StoreError>>(
        &self,
        store: &dyn Store,
        at_most: usize,
        take: impl AsyncFnMut(Vec<Change>) -> Result<(), E>,
    ) -> Result<(), E> {
        let scope = if self.out_of_scope { "" } else { "in_scope AND " };
        let rest = format!(
            "WHERE {scope}ingested_at = @run ORDER BY event_time, event_id, deployment_name {}",
            limit(at_most)
        );
        let query = select::<Change>("replica_changes", &rest, self.parameters()).over(self.reach);
        streamed(store, query, take).await
    }

    /// The alerts that stand, as [`Recorded::changes`].
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read, or as `take` gives it.
    pub async fn alerts<E: From<StoreError>>(
        &self,
        store: &dyn Store,
        at_most: usize,
        take: impl AsyncFnMut(Vec<RaisedAlert>) -> Result<(), E>,
    ) -> Result<(), E> {
        let worst_first = "alert_time, event_id, severity <> 'critical', severity <> 'warning', alert_type, alert_id";
        let rest = format!("WHERE stands AND raised_at = @run ORDER BY {worst_first} {}", limit(at_most));
        let query = select::<RaisedAlert>("alerts", &rest, self.parameters()).over(self.reach);
        streamed(store, query, take).await
    }

    /// What went into quarantine and was not there before, as [`Recorded::changes`], without the inputs themselves.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read, or as `take` gives it.
    pub async fn quarantined<E: From<StoreError>>(
        &self,
        store: &dyn Store,
        at_most: usize,
        take: impl AsyncFnMut(Vec<QuarantineHead>) -> Result<(), E>,
    ) -> Result<(), E> {
        // The table is asked about the run's own rows, and its ids about what was there before.
        let first = format!(
            "JOIN ({FIRST_IN_QUARANTINE}) AS firsts ON firsts.first_id = numbered.quarantine_id WHERE copy = 1 \
             ORDER BY source, quarantine_id"
        );
        let query = |page: &str| -> Query {
            heads("WHERE quarantined_at = @run", &format!("{first} {page}"), self.parameters())
        };
        paged(store, query, at_most, take).await
    }
}

/// What a run put into quarantine, and nobody before it.
pub(super) const FIRST_IN_QUARANTINE: &str = "
    SELECT own.own_id AS first_id FROM (
      SELECT DISTINCT quarantine_id AS own_id FROM ${dataset}.quarantine WHERE quarantined_at = @run
    ) AS own
    JOIN ${dataset}.quarantine AS known ON known.quarantine_id = own.own_id
    GROUP BY own.own_id HAVING MIN(known.quarantined_at) = @run";
