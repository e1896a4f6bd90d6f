//! Messages one by one, as a subscription delivers them: each is answered for only when it is durable, and no alert is
//! raised by a limit that may be stale.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Duration, Utc};

use super::again::judge_again;
use super::message::{Envelope, Message};
use super::quarantine::{must_be_stored, refusals};
use super::reading::{Judged, MARGIN, Readings};
use super::{Assessed, Pipeline};
use crate::audit::{DecodeError, Decoded, Ignored};
use crate::id;
use crate::names::Named;
use crate::ped::Deployment;
use crate::ped::limits::Limits;
use crate::policy::Policy;
use crate::store::batch::{Batcher, Batching};
use crate::store::row::{AlertLog, Record, ReplicaEvent};
use crate::store::{Store, StoreError, query};
use crate::telemetry::metrics::Metrics;

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
    /// Recognised, and not a change.
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
    pipeline: Pipeline,
    store: Arc<dyn Store>,
    batcher: Batcher,
    metrics: Metrics,
    /// Deployments whose versions are to be read again.
    wanted: Mutex<BTreeSet<Deployment>>,
    /// Held while versions are read.
    reading: tokio::sync::Mutex<()>,
    /// What the next reading of all limits owes.
    readings: Readings,
}

impl Consumer {
    /// Checks the store, reads the limits, and begins to take messages.
    ///
    /// # Errors
    /// [`StoreError`] when the store lacks something, or the limits cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        policy: Policy,
        batching: Batching,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        store.check().await?;
        let limits = Limits::new(store.claims(None).await?);
        let readings = Readings::new(query::judged_through(&*store).await?);
        Ok(Consumer {
            pipeline: Pipeline::new(policy, limits),
            batcher: Batcher::new(Arc::clone(&store), batching, metrics.clone()),
            store,
            metrics,
            wanted: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            readings,
        })
    }

    /// Handles one message; returns when it is durable. See [`disposition`] for the answer.
    ///
    /// # Errors
    /// [`StoreError`] when it may not be durable; handling it again is safe.
    pub async fn handle(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        self.metrics.came(now);
        self.metrics.in_flight.inc();
        let begun = Instant::now();
        let handled = self.record(delivery, now).await;
        self.metrics.in_flight.dec();
        self.observe(&handled, now + begun.elapsed());
        handled
    }

    async fn record(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        self.read_if_stale(now).await?;
        let begun = Instant::now();
        let message = Message::open(delivery.data);
        if message.several().is_some() {
            return self.record_several(delivery, now).await;
        }
        let inner = message.inner();
        let (envelope, decoded) = message.read(&inner);
        let envelope = Envelope {
            message_id: envelope.message_id.or(delivery.message_id),
            publish_time: envelope.publish_time.or(delivery.publish_time),
            ..envelope
        };
        self.metrics.stage("decode", begun.elapsed());
        let mut assessed = self.assess(delivery, envelope, &decoded, now);
        let alarming = deployments_with_alerts(&assessed);
        if !alarming.is_empty() {
            let begun = Instant::now();
            self.read_again(&alarming).await?;
            self.metrics.stage("limits", begun.elapsed());
            assessed = self.assess(delivery, envelope, &decoded, now);
        }
        self.keep(assessed, now).await
    }

    /// A message that holds several documents (no sink publishes such): rare, so it may be decoded twice.
    async fn record_several(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        let assess = || self.pipeline.assess(delivery.data, || delivery.source.to_owned(), now);
        let mut assessed = assess();
        let alarming = deployments_with_alerts(&assessed);
        if !alarming.is_empty() {
            self.read_again(&alarming).await?;
            assessed = assess();
        }
        let ignored = assessed.ignored.filter(|_| assessed.records.is_empty());
        self.keep(Assessed { ignored, ..assessed }, now).await
    }

    async fn keep(&self, assessed: Assessed, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        let Assessed { ignored, records } = assessed;
        if !records.is_empty() {
            self.append(&records, now).await?;
        }
        self.put_on_the_list(&records, now).await?;
        Ok(match ignored {
            Some(reason) => Handled::Ignored(reason),
            None => Handled::Recorded(records),
        })
    }

    async fn append(&self, records: &[Record], now: DateTime<Utc>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let outcomes = self.batcher.append(records.to_vec()).await?;
        let refusals = refusals(records, outcomes, now);
        if !refusals.is_empty() {
            must_be_stored(&self.batcher.append(refusals).await?)?;
        }
        self.metrics.stage("append", begun.elapsed());
        Ok(())
    }

    fn assess(
        &self,
        delivery: Delivery<'_>,
        envelope: Envelope<'_>,
        decoded: &Result<Decoded<'_>, DecodeError>,
        now: DateTime<Utc>,
    ) -> Assessed {
        let begun = Instant::now();
        let assessed = self.pipeline.assess_decoded(envelope, decoded, || delivery.source.to_owned(), now);
        self.metrics.stage("judge", begun.elapsed());
        assessed
    }

    /// What was written before a limit of its Deployment that has been judged already, or cannot be judged by itself, is
    /// judged at the next reading of limits.
    async fn put_on_the_list(&self, records: &[Record], now: DateTime<Utc>) -> Result<(), StoreError> {
        let due: Vec<String> = {
            let limits = self.pipeline.limits();
            let turns = |event: &ReplicaEvent| {
                let deployment = event.deployment_name.as_deref().unwrap_or_default();
                limits.turn_between(&event.namespace, deployment, event.event_time, now)
            };
            let due = records.iter().filter_map(|record| match record {
                Record::Event(event) if event.needs_its_order() || turns(event) => Some(event.namespace.clone()),
                _ => None,
            });
            due.collect()
        };
        let mark = async |mark| must_be_stored(&self.batcher.append(vec![Record::Watermark(mark)]).await?);
        self.readings.put(due, now, mark).await
    }

    /// Counts a message, and logs what a person has to know of it: one line an alert.
    fn observe(&self, handled: &Result<Handled, StoreError>, durable: DateTime<Utc>) {
        let records = match handled {
            Ok(Handled::Recorded(records)) => records,
            Ok(Handled::Ignored(reason)) => return self.metrics.message("ignored", reason.as_str()),
            Err(error) => {
                let reason = if matches!(error, StoreError::Transient(_)) { "transient" } else { "permanent" };
                tracing::error!(%error, "a message is not durable; it will be redelivered");
                return self.metrics.message("retried", reason);
            }
        };
        let mut quarantined = None;
        for record in records {
            match record {
                Record::Event(event) => self.metrics.durable(event.event_time, durable),
                Record::Alert(alert) => self.tell(alert, durable),
                Record::Quarantine(row) => quarantined = Some(row),
                Record::Version(_) | Record::Watermark(_) => {}
            }
        }
        match quarantined {
            None => self.metrics.message("recorded", ""),
            Some(row) => {
                tracing::warn!(quarantine_id = row.quarantine_id, reason = row.reason, "a message is quarantined");
                self.metrics.message("quarantined", DecodeError::reason_of(&row.reason));
            }
        }
    }

    /// Reads all limits again, for an interval, and judges by what is new in them. Until the next time, what is known
    /// stays in use.
    ///
    /// # Errors
    /// [`StoreError`] when something cannot be read or raised; it is tried again at the next time.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        self.read_all(now).await
    }

    /// As [`Consumer::refresh`], before the end: where something is owed to the next reading.
    ///
    /// # Errors
    /// As [`Consumer::refresh`]; then another instance does it.
    pub async fn finish(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if self.readings.owe().await { self.refresh(now).await } else { Ok(()) }
    }

    /// Nobody judges by limits that were not read for long: an interval may stand still while there are no messages.
    async fn read_if_stale(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if !self.readings.are_stale(now).await {
            return Ok(());
        }
        let _reading = self.reading.lock().await;
        // Another message may have had them read.
        if self.readings.are_stale(now).await { self.read_all(now).await } else { Ok(()) }
    }

    async fn read_all(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let limits = Limits::new(self.store.claims(None).await?);
        let since = self.readings.judged_through().await;
        let turned = limits.turned_in(since.map(|since| since - MARGIN), now);
        self.pipeline.change_limits(|known| *known = limits);
        // Whoever wrote the watermark had seen what was open for longer than the margin, less its own.
        let marks = query::marks(&*self.store, since.map(|since| since - MARGIN * 2)).await?;
        let abandoned = self.readings.abandoned(marks, now);
        let judged = Judged { turned, owed: self.readings.take().await, abandoned };
        let done = self.judge(&judged, now).await;
        if done.is_err() {
            self.readings.put_back(judged.owed).await;
        }
        done
    }

    async fn judge(&self, judged: &Judged, now: DateTime<Utc>) -> Result<(), StoreError> {
        if let Some(namespaces) = judged.namespaces() {
            for alert in judge_again(&*self.store, self.pipeline.policy(), &namespaces, now).await? {
                self.tell(&alert, now);
            }
        }
        let marks = self.readings.marks(judged, now).await;
        if !marks.is_empty() {
            let records: Vec<Record> = marks.iter().cloned().map(Record::Watermark).collect();
            must_be_stored(&self.store.append(records.into()).await?)?;
        }
        self.readings.finish(&marks, now).await;
        Ok(())
    }

    /// What is older than a day is history: it is recorded, and nobody is told.
    fn tell(&self, alert: &AlertLog, now: DateTime<Utc>) {
        self.metrics.alert(alert.alert_type.as_str(), alert.severity.as_str());
        if now - alert.alert_time < Duration::days(1) {
            log_alert(alert);
        }
    }

    /// Reads the versions of some Deployments from the store, by a read that began after this call. One read serves
    /// all calls that wait for it, so that a storm of alerts is no storm of queries.
    async fn read_again(&self, deployments: &BTreeSet<Deployment>) -> Result<(), StoreError> {
        self.wanted().extend(deployments.iter().cloned());
        let _reading = self.reading.lock().await;
        let wanted: Vec<Deployment> = {
            let mut wanted = self.wanted();
            if wanted.is_disjoint(deployments) {
                // Another call took them along, and has read them.
                return Ok(());
            }
            std::mem::take(&mut *wanted).into_iter().collect()
        };
        match self.store.claims(Some(&wanted)).await {
            Ok(claims) => {
                self.pipeline.change_limits(|known| known.replace(&wanted, claims));
                Ok(())
            }
            Err(error) => {
                // Whoever waits for them has to read them itself.
                self.wanted().extend(wanted);
                Err(error)
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<Deployment>> {
        lock(&self.wanted)
    }
}

/// A panic while it was held leaves a whole set: nothing is changed in two steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Neither message nor actor: the table has them, logs have no names of people.
fn log_alert(alert: &AlertLog) {
    tracing::warn!(
        alert_id = alert.alert_id,
        alert_type = alert.alert_type.as_str(),
        alert_severity = alert.severity.as_str(),
        cluster = alert.cluster_name,
        namespace = alert.namespace,
        deployment = alert.deployment_name,
        replicas = alert.replicas,
        limit = alert.limit_max_replicas,
        route = alert.route.map(Named::as_str),
        event_time = id::time(alert.alert_time),
        "alert"
    );
}

fn deployments_with_alerts(assessed: &Assessed) -> BTreeSet<Deployment> {
    let alerts = assessed.records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some((alert.namespace.clone(), alert.deployment_name.clone()?)),
        _ => None,
    });
    alerts.collect()
}
