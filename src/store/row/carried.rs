//! `carried_writes`: what stands for the writes before an instant.

use chrono::{DateTime, Utc};

use super::row;
use crate::audit::{ActorKind, ObjectKind, ObjectState, Operation, Outcome};
use crate::id;
use crate::policy::Route;

row! {
    /// A write that a later question still has to know of.
    CarriedWrite in "carried_writes" {
        carried_id: String,
        closing: String,
        through: DateTime<Utc>,
        object_id: String,
        carried: String,
        write_id: String,
        event_id: String,
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
        in_scope: Option<bool>,
        outside_range: Option<bool>,
        insert_id: String,
        log_name: String,
        cluster_id: String,
        life_first_time: Option<DateTime<Utc>>,
        life_starts_at: Option<DateTime<Utc>>,
        life_has_create: Option<bool>,
        before_generation: Option<i64>,
        before_explains: Option<i64>,
        before_missing: Option<i64>,
        before_missed: Option<i64>,
        before_effective: Option<DateTime<Utc>>,
        told: Option<String>,
        told_end: Option<String>,
    }
}

impl CarriedWrite {
    /// As it stands in a closing.
    pub fn in_closing(self, closing: &str) -> Self {
        let carried_id = id::id(&[closing, &self.object_id, &self.write_id]);
        CarriedWrite { carried_id, closing: closing.to_owned(), ..self }
    }
}
