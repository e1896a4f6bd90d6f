//! Where each version of a PED stands at some time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use chrono::{DateTime, Utc};

use super::Subject;
use super::limits::{Claim, Limit, Limits, end_of, last_registered};
use super::version::Version;
use crate::names::named;

named! {
    /// Where a version stands among those of its own scope.
    pub enum Standing {
        /// It is in force; so may one be that retires the Deployment.
        InForce = "in_force",
        /// It would be in force, if no exception stood above it.
        BelowException = "below_exception",
        /// It begins later.
        ToCome = "to_come",
        /// Its time is over.
        Ended = "ended",
        /// An exception that was withdrawn before it began.
        Withdrawn = "withdrawn",
        /// One registered later, for the same instant, corrects it.
        Replaced = "replaced",
    }
}

/// Where versions stand at `now`, in their order. All those of a scope are among them.
pub fn standings(versions: &[Version], now: DateTime<Utc>) -> Vec<Standing> {
    let limits = Limits::new(versions);
    let mut subjects: HashMap<&Subject, Vec<Claim>> = HashMap::new();
    for version in versions {
        subjects.entry(&version.subject).or_default().push(version.into());
    }
    let scopes: HashMap<&Subject, Scope> =
        subjects.into_iter().map(|(subject, claims)| (subject, Scope::new(claims))).collect();
    let standing = |version: &Version| {
        let limit = limits.of_scope(&version.subject, now);
        scopes.get(&version.subject).map_or(Standing::Replaced, |scope| scope.standing(&version.into(), limit, now))
    };
    versions.iter().map(standing).collect()
}

/// What counts of one scope, by when it begins.
struct Scope {
    versions: BTreeMap<DateTime<Utc>, Claim>,
    exceptions: BTreeMap<DateTime<Utc>, Claim>,
}

impl Scope {
    fn new(claims: Vec<Claim>) -> Self {
        let (exceptions, versions) = claims.into_iter().partition(|claim| claim.until.is_some());
        Scope { versions: last_registered(versions), exceptions: last_registered(exceptions) }
    }

    /// `limit` is the scope's own at `now`.
    fn standing(&self, claim: &Claim, limit: Option<&Limit>, now: DateTime<Utc>) -> Standing {
        let begins = claim.effective_at;
        let of_its_kind = if claim.until.is_some() { &self.exceptions } else { &self.versions };
        let is_last = of_its_kind.get(&begins).is_some_and(|last| last.id == claim.id);
        let next = || self.versions.range((Excluded(begins), Unbounded)).next().map(|(at, _)| *at);
        let ends = if claim.until.is_some() { end_of(claim, &self.versions) } else { next() };
        match ends {
            _ if !is_last => Standing::Replaced,
            None if claim.until.is_some() => Standing::Withdrawn,
            _ if begins > now => Standing::ToCome,
            Some(ends) if ends <= now => Standing::Ended,
            _ if limit.is_some_and(|limit| limit.limit_id != claim.id) => Standing::BelowException,
            _ => Standing::InForce,
        }
    }
}
