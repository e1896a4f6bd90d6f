//! Messages one by one, as a subscription delivers them: each is answered for only when it is durable, and no alert is
//! raised by a limit that may be stale.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::{Assessed, Envelope, Pipeline, must_be_stored, open, refusals};
use crate::audit::{DecodeError, Ignored};
use crate::ped::history::Limits;
use crate::policy::Policy;
use crate::store::batch::{Batcher, Batching};
use crate::store::row::{self, AlertLog, Record};
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

/// Namespace and name of a Deployment.
type Deployment = (String, String);

/// A message as a source delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'m> {
    /// A `LogEntry`, or a push body around one.
    pub data: &'m [u8],
    /// Which source; it stands in quarantine.
    pub source: &'m str,
    /// Pub/Sub's id of it, where the source knows it.
    pub message_id: Option<&'m str>,
    /// When Pub/Sub took it (RFC 3339).
    pub publish_time: Option<&'m str>,
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
        let limits = Limits::new(&query::versions(&*store).await?);
        Ok(Consumer {
            pipeline: Pipeline::new(policy, limits),
            batcher: Batcher::new(Arc::clone(&store), batching, metrics.clone()),
            store,
            metrics,
            wanted: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
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
        let mut assessed = self.assess(delivery, now);
        let alarming = deployments_with_alerts(&assessed);
        if !alarming.is_empty() {
            let begun = Instant::now();
            self.read_again(&alarming).await?;
            self.metrics.stage("limits", begun.elapsed());
            assessed = self.assess(delivery, now);
        }
        let records = match assessed {
            Assessed::Ignored(reason) => return Ok(Handled::Ignored(reason)),
            Assessed::Records(records) => records,
        };
        let begun = Instant::now();
        let outcomes = self.batcher.append(records.clone()).await?;
        let refusals = refusals(&records, outcomes, now);
        if !refusals.is_empty() {
            must_be_stored(&self.batcher.append(refusals).await?)?;
        }
        self.metrics.stage("append", begun.elapsed());
        Ok(Handled::Recorded(records))
    }

    fn assess(&self, delivery: Delivery<'_>, now: DateTime<Utc>) -> Assessed {
        let begun = Instant::now();
        let mut assessed = None;
        open(delivery.data, |envelope, decoded| {
            let decode = begun.elapsed();
            let envelope = Envelope {
                message_id: envelope.message_id.or(delivery.message_id),
                publish_time: envelope.publish_time.or(delivery.publish_time),
                ..envelope
            };
            let source = || delivery.source.to_owned();
            Assessed::add(&mut assessed, self.pipeline.assess_decoded(envelope, decoded, source, now));
            self.metrics.stage("decode", decode);
            self.metrics.stage("judge", begun.elapsed() - decode);
        });
        assessed.unwrap_or_else(Assessed::of_nothing)
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
                Record::Alert(alert) => {
                    self.metrics.alert(&alert.alert_type, &alert.severity);
                    log_alert(alert);
                }
                Record::Quarantine(row) => quarantined = Some(row),
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

    /// Reads all limits again, for an interval. Until the next time, what is known stays in use.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read; then they stay as they are.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        let limits = Limits::new(&query::versions(&*self.store).await?);
        self.pipeline.change_limits(|known| *known = limits);
        Ok(())
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
        match self.store.fetch(&query::versions_of(&wanted)).await.and_then(|found| found.read()) {
            Ok(versions) => {
                self.pipeline.change_limits(|known| known.replace(&wanted, &versions));
                Ok(())
            }
            Err(error) => {
                // Whoever waits for them has to read them itself.
                self.wanted().extend(wanted);
                Err(error)
            }
        }
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, BTreeSet<Deployment>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neither message nor actor: the table has them, logs have no names of people.
fn log_alert(alert: &AlertLog) {
    tracing::warn!(
        alert_id = alert.alert_id,
        alert_type = alert.alert_type,
        alert_severity = alert.severity,
        cluster = alert.cluster_name,
        namespace = alert.namespace,
        deployment = alert.deployment_name,
        replicas = alert.replicas,
        limit = alert.limit_max_replicas,
        route = alert.route,
        event_time = row::time(alert.alert_time),
        "alert"
    );
}

fn deployments_with_alerts(assessed: &Assessed) -> BTreeSet<Deployment> {
    let Assessed::Records(records) = assessed else { return BTreeSet::new() };
    let alerts = records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some((alert.namespace.clone(), alert.deployment_name.clone()?)),
        Record::Event(_) | Record::Quarantine(_) => None,
    });
    alerts.collect()
}
