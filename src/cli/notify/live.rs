//! Sends what is due.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use serde_json::{Value as Json, json};

use super::super::cloud::{open_channels, require_telling};
use super::super::table::{Column, Screen, Table};
use super::super::{Access, Format, Usage, report, require_store};
use crate::config::{Config, StoreUrl};
use crate::id;
use crate::job::notify::{LOOK_EVERY, Sent, send_due, send_on};
use crate::notify::message::{Message, sample};
use crate::notify::notice::{Addressed, Notice, Outcome};
use crate::ped::limits::Limits;
use crate::pipeline::incidents::Telling;
use crate::source::shutdown::{DRAIN, Shutdown};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Steady;

/// How often limits are read while it goes on, and what is due by the clock is looked for.
const STEP_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn once(store: Option<StoreUrl>, config: &Config, format: Format, screen: Screen) -> Result<ExitCode> {
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

pub(super) async fn go_on(store: Option<StoreUrl>, config: &Config) -> Result<ExitCode> {
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
    let _ = tokio::time::timeout(DRAIN, sending).await;
    Ok(ExitCode::SUCCESS)
}

/// Sends by the receiver itself, and keeps nothing.
pub(super) async fn test(name: &str, to: Vec<String>, config: &Config) -> Result<ExitCode> {
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
