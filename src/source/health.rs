//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::http;
use super::shutdown::Shutdown;
use crate::store::Store;
use crate::store::query;
use crate::telemetry::metrics::Metrics;

/// How often the store is asked. Each is a query, which BigQuery counts; and what has failed shows within seconds.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long it may take to answer. A job of BigQuery takes a second or two, and in a busy project a few.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How old the last answer may be: three later ones were missed. Where there is no request, Cloud Run gives us no CPU to ask with.
const KNOWN_FOR: Duration = Duration::from_secs(45);

/// How long a request waits for a newer answer than such an old one; probes wait for a second as a rule.
const NEWER_WITHIN: Duration = Duration::from_millis(700);

/// Connections to the port of our own: a few scrapers and probes, and far fewer than there are file descriptors.
const CONNECTIONS: usize = 256;

/// What the store last answered.
#[derive(Debug, Clone)]
struct Answer {
    at: Instant,
    /// Since when it has been so.
    since: Instant,
    is: Result<(), String>,
}

impl Answer {
    fn next(&self, at: Instant, is: Result<(), String>) -> Self {
        let since = if is.is_ok() == self.is.is_ok() { self.since } else { at };
        Answer { at, since, is }
    }

    /// Whether this instance can do its work; why not, otherwise, and since when.
    fn state(&self, now: Instant) -> Result<(), String> {
        let seconds = |at: Instant| now.duration_since(at).as_secs();
        if now.duration_since(self.at) > KNOWN_FOR {
            return Err(format!("the store was last asked {} s ago", seconds(self.at)));
        }
        self.is
            .clone()
            .map_err(|why| format!("{why} (so for {} s, last asked {} s ago)", seconds(self.since), seconds(self.at)))
    }
}

/// Whether this instance can do its work.
#[derive(Clone)]
pub struct Health {
    shutdown: Shutdown,
    answer: watch::Receiver<Answer>,
}

impl Health {
    /// Asks this store from now on, as long as anybody may want to know. It is one that has answered already.
    pub fn new(store: Arc<dyn Store>, shutdown: Shutdown) -> Self {
        let now = Instant::now();
        let (answered, answer) = watch::channel(Answer { at: now, since: now, is: Ok(()) });
        tokio::spawn(async move {
            tokio::select! { () = ask(&*store, &answered) => {}, () = answered.closed() => {} }
        });
        Health { shutdown, answer }
    }

    /// The last answer of the store, and how old it is. However many ask, the store is not asked for them.
    async fn ready(&self) -> (Result<(), String>, Duration) {
        let mut answer = self.answer.clone();
        let recent = answer.wait_for(|answer| answer.at.elapsed() <= KNOWN_FOR);
        let recent = timeout(NEWER_WITHIN, recent).await.ok().and_then(Result::ok).map(|answer| answer.clone());
        let answer = recent.unwrap_or_else(|| self.answer.borrow().clone());
        let state = if self.shutdown.has_begun() { Err("stopping".to_owned()) } else { answer.state(Instant::now()) };
        (state, answer.at.elapsed())
    }

    /// `/livez`, which depends on nothing, and `/readyz`, whose `Age` is how many seconds ago the store was asked.
    pub fn routes(self) -> Router {
        let ready = async |State(health): State<Health>| {
            let (state, age) = health.ready().await;
            let (status, text) = match state {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            };
            (status, [(header::AGE, age.as_secs().to_string())], text)
        };
        Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(ready)).with_state(self)
    }
}

async fn ask(store: &dyn Store, answered: &watch::Sender<Answer>) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let is = match timeout(ANSWER_WITHIN, query::ping(store)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store did not answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        answered.send_modify(|answer| *answer = answer.next(Instant::now(), is));
    }
}

/// Serves them on a port of their own, which the outside does not reach, until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, health: Health, metrics: Metrics) -> Result<()> {
    let routes = health.routes().route("/metrics", get(scrape).with_state(metrics));
    // It goes on while the rest stops, which /readyz has to tell.
    http::serve(port, routes, CONNECTIONS, Shutdown::never())
        .with_context(|| format!("consumer.metrics_port is {port}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_until_three_later_ones_were_missed_and_says_since_when() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let good = Answer { at: start, since: start, is: Ok(()) };
        assert_eq!(good.state(after(45)), Ok(()));
        assert_eq!(good.state(after(400)), Err("the store was last asked 400 s ago".to_owned()));
        let down = |answer: &Answer, seconds: u64| answer.next(after(seconds), Err("no answer".to_owned()));
        let down = down(&down(&good, 10), 20);
        assert_eq!(down.state(after(25)), Err("no answer (so for 15 s, last asked 5 s ago)".to_owned()));
        assert_eq!(down.next(after(30), Ok(())).state(after(31)), Ok(()));
    }
}
