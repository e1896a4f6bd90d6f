//! What is asked of a store: SQL that BigQuery and SQLite have in common, and how its rows become ours. Pure but for
//! the fetching itself, which is the store's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use super::reach::{Condition, Reach, one_of};
use super::row::{Cell, Change, ClaimRow, DeploymentConfig, QuarantineHead, RaisedAlert, Row, Watermark, row};
use super::{Store, StoreError, schema};

use crate::audit::ObjectKind;
use crate::id;
use crate::names::Named;
use crate::ped::Deployment;
use crate::policy::{AlertType, Route, Severity};

mod alerts;
mod asked;
pub mod bills;
mod breaches;
pub mod canary;
mod clusters;
pub mod days;
mod pages;
mod quarantine;
pub mod reality;
mod report;
pub mod story;

pub use alerts::{WantedAlerts, alerts, raised};
pub use asked::{About, changes, status};
pub use clusters::{SeenCluster, seen_clusters};
pub use quarantine::{in_quarantine, quarantined, quarantined_in};
pub use report::Recorded;

/// One question. Values are only ever parameters, `@name` in the text.
#[derive(Debug, Clone)]
pub struct Query {
    /// `${dataset}.` stands before the name of each table.
    pub sql: String,
    /// Name (without `@`) and value of each parameter. None of them is null.
    pub parameters: Vec<(String, Value)>,
    /// Which rows it reads.
    reach: Reach,
}

impl Query {
    /// A question over all rows.
    pub fn new(sql: impl Into<String>, parameters: Vec<(String, Value)>) -> Self {
        Query { sql: sql.into(), parameters, reach: Reach::default() }
    }
}

/// A [`Cell`] that owns its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// `INTEGER`.
    Integer(i64),
    /// `BOOLEAN`, where the store has that type.
    Boolean(bool),
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
            Value::Boolean(value) => Cell::Boolean(*value),
            Value::Text(text) => Cell::Text(text),
            Value::Time(time) => Cell::Time(*time),
        }
    }

    fn json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Integer(number) => (*number).into(),
            Value::Boolean(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Time(time) => id::time(*time).into(),
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
    /// The rows as one type, whose columns they were selected as. One that cannot be read, because a value of it is not
    /// what the schema says, costs itself alone.
    pub fn read<R: Row>(&self) -> Vec<R> {
        let read = |row: &Vec<Value>| R::from_cells(|at| row.get(at).map(Value::cell));
        let rows: Vec<R> = self.rows.iter().filter_map(read).collect();
        if rows.len() < self.rows.len() {
            let unreadable = self.rows.len() - rows.len();
            tracing::warn!(unreadable, table = R::TABLE, "rows hold values that their schema does not allow; left out");
        }
        rows
    }
}

/// Asks for nothing out of the table that messages go to, to see whether the store answers and has it. No partition is that
/// late, so BigQuery reads, and bills, nothing.
pub fn nothing() -> Query {
    let sql = "SELECT event_id FROM ${dataset}.replica_events WHERE event_time > @never LIMIT 0";
    let never = DateTime::from_timestamp(253_402_300_799, 0).unwrap_or_default();
    Query::new(sql, vec![("never".to_owned(), Value::Time(never))])
}

/// How many may be named in one question: Deployments, namespaces, ids.
pub(super) const NAMES_MAX: usize = 200;

/// For the versions of some Deployments, or all.
pub fn versions(of: Option<&[Deployment]>) -> Query {
    of_deployments::<DeploymentConfig>(of)
}

/// For what the limits of some Deployments, or all, depend on.
pub fn claims(of: Option<&[Deployment]>) -> Query {
    of_deployments::<ClaimRow>(of)
}

/// With more Deployments than may be named, everything is asked.
fn of_deployments<R: Row>(of: Option<&[Deployment]>) -> Query {
    let Some(deployments) = of.filter(|deployments| deployments.len() <= NAMES_MAX) else {
        return select::<R>(R::TABLE, "", Vec::new());
    };
    // Neither name may hold a slash, so this is as good as two comparisons.
    let names: Vec<String> = deployments.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    let (wanted, parameters) = one_of("one", "namespace || '/' || deployment_name", &names);
    select::<R>(R::TABLE, &format!("WHERE {wanted}"), parameters)
}

/// How many rows a run was the first to record, told by its `ingested_at`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// In `judged_events`.
    pub events: u64,
    /// Writes as facts, whatever the views make of them.
    pub writes: u64,
    /// Of these, what is out of scope.
    pub out_of_scope: u64,
    /// Alerts that stand, by type.
    pub alerts: BTreeMap<String, u64>,
    /// In `quarantine`.
    pub quarantined: u64,
}

/// What a question reads about these namespaces (all, where none or too many are named) since a time (ever, without one).
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn reach(
    store: &dyn Store,
    namespaces: &BTreeSet<String>,
    since: Option<DateTime<Utc>>,
) -> Result<Reach, StoreError> {
    let none = BTreeSet::new();
    let namespaces = if namespaces.len() > NAMES_MAX { &none } else { namespaces };
    Ok(match since {
        Some(since) => days::closings(store).await?.reach(since, namespaces),
        None => Reach::of(namespaces),
    })
}

/// Counts what a run recorded. A row that was there before, or came again later, counts for the first one.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn counts(store: &dyn Store, run: DateTime<Utc>, reach: &Reach) -> Result<Counts, StoreError> {
    let sql = "
        SELECT 'events' AS what, COUNT(*) AS rows_found FROM ${dataset}.judged_events WHERE ingested_at = @run
        UNION ALL
        SELECT 'writes', COUNT(*) FROM (
          SELECT COALESCE(write_id, event_id) AS write_key FROM ${dataset}.replica_events
          WHERE COALESCE(outcome, 'stored') <> 'observed'
          GROUP BY COALESCE(write_id, event_id) HAVING MIN(ingested_at) = @run) AS writes
        UNION ALL
        SELECT 'out_of_scope', COUNT(*) FROM ${dataset}.judged_events WHERE ingested_at = @run AND NOT in_scope
        UNION ALL
        SELECT alert_type, COUNT(*) FROM ${dataset}.alerts WHERE stands AND raised_at = @run GROUP BY alert_type
        UNION ALL
        SELECT 'quarantined', COUNT(*) FROM (";
    let sql = [sql, report::FIRST_IN_QUARANTINE, ") AS quarantined"].concat();
    let parameters = vec![("run".to_owned(), Value::Time(run))];
    let found = store.fetch(&Query::new(sql, parameters).over(reach)).await?;
    let mut counts = Counts::default();
    for row in &found.rows {
        let [Value::Text(what), Value::Integer(count)] = row.as_slice() else { continue };
        let count = u64::try_from(*count).unwrap_or(0);
        match what.as_str() {
            "events" => counts.events = count,
            "writes" => counts.writes = count,
            "out_of_scope" => counts.out_of_scope = count,
            "quarantined" => counts.quarantined = count,
            alert_type => {
                counts.alerts.insert(alert_type.to_owned(), count);
            }
        }
    }
    Ok(counts)
}

/// What one run recorded: at most so many of each, the earliest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunReport {
    /// From the view `replica_changes`.
    pub changes: Vec<Change>,
    /// From the view `alerts`.
    pub alerts: Vec<RaisedAlert>,
    /// From the table `quarantine`.
    pub quarantined: Vec<QuarantineHead>,
}

/// Reads what a run recorded, at most so many rows of each kind.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn report(store: &dyn Store, recorded: Recorded<'_>, at_most: usize) -> Result<RunReport, StoreError> {
    let mut report = RunReport::default();
    let RunReport { changes, alerts, quarantined } = &mut report;
    recorded.changes(store, at_most, async |page| keep(changes, page)).await?;
    recorded.alerts(store, at_most, async |page| keep(alerts, page)).await?;
    recorded.quarantined(store, at_most, async |page| keep(quarantined, page)).await?;
    Ok(report)
}

fn keep<R>(kept: &mut Vec<R>, page: Vec<R>) -> Result<(), StoreError> {
    kept.extend(page);
    Ok(())
}

/// What stands in these namespaces (in all, where none or too many are named) since a time (ever, without one) and was not
/// raised.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn unraised(
    store: &dyn Store,
    namespaces: &BTreeSet<String>,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Unraised>, StoreError> {
    let reach = reach(store, namespaces, since).await?;
    let only = if reach.since().is_some() { "AND alert_time >= @alerts_since" } else { "" };
    let unraised = format!("WHERE stands AND raised_at IS NULL {only} ORDER BY alert_time");
    Ok(store.fetch(&select::<Unraised>("alerts", &unraised, Vec::new()).over(&reach)).await?.read())
}

impl Query {
    /// The same question over some rows only. An object's order, its limits and its alerts depend on no other namespace,
    /// but on the end of its cluster.
    #[must_use]
    pub fn over(self, reach: &Reach) -> Self {
        let conditions = [reach.events(), reach.carried(), reach.changes(), reach.alerts(), reach.days()];
        let known: BTreeMap<String, Value> = conditions.into_iter().flat_map(|(_, parameters)| parameters).collect();
        Query { parameters: self.parameters.into_iter().chain(known).collect(), reach: reach.clone(), ..self }
    }

    /// Which rows it is asked over.
    pub(super) fn rows(&self) -> &Reach {
        &self.reach
    }

    /// The views that the question uses, over the rows that it reads, and the question itself.
    pub(super) fn steps(&self) -> (Vec<(&'static str, String)>, String) {
        let views = schema::used_by(&self.sql).into_iter();
        (views.map(|(name, text)| (name, self.reaching(name, &text))).collect(), self.reaching("", &self.sql))
    }

    /// The text of a view, or of the question, over the rows that it reads.
    fn reaching(&self, view: &str, text: &str) -> String {
        let reach = &self.reach;
        // Where nothing is closed, all is read.
        if reach.is_whole() {
            return text.to_owned();
        }
        let mut text = text.to_owned();
        match view {
            "ordered_changes" if reach.reads_changes() => {
                text = CLOSED_CHANGES.replace("${evaluated}", text.trim_end());
                if reach.reads_states() {
                    // What is settled, but not the first of those behind it: its change is stored, if it is one.
                    text =
                        text.replace("COALESCE(carried, 'open') = 'open'\n", "COALESCE(carried, 'open') <> 'first'\n");
                }
            }
            "subjects" => {
                let changes = if reach.reads_changes() { SUBJECTS_OF_CHANGES } else { "" };
                let states = if reach.reads_states() { SUBJECTS_OF_DAYS } else { "" };
                let subjects = format!("FROM (\n    {SUBJECTS}{changes}{states}\n  ) AS written\n");
                text = text.replace("FROM ${dataset}.writes\n", &subjects);
            }
            _ => {}
        }
        let only = |table: &str, (condition, _): Condition| {
            format!("(SELECT * FROM ${{dataset}}.{table} WHERE {condition}) AS {table}")
        };
        // A table may hold a row twice.
        let carried = format!(
            "(SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY carried_id ORDER BY through) AS copy \
             FROM ${{dataset}}.carried_writes WHERE {}) AS copies WHERE copy = 1) AS carried_writes",
            reach.carried().0
        );
        text.replace("${dataset}.replica_events", &only("replica_events", reach.events()))
            .replace("${dataset}.alert_log", &only("alert_log", reach.alerts()))
            .replace("${dataset}.closed_changes WHERE FALSE", &only("closed_changes", reach.changes()))
            .replace("${dataset}.object_days WHERE FALSE", &only("object_days", reach.days()))
            .replace("${dataset}.carried_writes WHERE FALSE", &carried)
    }
}

const CLOSED_CHANGES: &str = include_str!("query/closed.sql");

/// Of what is asked about, what has a limit.
const SUBJECTS: &str = "SELECT cluster_id, cluster_name, namespace, deployment_name FROM ${dataset}.writes";

/// And of the changes that are stored.
const SUBJECTS_OF_CHANGES: &str = "
    UNION ALL
    SELECT cluster_id, cluster_name, namespace, deployment_name FROM ${dataset}.closed_changes WHERE FALSE";

/// And of what stood when a day began.
const SUBJECTS_OF_DAYS: &str = "
    UNION ALL
    SELECT cluster_id, cluster_name, namespace, deployment_name FROM ${dataset}.object_days WHERE FALSE";

row! {
    /// A segment of the view `alerts` that stands and was not raised.
    Unraised in "alerts" {
        alert_time: DateTime<Utc>,
        alert_type: AlertType,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: ObjectKind,
        object_name: Option<String>,
        object_uid: Option<String>,
        object_version: Option<String>,
        event_id: String,
        write_id: String,
        is_write: bool,
        touched: bool,
        replicas: Option<i64>,
        limit_max_replicas: Option<i64>,
        limit_initial_max_replicas: Option<i64>,
        limit_id: Option<String>,
        actor: String,
        on_behalf_of: Option<String>,
        route: Route,
    }
}

impl Unraised {
    /// What names the object where no entry shows its uid.
    pub fn object_names(&self) -> String {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let parts = [
            text(&self.project_id),
            text(&self.location),
            self.cluster_name.clone(),
            self.namespace.clone(),
            self.object_kind.to_string(),
            text(&self.object_name),
        ];
        parts.join("/")
    }
}

/// The worst severity of what stands and is about this span of time.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn worst(
    store: &dyn Store,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    reach: &Reach,
) -> Result<Option<Severity>, StoreError> {
    let sql = "SELECT DISTINCT severity FROM ${dataset}.alerts \
               WHERE stands AND raised_at IS NOT NULL AND last_time >= @begin AND alert_time <= @finish";
    let parameters = vec![("begin".to_owned(), Value::Time(from)), ("finish".to_owned(), Value::Time(to))];
    let found = store.fetch(&Query::new(sql, parameters).over(reach)).await?;
    let severity = |row: &Vec<Value>| match row.first() {
        Some(Value::Text(name)) => Severity::from_name(name),
        _ => None,
    };
    Ok(found.rows.iter().filter_map(severity).max())
}

/// Until when limits have been held against the writes; `None` when they never were.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn judged_through(store: &dyn Store) -> Result<Option<DateTime<Utc>>, StoreError> {
    let rest = format!("WHERE name = '{JUDGED}' ORDER BY through DESC LIMIT 1");
    let marks: Vec<Watermark> = store.fetch(&select::<Watermark>("watermarks", &rest, Vec::new())).await?.read();
    Ok(marks.first().map(|mark| mark.through))
}

/// The watermark of judging again. Those of single instances begin with it.
pub const JUDGED: &str = "judged";

/// The latest watermark of this name.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn watermark(store: &dyn Store, name: &str) -> Result<Option<Watermark>, StoreError> {
    let parameters = vec![("mark_name".to_owned(), Value::Text(name.to_owned()))];
    let query = select::<Watermark>("watermarks", "WHERE name = @mark_name ORDER BY `at` DESC LIMIT 1", parameters);
    Ok(store.fetch(&query).await?.read().into_iter().next())
}

/// The watermarks of judging again since a time, or all.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn marks(store: &dyn Store, since: Option<DateTime<Utc>>) -> Result<Vec<Watermark>, StoreError> {
    let (filter, parameters) = match since {
        Some(since) => (" AND `at` >= @since", vec![("since".to_owned(), Value::Time(since))]),
        None => ("", Vec::new()),
    };
    let rest = format!("WHERE name LIKE '{JUDGED}%'{filter}");
    Ok(store.fetch(&select::<Watermark>("watermarks", &rest, parameters)).await?.read())
}

/// All rows of a table or view, as objects of their columns in no particular order. Times and JSON are text.
///
/// # Errors
/// [`StoreError`] when there is no such table, or it cannot be read.
pub async fn dump(store: &dyn Store, table: &str) -> Result<Vec<Json>, StoreError> {
    let sql = format!("SELECT * FROM ${{dataset}}.{}", schema::name(table)?);
    let found = store.fetch(&Query::new(sql, Vec::new())).await?;
    let object = |row: &Vec<Value>| -> Map<String, Json> {
        found.columns.iter().cloned().zip(row.iter().map(Value::json)).collect()
    };
    Ok(found.rows.iter().map(|row| Json::Object(object(row))).collect())
}

/// For the columns of one row type, out of a table or view that has them.
fn select<R: Row>(from: &str, rest: &str, parameters: Vec<(String, Value)>) -> Query {
    // Some names are words of SQL.
    let columns: Vec<String> = R::COLUMNS.iter().map(|(name, ..)| format!("`{name}`")).collect();
    Query::new(format!("SELECT {} FROM ${{dataset}}.{from} {rest}", columns.join(", ")), parameters)
}
