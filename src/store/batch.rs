//! Group commit: many callers' rows in one append, each caller with its own answer.

#[cfg(feature = "cloud")]
mod batcher;

#[cfg(feature = "cloud")]
pub use batcher::Batcher;

/// How much goes into one append, and how many are on their way. There is no timer: an append is sent as soon as there is a
/// place for it, with everything that came while all places were taken. So a row alone goes at once, and the more come, the
/// more go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// At most about so many rows.
    pub rows: usize,
    /// Their size, at most about.
    pub bytes: usize,
    /// Appends that are on their way at once, if the store gains from so many; more callers wait.
    pub in_flight: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Batching {
            // The rows that BigQuery recommends for one insertAll request; see `bigquery::streaming`.
            rows: 500,
            // Far below the 10 MB of a request, so that a batch is one request.
            bytes: 4 << 20,
            in_flight: 4,
        }
    }
}
