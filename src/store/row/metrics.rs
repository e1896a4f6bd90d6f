//! `pod_metrics`: one row per Deployment in a snapshot of a cluster.

use chrono::{DateTime, Utc};

use super::row;
use crate::cluster::{Deployment, Hpa};
use crate::id;
use crate::ped::Cluster;
use crate::ped::limits::Limit;

row! {
    /// One Deployment in a snapshot of a cluster.
    PodMetrics in "pod_metrics" {
        metric_id: Option<String>,
        snapshot_id: Option<String>,
        timestamp: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        in_scope: Option<bool>,
        object_uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        observed_generation: Option<i64>,
        created_at: Option<DateTime<Utc>>,
        paused: Option<bool>,
        desired_replicas: Option<i64>,
        surge_replicas: Option<i64>,
        actual_replicas: Option<i64>,
        available_replicas: Option<i64>,
        updated_replicas: Option<i64>,
        ready_replicas: Option<i64>,
        running_pods: Option<i64>,
        hpa_max_replicas: Option<i64>,
        hpas: Option<String>,
        max_replicas: Option<i64>,
        limit_id: Option<String>,
        replicas_manager: Option<String>,
        replicas_managed_at: Option<DateTime<Utc>>,
    }
}

impl PodMetrics {
    /// The row of a Deployment that was listed at a time, with the limit that was in force then.
    pub fn new(
        snapshot_id: &str,
        at: DateTime<Utc>,
        cluster: Cluster<'_>,
        deployment: &Deployment,
        limit: Option<&Limit>,
        in_scope: bool,
    ) -> Self {
        let Deployment { namespace, name, .. } = deployment;
        PodMetrics {
            metric_id: Some(id::id(&[snapshot_id, namespace, name])),
            snapshot_id: Some(snapshot_id.to_owned()),
            timestamp: at,
            project_id: Some(cluster.project.to_owned()),
            location: Some(cluster.location.to_owned()),
            cluster_name: cluster.name.to_owned(),
            namespace: namespace.clone(),
            deployment_name: name.clone(),
            in_scope: Some(in_scope),
            object_uid: deployment.uid.clone(),
            resource_version: deployment.resource_version.clone(),
            generation: deployment.generation,
            observed_generation: deployment.observed_generation,
            created_at: deployment.created_at,
            paused: Some(deployment.paused),
            desired_replicas: deployment.desired,
            surge_replicas: deployment.surge,
            actual_replicas: deployment.actual,
            available_replicas: deployment.available,
            updated_replicas: deployment.updated,
            ready_replicas: deployment.ready,
            running_pods: deployment.running_pods,
            hpa_max_replicas: deployment.hpa_max(),
            hpas: hpas(deployment),
            max_replicas: limit.map(|limit| limit.max_replicas),
            limit_id: limit.map(|limit| limit.limit_id.clone()),
            replicas_manager: deployment.replicas_manager.clone(),
            replicas_managed_at: deployment.replicas_managed_at,
        }
    }

    /// The HPAs that found it.
    pub fn listed_hpas(&self) -> Vec<Hpa> {
        // What another release wrote in another form is none that this one knows.
        self.hpas.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// As `hpas` holds them; `None` where there are none.
fn hpas(deployment: &Deployment) -> Option<String> {
    // Names, numbers and times: this cannot fail.
    (!deployment.hpas.is_empty()).then(|| serde_json::to_string(&deployment.hpas).unwrap_or_default())
}
