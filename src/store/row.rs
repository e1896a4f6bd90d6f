//! The rows: one struct per table, and how a judged write becomes them. Pure.
//!
//! `terraform/schemas/*.json` is the definition of the tables. The structs here are tested to have the same columns
//! of the same types in the same order. Times are UTC, kept to the microsecond (BigQuery's `TIMESTAMP`).

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use crate::audit::{Source, Write};
use crate::ped::history::Limit;
use crate::policy::{Alert, Judgement};

/// One value of a row, in the types that every store has.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'r> {
    /// No value.
    Null,
    /// `INTEGER`.
    Integer(i64),
    /// `STRING` or `JSON`.
    Text(&'r str),
    /// `TIMESTAMP`.
    Time(DateTime<Utc>),
}

/// A Rust type that is a column.
pub trait Column: Sized {
    /// Its type in the schema files.
    const TYPE: &'static str;
    /// Whether it may be missing (`NULLABLE`), or not (`REQUIRED`).
    const NULLABLE: bool = false;
    /// Its value.
    fn cell(&self) -> Cell<'_>;
    /// The value back; `None` when the cell is of another type.
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

impl Column for String {
    const TYPE: &'static str = "STRING";
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text.to_owned()) } else { None }
    }
}

impl Column for i64 {
    const TYPE: &'static str = "INTEGER";
    fn cell(&self) -> Cell<'_> {
        Cell::Integer(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Integer(number) = cell { Some(number) } else { None }
    }
}

impl Column for DateTime<Utc> {
    const TYPE: &'static str = "TIMESTAMP";
    fn cell(&self) -> Cell<'_> {
        Cell::Time(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Time(time) => Some(time),
            Cell::Text(text) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
            _ => None,
        }
    }
}

impl<T: Column> Column for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const NULLABLE: bool = true;
    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, T::cell)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if cell == Cell::Null { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

/// A column as a row type has it: name, type, whether it may be missing.
pub type ColumnInfo = (&'static str, &'static str, bool);

/// A row of a table.
pub trait Row: Sized {
    /// Name of the table.
    const TABLE: &'static str;
    /// Its columns, in order. The first one is the row's id, unless the table has none.
    const COLUMNS: &'static [ColumnInfo];
    /// Its values, in the order of the columns.
    fn cells(&self) -> Vec<Cell<'_>>;
    /// The row back out of its values, which `cell` gives by their position; `None` when a type does not fit.
    fn from_cells<'c>(cell: impl FnMut(usize) -> Option<Cell<'c>>) -> Option<Self>;
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident in $table:literal { $($(#[$column_doc:meta])* $column:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$column_doc])* pub $column: $type,)* }

        impl Row for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [ColumnInfo] =
                &[$((stringify!($column), <$type as Column>::TYPE, <$type as Column>::NULLABLE),)*];
            fn cells(&self) -> Vec<Cell<'_>> {
                vec![$(self.$column.cell(),)*]
            }
            fn from_cells<'c>(mut cell: impl FnMut(usize) -> Option<Cell<'c>>) -> Option<Self> {
                let mut position = 0..;
                $(let $column = <$type as Column>::from_cell(cell(position.next()?)?)?;)*
                Some($name { $($column,)* })
            }
        }
    )*};
}

// The meaning of each column stands in the schema file of its table.
rows! {
    /// A successful, real write to a watched object.
    #[allow(missing_docs)]
    ReplicaEvent in "replica_events" {
        event_id: String,
        event_time: DateTime<Utc>,
        received_time: Option<DateTime<Utc>>,
        ingested_at: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: String,
        object_name: Option<String>,
        object_uid: Option<String>,
        resource_version: Option<i64>,
        generation: Option<i64>,
        operation: String,
        method_name: String,
        replicas: Option<i64>,
        min_replicas: Option<i64>,
        replicas_source: Option<String>,
        actor: String,
        actor_kind: String,
        route: String,
        user_agent: Option<String>,
        caller_ip: Option<String>,
        limit_id: Option<String>,
        limit_max_replicas: Option<i64>,
        limit_initial_max_replicas: Option<i64>,
        verdict: String,
        insert_id: String,
        log_name: String,
    }

    /// A rule that fired.
    #[allow(missing_docs)]
    AlertLog in "alert_log" {
        alert_id: String,
        alert_time: DateTime<Utc>,
        alert_type: String,
        severity: String,
        message: String,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        event_id: Option<String>,
        replicas: Option<i64>,
        limit_max_replicas: Option<i64>,
        limit_initial_max_replicas: Option<i64>,
        limit_id: Option<String>,
        actor: Option<String>,
        route: Option<String>,
        ingested_at: DateTime<Utc>,
    }

    /// A registered version of a PED.
    #[allow(missing_docs)]
    DeploymentConfig in "deployment_config" {
        config_id: String,
        timestamp: DateTime<Utc>,
        cluster_name: Option<String>,
        namespace: String,
        deployment_name: String,
        user_id: String,
        initial_max_replicas: i64,
        max_replicas: i64,
        min_replicas: Option<i64>,
        image: Option<String>,
        resources_limits: Option<String>,
        resources_requests: Option<String>,
        environment: Option<String>,
        volumes: Option<String>,
        updated_by: String,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        change_reason: Option<String>,
        change_patch: Option<String>,
        source: Option<String>,
    }

    /// An input that could not be read, or a row that the store refused, whole.
    #[allow(missing_docs)]
    Quarantine in "quarantine" {
        quarantine_id: String,
        quarantined_at: DateTime<Utc>,
        message_id: Option<String>,
        publish_time: Option<DateTime<Utc>>,
        reason: String,
        detail: String,
        raw: String,
        source: Option<String>,
    }

    /// One Deployment in a daily count of pods.
    #[allow(missing_docs)]
    PodMetrics in "pod_metrics" {
        timestamp: DateTime<Utc>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        desired_replicas: Option<i64>,
        actual_replicas: Option<i64>,
        available_replicas: Option<i64>,
        updated_replicas: Option<i64>,
        ready_replicas: Option<i64>,
        max_replicas: Option<i64>,
    }

    /// A write that changed something; what of the view `replica_changes` a report shows.
    #[allow(missing_docs)]
    Change in "replica_changes" {
        event_id: String,
        event_time: DateTime<Utc>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: String,
        object_name: Option<String>,
        operation: String,
        previous_replicas: Option<i64>,
        replicas: Option<i64>,
        missed_writes: i64,
        actor: String,
        route: String,
        limit_max_replicas: Option<i64>,
        verdict: String,
    }
}

/// A row on its way into a store.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Into `replica_events`.
    Event(Box<ReplicaEvent>),
    /// Into `alert_log`.
    Alert(Box<AlertLog>),
    /// Into `quarantine`.
    Quarantine(Quarantine),
}

impl Record {
    /// The row of a table out of an object of its columns, as [`Record::json`] writes it; `None` when it is none.
    pub fn from_json(table: &str, row: &Map<String, Json>) -> Option<Self> {
        fn read<R: Row>(row: &Map<String, Json>) -> Option<R> {
            R::from_cells(|at| {
                let (name, ..) = R::COLUMNS.get(at)?;
                Some(match row.get(*name) {
                    None | Some(Json::Null) => Cell::Null,
                    Some(Json::Number(number)) => Cell::Integer(number.as_i64()?),
                    Some(Json::String(text)) => Cell::Text(text),
                    Some(_) => return None,
                })
            })
        }
        match table {
            ReplicaEvent::TABLE => read(row).map(|row| Record::Event(Box::new(row))),
            AlertLog::TABLE => read(row).map(|row| Record::Alert(Box::new(row))),
            _ => None,
        }
    }

    /// Name of the table it belongs into.
    pub fn table(&self) -> &'static str {
        match self {
            Record::Event(_) => ReplicaEvent::TABLE,
            Record::Alert(_) => AlertLog::TABLE,
            Record::Quarantine(_) => Quarantine::TABLE,
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Record::Event(row) => &row.event_id,
            Record::Alert(row) => &row.alert_id,
            Record::Quarantine(row) => &row.quarantine_id,
        }
    }

    /// Its columns that have a value.
    pub fn json(&self) -> Map<String, Json> {
        let mut json = match self {
            Record::Event(row) => json(&**row),
            Record::Alert(row) => json(&**row),
            Record::Quarantine(row) => json(row),
        };
        json.retain(|_, value| !value.is_null());
        json
    }

    /// About how large it is, for deciding when a batch is full.
    pub fn size_bytes(&self) -> usize {
        // Names of columns, times and numbers; the text of a quarantined input is what can be large.
        const FIXED: usize = 1_024;
        match self {
            Record::Event(_) | Record::Alert(_) => FIXED,
            Record::Quarantine(row) => FIXED + row.raw.len(),
        }
    }
}

/// A row as an object of its columns; times are RFC 3339.
pub fn json<R: Row>(row: &R) -> Map<String, Json> {
    let values = row.cells().into_iter().map(|cell| match cell {
        Cell::Null => Json::Null,
        Cell::Integer(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::Time(instant) => time(instant).into(),
    });
    R::COLUMNS.iter().map(|(name, ..)| (*name).to_owned()).zip(values).collect()
}

/// A row's id: the first 32 hex characters of the SHA-256 over its named parts, joined by newlines.
pub fn id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b"\n");
        }
        hash.update(part.as_bytes());
    }
    let mut text = hex::encode(hash.finalize());
    text.truncate(32);
    text
}

/// A time as every store and report writes it: RFC 3339 in UTC with six digits, which also sorts as text.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The identity of a write: the same for every copy and every export of its entry. The pieces of a split entry share
/// theirs; the objects of a `deletecollection`, which are in one entry, do not.
fn event_id(write: &Write<'_>) -> String {
    let time = write.event_time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let entry = write.split_uid.unwrap_or(write.insert_id);
    match write.object_name.filter(|_| write.operation == crate::audit::Operation::DeleteCollection) {
        Some(object) => id(&[write.log_name, &time, entry, object]),
        None => id(&[write.log_name, &time, entry]),
    }
}

/// The event row of a write, and one row for each alert.
pub fn records(write: &Write<'_>, limit: Option<&Limit>, judgement: Judgement, now: DateTime<Utc>) -> Vec<Record> {
    let event = event(write, limit, &judgement, now);
    let mut records = Vec::with_capacity(1 + judgement.alerts.len());
    let alerts = judgement.alerts.into_iter().map(|found| Record::Alert(Box::new(alert(&event, found))));
    records.extend(alerts);
    records.push(Record::Event(Box::new(event)));
    records
}

fn event(write: &Write<'_>, limit: Option<&Limit>, judgement: &Judgement, now: DateTime<Utc>) -> ReplicaEvent {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    ReplicaEvent {
        event_id: event_id(write),
        event_time: write.event_time,
        received_time: write.received_time,
        ingested_at: now,
        project_id: owned(write.project_id),
        location: owned(write.location),
        cluster_name: write.cluster_name.to_owned(),
        namespace: write.namespace.to_owned(),
        deployment_name: owned(write.deployment_name),
        object_kind: write.object_kind.as_str().to_owned(),
        object_name: owned(write.object_name),
        object_uid: owned(write.object_uid),
        resource_version: write.resource_version,
        generation: write.generation,
        operation: write.operation.as_str().to_owned(),
        method_name: write.method_name.to_owned(),
        replicas: write.asked.ok().map(|asked| asked.replicas),
        min_replicas: write.min_replicas,
        replicas_source: (!write.operation.removes())
            .then(|| write.asked.map_or("unknown", |asked| Source::as_str(asked.source)).to_owned()),
        actor: write.actor.name.to_owned(),
        actor_kind: write.actor.kind.as_str().to_owned(),
        route: judgement.route.as_str().to_owned(),
        user_agent: owned(write.user_agent),
        caller_ip: owned(write.caller_ip),
        limit_id: limit.map(|limit| limit.limit_id.clone()),
        limit_max_replicas: limit.map(|limit| limit.max_replicas),
        limit_initial_max_replicas: limit.map(|limit| limit.initial_max_replicas),
        verdict: judgement.verdict.as_str().to_owned(),
        insert_id: write.insert_id.to_owned(),
        log_name: write.log_name.to_owned(),
    }
}

fn alert(event: &ReplicaEvent, alert: Alert) -> AlertLog {
    AlertLog {
        alert_id: id(&[alert.alert_type.as_str(), &event.event_id]),
        alert_time: event.event_time,
        alert_type: alert.alert_type.as_str().to_owned(),
        severity: alert.severity.as_str().to_owned(),
        message: alert.message,
        cluster_name: event.cluster_name.clone(),
        namespace: event.namespace.clone(),
        deployment_name: event.deployment_name.clone(),
        event_id: Some(event.event_id.clone()),
        replicas: event.replicas,
        limit_max_replicas: event.limit_max_replicas,
        limit_initial_max_replicas: event.limit_initial_max_replicas,
        limit_id: event.limit_id.clone(),
        actor: Some(event.actor.clone()),
        route: Some(event.route.clone()),
        ingested_at: event.ingested_at,
    }
}
