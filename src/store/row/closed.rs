//! `closed_changes`: the changes of days that are over, as the order had them when they were closed.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::row;
use crate::audit::{ActorKind, ObjectKind, Operation};
use crate::id;
use crate::policy::Route;
use crate::timeline::{Asked, Cause, Change, Object, Origin};

row! {
    /// A change, without the limit: that is judged when it is asked for.
    ClosedChange in "closed_changes" {
        change_id: String,
        closing: String,
        effective_time: DateTime<Utc>,
        event_id: String,
        write_id: String,
        shown_write: String,
        event_time: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: ObjectKind,
        object_name: Option<String>,
        object_uid: Option<String>,
        object_version: Option<String>,
        position: i64,
        arrives: i64,
        removes: bool,
        operation: Operation,
        previous_replicas: Option<i64>,
        replicas: Option<i64>,
        previous_min_replicas: Option<i64>,
        min_replicas: Option<i64>,
        missed_writes: i64,
        replicas_source: Option<String>,
        actor: String,
        on_behalf_of: Option<String>,
        actor_kind: ActorKind,
        route: Route,
        touched: Option<bool>,
        effective: Option<bool>,
        in_scope: Option<bool>,
        outside_range: Option<bool>,
        cluster_id: String,
        object_id: String,
        ingested_at: DateTime<Utc>,
    }
}

impl ClosedChange {
    /// As it stands in a closing.
    pub fn in_closing(self, closing: &str) -> Self {
        let change_id = id::id(&[closing, &self.object_id, &self.shown_write, &self.arrives.to_string()]);
        ClosedChange { change_id, closing: closing.to_owned(), ..self }
    }

    /// The change, in one of its object's lives.
    pub fn change(&self, life: i64) -> Change {
        let cause = Cause {
            event_id: self.event_id.clone(),
            write_id: self.write_id.clone(),
            written_at: self.event_time,
            actor: self.actor.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            route: self.route,
            operation: self.operation,
        };
        Change {
            // What has no name is identified by its write.
            object: Object {
                kind: self.object_kind,
                name: self.object_name.clone().unwrap_or_else(|| self.write_id.clone()),
            },
            uid: self.object_uid.clone(),
            life,
            effective_at: self.effective_time,
            asked: Asked::of(self.replicas, self.removes),
            min_replicas: self.min_replicas,
            effective: self.effective.unwrap_or(true),
            outside_range: self.outside_range.unwrap_or_default(),
            in_scope: self.in_scope.unwrap_or(true),
            missed_writes: self.missed_writes,
            origin: Origin::Write(Arc::new(cause)),
        }
    }
}
