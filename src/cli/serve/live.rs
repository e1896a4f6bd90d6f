//! From the start of a subscriber to its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::super::cloud::{open_counting_bigquery, open_telling};
use super::super::{Access, Usage, no_store, require_store, with_registry};
use super::{Args, PullArgs};
use crate::config::{Config, ConsumerConfig, StoreUrl};
use crate::job::notify::{LOOK_EVERY, observe, send_on};
use crate::pipeline::consumer::Consumer;
use crate::pipeline::incidents::Telling;
use crate::source::health::{self, Health};
use crate::source::shutdown::{FINISH, Shutdown};
use crate::source::start::Patience;
use crate::source::{pull as puller, push};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Steady;

/// How often what waits in the ledger is counted: in Firestore each time is three reads.
const OBSERVE_EVERY: Duration = Duration::from_secs(60);

pub(in crate::cli) async fn serve(args: Args, config: &Config) -> Result<ExitCode> {
    let mut missing = config.push.auth.missing();
    missing.extend(args.store.as_ref().or(config.store.as_ref()).is_none().then(|| no_store().to_string()));
    let same = config.push.port == config.consumer.metrics_port;
    missing.extend(same.then(|| {
        let port = config.push.port;
        format!(
            "push.port and consumer.metrics_port are {port}, both; expected one for pushes and another for /metrics"
        )
    }));
    if !missing.is_empty() {
        return Err(Usage(missing.join("\n")).into());
    }
    let trace_project = trace_project(args.store.as_ref().or(config.store.as_ref()));
    let mut start = Start::new(args, config)?;
    let (health, started) = (start.health.clone(), push::Started::default());
    let serving = push::listen(&config.push, trace_project, Arc::clone(&started), health, start.shutdown.clone())?;
    let Some((consumer, store)) = start.consumer(config).await? else { return Ok(ExitCode::SUCCESS) };
    let _ = started.set(Arc::clone(&consumer));
    start.patience.over().done(store);
    tracing::info!(port = config.push.port, path = push::PATH, "ready for messages");
    serving.await?;
    finish(&consumer, start.sending).await;
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) async fn pull(args: PullArgs, config: &Config) -> Result<ExitCode> {
    let no_subscription = || "no subscription; expected --subscription, or pull.subscription".to_owned();
    let Some(subscription) = args.subscription.as_ref().or(config.pull.subscription.as_ref()) else {
        let stored = args.store.store.as_ref().or(config.store.as_ref());
        let missing = [Some(no_subscription()), stored.is_none().then(|| no_store().to_string())];
        return Err(Usage(missing.into_iter().flatten().collect::<Vec<_>>().join("\n")).into());
    };
    let mut start = Start::new(args.store, config)?;
    let Some((consumer, store)) = start.consumer(config).await? else { return Ok(ExitCode::SUCCESS) };
    let Start { shutdown, patience, sending, .. } = start;
    let pulling = |patience: Patience| {
        patience.over().done(store);
        tracing::info!(subscription, "pulling");
    };
    let opened = puller::open(&config.pull, subscription, patience, pulling, &shutdown).await?;
    if let Some(opened) = opened {
        puller::pull(&config.pull, subscription, opened, Arc::clone(&consumer), shutdown).await?;
    }
    finish(&consumer, sending).await;
    Ok(ExitCode::SUCCESS)
}

/// What there is before the first message: a way to be stopped, the port of `/livez`, and somebody who waits.
struct Start {
    store: StoreUrl,
    shutdown: Shutdown,
    metrics: Metrics,
    health: Health,
    patience: Patience,
    telling: Option<Arc<Telling>>,
    sending: Option<JoinHandle<()>>,
}

impl Start {
    fn new(args: Args, config: &Config) -> Result<Self> {
        let store = args.store.or_else(|| config.store.clone()).ok_or_else(no_store)?;
        let (shutdown, metrics) = (Shutdown::on_signal()?, Metrics::default());
        let (health, starting) = Health::starting(shutdown.clone());
        health::serve(config.consumer.metrics_port, health.clone(), metrics.clone())?;
        let patience = Patience::new(config.consumer.start_wait, starting);
        Ok(Start { store, shutdown, metrics, health, patience, telling: None, sending: None })
    }

    /// Everything that has to be right before the first message; `None` when it is time to stop before that.
    async fn consumer(&mut self, config: &Config) -> Result<Option<(Arc<Consumer>, Arc<dyn Store>)>> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            started = self.prepare(config) => started.map(Some),
            () = shutdown.begun() => Ok(None),
        }
    }

    /// The credentials, the store, its tables, the limits.
    async fn prepare(&mut self, config: &Config) -> Result<(Arc<Consumer>, Arc<dyn Store>)> {
        self.telling = open_telling(config).await?;
        let store = self.open_store(config).await?;
        let ConsumerConfig { batching, limits_refresh, .. } = config.consumer;
        let metrics = &self.metrics;
        let telling = self.telling.clone();
        let start = async || {
            let (store, policy) = (Arc::clone(&store), config.policy.clone());
            Consumer::start(store, policy, batching, limits_refresh, metrics.clone(), telling.clone()).await
        };
        let consumer = self.patience.consumer(start).await.context("cannot start")?;
        tokio::spawn(refresh(Arc::clone(&consumer), limits_refresh * 3 / 4));
        if let Some(telling) = telling {
            tokio::spawn(step_due(Arc::clone(&consumer)));
            tokio::spawn(observe_on(Arc::clone(&telling), self.metrics.clone()));
            self.sending = Some(tokio::spawn(send_on(telling, self.metrics.clone(), self.shutdown.watch())));
        }
        tokio::spawn(hurry(Arc::clone(&consumer), self.shutdown.clone()));
        Ok((consumer, store))
    }

    /// The store. What BigQuery is sent again is among our metrics.
    async fn open_store(&self, config: &Config) -> Result<Arc<dyn Store>> {
        match self.store.clone() {
            StoreUrl::BigQuery(name) => {
                let retries = self.metrics.store_retries.clone();
                with_registry(open_counting_bigquery(name, config, retries).await?, config).await
            }
            url @ StoreUrl::Sqlite(_) => require_store(Some(url), config, Access::OrNew).await,
        }
    }
}

/// When it is time to stop, nothing waits any longer than it has to.
async fn hurry(consumer: Arc<Consumer>, shutdown: Shutdown) {
    shutdown.begun().await;
    // What fails is given back, and told where it is counted.
    let _ = consumer.hurry(chrono::Utc::now()).await;
}

/// Judges what is left for the next reading of limits, while what is being sent is finished.
async fn finish(consumer: &Consumer, sending: Option<JoinHandle<()>>) {
    let sent = async {
        if let Some(sending) = sending {
            let _ = sending.await;
        }
    };
    let judged = consumer.finish(chrono::Utc::now());
    let _ = tokio::time::timeout(FINISH, futures::future::join(judged, sent)).await;
}

/// Tells what is due by the clock: what has held, or been over, for long enough.
async fn step_due(consumer: Arc<Consumer>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let trouble = Steady::default();
    loop {
        ticks.tick().await;
        match consumer.step_due(chrono::Utc::now()).await {
            Ok(()) => drop(trouble.recovered()),
            Err(error) => {
                if let Some(times) = trouble.failed(&error.to_string()) {
                    tracing::warn!(%error, times, "what is due cannot be told; it is tried again");
                }
            }
        }
    }
}

/// Keeps what metrics say of the ledger. Where it cannot be read, they stay as they are.
async fn observe_on(telling: Arc<Telling>, metrics: Metrics) {
    let mut ticks = tokio::time::interval(OBSERVE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = observe(&telling, &metrics).await {
            tracing::debug!(%error, "the ledger cannot be observed");
        }
    }
}

/// Reads the limits again before they are too old to judge by, so that no message has to wait for it.
async fn refresh(consumer: Arc<Consumer>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once, and the limits have just been read.
    ticks.tick().await;
    let trouble = Steady::default();
    loop {
        ticks.tick().await;
        match consumer.refresh(chrono::Utc::now()).await {
            Ok(()) => drop(trouble.recovered()),
            Err(error) => {
                if let Some(times) = trouble.failed(&error.to_string()) {
                    tracing::warn!(%error, times, "the limits cannot be read, or what is due cannot be judged; those known stay in use until they are too old");
                }
            }
        }
    }
}

/// Traces are the project's that the service runs in: the one of its dataset.
fn trace_project(store: Option<&StoreUrl>) -> Option<String> {
    match store? {
        StoreUrl::BigQuery(name) => Some(name.project.clone()),
        StoreUrl::Sqlite(_) => None,
    }
}
