//! Messages one by one, as a subscription delivers them: each is answered for only when it is durable, and no alert is
//! raised by a limit that may be stale.
//!
//! Whoever waits for an answer may go away at any time. So nothing that others rely on happens in the caller's own future:
//! limits are read by the reader's task, rows are appended by the batcher's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::message::Envelope;
use super::quarantine::{must_be_stored, refusals};
use super::reader::{Reader, Shared, tell};
use super::reading::Readings;
use super::room::Room;
use super::{Assessed, Pipeline};
use crate::audit::{DecodeError, Ignored, Outcome};
use crate::names::Named;
use crate::ped::Deployment;
use crate::ped::limits::Limits;
use crate::policy::Policy;
use crate::store::batch::{Batcher, Batching};
use crate::store::row::Record;
use crate::store::{Store, StoreError, query};
use crate::telemetry::metrics::{InFlight, Metrics};
use crate::telemetry::steady::Steady;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is durable, or there is nothing to keep of it: it must not come again.
    Ack,
    /// It is not durable: it has to come again. The subscription's dead-letter topic is the last net.
    Retry,
}

/// What became of a message that is answered for.
#[derive(Debug, Clone, PartialEq)]
pub enum Handled {
    /// Recognised, and not a change; there may be something to keep of it all the same.
    Ignored(Ignored),
    /// These rows are durable, or are in quarantine with the reason why not.
    Recorded(Vec<Record>),
}

/// Decides between ack and retry. Whatever the store's trouble is, even one that takes a person, the message is not
/// given up: it waits in the subscription, and then in the dead-letter topic.
pub fn disposition(handled: &Result<Handled, StoreError>) -> Disposition {
    match handled {
        Ok(_) => Disposition::Ack,
        Err(StoreError::Transient(_) | StoreError::Permanent(_)) => Disposition::Retry,
    }
}

/// A message as a source delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'m> {
    /// A `LogEntry`, or a push body around one.
    pub data: &'m [u8],
    /// Which source; it stands in quarantine.
    pub source: &'m str,
    /// Pub/Sub's id of it, where the source knows it.
    pub message_id: Option<&'m str>,
    /// When Pub/Sub took it.
    pub publish_time: Option<DateTime<Utc>>,
}

/// Handles messages; many at once, from any task.
pub struct Consumer {
    shared: Arc<Shared>,
    batcher: Batcher,
    reader: Reader,
    room: Room,
    trouble: Steady,
}

impl Consumer {
    /// Checks the store, reads the limits, and begins to take messages. Limits that were read longer ago than `limits_for`
    /// are read again before anything is judged by them.
    ///
    /// # Errors
    /// [`StoreError`] when the store lacks something, or the limits cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        policy: Policy,
        batching: Batching,
        limits_for: Duration,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        store.check().await?;
        let limits = Limits::new(store.claims(None).await?);
        let readings = Readings::new(query::judged_through(&*store).await?, limits_for);
        let batcher = Batcher::new(Arc::clone(&store), batching, metrics.clone());
        let shared = Arc::new(Shared { pipeline: Pipeline::new(policy, limits), store, metrics, readings });
        Ok(Consumer {
            reader: Reader::new(Arc::clone(&shared)),
            batcher,
            shared,
            room: Room::default(),
            trouble: Steady::default(),
        })
    }

    /// Handles one message; returns when it is durable. See [`disposition`] for the answer.
    ///
    /// # Errors
    /// [`StoreError`] when it may not be durable; handling it again is safe.
    pub async fn handle(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        let metrics = &self.shared.metrics;
        metrics.came(now);
        let _in_flight = InFlight::new(metrics);
        let begun = Instant::now();
        let handled = self.record(delivery, now).await;
        self.observe(&handled, now + begun.elapsed());
        handled
    }

    async fn record(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        if self.shared.readings.are_stale(now) {
            self.reader.if_stale(now).await?;
        }
        let (mut assessed, _room) = self.assess_in_room(delivery, now).await;
        let alarming = deployments_with_alerts(&assessed);
        if !alarming.is_empty() {
            let begun = Instant::now();
            self.reader.these(alarming).await?;
            self.shared.metrics.stage("limits", begun.elapsed());
            assessed = self.assess(delivery, now);
        }
        self.keep(assessed, now).await
    }

    /// Assesses a message, and takes room for its rows. Who waits for that holds none meanwhile.
    async fn assess_in_room(
        &self,
        delivery: Delivery<'_>,
        now: DateTime<Utc>,
    ) -> (Assessed, Option<OwnedSemaphorePermit>) {
        let assessed = self.assess(delivery, now);
        let size_bytes = assessed.size_bytes();
        if let Some(room) = self.room.try_take(size_bytes) {
            return (assessed, Some(room));
        }
        drop(assessed);
        let room = self.room.take(size_bytes).await;
        (self.assess(delivery, now), room)
    }

    fn assess(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Assessed {
        let begun = Instant::now();
        let Delivery { data, source, message_id, publish_time } = delivery;
        let around = Envelope { message_id, publish_time, ..Envelope::default() };
        let assessed = self.shared.pipeline.assess(data, around, || source.to_owned(), now);
        self.shared.metrics.stage("assess", begun.elapsed());
        assessed
    }

    async fn keep(&self, assessed: Assessed, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        let Assessed { ignored, records, due } = assessed;
        if !records.is_empty() {
            self.append(&records, now).await?;
        }
        // Behind the append: a reading in between would not find them.
        let mark =
            async |mark| must_be_stored(&self.batcher.append(vec![Record::Watermark(mark)]).await?, "watermarks");
        self.shared.readings.put(due, now, mark).await?;
        let is_observation =
            |record: &Record| matches!(record, Record::Event(event) if event.outcome == Some(Outcome::Observed));
        Ok(match ignored.first() {
            Some(&reason) if records.iter().all(is_observation) => Handled::Ignored(reason),
            _ => Handled::Recorded(records),
        })
    }

    async fn append(&self, records: &[Record], now: DateTime<Utc>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let outcomes = self.batcher.append(records.to_vec()).await?;
        let refusals = refusals(records, &outcomes, now);
        if !refusals.is_empty() {
            must_be_stored(&self.batcher.append(refusals).await?, "quarantine")?;
        }
        self.shared.metrics.stage("append", begun.elapsed());
        Ok(())
    }

    /// Counts a message, and logs what a person has to know of it: one line an alert.
    fn observe(&self, handled: &Result<Handled, StoreError>, durable: DateTime<Utc>) {
        let metrics = &self.shared.metrics;
        let records = match handled {
            Ok(Handled::Recorded(records)) => records,
            Ok(Handled::Ignored(reason)) => return metrics.message("ignored", reason.as_str()),
            Err(error) => {
                let reason = if matches!(error, StoreError::Transient(_)) { "transient" } else { "permanent" };
                if let Some(times) = self.trouble.failed(&error.to_string()) {
                    tracing::error!(%error, times, "messages are not durable; they will be redelivered");
                }
                return metrics.message("retried", reason);
            }
        };
        if !records.is_empty()
            && let Some(times) = self.trouble.recovered()
        {
            tracing::info!(times, "messages are durable again");
        }
        let mut quarantined = None;
        for record in records {
            match record {
                Record::Event(event) => metrics.durable(event.event_time, durable),
                Record::Alert(alert) => tell(metrics, alert, durable),
                Record::Quarantine(row) => quarantined = Some(row),
                Record::Version(_) | Record::Watermark(_) => {}
            }
        }
        match quarantined {
            None => metrics.message("recorded", ""),
            Some(row) => {
                tracing::warn!(quarantine_id = row.quarantine_id, reason = row.reason, "a message is quarantined");
                metrics.message("quarantined", DecodeError::reason_of(&row.reason));
            }
        }
    }

    /// Reads all limits again, for an interval, and judges by what is new in them. Where that fails, those known stay in use
    /// until they are too old.
    ///
    /// # Errors
    /// [`StoreError`] when something cannot be read or raised; it is tried again at the next time.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.reader.all(now).await
    }

    /// As [`Consumer::refresh`], before the end: where something is owed to the next reading.
    ///
    /// # Errors
    /// As [`Consumer::refresh`]; then another instance does it.
    pub async fn finish(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if self.shared.readings.owe() { self.refresh(now).await } else { Ok(()) }
    }
}

fn deployments_with_alerts(assessed: &Assessed) -> BTreeSet<Deployment> {
    let alerts = assessed.records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some((alert.namespace.clone(), alert.deployment_name.clone()?)),
        _ => None,
    });
    alerts.collect()
}
