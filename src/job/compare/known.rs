//! What is known at the time of one snapshot, and what each Deployment comes to by it.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};

use super::Rules;
use crate::cluster::{Hpa, Namespaces};
use crate::ped::limits::{Limit, Limits};
use crate::store::query::reality::{self, Logged, LoggedHpa, Raised};
use crate::store::row::{PodMetrics, Replaced, Snapshot};
use crate::store::{Store, StoreError};
use crate::timeline::Asked;
use crate::timeline::reality::{Circumstances, Finding, Replacement, Running, Told, compare, has_too_many_pods};

/// A Deployment or an HPA, by its namespace and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key<'k> {
    Deployment(&'k str, &'k str),
    Hpa(&'k str, &'k str),
}

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
    listed: Vec<Listed>,
    before: Option<(Snapshot, Vec<Listed>)>,
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

/// What an object comes to.
pub(super) struct Found<'k> {
    pub(super) namespace: &'k str,
    /// The Deployment: itself, or the one that an HPA aims at.
    pub(super) deployment: &'k str,
    /// The HPA's name, where it is one.
    pub(super) hpa: Option<&'k str>,
    pub(super) running: Option<&'k Running>,
    /// The uid of the life that the log knows.
    pub(super) told_uid: Option<&'k str>,
    pub(super) limit: Option<&'k Limit>,
    pub(super) findings: Vec<Finding>,
}

/// A Deployment of a snapshot, and the HPAs that find it.
pub(super) struct Listed {
    row: PodMetrics,
    hpas: Vec<Hpa>,
}

/// What two snapshots show, and the log between them.
pub(super) struct Sides<'k> {
    running: HashMap<Key<'k>, Running>,
    before: HashMap<Key<'k>, Running>,
    told: HashMap<Key<'k>, Told>,
    told_around: Vec<HashMap<Key<'k>, Told>>,
    replaced: HashMap<Key<'k>, Replacement>,
}

impl Sides<'_> {
    /// The Deployment that an HPA aims at, as it runs or else as the log says.
    fn aim<'s>(&'s self, hpa: Key<'s>) -> Option<&'s str> {
        let runs = self.running.get(&hpa).and_then(|running| running.target.as_deref());
        runs.or_else(|| self.told.get(&hpa)?.target.as_deref())
    }
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
                let listed = listed(store, &before).await?;
                Some((before, listed))
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
            listed: listed(store, snapshot).await?,
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

    /// What the snapshots and the log say, by object.
    pub(super) fn sides(&self) -> Sides<'_> {
        let before = self.before.iter().flat_map(|(_, listed)| listed);
        Sides {
            running: self.listed.iter().flat_map(running).collect(),
            before: before.flat_map(running).collect(),
            told: told(&self.logged, &self.logged_hpas),
            told_around: self.logged_around.iter().map(|(logged, hpas)| told(logged, hpas)).collect(),
            replaced: self
                .replaced
                .iter()
                .map(|one| (Key::Deployment(&one.namespace, &one.deployment), one.by()))
                .collect(),
        }
    }

    /// What each object comes to that comes to anything.
    pub(super) fn findings<'s>(&'s self, sides: &'s Sides<'s>) -> Vec<Found<'s>> {
        let (cluster, at) = (self.snapshot.cluster(), self.snapshot.started_at);
        let looked_for = looked_for(self.snapshot);
        let limited = self.limits.in_force(cluster, at).map(|(namespace, name)| Key::Deployment(namespace, name));
        let keys: BTreeSet<Key<'s>> = sides.running.keys().chain(sides.told.keys()).copied().chain(limited).collect();
        let scope = &self.rules.policy.scope;
        let found = keys.into_iter().filter_map(|key| {
            let (namespace, deployment, hpa) = match key {
                Key::Deployment(namespace, name) => (namespace, name, None),
                Key::Hpa(namespace, name) => (namespace, sides.aim(key)?, Some(name)),
            };
            let concerns = looked_for.hold(namespace) && scope.holds_object(cluster, namespace, Some(deployment));
            concerns.then(|| Found {
                namespace,
                deployment,
                hpa,
                running: sides.running.get(&key),
                told_uid: sides.told.get(&key).and_then(|told| told.uid.as_deref()),
                limit: self.limit((namespace, deployment), at),
                findings: self.compare(key, (namespace, deployment), sides),
            })
        });
        found.filter(|found| !found.findings.is_empty()).collect()
    }

    /// What the log does not tell it may have told just before, or tell just behind.
    fn compare(&self, key: Key<'_>, deployment: (&str, &str), sides: &Sides<'_>) -> Vec<Finding> {
        let (running, before) = (sides.running.get(&key), sides.before.get(&key));
        // Of an HPA whose Deployment is not listed nothing is.
        let is_hpa = matches!(key, Key::Hpa(..));
        let shows = running.is_some()
            || self.lists_hpas() && sides.running.contains_key(&Key::Deployment(deployment.0, deployment.1));
        if is_hpa && !shows {
            return Vec::new();
        }
        let by = |told: &HashMap<Key<'_>, Told>| {
            let told = told.get(&key);
            let circumstances = match is_hpa {
                true => self.circumstances_of_hpa(deployment, told, running),
                false => self.circumstances(deployment, told, before.zip(running), sides.replaced.get(&key).copied()),
            };
            compare(running, told, &circumstances)
        };
        let at = by(&sides.told);
        let misses = |findings: &[Finding]| findings.iter().any(|finding| finding.is_missed_write());
        if !misses(&at) {
            return at;
        }
        sides.told_around.iter().map(by).find(|around| !misses(around)).unwrap_or(at)
    }

    /// `same` are the Deployment in the snapshot before and in this one.
    fn circumstances(
        &self,
        deployment: (&str, &str),
        told: Option<&Told>,
        same: Option<(&Running, &Running)>,
        replaced_by: Option<Replacement>,
    ) -> Circumstances {
        let max = |at| self.limit(deployment, at).map(|limit| limit.max_replicas);
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
            is_long_absent: self.is_long_absent(deployment, told),
            replaced_by,
        }
    }

    /// That no limit is in force for it is the Deployment's matter.
    fn circumstances_of_hpa(
        &self,
        deployment: (&str, &str),
        told: Option<&Told>,
        running: Option<&Running>,
    ) -> Circumstances {
        let limit = self.limit(deployment, self.snapshot.started_at).map(|limit| limit.max_replicas);
        let of_it = |told: &&Told| running.is_some_and(|running| told.target == running.target);
        let number = told.filter(of_it).and_then(|told| told.asked.number());
        Circumstances {
            logged_since: self.logged_since,
            limit,
            is_told_over: number.zip(limit).is_some_and(|(number, limit)| number > limit),
            is_told_unregistered: true,
            ..Circumstances::default()
        }
    }

    /// Whether the absence of an HPA means something: a file without any may have been made without them, and a release before
    /// kept no more of them than how high they may scale.
    fn lists_hpas(&self) -> bool {
        let is_kept = |Listed { row, .. }: &Listed| row.hpa_max_replicas.is_none() || row.hpas.is_some();
        (self.snapshot.source != "file" || self.snapshot.hpas.is_some_and(|hpas| hpas > 0))
            && self.listed.iter().all(is_kept)
    }

    fn limit(&self, (namespace, name): (&str, &str), at: DateTime<Utc>) -> Option<&'k Limit> {
        self.limits.at(self.snapshot.cluster(), namespace, name, at)
    }

    /// Whether a limit has been without a Deployment for long, in whichever cluster.
    fn is_long_absent(&self, deployment: (&str, &str), told: Option<&Told>) -> bool {
        let long_ago = self.snapshot.started_at - self.rules.thresholds.unused;
        let is_old = |limit: &Limit| limit.from <= long_ago;
        self.watched_since.is_some_and(|since| since <= long_ago)
            && self.limit(deployment, self.snapshot.started_at).is_some_and(is_old)
            && told.is_none_or(|told| told.asked == Asked::Nothing && told.last_at <= long_ago)
            && !self.ran.contains(&(deployment.0.to_owned(), deployment.1.to_owned()))
    }
}

/// The namespaces that a snapshot looked into: only there does absence mean something.
fn looked_for(snapshot: &Snapshot) -> Namespaces {
    let patterns = snapshot.namespaces.iter().flat_map(|texts| texts.split(',')).map(str::to_owned);
    Namespaces::new(&patterns.collect::<Vec<_>>())
}

async fn listed(store: &dyn Store, snapshot: &Snapshot) -> Result<Vec<Listed>, StoreError> {
    let rows = reality::listed(store, snapshot).await?;
    Ok(rows.into_iter().map(|row| Listed { hpas: row.listed_hpas(), row }).collect())
}

/// A Deployment, and the HPAs that find it, as they run.
fn running(Listed { row, hpas }: &Listed) -> impl Iterator<Item = (Key<'_>, Running)> {
    let deployment = Running {
        uid: row.object_uid.clone(),
        version: row.resource_version.clone(),
        generation: row.generation,
        created_at: row.created_at,
        replicas: row.desired_replicas,
        surge: row.surge_replicas,
        running_pods: row.running_pods,
        set_by: row.replicas_manager.clone().map(|manager| (manager, row.replicas_managed_at)),
        ..Running::default()
    };
    let hpas = hpas.iter().map(|hpa| {
        let running = Running {
            uid: hpa.uid.clone(),
            version: hpa.resource_version.clone(),
            created_at: hpa.created_at,
            replicas: hpa.max_replicas,
            min_replicas: hpa.min_replicas,
            target: Some(row.deployment_name.clone()),
            ..Running::default()
        };
        (Key::Hpa(&row.namespace, &hpa.name), running)
    });
    std::iter::once((Key::Deployment(&row.namespace, &row.deployment_name), deployment)).chain(hpas)
}

fn told<'k>(logged: &'k [Logged], hpas: &'k [LoggedHpa]) -> HashMap<Key<'k>, Told> {
    let deployments = logged.iter().map(|row| {
        let told = Told {
            uid: row.object_uid.clone(),
            generation: row.generation,
            scales_since: row.scales_since,
            last_at: row.last_time,
            asked: Asked::of(row.replicas, row.removes),
            target: None,
        };
        (Key::Deployment(&row.namespace, &row.deployment_name), told)
    });
    let hpas = hpas.iter().map(|row| {
        let told = Told {
            uid: row.object_uid.clone(),
            generation: None,
            scales_since: 0,
            last_at: row.last_time,
            asked: Asked::of(row.replicas, row.removes),
            target: row.deployment_name.clone(),
        };
        (Key::Hpa(&row.namespace, &row.object_name), told)
    });
    deployments.chain(hpas).collect()
}
