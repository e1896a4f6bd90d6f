//! `pedwatch watch`: gauges of what runs, for Prometheus.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::{Config, STORE_URL, StoreUrl};

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "clusters"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct Args {
    /// Only these clusters: the NAME of [clusters.NAME]
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
    /// Where the limits are read
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[cfg(not(feature = "clusters"))]
pub(super) async fn run(_: Args, _: &Config) -> Result<ExitCode> {
    Err(super::cluster::without_clusters("pedwatch snapshot --from-file"))
}

#[cfg(feature = "clusters")]
pub(super) async fn run(args: Args, config: &Config) -> Result<ExitCode> {
    use std::sync::Arc;

    use anyhow::Context;

    use super::{Access, require_store, snapshot};
    use crate::cluster::Google;
    use crate::job::watch::{Gauges, Scraped};
    use crate::source::health::{self, Health};
    use crate::source::shutdown::Shutdown;
    use crate::telemetry::metrics::Metrics;

    let clusters = snapshot::named(&args.clusters, config)?.into_iter().cloned().collect();
    let store = require_store(args.store, config, Access::Existing).await?;
    let gauges = Arc::new(Gauges::new(clusters));
    gauges.read_limits(&*store).await.context("the limits cannot be read")?;
    let (shutdown, google) = (Shutdown::on_signal()?, Arc::new(Google::new(&config.gke)?));
    let metrics = Metrics::collecting(Box::new(Scraped(Arc::clone(&gauges))));
    health::serve(config.consumer.metrics_port, Health::new(Arc::clone(&store), shutdown.clone()), metrics)?;
    tracing::info!(port = config.consumer.metrics_port, "watching");
    tokio::select! {
        () = gauges.keep_up(&google, &config.snapshot, &config.policy.scope) => {}
        () = gauges.refresh_limits(&*store, config.consumer.limits_refresh) => {}
        () = shutdown.begun() => {}
    }
    Ok(ExitCode::SUCCESS)
}
