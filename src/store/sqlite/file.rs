//! The file that a database lies in: made for its owner alone, and watched, because SQLite goes on writing into a file that
//! was removed or replaced.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::store::StoreError;

/// What tells one file from another under the same name.
type Identity = (u64, u64);

/// A database file, and SQLite's log beside it, in which commits lie until they are copied.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    identity: Identity,
    log: PathBuf,
    /// SQLite makes it at the first commit, and removes it when the last one closes.
    log_identity: OnceLock<Identity>,
    /// Keeps the number of a removed file from being given to another.
    _held: File,
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
        let identity = identity(&held.metadata().map_err(unusable)?);
        // SQLite puts its log beside the file itself, not beside a link to it.
        let path = path.canonicalize().map_err(unusable)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(DatabaseFile { path, identity, log: log.into(), log_identity: OnceLock::new(), _held: held })
    }

    /// Whether it is still there under its name, and its log too.
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
        if found(&self.path) == Some(self.identity) && is_same_log {
            return Ok(());
        }
        Err(StoreError::Permanent(format!(
            "{} was removed or replaced while it was open; put it back, or start again with another",
            self.path.display()
        )))
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
