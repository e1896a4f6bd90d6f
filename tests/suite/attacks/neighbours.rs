//! Stores, signals and environments that are slow, gone or hostile.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pedwatch::pipeline::consumer::{Consumer, Delivery, Handled};
use pedwatch::store::batch::Batching;
use pedwatch::store::query::{Query, Rows};
use pedwatch::store::row::Record;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError, query};
use pedwatch::telemetry::metrics::Metrics;
use serde_json::json;

use crate::attacks::{knob, limited, run};
use crate::cli::command;
use crate::support::{PEDS_FROM, Sample, block_on, config, ped, register, rows, time};

/// A store that does not say what stands, for a while.
struct Silent {
    store: Sqlite,
    is_silent: AtomicBool,
}

#[async_trait::async_trait]
impl Store for Silent {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        if self.is_silent.load(Ordering::Relaxed) && query.sql.contains(".alerts") {
            return Err(StoreError::Permanent("too much to compute".to_owned()));
        }
        self.store.fetch(query).await
    }
}

/// Limits are read all the same, and what was due stays due.
#[test]
fn judging_that_fails_stops_no_message_and_forgets_nothing() {
    block_on(async {
        let sqlite = Sqlite::in_memory().expect("memory");
        register(&sqlite, &ped("payments", "orders-api", None, 6), PEDS_FROM).await;
        register(&sqlite, &ped("payments", "orders-api", None, 3), "2026-09-04T20:30:00Z").await;
        let silent = Arc::new(Silent { store: sqlite, is_silent: AtomicBool::new(false) });
        let store: Arc<dyn Store> = Arc::clone(&silent) as Arc<dyn Store>;
        let (policy, batching, metrics) = (config().policy, Batching::default(), Metrics::default());
        // Every message finds the limits too old.
        let consumer = Consumer::start(Arc::clone(&store), policy, batching, Duration::ZERO, metrics, None)
            .await
            .expect("started");
        consumer.refresh(time(NOW)).await.expect("refreshed");
        silent.is_silent.store(true, Ordering::Relaxed);
        // Within its limit; but a lower one, which was judged before, has begun since.
        consumer.handle(delivery(&write(1, 5)), time(NOW)).await.expect("handled");
        let answer = consumer.refresh(time(NOW)).await;
        assert!(matches!(&answer, Err(StoreError::Permanent(why)) if why.contains("too much")), "{answer:?}");
        silent.is_silent.store(false, Ordering::Relaxed);
        let unraised = async || query::unraised(&*store, &BTreeSet::new(), None).await.expect("readable").len();
        assert!(unraised().await > 0, "something is due");
        consumer.finish(time(NOW)).await.expect("refreshed");
        assert_eq!(unraised().await, 0);
    });
}

/// A call that timed out, and that nothing answers for.
fn uncertain() -> Vec<u8> {
    let mut uncertain = Sample::patch("u", "2026-09-04T20:00:00Z", 9)
        .set("/protoPayload/status", json!({"code": 4, "message": "Timeout"}));
    uncertain.entry["protoPayload"].as_object_mut().expect("a payload").remove("response");
    uncertain.bytes()
}

/// A store that takes its time: every question and every append yields so often before it begins, and again behind it, and one
/// append in ten stumbles.
struct Slow {
    store: Sqlite,
    yields: usize,
    stumbles: Option<Duration>,
    appends: AtomicUsize,
}

impl Slow {
    fn new(store: Sqlite, yields: usize) -> Self {
        Slow { store, yields, stumbles: None, appends: AtomicUsize::default() }
    }

    async fn wait(&self) {
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait::async_trait]
impl Store for Slow {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        let number = self.appends.fetch_add(1, Ordering::Relaxed);
        if let Some(stumbles) = self.stumbles.filter(|_| number % 10 == 9) {
            tokio::time::sleep(stumbles).await;
        }
        self.wait().await;
        let appended = self.store.append(records).await;
        self.wait().await;
        appended
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.wait().await;
        let found = self.store.fetch(query).await;
        self.wait().await;
        found
    }
}

async fn consumer(store: Arc<dyn Store>, metrics: Metrics) -> Consumer {
    let limits_for = Duration::from_secs(300);
    Consumer::start(store, config().policy, Batching::default(), limits_for, metrics, None).await.expect("started")
}

fn delivery(data: &[u8]) -> Delivery<'_> {
    Delivery { data, source: "test", message_id: None, publish_time: None }
}

fn write(number: usize, replicas: i64) -> Vec<u8> {
    let version = i64::try_from(number).expect("small") + 1;
    Sample::patch(&format!("w{number}"), &format!("2026-09-04T20:00:{:02}Z", number % 60), replicas)
        .version(version, version)
        .bytes()
}

/// Polls a future so often, and drops it: its caller hangs up.
async fn hang_up(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

const NOW: &str = "2026-09-04T21:00:00Z";

/// The limit is raised behind the consumer's back, and callers who alarm by the old one hang up at every point there is.
/// The others are judged by the new one.
#[test]
fn a_caller_who_hangs_up_makes_nobody_judge_by_a_stale_limit() {
    let mut points = 0;
    for polls in 0..200 * knob() {
        let done = block_on(async {
            let sqlite = Sqlite::in_memory().expect("memory");
            register(&sqlite, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
            let metrics = Metrics::default();
            let store: Arc<dyn Store> = Arc::new(Slow::new(sqlite, 3));
            let consumer = consumer(Arc::clone(&store), metrics.clone()).await;
            register(&*store, &ped("payments", "orders-api", None, 6), "2026-09-02T00:00:00Z").await;
            let (first, second) = (write(1, 5), write(2, 4));
            let gave_up = hang_up(consumer.handle(delivery(&first), time(NOW)), polls);
            let (done, others) = tokio::join!(gave_up, consumer.handle(delivery(&second), time(NOW)));
            let others = others.expect("handled");
            let Handled::Recorded(records) = &others else { panic!("{others:?}") };
            let over = |record: &&Record| matches!(record, Record::Alert(alert) if alert.alert_type.to_string() == "over_limit");
            assert_eq!(records.iter().filter(over).count(), 0, "after {polls} polls");
            assert!(metrics.text().expect("text").contains("pedwatch_messages_in_flight 0\n"), "after {polls} polls");
            // The message comes again, and then everything is as if nobody had hung up.
            consumer.handle(delivery(&first), time(NOW)).await.expect("handled");
            consumer.refresh(time(NOW)).await.expect("refreshed");
            let judged = rows(&*store, "judged_events", &["replicas", "verdict"]).await;
            assert_eq!(judged, [json!([5, "within"]), json!([4, "within"])], "after {polls} polls");
            done
        });
        points = polls;
        if done {
            break;
        }
    }
    println!("hung up at {points} points: 0 judged by the stale limit");
    assert!(points > 10, "there are more points than {points}");
}

const STUMBLES: Duration = Duration::from_secs(1);

/// Whoever comes while one commit takes long is in the next: nobody waits for two that do, and the others for none.
#[test]
fn a_commit_that_takes_long_holds_up_only_who_waits_for_it() {
    block_on(async {
        let sqlite = Sqlite::in_memory().expect("memory");
        register(&sqlite, &ped("payments", "orders-api", None, 8), PEDS_FROM).await;
        let stumbling = Arc::new(Slow { stumbles: Some(STUMBLES), ..Slow::new(sqlite, 0) });
        let store: Arc<dyn Store> = Arc::clone(&stumbling) as Arc<dyn Store>;
        let consumer = consumer(store, Metrics::default()).await;
        let stumbles = || stumbling.appends.load(Ordering::Relaxed) / 10;
        let sender = async |sender: usize| {
            let mut waits = Vec::new();
            for number in 0..30 {
                let (begun, before) = (Instant::now(), stumbles());
                let write = write(sender * 100 + number, 2 + i64::try_from(number).expect("small") % 6);
                consumer.handle(delivery(&write), time(NOW)).await.expect("handled");
                assert!(stumbles() - before < 2, "it waited for two of them");
                waits.push(begun.elapsed());
                // Each at its own pace, so that some come while a commit runs.
                tokio::time::sleep(Duration::from_millis(u64::try_from(sender % 7).expect("small") * 3)).await;
            }
            waits
        };
        let waits = futures::future::join_all((0..32).map(sender)).await.concat();
        let mut others: Vec<Duration> = waits.iter().copied().filter(|wait| *wait < STUMBLES).collect();
        others.sort();
        let (held_up, p99) = (waits.len() - others.len(), others[others.len() * 99 / 100]);
        println!(
            "{} writes, {held_up} of them in or behind a commit of {STUMBLES:?}; p99 of the others {p99:?}",
            waits.len()
        );
        assert!(held_up > 0, "none was held up");
        assert_eq!(
            rows(&stumbling.store, "judged_events", &["event_id"]).await.len(),
            waits.len(),
            "none lost or double"
        );
    });
}

/// What cannot be judged by itself is owed to the next reading, wherever the reading's caller hangs up.
#[test]
fn a_refresh_that_is_dropped_forgets_nothing_that_is_owed() {
    let points = (0..24).chain([32, 64, 128, 256, 512]).collect::<Vec<_>>();
    for &polls in &points {
        block_on(async {
            let sqlite = Sqlite::in_memory().expect("memory");
            register(&sqlite, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
            let store: Arc<dyn Store> = Arc::new(Slow::new(sqlite, 2));
            let consumer = consumer(Arc::clone(&store), Metrics::default()).await;
            // An answer will show that it was stored.
            consumer.handle(delivery(&uncertain()), time(NOW)).await.expect("handled");
            hang_up(consumer.refresh(time(NOW)), polls).await;
            consumer.handle(delivery(&write(1, 9)), time(NOW)).await.expect("handled");
            consumer.refresh(time(NOW)).await.expect("refreshed");
            let alerts = query::unraised(&*store, &BTreeSet::new(), None).await.expect("readable");
            assert!(alerts.is_empty(), "after {polls} polls: {alerts:?}");
        });
    }
    println!("dropped at {} points: nothing that stands is not raised", points.len());
}

/// The subscriber, and the port that it takes pushes on.
fn serve(store: &Path) -> (Child, u16) {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("free").port();
    let port = free();
    let mut serve = command();
    serve.args(["serve", "--store"]).arg(format!("sqlite:{}", store.display()));
    serve
        .env("PEDWATCH_PUSH__AUTH", "platform")
        .env("PEDWATCH_PUSH__PORT", port.to_string())
        .env("PEDWATCH_CONSUMER__METRICS_PORT", free().to_string());
    (serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts"), port)
}

/// Its log until a line that holds this text.
fn until(child: &mut Child, text: &str) -> String {
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    while !log.contains(text) && lines.read_line(&mut log).expect("text") > 0 {}
    child.stderr = Some(lines.into_inner());
    log
}

fn terminate(child: &mut Child) -> Duration {
    let begun = Instant::now();
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    child.wait().expect("it ends");
    begun.elapsed()
}

/// Holds the write lock of a database until it is dropped.
pub fn lock(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("opened");
    connection.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS held (held)").expect("locked");
    connection
}

#[test]
fn sigterm_ends_within_eight_seconds_whatever_the_store_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    // At start: the database cannot even be opened.
    let held = lock(&path);
    let (mut starting, _) = serve(&path);
    std::thread::sleep(Duration::from_millis(500));
    let at_start = terminate(&mut starting);
    drop(held);
    std::fs::remove_file(&path).expect("removed");
    // With a push under way that waits for the lock.
    let (mut serving, port) = serve(&path);
    until(&mut serving, "ready for messages");
    let held = lock(&path);
    let push = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
        let body = String::from_utf8(write(1, 3)).expect("text");
        let head = format!("POST /pubsub/push HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    std::thread::sleep(Duration::from_millis(500));
    let under_way = terminate(&mut serving);
    drop(held);
    let answer = push.join().expect("answered, or cut off");
    assert!(!answer.contains(" 204 "), "{answer}");
    println!("SIGTERM with the store locked: {at_start:.2?} at start, {under_way:.2?} with a push under way");
    assert!(at_start < Duration::from_secs(8) && under_way < Duration::from_secs(8));
}

#[test]
fn a_store_that_is_removed_or_replaced_is_noticed_before_the_answer() {
    for replaced in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("facts.db");
        block_on(async {
            let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).expect("opened"));
            let mode = std::fs::metadata(&path).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let consumer = consumer(Arc::clone(&store), Metrics::default()).await;
            consumer.handle(delivery(&write(1, 3)), time(NOW)).await.expect("durable");
            for file in ["facts.db", "facts.db-wal", "facts.db-shm"] {
                let _ = std::fs::remove_file(folder.path().join(file));
            }
            if replaced {
                drop(Sqlite::open(&path).expect("another"));
            }
            for number in 2..50 {
                let answer = consumer.handle(delivery(&write(number, 3)), time(NOW)).await;
                assert!(
                    matches!(&answer, Err(StoreError::Permanent(why)) if why.contains("removed or replaced")),
                    "{answer:?}"
                );
            }
        });
    }
    println!("removed and replaced under a running consumer: 96 tried, 0 acknowledged");
}

/// `cp other.db facts.db` leaves the file what it is, and SQLite would write pages of one database into the other.
#[test]
fn a_store_that_is_overwritten_is_noticed_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let made = |name: &str, entries: usize| {
        block_on(async {
            let store: Arc<dyn Store> = Arc::new(Sqlite::open(&at(name)).expect("opened"));
            let consumer = consumer(store, Metrics::default()).await;
            for number in 0..entries {
                consumer.handle(delivery(&write(number, 3)), time(NOW)).await.expect("durable");
            }
        });
    };
    made("other.db", 3);
    for (name, of_earlier) in [("another", false), ("a copy of earlier", true)] {
        made("facts.db", 1);
        std::fs::copy(at("facts.db"), at("earlier.db")).expect("copied");
        block_on(async {
            let store: Arc<dyn Store> = Arc::new(Sqlite::open(&at("facts.db")).expect("opened"));
            let consumer = consumer(Arc::clone(&store), Metrics::default()).await;
            for number in 2..200 {
                consumer.handle(delivery(&write(number, 3)), time(NOW)).await.expect("durable");
            }
            // Others may write, and copy the log into the file.
            drop(Sqlite::open(&at("facts.db")).expect("opened"));
            checkpoint(&at("facts.db"));
            consumer.handle(delivery(&write(200, 3)), time(NOW)).await.expect("durable");
            let with = std::fs::read(at(if of_earlier { "earlier.db" } else { "other.db" })).expect("read");
            std::fs::write(at("facts.db"), &with).expect("overwritten");
            for number in 201..210 {
                let answer = consumer.handle(delivery(&write(number, 3)), time(NOW)).await;
                let is_told = matches!(&answer, Err(StoreError::Permanent(why)) if why.contains("overwritten"));
                assert!(is_told, "{name}: {answer:?}");
            }
            assert!(store.ping().await.is_err(), "{name}");
        });
        let with = std::fs::read(at(if of_earlier { "earlier.db" } else { "other.db" })).expect("read");
        assert_eq!(std::fs::read(at("facts.db")).expect("read"), with, "{name}: nothing is written into it");
        for file in ["facts.db", "facts.db-wal", "facts.db-shm"] {
            let _ = std::fs::remove_file(at(file));
        }
    }
}

fn checkpoint(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("opened");
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("copied");
}

/// What the port that everybody may reach tells is whether, and not why.
#[test]
fn readiness_waits_behind_no_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Sqlite::open(&folder.path().join("facts.db")).expect("opened"));
    block_on(async {
        let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000000) SELECT COUNT(*) AS x FROM n";
        let asked = Arc::clone(&store);
        let question = tokio::spawn(async move { asked.fetch(&query::Query::new(sql, Vec::new())).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        store.ping().await.expect("ready");
        println!("a ping beside a long question: {:.2?}", begun.elapsed());
        assert!(!question.is_finished(), "the question was to take longer");
        question.await.expect("it ends").expect("answered");
    });
}

/// What one release makes, it leaves alone when it opens it again.
#[test]
fn a_store_keeps_its_number_and_its_views() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    let seen = || {
        drop(Sqlite::open(&path).expect("opened"));
        let connection = rusqlite::Connection::open(&path).expect("opened");
        let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).expect("a number");
        (number("PRAGMA user_version"), number("PRAGMA schema_version"))
    };
    assert_eq!(seen(), seen());
}

#[test]
fn a_store_without_its_table_is_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&path).expect("opened");
        store.ping().await.expect("ready");
        rusqlite::Connection::open(&path)
            .and_then(|other| other.execute_batch("DROP TABLE replica_events"))
            .expect("dropped");
        assert!(store.ping().await.is_err());
    });
}

#[test]
fn a_store_is_a_file_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    rusqlite::Connection::open(at("foreign.db"))
        .and_then(|it| it.execute_batch("CREATE TABLE songs (title)"))
        .expect("made");
    std::fs::write(at("text.db"), "this is no database, but it is long enough to be looked at by SQLite")
        .expect("written");
    for (store, expected) in [
        (format!("sqlite:{}", at("foreign.db").display()), "another program's database, with songs"),
        (format!("sqlite:{}", at("text.db").display()), "not a database"),
        (format!("sqlite:{}", folder.path().display()), "no regular file"),
        ("sqlite:/dev/null".to_owned(), "no regular file"),
        (format!("sqlite:{}", at("no/such/folder.db").display()), "No such file or directory"),
        ("sqlite::memory:".to_owned(), "names no file"),
        ("sqlite:file:x?mode=memory".to_owned(), "names no file"),
    ] {
        let ended = run(&store, &mut limited(512, &["replay", "--store", &store, "fixtures/demo/audit"]), b"");
        assert!(!ended.status.success() && ended.stderr.contains(expected), "{store}: {}", ended.stderr);
    }
    let header = std::fs::read(at("foreign.db")).expect("readable");
    assert_eq!(header[18..20], [1, 1], "and stays in the mode that it was in");
    let songs = rusqlite::Connection::open(at("foreign.db")).expect("opened");
    let tables: i64 = songs.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0)).expect("counted");
    assert_eq!(tables, 1, "a foreign file is not furnished");
}

#[test]
fn many_processes_that_make_one_store_at_once_all_succeed() {
    let rounds = 5 * knob();
    for _ in 0..rounds {
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
        let replays: Vec<Child> = (0..4)
            .map(|_| {
                command()
                    .args(["replay", "--format=json", &store, "fixtures/demo/audit"])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("the binary starts")
            })
            .collect();
        let mut events = 0;
        for replay in replays {
            let output = replay.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            events += summary["events"].as_u64().expect("a count");
        }
        assert_eq!(events, 15, "each event was new to one of them");
    }
    println!("{rounds} new stores, 4 replays at once into each: 0 failed");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for key in ["PUSH__PORT", "CONSUMER__METRICS_PORT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut serve = command();
        serve.arg("serve").arg(format!("--store=sqlite:{}", folder.path().join("facts.db").display()));
        serve.env("PEDWATCH_PUSH__AUTH", "platform").env(format!("PEDWATCH_{key}"), &port);
        let other = if key == "PUSH__PORT" { "CONSUMER__METRICS_PORT" } else { "PUSH__PORT" };
        serve.env(format!("PEDWATCH_{other}"), crate::servers::free_address().port().to_string());
        let output = serve.output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("port is") && stderr.contains("Address already in use"), "{stderr}");
    }
}

/// What Kubernetes injects for a Service that is named `pedwatch`.
#[test]
fn a_service_of_our_name_does_not_stop_the_start() {
    let mut check = command();
    check.args(["config", "check"]).envs([
        ("PEDWATCH_PORT", "tcp://10.0.0.1:8080"),
        ("PEDWATCH_SERVICE_HOST", "10.0.0.1"),
        ("PEDWATCH_SERVICE_PORT_HTTP", "8080"),
        ("PEDWATCH_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ]);
    let output = check.output().expect("the binary ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("PEDWATCH_PORT_8080_TCP_ADDR"), "{stderr}");
    assert!(!stderr.contains("10.0.0.1"), "{stderr}");
}

#[test]
fn no_secret_of_a_url_is_shown() {
    let secret = "hunter2";
    let url = format!("http://user:{secret}@127.0.0.1:9/path?key={secret}");
    let store = format!("postgres://user:{secret}@db/x");
    for (args, variable, value) in [
        (vec!["config", "check"], "PEDWATCH_BIGQUERY__ENDPOINT", url.as_str()),
        (vec!["config", "check"], "PEDWATCH_PUSH__CERTS_URL", &url),
        (vec!["config", "check"], "PEDWATCH_PULL__ENDPOINT", &format!("user:{secret}@127.0.0.1")),
        (vec!["config", "check"], "PEDWATCH_STORE__URL", &store),
        (vec!["replay", "--store", &store, "x.json"], "RUST_LOG", "debug"),
        (vec!["ped", "list", "--store", "bigquery:acme-prod.pedwatch"], "PEDWATCH_BIGQUERY__ENDPOINT", &url),
    ] {
        let mut ran = command();
        ran.args(&args).env(variable, value).env("PEDWATCH_BIGQUERY__ANONYMOUS", "true");
        ran.env("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", "1");
        let output = ran.output().expect("the binary ends");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(secret) && !said.is_empty(), "{args:?} {variable}: {said}");
    }
}

#[test]
fn values_of_environment_variables_are_shown_only_when_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    for (number, secret) in ["hunter2", "hunter3"].iter().enumerate() {
        let text = format!("{}  environment:\n    PASSWORD: {secret}\n", ped("payments", "orders-api", None, 3));
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, text).expect("written");
        let file = file.to_string_lossy().into_owned();
        let args = ["ped", "register", "--updated-by=test", "--reason=test", &store, &file];
        let ended = run("register", &mut limited(512, &args), b"");
        assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    }
    for format in ["table", "json", "ndjson"] {
        for command in [vec!["ped", "list"], vec!["ped", "history", "payments/orders-api"]] {
            let format = format!("--format={format}");
            let args = [&command[..], &[&store, &format]].concat();
            let ended = run("shown", &mut limited(512, &args), b"");
            assert!(ended.status.success() && !ended.stdout.contains("hunter"), "{}{}", ended.stdout, ended.stderr);
        }
    }
    let args = ["ped", "list", "--format=json", "--environment", &store];
    assert!(run("asked for", &mut limited(512, &args), b"").stdout.contains("hunter3"));
}

#[test]
fn a_dataset_is_named_as_a_store_is() {
    let long = |project: usize, dataset: usize| format!("{}.{}", "p".repeat(project), "d".repeat(dataset));
    let [short_project, long_project, long_dataset] = [long(5, 8), long(31, 8), long(8, 1_025)];
    for dataset in
        ["pedwatch; DROP SCHEMA x", "a b", "", "acme.ped`watch", &short_project, &long_project, &long_dataset]
    {
        let output = command().args(["schema", "print", "--dataset", dataset]).output().expect("the binary ends");
        assert_eq!(output.status.code(), Some(2), "{dataset}");
    }
    for dataset in ["acme-prod.pedwatch", "example.com:acme-prod.pedwatch", &long(6, 1), &long(30, 1_024)] {
        let output = command().args(["schema", "print", "--dataset", dataset]).output().expect("it ends");
        assert!(output.status.success(), "{dataset}");
    }
}

/// The same trouble a thousand times is a line, and a count.
#[test]
fn a_state_is_logged_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    let (mut serving, port) = serve(&path);
    until(&mut serving, "ready for messages");
    std::fs::remove_file(&path).expect("removed");
    let answers = push_all(port, 500);
    assert!(answers.iter().all(|answer| answer.contains(" 500 ")), "{:?}", answers.first());
    terminate(&mut serving);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut serving.stderr.take().expect("piped"), &mut rest).expect("text");
    println!("500 messages that cannot be stored: {} lines of log", rest.lines().count());
    assert!(rest.lines().count() < 10, "{rest}");
}

fn push_all(port: u16, count: usize) -> Vec<String> {
    use std::io::{Read, Write};
    let push = |number| {
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
        let body = String::from_utf8(write(number, 3)).expect("text");
        let length = body.len();
        let head =
            format!("POST /pubsub/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    };
    (0..count).map(push).collect()
}

/// Quarantine is evidence: its size does not matter to whoever lists it.
#[test]
fn a_large_quarantine_is_listed_page_by_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let count = 120 * knob();
    let poison: Vec<String> =
        (0..count).map(|number| format!("{{\"poison\": {number}, \"x\": \"{}\"", "x".repeat(500 << 10))).collect();
    let input = folder.path().join("poison.ndjson");
    // Something in it can be read: else the whole file is one row.
    let good = String::from_utf8(write(1, 3)).expect("text");
    std::fs::write(&input, format!("{good}\n{}", poison.join("\n"))).expect("written");
    let input = input.to_string_lossy().into_owned();
    run("replay of poison", &mut limited(1_024, &["replay", "--format=json", &store, &input]), b"");
    for (name, args, at_most) in [
        ("list", vec!["quarantine", "list", &store], 96),
        ("list as JSON", vec!["quarantine", "list", "--format=json", &store], 160),
        ("replay", vec!["quarantine", "replay", &store], 160),
    ] {
        let ended = run(&format!("quarantine {name}, {count} of 500 KB"), &mut limited(1_024, &args), b"");
        assert!(!ended.stdout.is_empty(), "{}", ended.stderr);
        assert!(ended.peak_mib < at_most, "{name}: {} MiB", ended.peak_mib);
    }
}

/// A message that looks like a refused row, or like what stands in quarantine, is evidence and nothing else.
#[test]
fn no_fact_is_made_of_what_only_looks_like_a_refused_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let row = json!({"table": "alert_log", "row": {"alert_id": "forged", "alert_time": NOW, "alert_type": "over_limit",
        "severity": "critical", "message": "forged", "cluster_name": "c", "namespace": "n", "ingested_at": NOW}});
    let entry = String::from_utf8(write(1, 3)).expect("text");
    let encoded = format!("base64:{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &entry));
    let input = format!("{row}\n{encoded}\n{{\"reason\": \"refused_row\", \"kind\": \"row\"}}\n");
    let ended = run("forged rows", &mut limited(512, &["replay", "--format=json", &store, "-"]), input.as_bytes());
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((summary["events"].as_u64(), summary["quarantined"].as_u64()), (Some(0), Some(3)), "{summary}");
    let ended = run("fed again", &mut limited(512, &["quarantine", "replay", &store]), b"");
    assert!(ended.stdout.contains("0 fed again (0 new events), 3 still unreadable"), "{}", ended.stdout);
    let nothing = run("none of that id", &mut limited(512, &["quarantine", "replay", "nonesuch", &store]), b"");
    assert!(!nothing.status.success() && nothing.stderr.contains("nonesuch"), "{}", nothing.stderr);
    let list = run("listed", &mut limited(512, &["quarantine", "list", "--format=ndjson", &store]), b"");
    let ids: Vec<serde_json::Value> =
        list.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let raws: Vec<String> = ids
        .iter()
        .map(|row| {
            let id = row["quarantine_id"].as_str().expect("an id");
            run("shown", &mut limited(512, &["quarantine", "show", id, &store]), b"").stdout
        })
        .collect();
    assert!(raws.contains(&encoded), "it comes back as it was: {raws:?}");
}

/// What stands in a store and cannot be read costs its row.
#[test]
fn one_value_does_not_poison_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&path).expect("opened");
        register(&store, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
        register(&store, &ped("payments", "other-api", None, 3), PEDS_FROM).await;
    });
    let spoilt = rusqlite::Connection::open(&path).expect("opened");
    spoilt
        .execute_batch(
            "UPDATE deployment_config SET timestamp = '10000-01-01T00:00:00Z' WHERE deployment_name = 'other-api';
             INSERT INTO quarantine (quarantine_id, quarantined_at, reason, detail, raw) VALUES ('x', 'never', 'r', 'd', 'raw');
             INSERT INTO watermarks (name, through, at) VALUES ('judged', 'soon', 'later')",
        )
        .expect("spoilt");
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).expect("opened"));
        let consumer = consumer(Arc::clone(&store), Metrics::default()).await;
        let now: DateTime<Utc> = time(NOW);
        let handled = consumer.handle(delivery(&write(1, 9)), now).await.expect("handled");
        let Handled::Recorded(records) = handled else { panic!("{handled:?}") };
        assert!(records.iter().any(|record| matches!(record, Record::Alert(_))));
        consumer.refresh(now).await.expect("refreshed");
        assert!(query::quarantined(&*store, &[]).await.expect("readable").is_empty());
    });
}

/// A poll that is ready at once has nothing to hang up on.
#[test]
fn hanging_up_stops_where_it_says() {
    assert!(block_on(hang_up(async {}, 1)));
    assert!(!block_on(hang_up(std::future::pending::<()>(), 5)));
    assert_eq!(pin!(async { 1 }).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(1));
}
