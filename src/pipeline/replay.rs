//! Replaying log files: readers, as many decoders as there are cores, one writer, and bounded queues between them. All of them
//! work at once: while rows are written, the next are gathered.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::again::judge_again;
use super::chunk::{Chunk, DOCUMENT_MAX_BYTES};
use super::incidents::{Seen, Telling};
use super::message::Envelope;
use super::quarantine::unreadable;
use super::{Assessed, Pipeline, Tally, append};
use crate::ped::limits::Limits;
use crate::store::Store;
use crate::store::row::{ROW_BYTES, Record};

/// Rows for one commit: enough that the disk's answer does not count, few enough that memory stays flat.
const COMMIT_ROWS: usize = 8_192;

/// Their size for one commit: few of the largest rows (4 MiB), and many of all others.
const COMMIT_BYTES: usize = 8 << 20;

/// Bytes that may be on their way between the reader and the writer: the longest document with what may stand before it in
/// its chunk, so that the longest are decoded one at a time; and of chunks as they are else, enough for thirty cores.
const IN_FLIGHT_BYTES: usize = DOCUMENT_MAX_BYTES + (1 << 20);

/// What came of a chunk, of a part of one, or of several.
#[derive(Default)]
struct Batch {
    tally: Tally,
    records: Vec<Record>,
    /// What incidents are to follow from, where they do.
    seen: Vec<Seen>,
    size_bytes: usize,
    advance_bytes: u64,
}

/// How entries are recorded.
#[derive(Clone, Copy)]
pub struct Recorder<'r> {
    /// What they are assessed by.
    pub pipeline: &'r Arc<Pipeline>,
    /// Where they go.
    pub store: &'r dyn Store,
    /// Whom to tell, where somebody is to be told.
    pub telling: Option<&'r Telling>,
    /// When the run began.
    pub now: DateTime<Utc>,
    /// Namespaces that its report is about whatever the entries say, because something was registered for it. They are judged
    /// again with the others, so that both are one question for a store that keeps what it computed.
    pub registered: &'r BTreeSet<String>,
}

impl Recorder<'_> {
    /// Appends what was gathered, commit by commit, and returns what was seen.
    async fn write(&self, mut gathered: mpsc::Receiver<Batch>) -> Result<Tally> {
        let begun = Instant::now();
        let at = || self.now + begun.elapsed();
        let mut tally = Tally::default();
        while let Some(batch) = gathered.recv().await {
            tally.merge(batch.tally);
            tally.merge(append(self.store, batch.records, self.now, at()).await?);
            self.follow(batch.seen, at()).await?;
        }
        Ok(tally)
    }

    /// Steps incidents, behind the append.
    async fn follow(&self, seen: Vec<Seen>, at: DateTime<Utc>) -> Result<()> {
        let Some(telling) = self.telling.filter(|_| !seen.is_empty()) else { return Ok(()) };
        let present = telling.at(at, self.pipeline.policy(), self.store, &**self.pipeline);
        present
            .see(&seen)
            .await
            .context("it is recorded, but not whom it concerns is told; replaying it again does that")
    }

    /// Tells what is open by the newest that is known of these namespaces, however old it is: behind the last entry, as what
    /// is open at an earlier one may be over by then.
    ///
    /// # Errors
    /// When it may not be kept; what holds is told an hour later.
    pub async fn sweep(&self, namespaces: &BTreeSet<String>, at: DateTime<Utc>) -> Result<()> {
        let Some(telling) = self.telling.filter(|_| !namespaces.is_empty()) else { return Ok(()) };
        // Whoever registers meanwhile is right.
        let limits = Limits::new(self.store.claims(None).await?);
        let present = telling.at(at, self.pipeline.policy(), self.store, &limits);
        present.sweep(namespaces).await.context("it is recorded, but not whom it concerns is told; an hour later it is")
    }
}

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    /// What was seen.
    pub tally: Tally,
    /// Why not all of the input could be read; what could be is recorded.
    pub unread: Option<anyhow::Error>,
}

/// Takes a chunk of what is read, on whichever thread; false when nobody takes more.
pub type Take<'t> = &'t (dyn Fn(Chunk) -> bool + Sync);

/// Records what files say as a [`leg`], and tells what is open by it.
///
/// # Errors
/// When the store does not take what it says. What was recorded before stays, and replaying it again changes nothing.
pub async fn replay(
    read: impl FnOnce(Take<'_>) -> Result<()> + Send + 'static,
    recorder: Recorder<'_>,
    progress: impl Fn(u64),
) -> Result<Replayed> {
    let begun = Instant::now();
    let replayed = leg(read, recorder, progress).await?;
    recorder.sweep(&replayed.tally.namespaces, recorder.now + begun.elapsed()).await?;
    Ok(replayed)
}

/// Records what files say, and raises what stands in the namespaces that were written to. `read` reads them: it hands on
/// their chunks until it is told that nobody takes more. `progress` hears how many bytes of the files are done.
///
/// # Errors
/// As [`replay`].
pub async fn leg(
    read: impl FnOnce(Take<'_>) -> Result<()> + Send + 'static,
    recorder: Recorder<'_>,
    progress: impl Fn(u64),
) -> Result<Replayed> {
    let Recorder { pipeline, store, now, registered, .. } = recorder;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let room = Arc::new(OnItsWay { free_bytes: Mutex::new(IN_FLIGHT_BYTES), freed: Condvar::new() });
    let (chunks, taken) = crossbeam_channel::bounded::<(Chunk, Share)>(cores);
    let (batches, assessed) = mpsc::channel::<Batch>(cores);
    // When the writer fails, what waits for it is dropped with the ends of the queues, and the others stop behind it.
    let reader = std::thread::spawn(move || {
        read(&|chunk: Chunk| {
            // A document is a row at least.
            let share = room.take(chunk.bytes.len() + chunk.documents.len() * ROW_BYTES);
            chunks.send((chunk, share)).is_ok()
        })
    });
    let decoder = |_| {
        let (taken, batches, pipeline) = (taken.clone(), batches.clone(), Arc::clone(pipeline));
        std::thread::spawn(move || {
            // A chunk's share ends when all that came of it is handed on.
            taken
                .iter()
                .all(|(chunk, _share)| assess(&chunk, &pipeline, now, |batch| batches.blocking_send(batch).is_ok()))
        })
    };
    let decoders: Vec<_> = (0..cores).map(decoder).collect();
    drop((taken, batches));
    let (commits, gathered) = mpsc::channel(1);
    let gathering = async {
        gather(assessed, commits, progress).await;
        Ok(())
    };
    let ((), tally) = tokio::try_join!(gathering, recorder.write(gathered))?;
    // Every appender reads again behind its last append.
    if !tally.namespaces.is_empty() {
        let namespaces = &tally.namespaces | registered;
        judge_again(store, pipeline.policy(), &namespaces, tally.since(), now).await?;
    }
    let mut read = reader.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the reader stopped")));
    if decoders.into_iter().any(|decoder| decoder.join().is_err()) {
        read = Err(anyhow::anyhow!("a decoder stopped; some of it is not recorded"));
    }
    let unread = read.context("not all of it could be read").err();
    Ok(Replayed { tally, unread })
}

/// Gathers rows for one commit while those before are written; three commits at most are here and there.
async fn gather(mut assessed: mpsc::Receiver<Batch>, commits: mpsc::Sender<Batch>, progress: impl Fn(u64)) {
    let mut next = Batch::default();
    while let Some(batch) = assessed.recv().await {
        progress(batch.advance_bytes);
        next.merge(batch);
        if next.is_enough() && commits.send(std::mem::take(&mut next)).await.is_err() {
            return;
        }
    }
    // Where nobody takes it, the writer tells why.
    let _ = commits.send(next).await;
}

/// Room for what is on its way, in bytes.
#[derive(Debug)]
struct OnItsWay {
    free_bytes: Mutex<usize>,
    freed: Condvar,
}

/// Some of the room, given back when it is dropped.
#[derive(Debug)]
struct Share {
    room: Arc<OnItsWay>,
    bytes: usize,
}

impl OnItsWay {
    /// Waits until there is so much room. What needs more than there is takes all of it.
    fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let bytes = bytes.min(IN_FLIGHT_BYTES);
        let free = self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share { room: Arc::clone(self), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.room.free_bytes.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.room.freed.notify_all();
    }
}

/// Assesses a chunk, and hands on what comes of it as soon as that is worth a commit: a few letters may list thousands of
/// objects. False when nobody takes more.
fn assess(chunk: &Chunk, pipeline: &Pipeline, now: DateTime<Utc>, mut hand_on: impl FnMut(Batch) -> bool) -> bool {
    let mut batch = Batch { advance_bytes: chunk.advance_bytes, ..Batch::default() };
    for document in chunk.documents() {
        if batch.size_bytes >= COMMIT_BYTES && !hand_on(std::mem::take(&mut batch)) {
            return false;
        }
        let source = || format!("{}:{}", chunk.file, document.line);
        batch.tally.entries += 1;
        batch.tally.bytes += document.too_large.unwrap_or(document.bytes.len() as u64);
        if let Some(error) = document.fault() {
            batch.tally.unreadable += 1;
            let envelope = Envelope { data: document.bytes, ..Envelope::default() };
            batch.add(vec![Record::Quarantine(unreadable(envelope, &error, source(), now))]);
            continue;
        }
        let Assessed { ignored, records, seen, limited, .. } =
            pipeline.assess(document.bytes, Envelope::default(), source, now);
        let is_readable = |record: &Record| !matches!(record, Record::Quarantine(_));
        batch.tally.limited += limited;
        batch.tally.unreadable +=
            u64::from(ignored.is_empty() && !records.is_empty() && !records.iter().any(is_readable));
        for reason in ignored {
            *batch.tally.ignored.entry(reason).or_default() += 1;
        }
        batch.add(records);
        batch.seen.extend(seen);
    }
    hand_on(batch)
}

impl Batch {
    /// Whether it is worth a commit.
    fn is_enough(&self) -> bool {
        self.records.len() >= COMMIT_ROWS || self.size_bytes >= COMMIT_BYTES
    }

    fn merge(&mut self, other: Batch) {
        self.tally.merge(other.tally);
        self.size_bytes += other.size_bytes;
        self.records.extend(other.records);
        self.seen.extend(other.seen);
    }

    fn add(&mut self, records: Vec<Record>) {
        self.size_bytes += records.iter().map(Record::size_bytes).sum::<usize>();
        self.records.extend(records);
    }
}
