//! `cargo bench --bench store`: rows per second into SQLite and into the tests' BigQuery server, in one run; and what
//! the rows weigh in BigQuery, of which the bytes that each question reads and the monthly cost follow.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use pedwatch::config::Config;
use pedwatch::ped::limits::Limits;
use pedwatch::ped::version::Registration;
use pedwatch::pipeline::Pipeline;
use pedwatch::pipeline::message::Envelope;
use pedwatch::store::row::{Cell, Record, Row};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, register, schema};

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
    let at = DateTime::UNIX_EPOCH;
    let registration = |located: pedwatch::ped::Located| Registration {
        ped: located.ped,
        effective_at: at,
        explicit: true,
        now: at,
        updated_by: "bench".to_owned(),
        reason: None,
        source: None,
    };
    let registrations = peds.into_iter().map(registration).collect();
    register(store, registrations).await.expect("registered");
    let limits = Limits::new(store.claims(None).await.expect("readable"));
    let pipeline = Pipeline::new(
        Config::load(None, [generate::PIPELINE].map(|(name, value)| (name.to_owned(), value.to_owned())))
            .expect("defaults")
            .policy,
        limits,
    );
    let assess = |number| {
        pipeline.assess(&generate::entry(number, 7 << 10), Envelope::default(), String::new, Utc::now()).records
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
        Cell::Integer(_) | Cell::Time(_) | Cell::Date(_) => 8,
        Cell::Boolean(_) => 1,
        Cell::Text(text) => 2 + text.len(),
    }
}

/// Mean bytes of each column of a table.
type Weights = BTreeMap<&'static str, f64>;

fn weights<'r, R: Row + 'r>(rows: impl Iterator<Item = &'r R>) -> (Weights, f64) {
    let (mut weights, mut count) = (Weights::new(), 0.0);
    for row in rows {
        count += 1.0;
        for ((name, ..), cell) in R::COLUMNS.iter().zip(row.cells()) {
            *weights.entry(name).or_default() += size_bytes(&cell) as f64;
        }
    }
    weights.values_mut().for_each(|bytes| *bytes /= count);
    (weights, count)
}

/// The text of a view with that of all views it uses: it names every column that is read.
fn whole_text(name: &str) -> String {
    schema::over_tables(&format!("SELECT * FROM ${{dataset}}.{name}"))
}

fn weigh(records: &[Record]) {
    let (events, event_count) = weights(records.iter().filter_map(|record| match record {
        Record::Event(event) => Some(&**event),
        _ => None,
    }));
    let (alerts, alert_count) = weights(records.iter().filter_map(|record| match record {
        Record::Alert(alert) => Some(&**alert),
        _ => None,
    }));
    let (event, alert) = (events.values().sum::<f64>(), alerts.values().sum::<f64>());
    let alerts_an_event = alert_count / event_count;
    println!(
        "a replica_events row: {event:.0} bytes; an alert_log row: {alert:.0} bytes; {alerts_an_event:.2} alerts an event"
    );
    println!("MiB that a question about one day, and about one month, reads, at 100,000 events a day after a year:");
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!("  {:<22} {:>9.1} {:>9.1}", "replica_events", mib(1e5 * event), mib(3e6 * event));
    println!(
        "  {:<22} {:>9.1} {:>9.1}",
        "alert_log",
        mib(1e5 * alerts_an_event * alert),
        mib(3e6 * alerts_an_event * alert)
    );
    for (view, _) in schema::VIEWS {
        let text = whole_text(view);
        let read = |table: &str, weights: &Weights| {
            let named =
                weights.iter().filter(|(column, _)| text.contains(**column)).map(|(_, bytes)| bytes).sum::<f64>();
            if text.contains(&format!("${{dataset}}.{table}")) { named } else { 0.0 }
        };
        let (of_events, of_alerts) = (read("replica_events", &events), alerts_an_event * read("alert_log", &alerts));
        // A history is compared along its whole length, whatever is asked.
        println!(
            "  {view:<22} {:>9.1} {:>9.1}",
            mib(1e5 * 365.0 * (of_events + of_alerts)),
            mib(1e5 * 365.0 * (of_events + of_alerts))
        );
    }
    let history: f64 =
        events.iter().filter(|(name, _)| whole_text("replica_changes").contains(**name)).map(|(_, bytes)| bytes).sum();
    println!(
        "GiB at other rates: streamed a month, stored after a year, read by one question of replica_changes then:"
    );
    for events_a_day in [1e4, 1e5, 1e6] {
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        // A row is billed as at least 1 KB when it is streamed: https://cloud.google.com/bigquery/pricing#data_ingestion_pricing
        let streamed = events_a_day * 30.0 * (event.max(1_024.0) + alerts_an_event * alert.max(1_024.0));
        let stored = events_a_day * 365.0 * (event + alerts_an_event * alert);
        let read = events_a_day * 365.0 * history;
        println!("  {events_a_day:>9} events a day {:>9.2} {:>9.2} {:>9.2}", gib(streamed), gib(stored), gib(read));
    }
}
