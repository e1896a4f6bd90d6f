//! `cargo bench --bench fleet`: one, two and four `pedwatch serve` on one store, SQLite and the tests' BigQuery server, with the
//! messages of an organisation of a thousand clusters and 20,000 Deployments. Every twentieth message comes to two processes at once, and every
//! tenth once more to another. Prints messages a second by number of processes; for BigQuery requests and bytes to the store for each
//! message, and how often each process read limits; and checks that the rows are those of a single process.
//! `BENCH_MESSAGES` sets another number than 20,000 for BigQuery; SQLite gets ten times as many.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use pedwatch::store::Store;
use pedwatch::store::query::{Query, Value};
use pedwatch::store::sqlite::Sqlite;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use measure::Figures;

#[path = "../tests/suite/servers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod servers;

mod generate;
#[allow(dead_code, reason = "each bench uses some of it")]
mod measure;

const FLEETS: [usize; 3] = [1, 2, 4];
const CLUSTERS: u64 = 1_000;
const CONNECTIONS: u64 = 64;

/// Rows by which two stores are told apart: what is in them but when it came.
type Kept = [BTreeSet<String>; 2];

fn main() {
    let messages: u64 = std::env::var("BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut figures = Figures::default();
    runtime.block_on(async {
        sqlite(10 * messages, &mut figures).await;
        bigquery(messages, &mut figures).await;
    });
    figures.write("fleet");
}

/// A process of the fleet.
struct Serve {
    child: Child,
    metrics: String,
    push: String,
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Whether it has ended by itself or not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    async fn start(store: &str, environment: &[(&str, String)]) -> Self {
        let (port, metrics) = (servers::free_address().port(), servers::free_address().port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
        command.arg("serve").env("PEDWATCH_STORE__URL", store).env("PORT", port.to_string());
        command.env("PEDWATCH_PUSH__AUTH", "platform").env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.to_string());
        command
            .env(generate::PIPELINE.0, generate::PIPELINE.1)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let child = command.env("RUST_LOG", "error").stdout(Stdio::null()).spawn().expect("started");
        let url = |port: u16, path: &str| format!("http://127.0.0.1:{port}{path}");
        let serve = Serve { child, metrics: url(metrics, "/metrics"), push: url(port, "/pubsub/push") };
        let ready = url(metrics, "/readyz");
        while !reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        serve
    }

    /// A sample of its metrics.
    async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(&self.metrics).await.expect("an answer").text().await.expect("text");
        let sample = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        sample.unwrap_or_default()
    }
}

async fn sqlite(messages: u64, figures: &mut Figures) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut alone: Option<Kept> = None;
    for processes in FLEETS {
        let file = folder.path().join(format!("{processes}.db"));
        let url = format!("sqlite:{}", file.display());
        register(&url, folder.path(), &[]);
        let fleet = fleet(processes, &url, &[]).await;
        let rate = drive(&fleet, messages).await;
        println!("SQLite, {processes} processes: {rate:.0} messages/s");
        figures.keep(format!("sqlite_{processes}_per_s"), rate);
        drop(fleet);
        is_the_same(&Sqlite::open(&file).expect("a store"), &mut alone).await;
    }
}

async fn bigquery(messages: u64, figures: &mut Figures) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut alone: Option<Kept> = None;
    for processes in FLEETS {
        let dataset = servers::Dataset::new().await;
        let url = format!("bigquery:{}", dataset.name);
        let counted = Counted::before(dataset.server).await;
        let environment = [("BIGQUERY_EMULATOR_HOST", counted.address.to_string())];
        register(&url, folder.path(), &environment);
        let fleet = fleet(processes, &url, &environment).await;
        let before = counted.so_far();
        let rate = drive(&fleet, messages).await;
        let (requests, bytes) = counted.so_far();
        let (requests, bytes) = (requests - before.0, bytes - before.1);
        let mut readings = Vec::new();
        for serve in &fleet {
            readings.push(serve.metric("pedwatch_stage_duration_seconds_count{stage=\"limits\"}").await);
        }
        let each = |whole: u64| whole as f64 / messages as f64;
        println!(
            "BigQuery, {processes} processes: {rate:.0} messages/s, {:.3} requests and {:.0} bytes a message; alarming messages that had \
             limits read, by process: {readings:?}",
            each(requests),
            each(bytes)
        );
        figures.keep(format!("bigquery_{processes}_per_s"), rate);
        figures.keep(format!("bigquery_{processes}_requests"), each(requests));
        figures.keep(format!("bigquery_{processes}_bytes"), each(bytes));
        drop(fleet);
        is_the_same(&dataset.store, &mut alone).await;
    }
}

async fn fleet(processes: usize, store: &str, environment: &[(&str, String)]) -> Vec<Serve> {
    let mut fleet = Vec::new();
    for _ in 0..processes {
        fleet.push(Serve::start(store, environment).await);
    }
    fleet
}

fn register(store: &str, folder: &Path, environment: &[(&str, String)]) {
    let peds = folder.join("peds.yaml");
    std::fs::write(&peds, generate::peds()).expect("written");
    let register = Command::new(env!("CARGO_BIN_EXE_pedwatch"))
        .args([
            "ped",
            "register",
            "--updated-by=bench",
            "--reason=bench",
            "--effective-at=2026-08-01",
            "--store",
            store,
        ])
        .arg(&peds)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .status();
    assert!(register.expect("started").success());
}

/// Posts all messages, and tells how many were answered for a second.
async fn drive(fleet: &[Serve], messages: u64) -> f64 {
    let urls: Arc<[String]> = fleet.iter().map(|serve| serve.push.clone()).collect();
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| {
        let (urls, next) = (Arc::clone(&urls), Arc::clone(&next));
        tokio::spawn(async move {
            let http = reqwest::Client::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return;
                }
                let body = body(number);
                let to = |shift: u64| urls.get((number + shift) as usize % urls.len()).expect("one").as_str();
                let first = post(&http, to(0), body.clone());
                match number {
                    number if number.is_multiple_of(20) => drop(tokio::join!(first, post(&http, to(1), body))),
                    number if number % 10 == 3 => {
                        first.await;
                        post(&http, to(2), body).await;
                    }
                    _ => first.await,
                }
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        connection.await.expect("joined");
    }
    messages as f64 / begun.elapsed().as_secs_f64()
}

/// Until it is answered for: who is told to come again does.
async fn post(http: &reqwest::Client, url: &str, body: Bytes) {
    while http.post(url).body(body.clone()).send().await.expect("an answer").status().as_u16() != 204 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A message about a Deployment of one of the clusters: each has twenty.
fn body(number: u64) -> Bytes {
    let entry = String::from_utf8(generate::entry(number, 2 << 10)).expect("text");
    let cluster = format!("\"cluster_name\":\"prod-{}\"", number / 20 % CLUSTERS);
    let data = STANDARD.encode(entry.replace("\"cluster_name\":\"prod-1\"", &cluster));
    json!({"message": {"data": data, "messageId": number.to_string()}, "subscription": "s"}).to_string().into()
}

/// Checks that the rows are those of a single process, each once.
async fn is_the_same(store: &dyn Store, alone: &mut Option<Kept>) {
    let mut kept = Kept::default();
    let questions = [
        "SELECT DISTINCT event_id, write_id, cluster_name, namespace, object_name, replicas, actor, route \
         FROM ${dataset}.replica_events",
        "SELECT DISTINCT alert_id, alert_type, event_id, replicas, limit_max_replicas FROM ${dataset}.alert_log",
    ];
    for (rows, sql) in kept.iter_mut().zip(questions) {
        let found = store.fetch(&Query::new(sql, Vec::new())).await.expect("answered");
        let written = |row: &Vec<Value>| row.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" ");
        rows.extend(found.rows.iter().map(written));
    }
    assert!(kept.iter().all(|rows| !rows.is_empty()), "rows");
    match alone {
        Some(alone) => assert!(*alone == kept, "the rows are not those of a single process"),
        none => *none = Some(kept),
    }
}

/// A way to a server on which requests and their bytes are counted.
struct Counted {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Counted {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (requests, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counted = Counted {
            address: listener.local_addr().expect("an address"),
            requests: Arc::clone(&requests),
            bytes: Arc::clone(&bytes),
        };
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let (requests, bytes) = (Arc::clone(&requests), Arc::clone(&bytes));
                let Ok(server) = TcpStream::connect(server).await else { continue };
                tokio::spawn(async move {
                    let (mut from_caller, mut to_caller) = caller.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_caller).await });
                    let mut part = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = from_caller.read(&mut part).await {
                        let sent = part.get(..length).unwrap_or_default();
                        // The first line of a request, which its client writes at once.
                        let heads = sent.windows(HEAD.len()).filter(|window| *window == HEAD).count();
                        requests.fetch_add(heads as u64, Ordering::Relaxed);
                        bytes.fetch_add(length as u64, Ordering::Relaxed);
                        if to_server.write_all(sent).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        counted
    }

    /// Requests, and bytes of them.
    fn so_far(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

const HEAD: &[u8] = b" HTTP/1.1\r\n";
