//! `pedwatch ped validate|register|list|history|schema`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::{Format, Usage, parse_effect, read_peds, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::limits::Limits;
use crate::ped::version::{Registration, Version, history};
use crate::ped::{Clusters, Located, SCHEMA, Subject};
use crate::pipeline;
use crate::shown::Shown;
use crate::store::row::DeploymentConfig;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check PED files, and report every fault with its place and what would be right
    Validate {
        /// PED files, or folders of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Append the versions in these files to what is registered, unless nothing changed
    Register(Register),
    /// Show the version in force now for each Deployment
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show every version of one Deployment
    History {
        /// The Deployment
        #[arg(value_name = "NAMESPACE/DEPLOYMENT", value_parser = parse_name)]
        deployment: (String, String),
        #[command(flatten)]
        output: Output,
    },
    /// Print the JSON Schema of a PED file, for editors
    Schema,
}

#[derive(Debug, clap::Args)]
pub(super) struct Register {
    /// PED files, or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Who registers them
    #[arg(long, value_name = "WHO")]
    updated_by: String,
    /// Why
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// From when they apply; now, if not given
    #[arg(long, value_name = "TIME", value_parser = parse_effect)]
    effective_at: Option<DateTime<Utc>>,
    /// Where they come from, such as a commit; the file's name is added
    #[arg(long, value_name = "REF")]
    source: Option<String>,
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
    format: Format,
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

pub(super) async fn run(command: Command, config: &Config) -> Result<ExitCode> {
    match command {
        Command::Validate { files } => {
            return Ok(match valid(&files, config)? {
                Some(peds) => {
                    report::text(&format!("{} valid\n", peds.len()))?;
                    ExitCode::SUCCESS
                }
                None => ExitCode::FAILURE,
            });
        }
        Command::Register(args) => return register(args, config).await,
        Command::List { output } => {
            let versions = require_store(output.store.clone(), config).await?.versions(None).await?;
            print(in_force(versions, Utc::now()), &output)?;
        }
        Command::History { deployment: (namespace, name), output } => {
            let wanted = [(namespace.clone(), name.clone())];
            let versions = history(require_store(output.store.clone(), config).await?.versions(Some(&wanted)).await?);
            if versions.is_empty() {
                return Err(
                    Usage(format!("nothing is registered for {namespace}/{name}; see pedwatch ped list")).into()
                );
            }
            print(versions, &output)?;
        }
        Command::Schema => report::text(SCHEMA)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The PEDs, or `None` after all faults were printed.
fn valid(files: &[PathBuf], config: &Config) -> Result<Option<Vec<Located>>> {
    match read_peds(files, config)? {
        Ok(peds) if peds.is_empty() => Err(Usage("there is no .yaml or .yml file in these folders".to_owned()).into()),
        Ok(peds) => Ok(Some(peds)),
        Err(faults) => {
            let lines: Vec<String> = faults.iter().map(|fault| format!("{}\n", Shown(fault))).collect();
            report::text(&lines.concat())?;
            Ok(None)
        }
    }
}

async fn register(args: Register, config: &Config) -> Result<ExitCode> {
    let store = require_store(args.store.clone(), config).await?;
    let Some(peds) = valid(&args.files, config)? else { return Ok(ExitCode::FAILURE) };
    let now = Utc::now();
    let subjects: Vec<Subject> = peds.iter().map(|located| located.ped.subject.clone()).collect();
    let registrations = peds.into_iter().map(|located| registration(located, &args, now)).collect();
    let registered = pipeline::register::register(&*store, &config.policy, registrations, now).await?;
    let mut lines = String::new();
    for (subject, version) in subjects.iter().zip(&registered.versions) {
        // Writing to a String cannot fail.
        let _ = match version {
            None => writeln!(lines, "{}: unchanged, nothing to register", Shown(subject)),
            Some(version) => writeln!(
                lines,
                "{}: at most {} replicas from {} (first applied for {})",
                Shown(subject),
                version.terms.max_replicas.unwrap_or_default(),
                crate::id::time(version.effective_at),
                version.initial_max_replicas
            ),
        };
    }
    if !registered.raised.is_empty() {
        let _ = writeln!(lines, "{} alerts were raised by it; see the view alerts", registered.raised.len());
    }
    report::text(&lines)?;
    Ok(ExitCode::SUCCESS)
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

/// The versions by whose limits writes are judged now, of each scope its own.
fn in_force(versions: Vec<Version>, now: DateTime<Utc>) -> Vec<Version> {
    let limits = Limits::new(&versions);
    let is_in_force =
        |version: &Version| limits.of_scope(&version.subject, now).is_some_and(|limit| limit.limit_id == version.id);
    history(versions).into_iter().filter(is_in_force).collect()
}

fn print(mut versions: Vec<Version>, output: &Output) -> Result<()> {
    if !output.environment {
        versions = versions.into_iter().map(Version::without_environment).collect();
    }
    if output.format != Format::Table {
        let rows: Vec<DeploymentConfig> = versions.iter().map(DeploymentConfig::from).collect();
        return report::rows(&rows, output.format);
    }
    let headings = ["deployment", "cluster", "owner", "from", "max", "initial", "by", "why", "what changed"];
    let mut table = report::Table::new(&headings);
    for version in versions {
        let Version { subject, terms, .. } = version;
        table.add_row([
            format!("{}/{}", subject.namespace, subject.deployment),
            match &subject.clusters {
                Clusters::Any => "any".to_owned(),
                clusters => clusters.to_string(),
            },
            terms.owner.clone(),
            report::short(version.effective_at),
            terms.max_replicas.map_or_else(|| "retired".to_owned(), |max| max.to_string()),
            version.initial_max_replicas.to_string(),
            version.updated_by.clone(),
            version.reason.clone().unwrap_or_default(),
            version.change.as_ref().map_or_else(|| "first version".to_owned(), ToString::to_string),
        ]);
    }
    report::text(&format!("{table}\n"))
}
