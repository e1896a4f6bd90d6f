//! Sending: each receiver by itself, one notice after the other, so that one that is down delays nobody.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::incident::Deployment;
use crate::notify::channel::Channel;
use crate::notify::digest;
use crate::notify::ledger::{LedgerError, Wanted};
use crate::notify::notice::{Notice, Outcome, State};
use crate::notify::sender::Sender;
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
    loop {
        let due = digest::gather(&*telling.ledger, &telling.channels, channel, Utc::now()).await?;
        let before = sent.clone();
        for _ in 0..due {
            let Some((_, outcome)) = sender.send_one(Utc::now).await? else { break };
            match outcome {
                Outcome::Sent { .. } => sent.sent += 1,
                // Who cannot be told now is told by the next run: this one ends.
                Outcome::Later { .. } => {
                    sent.later += 1;
                    return Ok(sent);
                }
                Outcome::Refused { .. } => sent.refused += 1,
            }
            sleep(channel.pace).await;
        }
        if sent == before {
            return Ok(sent);
        }
    }
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
    let (mut news, trouble, mut due) = (telling.news(), Steady::default(), 0);
    while !*stop.borrow() {
        news.mark_unchanged();
        let sent = send_next(&telling, channel, &sender, &mut due).await;
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

/// Notes since when somebody waits to be told, and of how many Deployments something is open.
///
/// # Errors
/// [`LedgerError`] when the ledger cannot be read.
pub async fn observe(telling: &Telling, metrics: &Metrics) -> Result<(), LedgerError> {
    let mut oldest = None;
    for state in [State::Pending, State::Sending] {
        let first = telling.ledger.notices(Wanted::State(state), 1).await?.into_iter().next();
        oldest = oldest.into_iter().chain(first.map(|notice| notice.created_at)).min();
    }
    metrics.untold(oldest, telling.ledger.count_open(&Deployment::open_anywhere()).await?);
    Ok(())
}

/// Sends one notice of those that are due. When all that were due are sent, it is looked again how many are.
async fn send_next(
    telling: &Telling,
    channel: &Channel,
    sender: &Sender,
    due: &mut usize,
) -> Result<Option<(Notice, Outcome)>, LedgerError> {
    if *due == 0 {
        *due = digest::gather(&*telling.ledger, &telling.channels, channel, Utc::now()).await?;
    }
    let sent = if *due == 0 { None } else { sender.send_one(Utc::now).await? };
    *due = if sent.is_some() { *due - 1 } else { 0 };
    Ok(sent)
}

/// A name that no other has who lives at once.
fn owner() -> String {
    format!("{}/{:016x}", std::process::id(), RandomState::new().hash_one(()))
}
