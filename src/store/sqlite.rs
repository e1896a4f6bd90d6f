//! The embedded store: one SQLite file in WAL mode, or memory.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, Statement, ToSql, TransactionBehavior, params_from_iter};

use super::query::{Query, Rows, Value};
use super::row::{Cell, Record, Row};
use super::{Appended, Store, StoreError, schema};
use crate::id;

/// How long a writer waits for another process to finish, in milliseconds. A commit takes a few; a replay's batch at
/// most some hundred.
const BUSY_TIMEOUT_MS: u32 = 10_000;

/// Pages kept in memory, in KiB: ids are hashes, so a batch of rows touches leaves all over the index.
const CACHE_KIB: u32 = 32 << 10;

/// Pages (of 4 KiB) in the log before they are copied into the database: several of a replay's batches, so that a page
/// that each of them touches is copied once.
const CHECKPOINT_PAGES: u32 = 8_192;

/// An open database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    /// Opens a file, makes it if need be, and brings its tables and views up to date.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened or is no database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::set_up(Connection::open(path).map_err(|error| store_error(&error))?)
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// [`StoreError`] when there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::set_up(Connection::open_in_memory().map_err(|error| store_error(&error))?)
    }

    fn set_up(mut connection: Connection) -> Result<Self, StoreError> {
        // FULL: a commit is on the disk when it returns, because a message is acknowledged right after it.
        let pragmas = format!(
            "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
        );
        connection.execute_batch(&pragmas).map_err(|error| store_error(&error))?;
        migrate(&mut connection).map_err(|error| store_error(&error))?;
        Ok(Sqlite { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs blocking work on the connection, away from the async threads.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic while the lock was held rolled its transaction back: the connection itself is whole.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|error| store_error(&error))
        })
        .await
        .map_err(|error| StoreError::Permanent(error.to_string()))?
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcomes = append_all(&transaction, &records)?;
            transaction.commit()?;
            Ok(outcomes)
        })
        .await
    }

    /// Opening made them.
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let query = query.clone();
        self.with(move |connection| {
            // One state of the database for all steps.
            let transaction = connection.transaction()?;
            let found = fetch_in_steps(&transaction, &query)?;
            transaction.rollback()?;
            Ok(found)
        })
        .await
    }
}

/// Creates what is missing, and lets be null what an older release required. Nothing is ever dropped but views, which
/// hold no facts.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in schema::TABLES.iter() {
        migrate_table(&transaction, table)?;
    }
    let views = schema::VIEWS.map(|(name, _)| (name, schema::SQLITE.fill(&schema::view(name))));
    let texts = views.each_ref().map(|(_, sql)| sql.as_str());
    let stamp = i64::from_str_radix(id::id(&texts).split_at(7).0, 16).unwrap_or(1);
    let applied: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if applied != stamp {
        for (view, sql) in &views {
            transaction.execute_batch(&format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS {sql}"))?;
        }
        transaction.execute_batch(&format!("PRAGMA user_version = {stamp}"))?;
    }
    transaction.commit()
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
    for (view, text) in &steps {
        let mut statement = connection.prepare(&format!("CREATE TEMP TABLE step_{view} AS {}", local(text)))?;
        bind(&mut statement, &query.parameters)?;
        statement.raw_execute()?;
    }
    let found = fetch(connection, &local(&question), &query.parameters);
    for (view, _) in steps.iter().rev() {
        connection.execute_batch(&format!("DROP TABLE temp.step_{view}"))?;
    }
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
        ValueRef::Text(_) | ValueRef::Blob(_) => Value::Text(value.as_str()?.to_owned()),
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
