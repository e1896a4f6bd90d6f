//! The one place where the steps meet: bytes are opened, decoded, judged and turned into rows.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::audit::forms::{self, Form};
use crate::audit::{DecodeError, Decoded, Entry, Ignored, Write, decode};
use crate::ped::history::{Limit, Limits};
use crate::policy::{Judgement, Policy, Severity, judge};
use crate::store::query::Counts;
use crate::store::row::{self, Quarantine, Record};
use crate::store::{Appended, Store, StoreError};

pub mod consumer;

/// Everything that one message is assessed by: the rules, and the limits as they were last read.
#[derive(Debug)]
pub struct Pipeline {
    policy: Policy,
    limits: RwLock<Limits>,
}

/// What came of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Assessed {
    /// Rows to append: events with their alerts, or a quarantined input.
    Records(Vec<Record>),
    /// Nothing to append.
    Ignored(Ignored),
}

impl Assessed {
    /// What an empty page comes to.
    pub(crate) fn of_nothing() -> Self {
        Assessed::Records(Vec::new())
    }

    /// Adds what came of another part of the same message.
    pub(crate) fn add(sum: &mut Option<Self>, part: Self) {
        *sum = Some(match (sum.take(), part) {
            (Some(Assessed::Records(mut records)), Assessed::Records(more)) => {
                records.extend(more);
                Assessed::Records(records)
            }
            (Some(Assessed::Records(records)), Assessed::Ignored(_)) => Assessed::Records(records),
            (_, part) => part,
        });
    }
}

/// A message without what it was wrapped in, and what the wrapping says of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Envelope<'m> {
    /// What was published. The same for each delivery, which a push body is not.
    pub data: &'m [u8],
    /// Logging's id of the entry.
    pub insert_id: Option<&'m str>,
    /// Pub/Sub's id of the message.
    pub message_id: Option<&'m str>,
    /// When Pub/Sub took the message.
    pub publish_time: Option<&'m str>,
}

/// How often a message may be wrapped: a page of push bodies around entries in another form needs three.
const WRAPPINGS_MAX: usize = 4;

/// Opens a message (a `LogEntry`, a Pub/Sub push body around one, or any of [`forms`]) and hands what it says to
/// `read`: once, or for a document that holds several once for each.
pub fn open(raw: &[u8], mut read: impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>)) {
    open_wrapped(Envelope { data: raw, ..Envelope::default() }, WRAPPINGS_MAX, &mut read);
}

fn open_wrapped(
    envelope: Envelope<'_>,
    wrappings: usize,
    read: &mut impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>),
) {
    let entry = match Entry::parse(envelope.data) {
        Ok(entry) => entry,
        Err(error) => return open_form(envelope, Err(error), wrappings, read),
    };
    let envelope = Envelope {
        insert_id: entry.insert_id(),
        message_id: entry.message_id().or(envelope.message_id),
        publish_time: entry.publish_time().or(envelope.publish_time),
        ..envelope
    };
    match entry.pushed() {
        Ok(Some(pushed)) if wrappings > 0 => open_wrapped(Envelope { data: &pushed, ..envelope }, wrappings - 1, read),
        Ok(Some(_)) => read(envelope, Err(wrapped_too_often())),
        Ok(None) => match decode(&entry) {
            Ok(decoded) if entry.is_plain() => read(envelope, Ok(decoded)),
            plain => open_form(envelope, plain, wrappings, read),
        },
        Err(error) => read(envelope, Err(error)),
    }
}

/// Opens what is no plain entry; `plain` is what the decoder makes of it, which holds where no other form is recognised.
fn open_form(
    envelope: Envelope<'_>,
    plain: Result<Decoded<'_>, DecodeError>,
    wrappings: usize,
    read: &mut impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>),
) {
    match forms::canonical(envelope.data) {
        Ok(None) => read(envelope, plain),
        Err(error) => read(envelope, Err(error)),
        Ok(Some(Form::Entry(canonical))) => match Entry::parse(&canonical) {
            Ok(entry) => read(Envelope { insert_id: entry.insert_id(), ..envelope }, decode(&entry)),
            Err(error) => read(envelope, Err(error)),
        },
        Ok(Some(Form::Several(_))) if wrappings == 0 => read(envelope, Err(wrapped_too_often())),
        // Each is an input of its own: one that cannot be read leaves its neighbours alone.
        Ok(Some(Form::Several(documents))) => documents.iter().for_each(|document| {
            open_wrapped(Envelope { data: document, insert_id: None, ..envelope }, wrappings - 1, read);
        }),
    }
}

fn wrapped_too_often() -> DecodeError {
    let form = format!("wrapped more than {WRAPPINGS_MAX} times");
    DecodeError::Form { form, remedy: "a LogEntry, or a Pub/Sub message around one" }
}

impl Pipeline {
    /// Takes the rules, and the limits to begin with.
    pub fn new(policy: Policy, limits: Limits) -> Self {
        Pipeline { policy, limits: RwLock::new(limits) }
    }

    /// Assesses one message. `now` is when that happens, `source` where the message came from (file and line, or
    /// subscription).
    pub fn assess(&self, raw: &[u8], source: impl Fn() -> String, now: DateTime<Utc>) -> Assessed {
        let mut assessed = None;
        open(raw, |envelope, decoded| {
            Assessed::add(&mut assessed, self.assess_decoded(envelope, decoded, &source, now))
        });
        assessed.unwrap_or_else(Assessed::of_nothing)
    }

    /// As [`Pipeline::assess`], for a message that [`open`] has decoded.
    pub fn assess_decoded(
        &self,
        envelope: Envelope<'_>,
        decoded: Result<Decoded<'_>, DecodeError>,
        source: impl FnOnce() -> String,
        now: DateTime<Utc>,
    ) -> Assessed {
        match decoded {
            Ok(Decoded::Ignored(reason)) => Assessed::Ignored(reason),
            Ok(Decoded::Writes(writes)) => {
                let limits = self.limits();
                let records = |write| {
                    let (limit, judgement) = self.judge(write, &limits);
                    row::records(write, limit, judgement, now)
                };
                Assessed::Records(writes.iter().flat_map(records).collect())
            }
            Err(error) => Assessed::Records(vec![Record::Quarantine(quarantine(envelope, &error, source(), now))]),
        }
    }

    /// Judges a write against the limit in force at its own time.
    pub fn judge<'l>(&self, write: &Write<'_>, limits: &'l Limits) -> (Option<&'l Limit>, Judgement) {
        let limit = write
            .deployment_name
            .and_then(|name| limits.at(write.cluster_name, write.namespace, name, write.event_time));
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

    /// Changes the known limits.
    pub(crate) fn change_limits(&self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.limits.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The row of an unreadable input: its id is that of its bytes, so a redelivery adds nothing.
pub fn quarantine(envelope: Envelope<'_>, error: &DecodeError, source: String, now: DateTime<Utc>) -> Quarantine {
    let raw = envelope.data;
    // A store's text column holds neither other bytes than UTF-8 nor, in some, the zero character.
    // Other control characters take six characters in JSON, and are no text anyway.
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    let id = row::id(&[&hex::encode(Sha256::digest(raw))]);
    let raw = excerpt(match std::str::from_utf8(raw) {
        Ok(text) if is_text(text) => text.to_owned(),
        _ => format!("base64:{}", STANDARD.encode(raw)),
    });
    let published = envelope.publish_time.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    Quarantine {
        quarantine_id: id,
        quarantined_at: now,
        message_id: envelope.message_id.map(str::to_owned),
        publish_time: published.map(|time| time.to_utc()),
        reason: error.reason().to_owned(),
        detail: error.to_string(),
        raw,
        source: Some(source),
    }
}

/// What was seen so far. What of it was new, the store tells: see [`Counts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub entries: u64,
    /// Their size.
    pub bytes: u64,
    /// Messages that are not a change, by reason.
    pub ignored: BTreeMap<Ignored, u64>,
    /// Events that are stored now, whether by this run or before.
    pub stored_events: u64,
    /// The worst alert found, recorded now or before.
    pub worst: Option<Severity>,
}

impl Tally {
    /// Adds another tally.
    pub fn merge(&mut self, other: Tally) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.stored_events += other.stored_events;
        for (reason, count) in other.ignored {
            *self.ignored.entry(reason).or_default() += count;
        }
        self.worst = self.worst.max(other.worst);
    }

    /// Events that were recorded before.
    pub fn duplicates(&self, counts: &Counts) -> u64 {
        self.stored_events.saturating_sub(counts.events)
    }

    fn count(&mut self, record: &Record) {
        match record {
            Record::Event(_) => self.stored_events += 1,
            Record::Alert(alert) => self.worst = self.worst.max(Severity::from_name(&alert.severity)),
            Record::Quarantine(_) => {}
        }
    }
}

/// Appends rows and counts them. A row that the store refuses goes to quarantine with its reason.
///
/// # Errors
/// [`StoreError`] when not all of it is durable; appending it again is safe.
pub async fn append(store: &dyn Store, records: Vec<Record>, now: DateTime<Utc>) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    let records: Arc<[Record]> = records.into();
    let outcomes = store.append(Arc::clone(&records)).await?;
    records.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Appended::Stored).for_each(|(record, _)| {
        tally.count(record);
    });
    let refusals = refusals(&records, outcomes, now);
    if !refusals.is_empty() {
        must_be_stored(&store.append(refusals.into()).await?)?;
    }
    Ok(tally)
}

/// The quarantine rows for what a store refused.
pub(crate) fn refusals(records: &[Record], outcomes: Vec<Appended>, now: DateTime<Utc>) -> Vec<Record> {
    let refused = records.iter().zip(outcomes).filter_map(|(record, outcome)| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(Record::Quarantine(refusal(record, &reason, now))),
    });
    refused.collect()
}

/// There is no quarantine for the quarantine.
pub(crate) fn must_be_stored(outcomes: &[Appended]) -> Result<(), StoreError> {
    let refused = outcomes.iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a quarantine row: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}

fn refusal(record: &Record, reason: &str, now: DateTime<Utc>) -> Quarantine {
    let raw = excerpt(json!({ "table": record.table(), "row": record.json() }).to_string());
    Quarantine {
        quarantine_id: row::id(&[record.table(), record.id()]),
        quarantined_at: now,
        message_id: None,
        publish_time: None,
        reason: "refused_row".to_owned(),
        detail: format!("the store refuses the row: {reason}"),
        raw,
        source: None,
    }
}

/// Longest text that is kept of one input: its row must get through BigQuery's 10 MB for one, and a quote in it takes
/// two characters there. Pub/Sub carries up to 10 MB, but a LogEntry has at most 512 KiB.
const RAW_MAX_BYTES: usize = 4 << 20;

/// The text, or how it begins.
fn excerpt(mut text: String) -> String {
    if text.len() > RAW_MAX_BYTES {
        text.truncate(text.floor_char_boundary(RAW_MAX_BYTES));
        text.push('…');
    }
    text
}
