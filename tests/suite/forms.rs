//! The forms in which people have the same entries: read alike, or refused as one input that is told what to give.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use pedwatch::audit::forms::canonical;
use pedwatch::audit::{DecodeError, Decoded};
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::quarantine::unreadable;
use pedwatch::pipeline::{Assessed, Pipeline, open};
use pedwatch::source::files;
use pedwatch::store::row::{Quarantine, Record, Row};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use crate::support::{block_on, fixture_store, root, time};

/// When all of them are read: after what they tell.
const NOW: &str = "2026-10-01T00:00:00Z";

/// The files of `fixtures/forms/FOLDER`, in order of name.
fn inputs(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("fixtures/forms").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// What became of each document of a file.
fn read(file: &Path, pipeline: &Pipeline) -> Vec<Assessed> {
    let mut outcomes = Vec::new();
    files::read(&[file.to_owned()], |chunk| {
        for document in chunk.documents() {
            let source = || format!("{}:{}", chunk.file, document.line);
            outcomes.push(match document.fault() {
                Some(error) => {
                    let envelope = Envelope { data: document.bytes, ..Envelope::default() };
                    let row = unreadable(envelope, &error, source(), time(NOW));
                    Assessed { records: vec![Record::Quarantine(row)], ..Assessed::default() }
                }
                None => pipeline.assess(document.bytes, Envelope::default(), source, time(NOW)),
            });
        }
        true
    })
    .expect("readable");
    outcomes
}

fn pipeline() -> Pipeline {
    block_on(async { fixture_store().await.1 })
}

/// A row as text, without its empty columns.
fn text<R: Row>(row: &R) -> String {
    let cells = R::COLUMNS.iter().zip(row.cells());
    let shown = cells.filter(|(_, cell)| !matches!(cell, pedwatch::store::row::Cell::Null));
    shown.map(|((column, ..), cell)| format!("{column}: {cell:?}\n")).collect()
}

fn records(outcomes: &[Assessed]) -> impl Iterator<Item = &Record> {
    outcomes.iter().flat_map(|outcome| {
        assert_eq!(outcome.ignored, []);
        &outcome.records
    })
}

fn events(outcomes: &[Assessed]) -> Vec<String> {
    let events = records(outcomes).filter_map(|record| match record {
        Record::Event(event) => Some(text(&**event)),
        Record::Quarantine(row) => panic!("quarantined: {}", row.detail),
        _ => None,
    });
    events.collect()
}

fn quarantined(outcomes: &[Assessed]) -> Vec<&Quarantine> {
    let rows = records(outcomes).map(|record| match record {
        Record::Quarantine(row) => row,
        _ => panic!("recorded: {record:?}"),
    });
    rows.collect()
}

#[test]
fn one_entry_is_one_event_in_whichever_form_it_comes() {
    let pipeline = pipeline();
    let plain = events(&read(&root().join("fixtures/forms/same/plain.json"), &pipeline));
    assert_eq!(plain.len(), 1);
    let files = inputs("same");
    assert!(files.len() >= 29, "{} forms", files.len());
    for file in files {
        let found = events(&read(&file, &pipeline));
        assert!(!found.is_empty(), "{}", file.display());
        // All columns, and so the id, and all that the body, the labels and the caller tell.
        found.iter().for_each(|event| assert_eq!(event, &plain[0], "{}", file.display()));
    }
}

#[test]
fn what_cannot_be_read_is_one_row_that_tells_what_to_give() {
    let pipeline = pipeline();
    let mut told = String::new();
    for file in inputs("refused") {
        let outcomes = read(&file, &pipeline);
        let [row] = quarantined(&outcomes)[..] else { panic!("{}: {outcomes:?}", file.display()) };
        assert!(row.detail.contains("expected "), "{}: {}", file.display(), row.detail);
        assert_ne!(DecodeError::reason_of(&row.reason), "other", "{}", row.reason);
        writeln!(told, "{}\n  {}: {}", name(&file), row.reason, row.detail).expect("a String");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_not_a_change_is_none_in_another_form_either() {
    let pipeline = pipeline();
    let outcomes: BTreeMap<String, String> = inputs("other")
        .iter()
        .map(|file| {
            let outcomes = read(file, &pipeline);
            let [Assessed { ignored, records, .. }] = &outcomes[..] else { panic!("{}: {outcomes:?}", file.display()) };
            let event = records.iter().find_map(|record| match record {
                Record::Event(event) => Some(event),
                _ => None,
            });
            let outcome = match (ignored.first(), event) {
                (Some(reason), _) => reason.to_string(),
                (None, event) => format!("{:?}", event.expect("an event").replicas),
            };
            (name(file), outcome)
        })
        .collect();
    let expected = [
        // Its response was cut off inside, and it has no request: the number is unknown, and not what a rest may show.
        ("bigquery_cut_body.ndjson", "None"),
        ("bigquery_dry_run.ndjson", "dry_run"),
        ("bigquery_failed_call.ndjson", "failed_call"),
        ("labels_as_text_dry_run.ndjson", "dry_run"),
        ("log_analytics_of_another_log.ndjson", "other_log"),
    ];
    assert_eq!(outcomes, expected.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).into());
}

/// A row of BigQuery's sink, as it makes one of an entry.
fn bigquery_row(entry: &Json) -> Json {
    let text = |body: &Json| if body.is_null() { Json::Null } else { json!(body.to_string()) };
    let mut row = entry.clone();
    let mut payload = row.as_object_mut().expect("an entry").remove("protoPayload").expect("a payload");
    let members = payload.as_object_mut().expect("an AuditLog");
    for (body, column) in [("request", "requestJson"), ("response", "responseJson")] {
        let body = members.remove(body).unwrap_or_default();
        members.insert(column.to_owned(), text(&body));
    }
    row["protopayload_auditlog"] = payload;
    if let Some(labels) = entry["labels"].as_object() {
        let column = |name: &str| name.to_lowercase().replace(['.', '/'], "_");
        row["labels"] = labels.iter().map(|(name, value)| (column(name), value.clone())).collect();
    }
    for (name, value) in [("textPayload", Json::Null), ("httpRequest", Json::Null), ("trace", Json::Null)] {
        row[name] = value;
    }
    row
}

/// A row of Log Analytics, as it makes one of an entry.
fn log_analytics_row(entry: &Json) -> Json {
    let snake = |name: &str| {
        name.chars().fold(String::new(), |name, c| {
            if c.is_uppercase() { format!("{name}_{}", c.to_ascii_lowercase()) } else { format!("{name}{c}") }
        })
    };
    let columns = |value: &Json| match value.as_object() {
        Some(members) => members.iter().map(|(name, value)| (snake(name), value.clone())).collect::<Json>(),
        None => value.clone(),
    };
    let mut row = columns(entry);
    let mut payload = columns(&entry["protoPayload"]);
    for message in ["authentication_info", "request_metadata", "status"] {
        payload[message] = columns(&payload[message]);
    }
    row["proto_payload"] = json!({"audit_log": payload, "request_log": null});
    row["split"] = columns(&entry["split"]);
    row["json_payload"] = Json::Null;
    row
}

#[test]
fn the_whole_matrix_says_the_same_as_rows_of_a_table() {
    fn said(entry: &Json) -> Vec<String> {
        let mut said = Vec::new();
        open(entry.to_string().as_bytes(), Envelope::default(), |_, decoded| said.push(format!("{decoded:?}")));
        said
    }
    let mut compared = 0;
    for (name, bytes) in crate::support::fixtures("audit") {
        let entry: Json = serde_json::from_slice(&bytes).expect("JSON");
        if entry["protoPayload"].is_object() {
            assert_eq!(said(&bigquery_row(&entry)), said(&entry), "{name} in BigQuery");
            assert_eq!(said(&log_analytics_row(&entry)), said(&entry), "{name} in Log Analytics");
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn a_whole_page_in_one_message_is_read_entry_by_entry() {
    let pipeline = pipeline();
    let page = std::fs::read(root().join("fixtures/forms/same/entries_list.json")).expect("a fixture");
    let mut page: Json = serde_json::from_slice(&page).expect("JSON");
    page["entries"][1] = json!({"insertId": "second"});
    page["entries"][0]["insertId"] = json!("first");
    let mut seen = Vec::new();
    open(page.to_string().as_bytes(), Envelope::default(), |envelope, decoded| {
        seen.push((envelope.insert_id.map(str::to_owned), decoded.is_ok()));
    });
    assert_eq!(seen, [(Some("first".to_owned()), true), (Some("second".to_owned()), false)]);
    let Assessed { records, .. } =
        pipeline.assess(page.to_string().as_bytes(), Envelope::default(), String::new, time(NOW));
    let kinds: Vec<&str> = records.iter().map(Record::table).collect();
    assert!(kinds.contains(&"replica_events") && kinds.ends_with(&["quarantine"]), "{kinds:?}");
}

/// A file of nothing but one kind, longer than what its beginning shows and than one chunk.
#[test]
fn a_long_file_of_something_else_is_still_one_row() {
    let pipeline = pipeline();
    let folder = tempfile::tempdir().expect("a folder");
    let event = std::fs::read_to_string(root().join("fixtures/forms/refused/kubernetes_audit_events.ndjson"));
    let event = event.expect("a fixture").lines().next().expect("a line").to_owned();
    let entry: Json =
        serde_json::from_slice(&std::fs::read(root().join("fixtures/forms/same/plain.json")).expect("a fixture"))
            .expect("JSON");
    for (name, line) in [
        ("export.csv", "a,b,c,d\n"),
        ("pods.log", "payments orders-api 1/1\n"),
        ("events.ndjson", &format!("{event}\n")),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, line.repeat((2 << 20) / line.len())).expect("written");
        assert_eq!(quarantined(&read(&path, &pipeline)).len(), 1, "{name}");
    }
    // Entries among them are not lost.
    let path = folder.path().join("mixed.ndjson");
    std::fs::write(&path, format!("{event}\n{entry}\n{event}\n")).expect("written");
    let outcomes = read(&path, &pipeline);
    assert_eq!((quarantined(&outcomes[..1]).len(), events(&outcomes[1..]).len()), (1, 1));
}

#[test]
fn a_page_longer_than_any_document_is_cut_into_its_entries() {
    let pipeline = pipeline();
    let mut entry: Json =
        serde_json::from_slice(&std::fs::read(root().join("fixtures/forms/same/plain.json")).expect("a fixture"))
            .expect("JSON");
    entry["protoPayload"]["response"]["metadata"]["annotations"] = json!({"note": "x".repeat(1 << 20)});
    let mut file = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
    let entries = vec![entry.to_string(); 20].join(",\n");
    write!(file, "{{\"entries\": [{entries}],\n\"nextPageToken\": \"]}}\"}}\n{entry}").expect("written");
    let outcomes = read(file.path(), &pipeline);
    assert_eq!(events(&outcomes).len(), 21);
}

#[test]
fn utf16_and_zstd_are_read_in_a_stream() {
    let pipeline = pipeline();
    let entry: Json =
        serde_json::from_slice(&std::fs::read(root().join("fixtures/forms/same/plain.json")).expect("a fixture"))
            .expect("JSON");
    let mut entry = entry;
    // A character of two units, which falls on every edge sooner or later.
    entry["labels"]["note"] = json!("😀é".repeat(700));
    let lines = format!("{entry}\n").repeat(400);
    let utf16: Vec<u8> = lines.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let frames = [&utf16[..utf16.len() / 2 + 1], &utf16[utf16.len() / 2 + 1..]];
    let packed: Vec<u8> = frames.iter().flat_map(|frame| zstd::encode_all(*frame, 3).expect("packed")).collect();
    for bytes in [utf16, packed] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("written");
        assert_eq!(events(&read(file.path(), &pipeline)).len(), 400);
    }
}

#[test]
fn a_broken_zstd_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.ndjson.zst");
    let whole = zstd::encode_all(&b"{}\n".repeat(1000)[..], 3).expect("packed");
    std::fs::write(&path, &whole[..whole.len() - 3]).expect("written");
    let error = files::read(&[path], |_| true).expect_err("cut off");
    assert!(format!("{error:#}").contains("cut.ndjson.zst"), "{error:#}");
}

#[test]
fn a_folder_is_searched_for_zstd_too() {
    let files = files::expand(&[root().join("fixtures/forms/same")]).expect("a folder");
    let names: Vec<String> = files.iter().map(|file| name(file)).collect();
    assert!(names.contains(&"two_frames.ndjson.zst".to_owned()), "{names:?}");
    assert_eq!(files.len(), inputs("same").len());
}

#[test]
fn what_holds_more_than_it_should_is_refused_at_once() {
    let entry = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert!(canonical(entry(10_000).as_bytes()).expect("a list").is_some());
    let error = canonical(entry(10_001).as_bytes()).expect_err("too many").to_string();
    assert_eq!(error, "this is 10001 entries in one document; expected at most 10000 entries in one, or one a line");
    // Each wrapping is a page in a page.
    let page = (0..6).fold("{}".to_owned(), |inner, _| {
        json!({"entries": [serde_json::from_str::<Json>(&inner).expect("JSON")]}).to_string()
    });
    let mut told = Vec::new();
    open(page.as_bytes(), Envelope::default(), |_, decoded| told.extend(decoded.err().map(|error| error.reason())));
    assert_eq!(told, ["other_form"]);
    // Brackets without end cost neither stack nor time.
    for bytes in [
        "[".repeat(1 << 20),
        "{\"logName\":".repeat(1 << 18),
        format!("logName: {}", "[".repeat(1 << 20)),
        format!("logName: {}", "- ".repeat(1 << 20)),
    ] {
        open(bytes.as_bytes(), Envelope::default(), |_, decoded| assert!(decoded.is_err()));
    }
}

/// Everything in `fixtures/forms`, as bytes.
fn all() -> Vec<Vec<u8>> {
    ["same", "refused", "other"]
        .iter()
        .flat_map(|folder| inputs(folder))
        .map(|file| std::fs::read(file).expect("readable"))
        .collect()
}

/// Reads bytes as a file; how many documents it has.
fn documents(bytes: &[u8]) -> usize {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    let mut count = 0;
    // A compressed stream that is broken is an error, and no more.
    let _ = files::read(&[file.path().to_owned()], |chunk| {
        for document in chunk.documents() {
            count += 1;
            if document.fault().is_none() {
                open(document.bytes, Envelope::default(), |_, _| ());
            }
        }
        true
    });
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_form_with_broken_bytes_does_not_panic_or_hang(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Option<Index>>(),
    ) {
        let all = all();
        let mut bytes = all[which.index(all.len())].clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        documents(&bytes);
        open(&bytes, Envelope::default(), |_, _| ());
    }

    #[test]
    fn a_piece_of_yaml_or_json_does_not_panic_or_hang(
        pieces in prop::collection::vec(prop_oneof![
            Just("\n---\n"), Just("logName: "), Just("\"logName\":"), Just("{"), Just("}"), Just("["), Just("]"), Just(","),
            Just("\n  "), Just("- "), Just("? "), Just(": "), Just("&a "), Just("*a"), Just("|\n"), Just("'"), Just("\""), Just("\\"),
            Just("{\"entries\":["), Just("\"protoPayload\":"), Just("\"timestamp\":"), Just("1e9"), Just("null"), Just("é"), Just("#"),
            Just("{\"apiVersion\":\"audit.k8s.io/v1\""), Just("\u{feff}"), Just("\t"), Just("!!x "), Just("%YAML 1.2\n"), Just("0"),
        ], 0..40),
    ) {
        let text = pieces.concat();
        documents(text.as_bytes());
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        documents(&utf16);
        open(text.as_bytes(), Envelope::default(), |_, _| ());
        open(format!("logName: x\n{text}").as_bytes(), Envelope::default(), |_, _| ());
    }

    #[test]
    fn an_entry_keeps_its_identity_in_every_form(
        id in "[a-zA-Z0-9_.~\"\\\\é-]{1,24}",
        micros in 1_500_000_000_000_000_i64..1_900_000_000_000_000,
    ) {
        let plain = std::fs::read(root().join("fixtures/forms/same/plain.json")).expect("a fixture");
        let mut entry: Json = serde_json::from_slice(&plain).expect("JSON");
        let time = DateTime::from_timestamp_micros(micros).expect("a time");
        entry["insertId"] = json!(id);
        entry["timestamp"] = json!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
        let wanted = identity(entry.to_string().as_bytes());
        for timestamp in [
            json!(time.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string()),
            json!(time.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
            json!(micros as f64 / 1e6),
            json!(format!("{:.15E}", micros as f64 / 1e6)),
            json!(micros),
            json!({"seconds": (micros / 1_000_000).to_string(), "nanos": micros % 1_000_000 * 1_000}),
        ] {
            let payload = entry["protoPayload"].clone();
            let row = json!({"logName": entry["logName"], "insertId": id, "timestamp": timestamp, "resource": entry["resource"],
                "protopayload_auditlog": payload});
            prop_assert_eq!(identity(row.to_string().as_bytes()), wanted.clone(), "{}", row["timestamp"]);
        }
    }
}

/// The identity of the one write that a document holds.
fn identity(bytes: &[u8]) -> Option<(String, DateTime<Utc>, String)> {
    let mut identity = None;
    open(bytes, Envelope::default(), |_, decoded| {
        if let Ok(Decoded::Writes(writes)) = decoded {
            identity =
                writes.first().map(|write| (write.log_name.to_owned(), write.event_time, write.insert_id.to_owned()));
        }
    });
    identity
}
