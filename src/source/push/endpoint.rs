//! The endpoint that takes what is pushed.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Extension, Router};
use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use super::super::health::Health;
use super::super::http::{self, Caller};
use super::super::shutdown::Shutdown;
use super::body::{self, Bodies};
use super::large::Large;
use super::oidc::{Refusal, Verifier};
use super::{PATH, PushAuth, PushConfig};
use crate::pipeline::consumer::{Consumer, Delivery, Disposition, disposition};
use crate::store::StoreError;
use crate::telemetry::steady::Steady;
use crate::time;

/// Connections beyond those of requests that are being handled: for probes, for callers whose request is on its way, and for
/// those who rest between two. A connection takes 64 KiB at most, and as much again for the body that it sends.
const CONNECTIONS_SPARE: usize = 256;

/// The consumer, once it has started.
pub type Started = Arc<OnceLock<Arc<Consumer>>>;

struct Push {
    consumer: Started,
    verifier: Option<Verifier>,
    bodies: Bodies,
    room: Arc<Semaphore>,
    /// Where messages are handled, apart from the thread that speaks to callers.
    workers: Handle,
    large: Large,
    trace_project: Option<String>,
    /// Strangers may come by the thousand.
    refused: Steady,
}

/// A message that is all here, with what was reserved for it.
struct Taken {
    body: body::Body,
    message_id: Option<String>,
    publish_time: Option<DateTime<Utc>>,
    trace: Option<String>,
    _room: OwnedSemaphorePermit,
}

/// Listens at once; messages are told to come again until there is a consumer. What it returns serves until it is time to
/// stop, and is done when every request is answered, or after [`DRAIN`](super::super::shutdown::DRAIN).
///
/// # Errors
/// When the configuration lacks what `serve` needs, or the port is taken.
pub fn listen(
    config: &PushConfig,
    trace_project: Option<String>,
    consumer: Started,
    health: Health,
    shutdown: Shutdown,
) -> Result<impl Future<Output = Result<()>>> {
    ensure!(config.auth.missing().is_empty(), config.auth.missing().join("\n"));
    let verifier = match &config.auth {
        PushAuth::Platform => None,
        PushAuth::Oidc { audience, service_account, certs_url } => {
            Some(Verifier::new(audience, service_account, certs_url)?)
        }
    };
    let push = Arc::new(Push {
        consumer,
        verifier,
        bodies: Bodies::default(),
        room: Arc::new(Semaphore::new(config.max_in_flight)),
        workers: Handle::current(),
        large: Large::start(Handle::current())?,
        trace_project,
        refused: Steady::default(),
    });
    let routes = Router::new().route(PATH, post(take)).with_state(push).merge(health.routes());
    let (port, connections) = (config.port, config.max_in_flight + CONNECTIONS_SPARE);
    let server =
        http::serve(port, routes, connections, shutdown.clone()).with_context(|| format!("push.port is {port}"))?;
    Ok(async move {
        tokio::select! {
            served = server => served.map_err(|_| anyhow!("the server failed")),
            () = shutdown.is_over() => {
                tracing::warn!("some requests were not answered in time; their messages come again");
                Ok(())
            }
        }
    })
}

/// Answers 204 only when the message is durable, or nothing of it is to be kept.
async fn take(
    State(push): State<Arc<Push>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let mut body = body.into_data_stream();
    match push.admit(&headers, &mut body).await {
        Ok(message) => {
            caller.waits_for_us();
            push.handle(message).await
        }
        Err(refusal) => {
            // Who asks before it sends a body is told not to.
            if !headers.contains_key(header::EXPECT) {
                body::hear_out(&mut body).await;
            }
            refusal
        }
    }
}

impl Push {
    /// Reads a message. The body of a caller who is not let in is not read, and one that does not come takes no room.
    async fn admit(&self, headers: &HeaderMap, body: &mut BodyDataStream) -> Result<Taken, StatusCode> {
        if let Some(verifier) = &self.verifier {
            verifier.verify(headers).await.map_err(|refusal| self.refuse(refusal))?;
        }
        if self.consumer.get().is_none() {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let body = self.bodies.read(body).await?;
        let room = Arc::clone(&self.room).try_acquire_owned();
        // With unwrapped messages, what is known of one stands in headers.
        Ok(Taken {
            body,
            message_id: header_text(headers, "x-goog-pubsub-message-id").map(str::to_owned),
            publish_time: header_text(headers, "x-goog-pubsub-publish-time").and_then(time::read),
            trace: self.trace(headers),
            _room: room.map_err(|_| StatusCode::TOO_MANY_REQUESTS)?,
        })
    }

    /// Handles a message to its end, whether or not its caller waits so long.
    async fn handle(self: Arc<Self>, message: Taken) -> StatusCode {
        let (push, is_large) = (Arc::clone(&self), message.body.is_large());
        let work = async move { push.record(message).await };
        let status = if is_large { self.large.run(work).await } else { self.workers.spawn(work).await.ok() };
        // It has panicked, or the process is about to end.
        status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// How a refusal is answered. That there are no keys is logged where they are fetched, once for all requests.
    fn refuse(&self, refusal: Refusal) -> StatusCode {
        let (why, status) = match refusal {
            Refusal::Token(why) => (why, StatusCode::UNAUTHORIZED),
            Refusal::Identity(why) => (why, StatusCode::FORBIDDEN),
            Refusal::NoKeys => return StatusCode::SERVICE_UNAVAILABLE,
        };
        if let Some(times) = self.refused.failed(why) {
            tracing::warn!(why, times, "tokens of push requests are refused");
        }
        status
    }

    async fn record(&self, message: Taken) -> StatusCode {
        let delivery = Delivery {
            data: &message.body.bytes,
            source: "push",
            message_id: message.message_id.as_deref(),
            publish_time: message.publish_time,
        };
        let Some(consumer) = self.consumer.get() else { return StatusCode::SERVICE_UNAVAILABLE };
        let span = tracing::info_span!("push", trace = message.trace);
        let handled = consumer.handle(delivery, Utc::now()).instrument(span).await;
        match (disposition(&handled), handled) {
            (Disposition::Ack, _) => StatusCode::NO_CONTENT,
            (Disposition::Retry, Err(StoreError::Missing(_) | StoreError::Permanent(_))) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            (Disposition::Retry, _) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The request's trace as Cloud Logging wants it: <https://cloud.google.com/trace/docs/trace-context>.
    fn trace(&self, headers: &HeaderMap) -> Option<String> {
        let project = self.trace_project.as_deref()?;
        let w3c = header_text(headers, "traceparent").and_then(|text| text.split('-').nth(1));
        let cloud = || header_text(headers, "x-cloud-trace-context").and_then(|text| text.split('/').next());
        let id = w3c.or_else(cloud).filter(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))?;
        Some(format!("projects/{project}/traces/{id}"))
    }
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
