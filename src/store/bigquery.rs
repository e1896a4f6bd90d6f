//! BigQuery: the same facts at scale.
//!
//! Facts and PED versions are streamed (`streaming`), and questions are parameterised queries (`sql`). The dataset itself is made by Terraform or `pedwatch schema apply` (`dataset`).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "cloud")]
mod client;
#[cfg(feature = "cloud")]
mod dataset;
#[cfg(feature = "cloud")]
mod script;
#[cfg(feature = "cloud")]
mod sql;
#[cfg(feature = "cloud")]
mod store;
#[cfg(feature = "cloud")]
mod streaming;

#[cfg(feature = "cloud")]
pub use dataset::Change;
#[cfg(feature = "cloud")]
pub use store::BigQuery;

/// A dataset, `PROJECT.DATASET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetName {
    /// Google Cloud project that holds it, and that pays for the queries.
    pub project: String,
    /// Its name in there.
    pub dataset: String,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project, self.dataset)
    }
}

impl DatasetName {
    /// How it stands in SQL.
    pub fn quoted(&self) -> String {
        format!("`{}`.{}", self.project, self.dataset)
    }
}

/// How long the id of a project is: <https://cloud.google.com/resource-manager/docs/creating-managing-projects>. Those
/// under a domain have it behind their colon; a project's number is within it too.
const PROJECT_CHARACTERS: RangeInclusive<usize> = 6..=30;

/// Longest name of a dataset, by BigQuery's own rule.
const DATASET_MAX_CHARACTERS: usize = 1_024;

impl FromStr for DatasetName {
    type Err = String;

    /// A dataset's name stands in every query, so nothing but what BigQuery allows in one gets in:
    /// <https://cloud.google.com/bigquery/docs/datasets#dataset-naming>.
    fn from_str(text: &str) -> Result<Self, String> {
        let dataset = |c: char| c.is_ascii_alphanumeric() || c == '_';
        // `:` and `.` are in the names of projects under a domain, such as `example.com:acme-prod`.
        let project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        let is_project = |text: &str| {
            let id = text.rsplit(':').next().unwrap_or_default();
            text.chars().all(project) && PROJECT_CHARACTERS.contains(&id.len())
        };
        let is_dataset = |text: &str| (1..=DATASET_MAX_CHARACTERS).contains(&text.len()) && text.chars().all(dataset);
        match text.rsplit_once('.') {
            Some((left, right)) if is_project(left) && is_dataset(right) => {
                Ok(DatasetName { project: left.to_owned(), dataset: right.to_owned() })
            }
            _ => Err(format!(
                "{text:?} is not a dataset; expected PROJECT.DATASET, such as acme-prod.pedwatch, of {} to {} and at most \
                 {DATASET_MAX_CHARACTERS} characters",
                PROJECT_CHARACTERS.start(),
                PROJECT_CHARACTERS.end(),
            )),
        }
    }
}

/// How BigQuery is reached. Made by [`crate::config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BigQueryConfig {
    /// Base URL of another server than Google's.
    pub endpoint: Option<String>,
    /// Sends no credentials: for an emulator.
    pub anonymous: bool,
    /// Where the dataset lies; `None` leaves it to BigQuery.
    pub location: Option<String>,
    /// How long an append or a query may take with all its retries. Less than a message's acknowledgement deadline, so
    /// that it can be given back in time.
    pub deadline: Duration,
    /// insertAll requests on their way at once.
    pub requests_in_flight: usize,
    /// Days after which partitions of facts are dropped; `None` keeps them for ever. Never applied to
    /// `deployment_config`, whose old versions still judge old writes.
    pub partition_expiration_days: Option<u32>,
}
