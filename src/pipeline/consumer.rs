//! Messages one by one, as a subscription delivers them: each is answered for only when it is durable, and no alert is
//! raised by a limit that may be stale.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::{Assessed, Pipeline, must_be_stored, refusals};
use crate::audit::Ignored;
use crate::ped::history::Limits;
use crate::policy::Policy;
use crate::store::batch::{Batcher, Batching};
use crate::store::row::Record;
use crate::store::{Store, StoreError, query};

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

/// Handles messages; many at once, from any task.
pub struct Consumer {
    pipeline: Pipeline,
    store: Arc<dyn Store>,
    batcher: Batcher,
    /// Deployments whose versions are to be read again.
    wanted: Mutex<BTreeSet<Deployment>>,
    /// Held while versions are read.
    reading: tokio::sync::Mutex<()>,
}

impl Consumer {
    /// Reads the limits and begins to take messages.
    ///
    /// # Errors
    /// [`StoreError`] when the limits cannot be read.
    pub async fn start(store: Arc<dyn Store>, policy: Policy, batching: Batching) -> Result<Self, StoreError> {
        let limits = Limits::new(&query::versions(&*store).await?);
        Ok(Consumer {
            pipeline: Pipeline::new(policy, limits),
            batcher: Batcher::new(Arc::clone(&store), batching),
            store,
            wanted: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        })
    }

    /// Handles one message; returns when it is durable. See [`disposition`] for the answer.
    ///
    /// # Errors
    /// [`StoreError`] when it may not be durable; handling it again is safe.
    pub async fn handle(&self, raw: &[u8], source: &str, now: DateTime<Utc>) -> Result<Handled, StoreError> {
        let assess = || self.pipeline.assess(raw, || source.to_owned(), now);
        let mut assessed = assess();
        let alarming = deployments_with_alerts(&assessed);
        if !alarming.is_empty() {
            self.read_again(&alarming).await?;
            assessed = assess();
        }
        let records = match assessed {
            Assessed::Ignored(reason) => return Ok(Handled::Ignored(reason)),
            Assessed::Records(records) => records,
        };
        let outcomes = self.batcher.append(records.clone()).await?;
        let refusals = refusals(&records, outcomes, now);
        if !refusals.is_empty() {
            must_be_stored(&self.batcher.append(refusals).await?)?;
        }
        Ok(Handled::Recorded(records))
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

    /// Writes what has been handed over, and returns when it is answered for.
    pub async fn close(self) {
        self.batcher.close().await;
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

fn deployments_with_alerts(assessed: &Assessed) -> BTreeSet<Deployment> {
    let Assessed::Records(records) = assessed else { return BTreeSet::new() };
    let alerts = records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some((alert.namespace.clone(), alert.deployment_name.clone()?)),
        Record::Event(_) | Record::Quarantine(_) => None,
    });
    alerts.collect()
}
