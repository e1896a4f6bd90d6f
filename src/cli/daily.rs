//! `pedwatch daily`: closes the days that are over, judges again what was left, and holds what runs against the log.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Result;
use chrono::{Days, NaiveDate, Utc};
use serde_json::json;

use super::ledger::{limits_turned, open_noting};
use super::ped::tell_mended;
use super::replay::Progress;
use super::table::{Column, Screen, Table};
use super::{Access, Format, check_span, parse_date, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::compare::{Compared, Rules, compare_days, contested};
use crate::job::daily::{Closed, close_day, due, have_looked, look_since};
use crate::names::Named;
use crate::ped::limits::Limits;
use crate::pipeline::again::judge_again;
use crate::pipeline::incidents::namespaces_of;
use crate::pipeline::register;
use crate::policy::AlertType;
use crate::store::row::AlertLog;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The first day to close, in UTC (such as 2026-09-01, yesterday or -7d); without it, the first that is not closed
    #[arg(long, value_name = "DATE", value_parser = parse_date, allow_hyphen_values = true)]
    from: Option<NaiveDate>,
    /// The last day to close; without it, yesterday
    #[arg(long, value_name = "DATE", value_parser = parse_date, allow_hyphen_values = true)]
    to: Option<NaiveDate>,
    /// How to print what was done
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    let now = Utc::now();
    // Both days are closed, so the second may be the first.
    check_span(["--from", "--to"], args.from, args.to.filter(|&to| Some(to) != args.from))?;
    let store = require_store(args.store, config, Access::Existing).await?;
    // First, so that days are closed by every version that there is.
    let adopted = store.adopt().await?;
    let (mended, raised_by_them) = register::mend(&*store, &config.policy, now).await?;
    // Before days are closed: what came late for them is known.
    let by = what_is_raised(config);
    let since = look_since(&*store, &by, now).await?;
    let due = due(&*store, args.from, args.to, now).await?;
    let progress = Progress::new(due.len() as u64, DAYS);
    let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
    let mut closed = Vec::new();
    let mut in_turn = 0;
    for date in due {
        // First: a day that is closed is not due any more.
        in_turn += contested(&*store, rules, date, now).await?.len();
        closed.push(close_day(&*store, date, now).await?);
        progress.advance(1);
    }
    progress.finish();
    let asked = args.from.or(args.to).map(|date| (args.from.unwrap_or(date), args.to.unwrap_or(now.date_naive())));
    let (telling, limits) = (open_noting(config).await?, Limits::new(store.claims(None).await?));
    let told = telling.as_ref().map(|telling| telling.at(now, &config.policy, &*store, &limits));
    let compared = compare_days(&*store, rules, asked, told.as_ref(), now).await?;
    let taught = compared.iter().filter_map(|one| one.taught.since()).min();
    let since = taught.map_or(since, |taught| taught.min(since));
    let raised = judge_again(&*store, &config.policy, &BTreeSet::new(), Some(since), now).await?.len();
    let raised = raised + raised_by_them.len();
    let mut turned = limits.turned_in(Some(since), now);
    turned.extend(namespaces_of(mended.iter().map(|version| &version.subject)));
    let brought = Brought { mended: mended.len(), adopted };
    limits_turned(telling.clone(), &*store, config, turned, now).await?;
    have_looked(&*store, &by, now).await?;
    match args.format {
        Format::Table => story(&closed, &compared, raised + in_turn, brought, screen)?,
        Format::Json => {
            let days: Vec<_> = closed.iter().map(as_json).collect();
            let snapshots: Vec<_> = compared.iter().map(comparison_as_json).collect();
            let mut told = json!({ "closed": days, "compared": snapshots, "alerts_raised": raised + in_turn });
            if let Some(told) = told.as_object_mut().filter(|_| config.registry.is_some()) {
                told.insert("versions_mended".to_owned(), brought.mended.into());
                told.insert("versions_adopted".to_owned(), brought.adopted.into());
            }
            report::json_text(&format_args!("{told}\n"))?;
        }
        Format::Ndjson => {
            let days = closed.iter().map(as_json);
            let lines = days.chain(compared.iter().map(comparison_as_json)).map(|line| format!("{line}\n"));
            report::json_text(&lines.collect::<String>())?
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Identity of the rules that are on, and of where notices are kept: who switches something on wants to hear of what stands.
fn what_is_raised(config: &Config) -> String {
    let is_on = |rule: &&AlertType| config.policy.severity.get(**rule).is_some();
    let mut parts: Vec<String> = AlertType::ALL.iter().filter(is_on).map(|rule| rule.as_str().to_owned()).collect();
    parts.extend(config.ledger.as_ref().map(|ledger| format!("{ledger:?}")));
    id::id(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What the bar shows.
const DAYS: &str = "{wide_bar} {pos}/{len} days {eta} left";

/// The last day of a closing, and how many days of it were closed before.
fn days(closed: &Closed) -> (NaiveDate, i64) {
    let end = closed.closing.through.date_naive();
    let begin = closed.closing.from.map_or(end, |from| from.date_naive());
    (end.checked_sub_days(Days::new(1)).unwrap_or(end), ((end - begin).num_days() - 1).max(0))
}

fn as_json(closed: &Closed) -> serde_json::Value {
    let (date, again) = days(closed);
    json!({
        "date": date.to_string(), "changes": closed.changes, "object_days": closed.object_days,
        "days_closed_again": again, "known": closed.is_known,
    })
}

fn comparison_as_json(Compared { snapshot, alerts, .. }: &Compared) -> serde_json::Value {
    json!({
        "snapshot": snapshot.snapshot_id, "at": id::time(snapshot.started_at), "cluster": snapshot.cluster().to_string(),
        "deployments": snapshot.deployments, "alerts": by_type(alerts),
    })
}

/// How many there are of each rule.
fn by_type(alerts: &[AlertLog]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    alerts.iter().for_each(|alert| *counts.entry(alert.alert_type.as_str()).or_default() += 1);
    counts
}

fn comparisons(compared: &[Compared]) -> Table {
    let mut table = Table::new([
        Column::new("snapshot (UTC)"),
        Column::new("cluster"),
        Column::new("Deployments").named(),
        Column::new("alerts").prose(),
    ]);
    let clusters = report::cluster_names(compared, |one| one.snapshot.cluster());
    for one in compared {
        let alerts = by_type(&one.alerts).into_iter().map(|(name, count)| format!("{count} {name}"));
        table.add_row([
            report::short(one.snapshot.started_at),
            clusters(one.snapshot.cluster()),
            one.snapshot.deployments.map_or_else(String::new, |count| count.to_string()),
            alerts.collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

/// Versions that were in one of store and registry alone.
struct Brought {
    mended: usize,
    adopted: usize,
}

fn story(closed: &[Closed], compared: &[Compared], raised: usize, brought: Brought, screen: Screen) -> Result<()> {
    let mut table = Table::new([
        Column::new("day (UTC)"),
        Column::new("changes").named(),
        Column::new("object days").named(),
        Column::new("closed again").named().only_if_any(),
        Column::new("new"),
    ]);
    for one in closed {
        let (date, again) = days(one);
        let again = if again > 0 { format!("with {again} before") } else { String::new() };
        let new = if one.is_known { "as known" } else { "stored" };
        table.add_row([date.to_string(), one.changes.to_string(), one.object_days.to_string(), again, new.to_owned()]);
    }
    match closed.is_empty() {
        true => report::text("no day is to be closed\n")?,
        false => report::table(&table, screen)?,
    }
    if !compared.is_empty() {
        report::table(&comparisons(compared), screen)?;
    }
    let mut lines = String::new();
    tell_mended(&mut lines, brought.mended);
    report::text(&lines)?;
    if brought.adopted > 0 {
        report::text(&format!(
            "{} versions were in the store and not in the registry; they are now\n",
            brought.adopted
        ))?;
    }
    if raised > 0 {
        report::text(&format!("{raised} alerts were raised that nobody had\n"))?;
    }
    Ok(())
}
