//! `cargo bench --bench store`: rows per second into SQLite and into the tests' BigQuery server, in one run; and what
//! the rows weigh in BigQuery, of which the bytes that each question reads and the monthly cost follow.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use pedwatch::config::Config;
use pedwatch::ped::history::{Limits, Registration};
use pedwatch::pipeline::{Assessed, Pipeline};
use pedwatch::store::query::versions;
use pedwatch::store::row::{Cell, Change, Record, ReplicaEvent, Row};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, schema};

#[path = "../tests/suite/servers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod servers;

mod generate;

/// Entries to write. Half of them are successful writes.
const ENTRIES: u64 = 10_000;

/// Rows of one append, as `replay` commits them.
const APPEND_ROWS: usize = 5_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = Sqlite::open(&folder.path().join("facts.db")).expect("a store");
        let records = records(&sqlite).await;
        let dataset = servers::Dataset::new().await;
        let rates = [rate(&sqlite, &records).await, rate(&dataset.store, &records).await];
        println!("{} rows, {APPEND_ROWS} an append", records.len());
        println!("SQLite (a file, durable):      {:7.0} rows/s", rates[0]);
        println!("BigQuery (the tests' server):  {:7.0} rows/s, {:.3} of SQLite", rates[1], rates[1] / rates[0]);
        weigh(&records);
    });
}

/// The rows of a month's share: every Deployment has its limit, so most writes raise no alert.
async fn records(store: &dyn Store) -> Vec<Record> {
    let peds = generate::peds();
    let peds = pedwatch::ped::parse_all([("peds.yaml".as_ref(), peds.as_str())], &(2..=8)).expect("valid");
    for located in peds {
        let (effective_at, now) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        let updated_by = "bench".to_owned();
        let registration = Registration { ped: located.ped, effective_at, now, updated_by, reason: None, source: None };
        store.register(registration).await.expect("registered");
    }
    let limits = Limits::new(&versions(store).await.expect("readable"));
    let pipeline = Pipeline::new(Config::load(None, []).expect("defaults").policy, limits);
    let assess = |number| match pipeline.assess(&generate::entry(number, 7 << 10), String::new, Utc::now()) {
        Assessed::Records(records) => records,
        Assessed::Ignored(_) => Vec::new(),
    };
    (0..ENTRIES).flat_map(assess).collect()
}

async fn rate(store: &dyn Store, records: &[Record]) -> f64 {
    let begun = Instant::now();
    for rows in records.chunks(APPEND_ROWS) {
        store.append(Arc::from(rows)).await.expect("appended");
    }
    records.len() as f64 / begun.elapsed().as_secs_f64()
}

/// Logical sizes: <https://cloud.google.com/bigquery/pricing#data>.
fn size_bytes(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Null => 0,
        Cell::Integer(_) | Cell::Time(_) => 8,
        Cell::Text(text) => 2 + text.len(),
    }
}

fn weigh(records: &[Record]) {
    let events: Vec<&ReplicaEvent> = records
        .iter()
        .filter_map(|record| match record {
            Record::Event(event) => Some(&**event),
            Record::Alert(_) | Record::Quarantine(_) => None,
        })
        .collect();
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        for ((name, ..), cell) in ReplicaEvent::COLUMNS.iter().zip(event.cells()) {
            *columns.entry(name).or_default() += size_bytes(&cell);
        }
    }
    let mean = |wanted: &dyn Fn(&str) -> bool| {
        columns.iter().filter(|(name, _)| wanted(name)).map(|(_, bytes)| bytes).sum::<usize>() / events.len()
    };
    let event = mean(&|_| true);
    let view = schema::VIEWS.iter().find(|(name, _)| *name == Change::TABLE).map(|(_, sql)| *sql).expect("a view");
    let history = mean(&|name| view.contains(name));
    println!("a replica_events row: {event} bytes, of which the view replica_changes reads {history}");
    let alerts = (records.len() - events.len()) as f64 / events.len() as f64;
    println!("{alerts:.2} alerts an event");
    for events_a_day in [10_000_u64, 100_000, 1_000_000] {
        let rows = events_a_day as f64 * (1.0 + alerts);
        // A row is billed as at least 1 KB when it is streamed: https://cloud.google.com/bigquery/pricing#data_ingestion_pricing
        let streamed = rows * 30.0 * 1_024.0;
        let stored = rows * 365.0 * event as f64;
        let scanned = events_a_day as f64 * 365.0 * history as f64;
        println!(
            "{events_a_day:>9} events a day: {:7.2} GiB streamed a month, {:8.2} GiB after a year, \
             one question of replica_changes then reads {:8.2} GiB (a day of replica_events: {:6.3} GiB)",
            gib(streamed),
            gib(stored),
            gib(scanned),
            gib(events_a_day as f64 * event as f64),
        );
    }
}

fn gib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 30)
}
