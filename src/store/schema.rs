//! The definitions of tables and views: the files that Terraform applies, compiled in.

use serde::Deserialize;

use super::StoreError;

/// A column, as BigQuery's schema files write it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// `STRING`, `INTEGER`, `TIMESTAMP` or `JSON`.
    #[serde(rename = "type")]
    pub field_type: String,
    /// `REQUIRED` or `NULLABLE`.
    pub mode: String,
    /// What it means.
    pub description: String,
}

macro_rules! files {
    ($folder:literal, $extension:literal: $($name:literal),*) => {
        [$(($name, include_str!(concat!("../../terraform/", $folder, "/", $name, ".", $extension)))),*]
    };
}

/// Name and JSON schema of each table.
pub const TABLES: [(&str, &str); 5] =
    files!("schemas", "json": "replica_events", "alert_log", "deployment_config", "quarantine", "pod_metrics");

/// Name and SQL of each view, in an order in which each uses only those before it. The SQL is what BigQuery and SQLite
/// have in common; the rest is filled in: `${dataset}.`, `${now}` and `${calendar}` (a table of days).
pub const VIEWS: [(&str, &str); 6] = files!("views", "sql":
    "replica_changes", "current_replicas", "current_limits", "daily_max_replicas", "user_replicas_limits", "user_pod_usage");

/// The name of a table or view there is.
///
/// # Errors
/// [`StoreError::Permanent`] for any other, so that no text from outside gets into a query.
pub fn name(wanted: &str) -> Result<&'static str, StoreError> {
    let names = TABLES.iter().chain(&VIEWS).map(|(name, _)| *name);
    names
        .into_iter()
        .find(|name| *name == wanted)
        .ok_or_else(|| StoreError::Permanent(format!("there is no table or view {wanted:?}")))
}

/// The columns of a table, out of its schema file.
///
/// # Errors
/// When the file is not a schema: only a test sees that, because the files are compiled in.
pub fn fields(schema: &str) -> Result<Vec<Field>, serde_json::Error> {
    serde_json::from_str(schema)
}
