//! The one task that reads limits, and judges by what is new in them.
//!
//! Whoever needs limits asks it and waits. One reading serves all who asked before it began, so that a storm of alerts is no
//! storm of queries; and who stops waiting takes nothing along, because what is read and judged is not his.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use tokio::sync::{mpsc, oneshot};

use super::Pipeline;
use super::again::judge_again;
use super::quarantine::must_be_stored;
use super::reading::{Judged, MARGIN, Readings};
use crate::id;
use crate::names::Named;
use crate::ped::Deployment;
use crate::ped::limits::Limits;
use crate::store::row::{AlertLog, Record};
use crate::store::{Store, StoreError, query};
use crate::telemetry::metrics::Metrics;

/// Calls that may wait to be gathered for a reading; beyond it, callers wait to call.
const QUEUE_CALLS: usize = 1_024;

/// What the reader and those who ask it have in common.
pub(super) struct Shared {
    pub(super) pipeline: Pipeline,
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Metrics,
    pub(super) readings: Readings,
}

/// What is to be read.
enum Wanted {
    /// The versions of these Deployments.
    These(BTreeSet<Deployment>),
    /// All, unless another call has had them read.
    IfStale(DateTime<Utc>),
    /// All.
    All(DateTime<Utc>),
}

struct Call {
    wanted: Wanted,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Asks for readings. They end with it.
pub(super) struct Reader {
    calls: mpsc::Sender<Call>,
}

impl Reader {
    /// Begins to take calls.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (calls, called) = mpsc::channel(QUEUE_CALLS);
        tokio::spawn(run(shared, called));
        Reader { calls }
    }

    /// Reads the versions of some Deployments, by a reading that begins after this call.
    pub(super) async fn these(&self, deployments: BTreeSet<Deployment>) -> Result<(), StoreError> {
        self.call(Wanted::These(deployments)).await
    }

    /// Reads all limits, unless they have just been read.
    pub(super) async fn if_stale(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.call(Wanted::IfStale(now)).await
    }

    /// Reads all limits, and judges what that makes due.
    pub(super) async fn all(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.call(Wanted::All(now)).await
    }

    async fn call(&self, wanted: Wanted) -> Result<(), StoreError> {
        let stopped = || StoreError::Transient("pedwatch is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { wanted, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn run(shared: Arc<Shared>, mut called: mpsc::Receiver<Call>) {
    while let Some(first) = called.recv().await {
        let mut calls = vec![first];
        while let Ok(call) = called.try_recv() {
            calls.push(call);
        }
        // Who has gone away wants nothing any more.
        calls.retain(|call| !call.answer.is_closed());
        let read = shared.read(calls.iter().map(|call| &call.wanted)).await;
        for call in calls {
            // A caller may have gone away meanwhile.
            let _ = call.answer.send(read.clone());
        }
    }
}

impl Shared {
    /// Reads once what all these want.
    async fn read(&self, wanted: impl Iterator<Item = &Wanted>) -> Result<(), StoreError> {
        let mut deployments = BTreeSet::new();
        let (mut all, mut if_stale) = (None, None);
        for wanted in wanted {
            match wanted {
                Wanted::These(these) => deployments.extend(these.iter().cloned()),
                Wanted::IfStale(now) => if_stale = if_stale.max(Some(*now)),
                Wanted::All(now) => all = all.max(Some(*now)),
            }
        }
        if let Some(now) = if_stale
            && self.readings.are_stale(now).await
        {
            all = all.max(Some(now));
        }
        match all {
            Some(now) => self.read_all(now).await,
            None if deployments.is_empty() => Ok(()),
            None => self.read_these(&deployments.into_iter().collect::<Vec<_>>()).await,
        }
    }

    async fn read_these(&self, deployments: &[Deployment]) -> Result<(), StoreError> {
        let claims = self.store.claims(Some(deployments)).await?;
        self.pipeline.change_limits(|known| known.replace(deployments, claims));
        Ok(())
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
                tell(&self.metrics, &alert, now);
            }
        }
        let marks = self.readings.marks(judged, now).await;
        if !marks.is_empty() {
            let records: Vec<Record> = marks.iter().cloned().map(Record::Watermark).collect();
            must_be_stored(&self.store.append(records.into()).await?, "watermarks")?;
        }
        self.readings.finish(&marks, now).await;
        Ok(())
    }
}

/// Counts an alert and logs it. What is older than a day is history: it is recorded, and nobody is told.
pub(super) fn tell(metrics: &Metrics, alert: &AlertLog, now: DateTime<Utc>) {
    metrics.alert(alert.alert_type.as_str(), alert.severity.as_str());
    if now - alert.alert_time >= Duration::days(1) {
        return;
    }
    // Neither message nor actor: the table has them, logs have no names of people.
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
