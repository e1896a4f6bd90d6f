//! Golden pairs: each fixture and what becomes of it, for the whole matrix of what GKE logs.

use std::collections::BTreeSet;
use std::fmt::Write;

use chrono::Utc;
use pedwatch::pipeline::message::Envelope;
use pedwatch::store::row::{Cell, Record, Row};

use crate::support::{FACTS, VIEWS, block_on, contents, fixture_store, fixtures, handle, root, time};

/// Columns that say no more than the fixture's file does.
const OMITTED: [&str; 4] = ["ingested_at", "quarantined_at", "raw", "source"];

#[test]
fn every_fixture_becomes_what_its_snapshot_says() {
    for (folder, snapshots) in [("audit", "golden"), ("audit/malformed", "golden/malformed")] {
        for (name, entry) in fixtures(folder) {
            let text = block_on(outcome(&entry));
            insta::with_settings!({
                snapshot_path => root().join("tests").join(snapshots), prepend_module_to_snapshot => false, omit_expression => true,
            }, { insta::assert_snapshot!(name, text) });
        }
    }
}

#[test]
fn every_snapshot_has_its_fixture() {
    for (folder, snapshots) in [("audit", "golden"), ("audit/malformed", "golden/malformed")] {
        let expected: BTreeSet<String> = fixtures(folder).into_iter().map(|(name, _)| format!("{name}.snap")).collect();
        let found: BTreeSet<String> = std::fs::read_dir(root().join("tests").join(snapshots))
            .expect("snapshots")
            .map(|entry| entry.expect("readable"))
            .filter(|entry| entry.file_type().expect("readable").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn handling_a_fixture_again_changes_nothing() {
    block_on(async {
        let (store, pipeline) = fixture_store().await;
        let tables = [&FACTS[..], &VIEWS[..]].concat();
        let entries = [fixtures("audit"), fixtures("audit/malformed")].concat();
        let mut first = Vec::new();
        for (_, entry) in &entries {
            first.push(handle(&store, &pipeline, &[entry], Utc::now()).await);
        }
        let before = contents(&store, &tables).await;
        for ((name, entry), first) in entries.iter().zip(first) {
            assert_eq!(handle(&store, &pipeline, &[entry], Utc::now()).await, first, "{name}");
        }
        for (found, expected) in contents(&store, &tables).await.iter().zip(&before) {
            assert_eq!(found, expected);
        }
    });
}

/// What becomes of an entry, as text: why it is ignored, or its rows without their empty columns.
async fn outcome(entry: &[u8]) -> String {
    let (_, pipeline) = fixture_store().await;
    let assessed = pipeline.assess(entry, Envelope::default(), String::new, time("2027-01-01T00:00:00Z"));
    let ignored = assessed.ignored.iter().map(|reason| format!("ignored: {reason}\n")).collect::<String>();
    let records: String = assessed.records.iter().map(record).collect();
    (ignored + &records).trim_end().to_owned()
}

fn record(record: &Record) -> String {
    match record {
        Record::Event(row) => text(&**row),
        Record::Alert(row) => text(&**row),
        Record::Version(row) => text(&**row),
        Record::Quarantine(row) => text(row),
        Record::Watermark(row) => text(row),
        Record::Carried(row) => text(&**row),
        Record::Closed(row) => text(&**row),
        Record::Day(row) => text(&**row),
        Record::Metrics(row) => text(&**row),
        Record::Snapshot(row) => text(&**row),
        Record::Bill(row) => text(&**row),
    }
}

fn text<R: Row>(row: &R) -> String {
    let mut text = format!("{}\n", R::TABLE);
    for ((column, ..), cell) in R::COLUMNS.iter().zip(row.cells()) {
        let value = match cell {
            _ if OMITTED.contains(column) => continue,
            Cell::Null => continue,
            Cell::Integer(number) => number.to_string(),
            Cell::Boolean(value) => value.to_string(),
            Cell::Text(text) => text.to_owned(),
            Cell::Time(time) => pedwatch::id::time(time),
            Cell::Date(date) => date.to_string(),
        };
        writeln!(text, "  {column}: {value}").expect("a String");
    }
    text
}
