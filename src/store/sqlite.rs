//! The embedded store: one SQLite file in WAL mode, or memory.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, Statement, ToSql, Transaction, TransactionBehavior,
    params_from_iter,
};

use super::query::{Query, Rows, Value};
use super::row::{Cell, Record, Row};
use super::{Appended, Store, StoreError, schema};
use crate::id;
use file::DatabaseFile;

mod file;

/// How long a writer waits for another process to finish. A commit takes a few milliseconds; a replay's batch at most some
/// hundred.
const BUSY: Duration = Duration::from_secs(10);

/// How often one that opens a file looks again whether others have done so. SQLite itself does not wait there.
const OPENING: Duration = Duration::from_millis(20);

/// Pages kept in memory, in KiB: ids are hashes, so a batch of rows touches leaves all over the index.
const CACHE_KIB: u32 = 32 << 10;

/// The same while a question is computed, in KiB: each of its many sorts may hold as much before it goes to the disk.
const SORT_KIB: u32 = 2 << 10;

/// Pages (of 4 KiB) in the log before they are copied into the database: several of a replay's batches, so that a page
/// that each of them touches is copied once.
const CHECKPOINT_PAGES: u32 = 8_192;

/// Tells our files from others: "PEDW". Those of the first release have none.
const APPLICATION_ID: i64 = 0x5045_4457;

/// An open database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    /// Appends, one at a time.
    writer: Arc<Mutex<Connection>>,
    /// Answers questions beside them; what passes has but one connection.
    reader: Arc<Mutex<Connection>>,
    /// Where it lies, unless it passes.
    file: Option<Arc<DatabaseFile>>,
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
        let reader = connect(path).and_then(|reader| prepare(&reader).map(|()| reader));
        Ok(Sqlite {
            writer: Arc::new(Mutex::new(writer)),
            reader: Arc::new(Mutex::new(reader.map_err(|error| store_error(&error))?)),
            file: Some(Arc::new(file)),
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
        let connection = Arc::new(Mutex::new(connection));
        Ok(Sqlite { writer: Arc::clone(&connection), reader: connection, file: None })
    }

    /// Runs blocking work on a connection, away from the async threads.
    async fn with<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (connection, file) = (Arc::clone(connection), self.file.clone());
        tokio::task::spawn_blocking(move || {
            // A panic while the lock was held rolled its transaction back: the connection itself is whole.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut connection).map_err(|error| store_error(&error))?;
            // What was written into a file that nobody can open any more is nowhere.
            file.map_or(Ok(()), |file| file.check())?;
            Ok(done)
        })
        .await
        .map_err(|error| StoreError::Permanent(error.to_string()))?
    }
}

/// A name is a path and nothing else: no URI, which could name memory.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // FULL: a commit is on the disk when it returns, because a message is acknowledged right after it.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB}; \
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))
}

/// Prepares a connection and brings its database up to date; others may be doing the same.
fn set_up(connection: &Connection) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        // Whose it is comes first: the mode of the log is written into the file.
        let done = refuse_foreign(connection)
            .and_then(|()| prepare(connection).map_err(|error| store_error(&error)))
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
        self.with(&self.writer, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcomes = append_all(&transaction, &records)?;
            transaction.commit()?;
            Ok(outcomes)
        })
        .await
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
        self.with(&self.reader, move |connection| {
            // One state of the database for all steps.
            let transaction = connection.transaction()?;
            let found = fetch_in_steps(&transaction, &query)?;
            transaction.rollback()?;
            Ok(found)
        })
        .await
    }
}

/// Creates what is missing, and lets be null what an older release required. Rows are never dropped, nor changed.
fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let furnish = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for table in schema::TABLES.iter() {
            migrate_table(&transaction, table)?;
        }
        replace_views(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()
    };
    furnish().map_err(|error| store_error(&error))
}

fn refuse_foreign(connection: &Connection) -> Result<(), StoreError> {
    match foreign_tables(connection).map_err(|error| store_error(&error))? {
        None => Ok(()),
        Some(tables) => Err(StoreError::Permanent(format!(
            "it is another program's database, with {tables}; expected a new file, or one that pedwatch made"
        ))),
    }
}

/// The tables of a database that is not ours.
fn foreign_tables(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema ORDER BY name LIMIT 5")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let is_ours = || connection.prepare("SELECT event_id, cluster_name FROM replica_events").is_ok();
    let is_fine = application == APPLICATION_ID || application == 0 && (tables.is_empty() || is_ours());
    Ok((!is_fine).then(|| tables.join(", ")))
}

/// The version of the file is that of its views' texts.
fn replace_views(connection: &Connection) -> rusqlite::Result<()> {
    let views = schema::VIEWS.map(|(name, _)| (name, schema::SQLITE.fill(&schema::view(name))));
    let texts = views.each_ref().map(|(_, sql)| sql.as_str());
    let stamp = i64::from_str_radix(id::id(&texts).split_at(7).0, 16).unwrap_or(1);
    let applied: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if applied != stamp {
        for (view, sql) in &views {
            connection.execute_batch(&format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS {sql}"))?;
        }
        connection.execute_batch(&format!("PRAGMA user_version = {stamp}"))?;
    }
    Ok(())
}

fn migrate_table(connection: &Connection, table: &schema::Table) -> rusqlite::Result<()> {
    let name = table.name;
    let mut known = connection.prepare(&format!("SELECT name, \"notnull\" FROM pragma_table_info('{name}')"))?;
    let known: BTreeMap<String, bool> =
        known.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    if known.is_empty() {
        return connection.execute_batch(&create_table(table, name));
    }
    let is_stricter = |field: &schema::Field| field.mode == "NULLABLE" && known.get(&field.name) == Some(&true);
    if table.fields.iter().any(is_stricter) {
        return rebuild(connection, table, &known);
    }
    for field in table.fields.iter().filter(|field| !known.contains_key(&field.name)) {
        tracing::info!(table = name, column = field.name, "adding a column to the store");
        connection.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {}", column_definition(field)))?;
    }
    Ok(())
}

/// SQLite cannot relax a column, so its rows move to a new table. The views are made again behind it.
fn rebuild(connection: &Connection, table: &schema::Table, known: &BTreeMap<String, bool>) -> rusqlite::Result<()> {
    let name = table.name;
    tracing::info!(table = name, "rebuilding a table of the store: columns of it may be null now");
    let mut views = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?;
    let views: Vec<String> = views.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let dropped: String = views.iter().map(|view| format!("DROP VIEW {view};")).collect();
    let kept: Vec<String> =
        table.fields.iter().filter(|field| known.contains_key(&field.name)).map(|field| quoted(&field.name)).collect();
    let kept = kept.join(", ");
    connection.execute_batch(&format!(
        "{dropped} {create}; INSERT INTO {name}_rebuilt ({kept}) SELECT {kept} FROM {name}; DROP TABLE {name}; \
         ALTER TABLE {name}_rebuilt RENAME TO {name}; PRAGMA user_version = 0;",
        create = create_table(table, &format!("{name}_rebuilt")),
    ))
}

fn create_table(table: &schema::Table, name: &str) -> String {
    let columns: Vec<String> = table.fields.iter().map(column_definition).collect();
    let key: Vec<String> = table.properties.key.iter().map(|column| quoted(column)).collect();
    format!("CREATE TABLE {name} ({}, PRIMARY KEY ({}))", columns.join(", "), key.join(", "))
}

fn column_definition(field: &schema::Field) -> String {
    let affinity = if matches!(field.field_type.as_str(), "INTEGER" | "BOOLEAN") { "INTEGER" } else { "TEXT" };
    let presence = if field.mode == "REQUIRED" { " NOT NULL" } else { "" };
    format!("{} {affinity}{presence}", quoted(&field.name))
}

/// As GoogleSQL quotes too; some names are words of SQL.
fn quoted(column: &str) -> String {
    format!("`{column}`")
}

fn append_all(connection: &Connection, records: &[Record]) -> rusqlite::Result<Vec<Appended>> {
    let mut events = Inserter::new(connection)?;
    let mut alerts = Inserter::new(connection)?;
    let mut versions = Inserter::new(connection)?;
    let mut quarantine = Inserter::new(connection)?;
    let mut watermarks = Inserter::new(connection)?;
    let insert = |record: &Record| match record {
        Record::Event(row) => events.insert(&**row),
        Record::Alert(row) => alerts.insert(&**row),
        Record::Version(row) => versions.insert(&**row),
        Record::Quarantine(row) => quarantine.insert(row),
        Record::Watermark(row) => watermarks.insert(row),
    };
    records.iter().map(insert).collect()
}

/// The prepared statement that inserts rows of one type.
struct Inserter<'c, R> {
    statement: CachedStatement<'c>,
    row: PhantomData<R>,
}

impl<'c, R: Row> Inserter<'c, R> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let columns: Vec<String> = R::COLUMNS.iter().map(|(name, ..)| quoted(name)).collect();
        let places = vec!["?"; columns.len()].join(", ");
        // Whichever row came first stays. A row that breaks another constraint is refused.
        let key = schema::table(R::TABLE).map(|table| table.properties.key.clone()).unwrap_or_default();
        let key: Vec<String> = key.iter().map(|column| quoted(column)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({places}) ON CONFLICT ({}) DO NOTHING",
            R::TABLE,
            columns.join(", "),
            key.join(", "),
        );
        Ok(Inserter { statement: connection.prepare_cached(&sql)?, row: PhantomData })
    }

    /// Inserts one row unless its id is there. A row that breaks a constraint is refused alone.
    fn insert(&mut self, row: &R) -> rusqlite::Result<Appended> {
        match self.statement.execute(params_from_iter(row.cells())) {
            Ok(_) => Ok(Appended::Stored),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(Appended::Refused(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

/// SQLite computes a view again wherever it is named, and ours are made of each other: so each view that a question uses
/// becomes a table first, for as long as the question takes.
fn fetch_in_steps(connection: &Connection, query: &Query) -> rusqlite::Result<Rows> {
    let local = |sql: &str| schema::SQLITE.fill(&schema::named_as(sql, "step_"));
    let (steps, question) = query.steps();
    if steps.is_empty() {
        return fetch(connection, &local(&question), &query.parameters);
    }
    connection.pragma_update(None, "cache_size", -i64::from(SORT_KIB))?;
    let answer = || {
        for (view, text) in &steps {
            let mut statement = connection.prepare(&format!("CREATE TEMP TABLE step_{view} AS {}", local(text)))?;
            bind(&mut statement, &query.parameters)?;
            statement.raw_execute()?;
        }
        fetch(connection, &local(&question), &query.parameters)
    };
    // The transaction around it is rolled back, and the tables with it.
    let found = answer();
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    found
}

fn bind(statement: &mut Statement<'_>, parameters: &[(String, Value)]) -> rusqlite::Result<()> {
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(&format!("@{name}"))? {
            statement.raw_bind_parameter(index, value.cell())?;
        }
    }
    Ok(())
}

fn fetch(connection: &Connection, sql: &str, parameters: &[(String, Value)]) -> rusqlite::Result<Rows> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, parameters)?;
    let columns = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
    let mut found = Rows { rows: Vec::new(), columns };
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        found.rows.push((0..found.columns.len()).map(|at| value(row.get_ref(at)?)).collect::<rusqlite::Result<_>>()?);
    }
    Ok(found)
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
