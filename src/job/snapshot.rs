//! Snapshots: what a cluster lists becomes rows. That it is complete is said last, so that who finds that finds all, and a
//! cluster that fails is told as such, never taken for an empty one.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::cluster::{Listing, Namespaces, Other};
use crate::id;
use crate::ped::Cluster;
use crate::ped::limits::Limits;
use crate::policy::Scope;
use crate::store::reach::late_marks;
use crate::store::row::{PodMetrics, Record, Replaced, Snapshot, SnapshotState};
use crate::store::{Appended, Store, StoreError};

/// Rows for one append.
const APPEND_ROWS: usize = 4_096;

/// One cluster, looked into or not.
#[derive(Debug)]
pub struct Taken<'c> {
    /// Which one.
    pub cluster: Cluster<'c>,
    /// How it was reached.
    pub source: &'static str,
    /// When it was to be.
    pub planned_at: DateTime<Utc>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Which namespaces were looked at.
    pub namespaces: &'c Namespaces,
    /// What was listed, with what tells it from every other listing of the same plan; or why nothing was.
    pub outcome: Result<(Listing, String), String>,
}

/// By what rows are judged.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'j> {
    /// The limits there are.
    pub limits: &'j Limits,
    /// Whom it concerns.
    pub scope: &'j Scope,
}

/// Stores what a cluster came to.
///
/// # Errors
/// [`StoreError`] when some of it may not be stored. Then no row says that it is complete, and what is there is read by nobody.
pub async fn record(store: &dyn Store, judging: Judging<'_>, taken: Taken<'_>) -> Result<Snapshot, StoreError> {
    let (listing, error) = match &taken.outcome {
        Ok((listing, _)) => (Some(listing), None),
        Err(why) => (None, Some(why.clone())),
    };
    let started_at = listing.map_or(taken.started_at, |listing| listing.at);
    let row = Snapshot {
        snapshot_id: taken.id(),
        planned_at: taken.planned_at,
        started_at,
        finished_at: started_at,
        project_id: taken.cluster.project.to_owned(),
        location: taken.cluster.location.to_owned(),
        cluster_name: taken.cluster.name.to_owned(),
        state: if listing.is_some() { SnapshotState::Complete } else { SnapshotState::Failed },
        error,
        list_resource_version: listing.and_then(|listing| listing.resource_version.clone()),
        deployments: listing.map(|listing| count(listing.deployments.len() as u64)),
        hpas: listing.map(|listing| count(listing.hpas)),
        pods: listing.and_then(|listing| listing.pods).map(count),
        impossible: listing.map(|listing| count(listing.impossible)),
        replacements: listing.and_then(|listing| replacements(judging, taken.cluster, listing)),
        namespaces: (!taken.namespaces.are_all()).then(|| taken.namespaces.to_string()),
        source: taken.source.to_owned(),
    };
    if let Some(listing) = listing {
        append_all(store, judging, &row.snapshot_id, taken.cluster, listing).await?;
    }
    let row = Snapshot { finished_at: Utc::now().max(started_at), ..row };
    append(store, vec![Record::Snapshot(Box::new(row.clone()))]).await?;
    Ok(row)
}

/// What runs in the place of Deployments that have a limit in force.
fn replacements(Judging { limits, scope }: Judging<'_>, cluster: Cluster<'_>, listing: &Listing) -> Option<String> {
    let is_limited = |other: &&Other| {
        scope.holds_object(cluster, &other.namespace, Some(&other.deployment))
            && limits.at(cluster, &other.namespace, &other.deployment, listing.at).is_some()
    };
    let replaced = listing.others.iter().filter(is_limited).map(|other| Replaced {
        namespace: other.namespace.clone(),
        deployment: other.deployment.clone(),
        kind: other.kind,
        replicas: other.replicas,
    });
    let replaced: Vec<Replaced> = replaced.collect();
    if replaced.is_empty() { None } else { serde_json::to_string(&replaced).ok() }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Taken<'_> {
    /// Its identity. One that failed is another than one that did not, which may come later for the same plan.
    fn id(&self) -> String {
        let Cluster { project, location, name } = self.cluster;
        let (what, version) = match &self.outcome {
            Ok((_, version)) => ("complete", version.clone()),
            Err(_) => ("failed", id::time(self.started_at)),
        };
        id::id(&[project, location, name, &id::time(self.planned_at), what, &version])
    }
}

async fn append_all(
    store: &dyn Store,
    Judging { limits, scope }: Judging<'_>,
    snapshot_id: &str,
    cluster: Cluster<'_>,
    listing: &Listing,
) -> Result<(), StoreError> {
    for deployments in listing.deployments.chunks(APPEND_ROWS) {
        let rows = deployments.iter().map(|deployment| {
            let (namespace, name) = (deployment.namespace.as_str(), deployment.name.as_str());
            let limit = limits.at(cluster, namespace, name, listing.at);
            let in_scope = scope.holds_object(cluster, namespace, Some(name));
            let row = PodMetrics::new(snapshot_id, listing.at, cluster, deployment, limit, in_scope);
            Record::Metrics(Box::new(row))
        });
        append(store, rows.collect()).await?;
    }
    Ok(())
}

/// A day that is closed already, as one may be of which a file tells, is closed again with it.
async fn append(store: &dyn Store, mut records: Vec<Record>) -> Result<(), StoreError> {
    records.extend(late_marks(&records, Utc::now()));
    let outcomes = store.append(Arc::from(records)).await?;
    let refused = outcomes.into_iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a row of a snapshot: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}

#[cfg(feature = "clusters")]
pub use live::take;

#[cfg(feature = "clusters")]
mod live {
    use super::{Arc, DateTime, Listing, Taken, Utc};
    use crate::cluster::{ClusterConfig, Fault, Google, SnapshotConfig, connect, list};
    use crate::names::Named;

    /// Looks into a cluster, for as long as it may take.
    pub async fn take<'c>(
        google: &Arc<Google>,
        cluster: &'c ClusterConfig,
        config: &SnapshotConfig,
        planned_at: DateTime<Utc>,
    ) -> Taken<'c> {
        let started_at = Utc::now();
        let listed: Result<Listing, Fault> = async {
            let client = connect(google, cluster, config.deadline).await?;
            list(&client, config, &cluster.namespaces).await
        }
        .await;
        Taken {
            cluster: cluster.cluster(),
            source: cluster.access.way().as_str(),
            planned_at,
            started_at,
            namespaces: &cluster.namespaces,
            outcome: listed.map_err(|fault| fault.to_string()).map(|listing| {
                let version = listing.resource_version.clone().unwrap_or_default();
                (listing, version)
            }),
        }
    }
}
