//! The real binary, as people run it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use crate::support::{Sample, fixtures, root};

pub const DEMO: [&str; 5] = [
    "--config=fixtures/pedwatch.toml",
    "replay",
    "--ped=2026-09-01=fixtures/demo/ped/2026-09-01",
    "--ped=2026-09-11=fixtures/demo/ped/2026-09-11",
    "fixtures/demo/audit",
];

fn pedwatch(args: &[&str]) -> Output {
    run(command().args(args), b"")
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
    command.current_dir(root()).env_remove("PEDWATCH_CONFIG").env_remove("RUST_LOG");
    command
}

pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that fails early does not read its input.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn demo(more: &[&str]) -> Output {
    pedwatch(&[&DEMO, more].concat())
}

fn summary(output: &Output) -> Json {
    assert!(output.status.success(), "{}", stderr(output));
    let mut summary: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(summary["elapsed_seconds"].take().as_f64().is_some_and(|seconds| seconds > 0.0));
    summary
}

#[test]
fn the_demo_month_tells_its_story() {
    let output = demo(&[]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("in memory"), "it says that nothing is kept");
    let story = stdout(&output);
    let (story, figures) = story.trim_end().rsplit_once('\n').expect("lines");
    assert!(figures.contains("15 events, 10 alerts, 3 ignored, 1 duplicates, 1 quarantined"), "{figures}");
    insta::assert_snapshot!(story);
}

#[test]
fn the_json_summary_has_every_figure() {
    let bytes = std::fs::metadata(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo").len();
    let summary = summary(&demo(&["--format", "json"]));
    let expected = json!({
        "entries": 21,
        "events": 15,
        "out_of_scope": 0,
        "duplicates": 1,
        "ignored": {"status_write": 1, "failed_call": 1, "dry_run": 1},
        "quarantined": 1,
        "alerts": {"over_limit": 3, "over_initial": 1, "bypass": 3, "outside_platform_range": 1, "unregistered": 1, "unknown_value": 1},
        "bytes": bytes - 21, // without the ends of lines
        "elapsed_seconds": null,
    });
    assert_eq!(summary, expected);
}

#[test]
fn ndjson_has_one_object_a_line() {
    let output = demo(&["--format", "ndjson"]);
    let lines: Vec<Json> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).count();
    assert_eq!((of("replica_changes"), of("alert_log"), of("quarantine"), lines.len()), (13, 10, 1, 24));
}

#[test]
fn exit_codes_tell_what_happened() {
    for (args, code, message) in [
        (&["replay", "fixtures/demo/audit"][..], 0, "in memory"),
        (&["replay", "no/such/file"], 1, "cannot read no/such/file"),
        (&["replay", "fixtures/ped"], 2, "there is no .json"),
        (&["replay"], 2, "INPUT"),
        (&["replay", "--store", "mysql:x", "fixtures/demo/audit"], 2, "sqlite:FILE"),
        (&["replay", "--ped", "someday=fixtures/ped", "fixtures/demo/audit"], 2, "is not a time"),
        (&["replay", "--ped", "fixtures/ped/invalid/above_range.yaml", "fixtures/demo/audit"], 1, "above_range.yaml:9"),
        (&["--config", "no/such.toml", "config", "check"], 2, "cannot read no/such.toml"),
        (&["ped", "list"], 2, "--store"),
        (&["ped", "history", "payments", "--store", "sqlite:x.db"], 2, "NAMESPACE/DEPLOYMENT"),
        (&["replay", "--fail-on", "critical", "fixtures/audit/read_deployment_list.json"], 0, ""),
        (&["replay", "--fail-on", "warning", "fixtures/audit/deployment_patch_strategic.json"], 3, ""),
        (&["replay", "--fail-on", "critical", "fixtures/audit/deployment_patch_strategic.json"], 0, ""),
        (&["explain", "--insert-id", "none", "fixtures/demo/audit"], 1, "no such entry"),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {:?} does not say {message:?}", stderr(&output));
    }
    assert_eq!(demo(&["--fail-on", "critical"]).status.code(), Some(3));
}

#[test]
fn every_form_of_input_is_read_alike() {
    let entries: Vec<Json> =
        fixtures("audit").iter().filter_map(|(_, bytes)| serde_json::from_slice(bytes).ok()).collect();
    let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    let pushed: String = entries
        .iter()
        .filter(|entry| entry.get("message").is_none())
        .map(|entry| {
            let data = base64::engine::general_purpose::STANDARD.encode(entry.to_string());
            format!("{}\n", json!({"message": {"data": data, "messageId": "1"}, "subscription": "s"}))
        })
        .collect();
    let already_pushed = entries.iter().filter(|entry| entry.get("message").is_some()).count();
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("lines.ndjson", lines.clone().into_bytes()),
        ("array.json", serde_json::to_vec_pretty(&entries).expect("JSON")),
        ("dense.json", serde_json::to_vec(&entries).expect("JSON")),
        ("dos.ndjson", lines.replace('\n', "\r\n").into_bytes()),
        ("marked.json", [b"\xef\xbb\xbf", lines.as_bytes()].concat()),
        ("lines.ndjson.gz", gzip(lines.as_bytes())),
        (
            "two.json.gz",
            [gzip(&lines.as_bytes()[..lines.len() / 2]), gzip(&lines.as_bytes()[lines.len() / 2..])].concat(),
        ),
    ];
    let figures = |output: &Output| {
        let mut summary = summary(output);
        summary["bytes"].take();
        summary
    };
    let expected = figures(&pedwatch(&["replay", "--format", "json", "fixtures/audit", "--ped", "fixtures/ped"]));
    let expected = {
        // The folder holds the malformed ones too.
        let mut expected = expected;
        expected["entries"] = json!(entries.len());
        expected["quarantined"] = json!(0);
        expected
    };
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let path = path.to_str().expect("UTF-8");
        let output = pedwatch(&["replay", "--format", "json", "--ped", "fixtures/ped", path]);
        assert_eq!(figures(&output), expected, "{name}");
    }
    let args = ["replay", "--format", "json", "--ped", "fixtures/ped", "-"];
    assert_eq!(figures(&run(command().args(args), lines.as_bytes())), expected, "standard input");
    assert_eq!(figures(&run(command().args(args), &gzip(lines.as_bytes()))), expected, "gzip on standard input");
    // As `gcloud pubsub subscriptions pull --format=json` prints what is pulled from a dead-letter topic.
    let pulled: Vec<Json> = pushed
        .lines()
        .map(|line| {
            let body: Json = serde_json::from_str(line).expect("JSON");
            json!({"ackId": "a", "deliveryAttempt": 100, "message": body["message"]})
        })
        .collect();
    let dead_letters = figures(&run(command().args(args), &serde_json::to_vec_pretty(&pulled).expect("JSON")));
    let mut pushed = figures(&run(command().args(args), pushed.as_bytes()));
    assert_eq!(dead_letters, pushed, "dead letters");
    pushed["entries"] = json!(entries.len());
    pushed["events"] = json!(pushed["events"].as_u64().expect("a number") + already_pushed as u64);
    pushed["alerts"] = expected["alerts"].clone();
    assert_eq!(pushed, expected, "push bodies");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn what_cannot_be_read_is_kept_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.ndjson");
    let good = Sample::patch("good", "2026-09-04T20:41:03Z", 3);
    let huge = format!("{{\"logName\":\"{}\"}}", "x".repeat(17 << 20));
    std::fs::write(&path, format!("{}\noops\n\u{0}\n{huge}\n{{\"a\":\n{}\n", good.entry, good.entry)).expect("written");
    let store = format!("sqlite:{}", folder.path().join("facts.db").display());
    let path = path.to_str().expect("UTF-8");
    let output = pedwatch(&["replay", "--format", "json", "--store", &store, path]);
    let figures = summary(&output);
    assert_eq!(
        (&figures["entries"], &figures["events"], &figures["duplicates"], &figures["quarantined"]),
        (&json!(6), &json!(1), &json!(1), &json!(4))
    );
    let again = summary(&pedwatch(&["replay", "--format", "json", "--store", &store, path]));
    assert_eq!((&again["events"], &again["duplicates"], &again["quarantined"]), (&json!(0), &json!(2), &json!(0)));
    let report = stdout(&pedwatch(&["replay", path]));
    for part in ["a.ndjson:2", "a.ndjson:3", "a.ndjson:4", "a.ndjson:5", "17825807 bytes long"] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
}

#[test]
fn a_broken_file_is_named_and_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.ndjson.gz");
    let line = format!("{}\n", Sample::patch("good", "2026-09-04T20:41:03Z", 3).entry).repeat(100);
    let whole = gzip(line.as_bytes());
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let output = pedwatch(&["replay", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cut.ndjson.gz"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = command().args(["config", "example"]).stdout(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    assert!(child.wait().expect("ended").success());
}

#[test]
fn every_entry_of_the_matrix_is_explained() {
    let output =
        pedwatch(&["--config=fixtures/pedwatch.toml", "explain", "--ped", "2026-09-01=fixtures/ped", "fixtures/audit"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let matrix = fixtures("audit").len() + fixtures("audit/malformed").len();
    let text = stdout(&output);
    assert_eq!(text.lines().filter(|line| line.starts_with("fixtures/")).count(), matrix);
    insta::assert_snapshot!(text);
}

#[test]
fn one_entry_is_explained_by_its_insert_id() {
    let demo = std::fs::read_to_string(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo");
    let entry: Json = serde_json::from_str(demo.lines().next().expect("a line")).expect("JSON");
    let id = entry["insertId"].as_str().expect("an id");
    let output = pedwatch(&["explain", "--insert-id", id, "fixtures/demo/audit"]);
    assert!(stdout(&output).starts_with(&format!("fixtures/demo/audit/2026-09.ndjson:1  insertId {id}\n")));
    assert_eq!(stdout(&output).matches("insertId").count(), 1);
}

#[test]
fn peds_are_validated_registered_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let register = |files: &str, at: &str, reason: &str| {
        let at = format!("--effective-at={at}");
        pedwatch(&["ped", "register", files, "--updated-by=ci", "--reason", reason, &at, "--source=4f2c1aa", &store])
    };
    let first = register("fixtures/demo/ped/2026-09-01", "2026-09-01", "first release");
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(stdout(&first).lines().count(), 3);
    assert!(
        stdout(&first)
            .contains("payments/orders-api: at most 3 replicas from 2026-09-01T00:00:00.000000Z (first applied for 3)")
    );
    let second = register("fixtures/demo/ped/2026-09-11", "2026-09-11", "campaign");
    assert!(stdout(&second).contains("at most 6 replicas from 2026-09-11T00:00:00.000000Z (first applied for 3)"));
    let again = register("fixtures/demo/ped/2026-09-11", "2026-09-12", "again");
    assert!(again.status.success());
    assert!(stdout(&again).contains("payments/orders-api: unchanged"), "{}", stdout(&again));
    let list = pedwatch(&["ped", "list", "--format=json", &store]);
    let list: Json = serde_json::from_slice(&list.stdout).expect("JSON");
    let limits: Vec<_> = list
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["deployment_name"].clone(), row["max_replicas"].clone()))
        .collect();
    assert_eq!(json!(limits), json!([["search-api", 5], ["invoices-api", 4], ["orders-api", 6]]));
    let history = pedwatch(&["ped", "history", "payments/orders-api", "--format=ndjson", &store]);
    let history: Vec<Json> = stdout(&history).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(history.len(), 2);
    assert_eq!((&history[1]["updated_by"], &history[1]["change_reason"]), (&json!("ci"), &json!("campaign")));
    assert_eq!(history[1]["source"], json!("4f2c1aa:fixtures/demo/ped/2026-09-11/orders-api.yaml"));
    for table in [pedwatch(&["ped", "list", &store]), pedwatch(&["ped", "history", "payments/orders-api", &store])] {
        assert!(stdout(&table).contains("payments/orders-api"));
    }
    let wrong = register("fixtures/ped/invalid", "2026-09-12", "wrong");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(pedwatch(&["ped", "validate", "fixtures/ped"]).status.success());
    assert_eq!(pedwatch(&["ped", "validate", "fixtures/ped/invalid"]).status.code(), Some(1));
}

#[test]
fn the_configuration_is_shown_with_where_it_came_from() {
    let output = run(
        command()
            .args(["--config=fixtures/pedwatch.toml", "config", "check"])
            .env("PEDWATCH_PLATFORM__MAX_REPLICAS", "10"),
        b"",
    );
    let text = stdout(&output);
    let line = |key: &str| {
        text.lines()
            .find(|line| line.contains(key))
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("platform.max_replicas"), "platform.max_replicas 10 environment PEDWATCH_PLATFORM__MAX_REPLICAS");
    assert!(line("actors.pipeline").contains(" file "), "{}", line("actors.pipeline"));
    assert!(line("platform.allow_zero").contains(" default "));
    let example = pedwatch(&["config", "example"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pedwatch.toml");
    std::fs::write(&path, &example.stdout).expect("written");
    assert!(pedwatch(&["--config", path.to_str().expect("UTF-8"), "config", "check"]).status.success());
}

#[test]
fn the_same_month_in_two_halves_and_two_processes_gives_the_same_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = std::fs::read_to_string(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo");
    let lines: Vec<&str> = lines.lines().collect();
    let half = |name: &str, lines: &[&str]| {
        let path = folder.path().join(name);
        std::fs::write(&path, lines.join("\n")).expect("written");
        path
    };
    let (early, late) = (half("early.ndjson", &lines[..11]), half("late.ndjson", &lines[11..]));
    let store = format!("sqlite:{}", folder.path().join("facts.db").display());
    let replay = |path: &Path| {
        let path = path.to_str().expect("UTF-8");
        command()
            .args([
                "replay",
                "--ped=2026-09-01=fixtures/demo/ped/2026-09-01",
                "--ped=2026-09-11=fixtures/demo/ped/2026-09-11",
            ])
            .args(["--config=fixtures/pedwatch.toml", "--format=json", "--store", &store, path])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started")
    };
    // At the same time, the later half first: one waits for the other.
    let running = [replay(&late), replay(&early)];
    for child in running {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let both = summary(&demo(&["--format", "json", "--store", &store]));
    assert_eq!((&both["events"], &both["duplicates"]), (&json!(0), &json!(16)));
}
