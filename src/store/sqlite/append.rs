//! Rows into their tables, whichever they are of.

use std::marker::PhantomData;

use rusqlite::{CachedStatement, Connection, ErrorCode, params_from_iter};

use super::super::row::{Record, Row};
use super::super::{Appended, schema};
use super::migrate::quoted;

/// Appends rows, and tells what became of each, in their order.
pub(super) fn append_all(connection: &Connection, records: &[Record]) -> rusqlite::Result<Vec<Appended>> {
    let mut events = Inserter::new(connection);
    let mut alerts = Inserter::new(connection);
    let mut versions = Inserter::new(connection);
    let mut quarantine = Inserter::new(connection);
    let mut watermarks = Inserter::new(connection);
    let mut carried = Inserter::new(connection);
    let mut closed = Inserter::new(connection);
    let mut days = Inserter::new(connection);
    let mut metrics = Inserter::new(connection);
    let mut snapshots = Inserter::new(connection);
    let mut bills = Inserter::new(connection);
    let mut insert = |record: &Record| match record {
        Record::Event(row) => events.insert(&**row),
        Record::Alert(row) => alerts.insert(&**row),
        Record::Version(row) => versions.insert(&**row),
        Record::Quarantine(row) => quarantine.insert(row),
        Record::Watermark(row) => watermarks.insert(row),
        Record::Carried(row) => carried.insert(&**row),
        Record::Closed(row) => closed.insert(&**row),
        Record::Day(row) => days.insert(&**row),
        Record::Metrics(row) => metrics.insert(&**row),
        Record::Snapshot(row) => snapshots.insert(&**row),
        Record::Bill(row) => bills.insert(&**row),
    };
    let mut outcomes = vec![Appended::Stored; records.len()];
    for (record, outcome) in in_order_of_ids(records.iter().zip(&mut outcomes)) {
        *outcome = insert(record)?;
    }
    Ok(outcomes)
}

/// With what there are many of in the order of their ids, and of two with one id the first in front. Ids are hashes: so an
/// append comes to each page of an index once, and not again when the page has left the cache.
fn in_order_of_ids<'r, T>(records: impl Iterator<Item = (&'r Record, T)>) -> Vec<(&'r Record, T)> {
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|(record, _)| match record {
        Record::Event(row) => Some(&row.event_id),
        Record::Alert(row) => Some(&row.alert_id),
        _ => None,
    });
    records
}

/// The statement that inserts rows of one type, prepared when the first one comes.
struct Inserter<'c, R> {
    connection: &'c Connection,
    statement: Option<CachedStatement<'c>>,
    row: PhantomData<R>,
}

impl<'c, R: Row> Inserter<'c, R> {
    fn new(connection: &'c Connection) -> Self {
        Inserter { connection, statement: None, row: PhantomData }
    }

    /// Inserts one row unless its id is there. A row that breaks a constraint is refused alone.
    fn insert(&mut self, row: &R) -> rusqlite::Result<Appended> {
        let statement = match &mut self.statement {
            Some(statement) => statement,
            none => none.insert(self.connection.prepare_cached(&insertion::<R>())?),
        };
        match statement.execute(params_from_iter(row.cells())) {
            Ok(_) => Ok(Appended::Stored),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(Appended::Refused(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whichever row came first stays. A row that breaks another constraint is refused.
fn insertion<R: Row>() -> String {
    let columns: Vec<String> = R::COLUMNS.iter().map(|(name, ..)| quoted(name)).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let key = schema::table(R::TABLE).map(|table| table.properties.key.as_slice()).unwrap_or_default();
    let key: Vec<String> = key.iter().map(|column| quoted(column)).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({places}) ON CONFLICT ({}) DO NOTHING",
        R::TABLE,
        columns.join(", "),
        key.join(", "),
    )
}
