//! Numbers that two writers set in turn.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use super::{Rules, raise};
use crate::id::id;
use crate::names::Named;
use crate::ped::Cluster;
use crate::policy::{AlertType, Severity};
use crate::store::query::{About, changes};
use crate::store::row::{AlertLog, Change};
use crate::store::{Store, StoreError};
use crate::timeline::SNAPSHOT;
use crate::timeline::reality::{Contest, Turns};

/// One object's changes of a day.
struct Day {
    turns: Turns,
    /// The last one.
    last: Change,
}

/// Raises what was contested on a day, once with both names and how often.
///
/// # Errors
/// [`StoreError`] when it cannot be read, or may not be stored; doing it again is safe.
pub async fn contested(
    store: &dyn Store,
    rules: Rules<'_>,
    date: NaiveDate,
    now: DateTime<Utc>,
) -> Result<Vec<AlertLog>, StoreError> {
    let Some(severity) = rules.policy.severity.get(AlertType::Contested) else { return Ok(Vec::new()) };
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let span = (midnight(date), midnight(date.checked_add_days(Days::new(1)).unwrap_or(date)));
    let mut objects: BTreeMap<String, Day> = BTreeMap::new();
    changes(store, &About { out_of_scope: false, ..About::ALL }, span, usize::MAX, async |page| {
        page.into_iter().for_each(|change| add(&mut objects, change));
        Ok::<(), StoreError>(())
    })
    .await?;
    let is_contest = |contest: &&Contest| contest.changes >= rules.thresholds.contested_changes;
    let found = objects.into_iter().filter_map(|(object, Day { turns, last })| {
        Some(alert(&object, date, last, turns.longest().filter(is_contest)?, severity, now))
    });
    let alerts: Vec<AlertLog> = found.collect();
    raise(store, &alerts).await?;
    Ok(alerts)
}

fn add(objects: &mut BTreeMap<String, Day>, change: Change) {
    let is_moved =
        change.previous_replicas.is_some() && change.replicas.is_some_and(|to| Some(to) != change.previous_replicas);
    // A snapshot writes nothing.
    let Some(name) = change.object_name.as_ref().filter(|_| is_moved && change.actor != SNAPSHOT) else { return };
    let cluster = Cluster {
        project: change.project_id.as_deref().unwrap_or_default(),
        location: change.location.as_deref().unwrap_or_default(),
        name: &change.cluster_name,
    };
    let object = format!("{cluster}/{}/{}/{name}", change.namespace, change.object_kind);
    let actor = change.actor.clone();
    let day = objects.entry(object).or_insert_with(|| Day { turns: Turns::default(), last: change.clone() });
    day.turns.add(&actor);
    day.last = change;
}

fn alert(
    object: &str,
    date: NaiveDate,
    last: Change,
    contest: &Contest,
    severity: Severity,
    now: DateTime<Utc>,
) -> AlertLog {
    let Contest { writers: [one, other], changes } = contest;
    let deployment = last.deployment_name.as_deref().unwrap_or_default();
    let whose = match last.object_kind {
        crate::audit::ObjectKind::Deployment => String::new(),
        kind => format!(" (by {kind} {})", last.object_name.as_deref().unwrap_or_default()),
    };
    let message =
        format!("{}/{deployment}{whose}: {one} and {other} set its number in turn, {changes} times", last.namespace);
    let alert_id = id(&[AlertType::Contested.as_str(), object, &date.to_string()]);
    AlertLog {
        alert_time: last.event_time,
        project_id: last.project_id,
        location: last.location,
        cluster_name: last.cluster_name,
        namespace: last.namespace,
        deployment_name: last.deployment_name,
        replicas: last.replicas,
        limit_max_replicas: last.limit_max_replicas,
        actor: Some(last.actor),
        on_behalf_of: last.on_behalf_of,
        route: Some(last.route),
        ..AlertLog::compared(AlertType::Contested, severity, alert_id, message, now)
    }
}
