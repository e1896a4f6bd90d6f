//! Quarantine in both directions: what cannot be read or stored goes in whole, and comes out as it came.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::again::judge_again;
use super::message::Envelope;
use super::{Pipeline, Tally};
use crate::audit::DecodeError;
use crate::id::{self, id};
use crate::ped::limits::Limits;
use crate::policy::Policy;
use crate::store::row::{Quarantine, QuarantineKind, Record};
use crate::store::{Appended, Store, StoreError, query};

/// Longest text that is kept of one input: its row must get through BigQuery's 10 MB for one, and a quote in it takes
/// two characters there. Pub/Sub carries up to 10 MB, but a LogEntry has at most 512 KiB.
const RAW_MAX_BYTES: usize = 4 << 20;

/// Stands before the base64 of what is no text.
const BASE64: &str = "base64:";

/// The row of an unreadable input: its id is that of its bytes, so a redelivery adds nothing.
pub fn unreadable(envelope: Envelope<'_>, error: &DecodeError, source: String, now: DateTime<Utc>) -> Quarantine {
    let raw = envelope.data;
    // A store's text column holds neither other bytes than UTF-8 nor, in some, the zero character.
    // Other control characters take six characters in JSON, and are no text anyway.
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    Quarantine {
        quarantine_id: id(&[&hex::encode(Sha256::digest(raw))]),
        quarantined_at: now,
        message_id: envelope.message_id.map(str::to_owned),
        publish_time: envelope.publish_time,
        reason: error.reason().to_owned(),
        detail: error.to_string(),
        kind: Some(QuarantineKind::Message),
        raw: excerpt(match std::str::from_utf8(raw) {
            // Text that looks like it is encoded too, so that it comes back as it was.
            Ok(text) if is_text(text) && !text.starts_with(BASE64) => text.to_owned(),
            _ => format!("{BASE64}{}", STANDARD.encode(raw)),
        }),
        source: Some(source),
    }
}

/// The rows of what a store refused.
pub(crate) fn refusals(records: &[Record], outcomes: &[Appended], now: DateTime<Utc>) -> Vec<Record> {
    let refused = records.iter().zip(outcomes).filter_map(|(record, outcome)| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(Record::Quarantine(refused(record, reason, now))),
    });
    refused.collect()
}

fn refused(record: &Record, reason: &str, now: DateTime<Utc>) -> Quarantine {
    Quarantine {
        quarantine_id: id(&[record.table(), &record.id()]),
        quarantined_at: now,
        message_id: None,
        publish_time: None,
        reason: "refused_row".to_owned(),
        detail: format!("the store refuses the row: {reason}"),
        kind: Some(QuarantineKind::Row),
        raw: excerpt(json!({ "table": record.table(), "row": record.json() }).to_string()),
        source: None,
    }
}

/// There is no quarantine for the quarantine, nor for what pedwatch notes for itself.
pub(crate) fn must_be_stored(outcomes: &[Appended], table: &str) -> Result<(), StoreError> {
    let refused = outcomes.iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a row of {table}: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}

/// Appends rows. What the store refuses goes to quarantine with its reason, and is told by its outcome.
///
/// # Errors
/// [`StoreError`] when not all of it is durable; appending it again is safe.
pub(crate) async fn append(
    store: &dyn Store,
    records: Arc<[Record]>,
    now: DateTime<Utc>,
) -> Result<Vec<Appended>, StoreError> {
    let outcomes = store.append(Arc::clone(&records)).await?;
    let refusals = refusals(&records, &outcomes, now);
    if !refusals.is_empty() {
        must_be_stored(&store.append(refusals.into()).await?, "quarantine")?;
    }
    Ok(outcomes)
}

/// What lies in quarantine, as it came.
pub enum Held {
    /// The bytes of an input.
    Message(Vec<u8>),
    /// A row that the store refused, to be recorded now.
    Row(Box<Record>),
}

/// Takes a row out of quarantine. An input that looks like a refused row is still an input.
pub fn held(row: &Quarantine, now: DateTime<Utc>) -> Held {
    let is_row = row.kind.map_or(row.reason == "refused_row", |kind| kind == QuarantineKind::Row);
    match is_row.then(|| refused_row(&row.raw, now)).flatten() {
        Some(record) => Held::Row(Box::new(record)),
        None => Held::Message(raw(row)),
    }
}

/// Its bytes, as they came.
pub fn raw(row: &Quarantine) -> Vec<u8> {
    let encoded = row.raw.strip_prefix(BASE64).and_then(|text| STANDARD.decode(text).ok());
    encoded.unwrap_or_else(|| row.raw.clone().into_bytes())
}

/// What came of feeding quarantine again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fed {
    /// Could be read, or were taken, now.
    pub again: u64,
    /// Could not.
    pub still: u64,
    /// The namespaces that were written to.
    pub namespaces: BTreeSet<String>,
    /// The time of the earliest event.
    pub since: Option<DateTime<Utc>>,
}

/// Feeds inputs and rows of quarantine again, all or those of these ids, and records what can be read now. They stay there,
/// as a record of what happened.
///
/// # Errors
/// [`StoreError`] when something is not durable; feeding it again is safe.
pub async fn replay(store: &dyn Store, policy: Policy, ids: &[String], now: DateTime<Utc>) -> Result<Fed, StoreError> {
    let pipeline = Pipeline::new(policy, Limits::new(store.claims(None).await?));
    let heads = query::quarantined(store, ids).await?;
    let (mut fed, mut tally) = (Fed::default(), Tally::default());
    query::in_quarantine(store, &heads, async |rows| {
        let mut again = Vec::new();
        for row in rows {
            let records = match held(&row, now) {
                Held::Row(record) => vec![*record],
                Held::Message(raw) => {
                    let around = Envelope {
                        message_id: row.message_id.as_deref(),
                        publish_time: row.publish_time,
                        ..Envelope::default()
                    };
                    pipeline.assess(&raw, around, || "quarantine".to_owned(), now).records
                }
            };
            if records.iter().any(|record| matches!(record, Record::Quarantine(_))) {
                fed.still += 1;
            } else {
                fed.again += 1;
                again.extend(records);
            }
        }
        tally.merge(super::append(store, again, now, now).await?);
        Ok::<_, StoreError>(())
    })
    .await?;
    if !tally.namespaces.is_empty() {
        judge_again(store, pipeline.policy(), &tally.namespaces, tally.since(), now).await?;
    }
    (fed.since, fed.namespaces) = (tally.since(), tally.namespaces);
    Ok(fed)
}

fn refused_row(raw: &str, now: DateTime<Utc>) -> Option<Record> {
    let mut kept: Json = serde_json::from_str(raw).ok()?;
    if let Some(recorded) = kept.get_mut("row")?.get_mut("ingested_at") {
        *recorded = id::time(now).into();
    }
    Record::from_json(kept.get("table")?.as_str()?, kept.get("row")?.as_object()?)
}

/// The text, or how it begins.
fn excerpt(mut text: String) -> String {
    if text.len() > RAW_MAX_BYTES {
        text.truncate(text.floor_char_boundary(RAW_MAX_BYTES));
        text.push('…');
    }
    text
}
