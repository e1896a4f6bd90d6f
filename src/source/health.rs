//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::shutdown::Shutdown;
use crate::store::Store;
use crate::store::query;
use crate::telemetry::metrics::Metrics;

/// How long an answer of the store counts: probes come every few seconds from each instance, and a query is a job.
const READY_FOR: Duration = Duration::from_secs(10);

/// Whether this instance can do its work.
#[derive(Clone)]
pub struct Health {
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    /// When the store last answered.
    answered: Arc<Mutex<Option<Instant>>>,
}

impl Health {
    /// Asks this store.
    pub fn new(store: Arc<dyn Store>, shutdown: Shutdown) -> Self {
        Health { store, shutdown, answered: Arc::default() }
    }

    async fn ready(&self) -> Result<(), String> {
        if self.shutdown.has_begun() {
            return Err("stopping".to_owned());
        }
        let mut answered = self.answered.lock().await;
        if answered.is_some_and(|at| at.elapsed() < READY_FOR) {
            return Ok(());
        }
        query::ping(&*self.store).await.map_err(|error| error.to_string())?;
        *answered = Some(Instant::now());
        Ok(())
    }

    /// `/livez` and `/readyz`.
    pub fn routes(self) -> Router {
        let ready = async |State(health): State<Health>| match health.ready().await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        };
        Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(ready)).with_state(self)
    }
}

/// Serves them on a port of their own, which the outside does not reach, until the process ends.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16, health: Health, metrics: Metrics) -> Result<()> {
    let listener =
        TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("consumer.metrics_port is {port}"))?;
    let routes = health.routes().route("/metrics", get(scrape).with_state(metrics));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(())
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => {
            let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, form)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
