//! What was in force when: the ordered changes of one Deployment and of the HPAs that aim at it, its PED's versions and
//! what snapshots saw, as intervals of time. Pure.
//!
//! ```text
//!  changes (in the store's order) ┐            ┌ intervals   [from, to) of the Deployment
//!  observations of snapshots      ├─ Timeline ─┤ asked       what was asked for, however short it stood
//!  versions (in any order)        ┘            └ period, day what one object comes to in a span of time
//! ```
//!
//! This is the one place that cuts time at a change. Times are *effective* times, which never run backwards, in UTC; a
//! span holds its first instant and not its last. Whatever is said of a span of time is a fold over these intervals.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::audit::{ObjectKind, Operation};
use crate::ped::Cluster;
use crate::ped::version::Version;
use crate::policy::Route;

mod course;
mod day;
mod interval;
mod peaks;
mod period;
pub mod reality;
mod stage;
mod track;

pub use course::{InForce, Resources};
pub use day::Day;
pub use interval::{Interval, Standing};
pub use peaks::{Peak, Peaks};
pub use period::{High, Period, VerdictMicros};
pub use stage::{Stage, Stood};
pub use track::Point;

use course::Course;
use track::Track;

/// What asks for replicas of a Deployment in a cluster and namespace: the Deployment itself, or an HPA that aims at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    /// A Deployment or an HPA.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

/// What an object asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: it is not there, or aims at another Deployment; or nothing was seen of it yet.
    Nothing,
    /// It is there, and how many it asks for is not known.
    Unknown,
    /// So many replicas; of an HPA, its `maxReplicas`.
    Number(i64),
}

impl Asked {
    /// What a row says: a removal says nothing of the number, and neither does a write without one.
    pub fn of(replicas: Option<i64>, removed: bool) -> Self {
        match replicas {
            _ if removed => Asked::Nothing,
            None => Asked::Unknown,
            Some(replicas) => Asked::Number(replicas),
        }
    }

    /// The number, where it is known.
    pub fn number(self) -> Option<i64> {
        match self {
            Asked::Number(number) => Some(number),
            Asked::Nothing | Asked::Unknown => None,
        }
    }
}

/// The write that brought something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The entry.
    pub event_id: String,
    /// The write; the pieces of a split entry share it.
    pub write_id: String,
    /// When it was written, by its own timestamp (`event_time`).
    pub written_at: DateTime<Utc>,
    /// Who wrote it.
    pub actor: String,
    /// Whom they impersonated.
    pub on_behalf_of: Option<String>,
    /// Which way it came.
    pub route: Route,
    /// What was done.
    pub operation: Operation,
}

/// In the place of who wrote something: what a complete snapshot taught, and no entry tells.
pub const SNAPSHOT: &str = "(snapshot)";

impl Cause {
    /// Whether it is no write at all, but what a complete snapshot showed.
    pub fn is_snapshot(&self) -> bool {
        self.actor == SNAPSHOT
    }
}

/// Where what is known comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A write.
    Write(Arc<Cause>),
    /// A snapshot of the cluster, which no write explains.
    Snapshot,
}

impl Origin {
    /// The write, where it was one.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Origin::Write(cause) => Some(cause),
            Origin::Snapshot => None,
        }
    }
}

/// A change of what one object asks for: a row of the view `replica_changes`. Also the state that it leaves, and as such
/// what a later question carries in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub object: Object,
    /// Its uid, where an entry shows it.
    pub uid: Option<String>,
    /// Which of its lives, in the order of birth.
    pub life: i64,
    /// When it took effect; of a state: since when the number stands.
    pub effective_at: DateTime<Utc>,
    /// What the object asks for now; [`Asked::Nothing`] when it ends, or turns away from this Deployment.
    pub asked: Asked,
    /// `minReplicas` of an HPA.
    pub min_replicas: Option<i64>,
    /// Whether it scales: an HPA whose target is not found asks for nothing that counts.
    pub effective: bool,
    /// Whether the number is outside what the platform allows anybody.
    pub outside_range: bool,
    /// Whether it concerns anybody: what is out of scope is shown, and held against nobody.
    pub in_scope: bool,
    /// Writes before it that no entry explains.
    pub missed_writes: i64,
    /// Who brought it about; of a state: who set the number.
    pub origin: Origin,
}

impl Change {
    /// When it was written by its own timestamp; of a snapshot, when it was seen.
    pub fn written_at(&self) -> DateTime<Utc> {
        self.origin.cause().map_or(self.effective_at, |cause| cause.written_at)
    }

    /// Whether what it asks for is held against the limit.
    pub fn counts(&self) -> bool {
        self.in_scope && self.effective
    }

    /// Whether the object is there.
    fn exists(&self) -> bool {
        self.asked != Asked::Nothing
    }
}

/// What a snapshot saw of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: DateTime<Utc>,
    /// What was looked for.
    pub object: Object,
    /// Its uid.
    pub uid: Option<String>,
    /// How many it asks for; `None` when it is not there.
    pub replicas: Option<i64>,
    /// `minReplicas` of an HPA.
    pub min_replicas: Option<i64>,
    /// As [`Change::effective`].
    pub effective: bool,
    /// As [`Change::outside_range`].
    pub outside_range: bool,
    /// As [`Change::in_scope`].
    pub in_scope: bool,
    /// Whether the snapshot saw all that there is: only then does absence mean something.
    pub complete: bool,
}

/// What a timeline is made of: all that is known of one Deployment in one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Input<'i> {
    /// The cluster.
    pub cluster: Cluster<'i>,
    /// Kubernetes namespace.
    pub namespace: &'i str,
    /// Name of the Deployment.
    pub deployment: &'i str,
    /// The states carried in and the changes after them: those of one object in the store's order, objects in any.
    pub changes: &'i [Change],
    /// What snapshots saw, in any order.
    pub observations: &'i [Observation],
    /// The versions of its PED in all scopes of clusters, in any order.
    pub versions: &'i [Version],
    /// Where it ends: nothing is said of what takes effect then or later.
    pub until: DateTime<Utc>,
}

/// What was in force when, for one Deployment in one cluster.
#[derive(Debug, Clone)]
pub struct Timeline {
    deployment: Object,
    tracks: BTreeMap<Object, Track>,
    course: Course,
    intervals: Vec<Interval>,
    until: DateTime<Utc>,
}

impl Timeline {
    /// Puts it together. The cost is that of sorting the changes by time, once.
    pub fn new(input: &Input<'_>) -> Self {
        let mut told: BTreeMap<&Object, (Vec<&Change>, Vec<&Observation>)> = BTreeMap::new();
        for change in input.changes {
            told.entry(&change.object).or_default().0.push(change);
        }
        for seen in input.observations {
            told.entry(&seen.object).or_default().1.push(seen);
        }
        let track = |(object, (changes, seen)): (&Object, _)| (object.clone(), Track::new(changes, seen, input.until));
        let tracks: BTreeMap<Object, Track> = told.into_iter().map(track).collect();
        let course = Course::new(input);
        let deployment = Object { kind: ObjectKind::Deployment, name: input.deployment.to_owned() };
        let intervals = interval::sweep(&deployment, &tracks, &course, input.until);
        Timeline { deployment, tracks, course, intervals, until: input.until }
    }

    /// The intervals, in order and without a gap, from the first known state to the end.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// What was in force at an instant; `None` before the first known state, and from the end on.
    pub fn at(&self, time: DateTime<Utc>) -> Option<&Interval> {
        let begun = self.intervals.partition_point(|interval| interval.from <= time);
        self.intervals.get(begun.checked_sub(1)?).filter(|interval| time < interval.to)
    }

    /// The objects that something is known of, the Deployment first.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.tracks.keys()
    }

    /// What was asked for of one object, by the time of writing: also what was stored and never stood for any time.
    pub fn asked(&self, object: &Object) -> &[Point] {
        self.tracks.get(object).map_or(&[], |track| track.points.as_slice())
    }

    /// The version of the PED in force at an instant.
    pub fn in_force(&self, time: DateTime<Utc>) -> Option<&InForce> {
        self.course.at(time).map(Arc::as_ref)
    }
}
