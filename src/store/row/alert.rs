//! `alert_log`: what was raised, when, and by which limit. Whether it stands is derived by the view `alerts`.

use chrono::{DateTime, Utc};

use super::event::{ReplicaEvent, write_id};
use super::row;
use crate::audit::Write;
use crate::id::id;
use crate::names::Named;
use crate::ped::limits::Limit;
use crate::policy::{Alert, AlertType, Route, Severity};

row! {
    /// A rule that fired.
    AlertLog in "alert_log" {
        alert_id: String,
        alert_time: DateTime<Utc>,
        alert_type: AlertType,
        severity: Severity,
        message: String,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        event_id: Option<String>,
        replicas: Option<i64>,
        limit_max_replicas: Option<i64>,
        limit_initial_max_replicas: Option<i64>,
        limit_id: Option<String>,
        actor: Option<String>,
        on_behalf_of: Option<String>,
        route: Option<Route>,
        ingested_at: DateTime<Utc>,
    }
}

row! {
    /// What of the view `alerts` a report shows: a segment that stands, with what was raised for it.
    RaisedAlert in "alert_log" {
        alert_id: Option<String>,
        alert_time: DateTime<Utc>,
        alert_type: AlertType,
        severity: Option<Severity>,
        message: Option<String>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        replicas: Option<i64>,
        limit_max_replicas: Option<i64>,
        raised_at: Option<DateTime<Utc>>,
        raised: i64,
        last_time: DateTime<Utc>,
        actor: Option<String>,
        on_behalf_of: Option<String>,
        stands: bool,
        event_id: Option<String>,
    }
}

/// What was written: a version of an object or, where the entry does not show which, the write itself.
pub fn written<'w>(uid: Option<&'w str>, version: Option<&'w str>, write_id: &'w str) -> Vec<&'w str> {
    match (uid, version) {
        (Some(uid), Some(version)) => vec![uid, version],
        _ => vec![write_id],
    }
}

/// What makes two alerts one: the rule, the version of the object that was written, the number, and only what the rule
/// compares it with.
pub fn alert_id(
    alert_type: AlertType,
    written: &[&str],
    replicas: Option<i64>,
    max: Option<i64>,
    initial: Option<i64>,
) -> String {
    let text = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    let compared = match alert_type {
        AlertType::OverLimit => text(max),
        AlertType::OverInitial => text(initial),
        _ => String::new(),
    };
    let replicas = text(replicas);
    let mut parts = vec![alert_type.as_str()];
    parts.extend(written);
    parts.extend([replicas.as_str(), compared.as_str()]);
    id(&parts)
}

impl AlertLog {
    /// What a comparison found, of which no single write tells; about nothing yet.
    pub fn compared(
        alert_type: AlertType,
        severity: Severity,
        alert_id: String,
        message: String,
        now: DateTime<Utc>,
    ) -> Self {
        AlertLog {
            alert_id,
            alert_time: now,
            alert_type,
            severity,
            message,
            project_id: None,
            location: None,
            cluster_name: String::new(),
            namespace: String::new(),
            deployment_name: None,
            event_id: None,
            replicas: None,
            limit_max_replicas: None,
            limit_initial_max_replicas: None,
            limit_id: None,
            actor: None,
            on_behalf_of: None,
            route: None,
            ingested_at: now,
        }
    }

    /// The row of an alert about a write.
    pub fn new(write: &Write<'_>, event: &ReplicaEvent, limit: Option<&Limit>, alert: Alert) -> Self {
        let max = limit.map(|limit| limit.max_replicas);
        let initial = limit.map(|limit| limit.initial_max_replicas);
        let write_id = write_id(write);
        let written = written(write.object_uid, write.object_version, &write_id);
        AlertLog {
            alert_id: alert_id(alert.alert_type, &written, event.replicas, max, initial),
            alert_time: event.event_time,
            alert_type: alert.alert_type,
            severity: alert.severity,
            message: alert.message,
            project_id: event.project_id.clone(),
            location: event.location.clone(),
            cluster_name: event.cluster_name.clone(),
            namespace: event.namespace.clone(),
            deployment_name: event.deployment_name.clone(),
            event_id: Some(event.event_id.clone()),
            replicas: event.replicas,
            limit_max_replicas: max,
            limit_initial_max_replicas: initial,
            limit_id: limit.map(|limit| limit.limit_id.clone()),
            actor: Some(event.actor.clone()),
            on_behalf_of: event.on_behalf_of.clone(),
            route: Some(event.route),
            ingested_at: event.ingested_at,
        }
    }
}
