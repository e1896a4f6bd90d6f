//! `pedwatch ped diff`: what a pull request changes, for whom decides about it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use chrono::Utc;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use super::super::peds::{is_yaml, read_peds};
use super::super::table::{Column, Screen, Table};
use super::super::{Access, report, require_store};
use super::faults::FaultFormat;
use super::valid;
use crate::billing::{Price, Prices, Replicas, fee};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::diff::{Difference, Field, differences};
use crate::ped::{Clusters, Ped};
use crate::shown::Shown;
use crate::source::files;
use crate::store::Store;
use crate::store::query::{self, About};
use crate::store::row::Standing;
use crate::timeline::Resources;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The PEDs as they were: a file, or a folder (which may be empty)
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The PEDs as they are to be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Where facts are kept: tells what runs now, and what is over the new limit
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// How differences are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For the summary of a job or a comment on a pull request
    Markdown,
    /// One array of objects
    Json,
}

/// A difference, what it costs, and how it stands.
struct Told<'p> {
    difference: Difference<'p>,
    fields: Vec<Field>,
    /// The fee of a month before and after, by the limit, in the currency of the price.
    fees: [Option<Decimal>; 2],
    /// The most that its Deployment, or an HPA of it, asks for now in any cluster.
    asked: Option<i64>,
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    let old = before(&args.old, config)?;
    // Where the last PED was taken out, all are gone; where there was none before, the folder is the wrong one.
    let is_empty = args.new.is_dir() && files::expand_to(std::slice::from_ref(&args.new), is_yaml)?.is_empty();
    let new = match is_empty && !old.is_empty() {
        true => Some(Vec::new()),
        false => valid(std::slice::from_ref(&args.new), config, FaultFormat::Text, screen)?,
    };
    let Some(new) = new else { return Ok(ExitCode::FAILURE) };
    let new: Vec<Ped> = new.into_iter().map(|located| located.ped).collect();
    let asked = match &args.store {
        Some(_) => asked(&*require_store(args.store, config, Access::Existing).await?).await?,
        None => HashMap::new(),
    };
    let price = price_now(&config.prices);
    let told = differences(&old, &new).into_iter().map(|difference| {
        let fee = |ped: Option<&Ped>| fee_of(price?, ped?);
        let fees = [fee(difference.before), fee(difference.after)];
        let subject = difference.subject;
        let asked = asked.get(&(subject.namespace.clone(), subject.deployment.clone())).copied();
        Told { fields: difference.fields(), fees, asked, difference }
    });
    let told: Vec<Told<'_>> = told.collect();
    match args.format {
        Format::Table if told.is_empty() => report::text("no PED changes\n")?,
        Format::Table => report::table(&table(&told, price), screen)?,
        Format::Markdown => report::text(&markdown(&told, price))?,
        Format::Json => report::json_text(&Json::from(told.iter().map(|told| json(told, price)).collect::<Vec<_>>()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The PEDs as they were; a folder without any is a side without any. Who repairs a fault is told what else changes: files with
/// faults count as not there.
fn before(path: &Path, config: &Config) -> Result<Vec<Ped>> {
    let files = files::expand_to(&[path.to_owned()], is_yaml)?;
    let mut peds = Vec::new();
    for file in &files {
        match read_peds(std::slice::from_ref(file), config) {
            Ok(Ok(located)) => peds.extend(located.into_iter().map(|located| located.ped)),
            _ => report::note(&format!("{} had faults, and counts as not there", Shown(file.display()))),
        }
    }
    Ok(peds)
}

/// What each Deployment asks for now.
async fn asked(store: &dyn Store) -> Result<HashMap<(String, String), i64>> {
    let mut asked = HashMap::new();
    for Standing { namespace, deployment_name, replicas, hpa_max_replicas, .. } in
        query::status(store, &About::ALL, Utc::now()).await?
    {
        if let Some(most) = replicas.max(hpa_max_replicas) {
            let known = asked.entry((namespace, deployment_name)).or_insert(most);
            *known = most.max(*known);
        }
    }
    Ok(asked)
}

fn price_now(prices: &Prices) -> Option<&Price> {
    Some(prices.of(prices.month_at(Utc::now())?)?.1)
}

/// What a month costs where the limit is what is charged; `None` where the PED leaves out what has a price.
fn fee_of(price: &Price, ped: &Ped) -> Option<Decimal> {
    let replicas = Replicas::of(ped.terms.max_replicas, Resources::of(&ped.terms), price)?;
    fee(price, replicas).ok().map(|fee| fee.total)
}

impl Told<'_> {
    fn kind(&self) -> &'static str {
        match (self.difference.before, self.difference.after) {
            (None, _) => "new",
            (_, None) => "gone",
            _ => "changed",
        }
    }

    fn max(ped: Option<&Ped>) -> String {
        ped.and_then(|ped| ped.terms.max_replicas).map_or_else(|| "-".to_owned(), |max| max.to_string())
    }

    fn limit(&self) -> String {
        let (before, after) = (Self::max(self.difference.before), Self::max(self.difference.after));
        if before == after { after } else { format!("{before} → {after}") }
    }

    /// What else is different, where both sides are there.
    fn rest(&self) -> String {
        if self.kind() == "gone" {
            return "taking out the file retires nothing: pedwatch ped remove does".to_owned();
        }
        let mut lines = Vec::new();
        for Field { key, before, after } in self.fields.iter().filter(|field| field.key != "maxReplicas") {
            match (before, after) {
                (Some(before), Some(after)) if before == after => lines.push(format!("{key}: another")),
                (Some(before), Some(after)) => lines.push(format!("{key}: {before} → {after}")),
                (None, Some(after)) if self.kind() == "changed" => lines.push(format!("{key}: {after}")),
                (Some(before), None) => lines.push(format!("{key}: {before} → none")),
                _ => {}
            }
        }
        lines.join("; ")
    }

    fn fee(&self, price: Option<&Price>) -> String {
        let Some(price) = price else { return String::new() };
        let written = |fee: Option<Decimal>| fee.map_or_else(|| "-".to_owned(), |fee| price.written(fee));
        match self.fees {
            [before, after] if before == after => written(after),
            [before, after] => format!("{} → {} {}", written(before), written(after), price.currency),
        }
    }

    fn is_over(&self) -> bool {
        let max = self.difference.after.and_then(|ped| ped.terms.max_replicas);
        max.zip(self.asked).is_some_and(|(max, asked)| asked > max)
    }

    fn now(&self) -> String {
        match self.asked {
            Some(asked) if self.is_over() => format!("{asked}, over the new limit"),
            Some(asked) => asked.to_string(),
            None => String::new(),
        }
    }
}

const HEADINGS: [&str; 6] = ["PED", "limit", "fee a month", "asked for now", "what else", "change"];

fn cells(told: &Told<'_>, price: Option<&Price>) -> [String; 6] {
    let name = told.difference.subject.to_string();
    [name, told.limit(), told.fee(price), told.now(), told.rest(), told.kind().to_owned()]
}

fn table(told: &[Told<'_>], price: Option<&Price>) -> Table {
    let [name, limit, fee, now, rest, kind] = HEADINGS.map(Column::new);
    let mut table = Table::new([name, limit, fee, now.only_if_any(), rest.prose().only_if_any(), kind]);
    told.iter().for_each(|told| table.add_row(cells(told, price)));
    table
}

/// A table as GitHub shows it.
fn markdown(told: &[Told<'_>], price: Option<&Price>) -> String {
    if told.is_empty() {
        return "No PED changes.\n".to_owned();
    }
    let mut lines = format!("| {} |\n|{}\n", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for told in told {
        let cells = cells(told, price).map(|cell| escaped(&Shown(cell).to_string()));
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "| {} |", cells.join(" | "));
    }
    let over = told.iter().filter(|told| told.is_over()).count();
    if over > 0 {
        let _ = writeln!(lines, "\n**{over} would be over the new limit at once.**");
    }
    lines
}

/// Text that is nothing else in Markdown.
fn escaped(text: &str) -> String {
    let is_mark = |c: char| "\\`*_{}[]<>()#+!|~@&".contains(c);
    text.chars().flat_map(|c| is_mark(c).then_some('\\').into_iter().chain([c])).collect()
}

fn json(told: &Told<'_>, price: Option<&Price>) -> Json {
    let Difference { subject, before, after } = &told.difference;
    let max = |ped: &Option<&Ped>| ped.and_then(|ped| ped.terms.max_replicas);
    let fees = told.fees.map(|fee| price.and_then(|price| fee.map(|fee| price.written(fee))));
    let fields: Vec<Json> = told
        .fields
        .iter()
        .map(|Field { key, before, after }| json!({"key": key, "before": before, "after": after}))
        .collect();
    json!({
        "namespace": subject.namespace, "deployment": subject.deployment,
        "cluster": (subject.clusters != Clusters::Any).then(|| subject.clusters.to_string()), "kind": told.kind(),
        "max_replicas_before": max(before), "max_replicas_after": max(after), "fee_before": fees[0], "fee_after": fees[1],
        "currency": price.map(|price| &price.currency), "asked_now": told.asked, "over_new_limit": told.is_over(),
        "fields": fields,
    })
}
