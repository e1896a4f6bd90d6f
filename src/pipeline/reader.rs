//! Two tasks: one reads limits, the other judges by what is new in them.
//!
//! Whoever needs limits asks and waits. One reading serves all who asked before it began, so that a storm of alerts is no
//! storm of queries; and where alerts never end, they wait a little for each other ([`Budget`]). A caller who goes away cancels nothing: reading and judging belong to these tasks. Judging takes
//! longer, and may fail by itself; nobody who only needs limits waits for it.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Duration, Utc};
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::Level;

use super::Pipeline;
use super::again::judge_again;
use super::incidents::{LimitsNow, Present, Telling};
use super::quarantine::must_be_stored;
use super::reading::{Judged, MARGIN, Readings};
use crate::id;
use crate::names::Named;
use crate::ped::Deployment;
use crate::ped::limits::Limits;
use crate::policy::Severity;
use crate::store::row::{AlertLog, Record};
use crate::store::{Store, StoreError, query};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Recent;

/// Calls that may wait to be gathered for a reading; beyond it, callers wait to call.
const QUEUE_CALLS: usize = 1_024;

/// How often alerts may have limits read, besides what was saved: 2,880 times a day. Each is a query, for which BigQuery bills
/// 10 MB at least. So long an alert waits at most; a push may take 60 s.
const READING_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// Readings that may come in a row when there were none for a while: whoever is not used to alerts is told at once.
const READINGS_SAVED: u32 = 20;

/// So many who wait are worth a reading of their own, whatever was spent: messages are handled as fast as they come.
const CALLERS_WORTH_ONE: usize = 16;

/// An alert that a limit raised which came later is of another day: history.
const JUDGED_LATE: Duration = Duration::days(1);

/// What readings for alerts may cost: as if each took [`READING_EVERY`], and had to be done within [`READINGS_SAVED`] times that.
struct Budget {
    spent_until: Instant,
}

impl Budget {
    /// When the next reading may begin.
    fn next(&self) -> Instant {
        self.spent_until.checked_sub(READING_EVERY * READINGS_SAVED).unwrap_or_else(Instant::now)
    }

    fn spend(&mut self, now: Instant) {
        self.spent_until = self.spent_until.max(now) + READING_EVERY;
    }
}

/// What the reader and those who ask it have in common.
pub(super) struct Shared {
    pub(super) pipeline: Pipeline,
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Metrics,
    pub(super) readings: Readings,
    /// The alerts that were told.
    pub(super) told: Recent,
    /// Where incidents follow.
    pub(super) telling: Option<Arc<Telling>>,
    /// Nobody waits for others any more: it is time to stop.
    pub(super) hurries: AtomicBool,
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

type Answer = Result<(), StoreError>;

struct Call {
    wanted: Wanted,
    answer: oneshot::Sender<Answer>,
}

/// What a reading of all limits leaves to be judged, and who waits for that.
struct Due {
    turned: BTreeSet<String>,
    now: DateTime<Utc>,
    answers: Vec<oneshot::Sender<Answer>>,
}

/// Asks for readings. They end with it.
pub(super) struct Reader {
    calls: mpsc::Sender<Call>,
}

impl Reader {
    /// Begins to take calls.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (calls, called) = mpsc::channel(QUEUE_CALLS);
        let (due, to_judge) = mpsc::channel(QUEUE_CALLS);
        tokio::spawn(judge_all(Arc::clone(&shared), to_judge));
        tokio::spawn(read_all(shared, called, due));
        Reader { calls }
    }

    /// Reads the versions of some Deployments, by a reading that begins after this call.
    pub(super) async fn these(&self, deployments: BTreeSet<Deployment>) -> Answer {
        self.call(Wanted::These(deployments)).await
    }

    /// Reads all limits, unless they have just been read.
    pub(super) async fn if_stale(&self, now: DateTime<Utc>) -> Answer {
        self.call(Wanted::IfStale(now)).await
    }

    /// Reads all limits, and judges what that makes due.
    pub(super) async fn all(&self, now: DateTime<Utc>) -> Answer {
        self.call(Wanted::All(now)).await
    }

    async fn call(&self, wanted: Wanted) -> Answer {
        let stopped = || StoreError::Transient("pedwatch is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { wanted, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn read_all(shared: Arc<Shared>, mut called: mpsc::Receiver<Call>, due: mpsc::Sender<Due>) {
    let mut budget = Budget { spent_until: Instant::now() };
    while let Some(first) = called.recv().await {
        let mut calls = gathered(first, &mut called);
        // A registry of its own is asked by key, which costs the same however it is gathered.
        if shared.store.bills_questions() && shared.store.registry().is_none() {
            shared.gather_more(&mut calls, &mut called, &mut budget).await;
        }
        // Who has gone away wants nothing any more.
        calls.retain(|call| !call.answer.is_closed());
        let read = caught(shared.read(calls.iter().map(|call| &call.wanted))).await;
        let waits = |call: &mut Call| read.is_ok() && matches!(call.wanted, Wanted::All(_));
        let answers = calls.extract_if(.., waits).map(|call| call.answer).collect();
        let turned = read.clone().map(|turned| turned.map(|(turned, now)| Due { turned, now, answers }));
        for call in calls {
            // A caller may have gone away meanwhile.
            let _ = call.answer.send(read.clone().map(drop));
        }
        if let Ok(Some(turned)) = turned {
            // The other task ends with this one.
            let _ = due.send(turned).await;
        }
    }
}

async fn judge_all(shared: Arc<Shared>, mut to_judge: mpsc::Receiver<Due>) {
    while let Some(first) = to_judge.recv().await {
        let mut due = Due { turned: BTreeSet::new(), now: first.now, answers: Vec::new() };
        for one in gathered(first, &mut to_judge) {
            due.turned.extend(one.turned);
            due.now = due.now.max(one.now);
            due.answers.extend(one.answers);
        }
        let judged = caught(shared.judge(due.turned, due.now)).await;
        if let Err(error) = &judged {
            tracing::warn!(%error, "what is due cannot be judged; it is tried again at the next reading of limits");
        }
        for answer in due.answers {
            let _ = answer.send(judged.clone());
        }
    }
}

/// The first, and what waits behind it.
fn gathered<T>(first: T, rest: &mut mpsc::Receiver<T>) -> Vec<T> {
    std::iter::once(first).chain(std::iter::from_fn(|| rest.try_recv().ok())).collect()
}

/// A panic fails those who wait for it, and nobody after them.
async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let panicked = |_| Err(StoreError::Transient("a reading of limits has panicked".to_owned()));
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(panicked)
}

impl Pipeline {
    /// Changes the known limits.
    fn change_limits(&self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.limits.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    /// What incidents go by, where they follow.
    pub(super) fn present<'s>(&'s self, now: DateTime<Utc>, limits: &'s (dyn LimitsNow + 's)) -> Option<Present<'s>> {
        let telling = self.telling.as_ref()?;
        Some(telling.at(now, self.pipeline.policy(), &*self.store, limits))
    }

    /// Waits for more calls while few alerts alone want a reading, and too many were spent.
    async fn gather_more(&self, calls: &mut Vec<Call>, called: &mut mpsc::Receiver<Call>, budget: &mut Budget) {
        let for_alerts = |calls: &[Call]| calls.iter().all(|call| matches!(call.wanted, Wanted::These(_)));
        while for_alerts(calls) && calls.len() < CALLERS_WORTH_ONE && !self.hurries.load(Ordering::Relaxed) {
            match timeout_at(budget.next(), called.recv()).await {
                Ok(Some(call)) => calls.push(call),
                // It is time for it, or nobody calls any more.
                Ok(None) | Err(_) => return budget.spend(Instant::now()),
            }
        }
    }

    /// Reads once what all these want. The namespaces that are to be judged by it, if it was everything, and as of when.
    async fn read(
        &self,
        wanted: impl Iterator<Item = &Wanted>,
    ) -> Result<Option<(BTreeSet<String>, DateTime<Utc>)>, StoreError> {
        let mut deployments = BTreeSet::new();
        let (mut all, mut if_stale) = (None, None);
        for wanted in wanted {
            match wanted {
                Wanted::These(these) => deployments.extend(these.iter().cloned()),
                Wanted::IfStale(now) => if_stale = if_stale.max(Some(*now)),
                Wanted::All(now) => all = all.max(Some(*now)),
            }
        }
        if let Some(now) = all.max(if_stale.filter(|&now| self.readings.are_stale(now))) {
            let limits = Limits::new(self.store.claims(None).await?);
            let turned = limits.turned_in(self.readings.judged_through().map(|since| since - MARGIN), now);
            self.pipeline.change_limits(|known| *known = limits);
            self.readings.have_read(now);
            return Ok(Some((turned, now)));
        }
        let deployments: Vec<Deployment> = deployments.into_iter().collect();
        if !deployments.is_empty() {
            let claims = self.store.claims(Some(&deployments)).await?;
            self.pipeline.change_limits(|known| known.replace(&deployments, claims));
        }
        Ok(None)
    }

    async fn judge(&self, turned: BTreeSet<String>, now: DateTime<Utc>) -> Answer {
        let looks = self.readings.is_to_look(now);
        let mut abandoned = Vec::new();
        if looks {
            // Whoever wrote the watermark had seen what was open for longer than the margin, less its own and a look's.
            let since = self.readings.judged_through().map(|since| since - MARGIN * 2);
            abandoned = self.readings.abandoned(query::marks(&*self.store, since).await?, now);
        }
        let judged = Judged { turned, owed: self.readings.take().await, abandoned };
        let done = self.raise(&judged, now).await;
        match (&done, looks) {
            (Err(_), _) => self.readings.put_back(judged.owed),
            (Ok(()), true) => self.readings.have_looked(now),
            (Ok(()), false) => {}
        }
        done
    }

    async fn raise(&self, judged: &Judged, now: DateTime<Utc>) -> Answer {
        if let Some(namespaces) = judged.namespaces() {
            // What is owed from before came late, and is marked so.
            let since = self.readings.judged_through().map(|since| since - MARGIN * 2);
            for alert in judge_again(&*self.store, self.pipeline.policy(), &namespaces, since, now).await? {
                tell(self, &alert, JUDGED_LATE, now);
            }
        }
        if let Some(present) = self.present(now, &self.pipeline) {
            present.limits_turned(&judged.turned).await?;
        }
        let marks = self.readings.marks(judged, now).await;
        if !marks.is_empty() {
            let records: Vec<Record> = marks.iter().cloned().map(Record::Watermark).collect();
            must_be_stored(&self.store.append(records.into()).await?, "watermarks")?;
        }
        self.readings.finish(&marks, now);
        Ok(())
    }
}

/// Counts an alert and logs it: once, however often its message comes. What is older than `history` is recorded, and nobody
/// is told.
pub(super) fn tell(shared: &Shared, alert: &AlertLog, history: Duration, now: DateTime<Utc>) {
    if now - alert.alert_time >= history || !shared.told.is_new(&alert.alert_id) {
        return;
    }
    shared.metrics.alert(alert.alert_type.as_str(), alert.severity.as_str());
    // A level stands in the code. Neither message nor actor: the table has them, logs have no names of people. Terraform's
    // metric and policies read these fields.
    macro_rules! line {
        ($level:expr, $severity:literal) => {
            tracing::event!(
                $level,
                severity = $severity,
                alert_id = alert.alert_id,
                alert_type = alert.alert_type.as_str(),
                alert_severity = alert.severity.as_str(),
                project = alert.project_id,
                location = alert.location,
                cluster = alert.cluster_name,
                namespace = alert.namespace,
                deployment = alert.deployment_name,
                replicas = alert.replicas,
                limit = alert.limit_max_replicas,
                route = alert.route.map(Named::as_str),
                event_time = id::time(alert.alert_time),
                "alert"
            )
        };
    }
    // As Cloud Logging names them.
    match alert.severity {
        Severity::Info => line!(Level::INFO, "NOTICE"),
        Severity::Warning => line!(Level::WARN, "WARNING"),
        Severity::Critical => line!(Level::ERROR, "CRITICAL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a day costs whose alerts come at even intervals: readings, and the longest that an alert waits.
    fn day(alerts: u32) -> (u32, std::time::Duration) {
        let begin = Instant::now() + READING_EVERY * READINGS_SAVED;
        let arrival = |number: u32| begin + std::time::Duration::from_secs(86_400) * number / alerts;
        let mut budget = Budget { spent_until: begin };
        let (mut number, mut readings, mut longest) = (0, 0, std::time::Duration::ZERO);
        while number < alerts {
            let first = arrival(number);
            let full = number + CALLERS_WORTH_ONE as u32 - 1;
            let at = match budget.next().max(first) {
                next if arrival(full) < next => arrival(full),
                next => {
                    budget.spend(next);
                    next
                }
            };
            longest = longest.max(at - first);
            readings += 1;
            number += (number..alerts).take_while(|&other| arrival(other) <= at).count() as u32;
        }
        (readings, longest)
    }

    /// The table of costs in docs/bigquery.md is computed from these.
    #[test]
    fn however_many_alerts_a_day_has_its_readings_are_bounded() {
        assert_eq!(day(200), (200, std::time::Duration::ZERO), "each at once");
        for (alerts, most) in [(2_000, 2_000), (20_000, 2_901), (200_000, 14_420)] {
            let (readings, longest) = day(alerts);
            assert!(readings <= most, "{alerts} alerts a day: {readings} readings");
            assert!(longest <= READING_EVERY, "{longest:?}");
        }
    }
}
