//! The definitions of tables and views: the files that Terraform applies, compiled in.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value as Json;

use super::StoreError;

/// A column, as BigQuery's schema files write it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// `STRING`, `INTEGER`, `BOOLEAN`, `TIMESTAMP`, `DATE` or `JSON`.
    #[serde(rename = "type")]
    pub field_type: String,
    /// `REQUIRED` or `NULLABLE`.
    pub mode: String,
    /// What it means.
    pub description: String,
}

/// What holds of a table besides its columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The column by whose day it is partitioned.
    pub partition: String,
    /// The columns that it is clustered by: what most questions name.
    pub clustering: Vec<String>,
    /// Whether its old partitions may be dropped. Versions of PEDs judge old writes for ever.
    pub expires: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub fields: Vec<Field>,
    /// What else holds of it.
    pub properties: Properties,
}

macro_rules! files {
    ($folder:literal, $extension:literal: $($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../terraform/", $folder, "/", $name, ".", $extension)))),*]
    };
}

/// Name and JSON schema of each table.
pub const SCHEMAS: [(&str, &str); 11] = files!("schemas", "json":
    "replica_events", "alert_log", "deployment_config", "quarantine", "pod_metrics", "snapshots", "watermarks",
    "carried_writes", "closed_changes", "object_days", "bills");

const PROPERTIES: &str = include_str!("../../terraform/tables.json");

/// Every table. The files are compiled in and a test reads them, so nothing can fail here at run time.
pub static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let properties: BTreeMap<String, Properties> = serde_json::from_str(PROPERTIES).unwrap_or_default();
    let table = |(name, schema): &(&'static str, &str)| Table {
        name,
        fields: serde_json::from_str(schema).unwrap_or_default(),
        properties: properties.get(*name).cloned().unwrap_or_default(),
    };
    SCHEMAS.iter().map(table).collect()
});

/// Name and SQL of each view, in an order in which each uses only those before it (`terraform/views/order.json`). The SQL
/// is what BigQuery and SQLite have in common; the rest is filled in by [`Dialect`].
pub const VIEWS: [(&str, &str); 33] = files!("views", "sql":
    "quarantined", "limit_ranges", "current_limits", "user_replicas_limits", "closings", "open_since", "tail_events",
    "carried_in", "closed_days", "recent_closing", "recent_events", "recent_carried_in", "writes", "lives",
    "placed_writes", "ends", "ordered_writes", "subjects", "tail_subjects", "limits_in_force", "judged_events",
    "ordered_changes", "judged_changes", "replica_changes", "conditions", "raised_alerts", "alerts", "current_replicas", "recent_changes",
    "daily_max_replicas", "user_pod_usage", "current_bills", "monthly_fees");

/// The views that are for people, and dashboards. Of the others these are made, and no question of the program names a stored one.
pub const FOR_PEOPLE: [&str; 14] = [
    "alerts",
    "closed_days",
    "current_bills",
    "current_limits",
    "current_replicas",
    "daily_max_replicas",
    "judged_events",
    "limits_in_force",
    "monthly_fees",
    "quarantined",
    "recent_changes",
    "replica_changes",
    "user_pod_usage",
    "user_replicas_limits",
];

/// What the views read instead of all events, where a view stands on one of these: the first of them in order of names
/// (`terraform/views/bounded.json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounded {
    /// Instead of `replica_events`.
    events: String,
    /// What stands for the other events.
    carried: String,
    /// What may have a limit.
    subjects: String,
}

/// By the view that tells. As [`TABLES`], it cannot fail at run time.
static BOUNDED: LazyLock<BTreeMap<String, Bounded>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../terraform/views/bounded.json")).unwrap_or_default());

impl Bounded {
    /// A view's text that reads less.
    fn text(&self, text: &str) -> String {
        text.replace("${dataset}.replica_events WHERE TRUE", &format!("${{dataset}}.{}", self.events))
            .replace("${dataset}.carried_writes WHERE FALSE", &format!("${{dataset}}.{}", self.carried))
            .replace("${dataset}.subjects", &format!("${{dataset}}.{}", self.subjects))
    }
}

/// The table of that name.
///
/// # Errors
/// [`StoreError::Permanent`] for any other name.
pub fn table(wanted: &str) -> Result<&'static Table, StoreError> {
    let found = TABLES.iter().find(|table| table.name == wanted);
    found.ok_or_else(|| StoreError::Permanent(format!("there is no table {wanted:?}")))
}

/// The name of a table or view there is.
///
/// # Errors
/// [`StoreError::Permanent`] for any other, so that no text from outside gets into a query.
pub fn name(wanted: &str) -> Result<&'static str, StoreError> {
    let names = SCHEMAS.iter().chain(&VIEWS).map(|(name, _)| *name);
    names
        .into_iter()
        .find(|name| *name == wanted)
        .ok_or_else(|| StoreError::Permanent(format!("there is no table or view {wanted:?}")))
}

/// A view's SQL over tables alone: the views that it uses stand in it.
pub fn view(name: &str) -> String {
    let own = VIEWS.iter().find(|(view, _)| *view == name).map_or("", |(_, sql)| *sql);
    match named_by(own).is_empty() {
        true => own.to_owned(),
        false => over_tables(&format!("SELECT * FROM ${{dataset}}.{name}\n")),
    }
}

/// A question over tables alone: the views that it uses stand before it. The program asks nothing else, because another
/// revision may have replaced what is stored under a view's name.
pub fn over_tables(sql: &str) -> String {
    with_views(&used_by(sql), sql)
}

/// Some SQL behind the definitions of views.
pub(super) fn with_views(views: &[(&str, String)], sql: &str) -> String {
    if views.is_empty() {
        return sql.to_owned();
    }
    let definition = |(name, text): &(&str, String)| format!("{name} AS (\n{}\n)", named_as(text, "").trim_end());
    let definitions: Vec<String> = views.iter().map(definition).collect();
    format!("WITH\n{}\n{}", definitions.join(",\n"), named_as(sql, ""))
}

/// How often some SQL names a view or a table.
pub(super) fn times_named(sql: &str, name: &str) -> usize {
    let named = format!("${{dataset}}.{name}");
    let behind = sql.split(&named).skip(1);
    behind.filter(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')).count()
}

/// The question, with each view under a name of its own: what stands before it, and its name.
pub(super) fn named_as(sql: &str, prefix: &str) -> String {
    // Longer names first, so that none is taken for the beginning of another.
    let mut names: Vec<&str> = VIEWS.iter().map(|(name, _)| *name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names
        .iter()
        .fold(sql.to_owned(), |sql, name| sql.replace(&format!("${{dataset}}.{name}"), &format!("{prefix}{name}")))
}

/// The views that a question uses, directly or not, in their order, over the rows that it is bounded to by one of them.
pub(super) fn used_by(sql: &str) -> Vec<(&'static str, String)> {
    let used = named_by(sql);
    let bounded =
        BOUNDED.iter().find(|(told, _)| used.iter().any(|(name, _)| name == told)).map(|(_, bounded)| bounded);
    let text = |text: &str| bounded.map_or_else(|| text.to_owned(), |bounded| bounded.text(text));
    used.into_iter().map(|(name, sql)| (name, text(sql))).collect()
}

/// The views that a question names, or that those name.
fn named_by(sql: &str) -> Vec<(&'static str, &'static str)> {
    let mut used: Vec<(&'static str, &'static str)> = Vec::new();
    for (name, text) in VIEWS.iter().rev() {
        let names_it = |sql: &str| times_named(sql, name) > 0;
        if names_it(sql) || used.iter().any(|(_, sql)| names_it(sql)) {
            used.push((name, text));
        }
    }
    used.reverse();
    used
}

/// What differs between the stores' SQL.
#[derive(Debug, Clone, Copy)]
pub struct Dialect<'d> {
    /// Stands before the tables, with its dot.
    pub dataset: &'d str,
    /// The present.
    pub now: &'d str,
    /// The type of texts, for a cast.
    pub text: &'d str,
    /// The days since `MIN(first_day)` of `periods`, each with the microsecond since 1970 at which it begins.
    pub calendar: &'d str,
    /// The beginning of the day (UTC) so many days ago: what stands before their number, and behind it.
    pub days_ago: (&'d str, &'d str),
    /// A time column as microseconds since 1970: what stands before it, between its two places, and behind it. The
    /// column stands once where there is nothing between.
    pub micros: (&'d str, Option<&'d str>, &'d str),
}

/// GoogleSQL.
pub const BIGQUERY: Dialect<'static> = Dialect {
    dataset: "",
    now: "CURRENT_TIMESTAMP()",
    text: "STRING",
    calendar: "(SELECT day, UNIX_DATE(day) * 86400000000 AS begins FROM \
               UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day) AS days",
    // Constant, so that it tells which partitions are read.
    days_ago: ("TIMESTAMP_SUB(TIMESTAMP_TRUNC(CURRENT_TIMESTAMP(), DAY), INTERVAL ", " DAY)"),
    micros: ("UNIX_MICROS(", None, ")"),
};

/// SQLite's, where a time is text: RFC 3339 in UTC with six digits.
pub const SQLITE: Dialect<'static> = Dialect {
    dataset: "",
    now: "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
    text: "TEXT",
    calendar: "(WITH RECURSIVE days(day) AS (SELECT MIN(first_day) FROM periods \
               UNION ALL SELECT DATE(day, '+1 day') FROM days WHERE day < CURRENT_DATE) \
               SELECT day, CAST(strftime('%s', day) AS INTEGER) * 1000000 AS begins FROM days) AS days",
    days_ago: ("strftime('%Y-%m-%dT00:00:00.000000Z', 'now', '-", " days')"),
    micros: ("(CAST(strftime('%s', ", Some(") AS INTEGER) * 1000000 + CAST(substr("), ", 21, 6) AS INTEGER))"),
};

impl Dialect<'_> {
    /// Fills the places that differ.
    pub fn fill(&self, sql: &str) -> String {
        let (before, between, behind) = self.micros;
        let micros = calls_replaced(sql, "MICROS_OF(", |column| match between {
            Some(between) => [before, column, between, column, behind].concat(),
            None => [before, column, behind].concat(),
        });
        let (before, behind) = self.days_ago;
        calls_replaced(&micros, "DAYS_AGO(", |days| [before, days, behind].concat())
            .replace("${dataset}.", self.dataset)
            .replace("${now}", self.now)
            .replace("${text}", self.text)
            .replace("${calendar}", self.calendar)
    }
}

/// A text with each call of a function of ours, whose argument has no parentheses, replaced.
fn calls_replaced(sql: &str, call: &str, replacement: impl Fn(&str) -> String) -> String {
    let mut parts = sql.split(call);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (argument, rest) = part.split_once(')').unwrap_or((part, ""));
        replaced.push_str(&replacement(argument));
        replaced.push_str(rest);
    }
    replaced
}

/// Whether two texts of a view say the same: what makes a view may drop comments, or space at the ends of lines.
pub fn is_same_view(left: &str, right: &str) -> bool {
    fn said(sql: &str) -> impl Iterator<Item = &str> {
        sql.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"))
    }
    said(left).eq(said(right))
}

/// The DDL that makes a table in BigQuery.
pub fn create_table(table: &Table, dataset: &str, expiration_days: Option<u32>) -> String {
    let column = |field: &Field| {
        let presence = if field.mode == "REQUIRED" { " NOT NULL" } else { "" };
        let kind = match field.field_type.as_str() {
            "INTEGER" => "INT64",
            "BOOLEAN" => "BOOL",
            other => other,
        };
        // A JSON string is a string literal of GoogleSQL too.
        let description = Json::from(field.description.as_str());
        format!("  `{}` {kind}{presence} OPTIONS (description = {description})", field.name)
    };
    let Table { name, fields, properties } = table;
    let columns: Vec<String> = fields.iter().map(column).collect();
    let days = expiration_days.filter(|_| properties.expires);
    let options = days.map_or_else(String::new, |days| format!("\nOPTIONS (partition_expiration_days = {days})"));
    let partition = match fields.iter().find(|field| field.name == properties.partition) {
        Some(field) if field.field_type == "DATE" => format!("`{}`", field.name),
        _ => format!("DATE(`{}`)", properties.partition),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {dataset}.{name} (\n{}\n)\nPARTITION BY {partition}\nCLUSTER BY {}{options};\n",
        columns.join(",\n"),
        properties.clustering.join(", "),
    )
}
