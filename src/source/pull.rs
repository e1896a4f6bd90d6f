//! Streaming pull: messages as fast as they are answered for. The client extends leases, and gives back what is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use chrono::Utc;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::task::JoinSet;

use super::shutdown::{DRAIN, Shutdown};
use crate::pipeline::consumer::{Consumer, Delivery, Disposition, disposition};
use crate::time;

/// The pull subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullConfig {
    /// `projects/PROJECT/subscriptions/NAME`, if the configuration says it.
    pub subscription: Option<String>,
    /// Base URL of another server than Google's.
    pub endpoint: Option<String>,
    /// Sends no credentials: for an emulator.
    pub anonymous: bool,
    /// Messages that may be waiting for their answer.
    pub max_outstanding_messages: u32,
    /// Their size in MiB.
    pub max_outstanding_mib: u32,
    /// How long a message is ours without a sign of life; then somebody else gets it.
    pub lease: Duration,
}

/// Pulls until it is time to stop, and returns when everything taken is answered for, or after [`DRAIN`].
///
/// # Errors
/// When the subscription cannot be pulled from; the message says what would be right.
pub async fn pull(config: &PullConfig, subscription: &str, consumer: Arc<Consumer>, shutdown: Shutdown) -> Result<()> {
    let mut builder = Subscriber::builder();
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if config.anonymous {
        builder = builder.with_credentials(anonymous::Builder::new().build());
    }
    let subscriber = builder.build().await.map_err(|error| anyhow!("no credentials for Pub/Sub: {error}"))?;
    let mut stream = subscriber
        .subscribe(subscription)
        .set_max_outstanding_messages(config.max_outstanding_messages)
        .set_max_outstanding_bytes(i64::from(config.max_outstanding_mib) << 20)
        .set_max_lease_extension(config.lease)
        .build();
    let mut handling = JoinSet::new();
    tracing::info!(subscription, "pulling");
    // Pub/Sub keeps to what was set above, but an emulator does not.
    let most = config.max_outstanding_messages as usize;
    let most_bytes = (config.max_outstanding_mib as usize) << 20;
    let bytes = Arc::new(AtomicUsize::new(0));
    loop {
        tokio::select! {
            () = shutdown.begun() => break,
            next = stream.next(), if handling.len() < most && bytes.load(Ordering::Relaxed) < most_bytes => match next {
                None => break,
                Some(Ok((message, handler))) => {
                    let weight = Weight::of(&message, &bytes);
                    let answer = answer(Arc::clone(&consumer), message, handler);
                    handling.spawn(async move {
                        answer.await;
                        drop(weight);
                    });
                }
                Some(Err(error)) => return Err(unusable(subscription, &error)),
            },
            Some(_) = handling.join_next() => {}
        }
    }
    // The token waits until what was taken is answered for; it takes the acknowledgements along.
    let token = stream.shutdown_token();
    let finish = async {
        tokio::join!(token.shutdown(), async { while handling.join_next().await.is_some() {} });
    };
    if tokio::time::timeout(DRAIN, finish).await.is_err() {
        tracing::warn!("some messages were not answered for in time; they come again");
    }
    Ok(())
}

/// The bytes of a message among those of all that are being handled.
struct Weight {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Weight {
    fn of(message: &Message, all: &Arc<AtomicUsize>) -> Self {
        let bytes = message.data.len();
        all.fetch_add(bytes, Ordering::Relaxed);
        Weight { all: Arc::clone(all), bytes }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

async fn answer(consumer: Arc<Consumer>, message: Message, handler: Handler) {
    let published = message.publish_time.map(String::from);
    let publish_time = published.as_deref().and_then(time::read);
    let delivery =
        Delivery { data: &message.data, source: "pull", message_id: Some(&message.message_id), publish_time };
    let handled = consumer.handle(delivery, Utc::now()).await;
    match (disposition(&handled), handler) {
        (Disposition::Ack, Handler::ExactlyOnce(handler)) => {
            if let Err(error) = handler.confirmed_ack().await {
                tracing::warn!(%error, "an acknowledgement was not taken; the message comes again, which changes nothing");
            }
        }
        (Disposition::Ack, handler) => handler.ack(),
        (Disposition::Retry, handler) => handler.nack(),
    }
}

fn unusable(subscription: &str, error: &google_cloud_pubsub::Error) -> anyhow::Error {
    let advice = match error.status().map(|status| status.code.name()) {
        Some("NOT_FOUND") => "there is no such subscription; is pull.subscription (or --subscription) right?",
        Some("PERMISSION_DENIED") => "this identity needs roles/pubsub.subscriber on it",
        Some("UNAUTHENTICATED") => "are there Application Default Credentials?",
        _ => "it cannot be pulled from",
    };
    anyhow!("{subscription}: {advice} ({error})")
}
