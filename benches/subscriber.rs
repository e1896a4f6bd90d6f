//! `cargo bench --bench subscriber`: a backlog drained by `pedwatch pull` into SQLite, against a consumer that only
//! acknowledges, on the same emulator in one run; pushes to `pedwatch serve` over 64 connections; and one push at a time,
//! against bare commits of one row on the same disk. `BENCH_MESSAGES` sets another number than 50,000.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use serde_json::{Value as Json, json};

#[path = "../tests/suite/servers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod servers;

mod generate;

const CONNECTIONS: u64 = 64;

fn main() {
    let messages: u64 = std::env::var("BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let peds = folder.path().join("peds.yaml");
    std::fs::write(&peds, generate::peds()).expect("written");
    runtime.block_on(async {
        drain(messages, folder.path(), &peds).await;
        push(messages / 2, folder.path(), &peds).await;
        alone(folder.path(), &peds).await;
    });
}

fn pedwatch(folder: &Path, name: &str, peds: &Path) -> (Command, u16) {
    let store = format!("sqlite:{}", folder.join(name).display());
    let register = Command::new(env!("CARGO_BIN_EXE_pedwatch"))
        .args([
            "ped",
            "register",
            "--updated-by=bench",
            "--reason=bench",
            "--effective-at=2020-01-01",
            "--store",
            &store,
        ])
        .arg(peds)
        .stdout(Stdio::null())
        .status();
    assert!(register.expect("started").success());
    let metrics = servers::free_address().port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
    command.env("PEDWATCH_STORE__URL", store).env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.to_string());
    command.env(generate::PIPELINE.0, generate::PIPELINE.1);
    command.env("RUST_LOG", "error").stdout(Stdio::null());
    (command, metrics)
}

async fn drain(messages: u64, folder: &Path, peds: &Path) {
    let emulator = servers::pubsub();
    let http = reqwest::Client::new();
    let call = async |method: &str, path: &str, body: Json| {
        let request = http.request(method.parse().expect("a method"), format!("http://{emulator}/v1/{path}"));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
        assert!(answer.expect("the emulator").status().is_success(), "{path}");
    };
    let topic = "projects/acme-prod/topics/bench";
    let subscription = |name: &str| format!("projects/acme-prod/subscriptions/{name}");
    call("PUT", topic, json!({})).await;
    for name in ["bench-ack", "bench-pull"] {
        call("PUT", &subscription(name), json!({"topic": topic, "ackDeadlineSeconds": 600})).await;
    }
    for from in (0..messages).step_by(500) {
        let message = |number| json!({"data": STANDARD.encode(generate::entry(number, 2 << 10))});
        let batch: Vec<Json> = (from..messages.min(from + 500)).map(message).collect();
        call("POST", &format!("{topic}:publish"), json!({"messages": batch})).await;
    }
    println!("{messages} messages of 2 KB; half are writes, half failed calls");

    let begun = Instant::now();
    let subscriber = Subscriber::builder().with_endpoint(format!("http://{emulator}"));
    let subscriber = subscriber.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client");
    let mut stream = subscriber.subscribe(subscription("bench-ack")).set_max_outstanding_messages(1_000).build();
    for _ in 0..messages {
        let (_, handler) = stream.next().await.expect("a message").expect("a message");
        handler.ack();
    }
    let acknowledged = begun.elapsed();
    drop(stream);

    let (mut command, metrics) = pedwatch(folder, "pull.db", peds);
    command.args(["pull", "--subscription", &subscription("bench-pull")]);
    command.env("PUBSUB_EMULATOR_HOST", emulator.to_string());
    let begun = Instant::now();
    let mut child = command.spawn().expect("started");
    while handled(metrics).await < messages {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pulled = begun.elapsed();
    let rate = |time: Duration| messages as f64 / time.as_secs_f64();
    println!("acknowledging alone:       {:7.0} messages/s", rate(acknowledged));
    println!("pedwatch pull into SQLite: {:7.0} messages/s, peak memory {} MB", rate(pulled), peak_mb(&child));
    println!("ratio:                     {:7.2}", acknowledged.as_secs_f64() / pulled.as_secs_f64());
    end(&mut child);
}

/// How many messages it has answered for.
async fn handled(metrics: u16) -> u64 {
    let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{metrics}/metrics")).await else { return 0 };
    let text = answer.text().await.unwrap_or_default();
    let counted = text.lines().filter(|line| line.starts_with("pedwatch_messages_total{"));
    counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

async fn push(messages: u64, folder: &Path, peds: &Path) {
    let (mut child, url) = serve(folder, "push.db", peds).await;
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| {
        let (url, next) = (Arc::clone(&url), Arc::clone(&next));
        tokio::spawn(async move {
            let http = reqwest::Client::new();
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return took;
                }
                took.push(post(&http, &url, number).await);
            }
        })
    });
    let mut took: Vec<Duration> = Vec::new();
    for connection in connections.collect::<Vec<_>>() {
        took.extend(connection.await.expect("joined"));
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).expect("some").as_millis();
    println!(
        "pedwatch serve into SQLite, {CONNECTIONS} connections: {:.0} requests/s, median {} ms, p99 {} ms, peak memory {} MB",
        messages as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        peak_mb(&child)
    );
    end(&mut child);
}

async fn serve(folder: &Path, name: &str, peds: &Path) -> (Child, Arc<str>) {
    let (mut command, _) = pedwatch(folder, name, peds);
    let port = servers::free_address().port();
    command.arg("serve").env("PORT", port.to_string()).env("PEDWATCH_PUSH__AUTH", "platform");
    let child = command.spawn().expect("started");
    while reqwest::get(format!("http://127.0.0.1:{port}/livez")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (child, format!("http://127.0.0.1:{port}/pubsub/push").into())
}

async fn post(http: &reqwest::Client, url: &str, number: u64) -> Duration {
    let data = STANDARD.encode(generate::entry(number, 2 << 10));
    let body = json!({"message": {"data": data, "messageId": number.to_string()}, "subscription": "s"});
    let sent = Instant::now();
    let answer = http.post(url).body(body.to_string()).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 204);
    sent.elapsed()
}

/// Pushes of writes, one after the other, and in turn with each a commit of one row into a database beside.
async fn alone(folder: &Path, peds: &Path) {
    const PUSHES: u64 = 1_000;
    let (mut child, url) = serve(folder, "alone.db", peds).await;
    let bare = rusqlite::Connection::open(folder.join("bare.db")).expect("opened");
    bare.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (id PRIMARY KEY, row)")
        .expect("made");
    let row = "x".repeat(500);
    let http = reqwest::Client::new();
    let (mut pushes, mut commits) = (Vec::new(), Vec::new());
    for number in 0..PUSHES {
        // Every other entry is a write.
        pushes.push(post(&http, &url, number * 2).await);
        let begun = Instant::now();
        bare.execute("INSERT INTO rows VALUES (?, ?)", (number.to_string(), &row)).expect("committed");
        commits.push(begun.elapsed());
    }
    let median = |mut took: Vec<Duration>| {
        took.sort_unstable();
        took.get(took.len() / 2).copied().expect("some").as_secs_f64() * 1e3
    };
    let (push, commit) = (median(pushes), median(commits));
    println!(
        "one push at a time: median {push:.2} ms; a bare commit of one row: {commit:.2} ms; ratio {:.2}",
        push / commit
    );
    end(&mut child);
}

fn end(child: &mut Child) {
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// As Linux tells it.
fn peak_mb(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_000
}
