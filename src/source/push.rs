//! Push: Pub/Sub posts each message to us, and takes the status for the answer.
//!
//! Source of truth: <https://cloud.google.com/pubsub/docs/push>. 102, 200, 201, 202 and 204 acknowledge; anything else
//! makes it come again.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::health::Health;
use super::shutdown::{DRAIN, Shutdown};
use crate::pipeline::consumer::{Consumer, Delivery, Disposition, disposition};
use crate::pipeline::message::time;
use crate::store::StoreError;
use oidc::{Refusal, Verifier};

mod oidc;

/// Where Pub/Sub posts to; Terraform's push endpoint ends in it.
pub const PATH: &str = "/pubsub/push";

/// Longest body: a message has up to 10 MB, which base64 makes a third longer, and attributes.
const BODY_MAX_BYTES: usize = 16 << 20;

/// The push endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// Port to listen on.
    pub port: u16,
    /// Who looks at the caller's token.
    pub auth: PushAuth,
    /// Requests handled at once; more are told to come again.
    pub max_in_flight: usize,
}

/// Who looks at a push request's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAuth {
    /// We do: it has to be Google's, for this audience, of this service account.
    Oidc {
        /// `aud` of the token: the push subscription's audience, usually the service's URL.
        audience: String,
        /// `email` of the token.
        service_account: String,
        /// Where Google's keys are.
        certs_url: String,
    },
    /// The platform does, before a request gets here: Cloud Run without unauthenticated access.
    Platform,
}

struct Push {
    consumer: Arc<Consumer>,
    verifier: Option<Verifier>,
    room: Semaphore,
    trace_project: Option<String>,
}

/// Serves until it is time to stop, and returns when every request is answered, or after [`DRAIN`].
///
/// # Errors
/// When the configuration lacks what `serve` needs, or the port is taken.
pub async fn serve(
    config: &PushConfig,
    trace_project: Option<String>,
    consumer: Arc<Consumer>,
    health: Health,
    shutdown: Shutdown,
) -> Result<()> {
    let verifier = match &config.auth {
        PushAuth::Platform => None,
        PushAuth::Oidc { audience, service_account, certs_url } => {
            Some(Verifier::new(audience, service_account, certs_url)?)
        }
    };
    let room = Semaphore::new(config.max_in_flight);
    let push = Arc::new(Push { consumer, verifier, room, trace_project });
    let routes = Router::new().route(PATH, post(take)).with_state(push).merge(health.routes());
    let port = config.port;
    let listener = TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("push.port is {port}"))?;
    tracing::info!(port, path = PATH, "ready for messages");
    let stop = shutdown.clone();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.begun().await });
    let late = async {
        shutdown.begun().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server => served.context("the server failed"),
        () = late => {
            tracing::warn!("some requests were not answered in time; their messages come again");
            Ok(())
        }
    }
}

/// Answers 204 only when the message is durable, or nothing of it is to be kept.
///
/// The body of a caller who is not let in is not even read, and no more bodies are held than there is room for.
async fn take(State(push): State<Arc<Push>>, headers: HeaderMap, body: Body) -> StatusCode {
    let Ok(_room) = push.room.try_acquire() else { return StatusCode::TOO_MANY_REQUESTS };
    if let Some(verifier) = &push.verifier {
        match verifier.verify(header_text(&headers, header::AUTHORIZATION.as_str()), Utc::now()).await {
            Ok(()) => {}
            Err(Refusal::Token(why)) => {
                tracing::warn!(why, "a push request's token is refused");
                return StatusCode::UNAUTHORIZED;
            }
            Err(Refusal::Identity(why)) => {
                tracing::warn!(why, "a push request's token is refused");
                return StatusCode::FORBIDDEN;
            }
            Err(Refusal::NoKeys(why)) => {
                tracing::error!(why, "Google's keys cannot be read");
                return StatusCode::SERVICE_UNAVAILABLE;
            }
        }
    }
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE };
    // With unwrapped messages, what is known of one stands in headers.
    let delivery = Delivery {
        data: &body,
        source: "push",
        message_id: header_text(&headers, "x-goog-pubsub-message-id"),
        publish_time: header_text(&headers, "x-goog-pubsub-publish-time").and_then(time),
    };
    let span = tracing::info_span!("push", trace = push.trace(&headers));
    let handled = push.consumer.handle(delivery, Utc::now()).instrument(span).await;
    match (disposition(&handled), handled) {
        (Disposition::Ack, _) => StatusCode::NO_CONTENT,
        (Disposition::Retry, Err(StoreError::Permanent(_))) => StatusCode::INTERNAL_SERVER_ERROR,
        (Disposition::Retry, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Push {
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
