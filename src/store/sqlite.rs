//! The embedded store: one SQLite file in WAL mode, or memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, ToSql, TransactionBehavior};
use tokio::sync::mpsc::Sender;

use super::query::{self, Query, Rows, Value};
use super::row::{Cell, Record};
use super::{Appended, Store, StoreError, Written};
use crate::id;
use crate::notify::ledger::{Change, FileId, LedgerError};
use append::append_all;
use file::{DatabaseFile, number};
use lane::{BUSY, Lane, Session, connect, locked, prepare};
use migrate::{migrate, refuse_foreign};
use steps::Steps;

mod append;
mod file;
mod lane;
mod ledger;
mod migrate;
mod steps;

/// How often one that opens a file looks again whether others have done so. SQLite itself does not wait there.
const OPENING: Duration = Duration::from_millis(20);

/// Pages that the writer keeps in memory, in KiB: ids are hashes, so a batch of rows touches leaves all over the index.
const CACHE_KIB: u32 = 32 << 10;

/// Pages that one who asks keeps: what is read is mostly read once, and may be large.
const READ_CACHE_KIB: u32 = 8 << 10;

/// An open database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    /// Appends, one at a time.
    writer: Lane,
    /// Answers questions beside them, page by page too; what passes has but one connection.
    paged: Lane,
    /// Answers while the other does: whoever takes a page may ask something else meanwhile.
    reader: Lane,
    /// Tells that it answers, while a question takes its time.
    pinged: Lane,
    /// Where it lies, unless it passes.
    file: Option<Arc<DatabaseFile>>,
    /// The version of the schema that has the tables.
    whole: Arc<AtomicI64>,
}

impl Sqlite {
    /// Opens a file, makes it if need be (for its owner alone), and brings its tables and views up to date.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened, or is no database of ours.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = DatabaseFile::open(path)?;
        let writer = connect(path).map_err(|error| store_error(&error))?;
        set_up(&writer)?;
        let known = number(&writer).and_then(|number| Ok((number, schema_version(&writer)?)));
        let (number, version) = known.map_err(|error| store_error(&error))?;
        Ok(Sqlite {
            writer: Lane::of(writer),
            reader: Lane::closed(Some(READ_CACHE_KIB)),
            paged: Lane::closed(Some(READ_CACHE_KIB)),
            pinged: Lane::closed(None),
            file: Some(Arc::new(file.of(number))),
            whole: Arc::new(AtomicI64::new(version)),
        })
    }

    /// A store that is gone when it is dropped, whatever its size in memory.
    ///
    /// # Errors
    /// [`StoreError`] when there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::passing(Connection::open_in_memory())
    }

    /// As [`Sqlite::in_memory`]; what is more than its cache lies in a temporary file that has no name.
    ///
    /// # Errors
    /// [`StoreError`] when there is no place for it.
    pub fn temporary() -> Result<Self, StoreError> {
        Self::passing(Connection::open(""))
    }

    fn passing(connection: rusqlite::Result<Connection>) -> Result<Self, StoreError> {
        let connection = connection.map_err(|error| store_error(&error))?;
        set_up(&connection)?;
        let lane = Lane::of(connection);
        let of_it = || lane.clone();
        Ok(Sqlite {
            writer: of_it(),
            reader: of_it(),
            paged: of_it(),
            pinged: of_it(),
            file: None,
            whole: Arc::default(),
        })
    }

    /// Asks on a connection, or on another where that is taken, in one state of the database.
    async fn ask<T: Send + 'static>(
        &self,
        lane: &Lane,
        other: &Lane,
        answer: impl FnOnce(&Connection, &mut Steps) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = move |session: &mut Session| {
            let transaction = session.connection.transaction()?;
            let found = answer(&transaction, &mut session.steps)?;
            transaction.commit()?;
            Ok(found)
        };
        self.with(lane, other, answer).await
    }

    /// Runs blocking work on a connection, or on another where that is taken, away from the async threads.
    async fn with<T: Send + 'static>(
        &self,
        lane: &Lane,
        other: &Lane,
        work: impl FnOnce(&mut Session) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (lane, other, file) = (lane.clone(), other.clone(), self.file.clone());
        tokio::task::spawn_blocking(move || {
            let mut session = locked(&lane.session, &other.session);
            // Nothing is written into what is another's.
            file.as_ref().map_or(Ok(()), |file| file.check())?;
            let is_new = session.is_none();
            let opened = match (&mut *session, &file) {
                (Some(session), _) => Ok(session),
                (closed, Some(file)) => lane.open(file.path()).map(|session| closed.insert(session)),
                // What passes is open for as long as it is there.
                (None, None) => Err(rusqlite::Error::InvalidQuery),
            };
            let done = opened.and_then(work).map_err(|error| store_error(&error))?;
            // What was written into a file that nobody can open any more is nowhere.
            if let Some(Err(error)) = file.map(|file| file.check()) {
                if is_new {
                    // It may be of that other file.
                    *session = None;
                }
                return Err(error);
            }
            Ok(done)
        })
        .await
        .map_err(|error| StoreError::Permanent(error.to_string()))?
    }
}

impl Drop for Sqlite {
    /// The last connection that closes copies the log into the file. Where that is another's by now, the log stays as it is,
    /// and is whole again when the file is put back.
    fn drop(&mut self) {
        if self.file.as_ref().is_some_and(|file| file.check().is_err()) {
            for lane in [&self.writer, &self.reader, &self.paged, &self.pinged] {
                if let Some(session) = lane.session.try_lock().ok().as_deref().and_then(Option::as_ref) {
                    // Where it cannot be told so, there is nobody to tell that.
                    let _ = session.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                }
            }
        }
    }
}

/// What tells one set of tables and views from another: <https://www.sqlite.org/pragma.html#pragma_schema_version>. Asking for it
/// reads the file, and no schema.
fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0))
}

/// Prepares a connection and brings its database up to date; others may be doing the same.
fn set_up(connection: &Connection) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        // Whose it is comes first: the mode of the log is written into the file.
        let done = refuse_foreign(connection)
            .and_then(|()| prepare(connection, CACHE_KIB).map_err(|error| store_error(&error)))
            .and_then(|()| migrate(connection));
        match done {
            Err(StoreError::Transient(_)) if begun.elapsed() < BUSY => std::thread::sleep(OPENING),
            done => return done,
        }
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.with(&self.writer, &self.writer, move |session| {
            let transaction = session.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcomes = append_all(&transaction, &records)?;
            transaction.commit()?;
            Ok(outcomes)
        })
        .await
    }

    async fn append_with(&self, records: Arc<[Record]>, changes: Vec<Change>) -> Result<Written, StoreError> {
        self.with(&self.writer, &self.writer, move |session| {
            let mut transaction = session.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcomes = append_all(&transaction, &records)?;
            let mut changed = Vec::with_capacity(changes.len());
            for change in &changes {
                let mut savepoint = transaction.savepoint()?;
                let done = match ledger::apply(&savepoint, change) {
                    // What an unreadable row stands in the way of is one change, not those that came with it.
                    Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => {
                        Err(LedgerError::Permanent(error.to_string()))
                    }
                    done => done?,
                };
                if done.is_err() {
                    savepoint.rollback()?;
                }
                savepoint.commit()?;
                changed.push(done);
            }
            transaction.commit()?;
            Ok((outcomes, changed))
        })
        .await
    }

    fn file(&self) -> Option<FileId> {
        self.file.as_ref().map(|file| file.id())
    }

    /// One writes, the others wait.
    fn appends_at_once(&self) -> usize {
        1
    }

    /// Opening made them.
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let query = query.clone();
        self.ask(&self.paged, &self.reader, move |connection, steps| fetch_all(connection, steps, &query)).await
    }

    async fn fetch_pages(&self, query: &Query, page_rows: usize, pages: Sender<Rows>) -> Result<(), StoreError> {
        let query = query.clone();
        let answer = move |connection: &Connection, steps: &mut Steps| {
            steps.fetch(connection, &query, page_rows, &mut |page| pages.blocking_send(page).is_ok())
        };
        self.ask(&self.paged, &self.paged, answer).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let whole = Arc::clone(&self.whole);
        let answers = move |connection: &Connection, steps: &mut Steps| {
            let version = schema_version(connection)?;
            if whole.load(Ordering::Relaxed) != version {
                fetch_all(connection, steps, &query::nothing())?;
                whole.store(version, Ordering::Relaxed);
            }
            Ok(())
        };
        self.ask(&self.pinged, &self.pinged, answers).await
    }
}

fn fetch_all(connection: &Connection, steps: &mut Steps, query: &Query) -> rusqlite::Result<Rows> {
    let mut found = Rows::default();
    let keep = &mut |rows| {
        found = rows;
        true
    };
    steps.fetch(connection, query, usize::MAX, keep)?;
    Ok(found)
}

fn bind(statement: &mut Statement<'_>, parameters: &[(String, Value)]) -> rusqlite::Result<()> {
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(&format!("@{name}"))? {
            statement.raw_bind_parameter(index, value.cell())?;
        }
    }
    Ok(())
}

fn fetch(
    connection: &Connection,
    sql: &str,
    parameters: &[(String, Value)],
    page_rows: usize,
    take: &mut dyn FnMut(Rows) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, parameters)?;
    let empty = Rows { columns: statement.column_names().map(str::to_owned).collect(), rows: Vec::new() };
    let mut page = empty.clone();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if page.rows.len() == page_rows && !take(std::mem::replace(&mut page, empty.clone())) {
            return Ok(());
        }
        page.rows.push((0..page.columns.len()).map(|at| value(row.get_ref(at)?)).collect::<rusqlite::Result<_>>()?);
    }
    take(page);
    Ok(())
}

/// Times stay text: SQLite has no type for them, and a [`super::row::Column`] of that type reads both.
fn value(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Text(number.to_string()),
        // What is no text is no value of ours either, and its row is left out.
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
    })
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Cell::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Cell::Boolean(value) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*value))),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Time(time) => ToSqlOutput::Owned(id::time(*time).into()),
            Cell::Date(date) => ToSqlOutput::Owned(date.to_string().into()),
        })
    }
}

/// The one place that tells what may work later from what will not.
fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // Another process holds the lock, or the disk has no room just now.
        Some(
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure,
        ) => StoreError::Transient(error.to_string()),
        _ => StoreError::Permanent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    /// Whatever they are called, and also where a table has to be made anew.
    #[test]
    fn views_of_others_stay() {
        let connection = Connection::open_in_memory().expect("memory");
        set_up(&connection).expect("tables");
        let all = |connection: &Connection| -> Vec<String> {
            let mut names =
                connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name").expect("SQL");
            let names = names.query_map([], |row| row.get(0)).expect("rows").collect::<rusqlite::Result<_>>();
            names.expect("names")
        };
        let own = all(&connection);
        let others = "CREATE VIEW \"my \"\"own\"\" view\" AS SELECT * FROM watermarks; CREATE VIEW lives AS SELECT 1;
            DROP TABLE watermarks; CREATE TABLE watermarks (name TEXT NOT NULL PRIMARY KEY, through TEXT NOT NULL, \"at\" TEXT NOT NULL);";
        connection.execute_batch(others).expect("made");
        set_up(&connection).expect("again");
        let mut expected = own;
        expected.push("my \"own\" view".to_owned());
        expected.sort();
        assert_eq!(all(&connection), expected, "what an earlier release made is gone");
    }

    /// A cluster has thousands of Deployments: what is joined by the cluster alone costs their number squared.
    #[test]
    fn no_view_joins_deployments_by_their_cluster_alone() {
        let connection = Connection::open_in_memory().expect("memory");
        set_up(&connection).expect("tables");
        let local = |sql: &str| schema::SQLITE.fill(&schema::named_as(sql, "step_"));
        for view in ["alerts", "replica_changes", "current_replicas", "daily_max_replicas"] {
            let (steps, _) = Query::new(format!("SELECT * FROM ${{dataset}}.{view}"), Vec::new()).steps();
            for (step, text) in &steps {
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", local(text))).expect("a plan");
                let lines = plan.query_map([], |row| row.get::<_, String>(3)).expect("lines");
                for line in lines.map(|line| line.expect("text")) {
                    assert!(!line.contains("(cluster_id=?)"), "{view}: {step}: {line}");
                }
                let made =
                    connection.prepare(&format!("CREATE TEMP TABLE IF NOT EXISTS step_{step} AS {}", local(text)));
                made.expect("a step").raw_execute().expect("made");
            }
        }
    }
}
