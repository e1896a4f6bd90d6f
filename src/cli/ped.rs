//! `pedwatch ped validate|register|list|history|schema`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::{Format, Usage, parse_time, read_peds, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::history::Registration;
use crate::ped::{Located, SCHEMA};
use crate::store::query;
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
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
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
}

fn parse_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("it would be NAMESPACE/DEPLOYMENT".to_owned()),
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
            let versions = query::versions(&*require_store(output.store, config).await?).await?;
            print(&in_force(versions, Utc::now()), output.format)?;
        }
        Command::History { deployment: (namespace, name), output } => {
            let wanted = query::versions_of(&[(namespace.clone(), name.clone())]);
            let versions = require_store(output.store, config).await?.fetch(&wanted).await?.read()?;
            if versions.is_empty() {
                return Err(
                    Usage(format!("nothing is registered for {namespace}/{name}; see pedwatch ped list")).into()
                );
            }
            print(&versions, output.format)?;
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
            let lines: Vec<String> = faults.iter().map(|fault| format!("{fault}\n")).collect();
            report::text(&lines.concat())?;
            Ok(None)
        }
    }
}

async fn register(args: Register, config: &Config) -> Result<ExitCode> {
    let store = require_store(args.store, config).await?;
    let Some(peds) = valid(&args.files, config)? else { return Ok(ExitCode::FAILURE) };
    let now = Utc::now();
    for Located { ped, file, .. } in peds {
        let subject = ped.subject.clone();
        let source = args.source.iter().cloned().chain([file.display().to_string()]).collect::<Vec<_>>().join(":");
        let registration = Registration {
            ped,
            effective_at: args.effective_at.unwrap_or(now),
            now,
            updated_by: args.updated_by.clone(),
            reason: Some(args.reason.clone()),
            source: Some(source),
        };
        report::text(&match crate::store::register(&*store, registration).await? {
            None => format!("{subject}: unchanged, nothing to register\n"),
            Some(version) => format!(
                "{subject}: at most {} replicas from {} (first applied for {})\n",
                version.max_replicas.unwrap_or_default(),
                crate::id::time(version.timestamp),
                version.initial_max_replicas
            ),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The last version of each subject that has begun to apply; `versions` are ordered by subject and time.
fn in_force(versions: Vec<DeploymentConfig>, now: DateTime<Utc>) -> Vec<DeploymentConfig> {
    let mut latest: Vec<DeploymentConfig> = Vec::new();
    for version in versions.into_iter().filter(|version| version.timestamp <= now) {
        let subject =
            |row: &DeploymentConfig| (row.namespace.clone(), row.deployment_name.clone(), row.cluster_name.clone());
        match latest.last_mut() {
            Some(last) if subject(last) == subject(&version) => *last = version,
            _ => latest.push(version),
        }
    }
    latest
}

fn print(versions: &[DeploymentConfig], format: Format) -> Result<()> {
    if format != Format::Table {
        return report::rows(versions, format);
    }
    let headings = ["deployment", "cluster", "owner", "from", "max", "initial", "by", "why", "what changed"];
    let mut table = report::table(&headings);
    for version in versions {
        table.add_row([
            format!("{}/{}", version.namespace, version.deployment_name),
            version.cluster_name.clone().unwrap_or_else(|| "any".to_owned()),
            version.user_id.clone(),
            report::short(version.timestamp),
            version.max_replicas.map_or_else(|| "retired".to_owned(), |max| max.to_string()),
            version.initial_max_replicas.to_string(),
            version.updated_by.clone(),
            version.change_reason.clone().unwrap_or_default(),
            version.change_patch.clone().unwrap_or_else(|| "first version".to_owned()),
        ]);
    }
    report::text(&format!("{table}\n"))
}
