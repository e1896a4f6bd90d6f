//! One object on one day.

use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use super::period::Piece;
use super::track::{Point, Track};
use super::{Asked, Change, InForce, Object, Origin, Period, Timeline};
use crate::id;

/// What one object comes to for one Deployment on one day (UTC): what `object_days` keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The day.
    pub date: NaiveDate,
    /// The object.
    pub object: Object,
    /// What it comes to, from midnight to midnight, or to the timeline's end.
    pub period: Period,
    /// Identity of what it was computed from: the states, writes and versions of that day.
    pub inputs_hash: String,
}

/// The instants between which a day is.
fn bounds(date: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let from = date.and_time(NaiveTime::MIN).and_utc();
    (from, from.checked_add_days(Days::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC))
}

impl Timeline {
    /// What one object comes to on one day.
    pub fn day(&self, object: &Object, date: NaiveDate) -> Day {
        let (from, to) = bounds(date);
        let period = self.period(object, from, to);
        let inputs_hash = self.inputs_hash(object, date, period.to);
        Day { date, object: object.clone(), period, inputs_hash }
    }

    fn inputs_hash(&self, object: &Object, date: NaiveDate, to: DateTime<Utc>) -> String {
        let from = bounds(date).0;
        let own = self.tracks.get(object).into_iter();
        let hpas = self.hpas().filter(|_| *object == self.deployment);
        let mut inputs = vec![format!("{} {} {date} {}", object.kind, object.name, id::time(to))];
        for track in own.chain(hpas) {
            inputs.extend(self.inputs(track, from, to));
        }
        id::id(&inputs.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn inputs(&self, track: &Track, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
        let pieces = self.pieces(track, from, to);
        let exists = |piece: &Piece<'_>| piece.change.is_some_and(|change| change.exists());
        let mut points = track.points(from, to).peekable();
        if points.peek().is_none() && !pieces.iter().any(exists) {
            return Vec::new();
        }
        let points = points.map(|point| {
            let is_billed = self.is_billed(&point.change, point.change.effective_at);
            format!("{} {is_billed} {}", point.written(), limit_written(self.course.at(point.written_at)))
        });
        let end = track.before(to).map_or_else(|| NOTHING.to_owned(), |change| written(change));
        pieces.iter().map(Piece::written).chain([end]).chain(points).collect()
    }
}

impl Piece<'_> {
    /// All that a day is computed from, as one line.
    fn written(&self) -> String {
        let state = self.change.map_or_else(|| NOTHING.to_owned(), |change| written(change));
        let (from, to) = (id::time(self.from), id::time(self.to));
        format!("{from} {to} {} {state} {}", self.is_billed, limit_written(self.in_force))
    }
}

impl Point {
    fn written(&self) -> String {
        let missed = self.change.missed_writes;
        format!(
            "{} {} {} {missed} {}",
            id::time(self.written_at),
            self.is_change,
            self.is_instant,
            written(&self.change)
        )
    }
}

/// What is gone is as what never was: no later day carries it in.
const NOTHING: &str = "nothing";

fn written(change: &Change) -> String {
    let Change { object, uid, effective_at, asked, min_replicas, effective, outside_range, in_scope, .. } = change;
    let (name, since) = (&object.name, id::time(*effective_at));
    let asked = match asked {
        Asked::Nothing => return NOTHING.to_owned(),
        Asked::Unknown => "unknown".to_owned(),
        Asked::Number(number) => number.to_string(),
    };
    let by = match &change.origin {
        Origin::Write(cause) => cause.event_id.as_str(),
        Origin::Snapshot => "snapshot",
    };
    format!("{name} {uid:?} {since} {asked} {min_replicas:?} {effective} {outside_range} {in_scope} {by}")
}

fn limit_written(in_force: Option<&Arc<InForce>>) -> String {
    let Some(in_force) = in_force else { return String::new() };
    let InForce { limit_id, max_replicas, initial_max_replicas, since, owner, resources } = in_force.as_ref();
    let (cpu, memory) = (resources.vcpu_millis, resources.memory_bytes);
    format!("{limit_id} {max_replicas} {initial_max_replicas} {} {owner:?} {cpu:?} {memory:?}", id::time(*since))
}
