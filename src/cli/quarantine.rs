//! `pedwatch quarantine list|show|replay`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use chrono::Utc;

use super::{Format, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::limits::Limits;
use crate::pipeline::again::judge_again;
use crate::pipeline::quarantine::{Held, held, raw};
use crate::pipeline::{Pipeline, append};
use crate::store::row::Record;
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
    /// Show one of them whole, as it came (a terminal is shown control characters as \u{…})
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
            let mut table = report::Table::new(&["id", "when (UTC)", "reason", "what is wrong", "source", "message"]);
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

async fn replay(store: Arc<dyn Store>, ids: &[String], config: &Config) -> Result<ExitCode> {
    let rows = query::quarantined(&*store, ids).await?;
    let pipeline = Pipeline::new(config.policy.clone(), Limits::new(store.claims(None).await?));
    let now = Utc::now();
    let (mut again, mut still) = (Vec::new(), 0_u64);
    for row in &rows {
        let records = match held(row, now) {
            Held::Row(record) => vec![*record],
            Held::Message(raw) => pipeline.assess(&raw, || "quarantine".to_owned(), now).records,
        };
        if records.iter().any(|record| matches!(record, Record::Quarantine(_))) {
            still += 1;
        } else {
            again.extend(records);
        }
    }
    let namespaces = append(&*store, again, now).await?.namespaces;
    if !namespaces.is_empty() {
        judge_again(&*store, pipeline.policy(), &namespaces, now).await?;
    }
    let counts = query::counts(&*store, now).await?;
    // What a store still refuses is there already, so it is not counted as new.
    let (fed, events) = (rows.len() as u64 - still, counts.events);
    report::text(&format!("{fed} fed again ({events} new events), {still} still unreadable\n"))?;
    Ok(if still == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
