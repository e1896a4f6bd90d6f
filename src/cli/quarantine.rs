//! `pedwatch quarantine list|show|replay`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use super::{Format, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::history::Limits;
use crate::pipeline::{Assessed, Pipeline, append};
use crate::store::row::{self, Quarantine, Record};
use crate::store::{Store, query};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what could not be read or stored, oldest first
    List {
        /// How to print it
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        #[command(flatten)]
        target: Target,
    },
    /// Show one of them whole, as it came
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Feed some of them again, or all: what can be read now is recorded. The rows stay, as a record of what happened
    Replay {
        /// Their ids; all of them, if none is given
        ids: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(command: Command, config: &Config) -> Result<ExitCode> {
    match command {
        Command::List { format, target } => {
            let store = require_store(target.store, config).await?;
            let rows = query::quarantined(&*store, &[]).await?;
            if format != Format::Table {
                report::rows(&rows, format)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = report::table(&["id", "when (UTC)", "reason", "what is wrong", "source", "message"]);
            for row in rows {
                let when = report::short(row.quarantined_at);
                let [source, message] = [row.source, row.message_id].map(Option::unwrap_or_default);
                table.add_row([row.quarantine_id, when, row.reason, row.detail, source, message]);
            }
            report::text(&format!("{table}\n"))?;
        }
        Command::Show { id, target } => {
            let store = require_store(target.store, config).await?;
            let rows = query::quarantined(&*store, std::slice::from_ref(&id)).await?;
            let [row] = rows.as_slice() else { bail!("there is no {id} in quarantine; see pedwatch quarantine list") };
            report::bytes(&raw(row))?;
        }
        Command::Replay { ids, target } => {
            let store = require_store(target.store, config).await?;
            return replay(store, &ids, config).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Its bytes, as they came.
fn raw(row: &Quarantine) -> Vec<u8> {
    let encoded = row.raw.strip_prefix("base64:").and_then(|text| STANDARD.decode(text).ok());
    encoded.unwrap_or_else(|| row.raw.clone().into_bytes())
}

async fn replay(store: Arc<dyn Store>, ids: &[String], config: &Config) -> Result<ExitCode> {
    let rows = query::quarantined(&*store, ids).await?;
    let pipeline = Pipeline::new(config.policy.clone(), Limits::new(&query::versions(&*store).await?));
    let now = Utc::now();
    let (mut again, mut still) = (Vec::new(), 0_u64);
    for row in &rows {
        let raw = raw(row);
        let records = refused_row(&raw, now).map_or_else(
            || match pipeline.assess(&raw, || "quarantine".to_owned(), now) {
                Assessed::Records(records) => records,
                Assessed::Ignored(_) => Vec::new(),
            },
            |record| vec![record],
        );
        if records.iter().any(|record| matches!(record, Record::Quarantine(_))) {
            still += 1;
        } else {
            again.extend(records);
        }
    }
    append(&*store, again, now).await?;
    let counts = query::counts(&*store, now).await?;
    // What a store still refuses is there already, so it is not counted as new.
    let (fed, events) = (rows.len() as u64 - still, counts.events);
    report::text(&format!("{fed} fed again ({events} new events), {still} still unreadable\n"))?;
    Ok(if still == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The row that a store refused, as `pipeline::append` keeps it.
fn refused_row(raw: &[u8], now: DateTime<Utc>) -> Option<Record> {
    let mut kept: Json = serde_json::from_slice(raw).ok()?;
    *kept.get_mut("row")?.get_mut("ingested_at")? = row::time(now).into();
    Record::from_json(kept.get("table")?.as_str()?, kept.get("row")?.as_object()?)
}
