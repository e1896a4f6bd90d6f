//! What happened to Deployments in a span of time: what stood at its beginning, and every change of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Duration, Utc};

use super::{NAMES_MAX, Query, Value, days, one_of};
use crate::ped::Deployment;
use crate::ped::version::Version;
use crate::store::reach::day;
use crate::store::row::{ClosedChange, Place};
use crate::store::{Store, StoreError};
use crate::timeline::Timeline;

/// What is known of some Deployments in a span of time.
#[derive(Debug, Clone, Default)]
pub struct Story {
    told: Vec<ClosedChange>,
    versions: HashMap<Deployment, Vec<Version>>,
    until: DateTime<Utc>,
}

/// One Deployment of a [`Story`].
#[derive(Debug, Clone)]
pub struct Told<'s> {
    /// Which one, and where.
    pub place: Place<'s>,
    /// What was in force when.
    pub timeline: Timeline,
    /// The versions of its PED, in all scopes of clusters.
    pub versions: &'s [Version],
}

/// Reads the story of [from, until) of some Deployments; with none, or too many to be named, of all.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn story(
    store: &dyn Store,
    deployments: &[Deployment],
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Story, StoreError> {
    let names: Vec<String> = deployments.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    let is_named = (1..=NAMES_MAX).contains(&names.len());
    let namespaces: BTreeSet<String> =
        deployments.iter().filter(|_| is_named).map(|(namespace, _)| namespace.clone()).collect();
    let reach = days::closings(store).await?.reach(DateTime::<Utc>::MAX_UTC, &namespaces);
    let reach = match reach.closed_through() {
        Some(through) if from < through => {
            reach.with_states_at(until - Duration::microseconds(1), day(from)).of_touched()
        }
        _ => reach,
    };
    let reach = reach.of_deployments(deployments);
    let (wanted, mut parameters) = match is_named {
        true => one_of("one", "namespace || '/' || deployment_name", &names),
        false => ("TRUE".to_owned(), Vec::new()),
    };
    parameters.push(("story_until".to_owned(), Value::Time(until)));
    let order = "ORDER BY effective_time, object_id, source, position, arrives";
    let rest = format!("AS story WHERE {wanted} {order}");
    let sql = days::selected::<ClosedChange>(&format!("({STORY})"), &["change_id", "closing"], &rest);
    let told: Vec<ClosedChange> = store.fetch(&Query::new(sql, parameters).over(&reach)).await?.read();
    Ok(Story { versions: versions(store, &told).await?, told, until })
}

const STORY: &str = include_str!("story.sql");

/// The versions of the Deployments that a story is of.
async fn versions(store: &dyn Store, told: &[ClosedChange]) -> Result<HashMap<Deployment, Vec<Version>>, StoreError> {
    let deployment = |change: &ClosedChange| Some((change.namespace.clone(), change.deployment_name.clone()?));
    let deployments: Vec<Deployment> =
        told.iter().filter_map(deployment).collect::<BTreeSet<_>>().into_iter().collect();
    let mut versions: HashMap<Deployment, Vec<Version>> = HashMap::new();
    if deployments.is_empty() {
        return Ok(versions);
    }
    for version in store.versions(Some(&deployments)).await? {
        versions.entry(version.subject.deployment()).or_default().push(version);
    }
    // Whatever order they are read in, what is said of them is the same.
    versions.values_mut().for_each(|versions| versions.sort_by(|one, other| one.id.cmp(&other.id)));
    Ok(versions)
}

impl Story {
    /// The same changes under other versions, and another range that the platform allows: what would have been.
    #[must_use]
    pub fn supposing(
        mut self,
        versions: impl Fn(&Deployment, Vec<Version>) -> Vec<Version>,
        is_outside: impl Fn(i64) -> bool,
    ) -> Self {
        for change in &mut self.told {
            change.outside_range = change.replicas.map(&is_outside);
            if let Some(name) = &change.deployment_name {
                self.versions.entry((change.namespace.clone(), name.clone())).or_default();
            }
        }
        let changed = self.versions.into_iter().map(|(deployment, known)| {
            let other = versions(&deployment, known);
            (deployment, other)
        });
        Story { versions: changed.collect(), ..self }
    }

    /// Each Deployment of it, in each cluster, in order of these.
    pub fn deployments(&self) -> impl Iterator<Item = Told<'_>> {
        let mut deployments: BTreeMap<(&str, &str, &str), Vec<&ClosedChange>> = BTreeMap::new();
        for change in &self.told {
            let Some(name) = &change.deployment_name else { continue };
            deployments.entry((&change.cluster_id, &change.namespace, name)).or_default().push(change);
        }
        deployments.into_iter().filter_map(|((cluster_id, namespace, deployment_name), changes)| {
            let first = changes.first()?;
            let place = Place {
                project_id: first.project_id.as_deref(),
                location: first.location.as_deref(),
                cluster_name: &first.cluster_name,
                cluster_id,
                namespace,
                deployment_name,
            };
            let versions = self.versions.get(&(namespace.to_owned(), deployment_name.to_owned()));
            let versions = versions.map_or(&[][..], Vec::as_slice);
            Some(Told { place, timeline: days::timeline(place, &changes, versions, self.until), versions })
        })
    }
}
