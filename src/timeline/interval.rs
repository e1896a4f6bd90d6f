//! The Deployment's intervals: its own object, the highest of its HPAs and the PED's version, side by side.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::course::Course;
use super::track::Track;
use super::{Asked, Change, InForce, Object};
use crate::audit::ObjectKind;
use crate::policy::Verdict;

/// What something asks for, and what that comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What is asked for.
    pub asked: Asked,
    /// Since when and by whom, or who ended it; `None` when nothing was seen of it yet.
    pub set: Option<Arc<Change>>,
    /// Against the limit in force; `removed` where nothing is asked for. Whether it [`counts`](Change::counts) is another
    /// question.
    pub verdict: Verdict,
}

impl Standing {
    fn of(change: Option<&Arc<Change>>, in_force: Option<&InForce>) -> Self {
        let asked = change.map_or(Asked::Nothing, |change| change.asked);
        Standing { asked, set: change.cloned(), verdict: verdict(change.map(Arc::as_ref), in_force) }
    }
}

/// What a state comes to by a limit.
pub(super) fn verdict(change: Option<&Change>, in_force: Option<&InForce>) -> Verdict {
    let Some(change) = change.filter(|change| change.exists()) else { return Verdict::Removed };
    Verdict::of(change.asked.number(), in_force.map(|in_force| in_force.max_replicas), change.outside_range)
}

/// What was in force from an instant to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub to: DateTime<Utc>,
    /// The Deployment's own number.
    pub replicas: Standing,
    /// The highest `maxReplicas` of the HPAs that aim at it and find it. One that is unknown only shows where no other is
    /// known.
    pub hpa: Standing,
    /// The PED's version in force; `None` where none is.
    pub in_force: Option<Arc<InForce>>,
}

impl Interval {
    /// Whether the Deployment, or an HPA of it, asks for more than the limit in force, and it is held against it.
    pub fn is_over(&self) -> bool {
        let is_over = |standing: &Standing| {
            standing.verdict == Verdict::OverLimit && standing.set.as_ref().is_some_and(|change| change.counts())
        };
        is_over(&self.replicas) || is_over(&self.hpa)
    }
}

/// All intervals of a Deployment.
pub(super) fn sweep(
    deployment: &Object,
    tracks: &BTreeMap<Object, Track>,
    course: &Course,
    until: DateTime<Utc>,
) -> Vec<Interval> {
    let stands = tracks.iter().flat_map(|(object, track)| track.stands.iter().map(move |stand| (object, stand)));
    let mut steps: BTreeMap<DateTime<Utc>, Vec<&Arc<Change>>> = BTreeMap::new();
    for (_, stand) in stands.filter(|(object, _)| *object == deployment || is_hpa(object)) {
        steps.entry(stand.from).or_default().push(&stand.change);
    }
    let Some(start) = steps.keys().next().copied() else { return Vec::new() };
    for turn in course.turns(start, until) {
        steps.entry(turn).or_default();
    }
    let ends: Vec<DateTime<Utc>> = steps.keys().copied().skip(1).chain([until]).collect();
    let mut own = None;
    let mut hpas = Hpas::default();
    let mut intervals: Vec<Interval> = Vec::new();
    for ((from, changes), to) in steps.into_iter().zip(ends) {
        for change in changes {
            if is_hpa(&change.object) { hpas.set(change) } else { own = Some(change) }
        }
        let in_force = course.at(from);
        let standing = |change| Standing::of(change, in_force.map(Arc::as_ref));
        let (replicas, hpa) = (standing(own), standing(hpas.highest()));
        push(&mut intervals, Interval { from, to, replicas, hpa, in_force: in_force.cloned() });
    }
    intervals
}

fn is_hpa(object: &Object) -> bool {
    object.kind == ObjectKind::HorizontalPodAutoscaler
}

/// Appends an interval, or lengthens the last one where nothing changed.
fn push(intervals: &mut Vec<Interval>, next: Interval) {
    match intervals.last_mut() {
        Some(last) if (&last.replicas, &last.hpa, &last.in_force) == (&next.replicas, &next.hpa, &next.in_force) => {
            last.to = next.to;
        }
        _ => intervals.push(next),
    }
}

/// Where an HPA stands among the others: an unknown number is behind all, and of equal ones the first counts.
type Rank<'c> = (Option<i64>, Reverse<DateTime<Utc>>, Reverse<&'c Object>);

/// The HPAs that aim at the Deployment and find it, at one instant.
#[derive(Default)]
struct Hpas<'c> {
    states: BTreeMap<&'c Object, &'c Arc<Change>>,
    ranks: BTreeSet<Rank<'c>>,
}

impl<'c> Hpas<'c> {
    fn set(&mut self, change: &'c Arc<Change>) {
        if let Some(before) = self.states.remove(&change.object) {
            self.ranks.remove(&rank(before));
        }
        if change.exists() && change.effective {
            self.states.insert(&change.object, change);
            self.ranks.insert(rank(change));
        }
    }

    fn highest(&self) -> Option<&'c Arc<Change>> {
        let (_, _, Reverse(object)) = self.ranks.last()?;
        self.states.get(object).copied()
    }
}

fn rank(change: &Change) -> Rank<'_> {
    (change.asked.number(), Reverse(change.effective_at), Reverse(&change.object))
}
