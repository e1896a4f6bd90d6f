//! What every ledger has to do, and that all do the same; and that a notice survives whoever sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Duration, Utc};
use pedwatch::incident::{Deployment, Kind, Reason, Step};
use pedwatch::notify::ledger::{Change, Claim, Ledger, LedgerError, Put, Wanted};
use pedwatch::notify::notice::{Notice, Outcome, Patience, State};
use pedwatch::policy::{AlertType, Severity};
use pedwatch::store::firestore::{Firestore, FirestoreConfig};
use pedwatch::store::sqlite::Sqlite;

use crate::servers::firestore;
use crate::support::{block_on, time};

mod contract;
mod kills;
mod messages;
mod receivers;
pub mod sending;
mod silences;

/// An empty ledger of each kind: what holds for one holds for the other.
fn on_every_ledger(test: impl AsyncFn(Arc<dyn Ledger>)) {
    block_on(async {
        let file = tempfile::tempdir().expect("a folder");
        test(Arc::new(Sqlite::open(&file.path().join("ledger.db")).expect("a file"))).await;
        test(Arc::new(fresh_firestore().await)).await;
    });
}

/// A database of the emulator that no other test has.
async fn fresh_firestore() -> Firestore {
    named_firestore().await.1
}

/// With its name.
async fn named_firestore() -> (String, Firestore) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("acme-{}-{}/(default)", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let config = FirestoreConfig {
        endpoint: Some(format!("http://{}", firestore())),
        anonymous: true,
        deadline: std::time::Duration::from_secs(30),
    };
    let opened = Firestore::open(&name.parse().expect("a name"), &config).await.expect("a client");
    (name, opened)
}

fn now() -> DateTime<Utc> {
    time("2026-09-04T20:41:00Z")
}

fn patience() -> Patience {
    Patience { lease: Duration::seconds(60), give_up_after: Duration::hours(2) }
}

fn deployment(name: &str) -> Deployment {
    Deployment {
        project: "acme-prod".to_owned(),
        location: "europe-west1".to_owned(),
        cluster: "prod-1".to_owned(),
        namespace: "payments".to_owned(),
        name: name.to_owned(),
    }
}

fn step(incident: &str, kind: Kind, seq: u32) -> Step {
    Step {
        incident_id: incident.to_owned(),
        rule: AlertType::OverLimit,
        severity: Severity::Critical,
        kind,
        reason: Reason::Began,
        step_value: seq.to_string(),
        seq,
        began_at: now(),
        ended_at: None,
        value: Some(8),
        limit: Some(5),
        highest: Some(8),
        standing: None,
        silenced_by: None,
    }
}

/// A notice for the receiver `hook`.
fn notice(incident: &str, kind: Kind, seq: u32) -> Notice {
    let body = format!("{{\"incident\":\"{incident}\",\"seq\":{seq}}}");
    Notice::new(&step(incident, kind, seq), &deployment("orders-api"), "hook", body, now())
}

async fn enqueue(ledger: &dyn Ledger, notices: impl IntoIterator<Item = Notice>) {
    let notices = notices.into_iter().collect();
    ledger.commit(&Change { notices, ..Change::default() }).await.expect("committed");
}

fn claim(owner: &str, now: DateTime<Utc>) -> Claim<'_> {
    Claim { receiver: "hook", owner, now, patience: patience() }
}

async fn claimed(ledger: &dyn Ledger, owner: &str, now: DateTime<Utc>) -> Option<Notice> {
    ledger.claim(&claim(owner, now)).await.expect("a ledger")
}

/// The states of an incident's notices, in their order.
async fn states(ledger: &dyn Ledger, incident: &str) -> Vec<State> {
    let notices = ledger.notices(Wanted::Incident(incident), 100).await.expect("readable");
    notices.into_iter().map(|notice| notice.progress.state).collect()
}

fn sent() -> Outcome {
    Outcome::Sent { provider_ref: Some("r1".to_owned()) }
}

fn later(after: Option<Duration>, unsure: bool) -> Outcome {
    Outcome::Later { why: "it answers 503".to_owned(), after, unsure }
}
