//! Replaying log files: one reader, as many decoders as there are cores, one writer, and bounded queues between them.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::again::judge_again;
use super::chunk::Chunk;
use super::message::Envelope;
use super::quarantine::unreadable;
use super::{Assessed, Pipeline, Tally, append};
use crate::store::Store;
use crate::store::row::Record;

/// Rows for one commit: enough that the disk's answer does not count, few enough that memory stays flat.
const COMMIT_ROWS: usize = 8_192;

/// What one chunk came to.
struct Batch {
    tally: Tally,
    records: Vec<Record>,
    advance_bytes: u64,
}

/// Records what files say, and raises what stands in the namespaces that were written to. `read` reads them: it hands on
/// their chunks until it is told that nobody takes more. `progress` hears how many bytes of the files are done.
///
/// # Errors
/// When the files cannot be read, or the store does not take what it says. What was read before is recorded, and replaying
/// it again changes nothing.
pub async fn replay(
    read: impl FnOnce(&mut dyn FnMut(Chunk) -> bool) -> Result<()> + Send + 'static,
    pipeline: Arc<Pipeline>,
    store: &dyn Store,
    now: DateTime<Utc>,
    progress: impl Fn(u64),
) -> Result<Tally> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (chunks, taken) = crossbeam_channel::bounded::<Chunk>(cores);
    let (batches, mut assessed) = mpsc::channel::<Batch>(cores);
    // When the writer fails it drops its end of the queue, and the others stop behind it.
    let reader = std::thread::spawn(move || read(&mut |chunk| chunks.send(chunk).is_ok()));
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
        progress(batch.advance_bytes);
        tally.merge(batch.tally);
        records.extend(batch.records);
        if records.len() >= COMMIT_ROWS {
            tally.merge(append(store, std::mem::take(&mut records), now).await?);
        }
    }
    tally.merge(append(store, records, now).await?);
    // Every appender reads again behind its last append.
    if !tally.namespaces.is_empty() {
        judge_again(store, pipeline.policy(), &tally.namespaces, now).await?;
    }
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
            batch.records.push(Record::Quarantine(unreadable(envelope, &error, source(), now)));
            continue;
        }
        let Assessed { ignored, records, .. } = pipeline.assess(document.bytes, Envelope::default(), source, now);
        for reason in ignored {
            *batch.tally.ignored.entry(reason).or_default() += 1;
        }
        batch.records.extend(records);
    }
    batch
}
