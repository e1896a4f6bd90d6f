//! Silences: for some time, nobody is told of some things. They stop notices, and never facts, incidents or bills.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::ledger::{Change, Ledger, LedgerError, Put, Stored};
use super::matcher::{About, Matcher, Matchers};
use crate::id;
use crate::incident::{self, Deployment};
use crate::names::Named;
use crate::policy::{AlertType, Severities};

/// Where the silences are found that have not ended.
const PLACE: &str = "silences";

/// Silences that are read at once.
const PAGE: u32 = 100;

/// The longest silence: who needs a longer one needs another limit.
const LONGEST: Duration = Duration::days(30);

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its identity.
    pub silence_id: String,
    /// What it is for; see [`Matchers`].
    pub matchers: Vec<Matcher>,
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Where more is said.
    pub ticket: Option<String>,
    /// Who ended it before its time, and when.
    pub ended: Option<Ended>,
}

/// The early end of a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: String,
}

/// A silence as a person asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it is for.
    pub matchers: Vec<Matcher>,
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub created_by: String,
    /// Where more is said.
    pub ticket: Option<String>,
}

impl Silence {
    /// The silence that is asked for at `now`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(draft: Draft, now: DateTime<Utc>) -> Result<Self, Vec<String>> {
        let Draft { matchers, starts_at, ends_at, reason, created_by, ticket } = draft;
        let mut faults = Vec::new();
        if matchers.iter().all(Matcher::is_any) {
            faults.push("it would be for everything; expected a matcher that is not *".to_owned());
        }
        if ends_at <= starts_at || ends_at <= now {
            faults.push(format!("it ends at {}; expected a time after its beginning and after now", id::time(ends_at)));
        } else if ends_at - starts_at > LONGEST {
            faults.push(format!("it ends at {}; expected {} days at most", id::time(ends_at), LONGEST.num_days()));
        }
        if reason.trim().is_empty() {
            faults.push("it has no reason; expected one".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let told: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
        let (told, times) = (told.join(","), [starts_at, ends_at, now].map(id::time));
        let [from, to, at] = times.each_ref().map(String::as_str);
        let silence_id = id::id(&[&told, from, to, at, &created_by, &reason]);
        Ok(Silence {
            silence_id,
            matchers,
            starts_at,
            ends_at,
            reason,
            created_by,
            created_at: now,
            ticket,
            ended: None,
        })
    }

    /// When it ends, or ended.
    pub fn until(&self) -> DateTime<Utc> {
        self.ended.as_ref().map_or(self.ends_at, |ended| ended.at.min(self.ends_at))
    }

    /// Whether it holds something back at a time.
    pub fn is_in_force(&self, at: DateTime<Utc>) -> bool {
        self.starts_at <= at && at < self.until()
    }

    /// What it holds back of a Deployment, as its incidents look at it; `None` where that is nothing.
    pub fn for_deployment(
        &self,
        deployment: &Deployment,
        owner: Option<&str>,
        severities: &Severities,
    ) -> Option<incident::Silence> {
        let matchers = Matchers::new(self.matchers.iter().cloned());
        let rules = AlertType::ALL.iter().filter_map(|&rule| Some((rule, severities.get(rule)?)));
        let holds = |(rule, severity): &(AlertType, _)| {
            matchers.misses(&About { rule: *rule, severity: *severity, deployment, owner }).is_none()
        };
        let rules: Vec<_> = rules.filter(holds).collect();
        (!rules.is_empty()).then(|| incident::Silence { silence_id: self.silence_id.clone(), rules })
    }
}

/// Keeps a new silence.
///
/// # Errors
/// [`LedgerError`] when it may not be kept; [`LedgerError::Conflict`] when it is kept already.
pub async fn add(ledger: &dyn Ledger, silence: &Silence) -> Result<(), LedgerError> {
    keep(ledger, silence, None, true).await
}

/// The silences that have not ended at `now`, those that have not begun included.
///
/// # Errors
/// [`LedgerError`] when they cannot be read.
pub async fn standing(ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<Vec<Silence>, LedgerError> {
    let kept = kept(ledger).await?.into_iter().map(|(silence, _)| silence);
    Ok(kept.filter(|silence| now < silence.until()).collect())
}

/// Ends a silence before its time. `None` where there is none of that id, or it has ended.
///
/// # Errors
/// [`LedgerError`] when it may not be kept; ending it again is safe.
pub async fn end(ledger: &dyn Ledger, id: &str, by: &str, now: DateTime<Utc>) -> Result<Option<Silence>, LedgerError> {
    let found = kept(ledger).await?.into_iter().find(|(silence, _)| silence.silence_id == id && now < silence.until());
    let Some((mut silence, stored)) = found else { return Ok(None) };
    silence.ended = Some(Ended { at: now, by: by.to_owned() });
    keep(ledger, &silence, Some(stored.revision), true).await?;
    Ok(Some(silence))
}

/// The silences that have ended: what is open under them is to be told now, and then they are to be forgotten ([`forget`]).
/// A kill in between loses nothing.
///
/// # Errors
/// [`LedgerError`] when they cannot be read.
pub async fn over(ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<Vec<Silence>, LedgerError> {
    let kept = kept(ledger).await?.into_iter().map(|(silence, _)| silence);
    Ok(kept.filter(|silence| silence.until() <= now).collect())
}

/// What is open under a silence was told after its end: it is not looked for any more, and stays for the record.
///
/// # Errors
/// [`LedgerError`] when it may not be kept; forgetting it again is safe.
pub async fn forget(ledger: &dyn Ledger, id: &str) -> Result<(), LedgerError> {
    let found = kept(ledger).await?.into_iter().find(|(silence, _)| silence.silence_id == id);
    let Some((silence, stored)) = found else { return Ok(()) };
    keep(ledger, &silence, Some(stored.revision), false).await
}

async fn keep(
    ledger: &dyn Ledger,
    silence: &Silence,
    revision: Option<String>,
    is_open: bool,
) -> Result<(), LedgerError> {
    let body = serde_json::to_string(silence).map_err(|error| LedgerError::Permanent(error.to_string()))?;
    let open_in = if is_open { vec![PLACE.to_owned()] } else { Vec::new() };
    let put = Put { key: silence.silence_id.clone(), revision, due_at: None, open_in, body };
    ledger.commit(&Change { documents: vec![put], ..Change::default() }).await
}

async fn kept(ledger: &dyn Ledger) -> Result<Vec<(Silence, Stored)>, LedgerError> {
    let (mut silences, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.open_documents(PLACE, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(silences) };
        after = Some(last.key.clone());
        for stored in page {
            let refuse = |error| LedgerError::Permanent(format!("the silence {} cannot be read: {error}", stored.key));
            silences.push((serde_json::from_str(&stored.body).map_err(refuse)?, stored));
        }
    }
}
