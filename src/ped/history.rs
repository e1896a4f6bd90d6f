//! The versions of a PED, and which of them was in force when.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use super::{Ped, Subject};
use crate::audit::Write;
use crate::id;
use crate::store::row::{DeploymentConfig, ReplicaEvent};

/// One version's limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// `config_id` of the version.
    pub limit_id: String,
    /// From when it applies.
    pub from: DateTime<Utc>,
    /// When it was registered.
    pub registered: DateTime<Utc>,
    /// The most replicas.
    pub max_replicas: i64,
    /// The most replicas that were ever first registered for this Deployment.
    pub initial_max_replicas: i64,
}

/// All limits, for as-of look-ups. The cost of one depends on the versions of that Deployment only.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    namespaces: HashMap<String, HashMap<String, Vec<Scope>>>,
}

/// The versions for one cluster, or for any.
#[derive(Debug, Clone)]
struct Scope {
    cluster: Option<String>,
    versions: Vec<Limit>,
}

impl Limits {
    /// Takes versions in any order.
    pub fn new<'c>(versions: impl IntoIterator<Item = &'c DeploymentConfig>) -> Self {
        let mut limits = Limits::default();
        for version in versions {
            limits.insert(version);
        }
        limits
    }

    /// Puts the versions of some Deployments (namespace, name) in the place of those known so far.
    pub fn replace(&mut self, deployments: &[(String, String)], versions: &[DeploymentConfig]) {
        for (namespace, deployment) in deployments {
            if let Some(known) = self.namespaces.get_mut(namespace) {
                known.remove(deployment);
            }
        }
        for version in versions {
            self.insert(version);
        }
    }

    fn insert(&mut self, version: &DeploymentConfig) {
        let Some(max_replicas) = version.max_replicas else { return };
        let scopes = self
            .namespaces
            .entry(version.namespace.clone())
            .or_default()
            .entry(version.deployment_name.clone())
            .or_default();
        let limit = Limit {
            limit_id: version.config_id.clone(),
            from: version.timestamp,
            registered: version.updated_at,
            max_replicas,
            initial_max_replicas: version.initial_max_replicas,
        };
        match scopes.iter_mut().find(|scope| scope.cluster == version.cluster_name) {
            Some(scope) => {
                let at = scope.versions.partition_point(|other| order(other) <= order(&limit));
                scope.versions.insert(at, limit);
            }
            None => scopes.push(Scope { cluster: version.cluster_name.clone(), versions: vec![limit] }),
        }
    }

    /// The limit in force at a write's own time, for the Deployment that it is about.
    pub fn at_write(&self, write: &Write<'_>, deployment: &str) -> Option<&Limit> {
        self.at(write.cluster_name, write.namespace, deployment, write.event_time)
    }

    /// Whether a limit of the event's Deployment begins after `from`, up to `to`.
    pub fn begins_between(&self, event: &ReplicaEvent, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let scopes = event.deployment_name.as_ref().and_then(|name| self.namespaces.get(&event.namespace)?.get(name));
        let mut versions = scopes.into_iter().flatten().flat_map(|scope| &scope.versions);
        versions.any(|version| from < version.from && version.from <= to)
    }

    /// The namespaces in which a version was registered, or took effect, since a time (ever, without one) and up to
    /// another.
    pub fn turned_in(&self, since: Option<DateTime<Utc>>, to: DateTime<Utc>) -> BTreeSet<String> {
        let is_new = |time: DateTime<Utc>| since.is_none_or(|since| since <= time) && time <= to;
        let turned = |deployments: &HashMap<String, Vec<Scope>>| {
            let mut versions = deployments.values().flatten().flat_map(|scope| &scope.versions);
            versions.any(|version| is_new(version.registered) || is_new(version.from))
        };
        self.namespaces.iter().filter(|(_, found)| turned(found)).map(|(name, _)| name.clone()).collect()
    }

    /// The limit in force at a time: the cluster's own before the one for any cluster. A version applies from its own
    /// instant on.
    pub fn at(&self, cluster: &str, namespace: &str, deployment: &str, time: DateTime<Utc>) -> Option<&Limit> {
        let scopes = self.namespaces.get(namespace)?.get(deployment)?;
        let in_force = |wanted: Option<&str>| {
            let versions = &scopes.iter().find(|scope| scope.cluster.as_deref() == wanted)?.versions;
            versions.get(versions.partition_point(|version| version.from <= time).checked_sub(1)?)
        };
        in_force(Some(cluster)).or_else(|| in_force(None))
    }
}

/// Of two versions that apply from the same instant, the one registered later corrects the other. The id is only there
/// so that every order of arrival gives the same limit.
fn order(limit: &Limit) -> (DateTime<Utc>, DateTime<Utc>, &str) {
    (limit.from, limit.registered, &limit.limit_id)
}

/// Who registers a version, when and why.
#[derive(Debug, Clone)]
pub struct Registration {
    /// What is applied for.
    pub ped: Ped,
    /// From when it applies.
    pub effective_at: DateTime<Utc>,
    /// When it is registered.
    pub now: DateTime<Utc>,
    /// Who registers it.
    pub updated_by: String,
    /// Why.
    pub reason: Option<String>,
    /// File and commit.
    pub source: Option<String>,
}

impl Registration {
    /// Whether a version is of the same subject.
    pub fn follows(&self, version: &DeploymentConfig) -> bool {
        let Subject { namespace, deployment, cluster } = &self.ped.subject;
        (namespace, deployment, cluster) == (&version.namespace, &version.deployment_name, &version.cluster_name)
    }

    /// The row to append, given what is registered (for the same subject; others are passed over); `None` when nothing
    /// recorded changes.
    ///
    /// The first one sets the initial maximum and the current one alike; later ones keep the initial. What changed is
    /// relative to the version in force just when this one begins to apply.
    pub fn next(&self, registered: &[DeploymentConfig]) -> Option<DeploymentConfig> {
        let subject = &self.ped.subject;
        let registered = || registered.iter().filter(|version| self.follows(version));
        let first = registered().min_by_key(|version| (version.created_at, version.updated_at));
        let before = registered()
            .filter(|version| version.timestamp <= self.effective_at)
            .max_by_key(|version| (version.timestamp, version.updated_at, version.config_id.clone()));
        let recorded = self.ped.recorded();
        let change_patch = before.map(|before| json_patch::diff(&recorded_in(before), &recorded));
        if change_patch.as_ref().is_some_and(|patch| patch.is_empty()) {
            return None;
        }
        let effective_at = id::time(self.effective_at);
        Some(DeploymentConfig {
            config_id: id::id(&[
                subject.cluster.as_deref().unwrap_or_default(),
                &subject.namespace,
                &subject.deployment,
                &effective_at,
                &recorded.to_string(),
                // So that going back to what applied before is a version of its own.
                before.map_or("", |before| &before.config_id),
            ]),
            timestamp: self.effective_at,
            cluster_name: subject.cluster.clone(),
            namespace: subject.namespace.clone(),
            deployment_name: subject.deployment.clone(),
            user_id: self.ped.owner.clone(),
            initial_max_replicas: first.map_or(self.ped.max_replicas, |first| first.initial_max_replicas),
            max_replicas: Some(self.ped.max_replicas),
            until: None,
            registered_at: Some(self.now),
            notify: None,
            min_replicas: self.ped.min_replicas,
            image: self.ped.image.clone(),
            resources_limits: json_text(recorded.get("limits")),
            resources_requests: json_text(recorded.get("requests")),
            environment: json_text(recorded.get("environment")),
            volumes: json_text(recorded.get("volumes")),
            updated_by: self.updated_by.clone(),
            created_at: first.map_or(self.now, |first| first.created_at),
            updated_at: self.now,
            change_reason: self.reason.clone(),
            change_patch: change_patch.and_then(|patch| serde_json::to_string(&patch).ok()),
            source: self.source.clone(),
        })
    }
}

fn json_text(value: Option<&Json>) -> Option<String> {
    value.map(Json::to_string)
}

/// The same document as [`Ped::recorded`], out of a row.
fn recorded_in(version: &DeploymentConfig) -> Json {
    let parsed = |text: &Option<String>| -> Json {
        text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| serde_json::json!({}))
    };
    serde_json::json!({
        "owner": version.user_id,
        "minReplicas": version.min_replicas,
        "maxReplicas": version.max_replicas,
        "image": version.image,
        "limits": parsed(&version.resources_limits),
        "requests": parsed(&version.resources_requests),
        "environment": parsed(&version.environment),
        "volumes": parsed(&version.volumes),
    })
}
