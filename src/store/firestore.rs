//! The ledger in Firestore, by REST: where there is no disk that stays; and the registry: where versions are to be read by key, as of
//! now.
//!
//! Each change is one `:commit`, all or nothing, of writes that go by the `updateTime` with which they were read. Source of
//! truth: <https://cloud.google.com/firestore/docs/reference/rest/v1/projects.databases.documents>.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "cloud")]
mod api;
#[cfg(feature = "cloud")]
mod fields;
#[cfg(feature = "cloud")]
mod ledger;
#[cfg(feature = "cloud")]
mod registered;
#[cfg(feature = "cloud")]
mod registry;

#[cfg(feature = "cloud")]
pub use ledger::Firestore;
#[cfg(feature = "cloud")]
pub use registered::Registered;

/// The collection of notices.
const NOTIFICATIONS: &str = "notifications";

/// The composite indexes that the queries here need, by collection: fields in their order, all of them ascending.
pub const INDEXES: [(&str, [&str; 2]); 2] =
    [(NOTIFICATIONS, ["receiver", "due_at"]), (NOTIFICATIONS, ["state", "created_at"])];

/// The field by which documents go, by collection: <https://cloud.google.com/firestore/docs/ttl>. Without it, none does.
pub const EXPIRY: (&str, &str) = (NOTIFICATIONS, "expires_at");

/// A database of Firestore in native mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseName {
    /// Google Cloud project.
    pub project: String,
    /// Its database; `(default)` is one too.
    pub database: String,
}

/// As it is written.
impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.database)
    }
}

impl FromStr for DatabaseName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_part = |part: &str| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
            !part.is_empty() && part.bytes().all(is_plain) || part == "(default)"
        };
        match name.split_once('/') {
            Some((project, database)) if is_part(project) && is_part(database) => {
                Ok(DatabaseName { project: project.to_owned(), database: database.to_owned() })
            }
            _ => Err(format!("{name:?} is no database; expected PROJECT/DATABASE, such as acme-prod/(default)")),
        }
    }
}

/// How Firestore is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirestoreConfig {
    /// Another server than Google's.
    pub endpoint: Option<String>,
    /// Whether to go there without credentials: an emulator.
    pub anonymous: bool,
    /// How long a call may take.
    pub deadline: Duration,
}
