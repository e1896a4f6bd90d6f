//! What one cluster's Deployments ask for and have, kept up: a list, and what is watched from its version on.
//!
//! kube's own watcher would need requests signed in a second way, and keeps bookmarks to itself, by which a quiet cluster is
//! told from one that nobody hears of.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use futures::TryStreamExt;
use kube::api::{WatchEvent, WatchParams};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::access::{Google, connect_silent_for};
use super::client::Client;
use super::fault::{Fault, Kind};
use super::object::Number;
use super::snapshot::{DEPLOYMENTS, Listed, all};
use super::{ClusterConfig, SnapshotConfig};

/// A server ends each watch in its time, so that also one that tells nothing is asked again.
const WATCHED_SECONDS: u32 = 240;

/// Bookmarks come once a minute: a connection that says nothing for longer has died.
const SILENT_FOR: Duration = Duration::from_secs(90);

/// How often a watch is taken up where it was before all is listed again: half a minute of an API server that restarts.
const RESUMED: u32 = 6;

/// Between two attempts: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What a Deployment asks for, and has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// `spec.replicas`; `None` where it cannot be.
    pub desired: Option<i64>,
    /// `status.replicas`, which is absent for none.
    pub actual: Option<i64>,
}

/// The Deployments of a cluster, by namespace and name.
pub type Deployments = HashMap<(String, String), Replicas>;

/// What is known of a cluster now.
#[derive(Debug, Default)]
pub struct Seen {
    deployments: Mutex<Deployments>,
    contact: AtomicI64,
}

impl Seen {
    /// The Deployments, until it is let go.
    pub fn deployments(&self) -> MutexGuard<'_, Deployments> {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unix time of the last answer of its API server; 0 before the first.
    pub fn last_contact(&self) -> i64 {
        self.contact.load(Ordering::Relaxed)
    }

    fn heard(&self) {
        self.contact.store(Utc::now().timestamp(), Ordering::Relaxed);
    }
}

/// What is read of a Deployment here.
#[derive(Debug, Clone, Deserialize)]
struct Form {
    metadata: FormMetadata,
    #[serde(default)]
    spec: FormReplicas,
    #[serde(default)]
    status: FormReplicas,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormMetadata {
    namespace: String,
    name: String,
    resource_version: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct FormReplicas {
    replicas: Number,
}

impl Form {
    fn replicas(&self) -> Replicas {
        Replicas { desired: self.spec.replicas.known(), actual: self.status.replicas.or(0) }
    }
}

/// A cluster that is watched.
pub struct Watched<'w> {
    /// Where it is.
    pub cluster: &'w ClusterConfig,
    /// Our identity, for those of GKE.
    pub google: &'w Arc<Google>,
    /// How it is listed.
    pub config: &'w SnapshotConfig,
    /// What is known of it.
    pub seen: &'w Seen,
    /// Whether a Deployment, by namespace and name, concerns anybody.
    pub holds: &'w (dyn Fn(&str, &str) -> bool + Sync),
}

impl Watched<'_> {
    /// Keeps what is known up, for ever. `told` hears what goes wrong, each time, and goes on.
    pub async fn keep_up(&self, told: impl Fn(&Fault)) -> Infallible {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let Err(fault) = self.follow(&told).await;
            // A version that is too old is no failure: all is listed again.
            if !fault.is(Kind::Expired) {
                told(&fault);
            }
            failures = if begun.elapsed() > SILENT_FOR { 0 } else { failures + 1 };
            sleep(pause(failures)).await;
        }
    }

    /// Lists all, and takes what changes, until that goes no further.
    async fn follow(&self, told: &impl Fn(&Fault)) -> Result<Infallible, Fault> {
        let client = connect_silent_for(self.google, self.cluster, self.config.deadline, SILENT_FOR).await?;
        let add = |deployments: &mut Deployments, form: Form| self.add(deployments, form);
        let listed: Listed<Deployments> = all(&client, &DEPLOYMENTS, self.config.page_objects, add).await?;
        // What went meanwhile goes with it.
        *self.seen.deployments() = listed.gathered;
        self.seen.heard();
        let mut version = listed.version;
        let mut failures = 0;
        loop {
            let before = version.clone();
            let ended = self.events(&client, &mut version).await;
            failures = if version == before { failures + 1 } else { 0 };
            match ended {
                Err(fault) if fault.is(Kind::Expired) || failures > RESUMED => return Err(fault),
                // A token that has run out is none of the cluster's faults.
                Err(fault) if fault.is(Kind::Unauthorized) && failures < 2 && client.renew() => {}
                Err(fault) => {
                    told(&fault);
                    sleep(pause(failures)).await;
                }
                // In its time; one that ended at once is not asked again at once.
                Ok(watched) if watched < PAUSES.0 => sleep(pause(failures)).await,
                Ok(_) => failures = 0,
            }
        }
    }

    fn add(&self, deployments: &mut Deployments, form: Form) {
        let replicas = form.replicas();
        let FormMetadata { namespace, name, .. } = form.metadata;
        if self.cluster.namespaces.hold(&namespace) && (self.holds)(&namespace, &name) {
            deployments.insert((namespace, name), replicas);
        }
    }

    /// Takes what changes from a version on, until the server ends it; tells how long that took.
    async fn events(&self, client: &Client, version: &mut String) -> Result<Duration, Fault> {
        let begun = Instant::now();
        let wanted = WatchParams::default().timeout(WATCHED_SECONDS);
        let request = kube::core::Request::new(DEPLOYMENTS.path).watch(&wanted, version).map_err(Fault::last)?;
        let mut events = std::pin::pin!(client.events::<Form>(request).await?);
        self.seen.heard();
        while let Some(event) = events.try_next().await? {
            self.seen.heard();
            match event {
                WatchEvent::Added(form) | WatchEvent::Modified(form) => {
                    version.clone_from(&form.metadata.resource_version);
                    self.add(&mut self.seen.deployments(), form);
                }
                WatchEvent::Deleted(form) => {
                    version.clone_from(&form.metadata.resource_version);
                    self.seen.deployments().remove(&(form.metadata.namespace, form.metadata.name));
                }
                WatchEvent::Bookmark(bookmark) => version.clone_from(&bookmark.metadata.resource_version),
                WatchEvent::Error(status) => return Err(Fault::of_status(status.code, None, &status.message)),
            }
        }
        Ok(begun.elapsed())
    }
}

fn pause(failures: u32) -> Duration {
    let (least, most) = PAUSES;
    least.saturating_mul(1 << failures.min(16)).min(most)
}
