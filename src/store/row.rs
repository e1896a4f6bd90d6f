//! Rows: the tables as types, and the domain turned into them. Pure.
//!
//! One file a table. The columns are those of `terraform/schemas/*.json`, in their order, without those that are no longer
//! written; a test compares them.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value as Json};

use crate::id;
use crate::names::Named;
use crate::time;

mod alert;
mod bill;
mod carried;
mod change;
mod closed;
mod config;
mod event;
mod metrics;
mod object_day;
mod quarantine;
mod snapshot;
mod standing;
mod watermark;

pub use alert::{AlertLog, RaisedAlert, alert_id, written};
pub use bill::{Bill, Billing, micros};
pub use carried::CarriedWrite;
pub use change::Change;
pub use closed::ClosedChange;
pub use config::{ClaimRow, DeploymentConfig};
pub use event::ReplicaEvent;
pub use metrics::PodMetrics;
pub use object_day::{ObjectDay, Place};
pub use quarantine::{Quarantine, QuarantineHead, QuarantineKind};
pub use snapshot::{Replaced, Snapshot, SnapshotState};
pub use standing::Standing;
pub use watermark::Watermark;

/// One value of a row, in the types that every store has.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'r> {
    /// No value.
    Null,
    /// `INTEGER`.
    Integer(i64),
    /// `BOOLEAN`.
    Boolean(bool),
    /// `STRING` or `JSON`.
    Text(&'r str),
    /// `TIMESTAMP`.
    Time(DateTime<Utc>),
    /// `DATE`.
    Date(NaiveDate),
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

impl Column for bool {
    const TYPE: &'static str = "BOOLEAN";
    fn cell(&self) -> Cell<'_> {
        Cell::Boolean(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Boolean(value) => Some(value),
            // SQLite has no type for it.
            Cell::Integer(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl<T: Named> Column for T {
    const TYPE: &'static str = "STRING";
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self.as_str())
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Text(name) = cell { T::from_name(name) } else { None }
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
            Cell::Text(text) => time::read(text),
            _ => None,
        }
    }
}

impl Column for NaiveDate {
    const TYPE: &'static str = "DATE";
    fn cell(&self) -> Cell<'_> {
        Cell::Date(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Date(date) => Some(date),
            Cell::Text(text) => text.parse().ok(),
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

/// What a row takes besides its texts: names of columns, times and numbers.
pub const ROW_BYTES: usize = 1 << 10;

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

macro_rules! row {
    ($(#[$doc:meta])* $name:ident in $table:literal { $($column:ident: $type:ty,)* }) => {
        // The meaning of each column stands in the schema file of its table.
        $(#[$doc])*
        #[allow(missing_docs)]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $(pub $column: $type,)* }

        impl $crate::store::row::Row for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [$crate::store::row::ColumnInfo] =
                &[$((stringify!($column), <$type as $crate::store::row::Column>::TYPE, <$type as $crate::store::row::Column>::NULLABLE),)*];
            fn cells(&self) -> Vec<$crate::store::row::Cell<'_>> {
                vec![$($crate::store::row::Column::cell(&self.$column),)*]
            }
            fn from_cells<'c>(mut cell: impl FnMut(usize) -> Option<$crate::store::row::Cell<'c>>) -> Option<Self> {
                let mut position = 0..;
                $(let $column = <$type as $crate::store::row::Column>::from_cell(cell(position.next()?)?)?;)*
                Some($name { $($column,)* })
            }
        }
    };
}

pub(crate) use row;

/// A row on its way into a store.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Into `replica_events`.
    Event(Box<ReplicaEvent>),
    /// Into `alert_log`.
    Alert(Box<AlertLog>),
    /// Into `deployment_config`.
    Version(Box<DeploymentConfig>),
    /// Into `quarantine`.
    Quarantine(Quarantine),
    /// Into `watermarks`.
    Watermark(Watermark),
    /// Into `carried_writes`.
    Carried(Box<CarriedWrite>),
    /// Into `closed_changes`.
    Closed(Box<ClosedChange>),
    /// Into `object_days`.
    Day(Box<ObjectDay>),
    /// Into `pod_metrics`.
    Metrics(Box<PodMetrics>),
    /// Into `snapshots`.
    Snapshot(Box<Snapshot>),
    /// Into `bills`.
    Bill(Box<Bill>),
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
                    Some(Json::Bool(value)) => Cell::Boolean(*value),
                    Some(_) => return None,
                })
            })
        }
        match table {
            ReplicaEvent::TABLE => read(row).map(|row| Record::Event(Box::new(row))),
            AlertLog::TABLE => read(row).map(|row| Record::Alert(Box::new(row))),
            DeploymentConfig::TABLE => read(row).map(|row| Record::Version(Box::new(row))),
            _ => None,
        }
    }

    /// Name of the table it belongs into.
    pub fn table(&self) -> &'static str {
        match self {
            Record::Event(_) => ReplicaEvent::TABLE,
            Record::Alert(_) => AlertLog::TABLE,
            Record::Version(_) => DeploymentConfig::TABLE,
            Record::Quarantine(_) => Quarantine::TABLE,
            Record::Watermark(_) => Watermark::TABLE,
            Record::Carried(_) => CarriedWrite::TABLE,
            Record::Closed(_) => ClosedChange::TABLE,
            Record::Day(_) => ObjectDay::TABLE,
            Record::Metrics(_) => PodMetrics::TABLE,
            Record::Snapshot(_) => Snapshot::TABLE,
            Record::Bill(_) => Bill::TABLE,
        }
    }

    /// Its id.
    pub fn id(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Record::Event(row) => (&row.event_id).into(),
            Record::Alert(row) => (&row.alert_id).into(),
            Record::Version(row) => (&row.config_id).into(),
            Record::Quarantine(row) => (&row.quarantine_id).into(),
            Record::Watermark(row) => id::id(&[&row.name, &id::time(row.at)]).into(),
            Record::Carried(row) => (&row.carried_id).into(),
            Record::Closed(row) => (&row.change_id).into(),
            Record::Day(row) => (&row.day_id).into(),
            Record::Metrics(row) => row.metric_id.as_deref().unwrap_or_default().into(),
            Record::Snapshot(row) => (&row.snapshot_id).into(),
            Record::Bill(row) => (&row.line_id).into(),
        }
    }

    /// Its columns that have a value.
    pub fn json(&self) -> Map<String, Json> {
        let mut json = match self {
            Record::Event(row) => json(&**row),
            Record::Alert(row) => json(&**row),
            Record::Version(row) => json(&**row),
            Record::Quarantine(row) => json(row),
            Record::Watermark(row) => json(row),
            Record::Carried(row) => json(&**row),
            Record::Closed(row) => json(&**row),
            Record::Day(row) => json(&**row),
            Record::Metrics(row) => json(&**row),
            Record::Snapshot(row) => json(&**row),
            Record::Bill(row) => json(&**row),
        };
        json.retain(|_, value| !value.is_null());
        json
    }

    /// About how large it is: a row's texts may be as long as the entry that they come from.
    pub fn size_bytes(&self) -> usize {
        fn texts<R: Row>(row: &R) -> usize {
            let length = |cell: &Cell<'_>| if let Cell::Text(text) = cell { text.len() } else { 0 };
            ROW_BYTES + row.cells().iter().map(length).sum::<usize>()
        }
        match self {
            Record::Event(row) => texts(&**row),
            Record::Alert(row) => texts(&**row),
            Record::Version(row) => texts(&**row),
            Record::Quarantine(row) => texts(row),
            Record::Watermark(row) => texts(row),
            Record::Carried(row) => texts(&**row),
            Record::Closed(row) => texts(&**row),
            Record::Day(row) => texts(&**row),
            Record::Metrics(row) => texts(&**row),
            Record::Snapshot(row) => texts(&**row),
            Record::Bill(row) => texts(&**row),
        }
    }
}

/// A row as an object of its columns; times are RFC 3339.
pub fn json<R: Row>(row: &R) -> Map<String, Json> {
    let values = row.cells().into_iter().map(|cell| match cell {
        Cell::Null => Json::Null,
        Cell::Integer(number) => number.into(),
        Cell::Boolean(value) => value.into(),
        Cell::Text(text) => text.into(),
        Cell::Time(time) => id::time(time).into(),
        Cell::Date(date) => date.to_string().into(),
    });
    R::COLUMNS.iter().map(|(name, ..)| (*name).to_owned()).zip(values).collect()
}
