//! `pedwatch ped validate|diff|init|register|remove|list|history|policy|schema`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use faults::FaultFormat;

use super::asked::parse_cluster;
use super::ledger::{limits_turned, open_noting};
use super::peds::{read_peds, stdin_once};
use super::table::{Column, Screen, Table};
use super::{Access, RowsFormat, Usage, parse_effect, parse_told, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::names::Named;
use crate::ped::retirement::{Retired, Retirement};
use crate::ped::standing::{Standing, standings};
use crate::ped::version::{Addition, Registration, Version, history};
use crate::ped::{Clusters, Located, SCHEMA, Subject};
use crate::pipeline::incidents::namespaces_of;
use crate::pipeline::register;
use crate::shown::Shown;
use crate::store::RetireError;
use crate::store::row::{self, DeploymentConfig};

mod diff;
mod faults;
mod init;
mod policy;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check PED files, and report every fault with its place and what would be right
    Validate {
        /// PED files, folders of them (with their subfolders), or - for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How to print the faults
        #[arg(long, value_enum, default_value = "text")]
        format: FaultFormat,
    },
    /// Show what a change of PED files changes: limits, fees, and who would be over
    Diff(diff::Args),
    /// Write a PED file for each Deployment that runs, with what it may come to today as its limit: for review
    Init(init::Args),
    /// Append the versions in these files to what is registered, unless nothing changed
    Register(Register),
    /// Retire a PED: append a version without a maximum
    Remove(Remove),
    /// Show the version of each Deployment now, and the exceptions that are in force or to come
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show every version of one Deployment, and every exception
    History {
        /// The Deployment
        #[arg(value_name = "NAMESPACE/DEPLOYMENT", value_parser = parse_name)]
        deployment: (String, String),
        #[command(flatten)]
        output: Output,
    },
    /// Print an admission policy that holds the limits in force: for Deployments, /scale and the maxima of HPAs
    Policy(policy::Args),
    /// Print the JSON Schema of a PED file, for editors
    Schema,
}

#[derive(Debug, clap::Args)]
pub(super) struct Register {
    /// PED files, folders of them (with their subfolders), or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Who registers them
    #[arg(long, value_name = "WHO", value_parser = parse_told)]
    updated_by: String,
    /// Why
    #[arg(long, value_name = "WHY", value_parser = parse_told)]
    reason: String,
    /// From when they apply (such as 2026-09-11, 2026-09-11T08:00Z or today); now, if not given
    #[arg(long, value_name = "TIME", value_parser = parse_effect, allow_hyphen_values = true)]
    effective_at: Option<DateTime<Utc>>,
    /// Where they come from, such as a commit; the file's name is added
    #[arg(long, value_name = "REF")]
    source: Option<String>,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The Deployment
    #[arg(value_name = "NAMESPACE/DEPLOYMENT", value_parser = parse_name)]
    deployment: (String, String),
    /// The clusters that its PED names; if not given, that of any cluster is retired
    #[arg(long, value_name = "CLUSTER", value_parser = parse_cluster)]
    cluster: Option<Clusters>,
    /// Who retires it
    #[arg(long, value_name = "WHO", value_parser = parse_told)]
    updated_by: String,
    /// Why
    #[arg(long, value_name = "WHY", value_parser = parse_told)]
    reason: String,
    /// From when on it is retired; now, if not given
    #[arg(long, value_name = "TIME", value_parser = parse_effect)]
    effective_at: Option<DateTime<Utc>>,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// Show the values of environment variables too
    #[arg(long)]
    environment: bool,
}

fn parse_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("expected NAMESPACE/DEPLOYMENT".to_owned()),
    }
}

pub(super) async fn run(command: Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    match command {
        Command::Validate { files, format } => {
            return Ok(match valid(&files, config, format, screen)? {
                Some(_) if format == FaultFormat::Sarif => ExitCode::SUCCESS,
                Some(peds) => {
                    let exceptions: usize = peds.iter().map(|located| located.ped.exceptions.len()).sum();
                    let with = match exceptions {
                        0 => String::new(),
                        1 => ", with 1 exception".to_owned(),
                        many => format!(", with {many} exceptions"),
                    };
                    report::text(&format!("{} valid{with}\n", peds.len()))?;
                    ExitCode::SUCCESS
                }
                None => ExitCode::FAILURE,
            });
        }
        Command::Diff(args) => return diff::run(args, config, screen).await,
        Command::Init(args) => return init::run(args, config).await,
        Command::Policy(args) => return policy::run(args, config).await,
        Command::Register(args) => return register(args, config, screen).await,
        Command::Remove(args) => return remove(args, config, screen).await,
        Command::List { output } => {
            let store = require_store(output.store.clone(), config, Access::Existing).await?;
            let versions = history(store.versions(None).await?);
            let mut shown = with_standings(versions);
            shown.retain(|(version, standing)| is_listed(version, *standing));
            print(shown, &output, screen)?;
        }
        Command::History { deployment: (namespace, name), output } => {
            let wanted = [(namespace.clone(), name.clone())];
            let versions = history(
                require_store(output.store.clone(), config, Access::Existing).await?.versions(Some(&wanted)).await?,
            );
            if versions.is_empty() {
                return Err(
                    Usage(format!("nothing is registered for {namespace}/{name}; see pedwatch ped list")).into()
                );
            }
            print(with_standings(versions), &output, screen)?;
        }
        Command::Schema => report::text(SCHEMA)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The PEDs, or `None` after all faults were printed.
fn valid(files: &[PathBuf], config: &Config, format: FaultFormat, screen: Screen) -> Result<Option<Vec<Located>>> {
    stdin_once(files)?;
    let read = read_peds(files, config)?;
    let (peds, faults) = match read {
        Ok(peds) => (Some(peds), Vec::new()),
        Err(faults) => (None, faults),
    };
    match format {
        FaultFormat::Text => drop(report::sentences(&faults::text(&faults), screen)?),
        FaultFormat::Github => report::text(&faults::annotations(&faults))?,
        FaultFormat::Sarif => report::text(&format!("{}\n", faults::sarif(&faults)))?,
    }
    Ok(peds)
}

async fn register(args: Register, config: &Config, screen: Screen) -> Result<ExitCode> {
    // First, because what is refused is to leave nothing behind.
    let Some(peds) = valid(&args.files, config, FaultFormat::Text, screen)? else { return Ok(ExitCode::FAILURE) };
    let (telling, now) = (open_noting(config).await?, Utc::now());
    let store = require_store(args.store.clone(), config, Access::OrNew).await?;
    let (mended, mut raised) = register::mend(&*store, &config.policy, now).await?;
    let subjects: Vec<Subject> = peds.iter().map(|located| located.ped.subject.clone()).collect();
    let registrations = peds.into_iter().map(|located| registration(located, &args, now)).collect();
    let registered = register::register(&*store, &config.policy, registrations, now).await?;
    raised.extend(registered.raised);
    let added = registered.additions.iter().flat_map(Addition::versions).chain(&mended).map(|version| &version.subject);
    limits_turned(telling, &*store, config, namespaces_of(added), now).await?;
    let mut lines = String::new();
    tell_mended(&mut lines, mended.len());
    for (subject, addition) in subjects.iter().zip(&registered.additions) {
        tell(&mut lines, subject, addition);
    }
    tell_raised(&mut lines, raised.len());
    report::sentences(&lines, screen)?;
    Ok(ExitCode::SUCCESS)
}

/// What one PED added.
fn tell(lines: &mut String, subject: &Subject, Addition { version, exceptions }: &Addition) {
    let subject = Shown(subject);
    // Writing to a String cannot fail.
    let _ = match version {
        None if exceptions.is_empty() => writeln!(lines, "{subject}: unchanged, nothing to register"),
        None => Ok(()),
        Some(version) => writeln!(
            lines,
            "{subject}: at most {} replicas from {} (first applied for {})",
            version.terms.max_replicas.unwrap_or_default(),
            id::time(version.effective_at),
            version.initial_max_replicas
        ),
    };
    for exception in exceptions {
        let _ = writeln!(lines, "{subject}: {}", Shown(exception_line(exception)));
    }
}

fn exception_line(exception: &Version) -> String {
    let from = id::time(exception.effective_at);
    match (exception.until, exception.terms.max_replicas, &exception.reason) {
        (Some(until), Some(max), reason) if until > exception.effective_at => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("exception of at most {max} replicas from {from} until {}{reason}", id::time(until))
        }
        _ => format!("exception from {from} is withdrawn"),
    }
}

pub(super) fn tell_mended(lines: &mut String, mended: usize) {
    if mended > 0 {
        let _ = writeln!(lines, "{mended} versions were registered and not yet in the store; they are now");
    }
}

fn tell_raised(lines: &mut String, raised: usize) {
    if raised > 0 {
        let _ = writeln!(lines, "{raised} alerts were raised by it; `pedwatch alerts` shows them");
    }
}

async fn remove(args: Remove, config: &Config, screen: Screen) -> Result<ExitCode> {
    let telling = open_noting(config).await?;
    let store = require_store(args.store, config, Access::Existing).await?;
    let now = Utc::now();
    let (namespace, deployment) = args.deployment;
    let retirement = Retirement {
        subject: Subject { namespace, deployment, clusters: args.cluster.unwrap_or(Clusters::Any) },
        effective_at: args.effective_at.unwrap_or(now),
        now,
        updated_by: args.updated_by,
        reason: args.reason,
    };
    let (mended, mut raised) = register::mend(&*store, &config.policy, now).await?;
    let (retired, by_it) = match register::retire(&*store, &config.policy, &retirement).await {
        Err(RetireError::NotRegistered { elsewhere }) => {
            return Err(not_registered(&retirement.subject, &elsewhere).into());
        }
        retired => retired?,
    };
    raised.extend(by_it);
    let turned = namespaces_of(mended.iter().map(|version| &version.subject).chain([&retirement.subject]));
    limits_turned(telling, &*store, config, turned, now).await?;
    let mut lines = String::new();
    tell_mended(&mut lines, mended.len());
    tell_retired(&mut lines, &retirement.subject, &retired);
    tell_raised(&mut lines, raised.len());
    report::sentences(&lines, screen)?;
    Ok(ExitCode::SUCCESS)
}

fn tell_retired(lines: &mut String, subject: &Subject, Retired { versions, next }: &Retired) {
    let subject = Shown(subject);
    // Writing to a String cannot fail.
    for version in versions {
        let _ = match version.until {
            None => writeln!(lines, "{subject}: retired from {}", id::time(version.effective_at)),
            Some(_) => writeln!(lines, "{subject}: {}", Shown(exception_line(version))),
        };
    }
    if versions.is_empty() {
        let _ = writeln!(lines, "{subject}: nothing is in force then, nothing to remove");
    }
    if let Some(next) = next.map(id::time) {
        let _ = writeln!(lines, "{subject}: the version from {next} stays; remove it with --effective-at {next}");
    }
}

/// `elsewhere` are the scopes in which there is something.
fn not_registered(subject: &Subject, elsewhere: &BTreeSet<Clusters>) -> Usage {
    let anywhere = if subject.clusters == Clusters::Any { " in any cluster" } else { "" };
    let flags: Vec<String> = elsewhere
        .iter()
        .map(|clusters| match clusters {
            Clusters::Any => "no --cluster".to_owned(),
            clusters => format!("--cluster {clusters}"),
        })
        .collect();
    let expected = match flags.is_empty() {
        true => "see pedwatch ped list".to_owned(),
        false => format!("expected {}", flags.join(" or ")),
    };
    Usage(format!("nothing is registered for {subject}{anywhere}; {expected}"))
}

fn registration(Located { ped, file, .. }: Located, args: &Register, now: DateTime<Utc>) -> Registration {
    let source = args.source.iter().cloned().chain([file.display().to_string()]).collect::<Vec<_>>().join(":");
    Registration {
        ped,
        effective_at: args.effective_at.unwrap_or(now),
        explicit: args.effective_at.is_some(),
        now,
        updated_by: args.updated_by.clone(),
        reason: Some(args.reason.clone()),
        source: Some(source),
    }
}

/// Versions and where they stand now. All those of a scope are among them.
fn with_standings(versions: Vec<Version>) -> Vec<(Version, Standing)> {
    let standings = standings(&versions, Utc::now());
    versions.into_iter().zip(standings).collect()
}

/// Whether a version is what there is now of its scope, or an exception that is to come.
fn is_listed(version: &Version, standing: Standing) -> bool {
    match standing {
        Standing::InForce | Standing::BelowException => true,
        Standing::ToCome => version.until.is_some(),
        Standing::Ended | Standing::Withdrawn | Standing::Replaced => false,
    }
}

fn print(mut versions: Vec<(Version, Standing)>, output: &Output, screen: Screen) -> Result<()> {
    if !output.environment {
        let hidden = |(version, standing): (Version, _)| (version.without_environment(), standing);
        versions = versions.into_iter().map(hidden).collect();
    }
    if output.format != RowsFormat::Table {
        let object = |(version, standing): &(Version, Standing)| {
            let mut object = row::json(&DeploymentConfig::from(version));
            object.insert("standing".to_owned(), standing.as_str().into());
            object.into()
        };
        let mut names = report::names::<DeploymentConfig>();
        names.push("standing");
        return report::objects(&names, &versions.iter().map(object).collect::<Vec<_>>(), output.format);
    }
    let mut table = Table::new([
        Column::new("deployment"),
        Column::new("cluster").named(),
        Column::new("owner"),
        Column::new("from").named(),
        Column::new("until").named(),
        Column::new("max").named(),
        Column::new("initial").named(),
        Column::new("standing").named(),
        Column::new("by").named(),
        Column::new("why").named().prose(),
        Column::new("what changed").prose(),
    ]);
    for (version, standing) in versions {
        table.add_row(cells(&version, standing));
    }
    report::table(&table, screen)
}

fn cells(version: &Version, standing: Standing) -> [String; 11] {
    let Version { subject, terms, .. } = version;
    let first = if version.until.is_some() { "an exception" } else { "first version" };
    [
        format!("{}/{}", subject.namespace, subject.deployment),
        match &subject.clusters {
            Clusters::Any => "any".to_owned(),
            clusters => clusters.to_string(),
        },
        terms.owner.clone(),
        report::short(version.effective_at),
        version.until.map(report::short).unwrap_or_default(),
        terms.max_replicas.map_or_else(|| "retired".to_owned(), |max| max.to_string()),
        version.initial_max_replicas.to_string(),
        standing.to_string(),
        version.updated_by.clone(),
        version.reason.clone().unwrap_or_default(),
        version.change.as_ref().map_or_else(|| first.to_owned(), ToString::to_string),
    ]
}
