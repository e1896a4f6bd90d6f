//! `pod_metrics`: one row per Deployment in a daily count of pods.

use chrono::{DateTime, Utc};

use super::row;

row! {
    /// One Deployment in a daily count of pods.
    PodMetrics in "pod_metrics" {
        timestamp: DateTime<Utc>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        desired_replicas: Option<i64>,
        actual_replicas: Option<i64>,
        available_replicas: Option<i64>,
        updated_replicas: Option<i64>,
        ready_replicas: Option<i64>,
        max_replicas: Option<i64>,
    }
}
