//! What the sink exports, in Logging's query language. Terraform fills the same text, in
//! `terraform/modules/sink/filter.tf`; a test holds both against each other.

use chrono::{DateTime, Utc};

use crate::id;

const TEXT: &str = include_str!("../../../terraform/modules/sink/filter.txt");

/// Which clusters and namespaces are meant, as Terraform's variables say it for the sink.
#[derive(Debug, Clone, Default)]
pub struct Narrowing {
    /// Only these clusters; all, if empty. Names, which are no patterns.
    pub clusters: Vec<String>,
    /// Only these namespaces; all, if empty. Names too.
    pub namespaces: Vec<String>,
    /// Whether clusters of Google Distributed Cloud are meant too. They write another log, by another service.
    pub distributed_cloud: bool,
}

/// The filter of a sink: comparisons, one a line, which Logging joins by AND.
pub fn filter(narrowing: &Narrowing) -> String {
    let (logs, services) = match narrowing.distributed_cloud {
        false => ("cloudaudit", r"k8s\.io|container\.googleapis\.com"),
        true => ("(cloudaudit|externalaudit)", r"k8s\.io|container\.googleapis\.com|anthosgke\.googleapis\.com"),
    };
    let filled = TEXT
        .replace("${logs}", logs)
        .replace("${services}", services)
        .replace("${clusters}", &narrowing.clusters.join("|"))
        .replace("${namespaces}", &narrowing.namespaces.join("|"));
    // A line that names none of what it is about narrows nothing.
    let lines: Vec<&str> = filled.trim().lines().filter(|line| !line.contains("()")).collect();
    lines.join("\n")
}

/// A filter with bounds of time: from the first on, before the second. `gcloud logging read` then leaves out its own bound,
/// which is the last day.
pub fn within(filter: &str, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> String {
    let from = from.map(|time| format!("\ntimestamp>=\"{}\"", id::time(time))).unwrap_or_default();
    let to = to.map(|time| format!("\ntimestamp<\"{}\"", id::time(time))).unwrap_or_default();
    format!("{filter}{from}{to}")
}
