//! Which limit was in force when.
//!
//! The same as the views `limit_ranges` and `limits_in_force`, by which verdicts are derived; a test holds one against the
//! other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::{Cluster, Clusters, Deployment, Subject};
use crate::audit::Write;

/// What one version says of the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Identity of the version.
    pub id: String,
    /// What it is for.
    pub subject: Subject,
    /// From when it applies.
    pub effective_at: DateTime<Utc>,
    /// An exception ends then, and stands above the versions under it; `None` for a version.
    pub until: Option<DateTime<Utc>>,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// The most replicas; `None` retires the Deployment.
    pub max_replicas: Option<i64>,
}

impl Claim {
    /// The order of versions. The id is only there so that every order of arrival gives the same limit.
    pub(super) fn order(&self) -> (DateTime<Utc>, DateTime<Utc>, &str) {
        (self.effective_at, self.registered_at, &self.id)
    }
}

/// The limit in force at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Identity of the version.
    pub limit_id: String,
    /// Since when it has been in force without a break.
    pub from: DateTime<Utc>,
    /// The most replicas.
    pub max_replicas: i64,
    /// The most replicas of the scope's earliest version.
    pub initial_max_replicas: i64,
}

/// All limits, for as-of look-ups. The cost of one depends on the versions of that Deployment only.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    namespaces: HashMap<String, HashMap<String, Vec<Scope>>>,
}

/// What is registered for one scope of clusters.
#[derive(Debug, Clone)]
struct Scope {
    clusters: Clusters,
    ranges: Vec<Range>,
    /// When one of its versions was registered, begins or ends.
    moments: Vec<DateTime<Utc>>,
}

/// A limit in force from `limit.from` to `to`.
#[derive(Debug, Clone)]
struct Range {
    limit: Limit,
    to: Option<DateTime<Utc>>,
}

impl Limits {
    /// Takes versions in any order.
    pub fn new(versions: impl IntoIterator<Item = impl Into<Claim>>) -> Self {
        let mut limits = Limits::default();
        limits.add(versions);
        limits
    }

    /// Puts the versions of some Deployments in the place of those known so far.
    pub fn replace(&mut self, deployments: &[Deployment], versions: impl IntoIterator<Item = impl Into<Claim>>) {
        for (namespace, deployment) in deployments {
            if let Some(known) = self.namespaces.get_mut(namespace) {
                known.remove(deployment);
            }
        }
        self.add(versions);
    }

    /// Adds all versions of some scopes, of which none is known.
    fn add(&mut self, versions: impl IntoIterator<Item = impl Into<Claim>>) {
        let mut subjects: HashMap<Subject, Vec<Claim>> = HashMap::new();
        for claim in versions.into_iter().map(Into::into) {
            match subjects.get_mut(&claim.subject) {
                Some(claims) => claims.push(claim),
                None => {
                    subjects.insert(claim.subject.clone(), vec![claim]);
                }
            }
        }
        for (Subject { namespace, deployment, clusters }, claims) in subjects {
            let moments = claims.iter().flat_map(|claim| {
                [Some(claim.registered_at), Some(claim.effective_at), claim.until].into_iter().flatten()
            });
            let scope = Scope { clusters, moments: moments.collect(), ranges: ranges(claims) };
            self.namespaces.entry(namespace).or_default().entry(deployment).or_default().push(scope);
        }
    }

    /// The limit in force at a write's own time, for the Deployment that it is about.
    pub fn at_write(&self, write: &Write<'_>) -> Option<&Limit> {
        let cluster = Cluster {
            project: write.project_id.unwrap_or_default(),
            location: write.location.unwrap_or_default(),
            name: write.cluster_name,
        };
        self.at(cluster, write.namespace, write.deployment_name?, write.event_time)
    }

    /// The limit in force at a time: of the scopes that have one then, the narrowest counts. A version applies from its
    /// own instant on.
    pub fn at(&self, cluster: Cluster<'_>, namespace: &str, deployment: &str, time: DateTime<Utc>) -> Option<&Limit> {
        let applicable = self.scopes(namespace, deployment).iter().filter(|scope| scope.clusters.hold(cluster));
        let in_force = applicable.filter_map(|scope| Some((scope.clusters.breadth(), scope.at(time)?)));
        in_force.min_by_key(|(breadth, _)| *breadth).map(|(_, limit)| limit)
    }

    /// Namespace and name of each Deployment that has a limit in a cluster at a time, in no particular order.
    pub fn in_force<'l>(
        &'l self,
        cluster: Cluster<'l>,
        time: DateTime<Utc>,
    ) -> impl Iterator<Item = (&'l str, &'l str)> {
        let names = self.namespaces.iter().flat_map(|(namespace, known)| {
            known.keys().map(move |deployment| (namespace.as_str(), deployment.as_str()))
        });
        names.filter(move |(namespace, deployment)| self.at(cluster, namespace, deployment, time).is_some())
    }

    /// The limit that a scope has of its own at a time.
    pub fn of_scope(&self, subject: &Subject, time: DateTime<Utc>) -> Option<&Limit> {
        let scopes = self.scopes(&subject.namespace, &subject.deployment);
        scopes.iter().find(|scope| scope.clusters == subject.clusters)?.at(time)
    }

    /// Whether a limit of a Deployment begins or ends after `from`, up to `to`.
    pub fn turn_between(&self, namespace: &str, deployment: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let mut ranges = self.scopes(namespace, deployment).iter().flat_map(|scope| &scope.ranges);
        let is_between = |time: DateTime<Utc>| from < time && time <= to;
        ranges.any(|range| is_between(range.limit.from) || range.to.is_some_and(is_between))
    }

    /// The namespaces in which a version was registered, or began or ended, since a time (ever, without one) and up to
    /// another.
    pub fn turned_in(&self, since: Option<DateTime<Utc>>, to: DateTime<Utc>) -> BTreeSet<String> {
        let is_new = |time: &DateTime<Utc>| since.is_none_or(|since| since <= *time) && *time <= to;
        let turned = |deployments: &HashMap<String, Vec<Scope>>| {
            deployments.values().flatten().any(|scope| scope.moments.iter().any(is_new))
        };
        self.namespaces.iter().filter(|(_, found)| turned(found)).map(|(name, _)| name.clone()).collect()
    }

    fn scopes(&self, namespace: &str, deployment: &str) -> &[Scope] {
        self.namespaces.get(namespace).and_then(|known| known.get(deployment)).map_or(&[], Vec::as_slice)
    }
}

impl Scope {
    fn at(&self, time: DateTime<Utc>) -> Option<&Limit> {
        let begun = self.ranges.partition_point(|range| range.limit.from <= time);
        let range = self.ranges.get(begun.checked_sub(1)?)?;
        range.to.is_none_or(|to| time < to).then_some(&range.limit)
    }
}

/// The limits that one scope has of its own, in order of time.
///
/// A version holds until the next one, and a retirement ends the scope's versions and exceptions. An exception stands
/// above the versions under it; of several in force, the last to begin counts.
fn ranges(claims: Vec<Claim>) -> Vec<Range> {
    let (exceptions, versions): (Vec<Claim>, Vec<Claim>) = claims.into_iter().partition(|claim| claim.until.is_some());
    let (versions, exceptions) = (last_registered(versions), last_registered(exceptions));
    let initial = initial(&versions);
    let exceptions: Vec<(&Claim, DateTime<Utc>)> =
        exceptions.values().filter_map(|claim| Some((claim, end_of(claim, &versions)?))).collect();
    let instants: BTreeSet<DateTime<Utc>> =
        versions.keys().copied().chain(exceptions.iter().flat_map(|(claim, end)| [claim.effective_at, *end])).collect();
    let held = |at: DateTime<Utc>| {
        let mut exceptions = exceptions.iter().rev();
        let exception = exceptions.find(|(claim, end)| claim.effective_at <= at && at < *end).map(|(claim, _)| *claim);
        exception.or_else(|| versions.range(..=at).next_back().map(|(_, version)| version))
    };
    let ends = instants.iter().copied().skip(1).map(Some).chain([None]);
    let range = |(from, to): (&DateTime<Utc>, Option<DateTime<Utc>>)| {
        let claim = held(*from)?;
        let max_replicas = claim.max_replicas?;
        let initial_max_replicas = initial.unwrap_or(max_replicas);
        Some(Range { limit: Limit { limit_id: claim.id.clone(), from: *from, max_replicas, initial_max_replicas }, to })
    };
    instants.iter().zip(ends).filter_map(range).collect()
}

/// The most replicas of the earliest version that has a limit, of those that [`last_registered`] leaves.
pub(super) fn initial(versions: &BTreeMap<DateTime<Utc>, Claim>) -> Option<i64> {
    versions.values().find_map(|version| version.max_replicas)
}

/// Of those with one instant, the last registered corrects the others.
pub(super) fn last_registered(mut claims: Vec<Claim>) -> BTreeMap<DateTime<Utc>, Claim> {
    claims.sort_by(|left, right| left.order().cmp(&right.order()));
    claims.into_iter().map(|claim| (claim.effective_at, claim)).collect()
}

/// When an exception ends: as it says, or when its scope is retired; `None` for one that never holds.
pub(super) fn end_of(exception: &Claim, versions: &BTreeMap<DateTime<Utc>, Claim>) -> Option<DateTime<Utc>> {
    use std::ops::Bound::{Excluded, Unbounded};
    exception.max_replicas?;
    let until = exception.until.filter(|until| *until > exception.effective_at)?;
    let mut later = versions.range((Excluded(exception.effective_at), Unbounded));
    let retired = later.find(|(_, version)| version.max_replicas.is_none()).map(|(at, _)| *at);
    Some(retired.map_or(until, |retired| retired.min(until)))
}
