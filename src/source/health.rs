//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::http;
use super::shutdown::Shutdown;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Steady;

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
        let (health, starting) = Self::starting(shutdown);
        starting.done(store);
        health
    }

    /// Of an instance that is not ready before its start is done.
    pub fn starting(shutdown: Shutdown) -> (Self, Starting) {
        let now = Instant::now();
        let (answered, answer) = watch::channel(Answer { at: now, since: now, is: Err("starting".to_owned()) });
        (Health { shutdown, answer }, Starting { answered })
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

    /// `/livez`, which depends on nothing, and `/readyz`, whose `Age` is how many seconds ago the store was asked. Why it is
    /// not ready is nothing for a port that the outside reaches.
    pub fn routes(self) -> Router {
        self.routes_told(|_| "not ready\n".to_owned())
    }

    fn routes_told(self, tell: fn(&str) -> String) -> Router {
        let ready = async move |State(health): State<Health>| {
            let (state, age) = health.ready().await;
            let (status, text) = match state {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, tell(&why)),
            };
            (status, [(header::AGE, age.as_secs().to_string())], text)
        };
        Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(ready)).with_state(self)
    }
}

/// The start of an instance.
pub struct Starting {
    answered: watch::Sender<Answer>,
}

impl Starting {
    /// Tells what it waits for.
    pub fn lacks(&self, missing: &str) {
        self.tell(Err(format!("starting: {missing}")));
    }

    /// Begins to ask this store, which has just answered.
    pub fn done(self, store: Arc<dyn Store>) {
        self.tell(Ok(()));
        let answered = self.answered;
        tokio::spawn(async move {
            tokio::select! { () = ask(&*store, &answered) => {}, () = answered.closed() => {} }
        });
    }

    fn tell(&self, is: Result<(), String>) {
        self.answered.send_modify(|answer| *answer = answer.next(Instant::now(), is));
    }
}

async fn ask(store: &dyn Store, answered: &watch::Sender<Answer>) {
    let trouble = Steady::default();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let is = match timeout(ANSWER_WITHIN, store.ping()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store did not answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        if let Err(why) = &is
            && let Some(times) = trouble.failed(why)
        {
            tracing::warn!(why, times, "not ready: the store does not answer as it should");
        }
        answered.send_modify(|answer| *answer = answer.next(Instant::now(), is));
    }
}

/// Serves them on a port of their own, which the outside does not reach, until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, health: Health, metrics: Metrics) -> Result<()> {
    let routes =
        health.routes_told(|why| format!("not ready: {why}\n")).route("/metrics", get(scrape).with_state(metrics));
    // It goes on while the rest stops, which /readyz has to tell.
    http::serve(port, routes, CONNECTIONS, Shutdown::never())
        .with_context(|| format!("consumer.metrics_port is {port}"))?;
    Ok(())
}

/// In the form that is asked for. Prometheus asks for OpenMetrics; who asks for nothing gets what everything reads.
async fn scrape(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (form, text) = if prefers_open_metrics(&accept.collect::<Vec<_>>().join(",")) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", metrics.text_0_0_4())
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, form), (header::VARY, "Accept")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether an `Accept` names OpenMetrics, and plain text not before it.
fn prefers_open_metrics(accept: &str) -> bool {
    let weight = |wanted: &str| {
        let weights = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            is_wanted.then_some(weight.unwrap_or(1.0))
        });
        weights.fold(0.0, f32::max)
    };
    let open_metrics = weight("application/openmetrics-text");
    open_metrics > 0.0 && open_metrics >= weight("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", true),
            ("application/openmetrics-text; q=0.3, text/plain; q=0.4", false),
            ("application/openmetrics-text;q=0", false),
            ("application/vnd.google.protobuf;q=0.7, Application/OpenMetrics-Text;q=0.6", true),
            ("text/html, application/openmetrics-texts", false),
        ] {
            assert_eq!(prefers_open_metrics(accept), expected, "{accept}");
        }
    }

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
