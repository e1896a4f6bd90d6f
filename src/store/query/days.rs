//! Questions about closed days, and what closing them needs.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};

use super::{NAMES_MAX, Query, Value, one_of, select};
use crate::ped::version::Version;
use crate::ped::{Cluster, Deployment};
use crate::store::reach::{CLOSED, Closings, LATE, Reach};
use crate::store::row::{CarriedWrite, ClosedChange, Place, Row, Watermark};
use crate::store::{Store, StoreError};
use crate::timeline::{Change, Input, Timeline};

/// How long an ended object is remembered: an answer that refutes its end comes within that, or makes it another life.
const REMEMBERED: Duration = Duration::days(35);

/// What is closed, and which facts came late.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn closings(store: &dyn Store) -> Result<Closings, StoreError> {
    let rest = format!("WHERE name LIKE '{CLOSED}%' OR name LIKE '{LATE}%'");
    let marks = store.fetch(&select::<Watermark>("watermarks", &rest, Vec::new())).await?.read();
    Ok(Closings::new(marks, store.keeps_events_from()))
}

/// When the first event was; `None` where there is none.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn first_event(store: &dyn Store) -> Result<Option<DateTime<Utc>>, StoreError> {
    earliest(store, &Query::new("SELECT MIN(event_time) AS earliest FROM ${dataset}.replica_events", Vec::new())).await
}

/// The changes, as far as they are read, in the order of each object.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn changes(store: &dyn Store, reach: &Reach) -> Result<Vec<ClosedChange>, StoreError> {
    changes_of(store, reach, &[]).await
}

/// As [`changes`], those of some Deployments; with none, or too many to be named, all.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn changes_of(
    store: &dyn Store,
    reach: &Reach,
    deployments: &[Deployment],
) -> Result<Vec<ClosedChange>, StoreError> {
    let names: Vec<String> = deployments.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    let (wanted, parameters) = match names.len() {
        1..=NAMES_MAX => one_of("one", "namespace || '/' || deployment_name", &names),
        _ => ("TRUE".to_owned(), Vec::new()),
    };
    let order = "ORDER BY effective_time, object_id, CASE WHEN carried = 'closed' THEN 0 ELSE 1 END, position";
    let rest = format!("WHERE {wanted} {order}");
    let sql = selected::<ClosedChange>("${dataset}.ordered_changes", &["change_id", "closing"], &rest);
    Ok(store.fetch(&Query::new(sql, parameters).over(reach)).await?.read())
}

/// What later questions have to know of the writes before an instant.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn carried(
    store: &dyn Store,
    reach: &Reach,
    through: DateTime<Utc>,
) -> Result<Vec<CarriedWrite>, StoreError> {
    let carried = format!("({}) AS carried_writes", CARRIED.replace("${told}", TOLD));
    let sql = selected::<CarriedWrite>(&carried, &["carried_id", "closing"], "")
        .replace("`through`", "@through AS `through`");
    let parameters = [
        ("through", through),
        ("day_before", through - Duration::days(1)),
        ("forgotten", through - REMEMBERED),
        // What ended them stays for longer than what it ended.
        ("forgotten_around", through - REMEMBERED - Duration::days(1)),
    ];
    let parameters = parameters.map(|(name, time)| (name.to_owned(), Value::Time(time))).to_vec();
    Ok(store.fetch(&Query::new(sql, parameters).over(reach)).await?.read())
}

/// From when on what is stored of closed days is to be computed again, because the writes behind them tell otherwise.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn disagreement(store: &dyn Store, reach: &Reach) -> Result<Option<DateTime<Utc>>, StoreError> {
    let through = Value::Time(reach.since().unwrap_or_default());
    let parameters = vec![("closed_through".to_owned(), through)];
    earliest(store, &Query::new(DISAGREEMENT.replace("${told}", TOLD), parameters).over(reach)).await
}

/// A row type's columns out of something that lacks some, which are made empty: the program fills them.
pub(super) fn selected<R: Row>(from: &str, lacking: &[&str], rest: &str) -> String {
    let column = |(name, ..): &(&str, _, _)| {
        if lacking.contains(name) { format!("'' AS `{name}`") } else { format!("`{name}`") }
    };
    let columns: Vec<String> = R::COLUMNS.iter().map(column).collect();
    format!("SELECT {} FROM {from} {rest}", columns.join(", "))
}

/// The one time that a question asks for.
pub(super) async fn earliest(store: &dyn Store, query: &Query) -> Result<Option<DateTime<Utc>>, StoreError> {
    let found = store.fetch(query).await?;
    let value = found.rows.first().and_then(|row| row.first()).map(Value::cell);
    Ok(value.and_then(<Option<DateTime<Utc>> as crate::store::row::Column>::from_cell).flatten())
}

const CARRIED: &str = include_str!("carried.sql");
const DISAGREEMENT: &str = include_str!("disagreement.sql");
const TOLD: &str = include_str!("told.sql");

/// What was in force when, for the Deployment at a place.
pub fn timeline(place: Place<'_>, told: &[&ClosedChange], versions: &[Version], until: DateTime<Utc>) -> Timeline {
    let changes = with_lives(told);
    let cluster = Cluster {
        project: place.project_id.unwrap_or_default(),
        location: place.location.unwrap_or_default(),
        name: place.cluster_name,
    };
    let Place { namespace, deployment_name: deployment, .. } = place;
    Timeline::new(&Input { cluster, namespace, deployment, changes: &changes, observations: &[], versions, until })
}

/// A life ends with its object, and where another uid is shown.
fn with_lives(told: &[&ClosedChange]) -> Vec<Change> {
    let mut lives: HashMap<&str, (i64, Option<&str>)> = HashMap::new();
    let mut changes = Vec::with_capacity(told.len());
    for change in told {
        let uid = change.object_uid.as_deref();
        let (life, known) = lives.entry(&change.object_id).or_insert((1, uid));
        if uid.is_some() && known.is_some() && *known != uid {
            *life += 1;
        }
        *known = uid.or(*known);
        changes.push(change.change(*life));
    }
    changes
}
