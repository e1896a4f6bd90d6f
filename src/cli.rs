//! The command line. Data goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration, 3 an alert that `--fail-on` names.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one room that talks to a person")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use clap::{ColorChoice, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::{Config, RegistryUrl, STORE_URL, StoreUrl};
use crate::store::Store;
use crate::store::sqlite::Sqlite;
use crate::telemetry::redact::without_secrets;
use crate::telemetry::{self, LogFormat};
use crate::time;
use table::{Colour, Screen};

mod alerts;
mod asked;
mod backfill;
mod backtest;
mod bill;
mod canary;
mod cloud;
mod cluster;
mod config;
mod cost;
mod daily;
mod explain;
mod filter;
mod help;
mod hint;
mod incident;
mod ledger;
mod notify;
mod page;
mod ped;
mod peds;
mod quarantine;
mod replay;
mod report;
mod schema;
mod serve;
mod silence;
mod snapshot;
mod table;
mod told;
mod watch;

/// Exit code for wrong usage or configuration; clap's own.
const USAGE: u8 = 2;

/// Watches GKE audit logs for replica changes and judges them against the limit each team applied for.
#[derive(Debug, Parser)]
#[command(name = "pedwatch", version = crate::telemetry::VERSION, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (TOML), else PEDWATCH_CONFIG; `pedwatch config example` prints one
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// When to colour what people read
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colour,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read log files, judge every entry, record what changed, and report it
    Replay(replay::Args),
    /// Record what Cloud Logging still has of a span of time: mends a sink that was broken, and is harmless where it was not
    Backfill(backfill::Args),
    /// Print the sink's filter, for `gcloud logging read` and Logs Explorer
    Filter(filter::Args),
    /// Tell in plain words what each entry is, and why it did or did not alert
    Explain(explain::Args),
    /// Show the alerts that stand, or all that were raised
    Alerts(alerts::Args),
    /// Show what changed: who asked for how many, from what to what, against which limit
    Changes(asked::ChangesArgs),
    /// Show how Deployments stand now, or stood then
    Status(asked::StatusArgs),
    /// Tell what would have been with other limits: alerts, time over them, fees; no fact is touched
    Backtest(backtest::Args),
    /// Tell what Deployments cost in a month and why, and keep it; for a daily job
    Bill(bill::Args),
    /// Make one HTML file of a month, or of a span of time: who was over, for how long, and what it cost
    Report(page::Args),
    /// Close the days that are over, so that questions cost what they ask for; for a daily job
    Daily(daily::Args),
    /// Record what runs in clusters: replicas, HPAs and pods, beside the limits in force; for a daily job
    Snapshot(snapshot::Args),
    /// Keep gauges of what runs for Prometheus: what each Deployment asks for, what it has, and its limit
    Watch(watch::Args),
    /// Make a dry run of our own in each cluster, and tell how long its entry took to come back; for a job every few minutes
    Canary(canary::Args),
    /// Take messages that Pub/Sub pushes: the Cloud Run service
    Serve(serve::Args),
    /// Pull messages from a subscription: for a worker pool, GKE or a laptop
    Pull(serve::PullArgs),
    /// Send what is due to whom it concerns, and see what was and was not sent
    Notify(notify::Args),
    /// See what is open, acknowledge it, and note who sees to it
    #[command(subcommand)]
    Incident(incident::Command),
    /// For some time, tell nobody of some things
    #[command(subcommand)]
    Silence(silence::Command),
    /// See what could not be read or stored, and feed it again after a fix
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Check the access to clusters
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Validate, register and list what teams applied for
    #[command(subcommand)]
    Ped(ped::Command),
    /// Print, make and check the tables and views
    #[command(subcommand)]
    Schema(schema::Command),
    /// Check the configuration, or print an example
    #[command(subcommand)]
    Config(config::Command),
    /// Print what completes commands in a shell
    Completions(help::CompletionsArgs),
    /// Write the manual's pages, one for each command
    Man(help::ManArgs),
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

/// How rows of one kind are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowsFormat {
    /// For people
    Table,
    /// One array of objects
    Json,
    /// One object a line
    Ndjson,
    /// A line of names, and one for each row
    Csv,
}

/// Something the caller has to put right: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs one command, and tells what to exit with.
pub fn run(args: impl IntoIterator<Item = OsString>, env: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let (args, env): (Vec<OsString>, BTreeMap<String, String>) =
        (args.into_iter().collect(), env.into_iter().collect());
    let variable = |name: &str| env.get(name).cloned();
    let cli = match parse(&args, &env) {
        // A variable that is set to nothing names nothing.
        Ok(cli) => Cli { config: cli.config.or_else(|| named_by(&env)), ..cli },
        Err(code) => return code,
    };
    // Who serves is watched by its logs; a command for people speaks when something is wrong.
    let serves = matches!(cli.command, Command::Serve(_) | Command::Pull(_) | Command::Watch(_));
    let told_in = |logs: LogFormat| if serves { logs } else { LogFormat::Text };
    // An example is for those whose configuration is refused, too.
    let is_example = matches!(cli.command, Command::Config(config::Command::Example));
    let loaded = if is_example { Config::load(None, []) } else { Config::load(cli.config.as_deref(), env.clone()) };
    let config = match loaded {
        Ok(config) => config,
        Err(refused) => {
            report::failed(&refused.to_string(), told_in(refused.log_format));
            return ExitCode::from(USAGE);
        }
    };
    let is_coloured = cli.color.is_on(std::io::stderr().is_terminal(), variable);
    telemetry::start(config.log_format, if serves { "info" } else { "warn" }, is_coloured);
    if !config.ignored.is_empty() {
        tracing::warn!(variables = config.ignored.join(", "), "these name no key, and are ignored");
    }
    match dispatch(cli.command, &config, Screen::of_stdout(cli.color, variable)) {
        Ok(code) => code,
        Err(error) => {
            report::failed(&format!("{error:#}"), told_in(config.log_format));
            if error.is::<Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Reads the arguments; where they ask for help, or cannot be read, tells so and with what to exit.
fn parse(args: &[OsString], env: &BTreeMap<String, String>) -> Result<Cli, ExitCode> {
    let command = help::command().color(told_colour(args));
    let parsed = command.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        if error.use_stderr() && is_to_log_json(args, env) {
            report::failed(&error.render().to_string(), LogFormat::Json);
        } else {
            // Help and version come this way too. Where even that cannot be printed, the exit code tells.
            let _ = match error.use_stderr() {
                true => std::io::stderr().write_all(without_secrets(&error.render().to_string()).as_bytes()),
                false => error.print(),
            };
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
    })
}

/// When help is coloured, and what is wrong with arguments: both are told before the arguments are read.
fn told_colour(args: &[OsString]) -> ColorChoice {
    given(args, "--color").and_then(|when| when.parse().ok()).unwrap_or(ColorChoice::Auto)
}

/// Whether arguments that cannot be read are those of a command that serves and logs JSON, as far as can be told.
fn is_to_log_json(args: &[OsString], env: &BTreeMap<String, String>) -> bool {
    let serves = args.iter().any(|arg| arg == "serve" || arg == "pull" || arg == "watch");
    let log_format = || {
        let file = given(args, "--config").map(PathBuf::from).or_else(|| named_by(env));
        let loaded = Config::load(file.as_deref(), env.clone());
        loaded.map_or_else(|refused| refused.log_format, |config| config.log_format)
    };
    serves && log_format() == LogFormat::Json
}

/// The configuration that the environment names.
fn named_by(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    env.get(crate::config::ENV_CONFIG).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// The value of an option, among arguments that may not be right otherwise.
fn given(args: &[OsString], option: &str) -> Option<String> {
    let mut args = args.iter().filter_map(|arg| arg.to_str());
    while let Some(arg) = args.next() {
        match arg.strip_prefix(option) {
            Some("") => return args.next().map(str::to_owned),
            Some(rest) if rest.starts_with('=') => return rest.get(1..).map(str::to_owned),
            _ => {}
        }
    }
    None
}

fn dispatch(command: Command, config: &Config, screen: Screen) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let done = runtime.block_on(async {
        match command {
            Command::Replay(args) => replay::run(args, config, screen).await,
            Command::Backfill(args) => backfill::run(args, config, screen).await,
            Command::Filter(args) => filter::run(&args),
            Command::Serve(args) => serve::serve(args, config).await,
            Command::Pull(args) => serve::pull(args, config).await,
            Command::Quarantine(command) => quarantine::run(command, config, screen).await,
            Command::Explain(args) => explain::run(args, config, screen).await,
            Command::Alerts(args) => alerts::run(args, config, screen).await,
            Command::Changes(args) => asked::changes(args, config, screen).await,
            Command::Status(args) => asked::status(args, config, screen).await,
            Command::Backtest(args) => backtest::run(args, config, screen).await,
            Command::Bill(args) => bill::run(args, config, screen).await,
            Command::Report(args) => page::run(args, config, screen).await,
            Command::Daily(args) => daily::run(args, config, screen).await,
            Command::Snapshot(args) => snapshot::run(args, config, screen).await,
            Command::Notify(args) => notify::run(args, config, screen).await,
            Command::Incident(command) => incident::run(command, config, screen).await,
            Command::Silence(command) => silence::run(command, config, screen).await,
            Command::Watch(args) => watch::run(args, config).await,
            Command::Canary(args) => canary::run(args, config, screen).await,
            Command::Cluster(command) => cluster::run(command, config, screen).await,
            Command::Ped(command) => ped::run(command, config, screen).await,
            Command::Schema(command) => schema::run(command, config).await,
            Command::Config(command) => config::run(&command, config, screen),
            Command::Completions(args) => help::completions(&args),
            Command::Man(args) => help::man(&args),
        }
    });
    // A thread that still waits for a store must not keep the process: nobody waits for what it does.
    runtime.shutdown_background();
    done
}

/// What a command wants with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// One that has to be there: what is asked for, or changed, is in it.
    Existing,
    /// To record something, into a new one too.
    OrNew,
}

/// Opens the store that the command line names, else the one of the configuration; `None` when neither does. Its versions are
/// where the configuration says.
async fn open_store(url: Option<StoreUrl>, config: &Config, access: Access) -> Result<Option<Arc<dyn Store>>> {
    let facts: Option<Arc<dyn Store>> = match url.or_else(|| config.store.clone()) {
        Some(StoreUrl::Sqlite(path)) => {
            if access == Access::Existing {
                there_is_a_store(&path)?;
            }
            let context = format!("cannot open the store {}", path.display());
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await?;
            Some(Arc::new(opened.context(context)?))
        }
        Some(StoreUrl::BigQuery(name)) => Some(cloud::open_bigquery(name, config).await?),
        None => None,
    };
    match facts {
        Some(facts) => with_registry(facts, config).await.map(Some),
        None => Ok(None),
    }
}

/// A store with its versions where the configuration says.
async fn with_registry(facts: Arc<dyn Store>, config: &Config) -> Result<Arc<dyn Store>> {
    match &config.registry {
        Some(RegistryUrl(name)) => cloud::open_registry(facts, name, config).await,
        None => Ok(facts),
    }
}

/// Refuses a file that is not there, or empty as nothing of ours is: opening it would make it, and what was asked for be
/// found nowhere in it.
fn there_is_a_store(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 || !metadata.is_file() => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Ok(()),
        found => {
            let what = if found.is_ok() { "the file is empty" } else { "there is no such file" };
            Err(Usage(format!(
                "no store is in sqlite:{}: {what}; expected one that replay, backfill, snapshot, ped register, serve or pull made",
                path.display()
            ))
            .into())
        }
    }
}

/// As [`open_store`], for commands that make no sense without one.
async fn require_store(url: Option<StoreUrl>, config: &Config, access: Access) -> Result<Arc<dyn Store>> {
    open_store(url, config, access).await?.ok_or_else(no_store)
}

fn no_store() -> anyhow::Error {
    Usage(format!("no store; expected --store {STORE_URL}, or store.url in the configuration")).into()
}

/// A time as people type it: see [`time::typed`]. Its argument has to allow values that begin with a hyphen.
fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    time::typed(text, Utc::now())
}

/// Refuses a span of time that holds nothing. `names` are those of its options.
fn check_span<T: PartialOrd + Display>(names: [&str; 2], from: Option<T>, to: Option<T>) -> Result<()> {
    match (from, to, names) {
        (Some(from), Some(to), [early, late]) if from >= to => {
            Err(Usage(format!("{early} is {from}, and {late} is {to}; expected {early} to be earlier")).into())
        }
        _ => Ok(()),
    }
}

/// Who did something, or why: what nobody filled in tells nothing.
fn parse_told(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a text that tells something".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// A day in UTC, as [`parse_time`] reads it.
fn parse_date(text: &str) -> Result<chrono::NaiveDate, String> {
    parse_time(text).map(|time| time.date_naive())
}

/// As [`parse_time`], for when a version takes effect.
fn parse_effect(text: &str) -> Result<DateTime<Utc>, String> {
    match parse_time(text)? {
        time if time::can_take_effect(time) => Ok(time),
        _ => Err(format!("{text:?} is out of range; expected a time from 2000 to 2100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        help::command().debug_assert();
    }
}
