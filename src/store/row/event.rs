//! `replica_events`: one row per write to a watched object that was stored or may have been, and per observation.

use chrono::{DateTime, SecondsFormat, Utc};

use super::row;
use crate::audit::{ActorKind, Asked, ObjectKind, ObjectState, Operation, Outcome, Write};
use crate::id::id;
use crate::names::Named;
use crate::policy::{Policy, Route};

row! {
    /// A write to a watched object, or an observation of one.
    ReplicaEvent in "replica_events" {
        event_id: String,
        write_id: Option<String>,
        event_time: DateTime<Utc>,
        received_time: Option<DateTime<Utc>>,
        ingested_at: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: ObjectKind,
        object_name: Option<String>,
        object_uid: Option<String>,
        born_at: Option<DateTime<Utc>>,
        resource_version: Option<i64>,
        object_version: Option<String>,
        generation: Option<i64>,
        touched: Option<bool>,
        operation: Operation,
        outcome: Option<Outcome>,
        object_state: Option<ObjectState>,
        method_name: String,
        replicas: Option<i64>,
        min_replicas: Option<i64>,
        effective: Option<bool>,
        replicas_source: Option<String>,
        actor: String,
        on_behalf_of: Option<String>,
        actor_kind: ActorKind,
        route: Route,
        user_agent: Option<String>,
        caller_ip: Option<String>,
        in_scope: Option<bool>,
        outside_range: Option<bool>,
        insert_id: String,
        log_name: String,
    }
}

/// The identity of a row: the same for every copy and every export of its entry. The pieces of a split entry have one
/// each, and the objects of a `deletecollection`, which are in one entry.
fn event_id(write: &Write<'_>) -> String {
    match write.split {
        Some(split) => identity(write, split.uid, Some(&split.index.to_string())),
        None => identity(write, write.insert_id, None),
    }
}

/// The identity of a write, which the pieces of a split entry share.
pub(super) fn write_id(write: &Write<'_>) -> String {
    identity(write, write.split.map_or(write.insert_id, |split| split.uid), None)
}

fn identity(write: &Write<'_>, entry: &str, index: Option<&str>) -> String {
    let time = write.event_time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let mut parts = vec![write.log_name, &time, entry];
    parts.extend(write.object_name.filter(|_| write.operation == Operation::DeleteCollection));
    parts.extend(index);
    id(&parts)
}

impl ReplicaEvent {
    /// Which cluster, as the views have it: `projects/PROJECT/locations/LOCATION/clusters/NAME`.
    pub fn cluster_id(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let (project, location) = (part(&self.project_id), part(&self.location));
        format!("projects/{project}/locations/{location}/clusters/{}", self.cluster_name)
    }

    /// The row of a write. It does not depend on any limit.
    pub fn new(write: &Write<'_>, policy: &Policy, now: DateTime<Utc>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let replicas = write.asked.replicas();
        ReplicaEvent {
            event_id: event_id(write),
            write_id: Some(write_id(write)),
            event_time: write.event_time,
            received_time: write.received_time,
            ingested_at: now,
            project_id: owned(write.project_id),
            location: owned(write.location),
            cluster_name: write.cluster_name.to_owned(),
            namespace: write.namespace.to_owned(),
            deployment_name: owned(write.deployment_name),
            object_kind: write.object_kind,
            object_name: owned(write.object_name),
            object_uid: owned(write.object_uid),
            born_at: write.born_at,
            resource_version: write.object_version.and_then(|digits| digits.parse().ok()),
            object_version: owned(write.object_version),
            generation: write.generation,
            touched: write.touched,
            operation: write.operation,
            outcome: Some(write.outcome),
            object_state: write.object_state,
            method_name: write.method_name.to_owned(),
            replicas,
            min_replicas: write.min_replicas,
            effective: write.effective,
            replicas_source: match write.asked {
                Asked::For(value) => Some(value.source.as_str().to_owned()),
                Asked::Unknown(_) => Some("unknown".to_owned()),
                Asked::Nothing => None,
            },
            actor: write.actor.name.to_owned(),
            on_behalf_of: owned(write.actor.on_behalf_of),
            actor_kind: write.actor.kind,
            route: policy.routes.route(&write.actor),
            user_agent: owned(write.user_agent),
            caller_ip: owned(write.caller_ip),
            in_scope: Some(policy.scope.holds(write)),
            outside_range: replicas.map(|replicas| policy.outside_range(replicas)),
            insert_id: write.insert_id.to_owned(),
            log_name: write.log_name.to_owned(),
        }
    }
}
