//! The exceptions of one scope, and what registrations change of them.
//!
//! A PED says which exceptions hold from its effect on, and which begin before the version after it does. So one that it
//! does not name ends at that effect, or never begins; one that it changes ends there as well, and another takes its place.
//! What has held until then stays as it was. One that nobody knew holds from its beginning, even if that is over already.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};

use chrono::{DateTime, Duration, SubsecRound, Utc};

use super::Exception;
use super::limits::{Claim, last_registered};
use super::version::{Registration, Version};

/// The exceptions of one scope, as they are registered, and as registrations change them.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    /// By when they begin.
    held: BTreeMap<DateTime<Utc>, Held>,
    /// When its versions begin.
    versions: BTreeSet<DateTime<Utc>>,
    /// When it is retired, which ends the exceptions that have begun.
    retired: BTreeSet<DateTime<Utc>>,
}

/// The exception that begins at some instant.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// When it ends; no later than it begins, if it never holds.
    pub(super) until: DateTime<Utc>,
    pub(super) max_replicas: i64,
    pub(super) owner: String,
    /// Why it is changed.
    pub(super) reason: Option<String>,
    /// The number of the registration that changes it.
    by: Option<usize>,
    /// What is registered of it, and for which owner.
    known: Option<(Claim, String)>,
}

/// What is to be appended.
pub(super) struct Change {
    /// The number of the registration that it comes from.
    pub(super) by: usize,
    pub(super) from: DateTime<Utc>,
    pub(super) held: Held,
    /// When it can be registered at the earliest, to correct what is.
    pub(super) registered_after: Option<DateTime<Utc>>,
}

impl Exceptions {
    /// Those among the versions of one scope.
    pub(super) fn of(versions: &[Version]) -> Self {
        let (exceptions, others): (Vec<&Version>, Vec<&Version>) =
            versions.iter().partition(|version| version.until.is_some());
        let owners: HashMap<&str, &str> =
            exceptions.iter().map(|version| (version.id.as_str(), version.terms.owner.as_str())).collect();
        let held = |(from, claim): (DateTime<Utc>, Claim)| {
            let owner = owners.get(claim.id.as_str()).copied().unwrap_or_default().to_owned();
            // Without a maximum it would never hold; no release writes that.
            let max_replicas = claim.max_replicas.unwrap_or_default();
            let until = claim.until.filter(|_| claim.max_replicas.is_some()).unwrap_or(from);
            let known = Some((claim, owner.clone()));
            (from, Held { until, max_replicas, owner, reason: None, by: None, known })
        };
        let last = |versions: Vec<&Version>| last_registered(versions.into_iter().map(Claim::from).collect());
        let held = last(exceptions).into_iter().map(held).collect();
        let (mut versions, mut retired) = (BTreeSet::new(), BTreeSet::new());
        for (at, claim) in last(others) {
            if claim.max_replicas.is_some() { &mut versions } else { &mut retired }.insert(at);
        }
        Exceptions { held, versions, retired }
    }

    /// Has them be what a registration names, from its effect on.
    pub(super) fn apply(&mut self, number: usize, registration: &Registration) {
        let at = registration.effective_at.trunc_subsecs(6);
        // Its version corrects a retirement of that instant.
        self.retired.remove(&at);
        self.versions.insert(at);
        let next = self.versions.range((Excluded(at), Unbounded)).next();
        let owner = &registration.ped.terms.owner;
        let mut named: Vec<&Exception> = registration.ped.exceptions.iter().collect();
        for (&from, held) in &mut self.held {
            if end(&self.retired, from, held.until) <= at.max(from) {
                continue;
            }
            let goes_on = |exception: &&Exception| {
                let begins = exception.from == from || (from <= at && exception.from <= at && exception.until > at);
                begins && exception.max_replicas == held.max_replicas && *owner == held.owner
            };
            let (until, reason) = match named.iter().position(goes_on).map(|place| named.swap_remove(place)) {
                Some(exception) => (exception.until.max(at), Some(exception.reason.clone())),
                None if next.is_some_and(|next| *next <= from) => continue,
                None => (at.max(from), registration.reason.clone()),
            };
            if until != held.until {
                (held.until, held.reason, held.by) = (until, reason, Some(number));
            }
        }
        for exception in named {
            self.begin(number, at, owner, exception);
        }
    }

    /// An exception that does not go on with one that is there. Where another has held, or a retirement would end it, it
    /// begins at the effect.
    fn begin(&mut self, number: usize, at: DateTime<Utc>, owner: &str, exception: &Exception) {
        let Exception { from, until, max_replicas, .. } = *exception;
        let mut before = self.held.range(..until.min(at));
        let has_held = before.any(|(&begins, held)| end(&self.retired, begins, held.until) > from.max(begins));
        let is_retired = from < at && self.retired.range((Excluded(from), Included(at))).next().is_some();
        let from = if has_held || is_retired { at } else { from };
        if from < until {
            let known = self.held.remove(&from).and_then(|held| held.known);
            let (owner, reason) = (owner.to_owned(), Some(exception.reason.clone()));
            self.held.insert(from, Held { until, max_replicas, owner, reason, by: Some(number), known });
        }
    }

    /// What is not registered as it is to be.
    pub(super) fn changes(self) -> impl Iterator<Item = Change> {
        self.held.into_iter().filter_map(|(from, held)| {
            let by = held.by?;
            let is_registered = held.known.as_ref().is_some_and(|(claim, owner)| {
                (claim.until, claim.max_replicas, owner) == (Some(held.until), Some(held.max_replicas), &held.owner)
            });
            let registered_at = held.known.as_ref().map(|(claim, _)| claim.registered_at);
            let registered_after = registered_at.map(|time| time + Duration::microseconds(1));
            (!is_registered).then_some(Change { by, from, held, registered_after })
        })
    }
}

/// When an exception ends: as it says, or when its scope is retired.
fn end(retired: &BTreeSet<DateTime<Utc>>, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
    let retired = retired.range((Excluded(from), Unbounded)).next();
    retired.map_or(until, |retired| until.min(*retired))
}
