//! `pedwatch silence add|list|end|test`: for some time, nobody is told of some things.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::{DateTime, Duration, Utc};

use super::ledger::{require_ledger, require_noting};
use super::table::{Column, Screen, Table};
use super::{Access, RowsFormat, Usage, parse_time, parse_told, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::notify::ledger::{Ledger, Wanted};
use crate::notify::matcher::{About, Field, Matcher, Matchers};
use crate::notify::notice::State;
use crate::notify::open;
use crate::notify::silence::{self, Draft, Silence};
use crate::ped::limits::Limits;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Hold back for some time what matches; facts, incidents and bills go on
    Add {
        /// What it is for, such as namespace=payments* rule=over_limit cluster=!prod-1
        #[arg(required = true, value_name = "FIELD=PATTERN", value_parser = parse_matcher)]
        matchers: Vec<Matcher>,
        /// How long (such as 90m, 2h or 3d), 30 days at most
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, conflicts_with = "until", required_unless_present = "until")]
        lasts: Option<Duration>,
        /// Until when
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        until: Option<DateTime<Utc>>,
        /// From when on; now, if not given
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        from: Option<DateTime<Utc>>,
        /// Who makes it
        #[arg(long, value_name = "WHO", value_parser = parse_told)]
        by: String,
        /// Why
        #[arg(long, value_name = "WHY", value_parser = parse_told)]
        reason: String,
        /// Where more is said
        #[arg(long, value_name = "REF")]
        ticket: Option<String>,
    },
    /// List the silences that have not ended, with how many notices they hold back
    List {
        /// How to print them
        #[arg(long, value_enum, default_value = "table")]
        format: RowsFormat,
    },
    /// End one before its time: what is open under it is told
    End {
        /// Its id
        id: String,
        /// Who ends it
        #[arg(long, value_name = "WHO", value_parser = parse_told)]
        by: String,
    },
    /// List what is open now and would be held back
    Test {
        /// As for `add`
        #[arg(required = true, value_name = "FIELD=PATTERN", value_parser = parse_matcher)]
        matchers: Vec<Matcher>,
        /// Where facts are kept; owners stand in the PEDs there
        #[arg(long, value_name = STORE_URL)]
        store: Option<StoreUrl>,
    },
}

fn parse_matcher(text: &str) -> Result<Matcher, String> {
    let (field, pattern) = text.split_once('=').ok_or("expected FIELD=PATTERN, such as namespace=payments*")?;
    Matcher::read(field.parse::<Field>().map_err(|error| error.to_string())?, pattern)
}

/// A number and `m`, `h` or `d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is no duration; expected a number and m, h or d, such as 90m");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wanted)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    let number: u32 = number.parse().map_err(|_| wanted())?;
    Ok(Duration::seconds(i64::from(number) * seconds))
}

pub(super) async fn run(command: Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    let now = Utc::now();
    match command {
        Command::Add { matchers, lasts, until, from, by, reason, ticket } => {
            let starts_at = from.unwrap_or(now);
            let ends_at = until.or(lasts.map(|lasts| starts_at + lasts)).unwrap_or(starts_at);
            let draft = Draft { matchers, starts_at, ends_at, reason, created_by: by, ticket };
            let silence = Silence::new(draft, now).map_err(|faults| Usage(faults.join("\n")))?;
            silence::add(&*require_ledger(config, Access::OrNew).await?, &silence)
                .await
                .context("it may not be kept")?;
            report::text(&format!("{} until {} UTC\n", silence.silence_id, report::short(ends_at)))?;
        }
        Command::List { format } => {
            list(&*require_ledger(config, Access::Existing).await?, format, screen, now).await?
        }
        Command::End { id, by } => {
            let ended = silence::end(&*require_ledger(config, Access::Existing).await?, &id, &by, now).await;
            if ended.context("it may not have ended")?.is_none() {
                return Err(Usage(format!("there is no silence {id} to end; see pedwatch silence list")).into());
            }
            report::text("ended; what is open under it is told by serve, pull or notify\n")?;
        }
        Command::Test { matchers, store } => {
            let held = test(matchers, store, config, now).await?;
            let lines: String = held.iter().map(|line| format!("{line}\n")).collect();
            report::text(if held.is_empty() { "nothing that is open\n" } else { &lines })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(ledger: &dyn Ledger, format: RowsFormat, screen: Screen, now: DateTime<Utc>) -> Result<()> {
    let mut silences = silence::standing(ledger, now).await.context(UNREAD)?;
    silences.sort_by_key(|silence| (silence.ends_at, silence.silence_id.clone()));
    let held = ledger.notices(Wanted::State(State::Silenced), u32::MAX >> 1).await.context(UNREAD)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for id in held.iter().filter_map(|notice| notice.content.silence_id.as_deref()) {
        *counts.entry(id).or_default() += 1;
    }
    let count = |silence: &Silence| counts.get(silence.silence_id.as_str()).copied().unwrap_or_default();
    if format != RowsFormat::Table {
        let object = |silence: &Silence| {
            let mut object = serde_json::to_value(silence)?;
            if let Some(object) = object.as_object_mut() {
                object.insert("held_back".to_owned(), count(silence).into());
            }
            Ok(object)
        };
        let objects = silences.iter().map(object).collect::<Result<Vec<_>>>()?;
        let names = [
            "silence_id",
            "starts_at",
            "ends_at",
            "matchers",
            "reason",
            "created_by",
            "created_at",
            "ticket",
            "held_back",
        ];
        return report::objects(&names, &objects, format);
    }
    let mut table = Table::new([
        Column::new("id"),
        Column::new("from (UTC)"),
        Column::new("until (UTC)"),
        Column::new("what"),
        Column::new("held back").named(),
        Column::new("by").named(),
        Column::new("why").prose(),
    ]);
    for silence in &silences {
        let what: Vec<String> = silence.matchers.iter().map(Matcher::to_string).collect();
        let [from, until] = [silence.starts_at, silence.ends_at].map(report::short);
        let (by, why) = (silence.created_by.clone(), silence.reason.clone());
        table.add_row([silence.silence_id.clone(), from, until, what.join(" "), count(silence).to_string(), by, why]);
    }
    if silences.is_empty() { report::text("no silences\n") } else { report::table(&table, screen) }
}

const UNREAD: &str = "the ledger cannot be read";

/// What is open and matches.
async fn test(
    matchers: Vec<Matcher>,
    store: Option<StoreUrl>,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let asks_for_owner = matchers.iter().any(|matcher| matcher.field == Field::Owner);
    let matchers = Matchers::new(matchers);
    let telling = require_noting(config).await?;
    let store = if asks_for_owner { Some(require_store(store, config, Access::Existing).await?) } else { None };
    let limits = match &store {
        Some(store) => Limits::new(store.claims(None).await?),
        None => Limits::default(),
    };
    let mut held = Vec::new();
    for document in open::documents(&*telling.ledger).await.context(UNREAD)? {
        let deployment = &document.deployment;
        let version = match &store {
            Some(store) => telling.at(now, &config.policy, &**store, &limits).version(deployment).await?,
            None => None,
        };
        let owner = version.as_ref().map(|version| version.terms.owner.as_str());
        for incident in document.incidents() {
            let about = About { rule: incident.rule, severity: incident.severity, deployment, owner };
            if matchers.misses(&about).is_none() {
                held.push(format!(
                    "{} {}/{} in {}",
                    incident.rule, deployment.namespace, deployment.name, deployment.cluster
                ));
            }
        }
    }
    Ok(held)
}
