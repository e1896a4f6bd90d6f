//! The alerts that somebody asks for.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};

use super::{Query, Value, days, select};
use crate::names::Named;
use crate::ped::Clusters;
use crate::policy::Severity;
use crate::store::reach::Reach;
use crate::store::row::{AlertLog, RaisedAlert};
use crate::store::{Store, StoreError};

/// Which alerts are wanted. By default all that were raised and stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAlerts {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only about the Deployments of this name.
    pub deployment: Option<String>,
    /// Only of these clusters.
    pub clusters: Clusters,
    /// Only what was raised at or after this time: for its first write, or for a later one.
    pub since: Option<DateTime<Utc>>,
    /// Only what began before this time.
    pub until: Option<DateTime<Utc>>,
    /// Only what is at least so severe.
    pub severity: Option<Severity>,
    /// Also what was raised and does not stand any more.
    pub all: bool,
}

impl Default for WantedAlerts {
    fn default() -> Self {
        WantedAlerts {
            namespace: None,
            deployment: None,
            clusters: Clusters::Any,
            since: None,
            until: None,
            severity: None,
            all: false,
        }
    }
}

impl WantedAlerts {
    /// The columns that have to hold a value, and that value.
    fn equal(&self) -> Vec<(&'static str, String)> {
        let cluster = match self.clusters.clone() {
            Clusters::Any => Vec::new(),
            Clusters::Named(name) => vec![("cluster_name", name)],
            Clusters::One { project, location, name } => {
                vec![("project_id", project), ("location", location), ("cluster_name", name)]
            }
        };
        let namespace = self.namespace.iter().map(|namespace| ("namespace", namespace.clone()));
        let deployment = self.deployment.iter().map(|deployment| ("deployment_name", deployment.clone()));
        namespace.chain(deployment).chain(cluster).collect()
    }
}

/// Reads the alerts that are wanted: the latest, at most so many, in order of time and the worst first.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn alerts(store: &dyn Store, wanted: &WantedAlerts, at_most: usize) -> Result<Vec<RaisedAlert>, StoreError> {
    let mut conditions = vec!["raised_at IS NOT NULL".to_owned()];
    let mut parameters = Vec::new();
    for (column, value) in wanted.equal() {
        conditions.push(format!("{column} = @{column}_wanted"));
        parameters.push((format!("{column}_wanted"), Value::Text(value)));
    }
    for (name, condition, time) in
        [("begin", "last_time >= @begin", wanted.since), ("finish", "alert_time < @finish", wanted.until)]
    {
        let Some(time) = time else { continue };
        conditions.push(condition.to_owned());
        parameters.push((name.to_owned(), Value::Time(time)));
    }
    if let Some(least) = wanted.severity {
        let names = Severity::ALL.iter().filter(|&&severity| severity >= least).map(|severity| format!("'{severity}'"));
        conditions.push(format!("severity IN ({})", names.collect::<Vec<_>>().join(", ")));
    }
    if !wanted.all {
        conditions.push("stands".to_owned());
    }
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let rest = format!("WHERE {} ORDER BY alert_time DESC, alert_id DESC LIMIT {limit}", conditions.join(" AND "));
    let reach = reach(store, wanted).await?;
    let query = select::<RaisedAlert>("alerts", &rest, parameters).over(&reach);
    let mut found: Vec<RaisedAlert> = store.fetch(&query).await?.read();
    found.sort_by_key(|alert| {
        (alert.alert_time, Reverse(alert.severity), alert.alert_type.as_str(), alert.alert_id.clone())
    });
    Ok(found)
}

/// The alert of this id, as it was raised.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn raised(store: &dyn Store, id: &str) -> Result<Option<AlertLog>, StoreError> {
    let parameters = vec![("id".to_owned(), Value::Text(id.to_owned()))];
    let found: Vec<AlertLog> =
        store.fetch(&select::<AlertLog>("alert_log", "WHERE alert_id = @id LIMIT 1", parameters)).await?.read();
    Ok(found.into_iter().next())
}

/// What is read for alerts since a time: the events since then, and as far back as goes what was raised for again since then,
/// because an alert is told with its first write.
async fn reach(store: &dyn Store, wanted: &WantedAlerts) -> Result<Reach, StoreError> {
    let namespaces: BTreeSet<String> = wanted.namespace.iter().cloned().collect();
    let Some(since) = wanted.since else { return Ok(Reach::of(&namespaces)) };
    let closings = days::closings(store).await?;
    let mut end = since;
    loop {
        let reach = closings.reach(end, &namespaces);
        let Some(told_from) = reach.alerts_since() else { return Ok(reach) };
        match days::earliest(store, &begun_before(since, told_from).over(&reach)).await? {
            Some(begun) => end = begun.min(told_from) - Duration::microseconds(1),
            None => return Ok(reach),
        }
    }
}

/// When the earliest of those segments began that stood at a time, and for which something was raised since.
fn begun_before(since: DateTime<Utc>, told_from: DateTime<Utc>) -> Query {
    let sql = "
         SELECT MIN(begun.alert_time) AS earliest
         FROM ${dataset}.conditions AS begun
         JOIN ${dataset}.conditions AS standing
           ON standing.alert_type = begun.alert_type AND standing.object_id = begun.object_id
           AND standing.segment = begun.segment
         JOIN (
           SELECT DISTINCT alert_type, cluster_name, namespace, deployment_name
           FROM ${dataset}.alert_log WHERE alert_time >= @raised_since
         ) AS raised
           ON raised.alert_type = begun.alert_type AND raised.cluster_name = begun.cluster_name
           AND raised.namespace = begun.namespace AND raised.deployment_name = begun.deployment_name
         WHERE begun.begins = 1 AND begun.alert_time < @told_from AND standing.held IS NOT NULL
           AND (standing.next_time IS NULL OR standing.next_time > @raised_since)";
    let parameters = [("raised_since", since), ("told_from", told_from)];
    Query::new(sql, parameters.map(|(name, time)| (name.to_owned(), Value::Time(time))).to_vec())
}
