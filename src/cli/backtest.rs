//! `pedwatch backtest`: what would have been with other limits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Result;
use chrono::{DateTime, Duration, Utc};
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use super::peds::{PedPath, peds_to_register};
use super::table::{Column, Screen, Table};
use super::{Access, RowsFormat, Usage, check_span, parse_time, report, require_store};
use crate::backtest::{Outcome, RULES};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::backtest::{Compared, Suppose, backtest};
use crate::ped::Deployment;
use crate::ped::version::{Addition, additions};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Suppose that the platform allows so many replicas at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=i64::from(i32::MAX)))]
    platform_max: Option<i64>,
    /// Suppose another limit of a Deployment, whatever was in force; may be given several times
    #[arg(long = "limit", value_name = "NAMESPACE/DEPLOYMENT=N")]
    limits: Vec<Limit>,
    /// Suppose these PED files or folders in the place of all versions of their Deployments, from the beginning
    #[arg(long, value_name = "PATH")]
    ped: Vec<PathBuf>,
    /// What happened from then on
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: DateTime<Utc>,
    /// Until then; without it until now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// Where facts are kept; none is touched
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// `NAMESPACE/DEPLOYMENT=N`.
#[derive(Debug, Clone)]
struct Limit(Deployment, i64);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (deployment, max) = text.split_once('=')?;
            let deployment = super::bill::parse_deployment(deployment).ok()?;
            Some(Limit(deployment, max.parse().ok().filter(|max| (0..=i64::from(i32::MAX)).contains(max))?))
        };
        parsed().ok_or_else(|| "expected NAMESPACE/DEPLOYMENT=N".to_owned())
    }
}

/// Before all that can have happened.
const BEGINNING: DateTime<Utc> = DateTime::UNIX_EPOCH;

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    let to = args.to.unwrap_or_else(Utc::now);
    check_span(["--from", "--to"], Some(id::time(args.from)), Some(id::time(to)))?;
    if args.platform_max.is_none() && args.limits.is_empty() && args.ped.is_empty() {
        return Err(Usage("no other limit is given; expected --platform-max, --limit or --ped".to_owned()).into());
    }
    let peds: Vec<PedPath> = args.ped.iter().map(|path| PedPath { from: BEGINNING, path: path.clone() }).collect();
    let supposed = additions(&peds_to_register(&peds, config, BEGINNING)?, Vec::new());
    let suppose = Suppose {
        platform_max: args.platform_max,
        limits: args.limits.into_iter().map(|Limit(deployment, max)| (deployment, max)).collect::<HashMap<_, _>>(),
        versions: supposed.iter().flat_map(Addition::versions).cloned().collect(),
    };
    let store = require_store(args.store, config, Access::Existing).await?;
    let compared = backtest(&*store, &config.policy, &config.prices, &suppose, (args.from, to)).await?;
    let is_there = |(namespace, name): &Deployment| {
        compared.iter().any(|one| one.namespace == **namespace && one.deployment_name == **name)
    };
    for (namespace, name) in suppose.named().filter(|named| !is_there(named)) {
        report::note(&format!("nothing is known of {namespace}/{name} in that time, so another limit changes nothing"));
    }
    match args.format {
        RowsFormat::Table if compared.is_empty() => report::text("nothing happened then\n")?,
        RowsFormat::Table => report::table(&table(&compared), screen)?,
        format => report::objects(&COLUMNS, &compared.iter().map(as_json).collect::<Vec<_>>(), format)?,
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [&str; 19] = [
    "project_id",
    "location",
    "cluster_name",
    "namespace",
    "deployment_name",
    "over_limit_was",
    "over_limit",
    "outside_platform_range_was",
    "outside_platform_range",
    "unregistered_was",
    "unregistered",
    "first_alert_was",
    "first_alert",
    "breaches_was",
    "breaches",
    "seconds_over_was",
    "seconds_over",
    "fee_difference",
    "alerts",
];

fn first(outcome: &Outcome) -> Option<String> {
    outcome.alerts.first().map(|(at, _)| id::time(*at))
}

fn seconds(outcome: &Outcome) -> i64 {
    outcome.over_micros / 1_000_000
}

fn as_json(compared: &Compared) -> Json {
    let Compared { cluster: [project, location, name], was, would_be, .. } = compared;
    let mut row = json!({
        "project_id": project, "location": location, "cluster_name": name, "namespace": compared.namespace,
        "deployment_name": compared.deployment_name, "first_alert_was": first(was), "first_alert": first(would_be),
        "breaches_was": was.breaches, "breaches": would_be.breaches, "seconds_over_was": seconds(was),
        "seconds_over": seconds(would_be), "fee_difference": money(compared.fee_difference),
        "alerts": would_be.alerts.len(),
    });
    if let Some(row) = row.as_object_mut() {
        for rule in RULES {
            row.insert(format!("{rule}_was"), was.count(rule).into());
            row.insert(rule.to_string(), would_be.count(rule).into());
        }
    }
    row
}

fn money(amount: Decimal) -> String {
    amount.normalize().to_string()
}

fn signed(amount: Decimal) -> String {
    if amount > Decimal::ZERO { format!("+{}", money(amount)) } else { money(amount) }
}

fn table(compared: &[Compared]) -> Table {
    let mut table = Table::new([
        Column::new("cluster").only_if_several(),
        Column::new("deployment"),
        Column::new("alerts").named(),
        Column::new("first alert (UTC)").named(),
        Column::new("times over").named(),
        Column::new("over for").named(),
        Column::new("fees").named(),
    ]);
    let clusters = report::cluster_names(compared, Compared::cluster);
    let turned = |was: String, would_be: String| if was == would_be { was } else { format!("{was} → {would_be}") };
    let row = |cluster: String, name: String, was: &Outcome, would_be: &Outcome, fee: Decimal| {
        let over = |outcome: &Outcome| super::asked::long(Duration::microseconds(outcome.over_micros));
        [
            cluster,
            name,
            turned(was.alerts.len().to_string(), would_be.alerts.len().to_string()),
            would_be.alerts.first().map_or_else(String::new, |(at, _)| report::short(*at)),
            turned(was.breaches.to_string(), would_be.breaches.to_string()),
            turned(over(was), over(would_be)),
            signed(fee),
        ]
    };
    let (mut was, mut would_be, mut fee) = (Outcome::default(), Outcome::default(), Decimal::ZERO);
    for one in compared {
        let name = format!("{}/{}", one.namespace, one.deployment_name);
        table.add_row(row(clusters(one.cluster()), name, &one.was, &one.would_be, one.fee_difference));
        add(&mut was, &one.was);
        add(&mut would_be, &one.would_be);
        fee += one.fee_difference;
    }
    table.add_row(row(String::new(), "all".to_owned(), &was, &would_be, fee));
    table
}

fn add(all: &mut Outcome, one: &Outcome) {
    all.alerts.extend(one.alerts.iter().copied());
    all.alerts.sort_unstable();
    all.breaches += one.breaches;
    all.over_micros += one.over_micros;
}
