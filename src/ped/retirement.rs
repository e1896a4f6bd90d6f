//! The end of a PED: from some time on nothing is applied for any more.

use std::collections::HashMap;
use std::ops::Bound::{Excluded, Unbounded};

use chrono::{DateTime, Duration, SubsecRound, Utc};

use super::limits::{Claim, Limits, last_registered};
use super::version::{Draft, Version};
use super::{Subject, Terms};

/// Who retires the PED of some scope, when and why.
#[derive(Debug, Clone)]
pub struct Retirement {
    /// What it was for.
    pub subject: Subject,
    /// From when on it is retired.
    pub effective_at: DateTime<Utc>,
    /// When that is registered.
    pub now: DateTime<Utc>,
    /// Who retires it.
    pub updated_by: String,
    /// Why.
    pub reason: String,
}

/// What a retirement comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Retired {
    /// What is appended; nothing where it is retired already.
    pub versions: Vec<Version>,
    /// When the next version begins, which is registered already and stays.
    pub next: Option<DateTime<Utc>>,
}

impl Retirement {
    /// What it comes to, given the versions of the same subject. It ends what is in force; an exception that was to begin
    /// before the next version does is withdrawn, as by a PED that does not name it.
    pub fn apply(&self, known: &[Version]) -> Retired {
        let at = self.effective_at.trunc_subsecs(6);
        let by_id: HashMap<&str, &Version> = known.iter().map(|version| (version.id.as_str(), version)).collect();
        let version = |id: &str| by_id.get(id).copied();
        let (exceptions, versions): (Vec<Claim>, Vec<Claim>) =
            known.iter().map(Claim::from).partition(|claim| claim.until.is_some());
        let limits = Limits::new(known);
        let in_force = limits.of_scope(&self.subject, at).and_then(|limit| version(&limit.limit_id));
        let versions = last_registered(versions);
        let mut later = versions.range((Excluded(at), Unbounded)).filter(|(_, claim)| claim.max_replicas.is_some());
        let next = later.next().map(|(begins, _)| *begins);
        let withdrawn = last_registered(exceptions).into_iter().filter_map(|(from, claim)| {
            let is_pending = at <= from && next.is_none_or(|next| from < next) && claim.until > Some(from);
            Some(self.row(from, version(&claim.id).filter(|_| is_pending)?, Some(from), known))
        });
        let ended = in_force.map(|ends| self.row(at, ends, None, known));
        Retired { versions: ended.into_iter().chain(withdrawn).collect(), next }
    }

    /// The row that ends a version, or withdraws an exception.
    fn row(&self, from: DateTime<Utc>, ends: &Version, until: Option<DateTime<Utc>>, known: &[Version]) -> Version {
        let max_replicas = ends.terms.max_replicas.filter(|_| until.is_some());
        let corrects = |version: &&Version| (version.effective_at, version.until.is_some()) == (from, until.is_some());
        let corrected = known.iter().filter(corrects).map(|version| version.registered_at).max();
        let draft = Draft {
            subject: &self.subject,
            effective_at: from,
            until,
            registered_at: corrected.map_or(self.now, |time| self.now.max(time + Duration::microseconds(1))),
            terms: Terms { max_replicas, ..ends.terms.clone() },
            before: Some(&ends.terms),
            updated_by: &self.updated_by,
            reason: Some(self.reason.clone()),
            source: None,
        };
        draft.finish(known)
    }
}
