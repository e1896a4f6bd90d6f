//! `pedwatch incident list|show|ack|assign`: what is open, and who sees to it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::Utc;
use serde_json::{Value as Json, json};

use super::ledger::require_ledger;
use super::notify::notices_table;
use super::table::{Column, Screen, Table, by_severity};
use super::{Access, RowsFormat, Usage, parse_told, report};
use crate::config::Config;
use crate::id;
use crate::incident::{Document, Incident};
use crate::notify::ledger::Wanted;
use crate::notify::open;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what is open, the longest first
    List {
        /// How to print it
        #[arg(long, value_enum, default_value = "table")]
        format: RowsFormat,
    },
    /// Show one that is open, and who was told what of it
    Show {
        /// Its id
        id: String,
    },
    /// Acknowledge one: it is not told again unless it gets worse, or is over
    Ack {
        /// Its id
        id: String,
        /// Who acknowledges it
        #[arg(long, value_name = "WHO", value_parser = parse_told)]
        by: String,
    },
    /// Note who is to see to one
    Assign {
        /// Its id
        id: String,
        /// Who sees to it
        #[arg(long, value_name = "WHO", value_parser = parse_told)]
        to: String,
    },
}

pub(super) async fn run(command: Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    let ledger = require_ledger(config, Access::Existing).await?;
    match command {
        Command::List { format } => list(&open::documents(&*ledger).await.context(UNREAD)?, format, screen)?,
        Command::Show { id } => {
            let documents = open::documents(&*ledger).await.context(UNREAD)?;
            let found = incidents(&documents).into_iter().find(|(_, incident)| incident.incident_id == id);
            let (document, incident) = found.ok_or_else(|| not_open(&id))?;
            report::table(&table(&[(document, incident)]), screen)?;
            let notices = ledger.notices(Wanted::Incident(&id), u32::MAX >> 1).await.context(UNREAD)?;
            report::table(&notices_table(&notices), screen)?;
        }
        Command::Ack { id, by } => {
            let now = Utc::now();
            let ack = |document: &mut Document| document.acknowledge(&id, &by, now);
            if !open::change(&*ledger, &config.notify.settings, now, ack).await.context("it may not be acknowledged")? {
                return Err(not_open(&id));
            }
            report::text("acknowledged\n")?;
        }
        Command::Assign { id, to } => {
            let assign = |document: &mut Document| document.assign(&id, &to);
            let assigned = open::change(&*ledger, &config.notify.settings, Utc::now(), assign).await;
            if !assigned.context("it may not be assigned")? {
                return Err(not_open(&id));
            }
            report::text("assigned\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

const UNREAD: &str = "the ledger cannot be read";

fn not_open(id: &str) -> anyhow::Error {
    Usage(format!("no incident {id} is open; see pedwatch incident list")).into()
}

/// Each incident with its document, the longest open first.
fn incidents(documents: &[Document]) -> Vec<(&Document, &Incident)> {
    let of = |document| Document::incidents(document).iter().map(move |incident| (document, incident));
    let mut incidents: Vec<_> = documents.iter().flat_map(of).collect();
    incidents.sort_by_key(|(_, incident)| (incident.began_at, incident.incident_id.as_str()));
    incidents
}

const NAMES: [&str; 15] = [
    "incident_id",
    "project_id",
    "location",
    "cluster_name",
    "namespace",
    "deployment_name",
    "rule",
    "severity",
    "began_at",
    "over_at",
    "replicas",
    "limit",
    "told_at",
    "acknowledged_by",
    "assigned_to",
];

fn list(documents: &[Document], format: RowsFormat, screen: Screen) -> Result<()> {
    let incidents = incidents(documents);
    match format {
        RowsFormat::Table if incidents.is_empty() => report::text("nothing is open\n"),
        RowsFormat::Table => report::table(&table(&incidents), screen),
        format => {
            let objects: Vec<Json> =
                incidents.into_iter().map(|(document, incident)| object(document, incident)).collect();
            report::objects(&NAMES, &objects, format)
        }
    }
}

fn object(Document { deployment, .. }: &Document, incident: &Incident) -> Json {
    json!({
        "incident_id": incident.incident_id,
        "project_id": deployment.project,
        "location": deployment.location,
        "cluster_name": deployment.cluster,
        "namespace": deployment.namespace,
        "deployment_name": deployment.name,
        "rule": incident.rule.to_string(),
        "severity": incident.severity.to_string(),
        "began_at": id::time(incident.began_at),
        "over_at": incident.over_at.map(id::time),
        "replicas": incident.value,
        "limit": incident.limit,
        "told_at": incident.told.as_ref().map(|told| id::time(told.at)),
        "acknowledged_by": incident.acknowledged.as_ref().map(|acknowledged| &acknowledged.by),
        "assigned_to": incident.assigned,
    })
}

fn table(incidents: &[(&Document, &Incident)]) -> Table {
    let mut table = Table::new([
        Column::new("id"),
        Column::new("since (UTC)"),
        Column::new("severity").styled(by_severity),
        Column::new("rule"),
        Column::new("cluster").named().only_if_several(),
        Column::new("deployment"),
        Column::new("replicas").named(),
        Column::new("limit").named().only_if_any(),
        Column::new("queued (UTC)").named(),
        Column::new("acknowledged by").named().only_if_any(),
        Column::new("assigned to").named().only_if_any(),
    ]);
    let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    for (Document { deployment, .. }, incident) in incidents {
        table.add_row([
            incident.incident_id.clone(),
            report::short(incident.began_at),
            incident.severity.to_string(),
            incident.rule.to_string(),
            deployment.cluster.clone(),
            format!("{}/{}", deployment.namespace, deployment.name),
            number(incident.value),
            number(incident.limit),
            incident.told.as_ref().map_or_else(|| "not yet".to_owned(), |told| report::short(told.at)),
            incident.acknowledged.as_ref().map(|acknowledged| acknowledged.by.clone()).unwrap_or_default(),
            incident.assigned.clone().unwrap_or_default(),
        ]);
    }
    table
}
