//! One object's states in order of time.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Asked, Change, Observation, Origin};

/// What an object asks for from one instant to another.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) change: Arc<Change>,
}

/// What was asked for by one write, at the time of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The write's own time.
    pub written_at: DateTime<Utc>,
    /// What it asked for.
    pub change: Arc<Change>,
    /// Whether another number, or none, stood before it.
    pub is_change: bool,
    /// Whether it stood for no time at all: the next one took effect at the same instant.
    pub is_instant: bool,
}

/// One object: its stands without a gap from the first known state to the end, and what was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    pub(super) stands: Vec<Stand>,
    /// In order of writing.
    pub(super) points: Vec<Point>,
}

impl Track {
    /// Takes the changes as the store has ordered them.
    pub(super) fn new(changes: Vec<&Change>, mut observations: Vec<&Observation>, until: DateTime<Utc>) -> Self {
        observations.sort_by_key(|seen| seen.at);
        let mut observations = observations.into_iter().peekable();
        let mut making = Making { track: Track::default(), last: None, until };
        for change in changes {
            while let Some(seen) = observations.next_if(|seen| seen.at < change.effective_at) {
                making.observe(seen);
            }
            making.write(change);
        }
        observations.for_each(|seen| making.observe(seen));
        let mut track = making.track;
        track.points.sort_by_key(|point| point.written_at);
        track
    }

    /// What it asks for at an instant; `None` when nothing was known by then, and from the end on.
    pub(super) fn at(&self, time: DateTime<Utc>) -> Option<&Arc<Change>> {
        let begun = self.stands.partition_point(|stand| stand.from <= time);
        let stand = self.stands.get(begun.checked_sub(1)?)?;
        (time < stand.to).then_some(&stand.change)
    }

    /// What it asks for just before an instant.
    pub(super) fn before(&self, time: DateTime<Utc>) -> Option<&Arc<Change>> {
        let begun = self.stands.partition_point(|stand| stand.from < time);
        self.stands.get(begun.checked_sub(1)?).map(|stand| &stand.change)
    }

    /// The instants of a span at which a stand begins.
    pub(super) fn turns(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let first = self.stands.partition_point(|stand| stand.from < from);
        self.stands.iter().skip(first).map(|stand| stand.from).take_while(move |begins| *begins < to)
    }

    /// What was asked for in a span.
    pub(super) fn points(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = &Point> {
        let first = self.points.partition_point(|point| point.written_at < from);
        self.points.iter().skip(first).take_while(move |point| point.written_at < to)
    }
}

/// The last step taken, whether or not it is before the end.
struct Last {
    at: DateTime<Utc>,
    change: Arc<Change>,
    /// Where its point is, if it was a write that is kept.
    point: Option<usize>,
}

impl Change {
    /// Whether a later change leaves the number alone: an end never does. A snapshot does not know which life it saw.
    fn is_the_same_number(&self, later: &Change) -> bool {
        self.exists() && self.asked == later.asked && (self.life == later.life || self.origin == Origin::Snapshot)
    }
}

/// A track in the making.
struct Making {
    track: Track,
    last: Option<Last>,
    until: DateTime<Utc>,
}

impl Making {
    fn write(&mut self, change: &Change) {
        let before = self.last.as_ref().map(|last| Arc::clone(&last.change));
        let is_change = before.as_deref().is_none_or(|before| !before.is_the_same_number(change));
        // The same number again was set by whoever set it first.
        let state = match before.filter(|before| !is_change && before.origin != Origin::Snapshot) {
            Some(before) => {
                Change { effective_at: before.effective_at, origin: before.origin.clone(), ..change.clone() }
            }
            None => Change { effective_at: self.forward(change.effective_at), ..change.clone() },
        };
        let written_at = change.written_at();
        let is_kept = written_at < self.until && change.origin != Origin::Snapshot;
        let point = is_kept.then_some(self.track.points.len());
        self.step(self.forward(change.effective_at), state, point);
        if is_kept {
            let change = Arc::new(change.clone());
            self.track.points.push(Point { written_at, change, is_change, is_instant: false });
        }
    }

    /// What agrees with what is known changes nothing.
    fn observe(&mut self, seen: &Observation) {
        let before = self.last.as_ref().map(|last| last.change.as_ref()).filter(|before| before.exists());
        let asked = Asked::of(seen.replicas, seen.replicas.is_none());
        let is_same_uid =
            before.and_then(|before| before.uid.as_ref()).zip(seen.uid.as_ref()).is_none_or(|(a, b)| a == b);
        let agrees =
            before.map_or(Asked::Nothing, |before| before.asked) == asked && (is_same_uid || seen.replicas.is_none());
        if agrees || seen.replicas.is_none() && !seen.complete {
            return;
        }
        let at = self.forward(seen.at);
        let state = Change {
            object: seen.object.clone(),
            uid: seen.uid.clone().or_else(|| before?.uid.clone()),
            life: before.map_or(0, |before| before.life),
            effective_at: at,
            asked,
            min_replicas: seen.min_replicas,
            effective: seen.effective,
            outside_range: seen.outside_range,
            in_scope: seen.in_scope,
            missed_writes: 0,
            origin: Origin::Snapshot,
        };
        self.step(at, state, None);
    }

    /// A time that does not run backwards.
    fn forward(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.last.as_ref().map_or(at, |last| last.at.max(at))
    }

    fn step(&mut self, at: DateTime<Utc>, state: Change, point: Option<usize>) {
        let state = Arc::new(state);
        if let Some(last) = self.last.as_ref().filter(|last| last.at == at && last.change.asked != state.asked)
            && let Some(passed) = last.point.and_then(|index| self.track.points.get_mut(index))
        {
            passed.is_instant = true;
        }
        if at < self.until {
            self.stand(at, Arc::clone(&state));
        }
        self.last = Some(Last { at, change: state, point });
    }

    fn stand(&mut self, from: DateTime<Utc>, change: Arc<Change>) {
        let stands = &mut self.track.stands;
        if stands.last().is_some_and(|last| last.from == from) {
            stands.pop();
        }
        if let Some(last) = stands.last_mut() {
            last.to = from;
        }
        stands.push(Stand { from, to: self.until, change });
    }
}
