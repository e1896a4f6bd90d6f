//! The ledger: documents, and the notices that followed from them. [`Ledger`] is a seam with more than one implementation;
//! all of them pass the same tests.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::notice::{Notice, Outcome, Patience, State};

/// Why the ledger did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else changed what this change goes by: read it again.
    #[error("somebody else changed it meanwhile")]
    Conflict,
    /// It may work later.
    #[error("the ledger cannot be used now, it may work later: {0}")]
    Transient(String),
    /// It takes a person.
    #[error("the ledger does not work: {0}")]
    Permanent(String),
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Another one after each change; what it looks like is the ledger's own affair.
    pub revision: String,
    /// JSON.
    pub body: String,
}

/// A document as it is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its key.
    pub key: String,
    /// The revision that it was read with; `None` where there was none.
    pub revision: Option<String>,
    /// When something is due, if nothing else comes.
    pub due_at: Option<DateTime<Utc>>,
    /// The places in which it is found, such as those in which something of it is open.
    pub open_in: Vec<String>,
    /// JSON.
    pub body: String,
}

/// What follows from a step, in one transaction: all of it, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The documents.
    pub documents: Vec<Put>,
    /// The notices. One whose id is there already is left as it is.
    pub notices: Vec<Notice>,
    /// Incidents that are over: what is pending of them need not be sent ([`Notice::supersede`]).
    pub over: Vec<String>,
}

/// Who wants something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'c> {
    /// For which receiver.
    pub receiver: &'c str,
    /// Who: no two that live at once have one name.
    pub owner: &'c str,
    /// The present.
    pub now: DateTime<Utc>,
    /// How long things go on.
    pub patience: Patience,
}

/// Which notices are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted<'w> {
    /// The one of this id.
    Notice(&'w str),
    /// Those of an incident.
    Incident(&'w str),
    /// Those of a state, the earliest made first.
    State(State),
}

/// What tells one file from another: its device, and its number there.
pub type FileId = (u64, u64);

/// A place for documents and notices, with compare-and-set.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The file that it is in, where it is in one of a file system.
    fn file(&self) -> Option<FileId> {
        None
    }

    /// Reads documents, one for each key; `None` where there is none.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be read.
    async fn documents(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, LedgerError>;

    /// Reads documents of which something is due, the longest due first; `most` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be read.
    async fn due_documents(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<Stored>, LedgerError>;

    /// Reads documents that are found in a place, in the order of their keys: those behind `after`, `most` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be read.
    async fn open_documents(&self, place: &str, after: Option<&str>, most: u32) -> Result<Vec<Stored>, LedgerError>;

    /// Counts the documents that are found in a place.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be counted.
    async fn count_open(&self, place: &str) -> Result<u64, LedgerError>;

    /// Writes what follows from a step, durably.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when a document is not as it was read, and nothing was written; [`LedgerError`] when it is
    /// not known whether it was written, and trying again is safe: the revision tells.
    async fn commit(&self, change: &Change) -> Result<(), LedgerError>;

    /// Makes somebody the owner of the notice that is due longest, where one is: nobody else gets it before the lease ends.
    ///
    /// # Errors
    /// [`LedgerError`] when it is not known whether one was claimed; then its lease ends.
    async fn claim(&self, claim: &Claim<'_>) -> Result<Option<Notice>, LedgerError>;

    /// Notes what became of an attempt, and wakes what waits behind it. `false` where the lease had ended and another took
    /// over: then nothing is noted.
    ///
    /// # Errors
    /// [`LedgerError`] when it is not known whether it was noted; then the lease ends, and it may be sent again.
    async fn settle(&self, claimed: &Notice, outcome: &Outcome, claim: &Claim<'_>) -> Result<bool, LedgerError>;

    /// Reads what is due for a receiver, the longest due first; `most` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    async fn due_notices(&self, receiver: &str, now: DateTime<Utc>, most: u32) -> Result<Vec<Notice>, LedgerError>;

    /// Writes a digest, and that it tells these, in one transaction. Where the digest is there already, nothing is written.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when one of them is not as it was read, and nothing was written; [`LedgerError`] when it is
    /// not known whether it was written, and trying again is safe.
    async fn gather(&self, digest: &Notice, told: &[Notice]) -> Result<(), LedgerError>;

    /// Begins anew with a notice that failed: it is due now. `None` where there is none of that id that did.
    ///
    /// # Errors
    /// [`LedgerError`] when it is not known whether that was noted; doing it again is safe.
    async fn retry(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Notice>, LedgerError>;

    /// Reads notices, `most` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be read.
    async fn notices(&self, wanted: Wanted<'_>, most: u32) -> Result<Vec<Notice>, LedgerError>;
}
