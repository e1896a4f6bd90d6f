//! What a question costs, by how long the history behind it is: 10,000, 100,000 and a million events of a thousand
//! Deployments with a PED each, the same number of events a day, and every day that is over closed. Prints the times and
//! their ratios to the smallest, and then what BigQuery would read for each question after a year, computed from the sizes
//! of these rows.
//!
//! `cargo bench --bench questions`; `PEDWATCH_BENCH_EVENTS=1000000` for one size only, of which no times are kept,
//! `PEDWATCH_BENCH_KEEP=1` keeps the files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a bench that fails has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use pedwatch::audit::{ActorKind, ObjectKind, ObjectState, Operation, Outcome};
use pedwatch::ped::version::Version;
use pedwatch::ped::{Clusters, Subject, Terms};
use pedwatch::policy::Route;
use pedwatch::store::row::{Record, ReplicaEvent};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Registry, Store};
use rusqlite::Connection;
use serde_json::Value as Json;

use measure::Figures;

#[allow(dead_code, reason = "each bench uses some of it")]
mod measure;

const DEPLOYMENTS: i64 = 1_000;
const EVENTS_A_DAY: i64 = 2_740;
const SIZES: [(i64, &str); 3] = [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")];

/// Days that are closed one by one; what is before them is closed at once, as a backfill may do it.
const CLOSED_DAYS: i64 = 5;

/// The fastest of so many counts: what else the machine does only makes it slower.
const ROUNDS: usize = 3;

fn main() {
    let only: Option<i64> = std::env::var("PEDWATCH_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let folder = std::env::temp_dir().join(format!("pedwatch-questions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut first: Option<Vec<(Question, Duration)>> = None;
    let (mut figures, mut reads) = (Figures::default(), Figures::default());
    for (size, short) in SIZES.into_iter().filter(|(size, _)| only.is_none_or(|only| only == *size)) {
        let history = History::new(folder.join(format!("{size}.db")), size);
        println!("{size} events, {} days; closing them took {:.1} s", history.days, history.closed.as_secs_f64());
        let took = history.questions();
        let base = first.get_or_insert_with(|| took.clone());
        for ((question, took), (_, least)) in took.iter().zip(base.iter()) {
            let (took, least) = (took.as_secs_f64(), least.as_secs_f64());
            println!("  {}: {:.0} ms, {:.2} of the smallest", question.told, took * 1e3, took / least);
            figures.keep(format!("{}_{short}_ms", question.name), took * 1e3);
            figures.keep(format!("{}_{short}_ratio", question.name), took / least);
        }
        if only.is_some() || size == 1_000_000 {
            bytes_in_bigquery(&history.file, &mut reads);
        }
    }
    if only.is_none() {
        figures.write("questions");
    }
    reads.write("reads");
    if std::env::var_os("PEDWATCH_BENCH_KEEP").is_none() {
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}

/// What is asked: as a figure is called, and as a person is told.
#[derive(Clone, Copy)]
struct Question {
    name: &'static str,
    told: &'static str,
}

/// A store with so many events, that end yesterday.
struct History {
    file: PathBuf,
    days: i64,
    closed: Duration,
}

impl History {
    fn new(file: PathBuf, size: i64) -> Self {
        let days = size / EVENTS_A_DAY + 1;
        let today = Utc::now().date_naive().and_hms_opt(0, 0, 0).expect("midnight").and_utc();
        let begin = today - TimeDelta::days(days);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let store = Sqlite::open(&file).expect("a store");
            let versions: Vec<Version> = (0..DEPLOYMENTS).map(|number| version(number, begin)).collect();
            store.append_versions(&versions).await.expect("appended");
            // So that they end where yesterday does.
            let skipped = days * EVENTS_A_DAY - size;
            let mut number = 0;
            while number < size {
                let numbers = number..size.min(number + 8_192);
                let records: Vec<Record> =
                    numbers.map(|number| Record::Event(Box::new(event(number, skipped, begin)))).collect();
                number += 8_192;
                store.append(Arc::from(records)).await.expect("appended");
            }
        });
        let mut history = History { file, days, closed: Duration::ZERO };
        let from = format!("-{}d", days.min(CLOSED_DAYS));
        history.closed = history.timed(&["daily", "--from", &from, "--to", "-2d"], None);
        history
    }

    fn questions(&self) -> Vec<(Question, Duration)> {
        let fastest = |question: &dyn Fn(usize) -> Duration| (0..ROUNDS).map(question).min().expect("a round");
        let yesterday = Utc::now().date_naive().pred_opt().expect("a day").to_string();
        let closing = self.timed(&["daily"], None);
        let noon = format!("{yesterday}T12:00Z");
        let changes = ["changes", "--from", "yesterday", "--to", "today", "--format", "csv"];
        let status = ["status", "--format", "csv"];
        let status_at = ["status", "--at", &noon, "--format", "csv"];
        vec![
            (Question { name: "closing", told: "closing yesterday" }, closing),
            (Question { name: "changes", told: "changes of yesterday" }, fastest(&|_| self.timed(&changes, None))),
            (
                Question { name: "changes_table", told: "changes of yesterday as a table" },
                fastest(&|_| self.timed(&changes[..5], None)),
            ),
            (Question { name: "status", told: "status" }, fastest(&|_| self.timed(&status, None))),
            (Question { name: "status_at", told: "status yesterday noon" }, fastest(&|_| self.timed(&status_at, None))),
            (
                Question { name: "replay", told: "replaying one more entry" },
                fastest(&|round| self.timed(&["replay", "-"], Some(entry(round)))),
            ),
        ]
    }

    /// One command, with the binary itself: what a person waits.
    fn timed(&self, args: &[&str], input: Option<String>) -> Duration {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
        command.args(args).arg("--store").arg(format!("sqlite:{}", self.file.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, input.unwrap_or_default().as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        begun.elapsed()
    }
}

/// Which rows of a table a question reads.
#[derive(Clone, Copy)]
enum Rows {
    /// Those of so many days: as many as there are events a day.
    Events(f64),
    /// Those of one day, of which there are so many for each event.
    Changes,
    /// Those of so many days.
    Alerts(f64),
    /// Those that one closing carries: as many as the Deployments make, whatever is written.
    Closing,
    /// Those of the objects of one day.
    States,
    /// All.
    All,
}

/// What each question reads: the partitions that its conditions leave, of which BigQuery bills all columns that it names. The
/// views name nearly all, so all are counted. A part of a day that is not closed counts as a day; what was written to is told by
/// another day of events. Each command asks for the marks of what is closed as well.
const READS: [(Question, &[(&str, Rows)]); 6] = [
    (Question { name: "marks", told: "the marks of closed days" }, &[("watermarks", Rows::All)]),
    (
        Question { name: "status", told: "status" },
        &[
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(2.0)),
            ("object_days", Rows::States),
            ("deployment_config", Rows::All),
        ],
    ),
    (
        Question { name: "changes", told: "changes of yesterday" },
        &[
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(2.0)),
            ("closed_changes", Rows::Changes),
            ("deployment_config", Rows::All),
        ],
    ),
    (
        Question { name: "status_at", told: "status at a time of yesterday" },
        &[
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(2.0)),
            ("closed_changes", Rows::Changes),
            ("object_days", Rows::States),
            ("deployment_config", Rows::All),
        ],
    ),
    (
        Question { name: "judging", told: "judging again, and each of four questions of a replay's report" },
        &[
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(1.0)),
            // A call that timed out may raise its alert a day later.
            ("alert_log", Rows::Alerts(2.0)),
            ("deployment_config", Rows::All),
        ],
    ),
    (
        Question {
            name: "daily",
            told: "closing a day, and looking for alerts that nobody raised since the day before",
        },
        &[
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(1.0)),
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(1.0)),
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(1.0)),
            ("carried_writes", Rows::Closing),
            ("replica_events", Rows::Events(3.0)),
            ("alert_log", Rows::Alerts(4.0)),
            ("deployment_config", Rows::All),
        ],
    ),
];

/// One event in five alerts, and an alert is so large: as `cargo bench --bench store` has them.
const ALERTS_AN_EVENT: f64 = 0.2;
const ALERT_BYTES: f64 = 255.0;

/// BigQuery bills so much for each table that a question names.
const LEAST_BYTES: f64 = 10.0 * 1_048_576.0;

/// Prints what BigQuery would read for each question at 10,000, 100,000 and a million events a day.
fn bytes_in_bigquery(file: &Path, figures: &mut Figures) {
    let store = Connection::open(file).expect("opened");
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, f64>(0)).expect("a number");
    let closings = count("SELECT COUNT(DISTINCT closing) FROM carried_writes");
    let changes_an_event = count("SELECT COUNT(*) FROM closed_changes") / count("SELECT COUNT(*) FROM replica_events");
    let row_bytes = |table: &str| match table {
        "alert_log" => ALERT_BYTES,
        table => count(&format!("SELECT AVG({}) FROM {table}", size_of_a_row(table))),
    };
    let rows_of = |table: &str, rows: Rows, events: f64| match rows {
        Rows::Events(days) => days * events,
        Rows::Changes => events * changes_an_event,
        Rows::Alerts(days) => days * events * ALERTS_AN_EVENT,
        Rows::Closing => count(&format!("SELECT COUNT(*) FROM {table}")) / closings,
        Rows::States => count(&format!("SELECT 1.0 * COUNT(*) / COUNT(DISTINCT date) FROM {table}")),
        Rows::All => count(&format!("SELECT COUNT(*) FROM {table}")),
    };
    println!("in BigQuery, {DEPLOYMENTS} Deployments; bytes of a row:");
    for table in ["replica_events", "carried_writes", "closed_changes", "object_days", "deployment_config"] {
        let bytes = figures.keep(format!("{table}_bytes"), row_bytes(table));
        println!("  {table}: {bytes:.0}");
    }
    for (question, tables) in READS {
        for (events, short) in [(10_000.0, "10k"), (100_000.0, "100k"), (1_000_000.0, "1m")] {
            let bytes: f64 = tables
                .iter()
                .map(|(table, rows)| (row_bytes(table) * rows_of(table, *rows, events)).max(LEAST_BYTES))
                .sum();
            let mib = figures.keep(format!("{}_{short}_mib", question.name), bytes / 1_048_576.0);
            if question.name == "judging" {
                figures.keep(format!("replay_{short}_mib"), 5.0 * mib);
            }
            println!("  {}, {events} events a day: {mib:.0} MiB", question.told);
        }
    }
}

/// What a row takes in BigQuery: 8 bytes for a number or a time, 1 for a truth, two more than it is long for a text, nothing
/// for what is null.
fn size_of_a_row(table: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("terraform/schemas/{table}.json"));
    let fields: Vec<Json> = serde_json::from_slice(&std::fs::read(path).expect("a schema")).expect("JSON");
    let size = |field: &Json| {
        let name = field["name"].as_str().expect("a name");
        let bytes = match field["type"].as_str().expect("a type") {
            "STRING" | "JSON" => format!("LENGTH(`{name}`) + 2"),
            "BOOLEAN" => "1".to_owned(),
            _ => "8".to_owned(),
        };
        format!("CASE WHEN `{name}` IS NULL THEN 0 ELSE {bytes} END")
    };
    fields.iter().map(size).collect::<Vec<_>>().join(" + ")
}

fn namespace(deployment: i64) -> String {
    format!("team-{:02}", deployment % 40)
}

/// A limit that nobody exceeds, as most do not.
fn version(number: i64, begin: DateTime<Utc>) -> Version {
    let at = begin - TimeDelta::days(1);
    Version {
        id: format!("{:032x}", 0xfeed_0000 + number),
        subject: Subject {
            namespace: namespace(number),
            deployment: format!("api-{number:03}"),
            clusters: Clusters::Any,
        },
        effective_at: at,
        until: None,
        registered_at: at,
        terms: Terms { owner: namespace(number), max_replicas: Some(8), ..Terms::default() },
        initial_max_replicas: 8,
        created_at: at,
        change: None,
        updated_by: "ci".to_owned(),
        reason: Some("first release".to_owned()),
        source: None,
    }
}

/// Deployments take turns; every third write of one changes its number.
fn event(number: i64, skipped: i64, begin: DateTime<Utc>) -> ReplicaEvent {
    let (deployment, write) = (number % DEPLOYMENTS, number / DEPLOYMENTS);
    let event_time = begin + TimeDelta::microseconds((skipped + number) * 86_400_000_000 / EVENTS_A_DAY);
    let id = format!("{number:032x}");
    let text = |text: &str| Some(text.to_owned());
    ReplicaEvent {
        event_id: id.clone(),
        write_id: Some(id.clone()),
        event_time,
        received_time: None,
        ingested_at: event_time,
        project_id: text("acme-prod"),
        location: text("europe-west4"),
        cluster_name: "prod-1".to_owned(),
        namespace: namespace(deployment),
        deployment_name: Some(format!("api-{deployment:03}")),
        object_kind: ObjectKind::Deployment,
        object_name: Some(format!("api-{deployment:03}")),
        object_uid: Some(format!("uid-{deployment}")),
        born_at: DateTime::from_timestamp(1_700_000_000, 0),
        resource_version: Some(1_000_000 + number),
        object_version: Some((1_000_000 + number).to_string()),
        generation: Some(1 + write),
        touched: Some(true),
        operation: Operation::Patch,
        outcome: Some(Outcome::Stored),
        object_state: Some(ObjectState::Live),
        method_name: "io.k8s.apps.v1.deployments.patch".to_owned(),
        replicas: Some(2 + write / 3 % 6),
        min_replicas: None,
        effective: None,
        replicas_source: text("response"),
        actor: "deployer@acme-prod.iam.gserviceaccount.com".to_owned(),
        on_behalf_of: None,
        actor_kind: ActorKind::GcpServiceAccount,
        route: Route::Pipeline,
        user_agent: None,
        caller_ip: None,
        in_scope: Some(true),
        outside_range: Some(false),
        insert_id: id,
        log_name: "projects/acme-prod/logs/cloudaudit.googleapis.com%2Factivity".to_owned(),
    }
}

/// An entry of this moment.
fn entry(round: usize) -> String {
    let now = Utc::now();
    serde_json::json!({
        "insertId": format!("one-more-{round}-{}", now.timestamp_micros()),
        "logName": "projects/acme-prod/logs/cloudaudit.googleapis.com%2Factivity",
        "timestamp": now.to_rfc3339(),
        "resource": {"type": "k8s_cluster", "labels": {"project_id": "acme-prod", "location": "europe-west4", "cluster_name": "prod-1"}},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "k8s.io",
            "methodName": "io.k8s.apps.v1.deployments.patch",
            "resourceName": "apps/v1/namespaces/team-07/deployments/api-007",
            "authenticationInfo": {"principalEmail": "alice@example.com"},
            "status": {},
            "response": {"@type": "apps.k8s.io/v1.Deployment", "kind": "Deployment", "apiVersion": "apps/v1",
                "metadata": {"name": "api-007", "namespace": "team-07", "uid": "uid-7", "resourceVersion": (90_000_000 + round).to_string(),
                    "generation": 100_000 + round, "creationTimestamp": "2023-11-14T22:13:20Z"},
                "spec": {"replicas": 3 + round}},
        },
    })
    .to_string()
}
