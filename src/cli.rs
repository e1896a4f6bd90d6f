//! The command line. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration, 3 an alert that `--fail-on` names.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one room that talks to a person")]

use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::version::Registration;
use crate::ped::{Fault, Located, parse_all};
use crate::shown::Shown;
use crate::source::files::is_regular;
use crate::store::Store;
use crate::store::bigquery::BigQuery;
use crate::store::sqlite::Sqlite;
use crate::telemetry::redact::without_secrets;
use crate::telemetry::{self, metrics::Metrics};
use crate::time;

mod config;
mod explain;
mod ped;
mod quarantine;
mod replay;
mod report;
mod schema;
mod serve;

/// Exit code for wrong usage or configuration; clap's own.
const USAGE: u8 = 2;

/// Watches GKE audit logs for replica changes and judges them against the limit each team applied for.
#[derive(Debug, Parser)]
#[command(name = "pedwatch", version = crate::telemetry::VERSION, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (TOML); `pedwatch config example` prints one
    #[arg(long, global = true, env = crate::config::ENV_CONFIG, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read log files, judge every entry, record what changed, and report it
    Replay(replay::Args),
    /// Tell in plain words what each entry is, and why it did or did not alert
    Explain(explain::Args),
    /// Take messages that Pub/Sub pushes: the Cloud Run service
    Serve(serve::Args),
    /// Pull messages from a subscription: for a worker pool, GKE or a laptop
    Pull(serve::PullArgs),
    /// See what could not be read or stored, and feed it again after a fix
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Validate, register and list what teams applied for
    #[command(subcommand)]
    Ped(ped::Command),
    /// Print, make and check the tables and views
    #[command(subcommand)]
    Schema(schema::Command),
    /// Check the configuration, or print an example
    #[command(subcommand)]
    Config(config::Command),
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object
    Json,
    /// One object a line
    Ndjson,
}

/// Something the caller has to put right: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs one command, and tells what to exit with.
pub fn run(args: impl IntoIterator<Item = OsString>, env: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. Where even that cannot be printed, the exit code tells.
            let _ = match error.use_stderr() {
                true => std::io::stderr().write_all(without_secrets(&error.render().to_string()).as_bytes()),
                false => error.print(),
            };
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let config = match Config::load(cli.config.as_deref(), env) {
        Ok(config) => config,
        Err(error) => {
            report::note(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    // Who serves is watched by its logs; a command for people speaks when something is wrong.
    let serves = matches!(cli.command, Command::Serve(_) | Command::Pull(_));
    telemetry::start(config.log_format, if serves { "info" } else { "warn" });
    if !config.ignored.is_empty() {
        tracing::warn!(variables = config.ignored.join(", "), "these name no key, and are ignored");
    }
    match dispatch(cli.command, &config) {
        Ok(code) => code,
        Err(error) => {
            report::note(&format!("{error:#}"));
            if error.is::<Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(command: Command, config: &Config) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let done = runtime.block_on(async {
        match command {
            Command::Replay(args) => replay::run(args, config).await,
            Command::Serve(args) => serve::serve(args, config).await,
            Command::Pull(args) => serve::pull(args, config).await,
            Command::Quarantine(command) => quarantine::run(command, config).await,
            Command::Explain(args) => explain::run(args, config).await,
            Command::Ped(command) => ped::run(command, config).await,
            Command::Schema(command) => schema::run(command, config).await,
            Command::Config(command) => config::run(&command, config),
        }
    });
    // A thread that still waits for a store must not keep the process: nobody waits for what it does.
    runtime.shutdown_background();
    done
}

/// Opens the store that the command line names, else the one of the configuration; `None` when neither does.
async fn open_store(url: Option<StoreUrl>, config: &Config) -> Result<Option<Arc<dyn Store>>> {
    open_counted_store(url, config, &Metrics::default()).await
}

/// As [`open_store`]; the store's metrics are among these.
async fn open_counted_store(
    url: Option<StoreUrl>,
    config: &Config,
    metrics: &Metrics,
) -> Result<Option<Arc<dyn Store>>> {
    Ok(match url.or_else(|| config.store.clone()) {
        Some(StoreUrl::Sqlite(path)) => {
            let context = format!("cannot open the store {}", path.display());
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await?;
            Some(Arc::new(opened.context(context)?))
        }
        Some(StoreUrl::BigQuery(name)) => {
            let context = format!("cannot open the store {name}");
            let opened = BigQuery::open_counting(name, &config.bigquery, metrics.store_retries.clone()).await;
            Some(Arc::new(opened.context(context)?))
        }
        None => None,
    })
}

/// As [`open_store`], for commands that make no sense without one.
async fn require_store(url: Option<StoreUrl>, config: &Config) -> Result<Arc<dyn Store>> {
    open_store(url, config).await?.ok_or_else(no_store)
}

fn no_store() -> anyhow::Error {
    Usage(format!("no store; expected --store {STORE_URL}, or store.url in the configuration")).into()
}

/// `[TIME=]PATH`: PED files, and from when they apply.
#[derive(Debug, Clone)]
struct PedPath {
    from: DateTime<Utc>,
    path: PathBuf,
}

impl std::str::FromStr for PedPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((time, path)) if !Path::new(text).exists() => {
                Ok(PedPath { from: parse_effect(time)?, path: path.into() })
            }
            _ => Ok(PedPath { from: DateTime::UNIX_EPOCH, path: text.into() }),
        }
    }
}

/// When a version takes effect, as people type it: RFC 3339, or a date for its midnight in UTC.
fn parse_effect(text: &str) -> Result<DateTime<Utc>, String> {
    let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
    match time::read(text).or_else(date) {
        Some(time) if time::can_take_effect(time) => Ok(time),
        Some(_) => Err(format!("{text:?} is out of range; expected a time from 2000 to 2100")),
        None => Err(format!("{text:?} is not a time; expected one like 2026-09-11 or 2026-09-11T08:00:00Z")),
    }
}

/// Most that is read of PED files at once: 100,000 PEDs of 600 bytes, and not a file that has no end.
const PEDS_MAX_BYTES: u64 = 64 << 20;

/// The PEDs in files and folders (their `.yaml` and `.yml` files), or all faults.
fn read_peds(paths: &[PathBuf], config: &Config) -> Result<Result<Vec<Located>, Vec<Fault>>> {
    let mut files = Vec::new();
    for path in paths {
        let context = || format!("cannot read {}", path.display());
        if std::fs::metadata(path).with_context(context)?.is_dir() {
            files.extend(ped_files(path).with_context(context)?);
        } else {
            files.push(path.clone());
        }
    }
    let mut room_bytes = PEDS_MAX_BYTES;
    let mut texts = Vec::new();
    for file in &files {
        let text = read_ped(file, room_bytes).with_context(|| format!("cannot read {}", file.display()))?;
        room_bytes = room_bytes.saturating_sub(text.len() as u64);
        texts.push(text);
    }
    let texts = files.iter().map(PathBuf::as_path).zip(texts.iter().map(String::as_str));
    Ok(parse_all(texts, &config.policy.platform))
}

/// The `.yaml` and `.yml` files of a folder, in order of name.
fn ped_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && is_regular(&path, entry.file_type()?) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_ped(file: &Path, at_most_bytes: u64) -> Result<String> {
    let mut text = String::new();
    // One byte more tells what is too long, whether it has an end or not.
    std::fs::File::open(file)?.take(at_most_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > at_most_bytes {
        bail!("it makes more than {PEDS_MAX_BYTES} bytes of PEDs; expected fewer at once");
    }
    Ok(text)
}

/// What `--ped` names, in order of time. It is named again at every run, so only what is new is registered.
fn peds_to_register(peds: &[PedPath], config: &Config, now: DateTime<Utc>) -> Result<Vec<Registration>> {
    let mut peds = peds.to_vec();
    peds.sort_by_key(|ped| ped.from);
    let mut registrations = Vec::new();
    for PedPath { from, path } in peds {
        let located = read_peds(&[path], config)?.map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| Shown(fault).to_string()).collect();
            anyhow::anyhow!("--ped is refused:\n{}", lines.join("\n"))
        })?;
        registrations.extend(located.into_iter().map(|Located { ped, file, .. }| Registration {
            ped,
            effective_at: from,
            explicit: false,
            now,
            updated_by: "replay".to_owned(),
            reason: None,
            source: Some(file.display().to_string()),
        }));
    }
    Ok(registrations)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
