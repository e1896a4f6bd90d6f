//! `pedwatch serve` and `pedwatch pull`: two ways in, one pipeline.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Usage, no_store, open_counted_store};
use crate::config::{Config, ConsumerConfig, STORE_URL, StoreUrl};
use crate::pipeline::consumer::Consumer;
use crate::source::health::{self, Health};
use crate::source::shutdown::{FINISH, Shutdown};
use crate::source::{pull as puller, push};
use crate::telemetry::metrics::Metrics;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PullArgs {
    /// The subscription; pull.subscription, if not given
    #[arg(long, value_name = "projects/PROJECT/subscriptions/NAME")]
    subscription: Option<String>,
    #[command(flatten)]
    store: Args,
}

pub(super) async fn serve(args: Args, config: &Config) -> Result<ExitCode> {
    let shutdown = Shutdown::on_signal()?;
    let trace_project = trace_project(args.store.as_ref().or(config.store.as_ref()));
    let Some((consumer, health)) = start(args, config, &shutdown).await? else { return Ok(ExitCode::SUCCESS) };
    push::serve(&config.push, trace_project, Arc::clone(&consumer), health, shutdown).await?;
    finish(&consumer).await;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pull(args: PullArgs, config: &Config) -> Result<ExitCode> {
    let missing = || Usage("no subscription; expected --subscription, or pull.subscription".to_owned());
    let subscription = args.subscription.as_ref().or(config.pull.subscription.as_ref()).ok_or_else(missing)?;
    let shutdown = Shutdown::on_signal()?;
    let Some((consumer, _)) = start(args.store, config, &shutdown).await? else { return Ok(ExitCode::SUCCESS) };
    puller::pull(&config.pull, subscription, Arc::clone(&consumer), shutdown).await?;
    finish(&consumer).await;
    Ok(ExitCode::SUCCESS)
}

/// Everything that has to be right before the first message; `None` when it is time to stop before that.
async fn start(args: Args, config: &Config, shutdown: &Shutdown) -> Result<Option<(Arc<Consumer>, Health)>> {
    tokio::select! {
        started = prepare(args, config, shutdown) => started.map(Some),
        () = shutdown.begun() => Ok(None),
    }
}

/// The store, its tables, the credentials, the limits.
async fn prepare(args: Args, config: &Config, shutdown: &Shutdown) -> Result<(Arc<Consumer>, Health)> {
    let metrics = Metrics::default();
    let store = open_counted_store(args.store, config, &metrics).await?.ok_or_else(no_store)?;
    let ConsumerConfig { batching, limits_refresh, metrics_port } = config.consumer;
    let consumer =
        Consumer::start(Arc::clone(&store), config.policy.clone(), batching, limits_refresh, metrics.clone());
    let consumer = Arc::new(consumer.await.context("cannot start")?);
    let health = Health::new(store, shutdown.clone());
    health::serve(metrics_port, health.clone(), metrics)?;
    tokio::spawn(refresh(Arc::clone(&consumer), limits_refresh * 3 / 4));
    Ok((consumer, health))
}

/// Judges what is left for the next reading of limits.
async fn finish(consumer: &Consumer) {
    let _ = tokio::time::timeout(FINISH, consumer.finish(chrono::Utc::now())).await;
}

/// Reads the limits again before they are too old to judge by, so that no message has to wait for it.
async fn refresh(consumer: Arc<Consumer>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once, and the limits have just been read.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = consumer.refresh(chrono::Utc::now()).await {
            tracing::warn!(%error, "the limits cannot be read, or what is due cannot be judged; those known stay in use until they are too old");
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
