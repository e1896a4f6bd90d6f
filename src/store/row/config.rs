//! `deployment_config`: one row per registered version of a PED, its exceptions and its retirement included, and the
//! version that it is.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::row;
use crate::ped::limits::Claim;
use crate::ped::version::Version;
use crate::ped::{Clusters, Subject, Terms};

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

row! {
    /// What of a version the limit depends on.
    ClaimRow in "deployment_config" {
        config_id: String,
        timestamp: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        registered_at: Option<DateTime<Utc>>,
        updated_at: DateTime<Utc>,
        cluster_name: Option<String>,
        namespace: String,
        deployment_name: String,
        max_replicas: Option<i64>,
    }
}

impl From<ClaimRow> for Claim {
    fn from(row: ClaimRow) -> Self {
        Claim {
            id: row.config_id,
            subject: subject(row.namespace, row.deployment_name, row.cluster_name.as_deref()),
            effective_at: row.timestamp,
            until: row.until,
            registered_at: row.registered_at.unwrap_or(row.updated_at),
            max_replicas: row.max_replicas,
        }
    }
}

impl From<DeploymentConfig> for Version {
    fn from(row: DeploymentConfig) -> Self {
        Version {
            id: row.config_id,
            subject: subject(row.namespace, row.deployment_name, row.cluster_name.as_deref()),
            effective_at: row.timestamp,
            until: row.until,
            registered_at: row.registered_at.unwrap_or(row.updated_at),
            terms: Terms {
                owner: row.user_id,
                min_replicas: row.min_replicas,
                max_replicas: row.max_replicas,
                image: row.image,
                limits: document(row.resources_limits.as_deref()),
                requests: document(row.resources_requests.as_deref()),
                environment: document(row.environment.as_deref()),
                volumes: document(row.volumes.as_deref()),
                notify: document(row.notify.as_deref()),
            },
            initial_max_replicas: row.initial_max_replicas,
            created_at: row.created_at,
            change: row.change_patch.and_then(|patch| serde_json::from_str(&patch).ok()),
            updated_by: row.updated_by,
            reason: row.change_reason,
            source: row.source,
        }
    }
}

impl From<&Version> for DeploymentConfig {
    fn from(version: &Version) -> Self {
        let Subject { namespace, deployment, clusters } = &version.subject;
        let terms = &version.terms;
        DeploymentConfig {
            config_id: version.id.clone(),
            timestamp: version.effective_at,
            until: version.until,
            registered_at: Some(version.registered_at),
            cluster_name: (*clusters != Clusters::Any).then(|| clusters.to_string()),
            namespace: namespace.clone(),
            deployment_name: deployment.clone(),
            user_id: terms.owner.clone(),
            initial_max_replicas: version.initial_max_replicas,
            max_replicas: terms.max_replicas,
            min_replicas: terms.min_replicas,
            image: terms.image.clone(),
            resources_limits: text(&terms.limits),
            resources_requests: text(&terms.requests),
            environment: text(&terms.environment),
            volumes: text(&terms.volumes),
            updated_by: version.updated_by.clone(),
            created_at: version.created_at,
            updated_at: version.registered_at,
            change_reason: version.reason.clone(),
            change_patch: version.change.as_ref().map(Json::to_string),
            source: version.source.clone(),
            notify: Some(&terms.notify).filter(|contacts| !contacts.is_empty()).and_then(text),
        }
    }
}

fn subject(namespace: String, deployment: String, clusters: Option<&str>) -> Subject {
    Subject { namespace, deployment, clusters: Clusters::of(clusters) }
}

/// What a row holds as text. What cannot be read is left out: the limit, which everybody is judged by, does not depend on
/// it.
fn document<T: DeserializeOwned + Default>(text: Option<&str>) -> T {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// In the order of the keys, whatever they are.
fn text(members: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(members).ok().map(|value| value.to_string())
}
