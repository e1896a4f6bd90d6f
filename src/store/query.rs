//! What is asked of a store: SQL that BigQuery and SQLite have in common, and how its rows become ours. Pure but for
//! the fetching itself, which is the store's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use super::row::{self, AlertLog, Cell, Change, DeploymentConfig, Quarantine, Row};
use super::{Store, StoreError, schema};

/// One question. Values are only ever parameters, `@name` in the text.
#[derive(Debug, Clone)]
pub struct Query {
    /// `${dataset}.` stands before the name of each table.
    pub sql: String,
    /// Name (without `@`) and value of each parameter. None of them is null.
    pub parameters: Vec<(String, Value)>,
}

/// A [`Cell`] that owns its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// `INTEGER`.
    Integer(i64),
    /// `STRING`, `JSON` (keys in order) or `DATE`.
    Text(String),
    /// `TIMESTAMP`.
    Time(DateTime<Utc>),
}

impl Value {
    /// The value, borrowed.
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Null => Cell::Null,
            Value::Integer(number) => Cell::Integer(*number),
            Value::Text(text) => Cell::Text(text),
            Value::Time(time) => Cell::Time(*time),
        }
    }

    fn json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Integer(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Time(time) => row::time(*time).into(),
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// One value for each column.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The rows as one type, whose columns they were selected as.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] when a value is of another type than the schema says.
    pub fn read<R: Row>(&self) -> Result<Vec<R>, StoreError> {
        let read = |row: &Vec<Value>| R::from_cells(|at| row.get(at).map(Value::cell));
        let unreadable = || StoreError::Permanent(format!("a value of {} is not what its schema says", R::TABLE));
        self.rows.iter().map(|row| read(row).ok_or_else(unreadable)).collect()
    }
}

/// Asks for nothing, to see whether the store answers.
///
/// # Errors
/// [`StoreError`] when it does not.
pub async fn ping(store: &dyn Store) -> Result<(), StoreError> {
    store.fetch(&Query { sql: "SELECT 1 AS one".to_owned(), parameters: Vec::new() }).await.map(drop)
}

/// What is in quarantine, oldest first: everything, or the rows of these ids.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn quarantined(store: &dyn Store, ids: &[String]) -> Result<Vec<Quarantine>, StoreError> {
    let name = |index: usize| format!("id{index}");
    let parameters = ids.iter().enumerate().map(|(index, id)| (name(index), Value::Text(id.clone()))).collect();
    let wanted: Vec<String> = (0..ids.len()).map(|index| format!("@{}", name(index))).collect();
    let filter = match wanted.is_empty() {
        true => String::new(),
        false => format!("WHERE quarantine_id IN ({})", wanted.join(", ")),
    };
    let rest = format!("{filter} ORDER BY quarantined_at, quarantine_id");
    store.fetch(&select::<Quarantine>("quarantined", &rest, parameters)).await?.read()
}

/// Every registered version, by subject, then oldest first.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn versions(store: &dyn Store) -> Result<Vec<DeploymentConfig>, StoreError> {
    store.fetch(&select::<DeploymentConfig>("deployment_config", OLDEST_FIRST, Vec::new())).await?.read()
}

/// For the versions of some Deployments (namespace, name) in whichever cluster; at least one.
pub fn versions_of(deployments: &[(String, String)]) -> Query {
    let mut parameters = Vec::new();
    for (index, (namespace, name)) in deployments.iter().enumerate() {
        // Neither name may hold a slash, so this is as good as two comparisons.
        parameters.push((format!("name{index}"), Value::Text(format!("{namespace}/{name}"))));
    }
    let wanted: Vec<String> = parameters.iter().map(|(name, _)| format!("@{name}")).collect();
    let filter = format!("WHERE namespace || '/' || deployment_name IN ({})", wanted.join(", "));
    select::<DeploymentConfig>("deployment_config", &format!("{filter} {OLDEST_FIRST}"), parameters)
}

const OLDEST_FIRST: &str = "ORDER BY namespace, deployment_name, cluster_name, timestamp, updated_at, config_id";

/// How many rows a run was the first to record, told by its `ingested_at`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// In `replica_events`.
    pub events: u64,
    /// In `alert_log`, by type.
    pub alerts: BTreeMap<String, u64>,
    /// In `quarantine`.
    pub quarantined: u64,
}

/// Counts what a run recorded. A row that was there before, or came again later, counts for the first one.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn counts(store: &dyn Store, run: DateTime<Utc>) -> Result<Counts, StoreError> {
    let sql = "
        SELECT 'events' AS what, COUNT(*) AS rows_found FROM (
          SELECT event_id FROM ${dataset}.replica_events GROUP BY event_id HAVING MIN(ingested_at) = @run) AS events
        UNION ALL
        SELECT alert_type, COUNT(*) FROM (
          SELECT alert_id, MIN(alert_type) AS alert_type FROM ${dataset}.alert_log
          GROUP BY alert_id HAVING MIN(ingested_at) = @run) AS alerts
        GROUP BY alert_type
        UNION ALL
        SELECT 'quarantined', COUNT(*) FROM (
          SELECT quarantine_id FROM ${dataset}.quarantine
          GROUP BY quarantine_id HAVING MIN(quarantined_at) = @run) AS quarantined";
    let parameters = vec![("run".to_owned(), Value::Time(run))];
    let found = store.fetch(&Query { sql: sql.to_owned(), parameters }).await?;
    let mut counts = Counts::default();
    for row in &found.rows {
        let [Value::Text(what), Value::Integer(count)] = row.as_slice() else { continue };
        let count = u64::try_from(*count).unwrap_or(0);
        match what.as_str() {
            "events" => counts.events = count,
            "quarantined" => counts.quarantined = count,
            alert_type => {
                counts.alerts.insert(alert_type.to_owned(), count);
            }
        }
    }
    Ok(counts)
}

/// What one run recorded, told by its `ingested_at`: at most so many of each, the earliest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunReport {
    /// From the view `replica_changes`.
    pub changes: Vec<Change>,
    /// From the view `alerts`.
    pub alerts: Vec<AlertLog>,
    /// From the view `quarantined`.
    pub quarantined: Vec<Quarantine>,
}

/// Reads what a run recorded.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn report(store: &dyn Store, run: DateTime<Utc>, at_most: usize) -> Result<RunReport, StoreError> {
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let recorded = |time: &str, order: &str| format!("WHERE {time} = @run ORDER BY {order} LIMIT {limit}");
    let parameters = || vec![("run".to_owned(), Value::Time(run))];
    let worst_first = "alert_time, event_id, severity <> 'critical', severity <> 'warning', alert_type";
    let changes = select::<Change>("replica_changes", &recorded("ingested_at", "event_time, event_id"), parameters());
    let alerts = select::<AlertLog>("alerts", &recorded("ingested_at", worst_first), parameters());
    let quarantined =
        select::<Quarantine>("quarantined", &recorded("quarantined_at", "source, quarantine_id"), parameters());
    Ok(RunReport {
        changes: store.fetch(&changes).await?.read()?,
        alerts: store.fetch(&alerts).await?.read()?,
        quarantined: store.fetch(&quarantined).await?.read()?,
    })
}

/// All rows of a table or view, as objects of their columns in no particular order. Times and JSON are text.
///
/// # Errors
/// [`StoreError`] when there is no such table, or it cannot be read.
pub async fn dump(store: &dyn Store, table: &str) -> Result<Vec<Json>, StoreError> {
    let sql = format!("SELECT * FROM ${{dataset}}.{}", schema::name(table)?);
    let found = store.fetch(&Query { sql, parameters: Vec::new() }).await?;
    let object = |row: &Vec<Value>| -> Map<String, Json> {
        found.columns.iter().cloned().zip(row.iter().map(Value::json)).collect()
    };
    Ok(found.rows.iter().map(|row| Json::Object(object(row))).collect())
}

/// For the columns of one row type, out of a table or view that has them.
fn select<R: Row>(from: &str, rest: &str, parameters: Vec<(String, Value)>) -> Query {
    let columns: Vec<&str> = R::COLUMNS.iter().map(|(name, ..)| *name).collect();
    Query { sql: format!("SELECT {} FROM ${{dataset}}.{from} {rest}", columns.join(", ")), parameters }
}
