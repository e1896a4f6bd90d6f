//! Recording what Cloud Logging still has: as a replay, in legs, each of which is recorded and judged to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use chrono::{DateTime, Duration, Utc};

use super::{Entries, Question};
use crate::pipeline::Tally;
use crate::pipeline::quarantine::must_be_stored;
use crate::pipeline::replay::{Recorder, Replayed, Take, leg};
use crate::store::row::{Record, Watermark};
use crate::store::{Store, StoreError, query};

/// A leg is six minutes long at the quota that is left to it: that much at most is read again by a run that is started
/// after one that was killed. Each ends with a question about what stands, so shorter ones would cost more than they save.
const LEG_PAGES: usize = 300;

/// Entries may come as late as this and be none to wonder about: what is younger is not taken for read.
const LATE: Duration = Duration::minutes(10);

/// What a backfill came to.
#[derive(Debug)]
pub struct Backfilled {
    /// What was seen, and why not all of it could be read.
    pub replayed: Replayed,
    /// Everything before has been recorded and judged, and is not asked for again by the same question.
    pub through: DateTime<Utc>,
}

/// Where a run that was stopped has come with this question; `None` when there was none, or it came to its end.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn stopped_at(store: &dyn Store, question: &Question) -> Result<Option<DateTime<Utc>>, StoreError> {
    let mark = query::watermark(store, &question.name()).await?;
    Ok(mark.map(|mark| mark.through).filter(|through| question.from < *through && *through < question.to))
}

/// Records entries, and raises what stands in the namespaces that were written to. After each leg a watermark tells how far
/// it is; behind the last, what is open is told.
///
/// # Errors
/// When the store does not take what they say. What was recorded before stays, and reading it again changes nothing.
pub async fn backfill(entries: Entries, recorder: Recorder<'_>) -> Result<Backfilled> {
    let Recorder { store, now, .. } = recorder;
    let (name, begin) = (entries.question.name(), entries.position);
    let mut marked = begin;
    let entries = Arc::new(Mutex::new(entries));
    let mut all = Tally::default();
    loop {
        let of_leg = Arc::clone(&entries);
        let read = move |take: Take<'_>| lock(&of_leg).read(LEG_PAGES, &mut |chunk| take(chunk));
        let Replayed { tally, unread } = leg(read, recorder, |_| ()).await?;
        all.merge(tally);
        let (position, is_done, has_failed) = {
            let entries = lock(&entries);
            (entries.position, entries.is_done, entries.has_failed)
        };
        // What was handed on before a page that cannot be had is recorded. Where something else went wrong, who knows.
        let is_recorded = unread.is_none() || has_failed;
        let through = if is_recorded { position.min(now - LATE).max(begin) } else { marked };
        if through > marked {
            let mark = Record::Watermark(Watermark { name: name.clone(), through, at: Utc::now() });
            must_be_stored(&store.append([mark].into()).await?, "watermarks")?;
            marked = through;
        }
        if is_done || unread.is_some() {
            recorder.sweep(&all.namespaces, Utc::now()).await?;
            return Ok(Backfilled { replayed: Replayed { tally: all, unread }, through });
        }
        tracing::info!(through = %crate::id::time(through), entries = all.entries, "backfilled");
    }
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    // A panic while they were read leaves a position that is right, or earlier.
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}
