//! What the PED grants, in order of time: the limit, and the resources and the owner that come with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Input;
use crate::ped::limits::Limits;
use crate::ped::version::Version;
use crate::ped::{Terms, quantity};

/// What one replica may use: `resources.limits`, key by key `resources.requests` where they leave one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub vcpu_millis: Option<i64>,
    /// Memory in bytes.
    pub memory_bytes: Option<i64>,
}

impl Resources {
    /// What a PED says.
    pub fn of(terms: &Terms) -> Self {
        let quantity = |key: &str| terms.limits.get(key).or_else(|| terms.requests.get(key));
        Resources {
            vcpu_millis: quantity("cpu").and_then(|cpu| quantity::thousandths(cpu)),
            memory_bytes: quantity("memory").and_then(|memory| quantity::units(memory)),
        }
    }
}

/// The version of a PED that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Identity of the version, or of the exception, that sets the limit.
    pub limit_id: String,
    /// The most replicas: the limit.
    pub max_replicas: i64,
    /// The most replicas that were first applied for.
    pub initial_max_replicas: i64,
    /// Since when this version sets the limit without a break.
    pub since: DateTime<Utc>,
    /// Who is charged.
    pub owner: String,
    /// What one replica may use.
    pub resources: Resources,
}

/// What is in force from each instant at which that changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    turns: Vec<(DateTime<Utc>, Option<Arc<InForce>>)>,
}

impl Course {
    /// Asks [`Limits`] wherever a version begins or ends, so that its rules stand once.
    pub(super) fn new(input: &Input<'_>) -> Self {
        let of_it = |version: &&Version| {
            version.subject.namespace == input.namespace && version.subject.deployment == input.deployment
        };
        let versions: Vec<&Version> = input.versions.iter().filter(of_it).collect();
        let registered = Registered::new(&versions);
        let instants: BTreeSet<DateTime<Utc>> =
            versions.iter().flat_map(|version| [Some(version.effective_at), version.until]).flatten().collect();
        let mut course = Course::default();
        for at in instants {
            course.turn(at, registered.at(input, at));
        }
        course
    }

    fn turn(&mut self, at: DateTime<Utc>, next: Option<InForce>) {
        let before = self.turns.last().map(|(_, before)| before.as_deref());
        let next = next.map(|next| match before.flatten() {
            Some(before) if before.limit_id == next.limit_id => InForce { since: before.since, ..next },
            _ => next,
        });
        if before != Some(next.as_ref()) {
            self.turns.push((at, next.map(Arc::new)));
        }
    }

    /// What is in force at an instant.
    pub(super) fn at(&self, time: DateTime<Utc>) -> Option<&Arc<InForce>> {
        let begun = self.turns.partition_point(|(at, _)| *at <= time);
        self.turns.get(begun.checked_sub(1)?)?.1.as_ref()
    }

    /// The instants of a span at which something else comes into force.
    pub(super) fn turns(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let first = self.turns.partition_point(|(at, _)| *at < from);
        self.turns.iter().skip(first).map(|(at, _)| *at).take_while(move |at| *at < to)
    }
}

/// What is registered for the Deployment.
struct Registered<'v> {
    limits: Limits,
    /// Without exceptions, which lift the maximum and leave the rest to the version under them.
    versions: Limits,
    by_id: HashMap<&'v str, &'v Version>,
}

impl<'v> Registered<'v> {
    fn new(versions: &[&'v Version]) -> Self {
        Registered {
            limits: Limits::new(versions.iter().copied()),
            versions: Limits::new(versions.iter().copied().filter(|version| version.until.is_none())),
            by_id: versions.iter().map(|version| (version.id.as_str(), *version)).collect(),
        }
    }

    fn at(&self, input: &Input<'_>, at: DateTime<Utc>) -> Option<InForce> {
        let limit = self.limits.at(input.cluster, input.namespace, input.deployment, at)?;
        let version = self.by_id.get(limit.limit_id.as_str())?;
        let under = || {
            let of_scope = self.versions.of_scope(&version.subject, at);
            let of_any = || self.versions.at(input.cluster, input.namespace, input.deployment, at);
            self.by_id.get(of_scope.or_else(of_any)?.limit_id.as_str())
        };
        let base = if version.until.is_some() { under().unwrap_or(version) } else { version };
        Some(InForce {
            limit_id: limit.limit_id.clone(),
            max_replicas: limit.max_replicas,
            initial_max_replicas: limit.initial_max_replicas,
            since: at,
            owner: base.terms.owner.clone(),
            resources: Resources::of(&base.terms),
        })
    }
}
