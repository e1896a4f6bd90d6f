//! Streaming pull: messages as fast as they are answered for. The client extends leases, and gives back what is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use chrono::Utc;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::shutdown::{DRAIN, Shutdown};
use super::super::start::Patience;
use super::PullConfig;
use crate::credentials;
use crate::pipeline::consumer::{Consumer, Delivery, Disposition, disposition};
use crate::time;

/// All that pedwatch does, and nothing in other services.
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

/// What Pub/Sub refuses, it refuses within a second. A subscription without messages says nothing for longer.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// How long Pub/Sub may take to answer anything. The stream's client goes on trying without a word.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A subscription that is pulled from, and its first message.
pub struct Puller {
    stream: MessageStream,
    first: (Message, Handler),
}

/// Opens a subscription, and waits for its first message; `None` when it is time to stop before that. While it is not there,
/// or may not be used, it is waited for. `pulling` is called when Pub/Sub does not refuse.
///
/// # Errors
/// When the subscription cannot be pulled from; the message says what would be right.
pub async fn open(
    config: &PullConfig,
    subscription: &str,
    mut patience: Patience,
    pulling: impl FnOnce(Patience),
    shutdown: &Shutdown,
) -> Result<Option<Puller>> {
    let (subscriber, admin) = clients(config).await?;
    loop {
        let answers = tokio::select! { () = shutdown.begun() => return Ok(None), answers = answers(&admin, subscription) => answers };
        if let Err(silent) = answers {
            if patience.again(&silent).await {
                continue;
            }
            return Err(anyhow!(silent));
        }
        let mut stream = subscriber
            .subscribe(subscription)
            .set_max_outstanding_messages(config.max_outstanding_messages)
            .set_max_outstanding_bytes(i64::from(config.max_outstanding_mib) << 20)
            .set_max_lease_extension(config.lease)
            .build();
        let first = {
            // Never dropped half-way: what Pub/Sub has sent on it would come again only after a lease.
            let mut first = std::pin::pin!(stream.next());
            let early = tokio::select! {
                () = shutdown.begun() => return Ok(None),
                first = &mut first => Some(first),
                () = sleep(REFUSED_WITHIN) => None,
            };
            match early {
                Some(Some(Err(refused))) => {
                    let why = unusable(subscription, &refused);
                    if may_come(&refused) && patience.again(&why.to_string()).await {
                        continue;
                    }
                    return Err(why);
                }
                Some(first) => {
                    pulling(patience);
                    first
                }
                None => {
                    pulling(patience);
                    tokio::select! { () = shutdown.begun() => return Ok(None), first = first => first }
                }
            }
        };
        return match first.transpose() {
            Ok(first) => Ok(first.map(|first| Puller { stream, first })),
            Err(error) => Err(unusable(subscription, &error)),
        };
    }
}

/// What pulls, and what asks about the subscription.
async fn clients(config: &PullConfig) -> Result<(Subscriber, SubscriptionAdmin)> {
    let (mut subscriber, mut admin) = (Subscriber::builder(), SubscriptionAdmin::builder());
    if let Some(endpoint) = &config.endpoint {
        (subscriber, admin) = (subscriber.with_endpoint(endpoint), admin.with_endpoint(endpoint));
    }
    if config.anonymous {
        let nobody = || anonymous::Builder::new().build();
        (subscriber, admin) = (subscriber.with_credentials(nobody()), admin.with_credentials(nobody()));
    } else {
        // The clients make their own of them, but ask for a token for ever.
        credentials::found(&[SCOPE]).await.map_err(|missing| anyhow!(missing))?;
    }
    let missing = |error| anyhow!("no credentials for Pub/Sub: {error}");
    Ok((subscriber.build().await.map_err(missing)?, admin.build().await.map_err(missing)?))
}

/// Whether Pub/Sub answers at all. To be refused is an answer: who pulls need not be allowed to ask about a subscription.
async fn answers(admin: &SubscriptionAdmin, subscription: &str) -> Result<(), String> {
    let asked = admin.get_subscription().set_subscription(subscription).send();
    let why = match timeout(ANSWERS_WITHIN, asked).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => match error.status().map(|status| status.code.name()) {
            None | Some("UNAVAILABLE" | "DEADLINE_EXCEEDED") => credentials::causes(&error),
            Some(_) => return Ok(()),
        },
        Err(_) => format!("nothing came within {} s", ANSWERS_WITHIN.as_secs()),
    };
    // Nobody was asked: there is no token to ask with.
    if why.contains("access token") {
        return Err(format!("no access token for Pub/Sub: {why}; {}", credentials::ADVICE));
    }
    Err(format!("Pub/Sub does not answer: is there a way to it from here, such as Private Google Access? ({why})"))
}

/// Pulls until it is time to stop, and returns when everything taken is answered for, or after [`DRAIN`].
///
/// # Errors
/// When the subscription cannot be pulled from any more; the message says what would be right.
pub async fn pull(
    config: &PullConfig,
    subscription: &str,
    puller: Puller,
    consumer: Arc<Consumer>,
    shutdown: Shutdown,
) -> Result<()> {
    let Puller { mut stream, first } = puller;
    let mut handling = JoinSet::new();
    // Pub/Sub keeps to what was set above, but an emulator does not.
    let most = config.max_outstanding_messages as usize;
    let most_bytes = (config.max_outstanding_mib as usize) << 20;
    let bytes = Arc::new(AtomicUsize::new(0));
    let take = |handling: &mut JoinSet<()>, (message, handler): (Message, Handler)| {
        let weight = Weight::of(&message, &bytes);
        let answer = answer(Arc::clone(&consumer), message, handler);
        handling.spawn(async move {
            answer.await;
            drop(weight);
        });
    };
    take(&mut handling, first);
    loop {
        tokio::select! {
            () = shutdown.begun() => break,
            next = stream.next(), if handling.len() < most && bytes.load(Ordering::Relaxed) < most_bytes => match next {
                None => break,
                Some(Ok(next)) => take(&mut handling, next),
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

/// Whether it may be on its way: a subscription, or a grant that IAM does not know everywhere yet.
fn may_come(error: &google_cloud_pubsub::Error) -> bool {
    matches!(error.status().map(|status| status.code.name()), Some("NOT_FOUND" | "PERMISSION_DENIED"))
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
