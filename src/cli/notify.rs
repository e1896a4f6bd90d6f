//! `pedwatch notify`: sends what is due, and shows what was and was not sent.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use serde_json::{Value as Json, json};

use super::ledger::{open_channels, require_ledger, require_telling};
use super::table::{Column, Screen, Table, by_severity};
use super::{Access, Format, RowsFormat, Usage, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::incident::{Deployment, Kind, Reason};
use crate::job::notify::{LOOK_EVERY, Sent, send_due, send_on};
use crate::notify::ledger::Wanted;
use crate::notify::message::{Message, sample};
use crate::notify::notice::{Addressed, Notice, Outcome, State};
use crate::ped::limits::Limits;
use crate::pipeline::incidents::Telling;
use crate::source::shutdown::Shutdown;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Steady;

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

/// How often limits are read while it goes on, and what is due by the clock is looked for.
const STEP_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

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

async fn once(store: Option<StoreUrl>, config: &Config, format: Format, screen: Screen) -> Result<ExitCode> {
    let telling = require_telling(config).await?;
    let store = require_store(store, config, Access::Existing).await?;
    step_due(&telling, &*store, config).await?;
    let sent = send_due(&telling).await.context("the ledger cannot be used; what is due waits in it")?;
    let object = |Sent { receiver, sent, later, refused }: &Sent| json!({"receiver": receiver, "sent": sent, "later": later, "refused": refused});
    let objects: Vec<Json> = sent.iter().map(object).collect();
    match format {
        Format::Table => {
            let mut table = Table::new(["receiver", "sent", "later", "refused"].map(Column::new));
            for Sent { receiver, sent, later, refused } in &sent {
                table.add_row([receiver.clone(), sent.to_string(), later.to_string(), refused.to_string()]);
            }
            report::table(&table, screen)?;
        }
        Format::Json => report::json_text(&format_args!("{}\n", Json::Array(objects)))?,
        Format::Ndjson => report::json_text(&objects.iter().map(|object| format!("{object}\n")).collect::<String>())?,
    }
    let is_refused = sent.iter().any(|sent| sent.refused > 0);
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn step_due(telling: &Telling, store: &dyn Store, config: &Config) -> Result<()> {
    let limits = Limits::new(store.claims(None).await?);
    let stepped = telling.at(Utc::now(), &config.policy, store, &limits).due().await;
    stepped.context("what is due cannot be told; it is tried again at the next time")
}

async fn go_on(store: Option<StoreUrl>, config: &Config) -> Result<ExitCode> {
    let shutdown = Shutdown::on_signal()?;
    let telling = require_telling(config).await?;
    let store = require_store(store, config, Access::Existing).await?;
    let sending = tokio::spawn(send_on(Arc::clone(&telling), Metrics::default(), shutdown.watch()));
    let stepping = async {
        let trouble = Steady::default();
        loop {
            match step_due(&telling, &*store, config).await {
                Ok(()) => drop(trouble.recovered()),
                Err(error) => {
                    if let Some(times) = trouble.failed(&error.to_string()) {
                        tracing::warn!(error = format!("{error:#}"), times, "what is due cannot be told yet");
                    }
                }
            }
            tokio::time::sleep(STEP_EVERY).await;
        }
    };
    tracing::info!(every = ?LOOK_EVERY, "sending what is due");
    tokio::select! { () = shutdown.begun() => {}, () = stepping => {} }
    let _ = tokio::time::timeout(crate::source::shutdown::DRAIN, sending).await;
    Ok(ExitCode::SUCCESS)
}

/// Sends by the receiver itself, and keeps nothing.
async fn test(name: &str, to: Vec<String>, config: &Config) -> Result<ExitCode> {
    let channels = open_channels(config)?;
    let channel = channels.iter().find(|channel| channel.name == name);
    let known: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
    let channel =
        channel.ok_or_else(|| Usage(format!("there is no receiver {name:?}; expected one of {}", known.join(", "))))?;
    let ((step, deployment), now) = (sample(), Utc::now());
    let step = crate::incident::Step { step_value: id::time(now), began_at: now, ..step };
    let body = channel.say(&Message::new(&step, &deployment, Default::default(), now));
    if channel.needs_contacts() && to.is_empty() {
        return Err(
            Usage(format!("{name} tells whom a PED names; expected --to with an address to try it with")).into()
        );
    }
    let addressed = Addressed { receiver: name.to_owned(), to, body, instead: None };
    let notice = Notice::addressed(&step, &deployment, addressed, now);
    match channel.receiver().send(&notice, &[], now).await {
        Outcome::Sent { .. } => report::text("sent\n")?,
        Outcome::Refused { why } => bail!("{name} refuses it: {why}"),
        Outcome::Later { why, .. } => bail!("{name} cannot be told now, it may work later: {why}"),
    }
    Ok(ExitCode::SUCCESS)
}

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
