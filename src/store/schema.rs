//! The definitions of tables and views: the files that Terraform applies, compiled in.

use serde::Deserialize;
use serde_json::Value as Json;

use super::StoreError;
use super::row::{DeploymentConfig, Row};

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
pub const VIEWS: [(&str, &str); 8] = files!("views", "sql":
    "alerts", "quarantined", "replica_changes", "current_replicas", "current_limits", "daily_max_replicas", "user_replicas_limits", "user_pod_usage");

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

/// The columns of a table.
///
/// # Errors
/// [`StoreError::Permanent`] when there is no such table, or its file is not a schema: only a test sees that, because
/// the files are compiled in.
pub fn table(wanted: &str) -> Result<Vec<Field>, StoreError> {
    let found = TABLES.iter().find(|(name, _)| *name == wanted);
    let (name, text) = found.ok_or_else(|| StoreError::Permanent(format!("there is no table {wanted:?}")))?;
    serde_json::from_str(text).map_err(|error| StoreError::Permanent(format!("terraform/schemas/{name}.json: {error}")))
}

/// The column by whose day a table is partitioned: the first time that every row has.
pub fn time_column(fields: &[Field]) -> Option<&str> {
    let mut times = fields.iter().filter(|field| field.field_type == "TIMESTAMP" && field.mode == "REQUIRED");
    times.next().map(|field| field.name.as_str())
}

/// The columns that a table is clustered by: what most questions name.
pub fn cluster_columns(fields: &[Field]) -> Vec<&str> {
    let wanted = ["cluster_name", "namespace", "deployment_name"];
    let names = || fields.iter().map(|field| field.name.as_str());
    let found: Vec<&str> = wanted.into_iter().filter_map(|wanted| names().find(|name| *name == wanted)).collect();
    if found.is_empty() { names().filter(|name| *name == "reason").collect() } else { found }
}

/// Whether a table's old partitions may be dropped: versions of PEDs judge old writes for ever.
pub fn may_expire(table: &str) -> bool {
    table != DeploymentConfig::TABLE
}

/// A view's SQL as BigQuery runs it. `dataset` stands before the tables.
pub fn view_in_bigquery(sql: &str, dataset: &str) -> String {
    let calendar = "UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day";
    sql.replace("${dataset}", dataset).replace("${now}", "CURRENT_TIMESTAMP()").replace("${calendar}", calendar)
}

/// Whether two texts of a view say the same: what makes a view may drop comments, or space at the ends of lines.
pub fn is_same_view(left: &str, right: &str) -> bool {
    fn said(sql: &str) -> impl Iterator<Item = &str> {
        sql.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"))
    }
    said(left).eq(said(right))
}

/// The DDL that makes a table in BigQuery.
///
/// # Errors
/// As [`table`].
pub fn create_table(name: &str, dataset: &str, expiration_days: Option<u32>) -> Result<String, StoreError> {
    let fields = table(name)?;
    let column = |field: &Field| {
        let presence = if field.mode == "REQUIRED" { " NOT NULL" } else { "" };
        let kind = if field.field_type == "INTEGER" { "INT64" } else { field.field_type.as_str() };
        // A JSON string is a string literal of GoogleSQL too.
        let description = Json::from(field.description.as_str());
        format!("  {} {kind}{presence} OPTIONS (description = {description})", field.name)
    };
    let columns: Vec<String> = fields.iter().map(column).collect();
    let days = expiration_days.filter(|_| may_expire(name));
    let options = days.map_or_else(String::new, |days| format!("\nOPTIONS (partition_expiration_days = {days})"));
    Ok(format!(
        "CREATE TABLE IF NOT EXISTS {dataset}.{name} (\n{}\n)\nPARTITION BY DATE({})\nCLUSTER BY {}{options};\n",
        columns.join(",\n"),
        time_column(&fields).unwrap_or_default(),
        cluster_columns(&fields).join(", "),
    ))
}
