//! What a snapshot teaches, as rows of the log itself: so that every question knows it, and later entries may know better.
//!
//! A row says what the cluster showed, under the version that it showed. As a status write it moves no generation, and as one
//! that wrote no watched field it takes no credit from an entry that comes late.

use chrono::{DateTime, Utc};

use super::known::{Found, Known};
use crate::audit::{ActorKind, ObjectKind, ObjectState, Operation, Outcome};
use crate::id::id;
use crate::names::Named;
use crate::policy::Route;
use crate::store::row::ReplicaEvent;
use crate::timeline::SNAPSHOT;
use crate::timeline::reality::Finding;

const LOG_NAME: &str = "pedwatch/snapshots";

/// With `.status.` in them, as writes have it that show an object and change none of it.
const METHOD: &str = "pedwatch.deployments.status.snapshot";
const METHOD_OF_HPAS: &str = "pedwatch.horizontalpodautoscalers.status.snapshot";

/// Whether something about the object is news to the log.
fn is_news(finding: &Finding) -> bool {
    use Finding::{OverLimit, Replaced, TooManyPods, Unregistered, UnusedLimit};
    !matches!(finding, OverLimit | TooManyPods | Unregistered | UnusedLimit | Replaced(_))
}

impl Known<'_> {
    /// Its identity, and that of the write that it stands for.
    pub(super) fn event_id(&self, found: &Found<'_>) -> String {
        let snapshot = &self.snapshot.snapshot_id;
        match found.hpa {
            None => id(&["snapshot", snapshot, found.namespace, found.deployment]),
            Some(hpa) => {
                id(&["snapshot", snapshot, found.namespace, ObjectKind::HorizontalPodAutoscaler.as_str(), hpa])
            }
        }
    }

    /// What it teaches of an object, where it does.
    pub(super) fn event(&self, found: &Found<'_>, now: DateTime<Utc>) -> Option<ReplicaEvent> {
        found.findings.iter().find(|finding| is_news(finding))?;
        let (snapshot, running) = (self.snapshot, found.running);
        let Found { namespace, deployment, hpa, .. } = *found;
        let version = running.and_then(|running| running.version.clone());
        let replicas = running.and_then(|running| running.replicas);
        Some(ReplicaEvent {
            event_id: self.event_id(found),
            write_id: Some(self.event_id(found)),
            event_time: snapshot.started_at,
            received_time: None,
            ingested_at: now,
            project_id: Some(snapshot.project_id.clone()),
            location: Some(snapshot.location.clone()),
            cluster_name: snapshot.cluster_name.clone(),
            namespace: namespace.to_owned(),
            deployment_name: Some(deployment.to_owned()),
            object_kind: hpa.map_or(ObjectKind::Deployment, |_| ObjectKind::HorizontalPodAutoscaler),
            object_name: Some(hpa.unwrap_or(deployment).to_owned()),
            object_uid: running.map_or(found.told_uid, |running| running.uid.as_deref()).map(str::to_owned),
            born_at: running.and_then(|running| running.created_at),
            resource_version: version.as_ref().and_then(|digits| digits.parse().ok()),
            object_version: version,
            generation: running.and_then(|running| running.generation),
            touched: Some(false),
            operation: if running.is_some() { Operation::Update } else { Operation::Delete },
            outcome: Some(Outcome::Stored),
            object_state: Some(if running.is_some() { ObjectState::Live } else { ObjectState::Gone }),
            method_name: hpa.map_or(METHOD, |_| METHOD_OF_HPAS).to_owned(),
            replicas,
            min_replicas: running.and_then(|running| running.min_replicas),
            // Only what finds its Deployment is listed.
            effective: hpa.map(|_| true),
            replicas_source: running.map(|_| if replicas.is_some() { "response" } else { "unknown" }.to_owned()),
            actor: SNAPSHOT.to_owned(),
            on_behalf_of: None,
            actor_kind: ActorKind::Unknown,
            route: Route::Unknown,
            user_agent: None,
            caller_ip: None,
            in_scope: Some(true),
            outside_range: replicas.map(|replicas| self.rules.policy.outside_range(replicas)),
            insert_id: snapshot.snapshot_id.clone(),
            log_name: LOG_NAME.to_owned(),
        })
    }
}
