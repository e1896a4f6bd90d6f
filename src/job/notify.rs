//! Sending: each receiver by itself, one notice after the other, so that one that is down delays nobody.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::notify::channel::Channel;
use crate::notify::ledger::LedgerError;
use crate::notify::notice::Outcome;
use crate::pipeline::incidents::Telling;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::steady::Steady;

/// How often somebody looks for what is due that was put there by others, or waits to be tried again.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What became of the notices that were due for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// Its name.
    pub receiver: String,
    /// It has these.
    pub sent: u64,
    /// These are tried again later.
    pub later: u64,
    /// These it refused for good.
    pub refused: u64,
}

/// Sends what is due to everybody, once.
///
/// # Errors
/// [`LedgerError`] when the ledger does not work; what was sent before is noted.
pub async fn send_due(telling: &Telling) -> Result<Vec<Sent>, LedgerError> {
    let owner = owner();
    let sending = telling.channels.iter().map(|channel| send_all(telling, channel, &owner));
    futures::future::join_all(sending).await.into_iter().collect()
}

async fn send_all(telling: &Telling, channel: &Channel, owner: &str) -> Result<Sent, LedgerError> {
    let sender = channel.sender(&telling.ledger, owner, telling.give_up_after);
    let mut sent = Sent { receiver: channel.name.clone(), ..Sent::default() };
    while let Some((_, outcome)) = sender.send_one(Utc::now).await? {
        match outcome {
            Outcome::Sent { .. } => sent.sent += 1,
            // Who cannot be told now is told by the next run: this one ends.
            Outcome::Later { .. } => {
                sent.later += 1;
                break;
            }
            Outcome::Refused { .. } => sent.refused += 1,
        }
        sleep(channel.pace).await;
    }
    Ok(sent)
}

/// Sends what is due and what will be, to everybody, until it is time to stop; what is being sent then is finished.
pub async fn send_on(telling: Arc<Telling>, metrics: Metrics, stop: watch::Receiver<bool>) {
    let owner = owner();
    let mut sending = JoinSet::new();
    for channel in 0..telling.channels.iter().count() {
        sending.spawn(send_to(Arc::clone(&telling), channel, owner.clone(), metrics.clone(), stop.clone()));
    }
    sending.join_all().await;
}

async fn send_to(
    telling: Arc<Telling>,
    channel: usize,
    owner: String,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) {
    let Some(channel) = telling.channels.iter().nth(channel) else { return };
    let sender = channel.sender(&telling.ledger, &owner, telling.give_up_after);
    let (mut news, trouble) = (telling.news(), Steady::default());
    while !*stop.borrow() {
        news.mark_unchanged();
        let sent = sender.send_one(Utc::now).await;
        if let Ok(Some((_, outcome))) = &sent {
            metrics.notice(&channel.name, outcome.name());
        }
        match &sent {
            Ok(_) => drop(trouble.recovered()),
            Err(error) => {
                if let Some(times) = trouble.failed(&error.to_string()) {
                    tracing::warn!(receiver = channel.name, %error, times, "the ledger cannot be used; what is due waits in it");
                }
            }
        }
        let stopped = stop.wait_for(|stop| *stop);
        match sent {
            Ok(Some(_)) => tokio::select! { () = sleep(channel.pace) => {}, _ = stopped => {} },
            Ok(None) => tokio::select! { _ = news.changed() => {}, () = sleep(LOOK_EVERY) => {}, _ = stopped => {} },
            Err(_) => tokio::select! { () = sleep(LOOK_EVERY) => {}, _ = stopped => {} },
        }
    }
}

/// A name that no other has who lives at once.
fn owner() -> String {
    format!("{}/{:016x}", std::process::id(), RandomState::new().hash_one(()))
}
