//! `pedwatch bill`: what Deployments cost in a month, and why.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Result;
use chrono::Utc;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use super::asked::parse_cluster;
use super::table::{Column, Screen, Table};
use super::{Access, RowsFormat, Usage, report, require_store};
use crate::billing::bill::State;
use crate::billing::{Month, Price, Replicas, resources};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::bill::{BillError, Item, MonthBill, Period, amount, bill};
use crate::ped::{Cluster, Clusters, Deployment};
use crate::shown::Shown;
use crate::store::query::story::Told;
use crate::store::row::Bill;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The month, such as 2026-09, or last; without it the running one, with what it will come to
    #[arg(long, value_name = "MONTH")]
    month: Option<WantedMonth>,
    /// Only what this owner is charged
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: BillFormat,
    /// Make it final: what turns out otherwise later becomes a correction. Only of a month that is over
    #[arg(long, requires = "month", conflicts_with = "owner")]
    close: bool,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// How a bill is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BillFormat {
    /// For people
    Table,
    /// One object
    Json,
    /// A line of names, and one for each Deployment
    Csv,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell what is behind the bill of one Deployment: each interval, version and entry
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// The Deployment
    #[arg(value_name = "NAMESPACE/DEPLOYMENT", value_parser = parse_deployment)]
    deployment: Deployment,
    /// The month, such as 2026-09, or last; without it the running one
    #[arg(long, value_name = "MONTH")]
    month: Option<WantedMonth>,
    /// Only in this cluster: its name, or projects/PROJECT/locations/LOCATION/clusters/NAME
    #[arg(long, value_name = "CLUSTER", value_parser = parse_cluster)]
    cluster: Option<Clusters>,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) fn parse_deployment(text: &str) -> Result<Deployment, String> {
    match super::asked::parse_subject(text) {
        Ok((namespace, Some(deployment))) => Ok((namespace, deployment)),
        _ => Err("expected NAMESPACE/DEPLOYMENT".to_owned()),
    }
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    if let Some(Command::Explain(args)) = args.command {
        return explain(args, config, screen).await;
    }
    let period = period(config, args.month)?;
    let store = require_store(args.store, config, Access::Existing).await?;
    let platform_max = *config.policy.platform.end();
    let mut bill = bill(&*store, period, args.close, platform_max).await.map_err(usage)?;
    if let Some(owner) = &args.owner {
        let is_any = !bill.items.is_empty();
        bill.items.retain(|item| item.owner() == Some(owner));
        if bill.items.is_empty() && is_any && args.format == BillFormat::Table {
            let text = format!("nothing is billed to {} for {}\n", Shown(owner), bill.period.month);
            report::sentences(&text, screen)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    match args.format {
        BillFormat::Table => story(&bill, screen)?,
        BillFormat::Json => report::json_text(&format_args!("{}\n", as_json(&bill)))?,
        BillFormat::Csv => {
            let lines: Vec<Json> = bill.items.iter().map(|item| line(item, &bill.period)).collect();
            report::objects(&COLUMNS, &lines, RowsFormat::Csv)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A month as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedMonth {
    /// By its name.
    Named(Month),
    /// The one before the running one: what a schedule asks for.
    Last,
}

impl FromStr for WantedMonth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(WantedMonth::Last),
            name => name.parse().map(WantedMonth::Named).map_err(|wrong: String| format!("{wrong}, or last")),
        }
    }
}

pub(super) fn period(config: &Config, month: Option<WantedMonth>) -> Result<Period> {
    let now = Utc::now();
    let named = |wanted| match wanted {
        WantedMonth::Named(month) => Some(month),
        WantedMonth::Last => config.prices.month_at(now).map(Month::previous),
    };
    Period::new(&config.prices, month.and_then(named), now).map_err(usage)
}

/// What the caller has to put right, but for the store.
pub(super) fn usage(error: BillError) -> anyhow::Error {
    match error {
        BillError::Store(error) => error.into(),
        wrong => Usage(wrong.to_string()).into(),
    }
}

/// What a line has in CSV.
const COLUMNS: [&str; 25] = [
    "month",
    "timezone",
    "project_id",
    "location",
    "cluster_name",
    "namespace",
    "deployment_name",
    "owner",
    "fee",
    "currency",
    "state",
    "peak",
    "vcpu_millis",
    "memory_bytes",
    "basis",
    "peak_from",
    "peak_to",
    "peak_source",
    "base",
    "resources",
    "replica_hours",
    "sure",
    "expected",
    "at_most",
    "explanation",
];

fn line(item: &Item, period: &Period) -> Json {
    let Item { bill, forecast, .. } = item;
    let price = &period.price;
    let written = |micros: Option<i64>| micros.map(|micros| amount(micros).normalize().to_string());
    let forecast = |of: fn(&crate::billing::Forecast) -> Option<Decimal>| {
        forecast.as_ref().and_then(of).map(|fee| price.written(fee))
    };
    json!({
        "month": period.month.to_string(), "timezone": bill.timezone, "project_id": bill.project_id,
        "location": bill.location, "cluster_name": bill.cluster_name, "namespace": bill.namespace,
        "deployment_name": bill.deployment_name, "owner": item.owner(), "fee": fee(item, price),
        "currency": bill.currency, "state": item.state().to_string(), "peak": bill.peak, "vcpu_millis": bill.vcpu_millis,
        "memory_bytes": bill.memory_bytes, "basis": bill.basis.to_string(), "peak_from": bill.peak_from.map(id::time),
        "peak_to": bill.peak_to.map(id::time), "peak_source": bill.peak_source, "base": written(bill.base_micros),
        "resources": written(bill.resource_micros), "replica_hours": replica_hours(item),
        "sure": forecast(|forecast| forecast.sure), "expected": forecast(|forecast| forecast.expected),
        "at_most": forecast(|forecast| forecast.at_most), "explanation": reasons(item, price).join("\n"),
    })
}

fn fee(item: &Item, price: &Price) -> String {
    price.written(amount(item.charged_micros()))
}

fn replica_hours(item: &Item) -> String {
    (Decimal::from(item.replica_micros) / Decimal::from(3_600_000_000_i64)).round_dp(2).normalize().to_string()
}

/// The sentences of what it comes to now, and of what was corrected.
fn reasons(item: &Item, price: &Price) -> Vec<String> {
    let corrections = item.kept.iter().filter(|line| line.state == State::Correction).map(|line| {
        let difference = price.written(amount(line.fee_micros));
        let sign = if line.fee_micros > 0 { "+" } else { "" };
        format!("corrected by {sign}{difference} at {}, after the month was closed", report::short(line.computed_at))
    });
    item.bill.sentences().into_iter().chain(corrections).collect()
}

/// What each owner is charged, and for how many Deployments.
fn owners(items: &[Item]) -> BTreeMap<Option<&str>, (i64, usize)> {
    let mut owners: BTreeMap<Option<&str>, (i64, usize)> = BTreeMap::new();
    for item in items {
        let (micros, deployments) = owners.entry(item.owner()).or_default();
        *micros += item.charged_micros();
        *deployments += 1;
    }
    owners
}

fn total_micros(items: &[Item]) -> i64 {
    items.iter().map(Item::charged_micros).sum()
}

fn as_json(bill: &MonthBill) -> Json {
    let price = &bill.period.price;
    let owners = owners(&bill.items).into_iter().map(|(owner, (micros, deployments))| {
        json!({ "owner": owner, "fee": price.written(amount(micros)), "deployments": deployments })
    });
    json!({
        "month": bill.period.month.to_string(), "from": id::time(bill.period.from), "until": id::time(bill.period.until),
        "timezone": price.timezone.to_string(), "currency": price.currency, "basis": price.basis.to_string(),
        "price_version": bill.period.price_version, "closed_at": bill.closed_at.map(id::time),
        "total": price.written(amount(total_micros(&bill.items))), "owners": owners.collect::<Vec<_>>(),
        "lines": bill.items.iter().map(|item| with_sentences(item, &bill.period)).collect::<Vec<_>>(),
        "lines_added": bill.added,
    })
}

/// As [`line`], each sentence and each kept line apart.
fn with_sentences(item: &Item, period: &Period) -> Json {
    let mut line = line(item, period);
    let kept = item.kept.iter().map(|line| {
        json!({ "line_id": line.line_id, "state": line.state.to_string(), "corrects": line.corrects,
                "fee": period.price.written(amount(line.fee_micros)), "computed_at": id::time(line.computed_at) })
    });
    if let Some(line) = line.as_object_mut() {
        line.insert("explanation".to_owned(), reasons(item, &period.price).into());
        line.insert("kept".to_owned(), kept.collect());
    }
    line
}

fn cluster_of(item: &Item) -> Cluster<'_> {
    let [project, location, name, ..] = item.bill.place();
    Cluster { project, location, name }
}

fn subject(bill: &Bill) -> String {
    format!("{}/{}", bill.namespace, bill.deployment_name)
}

fn story(bill: &MonthBill, screen: Screen) -> Result<()> {
    let Period { month, price, .. } = &bill.period;
    if bill.items.is_empty() {
        let known = "by what is recorded no Deployment was there that concerns anybody";
        report::sentences(&format!("nothing is billed for {month}: {known}\n"), screen)?;
        return Ok(());
    }
    let state = match bill.closed_at {
        Some(at) => format!("closed at {}", report::short(at)),
        None if bill.period.is_running() => format!("running, as of {}", report::short(bill.period.now)),
        None => "over and not closed".to_owned(),
    };
    report::sentences(&format!("{month} ({}), {}, {state}\n\n", price.timezone, price.currency), screen)?;
    report::table(&table(bill), screen)?;
    let mut why = String::new();
    for item in &bill.items {
        why.push_str(&format!("\n{}: {}\n", subject(&item.bill), fee(item, price)));
        reasons(item, price).iter().for_each(|reason| why.push_str(&format!("  {reason}\n")));
    }
    report::sentences(&(why + "\n"), screen)?;
    report::table(&owners_table(bill), screen)
}

fn table(bill: &MonthBill) -> Table {
    let price = &bill.period.price;
    let mut table = Table::new([
        Column::new("cluster").only_if_several(),
        Column::new("deployment"),
        Column::new("owner").named(),
        Column::new("peak").named(),
        Column::new("of each").named(),
        Column::new("fee").named(),
        Column::new("expected").named().only_if_any(),
        Column::new("at most").named().only_if_any(),
        Column::new("replica-hours").named(),
        Column::new("state"),
    ]);
    let clusters = report::cluster_names(&bill.items, cluster_of);
    for item in &bill.items {
        let Bill { peak, vcpu_millis, memory_bytes, .. } = &item.bill;
        let each = vcpu_millis
            .zip(*memory_bytes)
            .map(|(vcpu_millis, memory_bytes)| resources(Replicas { max: 1, vcpu_millis, memory_bytes }));
        let forecast = |fee: Option<Decimal>| fee.map_or_else(String::new, |fee| price.written(fee));
        table.add_row([
            clusters(cluster_of(item)),
            subject(&item.bill),
            item.owner().unwrap_or_default().to_owned(),
            peak.map_or_else(String::new, |peak| peak.to_string()),
            each.unwrap_or_default(),
            fee(item, price),
            forecast(item.forecast.and_then(|forecast| forecast.expected)),
            forecast(item.forecast.and_then(|forecast| forecast.at_most)),
            replica_hours(item),
            item.state().to_string(),
        ]);
    }
    table
}

fn owners_table(bill: &MonthBill) -> Table {
    let price = &bill.period.price;
    let mut table =
        Table::new([Column::new("owner"), Column::new("deployments").named(), Column::new("charged").named()]);
    for (owner, (micros, deployments)) in owners(&bill.items) {
        let owner = owner.unwrap_or("(nobody)").to_owned();
        table.add_row([owner, deployments.to_string(), price.written(amount(micros))]);
    }
    let total = price.written(amount(total_micros(&bill.items)));
    table.add_row(["all".to_owned(), bill.items.len().to_string(), total]);
    table
}

async fn explain(args: ExplainArgs, config: &Config, screen: Screen) -> Result<ExitCode> {
    let period = period(config, args.month)?;
    let store = require_store(args.store, config, Access::Existing).await?;
    let story = period.story(&*store, std::slice::from_ref(&args.deployment)).await?;
    let clusters = args.cluster.unwrap_or(Clusters::Any);
    let is_wanted = |told: &Told<'_>| clusters.hold(cluster_of_told(told));
    let mut text = String::new();
    for told in story.deployments().filter(is_wanted) {
        text.push_str(&explanation(&period, &told));
    }
    if text.is_empty() {
        let (namespace, deployment) = &args.deployment;
        anyhow::bail!("nothing is known of {namespace}/{deployment} in {}", period.month);
    }
    report::sentences(&text, screen)?;
    Ok(ExitCode::SUCCESS)
}

fn cluster_of_told<'t>(told: &Told<'t>) -> Cluster<'t> {
    let (project, location) = (told.place.project_id.unwrap_or_default(), told.place.location.unwrap_or_default());
    Cluster { project, location, name: told.place.cluster_name }
}

fn explanation(period: &Period, told: &Told<'_>) -> String {
    let Period { month, price, .. } = period;
    let place = format!("{}/{} in {}", told.place.namespace, told.place.deployment_name, cluster_of_told(told));
    let Some(line) = period.line(told) else {
        return format!("{place}, {month}: not billed, it was not there, or is out of scope\n");
    };
    let explained = period.told(&line, told);
    let fee = line.fee().map_or_else(|| "nothing".to_owned(), |fee| price.written(fee.total));
    let Price { base, cpu, gb, divisor, currency, .. } = price;
    let mut text = format!("{place}, {month}: {fee} {currency} by {}\n", price.basis);
    if let Some(peak) = line.peak() {
        let each = resources(peak.replicas);
        text.push_str(&format!(
            "  {base} + ({cpu} a vCPU, {gb} a GiB, of {each}) × {} / {divisor} = {fee}\n",
            peak.replicas.max
        ));
    }
    let section = |heading: &str, sentences: Vec<String>| {
        let lines: String = sentences.iter().map(|sentence| format!("    {sentence}\n")).collect();
        format!("  {heading}\n{lines}")
    };
    text.push_str(&section("why", explained.sentences()));
    let stages = told.timeline.billed(period.from, period.known_until());
    text + &section("what was in force", explained.course(&stages))
}
