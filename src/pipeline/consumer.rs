//! Messages one by one, as a subscription delivers them: each is answered for only when it is durable, and no alert is
//! raised by a limit that may be stale; nor is any missed by one, where versions are in a registry that is asked by key.
//!
//! Whoever waits for an answer may go away at any time. So nothing that others rely on happens in the caller's own future:
//! limits are read by the reader's task, rows are appended by the batcher's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::canary::Returned;
use super::incidents::{LimitsNow, Seen, Telling, ledger_error};
use super::message::Envelope;
use super::quarantine::{must_be_stored, refusals};
use super::reader::{Reader, Shared, tell};
use super::reading::Readings;
use super::room::Room;
use super::{Assessed, Pipeline};
use crate::audit::{DecodeError, Ignored, Outcome};
use crate::names::Named;
use crate::notify::ledger::{Change, Claim, Ledger, LedgerError, Stored, Wanted};
use crate::notify::notice::{Notice, Outcome as NoticeOutcome};
use crate::ped::Deployment;
use crate::ped::limits::Limits;
use crate::policy::Policy;
use crate::store::batch::{Batcher, Batching};
use crate::store::reach::late_marks;
use crate::store::row::Record;
use crate::store::{Appended, Store, StoreError, query};
use crate::telemetry::metrics::{InFlight, Metrics};
use crate::telemetry::steady::{Recent, Steady};

/// The longest that Pub/Sub keeps a message: what comes after an outage was told to nobody yet. What is older was logged
/// long ago, and comes from somebody's archive: <https://cloud.google.com/pubsub/docs/subscription-properties>.
const BACKLOG: TimeDelta = TimeDelta::days(31);

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
        Err(StoreError::Transient(_) | StoreError::Missing(_) | StoreError::Permanent(_)) => Disposition::Retry,
    }
}

impl Assessed {
    /// How large its rows are.
    fn size_bytes(&self) -> usize {
        self.records.iter().map(Record::size_bytes).sum()
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
    /// Whether the store is the ledger too.
    is_ledger: bool,
}

impl Consumer {
    /// Checks the store, reads the limits, and begins to take messages. Limits that were read longer ago than `limits_for`
    /// are read again before anything is judged by them. Incidents follow where somebody is to be told of them.
    ///
    /// # Errors
    /// [`StoreError`] when the store lacks something, or the limits cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        policy: Policy,
        batching: Batching,
        limits_for: Duration,
        metrics: Metrics,
        telling: Option<Arc<Telling>>,
    ) -> Result<Self, StoreError> {
        store.check().await?;
        let limits = Limits::new(store.claims(None).await?);
        let readings = Readings::new(query::judged_through(&*store).await?, limits_for);
        let batcher = Batcher::new(Arc::clone(&store), batching, metrics.clone());
        let hurries = AtomicBool::new(false);
        let is_ledger = telling.as_ref().is_some_and(|telling| telling.is_in(&*store));
        let (pipeline, told) = (Pipeline::new(policy, limits), Recent::default());
        let pipeline = if telling.is_some() { pipeline.followed() } else { pipeline };
        let shared = Arc::new(Shared { pipeline, store, metrics, readings, told, telling, hurries });
        Ok(Consumer {
            reader: Reader::new(Arc::clone(&shared)),
            batcher,
            shared,
            room: Room::default(),
            trouble: Steady::default(),
            is_ledger,
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
        let begun = Instant::now();
        if self.shared.readings.are_stale(now) {
            self.reader.if_stale(now).await?;
        }
        let (mut assessed, _room) = self.assess_in_room(delivery, now).await;
        // Where that is a question about all versions, only what alerts is worth it: the rest is judged again at the next reading.
        let read = match self.shared.store.registry() {
            None => deployments_with_alerts(&assessed),
            Some(_) => deployments_in_scope(&assessed),
        };
        if !read.is_empty() {
            let asked = Instant::now();
            self.reader.these(read.clone()).await?;
            self.shared.metrics.stage("limits", asked.elapsed());
            assessed = self.assess(delivery, now);
        }
        let due = std::mem::take(&mut assessed.due);
        let handled = self.keep(assessed, &read, now).await?;
        // Behind the append: a reading in between would not find them.
        let mark =
            async |mark| must_be_stored(&self.batcher.append(vec![Record::Watermark(mark)]).await?, "watermarks");
        self.shared.readings.put(due, now + begun.elapsed(), mark).await?;
        Ok(handled)
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

    /// Keeps what came of a message; `read` are the Deployments whose limits have just been read for it.
    async fn keep(
        &self,
        assessed: Assessed,
        read: &BTreeSet<Deployment>,
        now: DateTime<Utc>,
    ) -> Result<Handled, StoreError> {
        let Assessed { ignored, records, seen, canaries, .. } = assessed;
        let joins = !seen.is_empty() && !records.is_empty() && self.is_ledger;
        if joins {
            self.append_and_follow(&records, &seen, read, now).await?;
        } else if !records.is_empty() {
            self.append(&records, now).await?;
        }
        for record in &records {
            if let Record::Event(event) = record {
                self.shared.metrics.recorded(event.cluster_id(), event.event_time);
            }
        }
        if !joins {
            self.follow(&seen, read, now).await?;
        }
        self.hear(&canaries, now).await?;
        let is_observation =
            |record: &Record| matches!(record, Record::Event(event) if event.outcome == Some(Outcome::Observed));
        Ok(match ignored.first() {
            Some(&reason) if records.iter().all(is_observation) => Handled::Ignored(reason),
            _ => Handled::Recorded(records),
        })
    }

    /// Leaves a mark of each sign of life, for whoever waits for it.
    async fn hear(&self, canaries: &[Returned], now: DateTime<Utc>) -> Result<(), StoreError> {
        if canaries.is_empty() {
            return Ok(());
        }
        let marks = canaries.iter().map(|canary| Record::Watermark(canary.mark(now))).collect();
        must_be_stored(&self.batcher.append(marks).await?, "watermarks")?;
        for canary in canaries {
            let seconds = canary.seconds(now);
            self.shared.metrics.canary(canary.cluster_id.clone(), canary.event_time, seconds);
            tracing::info!(cluster = canary.cluster_id, seconds, "canary came back");
        }
        Ok(())
    }

    /// Steps the incidents. Each step is a transaction of the ledger, so whoever waits for this may go away: the message comes
    /// again, and what was done then changes nothing.
    async fn follow(&self, seen: &[Seen], read: &BTreeSet<Deployment>, now: DateTime<Utc>) -> Result<(), StoreError> {
        let limits = Fresh { consumer: self, read, facts: None };
        if let Some(present) = self.shared.present(now, &limits).filter(|_| !seen.is_empty()) {
            let begun = Instant::now();
            present.see(seen).await?;
            self.shared.metrics.stage("incidents", begun.elapsed());
        }
        Ok(())
    }

    /// Appends rows, and steps the incidents, where the store is the ledger too: in one transaction, so that a message alone
    /// waits for the disk once. What is to be told of them is told behind the append all the same.
    async fn append_and_follow(
        &self,
        records: &[Record],
        seen: &[Seen],
        read: &BTreeSet<Deployment>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(telling) = &self.shared.telling else { return self.append(records, now).await };
        let joint =
            Joint { consumer: self, ledger: &*telling.ledger, records, now, is_appended: AtomicBool::new(false) };
        let limits = Fresh { consumer: self, read, facts: Some(&joint) };
        let mut followed = Ok(());
        if let Some(present) = self.shared.present(now, &limits) {
            let begun = Instant::now();
            followed = present.by_way_of(&joint).see(seen).await;
            self.shared.metrics.stage("incidents", begun.elapsed());
        }
        // Where nothing was stepped, or could be: facts are recorded all the same.
        joint.append().await?;
        Ok(followed?)
    }

    /// Steps the incidents of which something is due.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger does not work; it is tried again at the next time.
    pub async fn step_due(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let limits = Fresh { consumer: self, read: &BTreeSet::new(), facts: None };
        match self.shared.present(now, &limits) {
            Some(present) => Ok(present.due().await?),
            None => Ok(()),
        }
    }

    async fn append(&self, records: &[Record], now: DateTime<Utc>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let outcomes = self.batcher.append([records, &late_marks(records, now)].concat()).await?;
        self.quarantine(records, outcomes, now).await?;
        self.shared.metrics.stage("append", begun.elapsed());
        Ok(())
    }

    /// Keeps what the store refused of some rows, given what became of them and of their marks.
    async fn quarantine(
        &self,
        records: &[Record],
        mut outcomes: Vec<Appended>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        must_be_stored(&outcomes.split_off(records.len()), "watermarks")?;
        let refusals = refusals(records, &outcomes, now);
        if !refusals.is_empty() {
            must_be_stored(&self.batcher.append(refusals).await?, "quarantine")?;
        }
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
                Record::Alert(alert) => tell(&self.shared, alert, BACKLOG, durable),
                Record::Quarantine(row) => quarantined = Some(row),
                // No message becomes one of the others.
                _ => {}
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

    /// From now on no alert waits for others to have limits read with it: it is time to stop.
    ///
    /// # Errors
    /// [`StoreError`] when those who wait now have to be redelivered.
    pub async fn hurry(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.shared.hurries.store(true, Ordering::Relaxed);
        // For those who wait already.
        self.reader.if_stale(now).await
    }

    /// As [`Consumer::refresh`], before the end: where something is owed to the next reading.
    ///
    /// # Errors
    /// As [`Consumer::refresh`]; then another instance does it.
    pub async fn finish(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if self.shared.readings.owe() { self.refresh(now).await } else { Ok(()) }
    }
}

/// The limits, which are read again before anybody is told anything by them.
struct Fresh<'c> {
    consumer: &'c Consumer,
    /// Those of these Deployments have just been read.
    read: &'c BTreeSet<Deployment>,
    /// What is not stored yet.
    facts: Option<&'c Joint<'c>>,
}

#[async_trait]
impl LimitsNow for Fresh<'_> {
    fn look(&self, find: &mut dyn FnMut(&Limits)) {
        find(&self.consumer.shared.pipeline.limits());
    }

    async fn read_again(&self, deployment: &Deployment) -> Result<(), StoreError> {
        if self.read.contains(deployment) {
            return Ok(());
        }
        self.consumer.reader.these(BTreeSet::from([deployment.clone()])).await
    }

    async fn store_first(&self) -> Result<(), StoreError> {
        match self.facts {
            Some(facts) => facts.append().await,
            None => Ok(()),
        }
    }
}

/// A ledger that is the store too, whose first step takes the rows of its message along. One message has one of them, and
/// steps one thing after the other.
struct Joint<'c> {
    consumer: &'c Consumer,
    ledger: &'c dyn Ledger,
    records: &'c [Record],
    now: DateTime<Utc>,
    is_appended: AtomicBool,
}

impl Joint<'_> {
    /// Appends the rows, unless they are.
    async fn append(&self) -> Result<(), StoreError> {
        if !self.is_appended.load(Ordering::Relaxed) {
            self.consumer.append(self.records, self.now).await?;
            self.is_appended.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn commit_with_rows(&self, change: &Change) -> Result<Result<(), LedgerError>, StoreError> {
        if self.is_appended.load(Ordering::Relaxed) {
            return Ok(self.consumer.batcher.append_with(Vec::new(), change.clone()).await?.1);
        }
        let rows = [self.records, &late_marks(self.records, self.now)].concat();
        let (outcomes, changed) = self.consumer.batcher.append_with(rows, change.clone()).await?;
        self.consumer.quarantine(self.records, outcomes, self.now).await?;
        self.is_appended.store(true, Ordering::Relaxed);
        Ok(changed)
    }
}

#[async_trait]
impl Ledger for Joint<'_> {
    async fn documents(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, LedgerError> {
        self.ledger.documents(keys).await
    }

    async fn due_documents(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        self.ledger.due_documents(now, most).await
    }

    async fn open_documents(&self, place: &str, after: Option<&str>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        self.ledger.open_documents(place, after, most).await
    }

    async fn count_open(&self, place: &str) -> Result<u64, LedgerError> {
        self.ledger.count_open(place).await
    }

    async fn commit(&self, change: &Change) -> Result<(), LedgerError> {
        self.commit_with_rows(change).await.map_err(ledger_error)?
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Option<Notice>, LedgerError> {
        self.ledger.claim(claim).await
    }

    async fn settle(&self, claimed: &Notice, outcome: &NoticeOutcome, claim: &Claim<'_>) -> Result<bool, LedgerError> {
        self.ledger.settle(claimed, outcome, claim).await
    }

    async fn due_notices(&self, receiver: &str, now: DateTime<Utc>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        self.ledger.due_notices(receiver, now, most).await
    }

    async fn gather(&self, digest: &Notice, told: &[Notice]) -> Result<(), LedgerError> {
        self.ledger.gather(digest, told).await
    }

    async fn retry(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Notice>, LedgerError> {
        self.ledger.retry(id, now).await
    }

    async fn notices(&self, wanted: Wanted<'_>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        self.ledger.notices(wanted, most).await
    }
}

fn deployments_with_alerts(assessed: &Assessed) -> BTreeSet<Deployment> {
    let alerts = assessed.records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some((alert.namespace.clone(), alert.deployment_name.clone()?)),
        _ => None,
    });
    alerts.collect()
}

/// The Deployments that a limit may be for: what is out of scope is held against none.
fn deployments_in_scope(assessed: &Assessed) -> BTreeSet<Deployment> {
    let written = assessed.records.iter().filter_map(|record| match record {
        Record::Event(event) if event.in_scope != Some(false) => {
            Some((event.namespace.clone(), event.deployment_name.clone()?))
        }
        _ => None,
    });
    written.collect()
}
