//! Gauges of what runs, kept up: what each Deployment asks for, what it has, and its limit.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::Utc;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::cluster::{ClusterConfig, Deployments, Fault, Google, Replicas, Seen, SnapshotConfig, Watched};
use crate::ped::limits::Limits;
use crate::policy::Scope;
use crate::store::{Store, StoreError};
use crate::telemetry::steady::Steady;

/// What is known of some clusters, as Prometheus scrapes it. A series for each Deployment that is there, and of the limit for
/// each that has one; none for what is gone.
#[derive(Debug)]
pub struct Gauges {
    clusters: Vec<(ClusterConfig, Seen)>,
    limits: RwLock<Limits>,
}

impl Gauges {
    /// Nothing is known yet.
    pub fn new(clusters: Vec<ClusterConfig>) -> Self {
        let clusters = clusters.into_iter().map(|cluster| (cluster, Seen::default())).collect();
        Gauges { clusters, limits: RwLock::default() }
    }

    /// Keeps the clusters up, side by side, for ever.
    pub async fn keep_up(&self, google: &Arc<Google>, config: &SnapshotConfig, scope: &Scope) {
        let watched = self.clusters.iter().map(|(cluster, seen)| keep_up(cluster, seen, google, config, scope));
        futures::future::join_all(watched).await;
    }

    /// Reads the limits.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read; those known stay.
    pub async fn read_limits(&self, store: &dyn Store) -> Result<(), StoreError> {
        let limits = Limits::new(store.claims(None).await?);
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        Ok(())
    }

    /// Reads the limits again and again, for ever.
    pub async fn refresh_limits(&self, store: &dyn Store, every: Duration) {
        let trouble = Steady::default();
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.read_limits(store).await
                && let Some(times) = trouble.failed(&error.to_string())
            {
                tracing::warn!(%error, times, "the limits cannot be read; those known stay in use");
            }
        }
    }
}

async fn keep_up(
    cluster: &ClusterConfig,
    seen: &Seen,
    google: &Arc<Google>,
    config: &SnapshotConfig,
    scope: &Scope,
) -> Infallible {
    let holds = |namespace: &str, name: &str| scope.holds_object(cluster.cluster(), namespace, Some(name));
    let trouble = Steady::default();
    let told = |fault: &Fault| {
        if let Some(times) = trouble.failed(fault.said()) {
            let (cluster, why) = (&cluster.handle, fault.loggable());
            tracing::warn!(cluster, why, times, "the cluster cannot be watched; what is known of it stays");
        }
    };
    Watched { cluster, google, config, seen, holds: &holds }.keep_up(told).await
}

/// What is scraped.
#[derive(Debug)]
pub struct Scraped(pub Arc<Gauges>);

/// A gauge of each Deployment: its name, its help, and its value.
type Gauge<'g> = (&'static str, &'static str, Box<dyn Fn(&ClusterConfig, (&str, &str), Replicas) -> Option<i64> + 'g>);

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Gauges { clusters, limits } = &*self.0;
        let limits = limits.read().unwrap_or_else(PoisonError::into_inner);
        let now = Utc::now();
        let known: Vec<(&ClusterConfig, std::sync::MutexGuard<'_, Deployments>)> =
            clusters.iter().map(|(cluster, seen)| (cluster, seen.deployments())).collect();
        let max = |cluster: &ClusterConfig, (namespace, name): (&str, &str), _: Replicas| {
            limits.at(cluster.cluster(), namespace, name, now).map(|limit| limit.max_replicas)
        };
        let gauges: [Gauge<'_>; 3] = [
            (
                "deployment_replicas_desired",
                "Replicas that a Deployment asks for",
                Box::new(|_, _, replicas| replicas.desired),
            ),
            (
                "deployment_replicas_actual",
                "Replicas that a Deployment has",
                Box::new(|_, _, replicas| replicas.actual),
            ),
            ("deployment_replicas_max", "The limit in force for a Deployment; none, no series", Box::new(max)),
        ];
        for (name, help, value) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (cluster, deployments) in &known {
                for ((namespace, deployment), replicas) in deployments.iter() {
                    let Some(value) = value(cluster, (namespace, deployment), *replicas) else { continue };
                    let labels = labels(cluster, namespace, deployment);
                    metric.encode_family(&labels)?.encode_gauge(&value)?;
                }
            }
        }
        let help = "Unix time of the last answer of a cluster's API server; 0 before the first";
        let mut metric = encoder.encode_descriptor(
            "pedwatch_watch_last_contact_timestamp_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (cluster, seen) in clusters {
            let [project, location, name, ..] = labels(cluster, "", "");
            metric.encode_family(&[project, location, name])?.encode_gauge(&seen.last_contact())?;
        }
        Ok(())
    }
}

fn labels<'l>(cluster: &'l ClusterConfig, namespace: &'l str, deployment: &'l str) -> [(&'static str, &'l str); 5] {
    let ClusterConfig { project, location, name, .. } = cluster;
    [
        ("project", project),
        ("location", location),
        ("cluster", name),
        ("namespace", namespace),
        ("deployment", deployment),
    ]
}
