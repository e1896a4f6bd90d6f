//! BigQuery under every failure: what is tried again, what is told, and that nothing is lost or doubled.
//!
//! The real binary replays the demo month through a proxy that spoils calls, and has to tell the same story as on
//! SQLite.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::time::{Duration, Instant};

use pedwatch::store::bigquery::{Change, DatasetName};
use pedwatch::store::schema::SCHEMAS;
use pedwatch::store::{Store, query};
use serde_json::Value as Json;

use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::proxy::{Fault, Proxy};
use crate::servers::{Dataset, free_address};
use crate::support::{VIEWS, block_on};

/// Replays the demo month into a dataset through this server, and prints the story.
fn replay(name: &DatasetName, server: SocketAddr) -> Output {
    let mut command = command();
    command.args(DEMO).arg(format!("--store=bigquery:{name}"));
    // An attempt may take a third of it.
    command.env("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", "9").env("BIGQUERY_EMULATOR_HOST", server.to_string());
    run(&mut command, b"")
}

/// The story without its last line, which tells how long it took.
fn story(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let text = stdout(output);
    let (story, figures) = text.trim_end().rsplit_once('\n').expect("lines");
    let figures = figures.split_once(" s: ").expect("figures").1;
    format!("{story}\n{figures}")
}

fn story_on_sqlite() -> String {
    story(&run(command().args(DEMO), b""))
}

/// Nothing is there twice, or missing, in what people look at.
async fn assert_complete(store: &dyn Store) {
    for (view, rows, id) in
        [("replica_changes", 15, "event_id"), ("alerts", 12, "alert_id"), ("quarantined", 1, "quarantine_id")]
    {
        let mut found = query::dump(store, view).await.expect("readable");
        found.retain(|row| row["stands"] != false && row["stands"] != 0);
        let ids: std::collections::BTreeSet<String> = found.iter().map(|row| row[id].to_string()).collect();
        assert_eq!((found.len(), ids.len()), (rows, rows), "{view}");
    }
}

/// Spoils calls, and asserts that nobody would notice.
fn assert_outlasted(calls: &'static str, faults: &[Fault]) {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let proxy = Proxy::new(server, calls, faults);
        assert_eq!(story(&replay(&name, proxy.address)), story_on_sqlite(), "{faults:?}");
        assert_eq!(proxy.left(), 0, "{faults:?} did not all happen");
        assert_complete(&store).await;
    });
}

/// Resets in the middle of a request, rate limits, server errors in both forms: every call fails, once or twice, and passes.
#[test]
fn whatever_fails_for_a_while_is_outlasted() {
    use Fault::{BadGateway, InternalError, Pass, ResetMidBody, TooManyRequests};
    assert_outlasted("", &[ResetMidBody, Pass, TooManyRequests, Pass, InternalError, BadGateway, Pass].repeat(3));
}

/// The rows are written, the registration is made, and nobody says so.
#[test]
fn a_lost_answer_doubles_nothing() {
    assert_outlasted("", &[Fault::LostAnswer, Fault::Pass].repeat(8));
}

#[test]
fn rows_that_are_not_taken_for_now_are_sent_again() {
    assert_outlasted("insertAll", &[Fault::RowsStopped, Fault::RowsStopped, Fault::RowsStopped, Fault::Hang]);
}

#[test]
fn a_server_that_hangs_is_asked_again() {
    assert_outlasted("queries", &[Fault::Hang]);
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let address = free_address();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1_500));
            std::mem::forget(Proxy::at(address, server, "", &[]));
        });
        assert_eq!(story(&replay(&name, address)), story_on_sqlite());
        assert_complete(&store).await;
    });
}

#[test]
fn an_outage_longer_than_the_deadline_fails_and_the_next_run_completes_it() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        // The limits are registered and read, and then nothing answers any more.
        let proxy = Proxy::new(server, "insertAll", &[Fault::InternalError; 200]);
        let output = replay(&name, proxy.address);
        assert_eq!(output.status.code(), Some(1));
        for part in ["it may work later", "gave up after 9 s", "backendError"] {
            assert!(stderr(&output).contains(part), "{}", stderr(&output));
        }
        assert_eq!(story(&replay(&name, server)), story_on_sqlite());
        assert_complete(&store).await;
    });
}

#[test]
fn what_will_not_work_without_a_person_is_told_at_once() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        let proxy = Proxy::new(server, "queries", &[Fault::AccessDenied]);
        let output = replay(&name, proxy.address);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("needs roles/bigquery.dataEditor"), "{}", stderr(&output));
        assert_eq!(proxy.calls(""), 1, "asking again would not help");
        let missing: DatasetName = "acme-prod.no_such_dataset".parse().expect("a name");
        let output = replay(&missing, server);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("pedwatch schema apply"), "{}", stderr(&output));
    });
}

/// Application Default Credentials as on Cloud Run: from a metadata server, which here gives a new token each time.
#[test]
fn an_expired_token_is_renewed() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        let metadata = metadata_server("token");
        let proxy = Proxy::new(server, "", &[Fault::Pass, Fault::Pass, Fault::Unauthorized]);
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = command();
        command.args(DEMO).arg(format!("--store=bigquery:{name}"));
        command
            .env("HOME", folder.path())
            .env_remove("GOOGLE_APPLICATION_CREDENTIALS")
            .env_remove("BIGQUERY_EMULATOR_HOST");
        command.env("GCE_METADATA_HOST", metadata.to_string());
        command.env("PEDWATCH_BIGQUERY__ENDPOINT", format!("http://{}", proxy.address));
        let output = run(&mut command, b"");
        assert_eq!(story(&output), story_on_sqlite(), "{}", stderr(&output));
        assert_eq!(proxy.tokens(), ["Bearer token-1", "Bearer token-2"]);
        // A token that is never accepted is not asked for again and again.
        let proxy = Proxy::new(server, "", &[Fault::Unauthorized; 9]);
        let begun = Instant::now();
        let output = run(command.env("PEDWATCH_BIGQUERY__ENDPOINT", format!("http://{}", proxy.address)), b"");
        assert!(stderr(&output).contains("Application Default Credentials"), "{}", stderr(&output));
        assert_eq!((output.status.code(), proxy.calls("")), (Some(1), 2));
        assert!(begun.elapsed() < Duration::from_secs(9));
    });
}

/// Gives tokens of somebody: NAME-1, NAME-2, …
pub fn metadata_server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut tokens = 1..;
        for mut client in listener.incoming().flatten() {
            let mut lines = BufReader::new(client.try_clone().expect("a socket")).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let body = if request.contains("/token") {
                let token = tokens.next().expect("endless");
                format!("{{\"access_token\":\"{name}-{token}\",\"expires_in\":3599,\"token_type\":\"Bearer\"}}")
            } else {
                String::new()
            };
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nmetadata-flavor: Google\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

#[test]
fn a_dataset_is_made_widened_and_never_narrowed() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::with_views().await;
        let schema = |what: &str| {
            let mut command = command();
            command.args(["schema", what, &format!("--store=bigquery:{name}")]);
            run(command.env("BIGQUERY_EMULATOR_HOST", server.to_string()), b"")
        };
        assert!(schema("check").status.success());
        assert!(stdout(&schema("apply")).starts_with("the dataset is what"));
        let alter = async |sql: &str| {
            let query = query::Query::new(format!("ALTER TABLE ${{dataset}}.{sql}"), Vec::new());
            store.fetch(&query).await.expect("altered");
        };
        // As a dataset of an older version, which lacks a column, and one that somebody has changed.
        alter("pod_metrics DROP COLUMN ready_replicas").await;
        alter("quarantine ADD COLUMN note STRING").await;
        alter("snapshots DROP COLUMN state").await;
        let output = schema("check");
        assert_eq!(output.status.code(), Some(1));
        for part in [
            "to do: add to the table pod_metrics: ready_replicas",
            "to do: quarantine.note is not known here",
            "to do: snapshots.state is missing and may not be null",
        ] {
            assert!(stdout(&output).contains(part), "{part}: {}{}", stdout(&output), stderr(&output));
        }
        let output = schema("apply");
        assert_eq!(output.status.code(), Some(1), "what was refused is a failure");
        assert!(stdout(&output).contains("done: add to the table pod_metrics: ready_replicas"), "{}", stdout(&output));
        assert!(stdout(&output).contains("refused: quarantine.note"), "{}", stdout(&output));
        assert!(!stdout(&schema("check")).contains("ready_replicas"));
        let printed = run(command().args(["schema", "print", "--dataset", "acme-prod.pedwatch"]), b"");
        assert_eq!(stdout(&printed).matches("\nCLUSTER BY ").count(), SCHEMAS.len());
        let printed = run(command().args(["schema", "print", "--format", "json"]), b"");
        let tables: Json = serde_json::from_slice(&printed.stdout).expect("JSON");
        assert_eq!(tables.as_object().map(|tables| tables.len()), Some(SCHEMAS.len()));
    });
}

/// The DDL is what `schema apply` makes: the server takes it, and sees no difference.
#[test]
fn the_printed_ddl_makes_the_same_dataset() {
    block_on(async {
        let Dataset { name, store, .. } = Dataset::unmade().await;
        let printed = run(command().args(["schema", "print", "--dataset", &name.to_string()]), b"");
        store.fetch(&query::Query::new(stdout(&printed), Vec::new())).await.expect("valid DDL");
        // The emulator keeps its own writing of a view; that each answers is enough.
        let mut changes = store.schema_changes().await.expect("compared");
        changes.retain(|change| !matches!(change, Change::ReplaceView(_)));
        assert_eq!(changes, []);
        for view in VIEWS {
            assert!(query::dump(&store, view).await.expect("a view").is_empty());
        }
    });
}
