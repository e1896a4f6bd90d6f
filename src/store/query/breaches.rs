//! Since when Deployments have been over their limits: a fold over their timelines.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};

use super::days;
use crate::ped::Deployment;
use crate::ped::version::Version;
use crate::policy::Verdict;
use crate::store::reach::Closings;
use crate::store::row::{ClosedChange, Place, Standing};
use crate::store::{Store, StoreError};

/// How far back changes are read at first, and then: most breaches are young. What is older is looked for everywhere.
const LOOKED_BACK: [Option<Duration>; 3] = [Some(Duration::days(32)), Some(Duration::days(400)), None];

/// Fills in since when those that are over their limits have been so without a break.
pub(super) async fn fill_in(
    store: &dyn Store,
    closings: &Closings,
    standings: &mut [Standing],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let until = at + Duration::microseconds(1);
    let mut open: Vec<&mut Standing> =
        standings.iter_mut().filter(|standing| standing.verdict == Verdict::OverLimit).collect();
    for back in LOOKED_BACK {
        let deployments: BTreeSet<Deployment> =
            open.iter().map(|standing| (standing.namespace.clone(), standing.deployment_name.clone())).collect();
        if deployments.is_empty() {
            break;
        }
        let namespaces = deployments.iter().map(|(namespace, _)| namespace.clone()).collect();
        let deployments: Vec<Deployment> = deployments.into_iter().collect();
        let from = back.map_or(DateTime::UNIX_EPOCH, |back| at - back);
        let reach = closings.reach(DateTime::<Utc>::MAX_UTC, &namespaces).with_changes_of(from, until);
        let reach = reach.of_deployments(&deployments);
        let is_whole = back.is_none() || reach.closed_through().is_none();
        let told = days::changes_of(store, &reach, &deployments).await?;
        let versions = store.versions(Some(&deployments)).await?;
        let mut older = Vec::new();
        for standing in open {
            match breach(standing, &told, &versions, until) {
                Some(Breach { since, has_begun }) if has_begun || is_whole => standing.over_since = Some(since),
                _ => older.push(standing),
            }
        }
        open = older;
    }
    Ok(())
}

struct Breach {
    since: DateTime<Utc>,
    /// Whether what was before it is known, too.
    has_begun: bool,
}

fn breach(standing: &Standing, told: &[ClosedChange], versions: &[Version], until: DateTime<Utc>) -> Option<Breach> {
    let Standing { project_id, location, cluster_name, namespace, deployment_name, .. } = standing;
    let is_own = |change: &&ClosedChange| {
        (&change.namespace, change.deployment_name.as_ref()) == (namespace, Some(deployment_name))
            && (&change.project_id, &change.location, &change.cluster_name) == (project_id, location, cluster_name)
    };
    let own: Vec<&ClosedChange> = told.iter().filter(is_own).collect();
    let of_it =
        |version: &&Version| (&version.subject.namespace, &version.subject.deployment) == (namespace, deployment_name);
    let versions: Vec<Version> = versions.iter().filter(of_it).cloned().collect();
    let place = Place {
        project_id: project_id.as_deref(),
        location: location.as_deref(),
        cluster_name,
        cluster_id: own.first().map_or("", |change| &change.cluster_id),
        namespace,
        deployment_name,
    };
    let timeline = days::timeline(place, &own, &versions, until);
    let intervals = timeline.intervals();
    let over = intervals.iter().rev().take_while(|interval| interval.is_over());
    let (count, since) = over.fold((0, None), |(count, _), interval| (count + 1, Some(interval.from)));
    Some(Breach { since: since?, has_begun: count < intervals.len() })
}
