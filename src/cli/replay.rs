//! `pedwatch replay`: reads log files into a store, and tells what happened.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Format, PedPath, Usage, open_store, peds_to_register, report};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::limits::Limits;
use crate::pipeline::chunk::Chunk;
use crate::pipeline::register::register;
use crate::pipeline::replay::{Replayed, replay};
use crate::pipeline::{Pipeline, Tally};
use crate::policy::Severity;
use crate::source::files;
use crate::store::Store;
use crate::store::query;
use crate::store::sqlite::Sqlite;

/// How long a replay may take before a progress bar shows.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// PED files or folders to register first, from TIME on (a date or RFC 3339), or else from the beginning
    #[arg(long, value_name = "[TIME=]PATH")]
    ped: Vec<PedPath>,
    /// Where facts are kept; without it, and without store.url, in a temporary file until the report is printed
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
    /// How to print the report
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 3 when an alert at least this severe was found
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Show changes of what is out of scope too ([scope] in the configuration)
    #[arg(long)]
    out_of_scope: bool,
    /// Log files (an entry, an array, NDJSON and more; also .gz and .zst), folders of them, or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

pub(super) async fn run(args: Args, config: &Config) -> Result<ExitCode> {
    let (begun, now) = (Instant::now(), Utc::now());
    let files = files::expand(&args.inputs)?;
    if files.is_empty() {
        return Err(Usage(
            "there is no .json, .ndjson, .jsonl or .log file (or .gz or .zst of one) in these folders".to_owned(),
        )
        .into());
    }
    let store: Arc<dyn Store> = match open_store(args.store.clone(), config).await? {
        Some(store) => store,
        None => {
            report::note("no --store: facts are kept in memory (and a temporary file), and gone after this report");
            Arc::new(Sqlite::temporary()?)
        }
    };
    register(&*store, &config.policy, peds_to_register(&args.ped, config, now)?, now).await?;
    let limits = Limits::new(store.claims(None).await?);
    let pipeline = Arc::new(Pipeline::new(config.policy.clone(), limits));
    let progress = Progress::new(files::size_bytes(&files));
    let read = move |take: &mut dyn FnMut(Chunk) -> bool| files::read(&files, take);
    let Replayed { tally, unread } = replay(read, pipeline, &*store, now, |bytes| progress.advance(bytes)).await?;
    progress.finish();
    let printed = print(&args, &*store, now, &tally, begun).await;
    // What could be read may be alarming, whatever could not be, and wherever nothing can be printed.
    let is_alarming = is_alarming(args.fail_on, &*store, &tally).await?;
    let failed: Vec<anyhow::Error> = printed.err().into_iter().chain(unread).collect();
    failed.iter().for_each(|error| report::note(&format!("{error:#}")));
    Ok(match failed.as_slice() {
        _ if is_alarming => ExitCode::from(3),
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn print(args: &Args, store: &dyn Store, now: DateTime<Utc>, tally: &Tally, begun: Instant) -> Result<()> {
    let counts = query::counts(store, now).await?;
    let report = |at_most| query::report(store, now, at_most, args.out_of_scope);
    let elapsed_seconds = || begun.elapsed().as_secs_f64();
    match args.format {
        Format::Json => report::json_text(&format_args!("{}\n", report::summary(tally, &counts, elapsed_seconds()))),
        Format::Ndjson => report::ndjson(store, &report(usize::MAX).await?).await,
        Format::Table => report::story(&report(report::ROWS_MAX).await?, tally, &counts, elapsed_seconds()),
    }
}

/// Whether anything that stands in the time of these entries is as severe as that.
async fn is_alarming(threshold: Option<Severity>, store: &dyn Store, tally: &Tally) -> Result<bool> {
    let (Some(threshold), Some(span)) = (threshold, tally.span) else { return Ok(false) };
    Ok(query::worst(store, span).await?.is_some_and(|worst| worst >= threshold))
}

/// A bar on a terminal, for work that takes a while; nothing in a pipe.
struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    fn new(total_bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        ) {
            bar.set_style(style);
        }
        Progress { bar, begun: Instant::now() }
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        if self.bar.is_hidden() && self.begun.elapsed() > PROGRESS_AFTER && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
