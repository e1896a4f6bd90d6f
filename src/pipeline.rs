//! The one place where the steps meet: bytes are opened, decoded, judged and turned into rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chrono::{DateTime, Utc};

use crate::audit::{DecodeError, Decoded, Ignored, Outcome, Write};
use crate::id;
use crate::ped::limits::{Limit, Limits};
use crate::policy::{Judgement, Policy, is_judged_at_once, judge};
use crate::store::query::Counts;
use crate::store::reach::late_marks;
use crate::store::row::{AlertLog, Record, ReplicaEvent};
use crate::store::{Appended, Store, StoreError};
use crate::time;
use canary::Returned;
use incidents::{LimitsNow, Seen};
use message::Envelope;

pub mod again;
pub mod canary;
pub mod chunk;
#[cfg(feature = "cloud")]
pub mod consumer;
mod cost;
mod digests;
pub mod incidents;
pub mod message;
pub mod quarantine;
#[cfg(feature = "cloud")]
mod reader;
#[cfg(feature = "cloud")]
mod reading;
pub mod register;
pub mod replay;
#[cfg(feature = "cloud")]
mod room;

pub use message::open;

/// Everything that one message is assessed by: the rules, and the limits as they were last read.
#[derive(Debug)]
pub struct Pipeline {
    policy: Policy,
    limits: RwLock<Limits>,
    /// Whether incidents follow from what is assessed.
    follows: bool,
}

/// What came of one message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assessed {
    /// For each document of it that is not a change, why.
    pub ignored: Vec<Ignored>,
    /// Rows to append: events with their alerts, observations, quarantined inputs.
    pub records: Vec<Record>,
    /// What incidents are to follow from, where they do.
    pub seen: Vec<Seen>,
    /// Namespaces in which a later reading has to judge, because a write cannot be judged by itself.
    pub due: BTreeSet<String>,
    /// Writes in scope for which a limit was in force.
    pub limited: u64,
    /// Signs of life.
    pub canaries: Vec<Returned>,
}

impl Pipeline {
    /// Takes the rules, and the limits to begin with.
    pub fn new(policy: Policy, limits: Limits) -> Self {
        Pipeline { policy, limits: RwLock::new(limits), follows: false }
    }

    /// With what incidents follow from.
    pub fn followed(self) -> Self {
        Pipeline { follows: true, ..self }
    }

    /// Assesses one message. `around` is what its source knows of it, `now` is when that happens, `source` where the message
    /// came from (file and line, or subscription).
    pub fn assess(
        &self,
        raw: &[u8],
        around: Envelope<'_>,
        source: impl Fn() -> String,
        now: DateTime<Utc>,
    ) -> Assessed {
        let mut assessed = Assessed::default();
        open(raw, around, |envelope, decoded| {
            if let Err(error) = self.add(&decoded, &mut assessed, now) {
                let row = quarantine::unreadable(envelope, &error, source(), now);
                assessed.records.push(Record::Quarantine(row));
            }
        });
        assessed
    }

    /// Adds what came of one document.
    fn add(
        &self,
        decoded: &Result<Decoded<'_>, DecodeError>,
        assessed: &mut Assessed,
        now: DateTime<Utc>,
    ) -> Result<(), DecodeError> {
        match decoded {
            Err(error) => return Err(error.clone()),
            Ok(Decoded::Ignored(reason)) => assessed.ignored.push(*reason),
            Ok(Decoded::Canary(canary)) => {
                assessed.ignored.push(Ignored::Canary);
                assessed.canaries.extend(Returned::of(canary, now));
            }
            Ok(Decoded::Observed(reason, write)) => {
                plausible(write, now)?;
                assessed.ignored.push(*reason);
                self.add_event(write, ReplicaEvent::new(write, &self.policy, now), assessed);
            }
            Ok(Decoded::Writes(writes)) => {
                writes.iter().try_for_each(|write| plausible(write, now))?;
                let limits = self.limits();
                writes.iter().for_each(|write| self.add_write(write, &limits, assessed, now));
            }
        }
        Ok(())
    }

    /// Adds one row for each alert, and the event's. What was written before a limit of its Deployment that has been judged
    /// already, or cannot be judged by itself, is due at the next reading of limits.
    fn add_write(&self, write: &Write<'_>, limits: &Limits, assessed: &mut Assessed, now: DateTime<Utc>) {
        let (limit, judgement) = self.judge(write, limits);
        let event = ReplicaEvent::new(write, &self.policy, now);
        let deployment = write.deployment_name.unwrap_or_default();
        let turns = || limits.turn_between(write.namespace, deployment, write.event_time, now);
        if self.policy.scope.holds(write) && (!is_judged_at_once(write) || turns()) {
            assessed.due.insert(write.namespace.to_owned());
        }
        assessed.limited += u64::from(limit.is_some() && self.policy.scope.holds(write));
        let alert = |alert| Record::Alert(Box::new(AlertLog::new(write, &event, limit, alert)));
        assessed.records.extend(judgement.alerts.into_iter().map(alert));
        self.add_event(write, event, assessed);
    }

    fn add_event(&self, write: &Write<'_>, event: ReplicaEvent, assessed: &mut Assessed) {
        if self.follows {
            assessed.seen.extend(Seen::of(write, &event));
        }
        assessed.records.push(Record::Event(Box::new(event)));
    }

    /// Judges a write against the limit in force at its own time.
    pub fn judge<'l>(&self, write: &Write<'_>, limits: &'l Limits) -> (Option<&'l Limit>, Judgement) {
        let limit = limits.at_write(write);
        (limit, judge(write, limit, &self.policy))
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The limits as they are known now. Do not hold them across an `await`.
    pub fn limits(&self) -> RwLockReadGuard<'_, Limits> {
        // Poison does not matter: whoever changes them has read what to put there before, and cannot fail half-way.
        self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimitsNow for Pipeline {
    fn look(&self, find: &mut dyn FnMut(&Limits)) {
        find(&self.limits());
    }
}

/// Refuses a write from before GKE wrote audit logs, or from further ahead than clocks are apart: nothing can be judged by
/// its time.
pub(crate) fn plausible(write: &Write<'_>, now: DateTime<Utc>) -> Result<(), DecodeError> {
    if time::can_have_happened(write.event_time, now) {
        return Ok(());
    }
    let (value, expected) = (id::time(write.event_time), "a time from 2015 to a day from now");
    Err(DecodeError::BadTime { place: "timestamp", value, expected })
}

/// What was seen so far. The store tells which of it was new: see [`Counts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub entries: u64,
    /// Their size.
    pub bytes: u64,
    /// Messages that are not a change, by reason.
    pub ignored: BTreeMap<Ignored, u64>,
    /// Inputs and rows that are in quarantine now, whether by this run or before.
    pub quarantined: u64,
    /// Messages of which nothing could be read.
    pub unreadable: u64,
    /// Whole events that are stored now, whether by this run or before.
    whole_events: u64,
    /// The writes whose entries came in pieces.
    split_events: BTreeSet<String>,
    /// Their pieces.
    pieces: BTreeSet<String>,
    /// Writes in scope for which a limit was in force, each as often as it came.
    pub limited: u64,
    /// The namespaces that were written to.
    pub namespaces: BTreeSet<String>,
    /// The times of the earliest and the latest event.
    pub span: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Tally {
    /// Adds another tally.
    pub fn merge(&mut self, other: Tally) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.quarantined += other.quarantined;
        self.unreadable += other.unreadable;
        self.limited += other.limited;
        self.whole_events += other.whole_events;
        self.pieces.extend(other.pieces);
        self.split_events.extend(other.split_events);
        self.namespaces.extend(other.namespaces);
        for (reason, count) in other.ignored {
            *self.ignored.entry(reason).or_default() += count;
        }
        self.span = match (self.span, other.span) {
            (Some((from, to)), Some((other_from, other_to))) => Some((from.min(other_from), to.max(other_to))),
            (span, other) => span.or(other),
        };
    }

    /// The time of the earliest event.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        self.span.map(|(from, _)| from)
    }

    /// Events that were recorded before.
    pub fn duplicates(&self, counts: &Counts) -> u64 {
        (self.whole_events + self.split_events.len() as u64).saturating_sub(counts.writes)
    }

    /// Pieces of split entries that are one write with another of them.
    pub fn joined(&self) -> u64 {
        self.pieces.len().saturating_sub(self.split_events.len()) as u64
    }

    fn count(&mut self, record: &Record) {
        let Record::Event(event) = record else { return };
        if !self.namespaces.contains(&event.namespace) {
            self.namespaces.insert(event.namespace.clone());
        }
        let (from, to) = self.span.unwrap_or((event.event_time, event.event_time));
        self.span = Some((from.min(event.event_time), to.max(event.event_time)));
        match &event.write_id {
            _ if event.outcome == Some(Outcome::Observed) => {}
            Some(write_id) if *write_id != event.event_id => {
                self.pieces.insert(event.event_id.clone());
                self.split_events.insert(write_id.clone());
            }
            _ => self.whole_events += 1,
        }
    }
}

/// Appends rows and counts them, at `at`. A row that the store refuses goes to quarantine with its reason. `now` is when the
/// run began, by which its rows are told.
///
/// # Errors
/// [`StoreError`] when not all of it is durable; appending it again is safe.
pub async fn append(
    store: &dyn Store,
    mut records: Vec<Record>,
    now: DateTime<Utc>,
    at: DateTime<Utc>,
) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    records.extend(late_marks(&records, at));
    let records: Arc<[Record]> = records.into();
    let outcomes = quarantine::append(store, Arc::clone(&records), now).await?;
    for (record, outcome) in records.iter().zip(&outcomes) {
        let is_stored = *outcome == Appended::Stored;
        if is_stored {
            tally.count(record);
        }
        tally.quarantined += u64::from(!is_stored || matches!(record, Record::Quarantine(_)));
    }
    Ok(tally)
}
