//! `changes`, `status` and `daily` as people run them.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration as Pause;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use pedwatch::store::query;
use pedwatch::store::sqlite::Sqlite;
use serde_json::Value as Json;

use crate::cli::{command, run, stderr, stdout};
use crate::support::{Sample, block_on, ped};
use crate::terminal::{on_a_terminal, uncoloured};

fn asked(store: &Path, args: &[&str]) -> Output {
    run(command().args(args).arg(format!("--store=sqlite:{}", store.display())), b"")
}

/// What a command prints that is to succeed.
fn answer(store: &Path, args: &[&str]) -> String {
    let output = asked(store, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn today() -> DateTime<Utc> {
    Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
}

fn date(days_ago: i64) -> String {
    (today() - Duration::days(days_ago)).date_naive().to_string()
}

/// A store in which a number is asked for every nine hours of the last days, by two people, in two clusters.
fn recorded(folder: &Path, days: i64) -> std::path::PathBuf {
    let (store, peds) = (folder.join("facts.db"), folder.join("ped.yaml"));
    std::fs::write(&peds, ped("payments", "orders-api", None, 4)).expect("written");
    let begin = today() - Duration::days(days);
    let entries: String = (0..days * 24 / 9)
        .map(|number| {
            let at = pedwatch::id::time(begin + Duration::hours(number * 9) + Duration::minutes(20));
            let sample = Sample::patch(&format!("entry-{number:03}"), &at, 1 + number * 5 % 8)
                .version(1_000 + number * 10, number + 1)
                .actor(["alice@example.com", "release@acme-prod.iam.gserviceaccount.com"][usize::from(number % 3 == 0)])
                .set("/resource/labels/cluster_name", ["prod-1", "prod-2"][usize::from(number % 4 == 3)]);
            format!("{}\n", sample.uid(["uid-1", "uid-2"][usize::from(number % 4 == 3)]).entry)
        })
        .collect();
    let ped = format!("--ped={}={}", date(days), peds.display());
    let replayed = run(
        command().args(["replay", "-", &ped]).arg(format!("--store=sqlite:{}", store.display())),
        entries.as_bytes(),
    );
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    store
}

/// As if it had been recorded some hours ago: what comes within the hour is late, and closed again by the next `daily`.
fn aged(store: &Path) {
    let connection = rusqlite::Connection::open(store).expect("opened");
    let ago = pedwatch::id::time(Utc::now() - Duration::hours(5));
    connection.execute("UPDATE OR REPLACE watermarks SET at = ? WHERE name LIKE 'late/%'", [ago]).expect("written");
}

fn objects(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_question_is_answered_alike_in_every_form_and_before_and_behind_daily() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), 4);
    aged(&store);
    let (two_ago, one_ago, noon) = (date(2), date(1), format!("{}T12:00Z", date(2)));
    let questions: [&[&str]; 9] = [
        &["changes"],
        &["changes", "--from", &two_ago, "--to", &one_ago],
        &["changes", "payments/orders-api", "--verdict=over_limit", "--verdict", "within", "--actor", "ALICE*example"],
        &["changes", "payments", "--cluster=prod-2"],
        &["changes", "payments/nothing"],
        &["status", "--at", &noon],
        &["status", "--at", &noon, "--over", "--cluster=prod-1"],
        &["status", "--at", &noon, "--unregistered"],
        &["alerts", "--since", &two_ago],
    ];
    let told = || -> Vec<(String, Vec<Json>)> {
        let mut told = Vec::new();
        for (number, question) in questions.iter().enumerate() {
            let of = |format: &str| answer(&store, &[*question, &["--format", format]].concat());
            let (table, rows) = (of("table"), objects(&of("ndjson")));
            for replicas in rows.iter().filter_map(|row| row["replicas"].as_i64()) {
                assert!(table.contains(&replicas.to_string()), "{question:?}: {replicas} is not in {table}");
            }
            if number % 4 == 0 {
                assert_eq!(serde_json::from_str::<Vec<Json>>(&of("json")).expect("JSON"), rows, "{question:?}");
                let csv = of("csv");
                assert_eq!(csv.lines().count(), rows.len() + 1, "{question:?}: {csv}");
                assert!(csv.starts_with(if number == 8 { "alert_id," } else { "event_id," }), "{csv}");
            }
            told.push((table, rows));
        }
        told
    };
    let before = told();
    for (columns, number) in [(80, 0), (80, 5), (80, 8), (50, 0), (50, 5)] {
        let url = format!("--store=sqlite:{}", store.display());
        let args = [questions[number], &[&*url]].concat();
        let text = uncoloured(&on_a_terminal(columns, &args, &[]));
        for line in text.lines().filter(|line| line.chars().count() > columns) {
            assert_eq!(line.trim().split(' ').count(), 1, "{columns} {args:?}: {line:?}");
        }
    }
    let closed: Json = serde_json::from_str(&answer(&store, &["daily", "--format=json"])).expect("JSON");
    let days: Vec<&str> =
        closed["closed"].as_array().expect("days").iter().map(|day| day["date"].as_str().expect("a day")).collect();
    assert_eq!(days, [date(4), date(3), date(2), date(1)]);
    for (before, behind) in before.iter().zip(told()) {
        assert_eq!(*before, behind);
    }
    let found: Vec<usize> = before.iter().map(|(_, rows)| rows.len()).collect();
    assert_eq!(found, [10, 2, 5, 2, 0, 2, 1, 0, 5], "{before:#?}");
    let at_noon = &before[5].1;
    assert!(at_noon.iter().all(|row| row["owner"] == "team-payments" && row["limit_max_replicas"] == 4), "{at_noon:?}");
}

#[test]
fn wrong_questions_are_told_with_what_is_right() {
    for (args, message) in [
        (&["changes", "--from", "someday"][..], "expected one like 2026-09-11"),
        (&["changes", "--from", "2026-09-11 08:00 CET"], "expected one like 2026-09-11"),
        (&["changes", "--to", "2026-02-30"], "expected one like 2026-09-11"),
        (&["changes", "--from", "2026-09-11", "--to", "2026-09-01"], "expected --from to be earlier"),
        (&["changes", "--from", "2026-09-11", "--to", "2026-09-11"], "expected --from to be earlier"),
        (&["changes", "--verdict", "wild"], "over_limit"),
        (&["changes", "a/b/c"], "NAMESPACE/DEPLOYMENT"),
        (&["changes", "--cluster", "projects/x"], "clusters/NAME"),
        (&["changes", "--format", "xml"], "ndjson"),
        (&["status", "--at", "25:00"], "expected one like 2026-09-11"),
        (&["status", "--at", "12345-01-01"], "expected one like 2026-09-11"),
        (&["status", "/x"], "NAMESPACE/DEPLOYMENT"),
        (&["daily", "--from", "2026-13-01"], "expected one like 2026-09-11"),
        (&["daily", "--from", "2026-09-05", "--to", "2026-09-01"], "expected --from to be earlier"),
    ] {
        let output = asked(Path::new("no-such.db"), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {:?} does not say {message:?}", stderr(&output));
    }
    for args in [["changes"], ["status"]] {
        let output = asked(Path::new("no-such.db"), &args);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("there is no such file"), "{}", stderr(&output));
    }
}

#[test]
fn nothing_is_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.db");
    answer(&empty, &["ped", "register", "fixtures/ped", "--updated-by=ci", "--reason=first"]);
    let full = recorded(folder.path(), 2);
    for (store, args, said) in [
        (&empty, &["changes"][..], "no changes\n"),
        (&empty, &["status"], "nothing stands\n"),
        (&empty, &["status", "--over", "--at", "yesterday"], "nothing stands\n"),
        (&empty, &["daily"], "no day is to be closed\n"),
        (&empty, &["daily", "--from", "-30d"], "no day is to be closed\n"),
        // Before the first event.
        (&full, &["changes", "--from", "2020-01-01", "--to", "2020-01-02"], "no changes\n"),
        (&full, &["status", "--at", "2020-01-01"], "nothing stands\n"),
        (&full, &["daily", "--from", "2020-01-01", "--to", "2020-01-31"], "no day is to be closed\n"),
        // What is not over.
        (&full, &["daily", "--from", "today"], "no day is to be closed\n"),
    ] {
        assert_eq!(answer(store, args), said, "{args:?}");
        for (format, nothing) in [("ndjson", ""), ("json", "[]\n")] {
            let text = answer(store, &[args, &["--format", format]].concat());
            let nothing = if args[0] == "daily" && format == "json" {
                "{\"alerts_raised\":0,\"closed\":[],\"compared\":[]}\n"
            } else {
                nothing
            };
            assert_eq!(text, nothing, "{args:?}");
        }
        if args[0] != "daily" {
            assert_eq!(answer(store, &[args, &["--format=csv"]].concat()).lines().count(), 1, "{args:?}");
        }
    }
}

/// The rows of the closed days, whoever closed them.
fn object_days(store: &Path) -> Vec<Json> {
    let rows = block_on(async { query::dump(&Sqlite::open(store).expect("opened"), "object_days").await });
    let mut rows = rows.expect("readable");
    rows.sort_by_key(|row| row["day_id"].to_string());
    rows
}

#[test]
fn daily_that_is_killed_and_run_again_or_twice_at_once_ends_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), 6);
    aged(&store);
    let copies = ["whole.db", "killed.db", "twice.db"].map(|name| {
        let copy = folder.path().join(name);
        std::fs::copy(&store, &copy).expect("copied");
        copy
    });
    let [whole, killed, twice] = &copies;
    let daily = |store: &Path| {
        let mut daily = command();
        daily.arg("daily").arg(format!("--store=sqlite:{}", store.display()));
        daily.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started")
    };
    answer(whole, &["daily"]);
    let mut kills = 0;
    for millis in [20, 90, 200, 350, 500, 800] {
        let mut child = daily(killed);
        std::thread::sleep(Pause::from_millis(millis));
        // What has ended cannot be killed.
        kills += usize::from(child.try_wait().expect("waited").is_none());
        let _ = child.kill();
        child.wait().expect("waited");
        assert_eq!(
            answer(killed, &["changes", "--format=csv"]),
            answer(&store, &["changes", "--format=csv"]),
            "{millis}"
        );
    }
    assert!(kills > 0, "none was killed in the middle");
    answer(killed, &["daily"]);
    let both = [daily(twice), daily(twice)];
    for child in both {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let expected = object_days(whole);
    assert_eq!(expected.len(), 6 * 2 - 1, "{expected:#?}");
    for copy in [killed, twice] {
        assert_eq!(object_days(copy), expected, "{}", copy.display());
        assert_eq!(answer(copy, &["daily"]), "no day is to be closed\n");
        for question in ["changes", "status"] {
            let args = [question, "--format=ndjson"];
            assert_eq!(answer(copy, &args), answer(&store, &args), "{question} in {}", copy.display());
        }
    }
}

#[test]
fn a_backfill_closes_the_days_of_its_range_and_the_future_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), 4);
    let ahead =
        |id: &str, time: DateTime<Utc>| Sample::patch(id, &pedwatch::id::time(time), 7).version(9_000, 900).entry;
    let entries = format!(
        "{}\n{}\n",
        ahead("ahead", Utc::now() + Duration::hours(20)),
        ahead("far", Utc::now() + Duration::days(400))
    );
    let url = format!("--store=sqlite:{}", store.display());
    let replayed = run(command().args(["replay", "-", "--format=json", &url]), entries.as_bytes());
    let summary: Json = serde_json::from_slice(&replayed.stdout).expect("JSON");
    assert_eq!((&summary["events"], &summary["quarantined"]), (&1.into(), &1.into()), "{summary}");
    let days = |args: &[&str]| -> Vec<NaiveDate> {
        let closed = objects(&answer(&store, &[&["daily", "--format=ndjson"], args].concat()));
        closed.iter().map(|day| day["date"].as_str().expect("text").parse().expect("a day")).collect()
    };
    let ago = |days: i64| (today() - Duration::days(days)).date_naive();
    assert_eq!(days(&["--from", &date(900), "--to", "today"]), [ago(4), ago(3), ago(2), ago(1)], "today is not over");
    assert_eq!(object_days(&store).len(), 7, "each on the one before, though all of it came just now");
    aged(&store);
    assert_eq!(days(&["--from", &date(900), "--to", &date(3)]), [ago(4), ago(3)]);
    assert!(days(&[]).is_empty());
    assert_eq!(days(&["--from", "-2d", "--to", "yesterday"]), [ago(2), ago(1)], "again");
    assert_eq!(object_days(&store).len(), 7, "which says the same");
    let future = objects(&answer(&store, &["changes", "--from", "now", "--format=ndjson"]));
    assert_eq!(future.iter().map(|row| &row["replicas"]).collect::<Vec<_>>(), [7]);
    assert!(!answer(&store, &["status", "--format=ndjson"]).contains("\"replicas\":7"), "it is to come");
    let shown = on_a_terminal(80, &["daily", "--from", "-4d", &url], &[]);
    assert!(shown.contains(&date(1)) && shown.contains("as known"), "{shown}");
}
