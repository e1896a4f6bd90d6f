//! `object_days`: what each object came to on each day on which it was there.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::row;
use crate::audit::ObjectKind;
use crate::id;
use crate::policy::Route;
use crate::timeline::{Asked, Day, High, InForce};

row! {
    /// One object, for the Deployment that it aims at, on one day.
    ObjectDay in "object_days" {
        day_id: String,
        closing: String,
        date: NaiveDate,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        object_kind: ObjectKind,
        object_name: String,
        object_uid: Option<String>,
        cluster_id: String,
        in_scope: bool,
        existed_until: DateTime<Utc>,
        state: String,
        replicas: Option<i64>,
        min_replicas: Option<i64>,
        effective: Option<bool>,
        outside_range: Option<bool>,
        set_at: Option<DateTime<Utc>>,
        set_event_id: Option<String>,
        set_actor: Option<String>,
        set_on_behalf_of: Option<String>,
        set_route: Option<Route>,
        highest_replicas: Option<i64>,
        highest_from: Option<DateTime<Utc>>,
        highest_event_id: Option<String>,
        highest_actor: Option<String>,
        highest_on_behalf_of: Option<String>,
        highest_route: Option<Route>,
        highest_owner: Option<String>,
        highest_hpa: Option<i64>,
        highest_hpa_name: Option<String>,
        highest_hpa_from: Option<DateTime<Utc>>,
        highest_hpa_event_id: Option<String>,
        highest_hpa_actor: Option<String>,
        limit_highest: Option<i64>,
        limit_highest_id: Option<String>,
        limit_last: Option<i64>,
        limit_last_id: Option<String>,
        limit_initial: Option<i64>,
        owner: Option<String>,
        limit_peaks: String,
        requested_peaks: String,
        replica_micros: i64,
        within_micros: i64,
        over_limit_micros: i64,
        outside_range_micros: i64,
        unregistered_micros: i64,
        unknown_micros: i64,
        absent_micros: i64,
        not_judged_micros: i64,
        writes: i64,
        changes: i64,
        missed_writes: i64,
        highest_actual: Option<i64>,
        inputs_hash: String,
        set_missed_writes: Option<i64>,
        set_in_scope: Option<bool>,
    }
}

/// Where an object is, and what it is about.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// Google Cloud project of the cluster.
    pub project_id: Option<&'p str>,
    /// Region or zone of the cluster.
    pub location: Option<&'p str>,
    /// Name of the cluster.
    pub cluster_name: &'p str,
    /// `projects/PROJECT/locations/LOCATION/clusters/NAME`.
    pub cluster_id: &'p str,
    /// Kubernetes namespace.
    pub namespace: &'p str,
    /// The Deployment.
    pub deployment_name: &'p str,
}

impl ObjectDay {
    /// The row of a day; `None` for one on which the object was not there.
    pub fn new(day: &Day, place: Place<'_>) -> Option<Self> {
        let Day { date, object, period, inputs_hash } = day;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let end = period.end.as_deref();
        let set = end.and_then(|end| end.origin.cause());
        let asked = end.map_or(Asked::Nothing, |end| end.asked);
        let (high, hpa) = (By::of(period.highest.as_ref()), By::of(period.highest_hpa.as_ref()));
        let (limit_highest, limit_last) = (period.highest_limit.as_deref(), period.last_limit.as_deref());
        let max = |limit: Option<&InForce>| limit.map(|limit| limit.max_replicas);
        let version = |limit: Option<&InForce>| limit.map(|limit| limit.limit_id.clone());
        Some(ObjectDay {
            day_id: String::new(),
            closing: String::new(),
            date: *date,
            project_id: owned(place.project_id),
            location: owned(place.location),
            cluster_name: place.cluster_name.to_owned(),
            namespace: place.namespace.to_owned(),
            deployment_name: place.deployment_name.to_owned(),
            object_kind: object.kind,
            object_name: object.name.clone(),
            object_uid: end.and_then(|end| end.uid.clone()),
            cluster_id: place.cluster_id.to_owned(),
            in_scope: period.in_scope,
            existed_until: period.existed_until?,
            state: match asked {
                Asked::Number(_) => "number",
                Asked::Unknown => "unknown",
                Asked::Nothing => "gone",
            }
            .to_owned(),
            replicas: asked.number(),
            min_replicas: end.filter(|_| asked != Asked::Nothing).and_then(|end| end.min_replicas),
            effective: end.map(|end| end.effective),
            outside_range: end.map(|end| end.outside_range),
            set_at: end.map(|end| end.effective_at),
            set_event_id: set.map(|cause| cause.event_id.clone()),
            set_actor: set.map(|cause| cause.actor.clone()),
            set_on_behalf_of: set.and_then(|cause| cause.on_behalf_of.clone()),
            set_route: set.map(|cause| cause.route),
            highest_replicas: high.number,
            highest_from: high.from,
            highest_event_id: high.event_id,
            highest_actor: high.actor,
            highest_on_behalf_of: high.on_behalf_of,
            highest_route: high.route,
            highest_owner: high.owner,
            highest_hpa: hpa.number,
            highest_hpa_name: hpa.object,
            highest_hpa_from: hpa.from,
            highest_hpa_event_id: hpa.event_id,
            highest_hpa_actor: hpa.actor,
            limit_highest: max(limit_highest),
            limit_highest_id: version(limit_highest),
            limit_last: max(limit_last),
            limit_last_id: version(limit_last),
            limit_initial: limit_last.map(|limit| limit.initial_max_replicas),
            owner: limit_last.map(|limit| limit.owner.clone()),
            limit_peaks: as_json(&period.limit_peaks),
            requested_peaks: as_json(&period.requested_peaks),
            replica_micros: period.replica_micros,
            within_micros: period.verdicts.within,
            over_limit_micros: period.verdicts.over_limit,
            outside_range_micros: period.verdicts.outside_platform_range,
            unregistered_micros: period.verdicts.unregistered,
            unknown_micros: period.verdicts.unknown_value,
            absent_micros: period.verdicts.absent,
            not_judged_micros: period.verdicts.not_judged,
            writes: period.writes,
            changes: period.changes,
            missed_writes: period.missed_writes,
            // Of snapshots, which the timeline of changes does not hold.
            highest_actual: None,
            inputs_hash: inputs_hash.clone(),
            set_missed_writes: end.map(|end| end.missed_writes),
            set_in_scope: end.map(|end| end.in_scope),
        })
    }

    /// As it stands in a closing.
    pub fn in_closing(self, closing: &str) -> Self {
        let ObjectDay { cluster_id, namespace, deployment_name, object_kind, object_name, date, .. } = &self;
        let parts =
            [closing, cluster_id, namespace, deployment_name, &object_kind.to_string(), object_name, &date.to_string()];
        ObjectDay { day_id: id::id(&parts), closing: closing.to_owned(), ..self }
    }
}

/// A highest number, and who asked for it.
#[derive(Debug, Default)]
struct By {
    number: Option<i64>,
    object: Option<String>,
    from: Option<DateTime<Utc>>,
    event_id: Option<String>,
    actor: Option<String>,
    on_behalf_of: Option<String>,
    route: Option<Route>,
    owner: Option<String>,
}

impl By {
    fn of(high: Option<&High>) -> Self {
        let Some(high) = high else { return By::default() };
        let cause = high.origin.cause();
        By {
            number: Some(high.number),
            object: Some(high.object.name.clone()),
            from: Some(high.from),
            event_id: cause.map(|cause| cause.event_id.clone()),
            actor: cause.map(|cause| cause.actor.clone()),
            on_behalf_of: cause.and_then(|cause| cause.on_behalf_of.clone()),
            route: cause.map(|cause| cause.route),
            owner: high.owner.clone(),
        }
    }
}

/// As every store keeps JSON: the keys in order.
fn as_json(value: &impl Serialize) -> String {
    serde_json::to_value(value).unwrap_or_default().to_string()
}
