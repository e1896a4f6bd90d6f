//! The file that a database lies in: made for its owner alone, and watched, because SQLite goes on writing into a file that
//! was removed, replaced or overwritten.

use std::fs::{File, Metadata, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rusqlite::Connection;

use crate::store::StoreError;

/// What tells one file from another under the same name.
type Identity = (u64, u64);

/// The least number of a database, which is its `user_version`: what releases before wrote there is less.
const NUMBER_MIN: u32 = 1 << 28;

/// Whether this `user_version` is the number of a database.
fn is_number(user_version: u32) -> bool {
    (NUMBER_MIN..1 << 31).contains(&user_version)
}

/// A number for a new database, that no other one has: two of a thousand have the same once in four thousand times.
fn new_number() -> u32 {
    let random = RandomState::new().hash_one(());
    NUMBER_MIN + u32::try_from(random % u64::from((1_u32 << 31) - NUMBER_MIN)).unwrap_or_default()
}

/// The number of the database, which tells it from every other one.
pub(super) fn number(connection: &Connection) -> rusqlite::Result<u32> {
    let number: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(u32::try_from(number).unwrap_or_default())
}

/// Gives a database its number, unless it has one.
pub(super) fn give_number(connection: &Connection) -> rusqlite::Result<()> {
    if is_number(number(connection)?) {
        return Ok(());
    }
    connection.pragma_update(None, "user_version", new_number())
}

/// What the first bytes of the file tell of the database in it, as of the last commit that was copied from the log:
/// <https://www.sqlite.org/fileformat.html#the_database_header>.
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    /// It only grows; in a copy of earlier it is less.
    changes: u32,
    user_version: u32,
}

impl Header {
    fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; 64];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let header = Header { changes: number(24)?, user_version: number(60)? };
        bytes.starts_with(b"SQLite format 3\0").then_some(header)
    }
}

/// A database file, and SQLite's log beside it, in which commits lie until they are copied.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    identity: Identity,
    log: PathBuf,
    /// SQLite makes it at the first commit, and removes it when the last one closes.
    log_identity: OnceLock<Identity>,
    /// Keeps the number of a removed file from being given to another. Closing it before SQLite's own would end SQLite's locks.
    held: File,
    /// The number of the database that was opened.
    number: u32,
    /// What the file held in its place when it was opened: a release before has written its own there, and the log has ours.
    number_before: u32,
    /// The file's header when it was last looked at.
    seen: Mutex<Header>,
}

impl DatabaseFile {
    /// Makes the file if need be.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] when it cannot be opened, or is no regular file.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: io::Error| StoreError::Permanent(format!("{}: {error}", path.display()));
        // A pipe would be waited for, and a device has no place for a log.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(StoreError::Permanent(format!("{} is no regular file", path.display())));
        }
        let held = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let held = held.map_err(unusable)?;
        let metadata = held.metadata().map_err(unusable)?;
        let identity = identity(&metadata);
        // SQLite puts its log beside the file itself, not beside a link to it.
        let path = path.canonicalize().map_err(unusable)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(DatabaseFile {
            path,
            identity,
            log: log.into(),
            log_identity: OnceLock::new(),
            held,
            number: 0,
            number_before: 0,
            seen: Mutex::default(),
        })
    }

    /// With the number of the database that is in it: it is ours.
    pub(super) fn of(self, number: u32) -> Self {
        if self.held.metadata().is_ok_and(|metadata| metadata.mode() & OTHERS != 0) {
            tracing::warn!(path = %self.path.display(), "others than its owner and its group may use this store; chmod o= keeps it from them");
        }
        let number_before = Header::read(&self.held).unwrap_or_default().user_version;
        DatabaseFile { number, number_before, ..self }
    }

    /// Where it lies, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from other files.
    pub(super) fn id(&self) -> Identity {
        self.identity
    }

    /// Whether it is still there under its name, with the same database in it, and its log too.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] when it is not: what was written last may be nowhere.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let found = |path| std::fs::metadata(path).map(|metadata| identity(&metadata)).ok();
        let log = found(&self.log);
        let is_same_log = match log {
            Some(log) => *self.log_identity.get_or_init(|| log) == log,
            None => self.log_identity.get().is_none(),
        };
        if found(&self.path) == Some(self.identity) && is_same_log && self.is_same_database() {
            return Ok(());
        }
        Err(StoreError::Permanent(format!(
            "{} was removed or replaced while it was open, or overwritten; put it back, or start again with another",
            self.path.display()
        )))
    }

    /// Whether what lies in the file is what was opened, and not a copy of earlier.
    fn is_same_database(&self) -> bool {
        // Held while the file is read, so that nobody compares with what is newer.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let header = Header::read(&self.held);
        // Its number may still lie in the log alone.
        let is_new = seen.user_version != self.number;
        let is_same = match header {
            Some(Header { changes, user_version }) => {
                let is_old = user_version == self.number_before || !is_number(user_version);
                changes >= seen.changes && (user_version == self.number || is_new && is_old)
            }
            None => is_new,
        };
        if let Some(header) = header.filter(|_| is_same) {
            *seen = header;
        }
        is_same
    }
}

/// Whoever is neither the owner nor in the group. A group that may read it was given it on purpose; what others may, a
/// copy made by another tool allows by default.
const OTHERS: u32 = 0o007;

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
