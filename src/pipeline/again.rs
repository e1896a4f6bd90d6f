//! Judging again: a limit may come after the write, and a write after the limit. Whoever appends reads again behind its
//! last append, and raises what stands and was not raised.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::quarantine::append;
use crate::id::id;
use crate::names::Named;
use crate::ped::limits::Limits;
use crate::ped::{Cluster, Deployment};
use crate::policy::{AlertType, Facts, Policy};
use crate::store::query::{self, Unraised};
use crate::store::row::{AlertLog, Record, alert_id, written};
use crate::store::{Appended, Store, StoreError};

/// Raises what stands in these namespaces (in all, where none is named) since a time (ever, without one) and was not raised,
/// and returns what is stored.
/// What the store refuses is in quarantine.
///
/// # Errors
/// [`StoreError`] when it cannot be read or may not be stored; doing it again is safe.
pub async fn judge_again(
    store: &dyn Store,
    policy: &Policy,
    namespaces: &BTreeSet<String>,
    since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Vec<AlertLog>, StoreError> {
    let unraised = query::unraised(store, namespaces, since).await?;
    let unraised = known_to_the_registry(store, unraised).await?;
    let alerts: Vec<AlertLog> = unraised.into_iter().filter_map(|found| alert(found, policy, now)).collect();
    if alerts.is_empty() {
        return Ok(alerts);
    }
    let records: Arc<[Record]> = alerts.iter().map(|alert| Record::Alert(Box::new(alert.clone()))).collect();
    let outcomes = append(store, records, now).await?;
    let stored = alerts.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == Appended::Stored);
    Ok(stored.map(|(alert, _)| alert).collect())
}

/// What goes by the limits that the registry has now. Where that is apart from the store, a version comes into the store a moment
/// later, and the store's question may not have known of it; who brings it there judges by it then.
async fn known_to_the_registry(store: &dyn Store, mut unraised: Vec<Unraised>) -> Result<Vec<Unraised>, StoreError> {
    let Some(registry) = store.registry().filter(|_| !unraised.is_empty()) else { return Ok(unraised) };
    let deployment = |found: &Unraised| Some((found.namespace.clone(), found.deployment_name.clone()?));
    let of: BTreeSet<Deployment> = unraised.iter().filter_map(deployment).collect();
    let limits = Limits::new(registry.claims(Some(&of.into_iter().collect::<Vec<_>>())).await?);
    unraised.retain(|found| !goes_by_a_limit(found.alert_type) || is_by(&limits, found));
    Ok(unraised)
}

/// Whether another limit could take its ground away.
fn goes_by_a_limit(alert_type: AlertType) -> bool {
    use AlertType::{OutsidePlatformRange, OverInitial, OverLimit, Unregistered};
    matches!(alert_type, OverLimit | OverInitial | OutsidePlatformRange | Unregistered)
}

/// Whether a segment's limit is the one of these that was in force at its beginning.
fn is_by(limits: &Limits, found: &Unraised) -> bool {
    let cluster = Cluster {
        project: found.project_id.as_deref().unwrap_or_default(),
        location: found.location.as_deref().unwrap_or_default(),
        name: &found.cluster_name,
    };
    let deployment = found.deployment_name.as_deref().unwrap_or_default();
    let limit = limits.at(cluster, &found.namespace, deployment, found.alert_time);
    let numbers = limit.map(|limit| (Some(limit.max_replicas), Some(limit.initial_max_replicas)));
    numbers.unwrap_or_default() == (found.limit_max_replicas, found.limit_initial_max_replicas)
}

/// The row of a segment's alert; `None` where its rule is off.
fn alert(found: Unraised, policy: &Policy, now: DateTime<Utc>) -> Option<AlertLog> {
    let severity = policy.severity.get(found.alert_type)?;
    let facts = Facts {
        namespace: &found.namespace,
        deployment_name: found.deployment_name.as_deref(),
        object_kind: found.object_kind,
        object_name: found.object_name.as_deref(),
        replicas: found.replicas,
        max_replicas: found.limit_max_replicas,
        initial_max_replicas: found.limit_initial_max_replicas,
        set_by_write: found.is_write && found.touched,
        why: (found.alert_type == AlertType::UnknownValue).then_some("the audit log does not tell it"),
    };
    let message = facts.message(found.alert_type, policy);
    let message = match (found.is_write, &found.limit_id) {
        (true, _) => message,
        (false, Some(_)) => format!("{message}: the limit began while the number stood"),
        (false, None) => format!("{message}: the limit ended while the number stood"),
    };
    Some(AlertLog {
        alert_id: identity(&found),
        alert_time: found.alert_time,
        alert_type: found.alert_type,
        severity,
        message,
        project_id: found.project_id,
        location: found.location,
        cluster_name: found.cluster_name,
        namespace: found.namespace,
        deployment_name: found.deployment_name,
        event_id: Some(found.event_id),
        replicas: found.replicas,
        limit_max_replicas: found.limit_max_replicas,
        limit_initial_max_replicas: found.limit_initial_max_replicas,
        limit_id: found.limit_id,
        actor: Some(found.actor),
        on_behalf_of: found.on_behalf_of,
        route: Some(found.route),
        ingested_at: now,
    })
}

/// The same as when the write itself is judged; for a limit that begins on a standing number, the object, the limit and
/// the instant.
fn identity(found: &Unraised) -> String {
    let (uid, max, initial) = (found.object_uid.as_deref(), found.limit_max_replicas, found.limit_initial_max_replicas);
    if found.is_write {
        let written = written(uid, found.object_version.as_deref(), &found.write_id);
        return alert_id(found.alert_type, &written, found.replicas, max, initial);
    }
    let object = uid.map_or_else(|| found.object_names(), str::to_owned);
    let text = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    let began = crate::id::time(found.alert_time);
    // The number too: which one stood then may change with what comes late.
    id(&[found.alert_type.as_str(), &object, &text(found.replicas), &text(max), &text(initial), &began])
}
