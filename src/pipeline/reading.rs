//! What one instance owes to its next reading of limits, and how others learn of it when it dies before.
//!
//! A write that is judged only at the next reading is acknowledged before. So its instance first leaves a mark, a watermark
//! of its own whose `through` is before its `at`; the reading that has judged it appends one where both are the same. What
//! stays open longer than any instance goes without a reading was left by one that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Duration, Utc};

use crate::store::query::JUDGED;
use crate::store::row::Watermark;

/// How far back is read again: writers' clocks are apart, and appends take their time. Thrice as long as an instance may
/// judge by limits that it does not read again, so that what it judged by those is in it.
pub(super) const MARGIN: Duration = Duration::minutes(15);

/// How often one instance looks for what others left who are gone: a third of how long their marks are left alone, as each
/// look is a query.
const LOOK_EVERY: Duration = Duration::minutes(5);

/// Since when versions and writes are to be held against each other; `None` for all.
pub(super) type Since = Option<DateTime<Utc>>;

/// What one instance has read and judged.
#[derive(Debug)]
pub(super) struct Readings {
    /// The name of its own watermark.
    name: String,
    started: std::time::Instant,
    /// Nobody judges by limits read longer ago.
    limits_for: std::time::Duration,
    /// Held while a mark is appended, and by whoever takes the list or closes its mark. `state` never is.
    marking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// What is judged behind a reading.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Namespaces in which a version was registered, began or ended.
    pub(super) turned: BTreeSet<String>,
    /// Namespaces that were on the list.
    pub(super) owed: BTreeSet<String>,
    /// The open marks of instances that are gone.
    pub(super) abandoned: Vec<Watermark>,
}

impl Judged {
    /// The namespaces to ask about: empty for all, because nobody knows what those who are gone owed. `None` when there is
    /// nothing to ask.
    pub(super) fn namespaces(&self) -> Option<BTreeSet<String>> {
        match (self.abandoned.is_empty(), self.turned.is_empty() && self.owed.is_empty()) {
            (false, _) => Some(BTreeSet::new()),
            (true, true) => None,
            (true, false) => Some(self.turned.union(&self.owed).cloned().collect()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Namespaces that are judged at the next reading.
    due: BTreeSet<String>,
    /// Since when a mark that is stored tells others so.
    told_at: Since,
    /// The time of the last mark, stored or not.
    marked_at: Since,
    /// When limits were last read.
    read_at: Since,
    /// When marks of others were last looked for.
    looked_at: Since,
    /// Until when limits have been held against the writes.
    judged_through: Since,
    /// What the watermark says, as far as this instance knows.
    watermark: Since,
}

impl Readings {
    /// Begins where the watermark is.
    pub(super) fn new(watermark: Since, limits_for: std::time::Duration) -> Self {
        Readings {
            name: format!("{JUDGED}/{:016x}", RandomState::new().hash_one(())),
            started: std::time::Instant::now(),
            limits_for,
            marking: tokio::sync::Mutex::default(),
            state: Mutex::new(State { judged_through: watermark, watermark, ..State::default() }),
        }
    }

    /// Whether limits have to be read before anything is judged by them.
    pub(super) fn are_stale(&self, now: DateTime<Utc>) -> bool {
        let age = match self.state().read_at {
            Some(read_at) => (now - read_at).to_std().unwrap_or_default(),
            None => self.started.elapsed(),
        };
        age > self.limits_for
    }

    /// Remembers that all limits were read.
    pub(super) fn have_read(&self, now: DateTime<Utc>) {
        self.state().read_at = Some(now);
    }

    /// Whether there is something to judge at the next reading.
    pub(super) fn owe(&self) -> bool {
        !self.state().due.is_empty()
    }

    /// Until when limits have been held against the writes.
    pub(super) fn judged_through(&self) -> Since {
        self.state().judged_through
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that the marks of others were looked for, and what was found is judged.
    pub(super) fn have_looked(&self, now: DateTime<Utc>) {
        self.state().looked_at = Some(now);
    }

    /// Whether it is time to look for the marks of others.
    pub(super) fn is_to_look(&self, now: DateTime<Utc>) -> bool {
        self.state().looked_at.is_none_or(|looked_at| now - looked_at >= LOOK_EVERY)
    }

    /// The open marks of instances that are gone, given the marks that there are.
    pub(super) fn abandoned(&self, marks: Vec<Watermark>, now: DateTime<Utc>) -> Vec<Watermark> {
        let mut last: BTreeMap<String, Watermark> = BTreeMap::new();
        for mark in marks.into_iter().filter(|mark| mark.name != self.name && mark.name != JUDGED) {
            match last.get(&mark.name) {
                Some(known) if known.at >= mark.at => {}
                _ => {
                    last.insert(mark.name.clone(), mark);
                }
            }
        }
        last.into_values().filter(|mark| mark.through < mark.at && now - mark.at > MARGIN).collect()
    }

    /// Puts namespaces on the list for the next reading. Where no mark tells of the list yet, or one that others may take for
    /// abandoned, and so for judged, `mark` appends one first; whoever puts something on it meanwhile waits for that. Who stops
    /// waiting has put nothing there, and may have left a mark, which only makes another instance look.
    pub(super) async fn put<E>(
        &self,
        namespaces: BTreeSet<String>,
        now: DateTime<Utc>,
        mark: impl AsyncFnOnce(Watermark) -> Result<(), E>,
    ) -> Result<(), E> {
        if namespaces.is_empty() {
            return Ok(());
        }
        let _marking = self.marking.lock().await;
        let unmarked = {
            let mut state = self.state();
            (!state.is_told(now)).then(|| state.next_mark(now))
        };
        if let Some(at) = unmarked {
            mark(Watermark { name: self.name.clone(), through: at - Duration::microseconds(1), at }).await?;
        }
        let mut state = self.state();
        state.told_at = unmarked.or(state.told_at);
        state.due.extend(namespaces);
        Ok(())
    }

    /// Takes the list, for judging that has begun.
    pub(super) async fn take(&self) -> BTreeSet<String> {
        let _marking = self.marking.lock().await;
        let mut state = self.state();
        state.told_at = None;
        std::mem::take(&mut state.due)
    }

    /// Puts the list back: judging failed. Its mark is still open, unless the closing was stored that seemed to fail, so the next
    /// that is put on it has one of its own.
    pub(super) fn put_back(&self, owed: BTreeSet<String>) {
        self.state().due.extend(owed);
    }

    /// The marks that a reading leaves when all is judged: what was owed here, what those owed who are gone, and how far
    /// limits have been held against the writes.
    pub(super) async fn marks(&self, judged: &Judged, now: DateTime<Utc>) -> Vec<Watermark> {
        let _marking = self.marking.lock().await;
        let mut state = self.state();
        let closed = |name: &str, at| Watermark { name: name.to_owned(), through: at, at };
        let after = |mark: &Watermark| now.max(mark.at + Duration::microseconds(1));
        let mut marks: Vec<Watermark> = judged.abandoned.iter().map(|mark| closed(&mark.name, after(mark))).collect();
        // What was put on the list meanwhile has a mark of its own, which stays open.
        if !judged.owed.is_empty() && state.told_at.is_none() {
            let at = state.next_mark(now);
            marks.push(closed(&self.name, at));
        }
        let is_old = state.watermark.is_none_or(|watermark| now - watermark > MARGIN);
        if is_old || !judged.turned.is_empty() || !marks.is_empty() {
            marks.push(closed(JUDGED, now));
        }
        marks
    }

    /// Remembers that what was due has been judged, and its marks are appended.
    pub(super) fn finish(&self, marks: &[Watermark], now: DateTime<Utc>) {
        let mut state = self.state();
        state.judged_through = Some(now);
        if marks.iter().any(|mark| mark.name == JUDGED) {
            state.watermark = Some(now);
        }
    }
}

impl State {
    /// Whether a stored mark tells of the list, and others leave it alone for a while. An instance that stood still is behind with
    /// its readings when it goes on.
    fn is_told(&self, now: DateTime<Utc>) -> bool {
        self.told_at.is_some_and(|told_at| now - told_at <= MARGIN / 3)
    }

    /// The time of the next mark. Each is later than the one before, whatever the clock does.
    fn next_mark(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let at = self.marked_at.map_or(now, |marked_at| now.max(marked_at + Duration::microseconds(1)));
        self.marked_at = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance that stood still goes on with its list as it was, and others have taken it for gone meanwhile.
    #[test]
    fn a_mark_that_others_may_have_closed_is_left_anew() {
        let readings = Readings::new(None, std::time::Duration::from_secs(300));
        let begun = DateTime::<Utc>::UNIX_EPOCH;
        let mut marks = Vec::new();
        // The one of minute 16 is not stored.
        for (minutes, fails) in [(0, false), (1, false), (16, true), (17, false), (18, false)] {
            let now = begun + Duration::minutes(minutes);
            let put = readings.put(BTreeSet::from(["payments".to_owned()]), now, async |mark| {
                if fails {
                    return Err(());
                }
                marks.push(mark);
                Ok(())
            });
            assert_eq!(futures::executor::block_on(put).is_err(), fails);
        }
        let at: Vec<i64> = marks.iter().map(|mark| (mark.at - begun).num_minutes()).collect();
        assert_eq!(at, [0, 17]);
        let other = Readings::new(None, std::time::Duration::from_secs(300));
        let abandoned = |now: i64| other.abandoned(marks.clone(), begun + Duration::minutes(now)).len();
        assert_eq!((abandoned(32), abandoned(33)), (0, 1), "the last one counts");
    }
}
