//! What is kept of bills.

use super::{Query, Value, select, watermark};
use crate::billing::Month;
use crate::store::row::{Bill, Watermark, row};
use crate::store::{Store, StoreError};
use chrono::{DateTime, NaiveTime, Utc};
use std::collections::BTreeSet;

/// The lines of a month, each once, the earliest first.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn bills(store: &dyn Store, month: Month) -> Result<Vec<Bill>, StoreError> {
    let first = month.first_day().and_time(NaiveTime::MIN).and_utc();
    let parameters = vec![("month".to_owned(), Value::Time(first))];
    // Nothing around the column: that would hide its partitions, and its index.
    let query: Query = select::<Bill>("bills", "WHERE `month` = DATE(@month)", parameters);
    let mut lines: Vec<Bill> = store.fetch(&query).await?.read();
    // A table may hold a row twice.
    let mut seen = BTreeSet::new();
    lines.retain(|line| seen.insert(line.line_id.clone()));
    lines.sort_by(|one, other| (one.computed_at, &one.line_id).cmp(&(other.computed_at, &other.line_id)));
    Ok(lines)
}

/// When a month was closed; `None` where it was not, or not to its end.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn closed_at(store: &dyn Store, month: Month) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(watermark(store, &mark(month)).await?.map(|mark| mark.at))
}

/// What says that a month is closed: appended when all of its lines are.
pub fn closing(month: Month, through: DateTime<Utc>, at: DateTime<Utc>) -> Watermark {
    Watermark { name: mark(month), through, at }
}

fn mark(month: Month) -> String {
    format!("bills/{month}")
}

row! {
    /// How many replicas a complete snapshot counted of a Deployment.
    Counted in "pod_metrics" {
        timestamp: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        actual_replicas: i64,
    }
}

/// What complete snapshots counted in [from, to), by time.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn counted(
    store: &dyn Store,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<Counted>, StoreError> {
    let sql = "SELECT DISTINCT metrics.timestamp, metrics.project_id, metrics.location, metrics.cluster_name, \
                 metrics.namespace, metrics.deployment_name, metrics.actual_replicas \
               FROM ${dataset}.pod_metrics AS metrics \
               JOIN (SELECT DISTINCT snapshot_id FROM ${dataset}.snapshots WHERE state = 'complete') AS complete \
                 ON complete.snapshot_id = metrics.snapshot_id \
               WHERE metrics.timestamp >= @begin AND metrics.timestamp < @finish AND metrics.actual_replicas IS NOT NULL \
               ORDER BY metrics.timestamp";
    let parameters = vec![("begin".to_owned(), Value::Time(from)), ("finish".to_owned(), Value::Time(to))];
    Ok(store.fetch(&Query::new(sql, parameters)).await?.read())
}
