//! What runs, held against what the log says of it: one Deployment or one HPA, at the time of a complete snapshot.
//!
//! | runs | the log, up to then | is |
//! |---|---|---|
//! | replicas r, generation g | the same life, r, g (scales count, and show no generation) | nothing |
//! | it | nothing, and it is older than the cluster's first entry | a baseline |
//! | it | nothing, and it is younger; or only an earlier life | a create that was missed |
//! | r, a later generation | the same life, r | changes that were missed, of something else than the number |
//! | r | the same life, another number | drift |
//! | r | the same life, an unknown number | the number, known now |
//! | it | the same life, ended | an end that did not happen |
//! | nothing | something | a delete that was missed |
//!
//! and beside that, whatever the log says: over the limit, without a limit, a limit of nothing, something else in its place, pods
//! over it. An HPA's replicas are the most that it may scale to; where it aims at another Deployment than the log says, that is
//! a change that was missed.
//!
//! What is found is recorded beside the log's own entries, so each thing is found once, by the first snapshot that shows it.

use chrono::{DateTime, Duration, Utc};

use super::Asked;
use crate::names::named;

mod contested;
mod words;

pub use contested::{Contest, Turns};
pub use words::{sentence, sentence_of_hpa};

/// What the comparison goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// A snapshot is compared so long after it was taken: entries take their time.
    pub settle: Duration,
    /// So many Deployments of one cluster and day with a missed write are one broken sink.
    pub broken_sink_writes: usize,
    /// A limit is unused when its Deployment is not there for so long.
    pub unused: Duration,
    /// So many changes of one number by two writers in turn, within a day, are contested.
    pub contested_changes: usize,
}

/// A Deployment in a snapshot, or an HPA that finds one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Running {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub version: Option<String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<DateTime<Utc>>,
    /// `spec.replicas`, of an HPA `spec.maxReplicas`; `None` where it cannot be.
    pub replicas: Option<i64>,
    /// Of an HPA `spec.minReplicas`.
    pub min_replicas: Option<i64>,
    /// Of an HPA the name of the Deployment that it finds.
    pub target: Option<String>,
    /// How many pods a rollout may have beyond those.
    pub surge: Option<i64>,
    /// Pods that are neither terminal nor terminating; `None` where they were not counted.
    pub running_pods: Option<i64>,
    /// Who set the number last and when, as they call themselves (`managedFields`): a hint, and no proof.
    pub set_by: Option<(String, Option<DateTime<Utc>>)>,
}

named! {
    /// What may run in the place of a Deployment: the limit of one sees neither.
    pub enum Workload {
        /// Of `apps`.
        StatefulSet = "StatefulSet",
        /// Of Argo Rollouts.
        Rollout = "Rollout",
    }
}

/// What runs in the place of a Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replacement {
    /// What it is.
    pub kind: Workload,
    /// `spec.replicas`.
    pub replicas: i64,
}

/// The object of that name, as the log left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The life it is about, where an entry showed it.
    pub uid: Option<String>,
    /// The last generation that an entry showed.
    pub generation: Option<i64>,
    /// Writes since then that show none: those of `/scale`.
    pub scales_since: i64,
    /// When the last of its writes took effect.
    pub last_at: DateTime<Utc>,
    /// What it asks for; nothing, where it ended, or finds no Deployment.
    pub asked: Asked,
    /// Of an HPA the name of the Deployment that it aims at, where that is known.
    pub target: Option<String>,
}

/// What else there is to know at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// When the log first named the cluster; `None`: never.
    pub logged_since: Option<DateTime<Utc>>,
    /// The limit in force.
    pub limit: Option<i64>,
    /// Whether it is told already that it is over it.
    pub is_told_over: bool,
    /// Whether it is told already that none is in force.
    pub is_told_unregistered: bool,
    /// Whether in the snapshot before this one it also had more pods than the limit and a rollout allow.
    pub had_too_many_pods: bool,
    /// Whether it has been absent for as long as a limit may be without a Deployment.
    pub is_long_absent: bool,
    /// What runs in its place.
    pub replaced_by: Option<Replacement>,
}

/// What one Deployment or HPA comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It ran before there was a log: a number to begin with, and no alert.
    Baseline,
    /// It was made, and the log does not say so.
    MissedCreate,
    /// It was changed so many times beside its number, and the log does not say so.
    MissedChanges(i64),
    /// It went, and the log does not say so.
    MissedDelete,
    /// The log says that it went, and it is there.
    NotGone,
    /// It asks for another number than the log says.
    Drift {
        /// What the log says.
        told: i64,
    },
    /// The log did not tell the number, and here it is.
    NowKnown,
    /// It asks for more than the limit, and no alert says so.
    OverLimit,
    /// It has more pods than the limit and a rollout allow, twice running.
    TooManyPods,
    /// No limit is in force for it.
    Unregistered,
    /// A limit is in force for what is not there.
    UnusedLimit,
    /// A limit is in force for what is not there or asks for nothing, and something else runs in its place.
    Replaced(Replacement),
}

impl Finding {
    /// Whether a write went by that the log should have told: it was lost, unlogged, or the sink is broken.
    pub fn is_missed_write(self) -> bool {
        use Finding::{Drift, MissedChanges, MissedCreate, MissedDelete};
        matches!(self, MissedCreate | MissedChanges(_) | MissedDelete | Drift { .. })
    }
}

/// Whether there are more pods than the limit and a rollout allow, though no more are asked for than that.
pub fn has_too_many_pods(running: &Running, limit: Option<i64>) -> bool {
    let allowed = limit.map(|limit| limit.saturating_add(running.surge.unwrap_or(0)));
    let (Some(pods), Some(replicas), Some(allowed)) = (running.running_pods, running.replicas, allowed) else {
        return false;
    };
    pods > allowed && allowed >= replicas
}

/// Holds one object of a complete snapshot (`None`: it is not there) against what the log says of its name.
pub fn compare(running: Option<&Running>, told: Option<&Told>, circumstances: &Circumstances) -> Vec<Finding> {
    let replaced = circumstances.replaced_by.filter(|_| circumstances.limit.is_some()).map(Finding::Replaced);
    let Some(running) = running else {
        let is_missed = told.is_some_and(|told| told.asked != Asked::Nothing);
        let is_unused = circumstances.limit.is_some() && circumstances.is_long_absent;
        let unused = replaced.or(is_unused.then_some(Finding::UnusedLimit));
        return [is_missed.then_some(Finding::MissedDelete), unused].into_iter().flatten().collect();
    };
    let mut findings: Vec<Finding> = against_the_log(running, told, circumstances).into_iter().collect();
    let Circumstances { limit, is_told_over, is_told_unregistered, had_too_many_pods, .. } = *circumstances;
    match (limit, running.replicas) {
        (None, _) if !is_told_unregistered => findings.push(Finding::Unregistered),
        (Some(limit), Some(replicas)) if replicas > limit && !is_told_over => findings.push(Finding::OverLimit),
        _ => {}
    }
    if had_too_many_pods && has_too_many_pods(running, limit) {
        findings.push(Finding::TooManyPods);
    }
    // A Rollout that refers to a Deployment scales that to zero; beside one that runs, it is another workload.
    findings.extend(replaced.filter(|_| running.replicas == Some(0)));
    findings
}

fn against_the_log(running: &Running, told: Option<&Told>, circumstances: &Circumstances) -> Option<Finding> {
    let Some(told) = told else {
        let is_older = |since| running.created_at.is_none_or(|created| created < since);
        let is_baseline = circumstances.logged_since.is_none_or(is_older);
        return Some(if is_baseline { Finding::Baseline } else { Finding::MissedCreate });
    };
    if told.uid.as_ref().zip(running.uid.as_ref()).is_some_and(|(told, runs)| told != runs) {
        return Some(Finding::MissedCreate);
    }
    match (told.asked, running.replicas) {
        (Asked::Nothing, _) => Some(Finding::NotGone),
        (Asked::Unknown, Some(_)) => Some(Finding::NowKnown),
        (Asked::Number(told), Some(replicas)) if told != replicas => Some(Finding::Drift { told }),
        (Asked::Number(_), _) if told.target.is_none() && running.target.is_some() => Some(Finding::NowKnown),
        (Asked::Number(_), _) if told.target != running.target => Some(Finding::MissedChanges(1)),
        (Asked::Number(_) | Asked::Unknown, _) => unseen(running, told).map(Finding::MissedChanges),
    }
}

/// How many changes went by. A scale to the number that stands already counts among those that were told, and is none.
fn unseen(running: &Running, told: &Told) -> Option<i64> {
    let known = told.generation?.saturating_add(told.scales_since);
    Some(running.generation?.saturating_sub(known)).filter(|unseen| *unseen > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::Duration::days(day)
    }

    /// Three replicas within a limit of four, in a cluster that has been logged since day 10.
    fn usual() -> (Running, Told, Circumstances) {
        let running = Running {
            uid: Some("a".to_owned()),
            version: Some("50".to_owned()),
            generation: Some(5),
            created_at: Some(at(20)),
            replicas: Some(3),
            min_replicas: None,
            target: None,
            surge: Some(1),
            running_pods: Some(3),
            set_by: None,
        };
        let told = Told {
            uid: Some("a".to_owned()),
            generation: Some(5),
            scales_since: 0,
            last_at: at(20),
            asked: Asked::Number(3),
            target: None,
        };
        (running, told, Circumstances { logged_since: Some(at(10)), limit: Some(4), ..Circumstances::default() })
    }

    const STATEFUL: Replacement = Replacement { kind: Workload::StatefulSet, replicas: 5 };

    /// What another situation than the usual one comes to: `None` for what is not there, or not told.
    type Changed = fn(&mut Option<Running>, &mut Option<Told>, &mut Circumstances);

    fn found(changed: Changed) -> Vec<Finding> {
        let (running, told, mut circumstances) = usual();
        let (mut running, mut told) = (Some(running), Some(told));
        changed(&mut running, &mut told, &mut circumstances);
        compare(running.as_ref(), told.as_ref(), &circumstances)
    }

    fn set<T>(what: &mut Option<T>, change: impl FnOnce(&mut T)) {
        change(what.as_mut().expect("it is there"));
    }

    #[test]
    fn every_line_of_the_table() {
        use Finding::*;
        let lines: &[(&str, Changed, &[Finding])] = &[
            ("as told", |_, _, _| {}, &[]),
            (
                "scales show no generation",
                |_, told, _| set(told, |told| (told.generation, told.scales_since) = (Some(3), 2)),
                &[],
            ),
            ("scales that changed nothing", |_, told, _| set(told, |told| told.scales_since = 4), &[]),
            (
                "the log does not show the life",
                |_, told, _| set(told, |told| (told.uid, told.generation) = (None, None)),
                &[],
            ),
            (
                "older than the log",
                |runs, told, _| {
                    *told = None;
                    set(runs, |runs| runs.created_at = Some(at(9)));
                },
                &[Baseline],
            ),
            ("no log at all", |_, told, around| (*told, around.logged_since) = (None, None), &[Baseline]),
            (
                "its age is not known",
                |runs, told, _| {
                    *told = None;
                    set(runs, |runs| runs.created_at = None);
                },
                &[Baseline],
            ),
            ("younger than the log", |_, told, _| *told = None, &[MissedCreate]),
            ("an earlier life", |_, told, _| set(told, |told| told.uid = Some("b".to_owned())), &[MissedCreate]),
            (
                "an earlier life that ended",
                |_, told, _| {
                    set(told, |told| (told.uid, told.asked) = (Some("b".to_owned()), Asked::Nothing));
                },
                &[MissedCreate],
            ),
            (
                "changes beside the number",
                |runs, _, _| set(runs, |runs| runs.generation = Some(7)),
                &[MissedChanges(2)],
            ),
            ("another number", |_, told, _| set(told, |told| told.asked = Asked::Number(2)), &[Drift { told: 2 }]),
            (
                "another number, over the limit",
                |runs, _, _| set(runs, |runs| runs.replicas = Some(6)),
                &[Drift { told: 3 }, OverLimit],
            ),
            ("an unknown number", |_, told, _| set(told, |told| told.asked = Asked::Unknown), &[NowKnown]),
            ("a number that cannot be", |runs, _, _| set(runs, |runs| runs.replicas = None), &[]),
            ("an end that was none", |_, told, _| set(told, |told| told.asked = Asked::Nothing), &[NotGone]),
            (
                "gone, as told",
                |runs, told, _| {
                    *runs = None;
                    set(told, |told| told.asked = Asked::Nothing);
                },
                &[],
            ),
            ("gone, and never told of", |runs, told, _| (*runs, *told) = (None, None), &[]),
            ("gone, untold", |runs, _, _| *runs = None, &[MissedDelete]),
            (
                "a limit of nothing",
                |runs, told, around| {
                    (*runs, *told, around.is_long_absent) = (None, None, true);
                },
                &[UnusedLimit],
            ),
            (
                "over the limit, untold",
                |runs, told, _| {
                    set(runs, |runs| runs.replicas = Some(5));
                    set(told, |told| told.asked = Asked::Number(5));
                },
                &[OverLimit],
            ),
            (
                "over the limit, told",
                |runs, told, around| {
                    set(runs, |runs| runs.replicas = Some(5));
                    set(told, |told| told.asked = Asked::Number(5));
                    around.is_told_over = true;
                },
                &[],
            ),
            (
                "something else in its place",
                |runs, told, around| {
                    (*runs, *told, around.is_long_absent, around.replaced_by) = (None, None, true, Some(STATEFUL));
                },
                &[Replaced(STATEFUL)],
            ),
            (
                "something else in its place, since the log went on without it",
                |runs, _, around| (*runs, around.replaced_by) = (None, Some(STATEFUL)),
                &[MissedDelete, Replaced(STATEFUL)],
            ),
            (
                "something else in its place, which has no limit",
                |runs, told, around| {
                    (*runs, *told, around.limit, around.replaced_by) = (None, None, None, Some(STATEFUL));
                },
                &[],
            ),
            (
                "scaled to zero, and something else in its place",
                |runs, told, around| {
                    set(runs, |runs| runs.replicas = Some(0));
                    set(told, |told| told.asked = Asked::Number(0));
                    around.replaced_by = Some(STATEFUL);
                },
                &[Replaced(STATEFUL)],
            ),
            ("something else of its name beside it", |_, _, around| around.replaced_by = Some(STATEFUL), &[]),
            (
                "an HPA as told",
                |runs, told, _| {
                    set(runs, |runs| runs.target = Some("orders-api".to_owned()));
                    set(told, |told| told.target = Some("orders-api".to_owned()));
                },
                &[],
            ),
            (
                "an HPA that has turned to another Deployment, untold",
                |runs, told, _| {
                    set(runs, |runs| runs.target = Some("orders-api".to_owned()));
                    set(told, |told| told.target = Some("search-api".to_owned()));
                },
                &[MissedChanges(1)],
            ),
            (
                "an HPA of which the log does not tell what it aims at",
                |runs, _, _| set(runs, |runs| runs.target = Some("orders-api".to_owned())),
                &[NowKnown],
            ),
            ("no limit", |_, _, around| around.limit = None, &[Unregistered]),
            ("no limit, told", |_, _, around| (around.limit, around.is_told_unregistered) = (None, true), &[]),
            (
                "a rollout's pods",
                |runs, _, around| {
                    set(runs, |runs| runs.running_pods = Some(5));
                    around.had_too_many_pods = true;
                },
                &[],
            ),
            ("too many pods, once", |runs, _, _| set(runs, |runs| runs.running_pods = Some(6)), &[]),
            (
                "too many pods, twice",
                |runs, _, around| {
                    set(runs, |runs| runs.running_pods = Some(6));
                    around.had_too_many_pods = true;
                },
                &[TooManyPods],
            ),
            (
                "a baseline over its limit",
                |runs, told, _| {
                    *told = None;
                    set(runs, |runs| (runs.created_at, runs.replicas) = (Some(at(1)), Some(9)));
                },
                &[Baseline, OverLimit],
            ),
        ];
        for (what, changed, expected) in lines {
            assert_eq!(found(*changed), *expected, "{what}");
        }
    }
}
