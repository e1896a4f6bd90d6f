//! Entries out of Cloud Logging itself: what its sink exports, read back with `entries.list`.
//!
//! ```text
//! filter ─▶ api: credentials, one request ─▶ page: entries while they come ─▶ Chunk
//!    ▲                                           │ token of the next page, time of the last entry
//!    └────── Entries: quota, trying again ◀──────┘
//! ```
//!
//! Entries come in the order of their time, so the time of the last one is a place to go on from: for a token that is not
//! good any more, and for a run that was stopped. What is read twice there is recorded once. Source of truth:
//! <https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list>.

use std::time::Duration;

#[cfg(feature = "cloud")]
mod api;
#[cfg(feature = "cloud")]
pub mod backfill;
#[cfg(feature = "cloud")]
mod entries;
pub mod filter;
#[cfg(feature = "cloud")]
mod page;

#[cfg(feature = "cloud")]
pub use api::Api;
#[cfg(feature = "cloud")]
pub use entries::{Entries, Question, RESOURCES_MAX};

/// How the Logging API is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// Base URL of another server than Google's.
    pub endpoint: Option<String>,
    /// Whether to go there without credentials.
    pub anonymous: bool,
    /// How often entries may be asked for.
    pub requests_per_minute: u32,
    /// How long a page may take with all its attempts.
    pub deadline: Duration,
}
