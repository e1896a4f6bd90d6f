//! What is known at the time of one snapshot, and what each Deployment comes to by it.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};

use super::Rules;
use crate::cluster::Namespaces;
use crate::ped::limits::{Limit, Limits};
use crate::store::query::reality::{self, Logged, LoggedHpa, Raised};
use crate::store::row::{PodMetrics, Replaced, Snapshot};
use crate::store::{Store, StoreError};
use crate::timeline::Asked;
use crate::timeline::reality::{Circumstances, Finding, Replacement, Running, Told, compare, has_too_many_pods};

/// Namespace and name of a Deployment.
pub(super) type Key<'k> = (&'k str, &'k str);

/// What a limit that nobody uses is not told about again within.
const TOLD_WITHIN: Duration = Duration::days(35);

/// How far a listing's instant may be from the clock by which it was begun: clocks that are set differ by less, and a first
/// page comes within it.
const NEAR: Duration = Duration::seconds(5);

/// Everything that is known at the time of one snapshot.
pub(super) struct Known<'k> {
    pub(super) rules: Rules<'k>,
    pub(super) snapshot: &'k Snapshot,
    limits: &'k Limits,
    rows: Vec<PodMetrics>,
    before: Option<(Snapshot, Vec<PodMetrics>)>,
    logged: Vec<Logged>,
    logged_hpas: Vec<LoggedHpa>,
    /// As the log left them a little before and a little behind: a listing is of some instant while it begins, by a clock that
    /// is not the log's. Only where something seems to be missing.
    logged_around: Vec<(Vec<Logged>, Vec<LoggedHpa>)>,
    logged_since: Option<DateTime<Utc>>,
    /// Since when it would have been seen that something is not there.
    watched_since: Option<DateTime<Utc>>,
    /// What ran in the place of Deployments.
    replaced: Vec<Replaced>,
    /// What ran lately, in whichever cluster.
    ran: HashSet<(String, String)>,
    /// What earlier comparisons raised.
    pub(super) raised: Vec<Raised>,
}

/// What a Deployment comes to.
pub(super) struct Found<'k> {
    pub(super) key: Key<'k>,
    pub(super) running: Option<&'k Running>,
    /// The uid of the life that the log knows.
    pub(super) told_uid: Option<&'k str>,
    pub(super) limit: Option<&'k Limit>,
    pub(super) findings: Vec<Finding>,
}

/// What two snapshots show, and the log between them.
pub(super) struct Sides<'k> {
    running: HashMap<Key<'k>, Running>,
    before: HashMap<Key<'k>, Running>,
    told: HashMap<Key<'k>, Told>,
    told_around: Vec<HashMap<Key<'k>, Told>>,
    told_hpas: HashMap<Key<'k>, Asked>,
    told_hpas_around: Vec<HashMap<Key<'k>, Asked>>,
    replaced: HashMap<Key<'k>, Replacement>,
}

impl<'k> Known<'k> {
    pub(super) async fn read(
        store: &dyn Store,
        rules: Rules<'k>,
        limits: &'k Limits,
        snapshot: &'k Snapshot,
    ) -> Result<Self, StoreError> {
        let (cluster, at) = (snapshot.cluster(), snapshot.started_at);
        let before = match reality::snapshot_before(store, snapshot).await? {
            Some(before) => {
                let rows = reality::listed(store, &before).await?;
                Some((before, rows))
            }
            None => None,
        };
        let logged_since = reality::logged_since(store, cluster).await?;
        let first_snapshot = reality::first_snapshot(store, cluster).await?;
        let ran = reality::ran(store, (at - rules.thresholds.unused, at)).await?;
        let mut known = Known {
            rules,
            snapshot,
            limits,
            rows: reality::listed(store, snapshot).await?,
            replaced: snapshot.replacements(),
            logged: reality::logged(store, cluster, at).await?,
            logged_hpas: reality::logged_hpas(store, cluster, at).await?,
            logged_around: Vec::new(),
            raised: reality::raised(store, cluster, (at - TOLD_WITHIN, at)).await?,
            ran: ran.into_iter().map(|ran| (ran.namespace, ran.deployment_name)).collect(),
            watched_since: logged_since.into_iter().chain(first_snapshot).min(),
            logged_since,
            before,
        };
        if known.misses_something() {
            for instant in [at - NEAR, at + NEAR] {
                let logged = reality::logged(store, cluster, instant).await?;
                known.logged_around.push((logged, reality::logged_hpas(store, cluster, instant).await?));
            }
        }
        Ok(known)
    }

    fn misses_something(&self) -> bool {
        self.findings(&self.sides()).iter().any(|found| found.findings.iter().any(|finding| finding.is_missed_write()))
    }

    /// What the snapshots and the log say, by Deployment.
    pub(super) fn sides(&self) -> Sides<'_> {
        let before = self.before.iter().flat_map(|(_, rows)| rows);
        Sides {
            running: self.rows.iter().map(|row| (key(row), running(row))).collect(),
            before: before.map(|row| (key(row), running(row))).collect(),
            told: by_deployment(&self.logged),
            told_around: self.logged_around.iter().map(|(logged, _)| by_deployment(logged)).collect(),
            told_hpas: hpas_by_deployment(&self.logged_hpas),
            told_hpas_around: self.logged_around.iter().map(|(_, hpas)| hpas_by_deployment(hpas)).collect(),
            replaced: self
                .replaced
                .iter()
                .map(|one| ((one.namespace.as_str(), one.deployment.as_str()), one.by()))
                .collect(),
        }
    }

    /// What each Deployment comes to that comes to anything.
    pub(super) fn findings<'s>(&'s self, sides: &'s Sides<'s>) -> Vec<Found<'s>> {
        let (cluster, at) = (self.snapshot.cluster(), self.snapshot.started_at);
        let looked_for = looked_for(self.snapshot);
        let keys = sides.running.keys().chain(sides.told.keys()).copied().chain(self.limits.in_force(cluster, at));
        let keys: BTreeSet<Key<'s>> = keys.collect();
        let scope = &self.rules.policy.scope;
        let concerned = keys.into_iter().filter(|(namespace, name)| {
            looked_for.hold(namespace) && scope.holds_object(cluster, namespace, Some(name))
        });
        let found = concerned.map(|key| Found {
            key,
            running: sides.running.get(&key),
            told_uid: sides.told.get(&key).and_then(|told| told.uid.as_deref()),
            limit: self.limit(key, at),
            findings: self.compare(key, sides),
        });
        found.filter(|found| !found.findings.is_empty()).collect()
    }

    /// What the log does not tell it may have told just before, or tell just behind.
    fn compare(&self, key: Key<'_>, sides: &Sides<'_>) -> Vec<Finding> {
        let (running, before) = (sides.running.get(&key), sides.before.get(&key));
        let by = |told: &HashMap<Key<'_>, Told>, hpas: &HashMap<Key<'_>, Asked>| {
            let told = told.get(&key);
            let circumstances = self.circumstances(key, told, before.zip(running));
            compare(
                running,
                told,
                &Circumstances {
                    replaced_by: sides.replaced.get(&key).copied(),
                    told_hpa: hpas.get(&key).copied().filter(|_| self.lists_hpas()),
                    ..circumstances
                },
            )
        };
        let around = sides.told_around.iter().zip(&sides.told_hpas_around).map(|(told, hpas)| by(told, hpas));
        let all: Vec<Vec<Finding>> = std::iter::once(by(&sides.told, &sides.told_hpas)).chain(around).collect();
        // Each by itself: what is missing of an HPA stays so until an entry comes.
        let of = |is_of_hpas: bool| {
            let of_it = |findings: &Vec<Finding>| -> Vec<Finding> {
                findings.iter().copied().filter(|finding| finding.is_of_hpas() == is_of_hpas).collect()
            };
            let mut all = all.iter().map(of_it);
            let at = all.next().unwrap_or_default();
            let misses = |findings: &[Finding]| findings.iter().any(|finding| finding.is_missed_write());
            if misses(&at) { all.find(|around| !misses(around)).unwrap_or(at) } else { at }
        };
        [of(false), of(true)].concat()
    }

    /// `same` are the Deployment in the snapshot before and in this one.
    fn circumstances(&self, key: Key<'_>, told: Option<&Told>, same: Option<(&Running, &Running)>) -> Circumstances {
        let max = |at| self.limit(key, at).map(|limit| limit.max_replicas);
        let limit = max(self.snapshot.started_at);
        let number = told.and_then(|told| told.asked.number());
        let before = same.filter(|(before, now)| before.uid == now.uid).map(|(before, _)| before);
        let limit_before = self.before.as_ref().and_then(|(before, _)| max(before.started_at));
        Circumstances {
            logged_since: self.logged_since,
            limit,
            is_told_over: number.zip(limit).is_some_and(|(number, limit)| number > limit),
            is_told_unregistered: number.is_some(),
            had_too_many_pods: before.is_some_and(|before| has_too_many_pods(before, limit_before)),
            is_long_absent: self.is_long_absent(key, told),
            replaced_by: None,
            told_hpa: None,
        }
    }

    /// Whether the absence of an HPA means something: a file without any may have been made without them.
    fn lists_hpas(&self) -> bool {
        self.snapshot.source != "file" || self.snapshot.hpas.is_some_and(|hpas| hpas > 0)
    }

    fn limit(&self, (namespace, name): Key<'_>, at: DateTime<Utc>) -> Option<&'k Limit> {
        self.limits.at(self.snapshot.cluster(), namespace, name, at)
    }

    /// Whether a limit has been without a Deployment for long, in whichever cluster.
    fn is_long_absent(&self, key: Key<'_>, told: Option<&Told>) -> bool {
        let long_ago = self.snapshot.started_at - self.rules.thresholds.unused;
        let is_old = |limit: &Limit| limit.from <= long_ago;
        self.watched_since.is_some_and(|since| since <= long_ago)
            && self.limit(key, self.snapshot.started_at).is_some_and(is_old)
            && told.is_none_or(|told| told.asked == Asked::Nothing && told.last_at <= long_ago)
            && !self.ran.contains(&(key.0.to_owned(), key.1.to_owned()))
    }
}

/// The namespaces that a snapshot looked into: only there does absence mean something.
fn looked_for(snapshot: &Snapshot) -> Namespaces {
    let patterns = snapshot.namespaces.iter().flat_map(|texts| texts.split(',')).map(str::to_owned);
    Namespaces::new(&patterns.collect::<Vec<_>>())
}

fn by_deployment(logged: &[Logged]) -> HashMap<Key<'_>, Told> {
    logged.iter().map(|row| ((row.namespace.as_str(), row.deployment_name.as_str()), told(row))).collect()
}

fn hpas_by_deployment(logged: &[LoggedHpa]) -> HashMap<Key<'_>, Asked> {
    let asked = |row: &LoggedHpa| row.replicas.map_or(Asked::Unknown, Asked::Number);
    logged.iter().map(|row| ((row.namespace.as_str(), row.deployment_name.as_str()), asked(row))).collect()
}

fn key(row: &PodMetrics) -> Key<'_> {
    (&row.namespace, &row.deployment_name)
}

fn running(row: &PodMetrics) -> Running {
    Running {
        uid: row.object_uid.clone(),
        version: row.resource_version.clone(),
        generation: row.generation,
        created_at: row.created_at,
        replicas: row.desired_replicas,
        surge: row.surge_replicas,
        hpa_max: row.hpa_max_replicas,
        running_pods: row.running_pods,
        set_by: row.replicas_manager.clone().map(|manager| (manager, row.replicas_managed_at)),
    }
}

fn told(row: &Logged) -> Told {
    Told {
        uid: row.object_uid.clone(),
        generation: row.generation,
        scales_since: row.scales_since,
        last_at: row.last_time,
        asked: Asked::of(row.replicas, row.removes),
    }
}
