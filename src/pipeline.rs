//! The one place where the steps meet: bytes are opened, decoded, judged and turned into rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use crate::audit::{DecodeError, Decoded, Entry, Ignored, Write, decode};
use crate::ped::history::{Limit, Limits};
use crate::policy::{Judgement, Policy, Severity, judge};
use crate::store::row::{self, Quarantine, Record};
use crate::store::{Appended, Store, StoreError};

/// Everything that one message is assessed by.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The rules.
    pub policy: Policy,
    /// The registered limits.
    pub limits: Limits,
}

/// What came of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Assessed {
    /// Rows to append: events with their alerts, or a quarantined input.
    Records(Vec<Record>),
    /// Nothing to append.
    Ignored(Ignored),
}

/// What is known of a message besides its entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Envelope<'m> {
    /// Logging's id of the entry.
    pub insert_id: Option<&'m str>,
    /// Pub/Sub's id of the message.
    pub message_id: Option<&'m str>,
    /// When Pub/Sub took the message.
    pub publish_time: Option<&'m str>,
}

/// Opens a message (a `LogEntry`, or a Pub/Sub push body around one) and hands what it says to `read`.
pub fn open<T>(raw: &[u8], read: impl FnOnce(Envelope<'_>, Result<Decoded<'_>, DecodeError>) -> T) -> T {
    let outer = match Entry::parse(raw) {
        Ok(entry) => entry,
        Err(error) => return read(Envelope::default(), Err(error)),
    };
    let envelope =
        Envelope { insert_id: outer.insert_id(), message_id: outer.message_id(), publish_time: outer.publish_time() };
    let pushed = match outer.pushed() {
        Ok(None) => return read(envelope, decode(&outer)),
        Ok(Some(pushed)) => pushed,
        Err(error) => return read(envelope, Err(error)),
    };
    match Entry::parse(&pushed) {
        Ok(inner) => read(Envelope { insert_id: inner.insert_id(), ..envelope }, decode(&inner)),
        Err(error) => read(envelope, Err(error)),
    }
}

impl Pipeline {
    /// Assesses one message. `now` is when that happens, `source` where the message came from (file and line, or
    /// subscription).
    pub fn assess(&self, raw: &[u8], source: impl FnOnce() -> String, now: DateTime<Utc>) -> Assessed {
        open(raw, |envelope, decoded| match decoded {
            Ok(Decoded::Ignored(reason)) => Assessed::Ignored(reason),
            Ok(Decoded::Writes(writes)) => Assessed::Records(
                writes
                    .iter()
                    .flat_map(|write| {
                        let (limit, judgement) = self.judge(write);
                        row::records(write, limit, judgement, now)
                    })
                    .collect(),
            ),
            Err(error) => Assessed::Records(vec![Record::Quarantine(quarantine(raw, envelope, &error, source(), now))]),
        })
    }

    /// Judges a write against the limit in force at its own time.
    pub fn judge(&self, write: &Write<'_>) -> (Option<&Limit>, Judgement) {
        let limit = write
            .deployment_name
            .and_then(|name| self.limits.at(write.cluster_name, write.namespace, name, write.event_time));
        (limit, judge(write, limit, &self.policy))
    }
}

/// The row of an unreadable input: its id is that of its bytes, so a redelivery adds nothing.
pub fn quarantine(
    raw: &[u8],
    envelope: Envelope<'_>,
    error: &DecodeError,
    source: String,
    now: DateTime<Utc>,
) -> Quarantine {
    // A store's text column holds neither other bytes than UTF-8 nor, in some, the zero character.
    let raw = match std::str::from_utf8(raw) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => format!("base64:{}", STANDARD.encode(raw)),
    };
    let published = envelope.publish_time.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    Quarantine {
        quarantine_id: row::id(&[&raw]),
        quarantined_at: now,
        message_id: envelope.message_id.map(str::to_owned),
        publish_time: published.map(|time| time.to_utc()),
        reason: error.reason().to_owned(),
        detail: error.to_string(),
        raw,
        source: Some(source),
    }
}

/// What was seen and recorded so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub entries: u64,
    /// Their size.
    pub bytes: u64,
    /// Events recorded.
    pub events: u64,
    /// Events that were recorded already.
    pub duplicates: u64,
    /// Messages that are not a change, by reason.
    pub ignored: BTreeMap<Ignored, u64>,
    /// Inputs and rows put aside.
    pub quarantined: u64,
    /// Alerts recorded, by type.
    pub alerts: BTreeMap<String, u64>,
    /// The worst alert found, recorded now or before.
    pub worst: Option<Severity>,
}

impl Tally {
    /// Adds another tally.
    pub fn merge(&mut self, other: Tally) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.quarantined += other.quarantined;
        for (reason, count) in other.ignored {
            *self.ignored.entry(reason).or_default() += count;
        }
        for (alert_type, count) in other.alerts {
            *self.alerts.entry(alert_type).or_default() += count;
        }
        self.worst = self.worst.max(other.worst);
    }

    fn count(&mut self, record: &Record, appended: &Appended) {
        let new = *appended == Appended::New;
        match record {
            Record::Event(_) if new => self.events += 1,
            Record::Event(_) => self.duplicates += 1,
            Record::Alert(alert) => {
                self.worst = self.worst.max(Severity::from_name(&alert.severity));
                if new {
                    *self.alerts.entry(alert.alert_type.clone()).or_default() += 1;
                }
            }
            Record::Quarantine(_) => self.quarantined += u64::from(new),
        }
    }
}

/// Appends rows and counts what became of them. A row that the store refuses goes to quarantine with its reason.
///
/// # Errors
/// [`StoreError`] when not all of it is durable; appending it again is safe.
pub async fn append(store: &dyn Store, records: Vec<Record>, now: DateTime<Utc>) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    let mut refused = Vec::new();
    let records: Arc<[Record]> = records.into();
    let outcomes = store.append(Arc::clone(&records)).await?;
    for (record, outcome) in records.iter().zip(outcomes) {
        match outcome {
            Appended::Refused(reason) => refused.push(Record::Quarantine(refusal(record, &reason, now))),
            outcome => tally.count(record, &outcome),
        }
    }
    if !refused.is_empty() {
        let refused: Arc<[Record]> = refused.into();
        for (record, outcome) in refused.iter().zip(store.append(Arc::clone(&refused)).await?) {
            match outcome {
                Appended::Refused(reason) => return Err(StoreError::Permanent(reason)),
                outcome => tally.count(record, &outcome),
            }
        }
    }
    Ok(tally)
}

fn refusal(record: &Record, reason: &str, now: DateTime<Utc>) -> Quarantine {
    let raw = format!("{record:?}");
    Quarantine {
        quarantine_id: row::id(&[&raw]),
        quarantined_at: now,
        message_id: None,
        publish_time: None,
        reason: "refused_row".to_owned(),
        detail: format!("the store refuses the row: {reason}"),
        raw,
        source: None,
    }
}
