//! `cargo bench --bench subscriber`: a backlog drained by `pedwatch pull` into SQLite, against a consumer that only
//! acknowledges, on a server that hands out as fast as it is asked; that nothing is acknowledged before it is durable; pushes
//! to `pedwatch serve` over 64 connections, and what they cost it; one push at a time, against bare commits of one row on the
//! same disk; and how long `serve` takes from its start to the first 204, with 10,000 versions in the store. `BENCH_MESSAGES`
//! sets another number than 50,000.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use hyper::body::Bytes;
use serde_json::json;

use measure::{Figures, Spread, Used};
use pubsub::Subscription;

#[path = "../tests/suite/servers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod servers;

mod generate;
mod measure;
mod pubsub;

const CONNECTIONS: u64 = 64;
const PAIRS: usize = 3;
const SUBSCRIPTION: &str = "projects/acme-prod/subscriptions/bench";

fn main() {
    let messages: u64 = std::env::var("BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let peds = folder.path().join("peds.yaml");
    std::fs::write(&peds, generate::peds()).expect("written");
    let bench = Bench { folder: folder.path(), peds, messages };
    let mut figures = Figures::default();
    runtime.block_on(async {
        bench.drain(&mut figures).await;
        bench.is_durable_first().await;
        bench.push(2, "push_2kb", &mut figures).await;
        bench.push(7, "push_7kb", &mut figures).await;
        bench.alone(&mut figures).await;
        bench.cold_start(&mut figures).await;
    });
    figures.write("subscriber");
}

struct Bench<'f> {
    folder: &'f Path,
    peds: PathBuf,
    messages: u64,
}

/// The program at work.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whether it has ended by itself or not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn used(&self) -> Used {
        Used::by(self.child.id())
    }
}

impl Bench<'_> {
    /// Only acknowledging, and `pull`, in turn.
    async fn drain(&self, figures: &mut Figures) {
        let messages: Vec<Bytes> = (0..self.messages).map(|number| generate::entry(number, 2 << 10).into()).collect();
        println!("{} messages of 2 KB; half are writes, half failed calls", messages.len());
        let rate = |time: Duration| messages.len() as f64 / time.as_secs_f64();
        let (mut alone, mut pulled, mut ratios, mut cpus, mut peaks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let of_limit = rate(acknowledge_only(&messages).await);
            let subscription = Subscription::new(messages.clone(), |_| ());
            let store = self.folder.join(format!("{pair}-pull.db"));
            register(&store, &self.peds);
            let running = pull(&store, &subscription).await;
            while subscription.deliveries() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let begun = Instant::now();
            wait_for(|| subscription.acknowledged() == messages.len()).await;
            let of_ours = rate(begun.elapsed());
            alone.push(of_limit);
            pulled.push(of_ours);
            ratios.push(of_ours / of_limit);
            cpus.push(running.used().cpu.as_secs_f64() * 1e6 / self.messages as f64);
            peaks.push(running.used().peak_mb);
        }
        let (alone, pulled, cpu) = (Spread::of(alone), Spread::of(pulled), Spread::of(cpus));
        println!("acknowledging alone, messages/s:       {alone}");
        println!("pedwatch pull into SQLite, messages/s: {pulled}; {:.0} MB at most", Spread::of(peaks.clone()).most);
        println!("  ratio: {}; CPU a message, µs: {cpu}", Spread::of(ratios.iter().copied()));
        figures.keep("acknowledged_per_s", alone.median);
        figures.keep("pulled_per_s", pulled.median);
        figures.keep("pulled_ratio", Spread::of(ratios).median);
        figures.keep("pull_cpu_us", cpu.median);
        figures.keep("pull_peak_mb", Spread::of(peaks).most);
    }

    /// Each write is looked for in the store, by another connection, when its acknowledgement comes and before it counts.
    async fn is_durable_first(&self) {
        const MESSAGES: u64 = 5_000;
        let store = self.folder.join("durable.db");
        let missing = Arc::new(Mutex::new(Vec::new()));
        let hear = {
            let (store, missing) = (store.clone(), Arc::clone(&missing));
            move |numbers: &[usize]| {
                let database = rusqlite::Connection::open(&store).expect("opened");
                let mut row = database.prepare("SELECT 1 FROM replica_events WHERE insert_id = ?").expect("asked");
                // Every other entry is a write.
                let writes = numbers.iter().filter(|number| *number % 2 == 0);
                let lost = writes.filter(|number| !row.exists([format!("{number:016x}")]).expect("answered"));
                missing.lock().expect("whole").extend(lost.copied());
            }
        };
        register(&store, &self.peds);
        // Rows are looked up by what has no index otherwise.
        let database = rusqlite::Connection::open(&store).expect("opened");
        database.execute_batch("CREATE INDEX by_insert_id ON replica_events (insert_id)").expect("made");
        drop(database);
        let messages = (0..MESSAGES).map(|number| generate::entry(number, 2 << 10).into()).collect();
        let subscription = Subscription::new(messages, hear);
        let running = pull(&store, &subscription).await;
        wait_for(|| subscription.acknowledged() == MESSAGES as usize).await;
        drop(running);
        let missing = missing.lock().expect("whole");
        assert!(missing.is_empty(), "acknowledged before they were stored: {missing:?}");
        println!("{MESSAGES} acknowledgements, each behind its row");
    }

    async fn push(&self, size_kb: usize, name: &'static str, figures: &mut Figures) {
        let (running, url) = self.serve(&format!("{name}.db")).await;
        let messages = self.messages / 2;
        let bodies: Arc<[Bytes]> = (0..messages).map(|number| body(number, size_kb << 10)).collect();
        let next = Arc::new(AtomicU64::new(0));
        let (begun, before) = (Instant::now(), running.used());
        let connections = (0..CONNECTIONS).map(|_| {
            let (url, next, bodies) = (Arc::clone(&url), Arc::clone(&next), Arc::clone(&bodies));
            tokio::spawn(async move {
                let http = reqwest::Client::new();
                let mut took = Vec::new();
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    took.push(post(&http, &url, body.clone()).await.as_secs_f64() * 1e3);
                }
                took
            })
        });
        let mut took: Vec<f64> = Vec::new();
        for connection in connections.collect::<Vec<_>>() {
            took.extend(connection.await.expect("joined"));
        }
        let rate = messages as f64 / begun.elapsed().as_secs_f64();
        let used = running.used();
        let cpu = (used.cpu - before.cpu).as_secs_f64() * 1e6 / messages as f64;
        took.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| took.get(took.len() * part / 100).copied().expect("some");
        println!(
            "pedwatch serve into SQLite, {size_kb} KB, {CONNECTIONS} connections: {rate:.0} requests/s, median {:.1} ms, \
             p99 {:.1} ms, CPU a message {cpu:.0} µs, {:.0} MB at most",
            at(50),
            at(99),
            used.peak_mb
        );
        let (per_s, p99, cpu_us) = match size_kb {
            2 => ("push_2kb_per_s", "push_2kb_p99_ms", "push_2kb_cpu_us"),
            _ => ("push_7kb_per_s", "push_7kb_p99_ms", "push_7kb_cpu_us"),
        };
        figures.keep(per_s, rate);
        figures.keep(p99, at(99));
        figures.keep(cpu_us, cpu);
        figures.keep("push_peak_mb", used.peak_mb);
    }

    async fn serve(&self, store: &str) -> (Running, Arc<str>) {
        let port = servers::free_address().port();
        let environment = [("PORT", port.to_string()), ("PEDWATCH_PUSH__AUTH", "platform".to_owned())];
        let store = self.folder.join(store);
        register(&store, &self.peds);
        let running = run(&store, &["serve"], &environment);
        let ready = format!("http://127.0.0.1:{port}/readyz");
        while !reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (running, format!("http://127.0.0.1:{port}/pubsub/push").into())
    }

    /// Pushes of writes, one after the other, and in turn with each a commit of one row into a database beside.
    async fn alone(&self, figures: &mut Figures) {
        const PUSHES: u64 = 1_000;
        let (running, url) = self.serve("alone.db").await;
        let bare = rusqlite::Connection::open(self.folder.join("bare.db")).expect("opened");
        bare.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (id PRIMARY KEY, row)",
        )
        .expect("made");
        let row = "x".repeat(500);
        let http = reqwest::Client::new();
        let (mut pushes, mut commits) = (Vec::new(), Vec::new());
        for number in 0..PUSHES {
            // Every other entry is a write.
            pushes.push(post(&http, &url, body(number * 2, 2 << 10)).await.as_secs_f64() * 1e3);
            let begun = Instant::now();
            bare.execute("INSERT INTO rows VALUES (?, ?)", (number.to_string(), &row)).expect("committed");
            commits.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let alarms = alarms(&http, &url, &self.folder.join("alone.db")).await;
        drop(running);
        let (push, commit) = (Spread::of(pushes).median, Spread::of(commits).median);
        println!(
            "one push at a time: median {push:.2} ms; a bare commit of one row: {commit:.2} ms; ratio {:.2}",
            push / commit
        );
        println!("a scale past its limit, ms until its alert's row is durable: {alarms}");
        figures.keep("alarm_ms", alarms.median);
        figures.keep("alarm_most_ms", alarms.most);
        figures.keep("alone_ms", push);
        figures.keep("commit_ms", commit);
        figures.keep("alone_ratio", push / commit);
    }

    /// From the start of the process to the first message that is durable.
    async fn cold_start(&self, figures: &mut Figures) {
        const VERSIONS: u64 = 10_000;
        const STARTS: u64 = 9;
        let (store, peds) = (self.folder.join("start.db"), self.folder.join("many.yaml"));
        std::fs::write(&peds, generate::peds_of(VERSIONS)).expect("written");
        register(&store, &peds);
        let mut times = Vec::new();
        let mut idle_mb = 0.0;
        for number in 0..STARTS {
            let port = servers::free_address().port();
            let body = body(2 * number, 2 << 10);
            let begun = Instant::now();
            let environment = [("PORT", port.to_string()), ("PEDWATCH_PUSH__AUTH", "platform".to_owned())];
            let running = run(&store, &["serve"], &environment);
            while post_bare(port, &body) != Some(true) {
                std::thread::sleep(Duration::from_millis(1));
            }
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(Duration::from_secs(1)).await;
            idle_mb = running.used().now_mb;
        }
        let binary_mb = std::fs::metadata(env!("CARGO_BIN_EXE_pedwatch")).expect("a file").len() as f64 / 1e6;
        let start = Spread::of(times);
        println!(
            "from the start to the first 204 with {VERSIONS} versions, ms: {start}; idle {idle_mb:.0} MB; the binary has \
             {binary_mb:.1} MB"
        );
        figures.keep("start_ms", start.median);
        figures.keep("idle_mb", idle_mb);
        figures.keep("binary_mb", binary_mb);
    }
}

/// Pushes scales past their limits, one after the other: how long each takes until it is answered, and its alerts are there.
async fn alarms(http: &reqwest::Client, url: &str, store: &Path) -> Spread {
    const ALARMS: i64 = 200;
    let database = rusqlite::Connection::open(store).expect("opened");
    let over_limit = || -> i64 {
        let sql = "SELECT COUNT(*) FROM alert_log WHERE alert_type = 'over_limit'";
        database.query_row(sql, [], |row| row.get(0)).expect("answered")
    };
    let before = over_limit();
    let mut times = Vec::new();
    for told in 0..ALARMS {
        // Others than those that are there.
        let number = 1_000 + told.unsigned_abs();
        let body = body_of(number, &generate::alarming(number, 2 << 10));
        times.push(post(http, url, body).await.as_secs_f64() * 1e3);
        assert_eq!(over_limit(), before + told + 1, "answered before its alert was there");
    }
    Spread::of(times)
}

/// Registers PEDs in a store of its own.
fn register(store: &Path, peds: &Path) {
    let register = Command::new(env!("CARGO_BIN_EXE_pedwatch"))
        .args(["ped", "register", "--updated-by=bench", "--reason=bench", "--effective-at=2020-01-01"])
        .args(["--store", &format!("sqlite:{}", store.display())])
        .arg(peds)
        .stdout(Stdio::null())
        .status();
    assert!(register.expect("started").success());
}

/// Starts the program.
fn run(store: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Running {
    let metrics = servers::free_address().port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    command.env("PEDWATCH_STORE__URL", format!("sqlite:{}", store.display()));
    command.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.to_string());
    command.env(generate::PIPELINE.0, generate::PIPELINE.1);
    command.env("RUST_LOG", "error").stdout(Stdio::null());
    Running { child: command.spawn().expect("started") }
}

async fn pull(store: &Path, subscription: &Arc<Subscription>) -> Running {
    let address = subscription.serve().await;
    run(store, &["pull", "--subscription", SUBSCRIPTION], &[("PUBSUB_EMULATOR_HOST", address.to_string())])
}

/// Posts once, on a connection of its own; `None` while nobody listens.
fn post_bare(port: u16, body: &[u8]) -> Option<bool> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "POST /pubsub/push HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).ok()?;
    Some(answer.ends_with(b"204"))
}

/// A consumer that does nothing else.
async fn acknowledge_only(messages: &[Bytes]) -> Duration {
    let subscription = Subscription::new(messages.to_vec(), |_| ());
    let endpoint = format!("http://{}", subscription.serve().await);
    let subscriber = Subscriber::builder().with_endpoint(endpoint);
    let subscriber = subscriber.with_credentials(anonymous::Builder::new().build()).build().await.expect("a client");
    let mut stream = subscriber.subscribe(SUBSCRIPTION).set_max_outstanding_messages(1_000).build();
    let begun = Instant::now();
    for _ in messages {
        let (_, handler) = stream.next().await.expect("a message").expect("a message");
        handler.ack();
    }
    // The client sends them behind our back.
    wait_for(|| subscription.acknowledged() == messages.len()).await;
    begun.elapsed()
}

async fn wait_for(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What Pub/Sub posts.
fn body(number: u64, size_bytes: usize) -> Bytes {
    body_of(number, &generate::entry(number, size_bytes))
}

fn body_of(number: u64, entry: &[u8]) -> Bytes {
    let message = json!({"data": STANDARD.encode(entry), "messageId": number.to_string()});
    json!({"message": message, "subscription": SUBSCRIPTION}).to_string().into()
}

async fn post(http: &reqwest::Client, url: &str, body: Bytes) -> Duration {
    let sent = Instant::now();
    let answer = http.post(url).body(body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 204);
    sent.elapsed()
}
