//! The subscriber: Pub/Sub emulator → the real binary → BigQuery server or SQLite, under everything that goes wrong.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pedwatch::pipeline::consumer::{Delivery, Disposition, Handled, disposition};
use pedwatch::pipeline::message::Envelope;
use pedwatch::policy::AlertType;
use pedwatch::store::reach::Reach;
use pedwatch::store::row::Record;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use serde_json::{Value as Json, json};

use crate::attacks::neighbours::lock;
use crate::limits::consumer;
use crate::proxy::{Fault, Proxy};
use crate::pubsub::{Subscriber, Subscription, eventually};
use crate::registry::standing;
use crate::servers::{Dataset, free_address};
use crate::support::{
    PEDS_FROM, Sample, VIEWS, all_entries, block_on, contents, fixture_store, fixtures, handle, on_every_store_shared,
    ped, register, register_fixtures, time,
};

/// The whole matrix and the demo month, some of it twice, in another order, between other people's traffic.
fn traffic() -> Vec<Vec<u8>> {
    let mut entries = all_entries();
    let again: Vec<Vec<u8>> = entries.iter().step_by(3).cloned().collect();
    entries.extend(again);
    let noise =
        |number: usize| format!("{{\"logName\":\"projects/acme-prod/logs/stdout\",\"insertId\":\"n{number}\"}}");
    entries.extend((0..50).map(|number| noise(number).into_bytes()));
    // A fixed shuffle: 131 shares no factor with the length.
    let length = entries.len();
    assert!(!length.is_multiple_of(131));
    (0..length).map(|index| entries[index * 131 % length].clone()).collect()
}

/// What `replay` leaves of the same entries.
async fn expected(entries: &[Vec<u8>]) -> Vec<(String, Vec<Json>)> {
    let (store, pipeline) = fixture_store().await;
    handle(&store, &pipeline, entries, DateTime::<Utc>::UNIX_EPOCH).await;
    contents(&store, &VIEWS).await
}

/// As [`expected`], once another instance has judged what those left who stopped, or were killed, before their next reading.
async fn assert_same(store: impl Store + 'static, entries: &[Vec<u8>]) {
    let store: Arc<dyn Store> = Arc::new(store);
    let once_they_count_as_gone = Utc::now() + chrono::Duration::minutes(16);
    consumer(&store).await.refresh(once_they_count_as_gone).await.expect("judged");
    for (found, expected) in contents(&*store, &VIEWS).await.into_iter().zip(expected(entries).await) {
        assert_eq!(found, expected, "{}", found.0);
    }
}

/// How many facts are there. What people look at is compared once, at the end: the tests' server takes seconds for it.
async fn rows(store: &dyn Store) -> usize {
    let mut facts = BTreeSet::new();
    for (table, id) in [("replica_events", "event_id"), ("quarantine", "quarantine_id")] {
        let found: Vec<Json> = query::dump(store, table).await.expect("readable");
        facts.extend(found.iter().map(|row| row[id].to_string()));
    }
    facts.len()
}

async fn all_there(store: &dyn Store, entries: &[Vec<u8>]) {
    let (expected, pipeline) = fixture_store().await;
    handle(&expected, &pipeline, entries, DateTime::<Utc>::UNIX_EPOCH).await;
    let wanted = rows(&expected).await;
    eventually("all rows are there", async || rows(store).await >= wanted).await;
}

#[test]
fn pulled_messages_leave_what_replay_leaves() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        register_fixtures(&store).await;
        let (subscription, entries) = (Subscription::pull().await, [traffic(), vec![fresh()]].concat());
        let folder = tempfile::tempdir().expect("a folder");
        let args = ["pull", "--subscription", &subscription.name, &format!("--store=bigquery:{name}")];
        let mut subscriber =
            Subscriber::start(folder.path(), &args, &[("BIGQUERY_EMULATOR_HOST", &server.to_string())]);
        subscription.publish(&entries).await;
        all_there(&store, &entries).await;
        assert_eq!(subscriber.page("/livez").await, (200, "alive\n".to_owned()));
        assert_eq!(subscriber.page("/readyz").await, (200, "ready\n".to_owned()));
        eventually("nothing is in flight", async || subscriber.in_flight().await == 0).await;
        assert_metrics(&subscriber.page("/metrics").await.1, entries.len());
        subscriber.terminate();
        assert!(subscriber.ended(Duration::from_secs(10)).success(), "{}", subscriber.log());
        assert_eq!(subscription.left().await, 0, "everything is acknowledged");
        assert_same(store, &entries).await;
        assert_log(&subscriber.log());
    });
}

/// Every message is counted once, by what became of it.
fn assert_metrics(text: &str, messages: usize) {
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()).expect("a value");
    let counted: f64 = text.lines().filter(|line| line.starts_with("pedwatch_messages_total")).map(value).sum();
    assert_eq!(counted as usize, messages, "{text}");
    for metric in [
        "pedwatch_messages_total{outcome=\"ignored\",reason=\"failed_call\"}",
        "pedwatch_messages_total{outcome=\"quarantined\",reason=\"not_json\"}",
        "pedwatch_alerts_total{alert_type=\"over_limit\",severity=\"critical\"}",
        "pedwatch_stage_duration_seconds_bucket{le=\"+Inf\",stage=\"assess\"}",
        "pedwatch_stage_duration_seconds_bucket{le=\"+Inf\",stage=\"limits\"}",
        "pedwatch_stage_duration_seconds_bucket{le=\"+Inf\",stage=\"append\"}",
        "pedwatch_event_age_seconds_count",
        "pedwatch_batch_rows_count",
        "pedwatch_store_retries_total",
        "pedwatch_last_message_timestamp_seconds",
        "pedwatch_build_info",
    ] {
        assert!(text.contains(metric), "{metric} is not in {text}");
    }
}

/// Lines are objects as Cloud Logging reads them; one an alert; no people, addresses or payloads.
fn assert_log(log: &str) {
    let lines: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["severity"].is_string() && line["message"].is_string()));
    let alert = lines.iter().find(|line| line["alert_type"] == "over_limit").expect("an alert");
    assert_eq!((&alert["severity"], &alert["alert_severity"]), (&json!("CRITICAL"), &json!("critical")));
    for text in ["@", "203.0.113", "protoPayload", "kubectl"] {
        assert!(!log.contains(text), "{text} is in the log");
    }
}

/// A server that Pub/Sub pushes to, where the platform verifies its token.
pub fn serve(folder: &std::path::Path, store: &str, env: &[(&str, &str)]) -> (Subscriber, String) {
    let address = free_address();
    let port = address.port().to_string();
    let env = [&[("PORT", port.as_str()), ("PEDWATCH_PUSH__AUTH", "platform")], env].concat();
    let subscriber = Subscriber::start(folder, &["serve", &format!("--store={store}")], &env);
    (subscriber, format!("http://{address}"))
}

#[test]
fn pushed_messages_leave_what_replay_leaves() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        register_fixtures(&store).await;
        let folder = tempfile::tempdir().expect("a folder");
        let env = [("BIGQUERY_EMULATOR_HOST", server.to_string())];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (mut subscriber, url) = serve(folder.path(), &format!("bigquery:{name}"), &env);
        subscriber.says("ready for messages").await;
        let subscription = Subscription::push(&format!("{url}/pubsub/push")).await;
        let mut entries = unwrapped(traffic());
        // The emulator pushes few at once, and where answers are billed alerts wait for each other.
        entries.truncate(60);
        subscription.publish(&entries).await;
        all_there(&store, &entries).await;
        let of_today = fresh();
        let traced = reqwest::Client::new().post(format!("{url}/pubsub/push")).body(of_today.clone());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traced = traced.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send().await;
        assert_eq!(traced.expect("an answer").status().as_u16(), 204);
        let wanted = format!("\"logging.googleapis.com/trace\":\"projects/acme-prod/traces/{trace}\"");
        assert!(subscriber.log().contains(&wanted), "{}", subscriber.log());
        subscriber.terminate();
        assert!(subscriber.ended(Duration::from_secs(10)).success(), "{}", subscriber.log());
        assert_log(&subscriber.log());
        let entries = [entries, vec![of_today]].concat();
        assert_same(store, &entries).await;
    });
}

#[test]
fn the_answer_to_a_push_is_the_disposition() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (subscriber, url) = serve(folder.path(), &format!("sqlite:{}", folder.path().join("a.db").display()), &[]);
        subscriber.says("ready for messages").await;
        let http = reqwest::Client::new();
        let post = async |path: &str, body: Vec<u8>| {
            http.post(format!("{url}{path}")).body(body).send().await.expect("an answer").status().as_u16()
        };
        let good = Sample::patch("a", "2026-09-04T20:41:03Z", 3).bytes();
        assert_eq!(post("/pubsub/push", good).await, 204, "an unwrapped body is the entry itself");
        assert_eq!(post("/pubsub/push", fixtures("audit").remove(0).1).await, 204);
        assert_eq!(post("/pubsub/push", b"oops".to_vec()).await, 204, "it is in quarantine");
        assert_eq!(post("/pubsub/push", Vec::new()).await, 204);
        assert_eq!(post("/elsewhere", Vec::new()).await, 404);
        assert_eq!(post("/pubsub/push", vec![b' '; 17 << 20]).await, 413);
        let status = |answer: reqwest::Response| answer.status().as_u16();
        assert_eq!(status(reqwest::get(format!("{url}/pubsub/push")).await.expect("an answer")), 405);
        assert_eq!(status(reqwest::get(format!("{url}/readyz")).await.expect("an answer")), 200);
        assert_eq!(
            status(reqwest::get(format!("{url}/metrics")).await.expect("an answer")),
            404,
            "not for the outside"
        );
    });
}

/// Terraform's metric and policies read these lines: whoever is told, is told by their severity and fields.
#[test]
fn each_alert_is_one_line_with_its_own_severity_and_where_it_is() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        register(&Sqlite::open(&path).expect("a store"), &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
        let (subscriber, url) = serve(folder.path(), &format!("sqlite:{}", path.display()), &[]);
        subscriber.says("ready for messages").await;
        let ago = |days| pedwatch::id::time(Utc::now() - chrono::Duration::days(days));
        let now = ago(0);
        let elsewhere = "apps/v1/namespaces/payments/deployments/carts-api";
        let unregistered = Sample::patch("b", &now, 3)
            .set("/protoPayload/resourceName", elsewhere)
            .set("/protoPayload/response/metadata/name", "carts-api")
            .uid("uid-2");
        let breach = Sample::patch("a", &now, 50);
        // One is pushed again, one comes after an outage of days, one out of somebody's archive.
        let (late, archived) = (Sample::patch("late", &ago(20), 60), Sample::patch("archived", &ago(40), 70));
        let writes = [breach.clone(), unregistered, Sample::patch("c", &now, 2), breach, late, archived];
        for write in writes {
            let posted = reqwest::Client::new().post(format!("{url}/pubsub/push")).body(write.bytes()).send().await;
            assert_eq!(posted.expect("an answer").status().as_u16(), 204);
        }
        let log = subscriber.log();
        let alerts: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let alerts: Vec<&Json> = alerts.iter().filter(|line| line["message"] == "alert").collect();
        let told = |field: &str| alerts.iter().map(|line| line[field].clone()).collect::<Vec<_>>();
        for (field, expected) in [
            ("alert_type", json!(["over_limit", "unregistered", "bypass", "bypass", "over_limit"])),
            ("severity", json!(["CRITICAL", "WARNING", "NOTICE", "NOTICE", "CRITICAL"])),
            ("alert_severity", json!(["critical", "warning", "info", "info", "critical"])),
            ("project", json!(vec!["acme-prod"; 5])),
            ("location", json!(vec!["europe-west1"; 5])),
            ("cluster", json!(vec!["prod-1"; 5])),
            ("namespace", json!(vec!["payments"; 5])),
            ("deployment", json!(["orders-api", "carts-api", "carts-api", "orders-api", "orders-api"])),
            ("replicas", json!([50, 3, 3, 2, 60])),
            ("limit", json!([3, null, null, 3, 3])),
        ] {
            assert_eq!(json!(told(field)), expected, "{field}: {log}");
        }
        assert!(told("alert_id").iter().all(|id| id.as_str().is_some_and(|id| id.len() == 32)), "{log}");
        assert!(!log.contains('@'), "{log}");
    });
}

/// The consumer is killed while messages flow, at moments that nobody chose. `TEST_KILLS` sets how often.
///
/// The test pushes as Pub/Sub does, each message until it is acknowledged: the emulator sometimes does not push again what
/// a kill cut off, although it still has it.
#[test]
fn killing_the_consumer_at_any_moment_changes_nothing_in_the_end() {
    let kills: u64 = std::env::var("TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("facts.db");
        let store = Sqlite::open(&path).expect("a store");
        register_fixtures(&store).await;
        let address = free_address();
        let (port, url) = (address.port().to_string(), format!("--store=sqlite:{}", path.display()));
        let env = [("PORT", port.as_str()), ("PEDWATCH_PUSH__AUTH", "platform")];
        let mut entries = traffic();
        entries.extend(distinct(2_000));
        let endpoint = format!("http://{address}/pubsub/push");
        let (acknowledged, cut_off) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let messages = Arc::new(Mutex::new(entries.clone()));
        // 16 on their way at once, and few enough that messages are left for every kill.
        let pushers: Vec<_> = (0..16)
            .map(|_| {
                let (endpoint, messages) = (endpoint.clone(), Arc::clone(&messages));
                let (acknowledged, cut_off) = (Arc::clone(&acknowledged), Arc::clone(&cut_off));
                tokio::spawn(async move {
                    let http = reqwest::Client::new();
                    loop {
                        let Some(message) = messages.lock().expect("whole").pop() else { return };
                        while !http
                            .post(&endpoint)
                            .body(message.clone())
                            .send()
                            .await
                            .is_ok_and(|answer| answer.status() == 204)
                        {
                            cut_off.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for kill in 0..kills {
            let mut subscriber = Subscriber::start(folder.path(), &["serve", &url], &env);
            // Between 50 ms and 1 s after the start: before, while and after it has something.
            tokio::time::sleep(Duration::from_millis(50 + kill * 7_919 % 950)).await;
            subscriber.kill();
        }
        let before = acknowledged.load(Ordering::Relaxed);
        let _last = Subscriber::start(folder.path(), &["serve", &url], &env);
        for pusher in pushers {
            pusher.await.expect("every message is acknowledged");
        }
        assert_same(store, &entries).await;
        println!(
            "{kills} kills, {} messages, {before} of them acknowledged before the last kill, {} attempts failed; 0 lost, 0 double",
            entries.len(),
            cut_off.load(Ordering::Relaxed)
        );
    });
}

/// The same for pull. The emulator goes on delivering to a stream whose client was killed, lease after lease: mostly half of what
/// is left comes to the living one every ten seconds, and sometimes nothing ever does. Then it is tried with another subscription.
#[test]
fn a_killed_puller_s_messages_come_to_the_next_one() {
    block_on(async {
        for attempt in 1..=6 {
            if a_killed_puller_is_followed().await {
                return;
            }
            println!("attempt {attempt}: the emulator gave everything to the dead");
        }
        panic!("no message ever came again");
    });
}

/// Whether the emulator gave anything to the second one.
async fn a_killed_puller_is_followed() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    let store = Sqlite::open(&path).expect("a store");
    register_fixtures(&store).await;
    let (subscription, url) = (Subscription::pull().await, format!("--store=sqlite:{}", path.display()));
    let args = ["pull", "--subscription", &subscription.name, &url];
    let mut first = Subscriber::start(folder.path(), &args, &[]);
    first.says("pulling").await;
    // It takes what it can get, and can write nothing for a while.
    let held = lock(&path);
    let entries = distinct(30);
    subscription.publish(&entries).await;
    eventually("it has them all", async || first.in_flight().await >= 30).await;
    first.kill();
    drop(held);
    assert_eq!(rows(&store).await, 0, "nothing was written, and nothing acknowledged");
    let second = Subscriber::start(folder.path(), &args, &[]);
    second.says("pulling").await;
    let begun = Instant::now();
    while rows(&store).await == 0 {
        if begun.elapsed() > Duration::from_secs(45) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    all_there(&store, &entries).await;
    assert_same(store, &entries).await;
    true
}

/// Writes to one Deployment, each of which changes it and raises an alert.
fn distinct(count: i64) -> Vec<Vec<u8>> {
    let write = |number: i64| {
        let at = format!("2026-09-{:02}T{:02}:{:02}:00Z", 1 + number / 100, number % 24, number % 60);
        Sample::patch(&format!("k{number}"), &at, 2 + number % 7).version(1_000 + number, 1_000 + number).bytes()
    };
    (0..count).map(write).collect()
}

/// A write of now, over every limit: what is older than a day is recorded, but is in no log.
fn fresh() -> Vec<u8> {
    Sample::patch("fresh", &pedwatch::id::time(Utc::now()), 50).version(900_000, 900_000).bytes()
}

/// Without push bodies: one within another is nobody's.
fn unwrapped(mut entries: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    entries.retain(|entry| !entry.windows(14).any(|part| part == b"\"subscription\""));
    entries
}

/// BigQuery is down for a while, then loses every answer for a while, and is slow all the time.
#[test]
fn a_store_that_is_down_and_back_loses_nothing() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        register_fixtures(&store).await;
        let faults = [vec![Fault::InternalError; 40], [Fault::LostAnswer, Fault::Pass].repeat(10)].concat();
        let proxy = Proxy::new(server, "insertAll", &faults);
        let (subscription, entries) = (Subscription::pull().await, traffic());
        let folder = tempfile::tempdir().expect("a folder");
        let args = ["pull", "--subscription", &subscription.name, &format!("--store=bigquery:{name}")];
        let env = [("BIGQUERY_EMULATOR_HOST", proxy.address.to_string())];
        let [(emulator, address)] = &env;
        let env = [(*emulator, address.as_str()), ("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", "3")];
        let subscriber = Subscriber::start(folder.path(), &args, &env);
        subscription.publish(&entries).await;
        all_there(&store, &entries).await;
        assert_same(store, &entries).await;
        let metrics = subscriber.page("/metrics").await.1;
        let given_back = "pedwatch_messages_total{outcome=\"retried\",reason=\"transient\"}";
        assert!(metrics.contains(given_back), "{metrics}");
        let failed = faults.len() - proxy.left();
        assert!(failed >= 40, "the outage lasted for {failed} calls");
        println!("{failed} calls failed, {} messages, 0 lost, 0 double", entries.len());
    });
}

#[test]
fn poison_alone_is_quarantined_and_not_retried() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("facts.db");
        let store = Sqlite::open(&path).expect("a store");
        let (subscription, url) = (Subscription::pull().await, format!("--store=sqlite:{}", path.display()));
        let poison: Vec<String> = (0..300).map(|number| format!("{{\"poison\": {number}")).collect();
        let mut subscriber =
            Subscriber::start(folder.path(), &["pull", "--subscription", &subscription.name, &url], &[]);
        subscription.publish(&poison).await;
        let count = async || query::dump(&store, "quarantined").await.expect("readable").len();
        eventually("all are in quarantine", async || count().await == poison.len()).await;
        subscriber.terminate();
        assert!(subscriber.ended(Duration::from_secs(10)).success());
        assert_eq!(subscription.left().await, 0);
        println!("{} poison messages quarantined, 0 left", poison.len());
        assert_quarantine_command(&store, &url).await;
    });
}

/// A person lists it, looks at one, and feeds it again after a fix: here, a store that did not take a row then.
async fn assert_quarantine_command(store: &Sqlite, url: &str) {
    use crate::cli::{command, run, stdout};
    let quarantine = |args: &[&str]| run(command().arg("quarantine").args(args).arg(url), b"");
    let list = quarantine(&["list", "--format=ndjson"]);
    assert_eq!(stdout(&list).lines().count(), 300);
    let first: Json = serde_json::from_str(stdout(&list).lines().next().expect("a line")).expect("JSON");
    let id = first["quarantine_id"].as_str().expect("an id");
    assert!(first["message_id"].is_string() && first["publish_time"].is_string(), "{first}");
    assert!(stdout(&quarantine(&["show", id])).starts_with("{\"poison\": "));
    assert_eq!(quarantine(&["show", "no-such-id"]).status.code(), Some(1));
    let again = quarantine(&["replay", id]);
    assert_eq!(
        (stdout(&again).as_str(), again.status.code()),
        ("0 fed again (0 new events), 1 still unreadable\n", Some(1))
    );
    let refused = Sample::patch("refused", "2026-09-04T20:41:03Z", 3).bytes();
    let (_, pipeline) = fixture_store().await;
    let records = pipeline.assess(&refused, Envelope::default(), String::new, time("2026-10-01T00:00:00Z")).records;
    let refusals = records.iter().map(|record| {
        let raw = json!({"table": record.table(), "row": record.json()}).to_string();
        Record::Quarantine(pedwatch::store::row::Quarantine {
            quarantine_id: format!("refused-{}", record.table()),
            quarantined_at: time(PEDS_FROM),
            message_id: None,
            publish_time: None,
            reason: "refused_row".to_owned(),
            detail: "the disk was full".to_owned(),
            kind: None,
            raw,
            source: None,
        })
    });
    store.append(refusals.collect()).await.expect("appended");
    let again = quarantine(&["replay", "refused-replica_events", "refused-alert_log"]);
    assert_eq!(stdout(&again), "2 fed again (1 new events), 0 still unreadable\n");
    let entry = |number: usize| format!("{{\"broken\": {number}").into_bytes();
    assert_eq!(entry(0), b"{\"broken\": 0");
}

/// A store that takes its time holds messages back in the subscription, not in our memory.
#[test]
fn a_slow_store_is_waited_for_in_bounded_memory() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let proxy = Proxy::slow(server, "insertAll", Duration::from_millis(700));
        let subscription = Subscription::pull().await;
        let folder = tempfile::tempdir().expect("a folder");
        let args = ["pull", "--subscription", &subscription.name, &format!("--store=bigquery:{name}")];
        let address = proxy.address.to_string();
        let env = [
            ("BIGQUERY_EMULATOR_HOST", address.as_str()),
            ("PEDWATCH_PULL__MAX_OUTSTANDING_MESSAGES", "50"),
            ("PEDWATCH_ACTORS__PIPELINE", "*"),
        ];
        register(&store, &ped("payments", "orders-api", None, 8), PEDS_FROM).await;
        let subscriber = Subscriber::start(folder.path(), &args, &env);
        subscriber.says("pulling").await;
        let padding = "x".repeat(20_000);
        let large: Vec<Vec<u8>> = (0..400)
            .map(|number: i64| {
                let sample = Sample::patch(&format!("s{number}"), "2026-09-04T20:41:03Z", 2 + number % 7);
                sample.version(number, number).set("/protoPayload/request/padding", padding.as_str()).bytes()
            })
            .collect();
        subscription.publish(&large).await;
        let mut most = 0;
        let begun = Instant::now();
        while query::dump(&store, "replica_events").await.expect("readable").len() < large.len() {
            assert!(begun.elapsed() < Duration::from_secs(120), "{}", subscriber.log());
            most = most.max(subscriber.in_flight().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(most <= 50, "{most} messages at once");
        let peak = subscriber.peak_mb();
        assert!(peak < 150, "{peak} MB");
        println!("400 messages of 20 KB through a store that takes 0.7 s: at most {most} at once, {peak} MB at most");
    });
}

#[test]
fn what_is_missing_at_the_start_is_named() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
        let Dataset { name, server, .. } = Dataset::unmade().await;
        let emulator = server.to_string();
        let bigquery = format!("--store=bigquery:{name}");
        for (args, env, parts) in [
            (
                &["pull", "--subscription", "projects/acme-prod/subscriptions/none", &sqlite][..],
                &[][..],
                &["there is no such subscription", "subscriptions/none"][..],
            ),
            (&["pull", &sqlite], &[], &["--subscription"]),
            (&["serve", &sqlite], &[], &["push.audience is empty", "push.auth"]),
            (&["serve"], &[], &["--store"]),
            (
                &["serve", &bigquery],
                &[("BIGQUERY_EMULATOR_HOST", emulator.as_str()), ("PEDWATCH_PUSH__AUTH", "platform")],
                &["create the dataset", "pedwatch schema apply"],
            ),
        ] {
            // What may be on its way is waited for; here, nothing is.
            let env = [env, &[("PEDWATCH_CONSUMER__START_WAIT_SECONDS", "0")]].concat();
            let mut subscriber = Subscriber::start(folder.path(), args, &env);
            let status = subscriber.ended(Duration::from_secs(30));
            assert!(!status.success());
            for part in parts {
                assert!(subscriber.log().contains(part), "{args:?}: {}", subscriber.log());
            }
        }
    });
}

/// What was taken is written and acknowledged before it exits, and nothing more is taken.
#[test]
fn a_signal_in_the_middle_finishes_what_was_taken() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("facts.db");
        let store = Sqlite::open(&path).expect("a store");
        register_fixtures(&store).await;
        let (subscription, url) = (Subscription::exactly_once().await, format!("--store=sqlite:{}", path.display()));
        let args = ["pull", "--subscription", &subscription.name, &url];
        let mut subscriber = Subscriber::start(folder.path(), &args, &[]);
        subscriber.says("pulling").await;
        let held = lock(&path);
        let entries = distinct(30);
        subscription.publish(&entries).await;
        eventually("it has them all", async || subscriber.in_flight().await >= 30).await;
        assert_eq!(rows(&store).await, 0);
        subscriber.terminate();
        subscriber.says("stopping").await;
        assert_eq!(subscriber.page("/readyz").await.0, 503);
        drop(held);
        assert!(subscriber.ended(Duration::from_secs(10)).success(), "{}", subscriber.log());
        assert_same(store, &entries).await;
        assert_eq!(subscription.left().await, 0, "everything is acknowledged");
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        let proxy = Proxy::slow(server, "insertAll", Duration::from_secs(30));
        let address = proxy.address.to_string();
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("bigquery:{name}");
        let (mut subscriber, url) = serve(folder.path(), &store, &[("BIGQUERY_EMULATOR_HOST", &address)]);
        subscriber.says("ready for messages").await;
        let body = Sample::patch("a", "2026-09-04T20:41:03Z", 3).bytes();
        let hanging = tokio::spawn(reqwest::Client::new().post(format!("{url}/pubsub/push")).body(body).send());
        eventually("it is being written", async || proxy.calls("insertAll") > 0).await;
        subscriber.terminate();
        subscriber.says("stopping: what was taken is finished first").await;
        let begun = Instant::now();
        subscriber.terminate();
        assert_eq!(subscriber.ended(Duration::from_secs(2)).code(), Some(143));
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(hanging.await.expect("joined").is_err(), "it was never told that the message is safe");
    });
}

/// An alert is never raised from a stale limit: a version registered while messages come is seen at once.
#[test]
fn limits_are_read_again_before_an_alert() {
    const PIPELINE: &str = "deployer@acme-prod.iam.gserviceaccount.com";
    on_every_store_shared(async |store| {
        register(&*store, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
        let consumer = consumer(&store).await;
        let now = time("2026-10-01T00:00:00Z");
        let alarms = async |id: &str, at: &str, replicas: i64| {
            let entry = Sample::patch(id, at, replicas).actor(PIPELINE).bytes();
            let delivery = Delivery { data: &entry, source: "test", message_id: None, publish_time: None };
            let handled = consumer.handle(delivery, now).await;
            assert_eq!(disposition(&handled), Disposition::Ack);
            let Ok(Handled::Recorded(records)) = handled else { panic!("not recorded") };
            let over = |record: &Record| matches!(record, Record::Alert(row) if row.alert_type == AlertType::OverLimit);
            records.iter().any(over)
        };
        assert!(alarms("a", "2026-09-04T20:41:03Z", 5).await);
        register(&*store, &ped("payments", "orders-api", None, 6), "2026-09-05T00:00:00Z").await;
        assert!(!alarms("b", "2026-09-05T20:41:03Z", 5).await, "read again");
        // What raises no alert goes by what is known until the next reading, which judges it again.
        register(&*store, &ped("payments", "orders-api", None, 2), "2026-09-06T00:00:00Z").await;
        assert!(!alarms("c", "2026-09-06T20:41:03Z", 3).await);
        consumer.refresh(now).await.expect("refreshed");
        let stand = standing(&*store).await;
        assert!(stand.contains(&json!(["over_limit", 2, "2026-09-06T20:41:03.000000Z", true])), "{stand:?}");
        assert!(alarms("d", "2026-09-06T20:41:03Z", 3).await);
        assert_eq!(query::counts(&*store, now, &Reach::default()).await.expect("counted").events, 4);
    });
}

/// With every fifth event alarming, limits are read a few times, not once an alert: BigQuery bills 10 MB at least for each.
/// `TEST_EVENTS` sets how many there are.
#[test]
fn many_alerts_share_readings_of_limits() {
    let events: usize = std::env::var("TEST_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    /// The pipeline's, so that only what is over the limit alarms.
    const PIPELINE: &str = "deployer@acme-prod.iam.gserviceaccount.com";
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        register(&store, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
        let proxy = Proxy::new(server, "", &[]);
        let (folder, emulator) = (tempfile::tempdir().expect("a folder"), proxy.address.to_string());
        let (subscriber, url) =
            serve(folder.path(), &format!("bigquery:{name}"), &[("BIGQUERY_EMULATOR_HOST", &emulator)]);
        subscriber.says("ready for messages").await;
        let (http, begun) = (reqwest::Client::new(), Instant::now());
        let alone = async |id: i64| {
            let begun = Instant::now();
            let message =
                Sample::patch(&format!("alone{id}"), "2026-09-04T20:41:03Z", 9).actor(PIPELINE).version(id, id);
            let posted = http.post(format!("{url}/pubsub/push")).body(message.bytes()).send().await;
            assert_eq!(posted.expect("an answer").status().as_u16(), 204);
            begun.elapsed()
        };
        let lone = alone(1).await;
        // So many on their way at once.
        let room = Arc::new(tokio::sync::Semaphore::new(64));
        let mut pushing = tokio::task::JoinSet::new();
        for number in 0..events {
            // 100 a second at most.
            let permit = Arc::clone(&room).acquire_owned().await.expect("open");
            tokio::time::sleep_until((begun + Duration::from_millis(10) * number as u32).into()).await;
            let replicas = if number % 5 == 0 { 4 + number as i64 / 5 % 4 } else { 2 };
            let version = 10 + number as i64;
            let message = Sample::patch(&format!("s{number}"), "2026-09-04T20:41:03Z", replicas).actor(PIPELINE);
            let message = message.version(version, version).bytes();
            let (http, url) = (http.clone(), format!("{url}/pubsub/push"));
            pushing.spawn(async move {
                let _permit = permit;
                while !http.post(&url).body(message.clone()).send().await.is_ok_and(|answer| answer.status() == 204) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        while let Some(pushed) = pushing.join_next().await {
            pushed.expect("pushed");
        }
        let (took, asked) = (begun.elapsed(), proxy.asked());
        let is_of_limits = |sql: &&String| sql.contains("deployment_config") && !sql.contains("WITH");
        let (for_alerts, all): (Vec<&String>, Vec<&String>) =
            asked.iter().filter(is_of_limits).partition(|sql| sql.contains("deployment_name IN"));
        let (for_alerts, all) = (for_alerts.len(), all.len());
        let alerts = events / 5 + 1;
        println!(
            "{events} events in {took:.1?}, {alerts} alerts: limits read {for_alerts} times for alerts, {all} times whole, \
             {} queries in all; alone, an alert takes {lone:.2?}",
            asked.len()
        );
        let bound = 21 + alerts / 16 + took.as_secs() as usize / 30 + 1;
        assert!(for_alerts <= bound, "{for_alerts} readings for {alerts} alerts; {bound} are the most");
        assert!(lone < Duration::from_secs(20), "{lone:?}");
    });
}
