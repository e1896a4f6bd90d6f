//! `pedwatch filter` and `pedwatch backfill`, against a stand-in for the Logging API.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use pedwatch::source::logging::filter::{Narrowing, filter};
use pedwatch::store::query;
use pedwatch::store::row::{Record, Watermark};
use pedwatch::store::sqlite::Sqlite;
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::support::{
    FACTS, Sample, all_entries, block_on, contents, handle, on_every_store, pipeline, register_fixtures, time,
};
use crate::terraform::{filter_is_right, matches};
use logging::{Fault, Logging};

pub mod logging;

/// Some time before all fixtures, and some behind.
const SPAN: [&str; 2] = ["--from=2026-01-01", "--to=2026-11-20"];

/// The entries in `fixtures` that come out of Logging through the sink, one for each time that they are there.
fn exported() -> Vec<Json> {
    let entries = all_entries().into_iter().filter_map(|entry| serde_json::from_slice::<Json>(&entry).ok());
    let is_stamped = |entry: &Json| {
        let stamp = entry["timestamp"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        stamp.is_some_and(|at| (time("2026-01-01T00:00:00Z")..time("2026-11-20T00:00:00Z")).contains(&at.to_utc()))
    };
    let filter = filter(&Narrowing::default());
    let exported: Vec<Json> = entries
        .filter(|entry| is_stamped(entry) && entry["protoPayload"].is_object() && matches(&filter, entry))
        .filter(|entry| entry["logName"].as_str().is_some_and(|log| log.starts_with("projects/acme-prod/")))
        .collect();
    assert!(exported.len() > 60, "{} entries", exported.len());
    exported
}

fn backfill(logging: &Logging, store: &Path, more: &[&str]) -> Command {
    let mut command = command();
    command.args(["--config=fixtures/pedwatch.toml", "backfill", "--format=json", "--store"]);
    command.arg(format!("sqlite:{}", store.display())).args(SPAN).args(more);
    command.env("PEDWATCH_BACKFILL__ENDPOINT", format!("http://{}", logging.address));
    command.env("PEDWATCH_BACKFILL__ANONYMOUS", "true").env("PEDWATCH_BACKFILL__REQUESTS_PER_MINUTE", "60000");
    command
}

fn summary(output: &Output) -> Json {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a store holds, without what tells of an arrival.
fn held(store: &Path) -> Vec<(String, Vec<Json>)> {
    let store = Sqlite::open(store).expect("a store");
    block_on(contents(&store, &[&FACTS[..], &["replica_changes", "alerts"]].concat()))
}

/// A new store with the fixtures' limits.
fn prepared(store: &Path) {
    block_on(async { register_fixtures(&Sqlite::open(store).expect("a store")).await });
}

/// What a prepared store holds after a replay of these entries.
fn replayed(folder: &Path, entries: &[Json]) -> Vec<(String, Vec<Json>)> {
    let (file, store) = (folder.join("entries.ndjson"), folder.join("replayed.db"));
    prepared(&store);
    let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    std::fs::write(&file, lines).expect("written");
    let mut command = command();
    command.args(["--config=fixtures/pedwatch.toml", "replay", "--format=json", "--store"]);
    summary(&run(command.arg(format!("sqlite:{}", store.display())).arg(&file), b""));
    held(&store)
}

/// Compares table by table, so that a failure shows the row.
fn assert_same(found: &[(String, Vec<Json>)], expected: &[(String, Vec<Json>)]) {
    for ((table, found), (_, expected)) in found.iter().zip(expected) {
        let difference = found.iter().zip(expected).find(|(one, other)| one != other);
        assert!(found == expected, "{table}: {} and {} rows; {difference:#?}", found.len(), expected.len());
    }
    assert_eq!(found.len(), expected.len());
}

fn count(held: &[(String, Vec<Json>)], table: &str) -> usize {
    held.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| rows.len())
}

#[test]
fn a_backfill_leaves_what_a_replay_of_the_same_entries_leaves_whatever_the_api_does() {
    let (folder, entries) = (tempfile::tempdir().expect("a folder"), exported());
    let faults = [
        Fault::Reset,
        Fault::Status(429, None),
        Fault::Pass,
        Fault::Status(429, Some("1")),
        Fault::Empty,
        Fault::Cut,
        Fault::Repeat,
        Fault::Status(503, None),
        Fault::Pass,
        Fault::Html,
        Fault::Expire,
        Fault::Status(500, None),
        Fault::Status(401, None),
        Fault::Empty,
        Fault::Empty,
        Fault::Repeat,
    ];
    let logging = Logging::new(entries.clone(), 7, &faults);
    let store = folder.path().join("facts.db");
    prepared(&store);
    let told = summary(&run(&mut backfill(&logging, &store, &["--project=acme-prod"]), b""));
    assert_eq!(logging.left(), 0, "every fault was met");
    let expected = replayed(folder.path(), &entries);
    assert!(count(&expected, "replica_events") > 40 && count(&expected, "alerts") > 5, "it is worth comparing");
    assert!(told["entries"].as_u64().is_some_and(|read| read > entries.len() as u64), "some came twice: {told}");
    assert_same(&held(&store), &expected);

    let again = summary(&run(&mut backfill(&logging, &store, &["--project=acme-prod"]), b""));
    assert_eq!((&again["events"], &again["quarantined"]), (&json!(0), &json!(0)), "{again}");
    assert_eq!(again["entries"], entries.len(), "one that came to its end is no part of the next");
    assert_same(&held(&store), &expected);
}

#[test]
fn what_a_subscription_delivered_is_not_recorded_again() {
    let (folder, entries) = (tempfile::tempdir().expect("a folder"), exported());
    let path = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&path).expect("a store");
        register_fixtures(&store).await;
        let push = |(id, entry): (usize, &Json)| {
            let data = STANDARD.encode(entry.to_string());
            json!({"message": {"data": data, "messageId": id.to_string()}, "subscription": "s"}).to_string()
        };
        let pushed: Vec<String> = entries.iter().enumerate().map(push).collect();
        handle(&store, &pipeline(&store).await, &pushed, Utc::now()).await;
    });
    let before = held(&path);
    let logging = Logging::new(entries, 1_000, &[]);
    let told = summary(&run(&mut backfill(&logging, &path, &["--project=acme-prod"]), b""));
    assert_eq!((&told["events"], &told["quarantined"]), (&json!(0), &json!(0)), "{told}");
    assert_same(&held(&path), &before);
}

/// A change every second, of one Deployment.
fn changes(count: usize) -> Vec<Json> {
    let at = |second: usize| time("2026-09-11T08:00:00Z") + chrono::Duration::seconds(second as i64);
    let change = |second: usize| {
        let replicas = 2 + (second % 3) as i64;
        let id = format!("id-{second:04}");
        Sample::patch(&id, &at(second).to_rfc3339(), replicas).version(second as i64 + 1, second as i64 + 1).entry
    };
    (0..count).map(change).collect()
}

#[test]
fn one_that_was_killed_goes_on_where_its_last_leg_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, entries) = (folder.path().join("facts.db"), changes(500));
    prepared(&store);
    let faults: Vec<Fault> = std::iter::repeat_n(Fault::Pass, 399).chain([Fault::Hang]).collect();
    let logging = Logging::new(entries.clone(), 1, &faults);
    let mut command = backfill(&logging, &store, &["--project=acme-prod"]);
    let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let begun = Instant::now();
    while logging.requests().len() < 400 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} requests", logging.requests().len());
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill().expect("killed");
    killed.wait().expect("dead");

    let output = run(&mut backfill(&logging, &store, &["--project=acme-prod"]), b"");
    let told = summary(&output);
    // The 300th entry is at 08:04:59.
    assert!(stderr(&output).contains("going on at 2026-09-11T08:04:59.000000Z"), "{}", stderr(&output));
    assert_eq!(told["entries"], 201, "the last entry of the leg is read again");
    assert_same(&held(&store), &replayed(folder.path(), &entries));
}

#[test]
fn the_latest_watermark_of_a_name_counts_however_far_it_is() {
    on_every_store(async |store| {
        let mark = |name: &str, through, at| {
            Record::Watermark(Watermark { name: name.to_owned(), through: time(through), at: time(at) })
        };
        let [one, two, three] = ["2026-09-11T08:00:00Z", "2026-09-11T09:00:00Z", "2026-09-11T10:00:00Z"];
        let marks = [mark("backfill/a", three, one), mark("backfill/a", one, two), mark("backfill/b", two, three)];
        store.append(marks.into()).await.expect("appended");
        let through = async |name| query::watermark(store, name).await.expect("readable").map(|mark| mark.through);
        assert_eq!(through("backfill/a").await, Some(time(one)));
        assert_eq!(through("backfill/c").await, None);
    });
}

#[test]
fn one_that_is_refused_tells_why_and_goes_on_there_when_that_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, entries) = (folder.path().join("facts.db"), changes(10));
    prepared(&store);
    let refusal = [Fault::Pass, Fault::Pass, Fault::Status(403, None)];
    let logging = Logging::new(entries.clone(), 2, &refusal);
    let refused = run(&mut backfill(&logging, &store, &["--project=acme-prod"]), b"");
    assert_eq!(refused.status.code(), Some(1));
    for part in
        ["go on with --from 2026-09-11T08:00:03.000000Z --to 2026-11-20T00:00:00.000000Z", "roles/logging.viewer"]
    {
        assert!(stderr(&refused).contains(part), "{:?} does not say {part:?}", stderr(&refused));
    }
    let told = summary(&run(&mut backfill(&logging, &store, &["--project=acme-prod"]), b""));
    assert_eq!(told["entries"], 7);
    assert_same(&held(&store), &replayed(folder.path(), &entries));
}

#[test]
fn an_api_that_stays_away_is_given_up_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let logging = Logging::new(changes(1), 1, &[Fault::Status(503, None); 50]);
    let mut command = backfill(&logging, &folder.path().join("facts.db"), &["--project=acme-prod"]);
    let output = run(command.env("PEDWATCH_BACKFILL__DEADLINE_SECONDS", "2"), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gave up after") && stderr(&output).contains("503"), "{}", stderr(&output));
}

#[test]
fn requests_keep_to_the_quota_and_to_what_the_server_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = [Fault::Pass, Fault::Pass, Fault::Status(429, Some("2")), Fault::Pass, Fault::Status(429, None)];
    let logging = Logging::new(changes(10), 2, &faults);
    let mut command = backfill(&logging, &folder.path().join("facts.db"), &["--project=acme-prod"]);
    summary(&run(command.env("PEDWATCH_BACKFILL__REQUESTS_PER_MINUTE", "240"), b""));
    let times: Vec<Instant> = logging.requests().iter().map(|(at, _)| *at).collect();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), 6, "{gaps:?}");
    // One may come late, and the next in time; together they keep to it.
    assert!(gaps.iter().sum::<Duration>() > Duration::from_millis(200) * 6, "{gaps:?}");
    assert!(gaps[2] > Duration::from_millis(1_950) && gaps[4] > Duration::from_millis(450), "{gaps:?}");
}

#[test]
fn a_question_names_all_projects_and_views_and_keeps_to_one_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let logging = Logging::new(changes(3), 1, &[]);
    let view = "organizations/1/locations/global/buckets/b/views/_AllLogs";
    let more =
        ["--project=acme-prod", "--project=acme-test", "--view", view, "--namespace=payments", "--cluster=prod-1"];
    let told = summary(&run(&mut backfill(&logging, &folder.path().join("facts.db"), &more), b""));
    assert_eq!(told["entries"], 3);
    let narrowing =
        Narrowing { clusters: vec!["prod-1".into()], namespaces: vec!["payments".into()], distributed_cloud: false };
    let bounds = "timestamp>=\"2026-01-01T00:00:00.000000Z\"\ntimestamp<\"2026-11-20T00:00:00.000000Z\"";
    let expected = json!({
        "resourceNames": ["projects/acme-prod", "projects/acme-test", view],
        "filter": format!("{}\n{bounds}", filter(&narrowing)),
        "orderBy": "timestamp asc",
        "pageSize": 1000,
        "pageToken": "",
    });
    assert_eq!(logging.requests()[0].1, expected);
}

#[test]
fn without_credentials_it_says_so_at_once() {
    // A metadata server that takes a connection and says nothing, and none at all.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for metadata in [silent.local_addr().expect("an address").to_string(), "127.0.0.1:9".to_owned()] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = command();
        command.args(["backfill", "--project=acme-prod"]).args(SPAN);
        command.env("HOME", folder.path()).env("GCE_METADATA_HOST", &metadata);
        command.env_remove("GOOGLE_APPLICATION_CREDENTIALS");
        let begun = Instant::now();
        let output = run(&mut command, b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let said = stderr(&output);
        assert!(said.contains("gcloud auth application-default login") && said.len() < 1_000, "{said}");
    }
}

#[test]
fn wrong_arguments_are_told_before_anything_is_asked() {
    for (args, message) in [
        (&["--from=2026-09-11", "--to=2026-09-12"][..], "--project"),
        (&["--project=acme-prod", "--from=2026-09-11"], "--to"),
        (&["--project=acme-prod", "--from=2026-09-12", "--to=2026-09-11"], "expected --from to be earlier"),
        (&["--project=acme prod", "--from=2026-09-11", "--to=2026-09-12"], "expected a project's id"),
        (&["--view=folders/1", "--from=2026-09-11", "--to=2026-09-12"], "buckets/BUCKET/views/VIEW"),
        (&["--project=acme-prod", "--from=someday", "--to=2026-09-12"], "someday"),
        (&["--project=acme-prod", "--namespace=.*", "--from=-7d", "--to=now"], "lower-case letters"),
    ] {
        let output = run(command().arg("backfill").args(args), b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {:?} does not say {message:?}", stderr(&output));
    }
}

#[test]
fn the_printed_filter_is_the_sinks() {
    let printed = stdout(&run(command().arg("filter"), b""));
    assert_eq!(printed.trim_end(), filter(&Narrowing::default()));
    assert!(filter_is_right(printed.trim_end()));
    let entry = |service: &str, method: &str| {
        json!({
            "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
            "resource": {"type": "k8s_cluster"},
            "protoPayload": {"serviceName": service, "methodName": method},
        })
    };
    for method in [
        "io.k8s.apps.v1.deployments.patch",
        "io.k8s.apps.v1.deployments.deletecollection",
        "io.k8s.apps.v1.deployments.scale.update",
        "io.k8s.extensions.v1beta1.deployments.create",
        "io.k8s.autoscaling.v2.horizontalpodautoscalers.update",
        "io.k8s.autoscaling.v1.horizontalpodautoscalers.deletecollection",
    ] {
        assert!(matches(printed.trim_end(), &entry("k8s.io", method)), "{method}");
    }
    let deletes = entry("container.googleapis.com", "google.container.v1.ClusterManager.DeleteCluster");
    assert!(matches(printed.trim_end(), &deletes));
    assert!(!matches(printed.trim_end(), &entry("k8s.io", "io.k8s.apps.v1.deployments.status.patch")));

    let bounded = stdout(&run(command().args(["filter", "--from=2026-09-11", "--to=2026-09-12T06:00Z"]), b""));
    let bounds = "timestamp>=\"2026-09-11T00:00:00.000000Z\"\ntimestamp<\"2026-09-12T06:00:00.000000Z\"\n";
    assert_eq!(bounded, format!("{printed}{bounds}"));
}
