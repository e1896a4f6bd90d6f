//! `deployment_config`: one row per registered version of a PED.

use chrono::{DateTime, Utc};

use super::row;

row! {
    /// A registered version of a PED.
    DeploymentConfig in "deployment_config" {
        config_id: String,
        timestamp: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        registered_at: Option<DateTime<Utc>>,
        cluster_name: Option<String>,
        namespace: String,
        deployment_name: String,
        user_id: String,
        initial_max_replicas: i64,
        max_replicas: Option<i64>,
        min_replicas: Option<i64>,
        image: Option<String>,
        resources_limits: Option<String>,
        resources_requests: Option<String>,
        environment: Option<String>,
        volumes: Option<String>,
        updated_by: String,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        change_reason: Option<String>,
        change_patch: Option<String>,
        source: Option<String>,
        notify: Option<String>,
    }
}
