//! Connections to one database: how they are made, and which takes a question while another is taken.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::steps::Steps;

/// How long a writer waits for another process to finish. A commit takes a few milliseconds; a replay's batch at most some
/// hundred.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// Pages (of 4 KiB) in the log before they are copied into the database: several of a replay's batches, so that a page
/// that each of them touches is copied once.
const CHECKPOINT_PAGES: u32 = 8_192;

/// Statements that a connection keeps prepared: one for each table, each change of the ledger, and what a writer asks between.
const STATEMENTS: usize = 64;

/// A connection that is opened when it is first needed: each that asks a table holds the schema, which takes megabytes.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) session: Arc<Mutex<Option<Session>>>,
    /// Pages that it keeps when it is opened, in KiB; `None` for SQLite's own number, as setting it takes the schema.
    cache_kib: Option<u32>,
}

/// A connection, and what it keeps of its answers.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) steps: Steps,
}

impl Lane {
    /// One that is open.
    pub(super) fn of(connection: Connection) -> Self {
        Lane { session: Arc::new(Mutex::new(Some(Session::new(connection)))), cache_kib: None }
    }

    /// One that is not yet.
    pub(super) fn closed(cache_kib: Option<u32>) -> Self {
        Lane { session: Arc::default(), cache_kib }
    }

    /// What it is to hold, where it holds nothing yet.
    pub(super) fn open(&self, path: &Path) -> rusqlite::Result<Session> {
        let connection = connect(path)?;
        match self.cache_kib {
            Some(cache_kib) => prepare(&connection, cache_kib)?,
            None => connection.busy_timeout(BUSY)?,
        }
        Ok(Session::new(connection))
    }
}

impl Session {
    fn new(connection: Connection) -> Self {
        Session { connection, steps: Steps::default() }
    }
}

/// A panic while a lock was held rolled its transaction back: the connection itself is whole.
pub(super) fn locked<'l>(
    session: &'l Mutex<Option<Session>>,
    other: &'l Mutex<Option<Session>>,
) -> MutexGuard<'l, Option<Session>> {
    match session.try_lock() {
        Ok(session) => session,
        Err(TryLockError::Poisoned(session)) => session.into_inner(),
        Err(TryLockError::WouldBlock) => other.lock().unwrap_or_else(PoisonError::into_inner),
    }
}

/// A name is a path and nothing else: no URI, which could name memory.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Sets it for writing or for asking, with so many KiB of pages kept.
pub(super) fn prepare(connection: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // FULL: a commit is on the disk when it returns, because a message is acknowledged right after it.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{cache_kib}; \
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))
}
