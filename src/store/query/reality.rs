//! What runs, and how the log left it: what the daily comparison holds against each other.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};

use super::{Query, Value, days, select};
use crate::ped::Cluster;
use crate::policy::AlertType;
use crate::store::row::{PodMetrics, Row, Snapshot, Watermark, row};
use crate::store::{Store, StoreError};

/// How the mark of a snapshot that has been compared begins: `compared/SNAPSHOT_ID`.
pub const COMPARED: &str = "compared/";

row! {
    /// A Deployment, as the log left it.
    Logged in "replica_events" {
        namespace: String,
        deployment_name: String,
        object_uid: Option<String>,
        generation: Option<i64>,
        scales_since: i64,
        replicas: Option<i64>,
        removes: bool,
        last_time: DateTime<Utc>,
    }
}

row! {
    /// An HPA, as the log left it.
    LoggedHpa in "replica_events" {
        namespace: String,
        object_name: String,
        deployment_name: Option<String>,
        object_uid: Option<String>,
        replicas: Option<i64>,
        removes: bool,
        last_time: DateTime<Utc>,
    }
}

row! {
    /// Something that a comparison raised.
    Raised in "alert_log" {
        alert_id: String,
        alert_type: AlertType,
        alert_time: DateTime<Utc>,
        namespace: String,
        deployment_name: Option<String>,
    }
}

row! {
    /// A Deployment that ran somewhere.
    Ran in "pod_metrics" {
        namespace: String,
        deployment_name: String,
    }
}

row! {
    /// The most replicas that a Deployment had on a day.
    Actual in "pod_metrics" {
        date: NaiveDate,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        actual_replicas: i64,
    }
}

fn times(times: &[(&str, DateTime<Utc>)]) -> Vec<(String, Value)> {
    times.iter().map(|(name, time)| ((*name).to_owned(), Value::Time(*time))).collect()
}

/// That a row is about a cluster.
fn of_cluster(Cluster { project, location, name }: Cluster<'_>) -> (&'static str, Vec<(String, Value)>) {
    let parameters = [("cluster_project", project), ("cluster_location", location), ("cluster_of", name)];
    let parameters = parameters.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned()))).to_vec();
    ("project_id = @cluster_project AND location = @cluster_location AND cluster_name = @cluster_of", parameters)
}

/// The complete snapshots that were begun from one time on and before another, each once, in order of time.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn complete_snapshots(
    store: &dyn Store,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<Snapshot>, StoreError> {
    let rest = "WHERE state = 'complete' AND started_at >= @snapshots_from AND started_at < @snapshots_to \
                ORDER BY started_at, snapshot_id";
    let parameters = times(&[("snapshots_from", from), ("snapshots_to", to)]);
    let mut found: Vec<Snapshot> = store.fetch(&select::<Snapshot>("snapshots", rest, parameters)).await?.read();
    // A table may hold a row twice.
    found.dedup_by(|later, earlier| later.snapshot_id == earlier.snapshot_id);
    Ok(found)
}

/// The complete snapshot of the same cluster before one.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn snapshot_before(store: &dyn Store, snapshot: &Snapshot) -> Result<Option<Snapshot>, StoreError> {
    let (of_cluster, mut parameters) = of_cluster(snapshot.cluster());
    parameters.extend(times(&[("snapshot_at", snapshot.started_at)]));
    let rest = format!(
        "WHERE state = 'complete' AND {of_cluster} AND started_at < @snapshot_at \
         ORDER BY started_at DESC, snapshot_id DESC LIMIT 1"
    );
    Ok(store.fetch(&select::<Snapshot>("snapshots", &rest, parameters)).await?.read().into_iter().next())
}

/// When the first complete snapshot of all of a cluster was taken; `None` where there is none.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn first_snapshot(store: &dyn Store, cluster: Cluster<'_>) -> Result<Option<DateTime<Utc>>, StoreError> {
    let (of_cluster, parameters) = of_cluster(cluster);
    let sql = format!(
        "SELECT MIN(started_at) AS earliest FROM ${{dataset}}.snapshots \
         WHERE state = 'complete' AND namespaces IS NULL AND {of_cluster}"
    );
    days::earliest(store, &Query::new(sql, parameters)).await
}

/// Which snapshots have been compared, by marks that were made since a time.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn compared_since(store: &dyn Store, since: DateTime<Utc>) -> Result<BTreeSet<String>, StoreError> {
    let rest = format!("WHERE name LIKE '{COMPARED}%' AND `at` >= @compared_since");
    let query = select::<Watermark>("watermarks", &rest, times(&[("compared_since", since)]));
    let marks: Vec<Watermark> = store.fetch(&query).await?.read();
    Ok(marks.into_iter().filter_map(|mark| Some(mark.name.strip_prefix(COMPARED)?.to_owned())).collect())
}

/// The Deployments of a complete snapshot, by namespace and name.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn listed(store: &dyn Store, snapshot: &Snapshot) -> Result<Vec<PodMetrics>, StoreError> {
    let mut parameters = times(&[("listed_at", snapshot.started_at)]);
    parameters.push(("listed_in".to_owned(), Value::Text(snapshot.snapshot_id.clone())));
    let rest = "WHERE `timestamp` = @listed_at AND snapshot_id = @listed_in ORDER BY namespace, deployment_name";
    let mut found: Vec<PodMetrics> = store.fetch(&select::<PodMetrics>("pod_metrics", rest, parameters)).await?.read();
    found.dedup_by(|later, earlier| later.metric_id == earlier.metric_id);
    Ok(found)
}

/// The Deployments that complete snapshots of whichever cluster saw, from one time on and up to another.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn ran(store: &dyn Store, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Result<Vec<Ran>, StoreError> {
    let columns = Ran::COLUMNS.iter().map(|(name, ..)| format!("seen.{name} AS {name}"));
    let sql = format!(
        "SELECT DISTINCT {} FROM ${{dataset}}.pod_metrics AS seen
         JOIN ${{dataset}}.snapshots AS snapshots ON snapshots.snapshot_id = seen.snapshot_id
         WHERE snapshots.state = 'complete' AND seen.`timestamp` >= @ran_from AND seen.`timestamp` <= @ran_to",
        columns.collect::<Vec<_>>().join(", ")
    );
    Ok(store.fetch(&Query::new(sql, times(&[("ran_from", from), ("ran_to", to)]))).await?.read())
}

/// The most replicas that complete snapshots of all clusters saw on each day, from one time on and before another.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn actual(store: &dyn Store, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Result<Vec<Actual>, StoreError> {
    let sql =
        "SELECT DATE(seen.`timestamp`) AS `date`, seen.project_id, seen.location, seen.cluster_name, seen.namespace,
           seen.deployment_name, MAX(seen.actual_replicas) AS actual_replicas
         FROM ${dataset}.pod_metrics AS seen
         JOIN ${dataset}.snapshots AS snapshots ON snapshots.snapshot_id = seen.snapshot_id
         WHERE snapshots.state = 'complete' AND seen.actual_replicas IS NOT NULL
           AND seen.`timestamp` >= @actual_from AND seen.`timestamp` < @actual_to
         GROUP BY 1, 2, 3, 4, 5, 6";
    Ok(store.fetch(&Query::new(sql, times(&[("actual_from", from), ("actual_to", to)]))).await?.read())
}

/// How the log left the Deployments of a cluster at an instant.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn logged(store: &dyn Store, cluster: Cluster<'_>, at: DateTime<Utc>) -> Result<Vec<Logged>, StoreError> {
    let reach = days::closings(store).await?.reach(at, &BTreeSet::new());
    let mut parameters = times(&[("logged_at", at)]);
    parameters.push(("logged_cluster".to_owned(), Value::Text(cluster.to_string())));
    Ok(store.fetch(&Query::new(LOGGED, parameters).over(&reach)).await?.read())
}

/// How the log left the HPAs of a cluster that aim at a Deployment, or may.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn logged_hpas(
    store: &dyn Store,
    cluster: Cluster<'_>,
    at: DateTime<Utc>,
) -> Result<Vec<LoggedHpa>, StoreError> {
    let reach = days::closings(store).await?.reach(at, &BTreeSet::new());
    let mut parameters = times(&[("logged_at", at)]);
    parameters.push(("logged_cluster".to_owned(), Value::Text(cluster.to_string())));
    Ok(store.fetch(&Query::new(LOGGED_HPAS, parameters).over(&reach)).await?.read())
}

const LOGGED: &str = include_str!("logged.sql");

const LOGGED_HPAS: &str = include_str!("logged_hpas.sql");

/// When the log first named a cluster; `None` where it never did.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn logged_since(store: &dyn Store, cluster: Cluster<'_>) -> Result<Option<DateTime<Utc>>, StoreError> {
    let (of_cluster, parameters) = of_cluster(cluster);
    let sql = format!("SELECT MIN(event_time) AS earliest FROM ${{dataset}}.replica_events WHERE {of_cluster}");
    days::earliest(store, &Query::new(sql, parameters)).await
}

/// What comparisons of a cluster raised, from one time on and up to another; and what is raised once for as long as it holds,
/// whenever that was.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn raised(
    store: &dyn Store,
    cluster: Cluster<'_>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<Raised>, StoreError> {
    let (of_cluster, mut parameters) = of_cluster(cluster);
    parameters.extend(times(&[("raised_from", from), ("raised_through", to)]));
    let rest = format!(
        "WHERE event_id IS NULL AND (alert_type IN ('unused_limit', 'running_over', 'replaced') \
         OR alert_time >= @raised_from AND alert_time <= @raised_through AND {of_cluster})"
    );
    Ok(store.fetch(&select::<Raised>("alert_log", &rest, parameters)).await?.read())
}
