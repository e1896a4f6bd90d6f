//! `snapshots`: one row per snapshot of a cluster that was taken, or tried.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::row;
use crate::names::named;
use crate::ped::Cluster;
use crate::timeline::reality::{Replacement, Workload};

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
        replacements: Option<String>,
        namespaces: Option<String>,
        source: String,
    }
}

/// What runs in the place of a Deployment, as `replacements` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Namespace of both.
    pub namespace: String,
    /// The Deployment's name.
    pub deployment: String,
    /// What runs.
    #[serde(with = "crate::names::text")]
    pub kind: Workload,
    /// How many it asks for.
    pub replicas: i64,
}

impl Replaced {
    /// By what.
    pub fn by(&self) -> Replacement {
        Replacement { kind: self.kind, replicas: self.replicas }
    }
}

impl Snapshot {
    /// What ran in the place of Deployments.
    pub fn replacements(&self) -> Vec<Replaced> {
        // What another release wrote in another form is none that this one knows.
        self.replacements.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Which cluster it is of.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster { project: &self.project_id, location: &self.location, name: &self.cluster_name }
    }
}
