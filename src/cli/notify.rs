//! `pedwatch notify`: sends what is due, and shows what was and was not sent.

use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::Utc;
use serde_json::{Value as Json, json};

use super::ledger::require_ledger;
use super::table::{Column, Screen, Table, by_severity};
use super::{Access, Format, RowsFormat, Usage, report};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::incident::{Deployment, Kind, Reason};
use crate::notify::ledger::Wanted;
use crate::notify::notice::{Notice, State};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Send what is due, and end: for a scheduler. Without it, it goes on until it is stopped
    #[arg(long)]
    once: bool,
    /// How to print what was sent
    #[arg(long, value_enum, default_value = "table", requires = "once")]
    format: Format,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a message to a receiver that says that it is a test
    Test {
        /// Its name
        #[arg(long, value_name = "NAME")]
        receiver: String,
        /// A channel's id or an address, for a receiver that tells whom a PED names; may be given again
        #[arg(long, value_name = "ADDRESS")]
        to: Vec<String>,
    },
    /// List what is to be sent
    List {
        /// What could not be sent instead
        #[arg(long)]
        failed: bool,
        /// How to print it
        #[arg(long, value_enum, default_value = "table")]
        format: RowsFormat,
    },
    /// Try again to send what could not be sent
    Retry {
        /// Its id
        id: String,
    },
    /// Tell who hears of an alert, by which route, what was sent, and why not
    Explain {
        /// Its id, as `pedwatch alerts --format=json` and the logs have it
        #[arg(value_name = "ALERT")]
        id: String,
        /// Where facts are kept
        #[arg(long, value_name = STORE_URL)]
        store: Option<StoreUrl>,
    },
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    match args.command {
        None if args.once => once(args.store, config, args.format, screen).await,
        None => go_on(args.store, config).await,
        Some(Command::Test { receiver, to }) => test(&receiver, to, config).await,
        Some(Command::List { failed, format }) => list(config, failed, format, screen).await,
        Some(Command::Retry { id }) => {
            let retried = require_ledger(config, Access::Existing).await?.retry(&id, Utc::now()).await;
            retried.context("it may not be tried again")?.ok_or_else(|| {
                Usage(format!("there is no notice {id} that failed; see pedwatch notify list --failed"))
            })?;
            report::text("it is due now; serve, pull or notify sends it\n")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Explain { id, store }) => super::told::explain(&id, store, config, screen).await,
    }
}

#[cfg(not(feature = "cloud"))]
mod absent;
#[cfg(feature = "cloud")]
mod live;

#[cfg(not(feature = "cloud"))]
use absent::{go_on, once, test};
#[cfg(feature = "cloud")]
use live::{go_on, once, test};

const NAMES: [&str; 14] = [
    "notification_id",
    "incident_id",
    "receiver",
    "namespace",
    "deployment_name",
    "rule",
    "severity",
    "kind",
    "state",
    "created_at",
    "attempts",
    "due_at",
    "sent_at",
    "last_error",
];

async fn list(config: &Config, failed: bool, format: RowsFormat, screen: Screen) -> Result<ExitCode> {
    let ledger = require_ledger(config, Access::Existing).await?;
    let states: &[State] = if failed { &[State::Failed] } else { &[State::Sending, State::Pending] };
    let most = if format == RowsFormat::Table { report::ROWS_MAX as u32 } else { u32::MAX >> 1 };
    let mut notices = Vec::new();
    for state in states {
        notices.extend(ledger.notices(Wanted::State(*state), most).await.context("the ledger cannot be read")?);
    }
    match format {
        RowsFormat::Table if notices.is_empty() => report::text("nothing\n")?,
        RowsFormat::Table => report::table(&notices_table(&notices), screen)?,
        format => report::objects(&NAMES, &notices.iter().map(object).collect::<Vec<_>>(), format)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn object(notice: &Notice) -> Json {
    let Notice { content, progress, .. } = notice;
    json!({
        "notification_id": notice.notification_id,
        "incident_id": notice.incident_id,
        "receiver": notice.receiver,
        "namespace": content.deployment.namespace,
        "deployment_name": content.deployment.name,
        "rule": content.rule.to_string(),
        "severity": content.severity.to_string(),
        "kind": content.kind.to_string(),
        "state": progress.state.to_string(),
        "created_at": id::time(notice.created_at),
        "attempts": progress.attempts,
        "due_at": progress.due_at.map(id::time),
        "sent_at": progress.sent_at.map(id::time),
        "last_error": progress.last_error,
    })
}

/// Notices for people.
pub(super) fn notices_table(notices: &[Notice]) -> Table {
    let mut table = Table::new([
        Column::new("id"),
        Column::new("made (UTC)"),
        Column::new("receiver"),
        Column::new("severity").styled(by_severity),
        Column::new("what"),
        Column::new("deployment"),
        Column::new("state"),
        Column::new("attempts").named(),
        Column::new("due (UTC)").named().only_if_any(),
        Column::new("sent (UTC)").named().only_if_any(),
        Column::new("what was wrong").prose().only_if_any(),
    ]);
    for Notice { notification_id, receiver, created_at, content, progress, .. } in notices {
        let when = |time: Option<_>| time.map(report::short).unwrap_or_default();
        table.add_row([
            notification_id.clone(),
            report::short(*created_at),
            receiver.clone(),
            content.severity.to_string(),
            match content.reason {
                Reason::Storm | Reason::Daily => format!("{} of {}", content.kind, content.value.unwrap_or_default()),
                _ => format!("{} {}", content.kind, content.rule),
            },
            match content.kind {
                Kind::Digest if content.deployment == Deployment::default() => String::new(),
                _ => format!("{}/{}", content.deployment.namespace, content.deployment.name),
            },
            progress.state.to_string(),
            progress.attempts.to_string(),
            when(progress.due_at),
            when(progress.sent_at),
            progress.last_error.clone().unwrap_or_default(),
        ]);
    }
    table
}
