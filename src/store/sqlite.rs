//! The embedded store: one SQLite file in WAL mode, or memory.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, TransactionBehavior, params_from_iter};

use super::query::{self, Query, Rows, Value};
use super::row::{self, Cell, DeploymentConfig, Record, Row};
use super::{Appended, Store, StoreError, schema};
use crate::ped::history::Registration;

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

    async fn register(&self, registration: Registration) -> Result<Option<DeploymentConfig>, StoreError> {
        self.with(move |connection| {
            // Immediate: the versions read are the versions the new one follows.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let subject = &registration.ped.subject;
            let query = query::versions_of(&[(subject.namespace.clone(), subject.deployment.clone())]);
            let found = fetch(&transaction, &in_sqlite(&query.sql), &query.parameters)?;
            let registered = found.read().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let next = registration.next(&registered);
            if let Some(version) = &next {
                Inserter::new(&transaction)?.insert(version)?;
            }
            transaction.commit()?;
            Ok(next)
        })
        .await
    }

    /// Opening made them.
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let Query { sql, parameters } = query.clone();
        self.with(move |connection| fetch(connection, &in_sqlite(&sql), &parameters)).await
    }
}

/// Creates what is missing. Nothing is ever dropped but views, which hold no facts.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (table, _) in schema::TABLES {
        let fields = schema::table(table).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let mut known = transaction.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
        let known: Vec<String> = known.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let columns: Vec<String> = fields.iter().map(column_definition).collect();
        if known.is_empty() {
            let key = match fields.first() {
                Some(first) if first.name.ends_with("_id") => format!("PRIMARY KEY ({})", first.name),
                _ => "PRIMARY KEY (timestamp, cluster_name, namespace, deployment_name)".to_owned(),
            };
            transaction.execute_batch(&format!("CREATE TABLE {table} ({}, {key})", columns.join(", ")))?;
        } else {
            for (field, column) in fields.iter().zip(&columns).filter(|(field, _)| !known.contains(&field.name)) {
                tracing::info!(table, column = field.name, "adding a column to the store");
                transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column}"))?;
            }
        }
    }
    let stamp = i64::from_str_radix(row::id(&schema::VIEWS.map(|(_, sql)| sql)).split_at(7).0, 16).unwrap_or(1);
    let applied: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if applied != stamp {
        for (view, sql) in schema::VIEWS {
            let sql = in_sqlite(sql);
            transaction.execute_batch(&format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS {sql}"))?;
        }
        transaction.execute_batch(&format!("PRAGMA user_version = {stamp}"))?;
    }
    transaction.commit()
}

fn column_definition(field: &schema::Field) -> String {
    let affinity = if field.field_type == "INTEGER" { "INTEGER" } else { "TEXT" };
    let presence = if field.mode == "REQUIRED" { " NOT NULL" } else { "" };
    format!("{} {affinity}{presence}", field.name)
}

/// Fills the places of a view's SQL that differ between the stores.
fn in_sqlite(sql: &str) -> String {
    sql.replace("${dataset}.", "").replace("${now}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')").replace(
        "${calendar}",
        "(WITH RECURSIVE days(day) AS (SELECT MIN(first_day) FROM periods \
         UNION ALL SELECT DATE(day, '+1 day') FROM days WHERE day < CURRENT_DATE) SELECT day FROM days)",
    )
}

fn append_all(connection: &Connection, records: &[Record]) -> rusqlite::Result<Vec<Appended>> {
    let mut events = Inserter::new(connection)?;
    let mut alerts = Inserter::new(connection)?;
    let mut quarantine = Inserter::new(connection)?;
    let insert = |record: &Record| match record {
        Record::Event(row) => events.insert(&**row),
        Record::Alert(row) => alerts.insert(&**row),
        Record::Quarantine(row) => quarantine.insert(row),
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
        let columns: Vec<&str> = R::COLUMNS.iter().map(|(name, ..)| *name).collect();
        let places = vec!["?"; columns.len()].join(", ");
        let id = columns.first().copied().unwrap_or_default();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({places}) ON CONFLICT ({id}) DO NOTHING",
            R::TABLE,
            columns.join(", "),
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

fn fetch(connection: &Connection, sql: &str, parameters: &[(String, Value)]) -> rusqlite::Result<Rows> {
    let mut statement = connection.prepare_cached(sql)?;
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(&format!("@{name}"))? {
            statement.raw_bind_parameter(index, value.cell())?;
        }
    }
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
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Time(time) => ToSqlOutput::Owned(row::time(*time).into()),
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
