//! Gathers what many callers submit.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::super::row::Record;
use super::super::{Appended, Store, StoreError};
use super::Batching;
use crate::notify::ledger::{Change, LedgerError};
use crate::telemetry::metrics::Metrics;

/// Submissions that may wait to be gathered: as many as an append takes, of one row each. Beyond it, callers wait to submit:
/// nothing grows without bound.
const QUEUE_SUBMISSIONS: usize = 500;

/// What became of the rows, and of the change where there is one.
type Answer = Result<(Vec<Appended>, Option<Result<(), LedgerError>>), StoreError>;

struct Submission {
    records: Vec<Record>,
    /// What follows from a step, where the store is the ledger too.
    change: Option<Change>,
    answer: oneshot::Sender<Answer>,
}

impl Submission {
    fn size_bytes(&self) -> usize {
        self.records.iter().map(Record::size_bytes).sum()
    }
}

/// Gathers rows and appends them together, as long as it lives. Nobody who waits for an answer is forgotten.
#[derive(Debug)]
pub struct Batcher {
    queue: mpsc::Sender<Submission>,
}

impl Batcher {
    /// Starts gathering for a store.
    pub fn new(store: Arc<dyn Store>, batching: Batching, metrics: Metrics) -> Self {
        let (queue, submitted) = mpsc::channel(QUEUE_SUBMISSIONS);
        tokio::spawn(gather(store, batching, metrics, submitted));
        Batcher { queue }
    }

    /// Appends rows with those of other callers; returns when they are durable, with one outcome for each.
    ///
    /// # Errors
    /// [`StoreError`] as [`Store::append`] gave it for the whole batch; submitting again is safe.
    pub async fn append(&self, records: Vec<Record>) -> Result<Vec<Appended>, StoreError> {
        Ok(self.submit(records, None).await?.0)
    }

    /// As [`Batcher::append`], with what follows from a step in the same transaction, where the store is the ledger too.
    ///
    /// # Errors
    /// As [`Batcher::append`]; what became of the change, where that is another matter, stands beside.
    pub async fn append_with(
        &self,
        records: Vec<Record>,
        change: Change,
    ) -> Result<(Vec<Appended>, Result<(), LedgerError>), StoreError> {
        let (outcomes, changed) = self.submit(records, Some(change)).await?;
        Ok((outcomes, changed.unwrap_or_else(|| Err(LedgerError::Transient("it was not answered for".to_owned())))))
    }

    async fn submit(&self, records: Vec<Record>, change: Option<Change>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Transient("pedwatch is stopping".to_owned());
        self.queue.send(Submission { records, change, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn gather(
    store: Arc<dyn Store>,
    batching: Batching,
    metrics: Metrics,
    mut submitted: mpsc::Receiver<Submission>,
) {
    let places = Arc::new(Semaphore::new(batching.in_flight.min(store.appends_at_once())));
    // The place first, and then the rows: what comes while none is free gathers in the queue, and then callers wait. That
    // is the back-pressure.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Some(first) = submitted.recv().await else { return };
        let (mut rows, mut bytes) = (first.records.len(), first.size_bytes());
        let mut batch = vec![first];
        while rows < batching.rows && bytes < batching.bytes {
            let Ok(submission) = submitted.try_recv() else { break };
            rows += submission.records.len();
            bytes += submission.size_bytes();
            batch.push(submission);
        }
        metrics.batch_rows.observe(rows as f64);
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            write(&*store, batch).await;
            drop(place);
        });
    }
}

async fn write(store: &dyn Store, batch: Vec<Submission>) {
    let (mut records, mut changes) = (Vec::new(), Vec::new());
    let mut callers = Vec::with_capacity(batch.len());
    for submission in batch {
        callers.push((submission.records.len(), submission.change.is_some(), submission.answer));
        records.extend(submission.records);
        changes.extend(submission.change);
    }
    let written = match changes.is_empty() {
        true => store.append(records.into()).await.map(|outcomes| (outcomes, Vec::new())),
        false => store.append_with(records.into(), changes).await,
    };
    let mut written = written.map(|(outcomes, changed)| (outcomes.into_iter(), changed.into_iter()));
    for (rows, changes, answer) in callers {
        let own = written.as_mut().map_err(|error| error.clone()).map(|(outcomes, changed)| {
            (outcomes.by_ref().take(rows).collect(), changes.then(|| changed.next()).flatten())
        });
        // A caller that no longer waits has been cancelled; its message is delivered again.
        let _ = answer.send(own);
    }
}
