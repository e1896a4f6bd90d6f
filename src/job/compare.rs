//! The daily comparison: each complete snapshot is held against what the log says, once that has settled; what nobody was
//! told is raised. Doing it again raises the same: that a snapshot has been compared is stored last.

use chrono::{DateTime, Duration, NaiveDate, NaiveTime, Utc};

use crate::ped::limits::Limits;
use crate::pipeline::incidents::{Present, Seen};
use crate::pipeline::{self, Tally};
use crate::policy::Policy;
use crate::store::query::reality::{COMPARED, compared_since, complete_snapshots};
use crate::store::row::{AlertLog, Record, ReplicaEvent, Snapshot, Watermark};
use crate::store::{Appended, Store, StoreError};
use crate::timeline::reality::Thresholds;
use known::Known;
use raised::Outcome;

mod contested;
mod known;
mod raised;
mod taught;

pub use contested::contested;

/// How far back snapshots are looked for that were not compared yet.
pub const COMPARED_WITHIN: Duration = Duration::days(35);

/// Rows for one append.
const APPEND_ROWS: usize = 4_096;

/// By what is judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// Severities, and whom it concerns.
    pub policy: &'r Policy,
    /// When, and what it takes.
    pub thresholds: Thresholds,
}

/// What comparing a snapshot came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What it raised that was not raised before.
    pub alerts: Vec<AlertLog>,
    /// What it taught: rows of `replica_events`, which are judged again with what else came late.
    pub taught: Tally,
}

/// Compares the snapshots of these days (the last included), or without any those of the last weeks that were not yet; of
/// either, what has settled.
///
/// # Errors
/// [`StoreError`] when it cannot be read, or may not be stored; doing it again is safe.
pub async fn compare_days(
    store: &dyn Store,
    rules: Rules<'_>,
    days: Option<(NaiveDate, NaiveDate)>,
    told: Option<&Present<'_>>,
    now: DateTime<Utc>,
) -> Result<Vec<Compared>, StoreError> {
    let settled = now - rules.thresholds.settle;
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let (from, to) = match days {
        Some((first, last)) => (midnight(first), (midnight(last) + Duration::days(1)).min(settled)),
        None => (now - COMPARED_WITHIN, settled),
    };
    let mut snapshots = complete_snapshots(store, (from, to)).await?;
    if days.is_none() && !snapshots.is_empty() {
        let compared = compared_since(store, from).await?;
        snapshots.retain(|snapshot| !compared.contains(&snapshot.snapshot_id));
    }
    compare(store, rules, snapshots, told, now).await
}

/// Compares these snapshots, which are in order of time. Where somebody is to be told, incidents step by what they teach.
///
/// # Errors
/// As [`compare_days`].
pub async fn compare(
    store: &dyn Store,
    rules: Rules<'_>,
    snapshots: Vec<Snapshot>,
    told: Option<&Present<'_>>,
    now: DateTime<Utc>,
) -> Result<Vec<Compared>, StoreError> {
    if snapshots.is_empty() {
        return Ok(Vec::new());
    }
    let limits = Limits::new(store.claims(None).await?);
    let mut all = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let Outcome { alerts, taught } = Known::read(store, rules, &limits, &snapshot).await?.outcome(now);
        raise(store, &alerts).await?;
        // Behind all others: what is taught is not found again.
        if let Some(present) = told {
            present.see(&taught.iter().filter_map(Seen::taught).collect::<Vec<_>>()).await?;
        }
        let taught = teach(store, taught, now).await?;
        let name = format!("{COMPARED}{}", snapshot.snapshot_id);
        append(store, vec![Record::Watermark(Watermark { name, through: snapshot.started_at, at: now })]).await?;
        all.push(Compared { snapshot, alerts, taught });
    }
    Ok(all)
}

async fn raise(store: &dyn Store, alerts: &[AlertLog]) -> Result<(), StoreError> {
    for alerts in alerts.chunks(APPEND_ROWS) {
        append(store, alerts.iter().map(|alert| Record::Alert(Box::new(alert.clone()))).collect()).await?;
    }
    Ok(())
}

async fn teach(store: &dyn Store, taught: Vec<ReplicaEvent>, now: DateTime<Utc>) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    for events in taught.chunks(APPEND_ROWS) {
        let records = events.iter().map(|event| Record::Event(Box::new(event.clone()))).collect();
        tally.merge(pipeline::append(store, records, now, now).await?);
    }
    Ok(tally)
}

async fn append(store: &dyn Store, records: Vec<Record>) -> Result<(), StoreError> {
    let outcomes = store.append(records.into()).await?;
    let refused = outcomes.into_iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a row of a comparison: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}
