//! A registered version of a PED, and those that a registration adds.
//!
//! Versions are appended and never negotiated: whatever depends on their order is derived from all of them when it is
//! asked for. What a version says of its order is only what was known when it was registered.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, SubsecRound, Utc};
use serde_json::Value as Json;

use super::exceptions::{Change, Exceptions};
use super::limits::{self, Claim};
use super::{Ped, Subject, Terms};
use crate::id;
use crate::time::CLOCKS_APART;

/// A registered version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its identity.
    pub id: String,
    /// What it is for.
    pub subject: Subject,
    /// From when it applies.
    pub effective_at: DateTime<Utc>,
    /// An exception ends then; `None` for a version.
    pub until: Option<DateTime<Utc>>,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// What was applied for.
    pub terms: Terms,
    /// The earliest maximum, as known when it was registered.
    pub initial_max_replicas: i64,
    /// When the first version of its subject was registered, as known then.
    pub created_at: DateTime<Utc>,
    /// The RFC 6902 patch from the version before, as known then; `None` for the first.
    pub change: Option<Json>,
    /// Who registered it.
    pub updated_by: String,
    /// Why.
    pub reason: Option<String>,
    /// File and commit.
    pub source: Option<String>,
}

impl From<&Version> for Claim {
    fn from(version: &Version) -> Self {
        Claim {
            id: version.id.clone(),
            subject: version.subject.clone(),
            effective_at: version.effective_at,
            until: version.until,
            registered_at: version.registered_at,
            max_replicas: version.terms.max_replicas,
        }
    }
}

impl Version {
    /// The order of versions.
    fn order(&self) -> (DateTime<Utc>, DateTime<Utc>, &str) {
        (self.effective_at, self.registered_at, &self.id)
    }
}

/// Who registers a PED, when and why.
#[derive(Debug, Clone)]
pub struct Registration {
    /// What is applied for.
    pub ped: Ped,
    /// From when it applies.
    pub effective_at: DateTime<Utc>,
    /// Whether a person named that time: then it is a version of its own, even if it says what holds anyway.
    pub explicit: bool,
    /// When it is registered.
    pub now: DateTime<Utc>,
    /// Who registers it.
    pub updated_by: String,
    /// Why.
    pub reason: Option<String>,
    /// File and commit.
    pub source: Option<String>,
}

/// What a registration adds to the versions known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Addition {
    /// The version; `None` where it would say nothing new.
    pub version: Option<Version>,
    /// The exceptions that are new, and those that are withdrawn: these end earlier than they did, or before they begin.
    pub exceptions: Vec<Version>,
}

impl Addition {
    /// All of it.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.version.iter().chain(&self.exceptions)
    }
}

/// What is known of one subject, and what was added to it.
#[derive(Default)]
struct Known {
    versions: Vec<Version>,
    exceptions: Exceptions,
    added: i64,
}

/// What each registration adds to the versions known, in their order. Of what they say of exceptions, only what holds
/// behind the last of them is added, so that registering the same ones again adds nothing.
pub fn additions(registrations: &[Registration], known: Vec<Version>) -> Vec<Addition> {
    let mut subjects: HashMap<Subject, Known> = HashMap::new();
    for version in known {
        subjects.entry(version.subject.clone()).or_default().versions.push(version);
    }
    for known in subjects.values_mut() {
        known.exceptions = Exceptions::of(&known.versions);
    }
    let mut additions = Vec::with_capacity(registrations.len());
    for (number, registration) in registrations.iter().enumerate() {
        let known = subjects.entry(registration.ped.subject.clone()).or_default();
        known.exceptions.apply(number, registration);
        // What is registered together has an order too.
        let version = registration.next(&known.versions, registration.now + Duration::microseconds(known.added));
        if let Some(version) = &version {
            known.added += 1;
            known.versions.push(version.clone());
        }
        additions.push(Addition { version, exceptions: Vec::new() });
    }
    for Known { versions, exceptions, .. } in subjects.into_values() {
        for change in exceptions.changes() {
            if let (Some(registration), Some(addition)) = (registrations.get(change.by), additions.get_mut(change.by)) {
                addition.exceptions.push(registration.exception(change, &versions));
            }
        }
    }
    additions
}

impl Registration {
    /// The same, registered behind the versions that are there: who comes last stands last, though its clock be behind. What was
    /// registered further ahead than clocks are apart is left where it is.
    #[must_use]
    pub fn behind(self, known: &[Version]) -> Self {
        let of_subject = known.iter().filter(|version| version.subject == self.ped.subject);
        let last = of_subject.map(|version| version.registered_at).max();
        let Some(last) = last.filter(|&last| self.now <= last && last - self.now <= CLOCKS_APART) else { return self };
        let now = last + Duration::microseconds(1);
        let is_at_once = !self.explicit && self.effective_at == self.now;
        let effective_at = if is_at_once { now } else { self.effective_at };
        Registration { now, effective_at, ..self }
    }

    /// The version to append, given those of the same subject; `None` when it would say nothing new.
    fn next(&self, known: &[Version], registered_at: DateTime<Utc>) -> Option<Version> {
        // What every store keeps, so that a version read back is the one that was appended.
        let effective_at = self.effective_at.trunc_subsecs(6);
        let Ped { subject, terms, .. } = &self.ped;
        let versions = || known.iter().filter(|version| version.until.is_none());
        let before = versions().filter(|version| version.effective_at <= effective_at).max_by_key(|v| v.order());
        let is_unchanged = before.is_some_and(|before| before.terms == *terms);
        let is_last = versions().all(|version| version.effective_at <= effective_at);
        let is_said = before.is_some_and(|before| before.effective_at == effective_at);
        if is_unchanged && (is_said || is_last && !self.explicit) {
            return None;
        }
        let draft = Draft {
            subject,
            effective_at,
            until: None,
            registered_at,
            terms: terms.clone(),
            before: before.map(|before| &before.terms),
            updated_by: &self.updated_by,
            reason: self.reason.clone(),
            source: self.source.clone(),
        };
        Some(draft.finish(known))
    }

    /// The row of an exception.
    fn exception(&self, change: Change, known: &[Version]) -> Version {
        let Change { from, held, registered_after, .. } = change;
        let terms = Terms { owner: held.owner, max_replicas: Some(held.max_replicas), ..self.ped.terms.clone() };
        let draft = Draft {
            subject: &self.ped.subject,
            effective_at: from,
            until: Some(held.until),
            registered_at: registered_after.unwrap_or(self.now).max(self.now),
            terms,
            before: Some(&self.ped.terms),
            updated_by: &self.updated_by,
            reason: held.reason,
            source: self.source.clone(),
        };
        draft.finish(known)
    }
}

/// A version without what follows from the rest.
pub(super) struct Draft<'d> {
    pub(super) subject: &'d Subject,
    pub(super) effective_at: DateTime<Utc>,
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) registered_at: DateTime<Utc>,
    pub(super) terms: Terms,
    /// What the version before says.
    pub(super) before: Option<&'d Terms>,
    pub(super) updated_by: &'d str,
    pub(super) reason: Option<String>,
    pub(super) source: Option<String>,
}

impl Draft<'_> {
    /// The version, given those of the same subject.
    pub(super) fn finish(self, known: &[Version]) -> Version {
        let Draft { subject, effective_at, until, terms, .. } = self;
        let registered_at = self.registered_at.trunc_subsecs(6);
        let earlier = known.iter().filter(|version| version.effective_at < effective_at);
        let content = terms.json();
        Version {
            id: identity(subject, effective_at, until, &content, registered_at, self.updated_by),
            effective_at,
            until,
            registered_at,
            initial_max_replicas: initial(earlier).or(terms.max_replicas).unwrap_or_default(),
            created_at: known.iter().map(|version| version.created_at).min().unwrap_or(registered_at),
            change: self.before.map(|before| change(&before.json(), &content)),
            updated_by: self.updated_by.to_owned(),
            reason: self.reason,
            source: self.source,
            subject: subject.clone(),
            terms,
        }
    }
}

fn identity(
    subject: &Subject,
    effective_at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    content: &Json,
    registered_at: DateTime<Utc>,
    updated_by: &str,
) -> String {
    let (clusters, content) = (subject.clusters.to_string(), content.to_string());
    let (effective_at, registered_at) = (id::time(effective_at), id::time(registered_at));
    let until = until.map(id::time);
    let mut parts =
        vec![&*clusters, &subject.namespace, &subject.deployment, &effective_at, &content, &registered_at, updated_by];
    // Versions have the ids that they always had.
    parts.extend(until.as_deref());
    id::id(&parts)
}

/// The earliest maximum among versions of one subject.
fn initial<'v>(versions: impl IntoIterator<Item = &'v Version>) -> Option<i64> {
    let versions = versions.into_iter().filter(|version| version.until.is_none());
    limits::initial(&limits::last_registered(versions.map(Claim::from).collect()))
}

/// Stands for the value of an environment variable.
const HIDDEN: &str = "…";

impl Version {
    /// Without the values of its environment variables, which are for who deploys: in its terms, and in what changed.
    pub fn without_environment(mut self) -> Self {
        self.terms.environment.values_mut().for_each(|value| HIDDEN.clone_into(value));
        for operation in self.change.iter_mut().filter_map(Json::as_array_mut).flatten() {
            let is_environment =
                operation.get("path").and_then(Json::as_str).is_some_and(|path| path.starts_with("/environment"));
            if let Some(value) = operation.get_mut("value").filter(|_| is_environment) {
                *value = HIDDEN.into();
            }
        }
        self
    }
}

fn change(before: &Json, content: &Json) -> Json {
    serde_json::to_value(json_patch::diff(before, content)).unwrap_or_default()
}

/// The versions by subject and in their order, each once, with what depends on that order as it is known now: the earliest
/// maximum, and what changed.
pub fn history(versions: Vec<Version>) -> Vec<Version> {
    let mut subjects: BTreeMap<Subject, Vec<Version>> = BTreeMap::new();
    for version in versions {
        subjects.entry(version.subject.clone()).or_default().push(version);
    }
    subjects.into_values().flat_map(in_order).collect()
}

fn in_order(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|left, right| left.order().cmp(&right.order()));
    versions.dedup_by(|left, right| left.id == right.id);
    let Some(created_at) = versions.iter().map(|version| version.registered_at).min() else { return versions };
    let initial = initial(&versions);
    let mut before: Option<Json> = None;
    for version in &mut versions {
        let content = version.terms.json();
        version.created_at = created_at;
        version.initial_max_replicas = initial.or(version.terms.max_replicas).unwrap_or_default();
        version.change = before.as_ref().map(|before| change(before, &content));
        if version.until.is_none() {
            before = Some(content);
        }
    }
    versions
}
