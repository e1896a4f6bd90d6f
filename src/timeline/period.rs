//! What one object comes to in a span of time.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::interval::verdict;
use super::peaks::{Peak, Peaks};
use super::track::{Point, Track};
use super::{Asked, Change, InForce, Object, Origin, Timeline};
use crate::audit::ObjectKind;
use crate::policy::Verdict;

/// A highest number, since when and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct High {
    /// The number.
    pub number: i64,
    /// The object that asked for it.
    pub object: Object,
    /// From when it was asked for, in the span that was asked about.
    pub from: DateTime<Utc>,
    /// When it was set, which may have been long before.
    pub set_at: DateTime<Utc>,
    /// By whom.
    pub origin: Origin,
    /// Who was charged at `from`.
    pub owner: Option<String>,
}

impl High {
    fn of(change: &Change, from: DateTime<Utc>, in_force: Option<&InForce>) -> Option<Self> {
        Some(High {
            number: change.asked.number().filter(|_| change.counts())?,
            object: change.object.clone(),
            from,
            set_at: change.written_at(),
            origin: change.origin.clone(),
            owner: in_force.map(|in_force| in_force.owner.clone()),
        })
    }

    /// The highest; of equal ones the first that was set.
    fn rank(&self) -> impl Ord {
        let event = self.origin.cause().map(|cause| Reverse(&cause.event_id));
        (self.number, Reverse(self.set_at), Reverse(&self.object), event, Reverse(self.from))
    }

    fn raise(highest: &mut Option<High>, other: Option<High>) {
        let is_higher = |other: &High| highest.as_ref().is_none_or(|highest| highest.rank() < other.rank());
        if let Some(other) = other.filter(is_higher) {
            *highest = Some(other);
        }
    }
}

/// How long each verdict held, in microseconds. Together they are the span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictMicros {
    /// Within its limit.
    pub within: i64,
    /// Over its limit.
    pub over_limit: i64,
    /// Outside what the platform allows anybody.
    pub outside_platform_range: i64,
    /// Without a PED.
    pub unregistered: i64,
    /// With a number that is not known.
    pub unknown_value: i64,
    /// Not there, or not seen yet.
    pub absent: i64,
    /// There, but held against nobody: out of scope, or an HPA that finds no target.
    pub not_judged: i64,
}

impl VerdictMicros {
    fn add(&mut self, verdict: Verdict, counts: bool, micros: i64) {
        let sum = match verdict {
            Verdict::Removed => &mut self.absent,
            _ if !counts => &mut self.not_judged,
            Verdict::Within => &mut self.within,
            Verdict::OverLimit => &mut self.over_limit,
            Verdict::OutsidePlatformRange => &mut self.outside_platform_range,
            Verdict::Unregistered => &mut self.unregistered,
            Verdict::UnknownValue => &mut self.unknown_value,
        };
        *sum += micros;
    }

    fn fields(&mut self) -> [&mut i64; 7] {
        let VerdictMicros {
            within,
            over_limit,
            outside_platform_range,
            unregistered,
            unknown_value,
            absent,
            not_judged,
        } = self;
        [within, over_limit, outside_platform_range, unregistered, unknown_value, absent, not_judged]
    }

    fn join(&mut self, mut later: VerdictMicros) {
        self.fields().into_iter().zip(later.fields()).for_each(|(sum, more)| *sum += *more);
    }

    /// All of it.
    pub fn total(mut self) -> i64 {
        self.fields().into_iter().map(|micros| *micros).sum()
    }
}

/// What one object comes to in a span of time, [from, to).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it; at most the timeline's end.
    pub to: DateTime<Utc>,
    /// Until when the object was there, or was asked for; `None` when it was neither.
    pub existed_until: Option<DateTime<Utc>>,
    /// Whether it concerned anybody while it was there.
    pub in_scope: bool,
    /// The state at its end, which what comes after carries in: what the object asks for, or its end, where that is in the
    /// span. `None` where it was gone before, or nothing was known of it yet.
    pub end: Option<Arc<Change>>,
    /// The highest number that was asked for, however short.
    pub highest: Option<High>,
    /// Of a Deployment: the highest `maxReplicas` of the HPAs that aim at it.
    pub highest_hpa: Option<High>,
    /// The highest limit in force while the object was there; of equal ones the first.
    pub highest_limit: Option<Arc<InForce>>,
    /// What was in force, with the owner, when the object was there last; `None` where nothing was.
    pub last_limit: Option<Arc<InForce>>,
    /// The highest products of a limit, while the object and its Deployment were there.
    pub limit_peaks: Peaks,
    /// The highest products of a number that was asked for, while its Deployment was there. The products of the higher of
    /// both are these joined with the limit's.
    pub requested_peaks: Peaks,
    /// Replicas times microseconds. At the most a column holds (106 million replicas for a day) it stops.
    pub replica_micros: i64,
    /// How long each verdict held.
    pub verdicts: VerdictMicros,
    /// Writes in it that changed a watched value, or showed that others were missed; by their own time, as are those below.
    pub writes: i64,
    /// Those after which another number stands.
    pub changes: i64,
    /// Writes before those that no entry explains.
    pub missed_writes: i64,
}

/// A part of a span in which nothing changes.
pub(super) struct Piece<'t> {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) change: Option<&'t Arc<Change>>,
    /// Whether its Deployment is there, and in scope.
    pub(super) is_billed: bool,
    pub(super) in_force: Option<&'t Arc<InForce>>,
}

impl Timeline {
    /// What one object comes to in a span of time.
    pub fn period(&self, object: &Object, from: DateTime<Utc>, to: DateTime<Utc>) -> Period {
        let to = to.min(self.until).max(from);
        let unseen = Track::default();
        let track = self.tracks.get(object).unwrap_or(&unseen);
        let mut period = Period::new(from, to);
        period.end = track.before(to).filter(|end| end.exists() || from <= end.effective_at).cloned();
        self.pieces(track, from, to).iter().for_each(|piece| period.take(piece));
        for point in track.points(from, to) {
            let in_force = self.course.at(point.written_at);
            period.ask(point, in_force, self.is_billed(&point.change, point.change.effective_at));
        }
        if *object == self.deployment {
            period.highest_hpa = self.highest_hpa(from, to);
        }
        period
    }

    /// A span, cut wherever the object, its Deployment or its PED changes.
    pub(super) fn pieces<'t>(&'t self, track: &'t Track, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Piece<'t>> {
        let own = self.tracks.get(&self.deployment).into_iter();
        let turns =
            own.flat_map(|own| own.turns(from, to)).chain(track.turns(from, to)).chain(self.course.turns(from, to));
        let begins: BTreeSet<DateTime<Utc>> = turns.chain((from < to).then_some(from)).collect();
        let ends = begins.iter().copied().skip(1).chain([to]);
        let piece = |(&from, to)| {
            let change = track.at(from);
            let is_billed = change.is_some_and(|change| self.is_billed(change, from));
            Piece { from, to, change, is_billed, in_force: self.course.at(from) }
        };
        begins.iter().zip(ends).map(piece).collect()
    }

    /// Whether what an object asks for is billed: an HPA alone is not.
    pub(super) fn is_billed(&self, change: &Change, at: DateTime<Utc>) -> bool {
        let is_there = |own: &Change| own.exists() && own.in_scope;
        if change.object == self.deployment {
            return is_there(change);
        }
        change.exists() && self.tracks.get(&self.deployment).and_then(|own| own.at(at)).is_some_and(|own| is_there(own))
    }

    fn highest_hpa(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<High> {
        let mut highest = None;
        for track in self.hpas() {
            for piece in self.pieces(track, from, to) {
                High::raise(&mut highest, piece.high());
            }
            for point in track.points(from, to) {
                let in_force = self.course.at(point.written_at).map(Arc::as_ref);
                High::raise(&mut highest, High::of(&point.change, point.written_at, in_force));
            }
        }
        highest
    }

    /// The HPAs that aim, or aimed, at the Deployment.
    pub(super) fn hpas(&self) -> impl Iterator<Item = &Track> {
        let is_hpa = |object: &Object| object.kind == ObjectKind::HorizontalPodAutoscaler;
        self.tracks.iter().filter(move |(object, _)| is_hpa(object)).map(|(_, track)| track)
    }
}

impl Piece<'_> {
    fn high(&self) -> Option<High> {
        High::of(self.change?, self.from, self.in_force.map(Arc::as_ref))
    }

    fn micros(&self) -> i64 {
        self.to.timestamp_micros() - self.from.timestamp_micros()
    }
}

impl Period {
    fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Period {
            from,
            to,
            existed_until: None,
            in_scope: false,
            end: None,
            highest: None,
            highest_hpa: None,
            highest_limit: None,
            last_limit: None,
            limit_peaks: Peaks::default(),
            requested_peaks: Peaks::default(),
            replica_micros: 0,
            verdicts: VerdictMicros::default(),
            writes: 0,
            changes: 0,
            missed_writes: 0,
        }
    }

    /// Whether the object was there for a part of it, or was asked for in it.
    pub fn existed(&self) -> bool {
        self.existed_until.is_some()
    }

    /// The owner when the object was there last.
    pub fn owner(&self) -> Option<&str> {
        self.last_limit.as_ref().map(|in_force| in_force.owner.as_str())
    }

    /// The period that follows it, of the same object, appended: the same as if it had never been cut.
    #[must_use]
    pub fn join(mut self, later: Period) -> Period {
        if later.existed() {
            self.existed_until = later.existed_until;
            self.last_limit = later.last_limit;
        }
        self.to = later.to;
        self.in_scope |= later.in_scope;
        self.end = later.end.or(self.end);
        High::raise(&mut self.highest, later.highest);
        High::raise(&mut self.highest_hpa, later.highest_hpa);
        self.raise_limit(later.highest_limit.as_ref());
        self.limit_peaks.join(&later.limit_peaks);
        self.requested_peaks.join(&later.requested_peaks);
        self.replica_micros = self.replica_micros.saturating_add(later.replica_micros);
        self.verdicts.join(later.verdicts);
        self.writes += later.writes;
        self.changes += later.changes;
        self.missed_writes += later.missed_writes;
        self
    }

    fn take(&mut self, piece: &Piece<'_>) {
        let counts = piece.change.is_some_and(|change| change.counts());
        let verdict = verdict(piece.change.map(Arc::as_ref), piece.in_force.map(Arc::as_ref));
        self.verdicts.add(verdict, counts, piece.micros());
        let Some(change) = piece.change.filter(|change| change.exists()) else { return };
        self.exist(change, piece.to, piece.in_force);
        self.raise_limit(piece.in_force);
        if let Some(high) = piece.high() {
            self.replica_micros = self.replica_micros.saturating_add(high.number.saturating_mul(piece.micros()));
            High::raise(&mut self.highest, Some(high));
        }
        if piece.is_billed {
            self.bill(change, piece.in_force, piece.from, piece.to);
        }
    }

    /// What was written in it counts for it, however short it stood.
    fn ask(&mut self, point: &Point, in_force: Option<&Arc<InForce>>, is_billed: bool) {
        let change = &point.change;
        self.writes += 1;
        self.changes += i64::from(point.is_change);
        self.missed_writes += change.missed_writes;
        if change.asked == Asked::Nothing {
            return;
        }
        if self.existed_until.is_none_or(|until| until < point.written_at) {
            self.exist(change, point.written_at, in_force);
        }
        self.in_scope |= change.in_scope;
        High::raise(&mut self.highest, High::of(change, point.written_at, in_force.map(Arc::as_ref)));
        if point.is_instant {
            self.raise_limit(in_force);
        }
        if point.is_instant && is_billed {
            self.bill(change, in_force, point.written_at, point.written_at);
        }
    }

    fn exist(&mut self, change: &Change, until: DateTime<Utc>, in_force: Option<&Arc<InForce>>) {
        self.existed_until = Some(until);
        self.last_limit = in_force.cloned();
        self.in_scope |= change.in_scope;
    }

    fn raise_limit(&mut self, in_force: Option<&Arc<InForce>>) {
        let rank = |in_force: &InForce| (in_force.max_replicas, Reverse(in_force.since));
        let is_higher =
            |other: &Arc<InForce>| self.highest_limit.as_ref().is_none_or(|limit| rank(limit) < rank(other));
        if let Some(other) = in_force.filter(|other| is_higher(other)) {
            self.highest_limit = Some(Arc::clone(other));
        }
    }

    fn bill(&mut self, change: &Change, in_force: Option<&Arc<InForce>>, from: DateTime<Utc>, to: DateTime<Utc>) {
        let peak = |max_replicas: i64, source: Option<&str>| Peak {
            max_replicas,
            vcpu_millis: in_force.and_then(|in_force| in_force.resources.vcpu_millis),
            memory_bytes: in_force.and_then(|in_force| in_force.resources.memory_bytes),
            from,
            to,
            source: source.map(str::to_owned),
            owner: in_force.map(|in_force| in_force.owner.clone()),
        };
        if let Some(in_force) = in_force {
            self.limit_peaks.add(peak(in_force.max_replicas, Some(&in_force.limit_id)));
        }
        if let Some(number) = change.asked.number().filter(|_| change.counts()) {
            self.requested_peaks.add(peak(number, change.origin.cause().map(|cause| cause.event_id.as_str())));
        }
    }
}
