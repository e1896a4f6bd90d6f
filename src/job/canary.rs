//! Whether what is written in each cluster comes back through its sink, and how long that takes: a dry run of our own is
//! made in each, and whoever consumes leaves a mark of each entry that comes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use tokio::time::{Instant, sleep};

use crate::cluster::{CanaryConfig, ClusterConfig, Fault, Google, SnapshotConfig, send_canary};
use crate::store::query::canary::{mark, returned};
use crate::store::{Store, StoreError};

/// How long is waited until it is asked for the first time whether they are back, and at most between two times. Logging
/// takes a second at least.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How far the clocks of who sends and who consumes may be apart.
const CLOCKS: TimeDelta = TimeDelta::minutes(10);

/// What became of the canary of one cluster.
#[derive(Debug)]
pub struct Flight<'c> {
    /// Where it was.
    pub cluster: &'c ClusterConfig,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// Whether its entry came.
    pub outcome: Outcome,
}

/// Whether an entry came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// So long after it was sent.
    Back(Duration),
    /// It did not while it was waited for.
    Missing,
    /// It could not be read whether it did.
    Unread,
    /// It could not be sent, for this reason.
    Unsent(Fault),
}

/// Sends one in each cluster, side by side, and waits until all are back or that takes too long. A cluster that does not take
/// one costs only itself. Where it cannot be read what came, that stands beside the flights.
pub async fn fly<'c>(
    store: &dyn Store,
    google: &Arc<Google>,
    clusters: Vec<&'c ClusterConfig>,
    (canary, snapshot): (&CanaryConfig, &SnapshotConfig),
) -> (Vec<Flight<'c>>, Result<(), StoreError>) {
    let sent = clusters.into_iter().map(|cluster| async move {
        let sent_at = Utc::now();
        let nonce = nonce(sent_at);
        let sent = send_canary(google, cluster, snapshot.deadline, &canary.namespace, &nonce).await;
        let outcome = sent.map_or_else(Outcome::Unsent, |()| Outcome::Missing);
        (mark(&cluster.cluster().to_string(), &nonce), Flight { cluster, sent_at, outcome })
    });
    let sent = futures::stream::iter(sent).buffered(snapshot.clusters_at_once);
    let mut flights: Vec<(String, Flight<'c>)> = sent.collect().await;
    let read = wait(store, &mut flights, canary.wait).await;
    if read.is_err() {
        let waiting = flights.iter_mut().filter(|(_, flight)| flight.outcome == Outcome::Missing);
        waiting.for_each(|(_, flight)| flight.outcome = Outcome::Unread);
    }
    (flights.into_iter().map(|(_, flight)| flight).collect(), read)
}

/// A time, and something that no other has.
fn nonce(now: DateTime<Utc>) -> String {
    format!("{}-{:016x}", now.timestamp_micros(), RandomState::new().hash_one(()))
}

async fn wait(store: &dyn Store, flights: &mut [(String, Flight<'_>)], within: Duration) -> Result<(), StoreError> {
    let Some(first) = flights.iter().map(|(_, flight)| flight.sent_at).min() else { return Ok(()) };
    let (until, mut pause) = (Instant::now() + within, FIRST_LOOK);
    while flights.iter().any(|(_, flight)| flight.outcome == Outcome::Missing) && Instant::now() < until {
        sleep(pause.min(until - Instant::now())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let mut came: HashMap<String, DateTime<Utc>> = HashMap::new();
        for mark in returned(store, first - CLOCKS).await? {
            // A message may come twice: the first counts.
            let earliest = came.entry(mark.name).or_insert(mark.at);
            *earliest = mark.at.min(*earliest);
        }
        for (name, flight) in &mut *flights {
            if let Some(at) = came.get(name) {
                flight.outcome = Outcome::Back((*at - flight.sent_at).to_std().unwrap_or_default());
            }
        }
    }
    Ok(())
}
