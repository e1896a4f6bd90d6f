//! `pedwatch replay`: one reader, as many decoders as there are cores, one writer, and bounded queues between them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use super::{Format, PedPath, Usage, open_store, register_peds, report};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::history::Limits;
use crate::pipeline::{Assessed, Envelope, Pipeline, Tally, append, quarantine};
use crate::policy::Severity;
use crate::source::files::{self, Chunk};
use crate::store::Store;
use crate::store::query;
use crate::store::row::Record;
use crate::store::sqlite::Sqlite;

/// Rows for one commit: enough that the disk's answer does not count, few enough that memory stays flat.
const COMMIT_ROWS: usize = 8_192;

/// How long a replay may take before a progress bar shows.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// PED files or folders to register first, from TIME on (a date or RFC 3339), or else since ever
    #[arg(long, value_name = "[TIME=]PATH")]
    ped: Vec<PedPath>,
    /// Where facts are kept; without it, and without store.url, in memory until the report is printed
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
    /// How to print the report
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 3 when an alert at least this severe was found
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
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
    let store: Arc<dyn Store> = match open_store(args.store, config).await? {
        Some(store) => store,
        None => {
            eprintln!("pedwatch: no --store: facts are kept in memory, and gone after this report");
            Arc::new(Sqlite::in_memory()?)
        }
    };
    register_peds(&args.ped, &*store, config, now).await?;
    let limits = Limits::new(&query::versions(&*store).await?);
    let pipeline = Arc::new(Pipeline::new(config.policy.clone(), limits));
    let tally = replay(files, pipeline, &*store, now).await?;
    let counts = query::counts(&*store, now).await?;
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    match args.format {
        Format::Json => report::text(&format!("{}\n", report::summary(&tally, &counts, elapsed_seconds)))?,
        Format::Ndjson => report::ndjson(&query::report(&*store, now, usize::MAX).await?)?,
        Format::Table => {
            report::story(&query::report(&*store, now, report::ROWS_MAX).await?, &tally, &counts, elapsed_seconds)?
        }
    }
    let alarmed = args.fail_on.is_some_and(|threshold| tally.worst.is_some_and(|worst| worst >= threshold));
    Ok(if alarmed { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// What one chunk came to.
struct Batch {
    tally: Tally,
    records: Vec<Record>,
    advance_bytes: u64,
}

async fn replay(files: Vec<PathBuf>, pipeline: Arc<Pipeline>, store: &dyn Store, now: DateTime<Utc>) -> Result<Tally> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let progress = Progress::new(files::size_bytes(&files));
    let (chunks, taken) = crossbeam_channel::bounded::<Chunk>(cores);
    let (batches, mut assessed) = mpsc::channel::<Batch>(cores);
    // When the writer fails it drops its end of the queue, and the others stop behind it.
    let reader = std::thread::spawn(move || files::read(&files, |chunk| chunks.send(chunk).is_ok()));
    for _ in 0..cores {
        let (taken, batches, pipeline) = (taken.clone(), batches.clone(), Arc::clone(&pipeline));
        std::thread::spawn(move || {
            for chunk in taken {
                if batches.blocking_send(assess(&chunk, &pipeline, now)).is_err() {
                    return;
                }
            }
        });
    }
    drop((taken, batches));
    let mut tally = Tally::default();
    let mut records = Vec::new();
    while let Some(batch) = assessed.recv().await {
        progress.advance(batch.advance_bytes);
        tally.merge(batch.tally);
        records.extend(batch.records);
        if records.len() >= COMMIT_ROWS {
            tally.merge(append(store, std::mem::take(&mut records), now).await?);
        }
    }
    tally.merge(append(store, records, now).await?);
    progress.finish();
    match reader.join() {
        Ok(read) => read.context("what was read before is recorded; replaying it again changes nothing")?,
        Err(_) => anyhow::bail!("the reader stopped; what was read before is recorded"),
    }
    Ok(tally)
}

fn assess(chunk: &Chunk, pipeline: &Pipeline, now: DateTime<Utc>) -> Batch {
    let mut batch = Batch { tally: Tally::default(), records: Vec::new(), advance_bytes: chunk.advance_bytes };
    for document in chunk.documents() {
        let source = || format!("{}:{}", chunk.file, document.line);
        batch.tally.entries += 1;
        batch.tally.bytes += document.too_large.unwrap_or(document.bytes.len() as u64);
        if let Some(error) = document.fault() {
            let envelope = Envelope { data: document.bytes, ..Envelope::default() };
            let row = quarantine(envelope, &error, source(), now);
            batch.records.push(Record::Quarantine(row));
            continue;
        }
        match pipeline.assess(document.bytes, source, now) {
            Assessed::Ignored(reason) => *batch.tally.ignored.entry(reason).or_default() += 1,
            Assessed::Records(records) => batch.records.extend(records),
        }
    }
    batch
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
