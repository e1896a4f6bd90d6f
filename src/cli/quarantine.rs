//! `pedwatch quarantine list|show|replay`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};

use super::table::{Column, Screen, Table};
use super::{Access, Format, check_span, parse_time, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::pipeline::quarantine::{Fed, raw, replay};
use crate::store::query;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what could not be read or stored, oldest first
    List {
        /// Only what came since then: 2026-09-11, 2026-09-11T08:00Z, yesterday, -7d, -12h and more
        #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
        since: Option<DateTime<Utc>>,
        /// Only what came before then
        #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
        until: Option<DateTime<Utc>>,
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

pub(super) async fn run(command: Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    match command {
        Command::List { since, until, format, target } => {
            check_span(["--since", "--until"], since.map(id::time), until.map(id::time))?;
            let store = require_store(target.store, config, Access::Existing).await?;
            let heads = query::quarantined_in(&*store, (since, until)).await?;
            if format != Format::Table {
                report::quarantined(&*store, &heads, format).await?;
                return Ok(ExitCode::SUCCESS);
            }
            if heads.is_empty() {
                report::text("nothing is in quarantine\n")?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new([
                Column::new("id"),
                Column::new("when (UTC)"),
                Column::new("reason"),
                Column::new("what is wrong").prose(),
                Column::new("source").named(),
                Column::new("message").named(),
            ]);
            for row in heads {
                let when = report::short(row.quarantined_at);
                let [source, message] = [row.source, row.message_id].map(Option::unwrap_or_default);
                table.add_row([row.quarantine_id, when, row.reason, row.detail, source, message]);
            }
            report::table(&table, screen)?;
        }
        Command::Show { id, target } => {
            let store = require_store(target.store, config, Access::Existing).await?;
            let heads = query::quarantined(&*store, std::slice::from_ref(&id)).await?;
            if heads.is_empty() {
                bail!("there is no {id} in quarantine; see pedwatch quarantine list");
            }
            query::in_quarantine(&*store, &heads, async |rows| {
                rows.iter().try_for_each(|row| report::bytes(&raw(row)))
            })
            .await?;
        }
        Command::Replay { ids, target } => {
            let store = require_store(target.store, config, Access::Existing).await?;
            let heads = query::quarantined(&*store, &ids).await?;
            if let Some(id) = ids.iter().find(|id| heads.iter().all(|head| head.quarantine_id != **id)) {
                bail!("there is no {id} in quarantine; see pedwatch quarantine list");
            }
            let now = Utc::now();
            let Fed { again, still, namespaces, since } = replay(&*store, config.policy.clone(), &ids, now).await?;
            // What a store still refuses is there already, so it is not counted as new.
            let reach = query::reach(&*store, &namespaces, Some(since.unwrap_or(now))).await?;
            let events = query::counts(&*store, now, &reach).await?.events;
            report::text(&format!("{again} fed again ({events} new events), {still} still unreadable\n"))?;
            return Ok(if still == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}
