//! `snapshots`: one row per snapshot of a cluster that was taken, or tried.

use chrono::{DateTime, Utc};

use super::row;
use crate::names::named;
use crate::ped::Cluster;

named! {
    /// What a snapshot came to.
    pub enum SnapshotState {
        /// All that was asked for is there, and what is absent was absent.
        Complete = "complete",
        /// Nothing is known.
        Failed = "failed",
    }
}

row! {
    /// One snapshot of a cluster.
    Snapshot in "snapshots" {
        snapshot_id: String,
        planned_at: DateTime<Utc>,
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
        project_id: String,
        location: String,
        cluster_name: String,
        state: SnapshotState,
        error: Option<String>,
        list_resource_version: Option<String>,
        deployments: Option<i64>,
        hpas: Option<i64>,
        pods: Option<i64>,
        impossible: Option<i64>,
        namespaces: Option<String>,
        source: String,
    }
}

impl Snapshot {
    /// Which cluster it is of.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster { project: &self.project_id, location: &self.location, name: &self.cluster_name }
    }
}
