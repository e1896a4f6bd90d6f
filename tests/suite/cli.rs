//! The real binary, as people run it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use crate::support::{Sample, fixtures, ped, root};

pub const DEMO: [&str; 6] = [
    "--config=fixtures/pedwatch.toml",
    "replay",
    "--ped=2026-09-01=fixtures/demo/ped/2026-09-01",
    "--ped=2026-09-11=fixtures/demo/ped/2026-09-11",
    "--snapshot=prod_1@2026-09-28T06:00Z=fixtures/demo/snapshots/2026-09-28.json",
    "fixtures/demo/audit",
];

const PEDS: &str = "--ped=2026-09-01=fixtures/ped";

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
    assert!(figures.contains("17 events, 12 alerts, 3 ignored, 1 duplicates, 1 quarantined"), "{figures}");
    insta::assert_snapshot!(story);
}

#[test]
fn the_json_summary_has_every_figure() {
    let bytes = std::fs::metadata(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo").len();
    let summary = summary(&demo(&["--format", "json"]));
    let expected = json!({
        "entries": 21,
        "events": 17,
        "out_of_scope": 0,
        "duplicates": 1,
        "ignored": {"status_write": 1, "failed_call": 1, "dry_run": 1},
        "quarantined": 1,
        "alerts": {"over_limit": 4, "over_initial": 1, "drift": 1, "bypass": 3, "outside_platform_range": 1, "unregistered": 1, "unknown_value": 1},
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
    assert_eq!((of("replica_changes"), of("alert_log"), of("quarantine"), lines.len()), (15, 12, 1, 28));
}

#[test]
fn exit_codes_tell_what_happened() {
    for (args, code, message) in [
        (&["replay", "fixtures/demo/audit"][..], 0, "in memory"),
        (&["replay", "no/such/file"], 1, "cannot read no/such/file"),
        (&["replay", "fixtures/ped"], 1, "there is no .json"),
        (&["replay"], 2, "INPUT"),
        (&["replay", "--store", "mysql:x", "fixtures/demo/audit"], 2, "sqlite:FILE"),
        (&["replay", "--ped", "someday=fixtures/ped", "fixtures/demo/audit"], 2, "is not a time"),
        (&["replay", "--ped", "fixtures/ped_invalid/above_range.yaml", "fixtures/demo/audit"], 1, "above_range.yaml:9"),
        (&["--config", "no/such.toml", "config", "check"], 2, "cannot read no/such.toml"),
        (&["ped", "list"], 2, "--store"),
        (&["ped", "history", "payments", "--store", "sqlite:x.db"], 2, "NAMESPACE/DEPLOYMENT"),
        (&["replay", PEDS, "--fail-on", "critical", "fixtures/audit/read_deployment_list.json"], 0, ""),
        (
            &["replay", "--fail-on", "warning", "fixtures/audit/deployment_patch_strategic.json"],
            3,
            "exit code 3: warning",
        ),
        (
            &["replay", "--fail-on", "critical", "fixtures/audit/deployment_patch_strategic.json"],
            1,
            "no PED is registered",
        ),
        (&["replay", PEDS, "--fail-on", "critical", "fixtures/audit/deployment_replicas_at_the_limit.json"], 0, ""),
        (
            &["replay", PEDS, "--fail-on", "critical", "fixtures/audit/hpa_update_over_limit.json"],
            3,
            "code 3: critical",
        ),
        (&["replay", "--fail-on", "loud", "fixtures/demo/audit"], 2, "warning, critical, quarantined"),
        (&["replay", "--ped=-", "-"], 2, "standard input (-) is named twice"),
        (&["ped", "validate", "-", "-"], 2, "standard input (-) is named twice"),
        (&["alerts"], 2, "--store"),
        (&["alerts", "a/b/c", "--store=sqlite:x.db"], 2, "NAMESPACE/DEPLOYMENT"),
        (&["alerts", "--since", "someday", "--store=sqlite:x.db"], 2, "yesterday"),
        (&["alerts", "--cluster", "projects/x", "--store=sqlite:x.db"], 2, "clusters/NAME"),
        (&["alerts", "--severity", "loud", "--store=sqlite:x.db"], 2, "critical"),
        (&["explain", "--insert-id", "none", "fixtures/demo/audit"], 1, "no entry with the insertId none"),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {:?} does not say {message:?}", stderr(&output));
    }
    assert_eq!(demo(&["--fail-on", "critical"]).status.code(), Some(3));
}

/// A pipeline goes by the exit code: it may not pass because nothing was there to fail on.
#[test]
fn nothing_passes_because_there_was_nothing_to_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::create_dir(path("empty")).expect("made");
    std::fs::write(path("empty.ndjson"), "").expect("written");
    std::fs::write(path("blank.ndjson"), "\n \n\n").expect("written");
    // No text, and no form of any other.
    let random: Vec<u8> = (0..200_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(path("random.json"), random).expect("written");
    std::fs::write(path("table.json"), "when,who\n2026-09-11,alice\n").expect("written");
    std::fs::write(path("stdout.ndjson"), "{\"logName\":\"projects/p/logs/stdout\",\"textPayload\":\"up\"}\n")
        .expect("written");
    let (month, later) = ("fixtures/demo/audit", "--ped=2027-01-01=fixtures/demo/ped/2026-09-01");
    let (list, empty_ped) = ("fixtures/audit/read_deployment_list.json", format!("--ped={}", path("empty")));
    for (args, message) in [
        (&["replay", &path("empty")][..], "there is no .json"),
        (&["replay", &path("empty.ndjson")], "there is nothing in the input"),
        (&["replay", &path("blank.ndjson")], "there is nothing in the input"),
        (&["replay", "-"], "there is nothing in the input"),
        (&["replay", PEDS, "--fail-on=critical", "-"], "there is nothing in the input"),
        (&["replay", &path("random.json")], "nothing of the input could be read"),
        (&["replay", "--fail-on=critical", &path("table.json")], "nothing of the input could be read"),
        (&["replay", &empty_ped, list], "there is no PED in"),
        (&["replay", "--fail-on=critical", list], "no PED is registered"),
        (&["replay", "--fail-on=critical,quarantined", list], "no PED is registered"),
        (&["replay", "--fail-on=critical", later, month], "no limit was in force for any of these entries"),
        (&["replay", "--fail-on=critical", PEDS, &path("stdout.ndjson")], "there is no audit entry in the input"),
        (&["explain", &empty_ped, list], "there is no PED in"),
        (&["explain", "-"], "there is nothing in the input"),
        (&["explain", "--insert-id=x", list], "there is no entry with the insertId x"),
        (&["explain", &path("random.json")], "nothing of the input could be read"),
        (&["ped", "validate", &path("empty")], "there is no PED in"),
        (&["ped", "validate", "-"], ""),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {:?} does not say {message:?}", stderr(&output));
    }
    for args in [&["replay", list][..], &["replay", "--fail-on=quarantined", list], &["replay", "fixtures/audit"]] {
        assert_eq!(pedwatch(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn fail_on_names_severities_and_quarantine_and_says_why_it_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("it's here")).expect("made");
    let store = format!("--store=sqlite:{}", folder.path().join("it's here/facts.db").display());
    for (fail_on, said) in [
        (
            "--fail-on=quarantined",
            &[
                "1 of the input is in quarantine",
                "`pedwatch quarantine list --config fixtures/pedwatch.toml --store 'sqlite:",
            ][..],
        ),
        ("--fail-on=critical,quarantined", &["1 of the input", "critical alerts stand"]),
        ("--fail-on=warning", &["critical alerts stand"]),
    ] {
        for again in [false, true] {
            let output = demo(&[fail_on, &store]);
            assert_eq!(output.status.code(), Some(3), "{fail_on} {again}");
            for part in said {
                assert!(stderr(&output).contains(part), "{fail_on}: {:?} does not say {part:?}", stderr(&output));
            }
        }
    }
    let again = demo(&["--fail-on=info", "--fail-on=quarantined", &store]);
    assert!(stdout(&again).contains("no new alerts"), "{}", stdout(&again));
    let said = stderr(&again);
    let advice = "recorded by an earlier run; `pedwatch ";
    assert!(said.contains(&format!("{advice}alerts --severity critical --since 2026-09-01T08:02:11")), "{said}");
    // What it says to run shows what it failed on.
    let (_, shown) = said.split_once(advice).expect("the advice");
    let shown =
        format!("{} {} --format=ndjson", env!("CARGO_BIN_EXE_pedwatch"), shown.split('`').next().expect("a command"));
    let shown = std::process::Command::new("sh").args(["-c", &shown]).output().expect("a shell");
    assert_eq!(stdout(&shown).lines().count(), 4, "{}", stderr(&shown));
    // Where nothing is kept nothing is shown.
    let passing = demo(&["--fail-on=quarantined"]);
    assert!(!stderr(&passing).contains("pedwatch quarantine list"), "{}", stderr(&passing));
}

#[test]
fn help_is_coloured_where_it_is_asked_for() {
    for (colour, is_coloured) in [("--color=always", true), ("--color=never", false), ("--color=auto", false)] {
        let help = pedwatch(&[colour, "--help"]);
        assert_eq!(stdout(&help).contains('\u{1b}'), is_coloured, "{colour}");
    }
}

#[test]
fn reading_makes_no_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("typo.db");
    let store = format!("--store=sqlite:{}", path.display());
    for is_empty in [false, true] {
        if is_empty {
            std::fs::write(&path, "").expect("written");
        }
        for args in [
            &["ped", "list"][..],
            &["ped", "history", "payments/orders-api"],
            &["quarantine", "list"],
            &["quarantine", "show", "x"],
            &["quarantine", "replay"],
            &["explain", "fixtures/demo/audit"],
            &["alerts"],
            &["changes"],
            &["status"],
            &["daily"],
            &["ped", "remove", "payments/orders-api", "--updated-by=ci", "--reason=gone"],
        ] {
            let output = pedwatch(&[args, &[&store]].concat());
            assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
            let said = stderr(&output);
            assert!(
                said.contains("typo.db") && said.contains("replay, backfill, snapshot, ped register, serve or pull"),
                "{args:?}: {said}"
            );
            assert!(!is_empty || std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0), "{args:?}");
            assert_eq!(path.exists(), is_empty, "{args:?} made it");
        }
    }
    std::fs::remove_file(&path).expect("removed");
    for args in [
        &["replay", "no/such/file"][..],
        &["replay", "--ped=fixtures/ped_invalid", "fixtures/demo/audit"],
        &["ped", "register", "fixtures/ped_invalid", "--updated-by=ci", "--reason=wrong"],
    ] {
        assert_eq!(pedwatch(&[args, &[&store]].concat()).status.code(), Some(1), "{args:?}");
        assert!(!path.exists(), "{args:?} is refused, and leaves a store behind");
    }
    assert!(pedwatch(&["ped", "register", "fixtures/ped", "--updated-by=ci", "--reason=x", &store]).status.success());
    assert!(pedwatch(&["ped", "list", &store]).status.success());
}

#[test]
fn what_is_named_and_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    assert!(pedwatch(&["replay", "fixtures/audit/deployment_create.json", &store]).status.success());
    for (args, code, said) in [
        (&["quarantine", "list", &store][..], 0, "nothing is in quarantine\n"),
        (&["quarantine", "show", "x", &store], 1, "there is no x in quarantine"),
        (&["quarantine", "replay", "x", &store], 1, "there is no x in quarantine"),
        (
            &["backtest", "--from=2026-09-01", "--to=2026-10-01", "--limit=payments/typo=3", &store],
            0,
            "nothing is known of payments/typo in that time, so another limit changes nothing",
        ),
        (&["ped", "init", "--into=x"], 2, "<--from-cluster <NAME>|--from-file <FILE>>"),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        let told = stdout(&output) + &stderr(&output);
        assert!(told.contains(said), "{args:?}: {told}");
    }
}

#[test]
fn what_may_be_misspelt_is_no_good_news() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    assert!(demo(&[&store]).status.success());
    let empty = folder.path().join("empty.json");
    std::fs::write(
        &empty,
        r#"{"kind": "List", "items": [{"kind": "Pod", "metadata": {"namespace": "payments", "name": "p"}}]}"#,
    )
    .expect("written");
    let of_it = format!("--from-file={}", empty.display());
    let demo_cluster = "--cluster=projects/acme-prod/locations/europe-west1/clusters/prod-1";
    let listing = "--from-file=fixtures/demo/snapshots/2026-09-28.json";
    for (args, code, said) in [
        (&["changes", "payments/nosuch", &store][..], 0, "nothing is known of payments/nosuch that is there now"),
        (
            &["alerts", "--cluster=nope", &store],
            0,
            "nothing is known of anything in the cluster nope that is there now",
        ),
        (&["status", "pay", &store], 0, "nothing is known of pay that is there now"),
        (&["bill", "--owner=nobody", "--month=2026-09", &store], 0, "nothing is billed to nobody for 2026-09"),
        (&["snapshot", &of_it, demo_cluster, &store], 1, "it holds no Deployment"),
        (&["snapshot", listing, demo_cluster, "--at=2037-01-01", &store], 2, "which is yet to come"),
        (
            &["snapshot", listing, demo_cluster, "--at=2026-09-02", &store],
            0,
            "`pedwatch daily --from 2026-09-02 --to 2026-09-02`",
        ),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said) || stdout(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
    // As the configuration calls it, where entries call it otherwise.
    let by_its_handle = command()
        .args(["changes", "--cluster=berlin", &store])
        .env("PEDWATCH_CLUSTERS__BERLIN__PROJECT", "acme-prod")
        .env("PEDWATCH_CLUSTERS__BERLIN__LOCATION", "europe-west1")
        .env("PEDWATCH_CLUSTERS__BERLIN__NAME", "prod-1")
        .output();
    assert!(stdout(&by_its_handle.expect("started")).contains("payments/orders-api"));
}

#[test]
fn pieces_of_one_entry_are_counted_as_one_write() {
    let pieces = ["request", "response_with_number", "response_rest"];
    let pieces = pieces.map(|piece| format!("fixtures/audit/split_piece_{piece}.json"));
    let replayed = pedwatch(&["replay", &pieces[0], &pieces[1], &pieces[2]]);
    let told = stdout(&replayed);
    let counted = "3 entries";
    assert!(told.contains(counted) && told.contains("1 events"), "{told}");
    assert!(told.contains(", 2 joined to others (pieces of split entries)"), "{told}");
}

/// For people, for the lines of a pull request, and for code scanning: the same faults, at the same places, in their order.
#[test]
fn faults_of_peds_are_told_as_github_and_code_scanning_read_them() {
    let validate = |format: &str, path: &str| pedwatch(&["ped", "validate", "--format", format, path]);
    let path = "fixtures/ped_invalid";
    let [text, github, sarif] = ["text", "github", "sarif"].map(|format| validate(format, path));
    for output in [&text, &github, &sarif] {
        assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    }
    let lines: Vec<String> = stdout(&text).lines().map(str::to_owned).collect();
    assert!(
        lines.contains(
            &"fixtures/ped_invalid/above_range.yaml:9:16: spec.maxReplicas is 9; expected a whole number from 2 to 8"
                .to_owned()
        ),
        "{lines:?}"
    );
    let sarif: Json = serde_json::from_str(&stdout(&sarif)).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results").clone();
    let github = stdout(&github);
    assert!(results.len() == lines.len() && github.lines().count() == lines.len());
    let mut places = Vec::new();
    for ((line, annotation), result) in lines.iter().zip(github.lines()).zip(results) {
        let place = &result["locations"][0]["physicalLocation"];
        let (file, region) = (place["artifactLocation"]["uri"].as_str().expect("a file"), &place["region"]);
        let (row, column) = (region["startLine"].as_u64().expect("a line"), region["startColumn"].as_u64());
        let column = column.expect("a column");
        assert!(line.starts_with(&format!("{file}:{row}:{column}: ")), "{line}");
        assert!(
            annotation.starts_with(&format!("::error title=PED,file={file},line={row},col={column}::")),
            "{annotation}"
        );
        places.push((file.to_owned(), row, column));
    }
    assert!(places.is_sorted(), "{places:?}");
    let valid = validate("sarif", "fixtures/ped");
    assert_eq!(valid.status.code(), Some(0));
    assert_eq!(serde_json::from_str::<Json>(&stdout(&valid)).expect("JSON")["runs"][0]["results"], json!([]));
}

#[test]
fn a_span_that_holds_nothing_and_a_blank_reason_are_wrong_usage() {
    let store = "--store=sqlite:never.db";
    for (args, part) in [
        (&["alerts", "--since=now", "--until=2026-09-01", store][..], "--since to be earlier"),
        (&["changes", "--from=now", "--to=yesterday", store], "--from to be earlier"),
        (&["filter", "--from=now", "--to=yesterday"], "--from to be earlier"),
        (&["daily", "--from=2026-09-02", "--to=2026-09-01", store], "--from to be earlier"),
        (&["ped", "register", "fixtures/ped", "--updated-by= ", "--reason=x", store], "expected a text"),
        (&["ped", "remove", "payments/orders-api", "--updated-by=ci", "--reason=", store], "expected a text"),
    ] {
        let output = pedwatch(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn peds_are_read_from_subfolders_and_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, deployment: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, ped("payments", deployment, None, 3)).expect("written");
    };
    write("a.yaml", "a");
    write("team/b.yml", "b");
    write("team/deep/er/c.yaml", "c");
    write("team/notes.txt", "notes");
    write(".github/workflows/ci.yaml", "hidden");
    // As a ConfigMap is mounted.
    write("mounted/..2026/d.yaml", "d");
    std::os::unix::fs::symlink("..2026", folder.path().join("mounted/..data")).expect("linked");
    std::os::unix::fs::symlink("..data/d.yaml", folder.path().join("mounted/d.yaml")).expect("linked");
    let all = folder.path().to_str().expect("UTF-8");
    assert_eq!(stdout(&pedwatch(&["ped", "validate", all])), "4 valid\n");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let registered = pedwatch(&["ped", "register", all, "--updated-by=ci", "--reason=x", &store]);
    assert_eq!(stdout(&registered).lines().count(), 4, "{}{}", stdout(&registered), stderr(&registered));
    let documents = ["e", "f"].map(|name| format!("---\n{}", ped("payments", name, None, 3))).concat();
    let validated = run(command().args(["ped", "validate", "-"]), documents.as_bytes());
    assert_eq!(stdout(&validated), "2 valid\n", "{}", stderr(&validated));
    let args = ["ped", "register", "-", "--updated-by=ci", "--reason=x", "--source=4f2c1aa", &store];
    let registered = run(command().args(args), documents.as_bytes());
    assert_eq!(stdout(&registered).lines().count(), 2, "{}", stderr(&registered));
    let wrong = run(command().args(["ped", "validate", "-"]), b"kind: Ped\n");
    assert!(wrong.status.code() == Some(1) && stdout(&wrong).contains("-:1:"), "{}", stdout(&wrong));
    let judged = run(command().args(["replay", "--ped=-", "fixtures/demo/audit"]), documents.as_bytes());
    assert!(judged.status.success(), "{}", stderr(&judged));
}

#[test]
fn alerts_are_read_back_by_whom_when_and_how_bad() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    assert!(demo(&[&store]).status.success());
    for (args, expected) in [
        (&[][..], 12),
        (&["payments"], 7),
        (&["payments/orders-api"], 3),
        (&["payments/nobody"], 0),
        (&["nowhere"], 0),
        (&["--severity=info"], 12),
        (&["--severity=warning"], 8),
        (&["--severity=critical"], 4),
        (&["payments", "--severity=critical"], 2),
        (&["--since=2026-09-17"], 9),
        (&["--since", "2026-09-17T11:04Z"], 8),
        (&["--since", "2026-09-17 11:04:15"], 8),
        (&["--until=2026-09-17"], 3),
        (&["--since=2026-09-17", "--until=2026-09-18"], 2),
        (&["--cluster=prod-1"], 12),
        (&["--cluster=prod-2"], 0),
        (&["--cluster=projects/acme-prod/locations/europe-west1/clusters/prod-1"], 12),
        (&["--cluster=projects/acme-prod/locations/us-east1/clusters/prod-1"], 0),
        // One was raised at once, and a later entry took its ground.
        (&["--all"], 13),
    ] {
        let output = pedwatch(&[&["alerts", "--format=json", &store], args].concat());
        let rows: Json = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(rows.as_array().expect("rows").len(), expected, "{args:?}: {}", stderr(&output));
    }
    for (subject, expected) in [("payments", 7), ("nowhere", 0)] {
        let lines = |format: &str| {
            let output = pedwatch(&["alerts", subject, "--format", format, &store]);
            assert!(output.status.success(), "{}", stderr(&output));
            stdout(&output).lines().count()
        };
        let table = if expected == 0 { 1 } else { expected + 2 };
        assert_eq!((lines("ndjson"), lines("csv"), lines("table")), (expected, expected + 1, table), "{subject}");
    }
    let since = pedwatch(&["alerts", "--since", "-7d", "--until", "now", &store]);
    assert!(since.status.success(), "a value that begins with a hyphen: {}", stderr(&since));
    let csv = stdout(&pedwatch(&["alerts", "payments", "--severity=warning", "--format=csv", &store]));
    assert!(
        csv.starts_with("alert_id,alert_time,alert_type,severity,message,project_id,location,cluster_name,"),
        "{csv}"
    );
}

/// A version that is registered later takes the ground of what was raised.
#[test]
fn what_stands_no_more_is_shown_when_all_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let entry = Sample::patch("a", "2026-09-04T20:41:03Z", 4).actor("deployer@acme-prod.iam.gserviceaccount.com");
    let config = "--config=fixtures/pedwatch.toml";
    let replayed = run(
        command().args([config, "replay", "--ped=2026-09-01=-", "fixtures/audit/read_deployment_list.json", &store]),
        ped("payments", "orders-api", None, 3).as_bytes(),
    );
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    assert!(run(command().args([config, "replay", "-", &store]), &entry.bytes()).status.success());
    let alerts = |more: &[&str]| stdout(&pedwatch(&[&["alerts", &store], more].concat()));
    assert!(alerts(&[]).contains("over_limit"));
    let one = stdout(&pedwatch(&["status", "payments/orders-api", &store]));
    assert!(one.lines().next().is_some_and(|headings| headings.contains(" for ")), "{one}");
    let args =
        [config, "ped", "register", "-", "--effective-at=2026-09-03", "--updated-by=ci", "--reason=late", &store];
    assert!(run(command().args(args), ped("payments", "orders-api", None, 6).as_bytes()).status.success());
    assert!(!alerts(&[]).contains("over_limit") && !alerts(&[]).contains(" stands"), "{}", alerts(&[]));
    let all = alerts(&["--all"]);
    assert!(all.lines().any(|line| line.contains("over_limit") && line.ends_with(" no")), "{all}");
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
    let register_now = |files: &str, reason: &str, more: &[&str]| {
        let args = ["ped", "register", files, "--updated-by=ci", "--reason", reason, "--source=4f2c1aa", &store];
        pedwatch(&[&args, more].concat())
    };
    let register =
        |files: &str, at: &str, reason: &str| register_now(files, reason, &[&format!("--effective-at={at}")]);
    let first = register("fixtures/demo/ped/2026-09-01", "2026-09-01", "first release");
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(stdout(&first).lines().count(), 3);
    assert!(
        stdout(&first)
            .contains("payments/orders-api: at most 3 replicas from 2026-09-01T00:00:00.000000Z (first applied for 3)")
    );
    let second = register("fixtures/demo/ped/2026-09-11", "2026-09-11", "campaign");
    assert!(stdout(&second).contains("at most 6 replicas from 2026-09-11T00:00:00.000000Z (first applied for 3)"));
    let again = register_now("fixtures/demo/ped/2026-09-11", "again", &[]);
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
    let wrong = register("fixtures/ped_invalid", "2026-09-12", "wrong");
    assert_eq!(wrong.status.code(), Some(1));
    let slip = register("fixtures/demo/ped/2026-09-11", "1026-09-12", "a slip of the pen");
    assert!(slip.status.code() == Some(2) && stderr(&slip).contains("expected a time from 2000 to 2100"));
    assert!(pedwatch(&["ped", "validate", "fixtures/ped"]).status.success());
    assert_eq!(pedwatch(&["ped", "validate", "fixtures/ped_invalid"]).status.code(), Some(1));
}

#[test]
fn exceptions_and_retirements_are_registered_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let valid = pedwatch(&["ped", "validate", "fixtures/ped"]);
    assert_eq!(stdout(&valid), "4 valid, with 1 exception\n");
    let file = "fixtures/ped/checkout-api.yaml";
    let register = |more: &[&str]| {
        let args = ["ped", "register", file, "--updated-by=ci", "--reason=first release", &store];
        let output = pedwatch(&[&args, more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).to_owned()
    };
    let text = register(&["--effective-at=2026-09-01"]);
    assert!(text.contains("shop/checkout-api: at most 4 replicas from "), "{text}");
    let exception = "shop/checkout-api: exception of at most 8 replicas from 2026-11-23T00:00:00.000000Z until \
                     2026-12-01T08:00:00.000000Z (sales week)\n";
    assert!(text.ends_with(exception), "{text}");
    assert_eq!(register(&[]), "shop/checkout-api: unchanged, nothing to register\n");
    let remove = |args: &[&str]| {
        let always = ["ped", "remove", "shop/checkout-api", "--updated-by=ci", "--reason=moved away", &store];
        pedwatch(&[&always, args].concat())
    };
    let elsewhere = remove(&["--cluster=prod-9"]);
    assert_eq!(elsewhere.status.code(), Some(2));
    let expected = "nothing is registered for shop/checkout-api in cluster prod-9; expected no --cluster";
    assert!(stderr(&elsewhere).contains(expected), "{}", stderr(&elsewhere));
    // Before it ever was in force.
    let early = remove(&["--effective-at=2026-08-01"]);
    assert!(stdout(&early).contains("nothing is in force then") && stdout(&early).contains("stays; remove it with"));
    let removed = remove(&["--effective-at=2099-01-01"]);
    assert_eq!(stdout(&removed), "shop/checkout-api: retired from 2099-01-01T00:00:00.000000Z\n");
    assert!(stdout(&remove(&[])).contains("shop/checkout-api: retired from "));
    let json = |args: &[&str]| -> Vec<Json> {
        let output = pedwatch(&[&["ped"], args, &["--format=json", &store]].concat());
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let list = json(&["list"]);
    let retired = list.iter().find(|row| row["until"].is_null()).expect("retired");
    assert_eq!(json!([retired["max_replicas"], retired["standing"]]), json!([null, "in_force"]));
    let history = json(&["history", "shop/checkout-api"]);
    assert!(history.iter().any(|row| row["until"] == "2026-12-01T08:00:00.000000Z" && row["standing"].is_string()));
    let table = pedwatch(&["ped", "history", "shop/checkout-api", &store]);
    assert!(stdout(&table).contains("retired") && stdout(&table).contains("to_come"), "{}", stdout(&table));
    let nowhere = pedwatch(&["ped", "remove", "shop/nothing", "--updated-by=ci", "--reason=x", &store]);
    assert!(nowhere.status.code() == Some(2) && stderr(&nowhere).contains("shop/nothing in any cluster"));
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
fn all_that_is_wrong_with_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pedwatch.toml");
    std::fs::write(&path, "[platform]\nmax_replica = 3\n[push]\nport = 0\n[store]\nurl = \"mysql:x\"\n")
        .expect("written");
    let mut check = command();
    check.args(["--config", path.to_str().expect("UTF-8"), "config", "check"]);
    let output = run(check.env("PEDWATCH_PULL__LEASE_SECONDS", "1").env("PEDWATCH_NO__KEY", "1"), b"");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for fault in
        ["line 2: platform.max_replica", "push.port is 0", "store.url", "pull.lease_seconds is 1", "PEDWATCH_NO__KEY"]
    {
        assert!(said.contains(fault), "{fault} is not in {said}");
    }
}

/// Who reads JSON logs finds the reason in them, whatever it is.
#[test]
fn what_ends_a_server_is_a_line_of_its_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.db");
    std::fs::write(&broken, "no database, whatever its name says").expect("written");
    let broken = format!("--store=sqlite:{}", broken.display());
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let taken = taken.local_addr().expect("bound").port().to_string();
    let fine = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    for (args, (variable, value), code, part) in [
        (&["serve"][..], ("PEDWATCH_PUSH__AUTH", "oidc"), 2, "push.audience is empty"),
        (&["serve"], ("PEDWATCH_PUSH__AUTH", "platform"), 2, "no store; expected --store"),
        (&["serve"], ("PEDWATCH_PUSH__PORT", "0"), 2, "push.port is 0"),
        (&["serve"], ("PEDWATCH_PUSH__PORT", "x"), 2, "\"x\" is not a whole number"),
        (&["serve", "--store=mysql:x"], ("PEDWATCH_PUSH__AUTH", "platform"), 2, "sqlite:FILE"),
        (&["serve", &broken], ("PEDWATCH_PUSH__AUTH", "platform"), 1, "cannot open the store"),
        (&["pull"], ("PEDWATCH_PULL__LEASE_SECONDS", "10"), 2, "no subscription"),
        (&["pull", "--no-such"], ("PEDWATCH_PULL__LEASE_SECONDS", "10"), 2, "--no-such"),
        (
            &["pull", &fine, "--subscription=projects/acme-prod/subscriptions/pedwatch-audit"],
            ("PEDWATCH_CONSUMER__METRICS_PORT", &taken),
            1,
            "port",
        ),
    ] {
        let mut server = command();
        // Another program may have the usual one.
        let port = crate::servers::free_address().port().to_string();
        server.args(args).env("PEDWATCH_CONSUMER__METRICS_PORT", port).env(variable, value);
        server.env("PEDWATCH_LOG__FORMAT", "json").env("RUST_LOG", "off");
        let output = run(&mut server, b"");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        let lines: Vec<Json> = stderr(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines.len(), 1, "{args:?}: {lines:?}");
        assert_eq!(lines[0]["severity"], "ERROR", "{args:?}");
        assert!(lines[0]["message"].as_str().is_some_and(|message| message.contains(part)), "{args:?}: {lines:?}");
        assert!(lines[0]["time"].is_string());
        let text = run(server.env("PEDWATCH_LOG__FORMAT", "text"), b"");
        assert_eq!(text.status.code(), Some(code), "{args:?}: {}", stderr(&text));
        assert!(stderr(&text).contains(part) && !stderr(&text).starts_with('{'), "{args:?}: {}", stderr(&text));
    }
    let file = folder.path().join("json.toml");
    std::fs::write(&file, "log.format = \"json\"\n").expect("written");
    let output = pedwatch(&["--config", file.to_str().expect("UTF-8"), "serve", "--no-such"]);
    assert!(stderr(&output).starts_with("{\"") && stderr(&output).contains("--no-such"), "{}", stderr(&output));
    let mut ped = command();
    let output = run(ped.args(["ped", "list"]).env("PEDWATCH_LOG__FORMAT", "json"), b"");
    assert!(stderr(&output).starts_with("pedwatch: no store"), "a person reads it: {}", stderr(&output));
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
    // New is what the snapshot teaches, which neither had.
    assert_eq!((&both["events"], &both["duplicates"]), (&json!(2), &json!(16)));
}
