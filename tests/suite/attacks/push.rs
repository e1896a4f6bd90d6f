//! Callers of the push endpoint who are slow, many, or not Pub/Sub; and keys that do not come.
//!
//! Each attack runs while a probe asks for `/livez` and a good caller pushes: what these two see is what counts.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use pedwatch::source::health::{self, Health};
use pedwatch::source::shutdown::Shutdown;
use pedwatch::store::query::{self, Query, Rows};
use pedwatch::store::row::Record;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError};
use pedwatch::telemetry::metrics::Metrics;
use serde_json::{Value as Json, json};

use super::messages::collection;
use super::{knob, limited, watch};
use crate::oidc::{ACCOUNT, AUDIENCE, Key, claims, with};
use crate::servers::free_address;
use crate::support::{Sample, block_on};

/// A running `serve` that may not take more memory than this, which is less than the image gets.
const MEMORY_MIB: u64 = 400;

/// How long a test waits for an answer before it says that there is none.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    folder: tempfile::TempDir,
    peak: Option<JoinHandle<u64>>,
}

impl Server {
    /// One whose callers the platform has let in.
    fn start() -> Self {
        Self::with(|command| {
            command.env("PEDWATCH_PUSH__AUTH", "platform");
        })
    }

    /// One that verifies tokens with the keys at this address.
    fn with_keys_at(certs: SocketAddr) -> Self {
        Self::with(|command| {
            command.env("PEDWATCH_PUSH__AUDIENCE", AUDIENCE).env("PEDWATCH_PUSH__SERVICE_ACCOUNT", ACCOUNT);
            command.env("PEDWATCH_PUSH__CERTS_URL", format!("http://{certs}/certs"));
        })
    }

    fn with(set_up: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (address, metrics) = (free_address(), free_address());
        let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
        let mut command = limited(MEMORY_MIB, &["--config", "fixtures/pedwatch.toml", "serve", &store]);
        command.env("PORT", address.port().to_string());
        command.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.port().to_string());
        command.env("PEDWATCH_LOG__FORMAT", "json").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(folder.path().join("log")).expect("a log"));
        set_up(&mut command);
        let child = command.spawn().expect("prlimit starts");
        let peak = Some(watch(&child));
        let mut server = Server { child, address, metrics, folder, peak };
        let begun = Instant::now();
        while !matches!(server.get("/readyz"), Some(200)) {
            assert!(
                begun.elapsed() < PATIENCE && server.child.try_wait().expect("a child").is_none(),
                "{}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn get(&self, path: &str) -> Option<u16> {
        exchange(self.address, format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
    }

    fn connect(&self) -> TcpStream {
        connect(self.address).expect("connected")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How many events there are, and how many of them twice.
    fn events(&self) -> (usize, usize) {
        let store = Sqlite::open(&self.folder.path().join("facts.db")).expect("a store");
        let rows = block_on(query::dump(&store, "replica_changes")).expect("readable");
        let ids: BTreeSet<String> = rows.iter().map(|row| row["event_id"].to_string()).collect();
        (ids.len(), rows.len() - ids.len())
    }

    fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The status of an answer, if one comes.
fn status(stream: &TcpStream) -> Option<u16> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}

fn exchange(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = connect(address).ok()?;
    stream.write_all(request).ok()?;
    status(&stream)
}

fn head(length: usize, more: &str) -> Vec<u8> {
    format!("POST /pubsub/push HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n{more}\r\n").into_bytes()
}

fn push(address: SocketAddr, body: &[u8], more: &str) -> Option<u16> {
    exchange(address, &[&head(body.len(), more), body].concat())
}

/// A change that nobody else makes.
fn change(number: usize) -> Vec<u8> {
    let uid = format!("uid-{number}");
    Sample::patch(&format!("good-{number}"), "2026-09-04T20:41:03Z", 3).uid(&uid).version(1, 1).bytes()
}

/// What the two innocent ones see.
struct Seen {
    livez: Vec<Duration>,
    /// How long an answer takes that costs nothing, on this machine at this time.
    nothing: Vec<Duration>,
    pushes: Vec<Duration>,
    /// What their pushes were answered with, other than 204.
    refused: Vec<Option<u16>>,
}

/// Attacks a server while others use it, and asserts that they do not notice. Returns the figures for more to be asserted.
fn attacked(name: &str, server: &Server, more: &str, attack: impl FnOnce() -> usize) -> Seen {
    let over = AtomicBool::new(false);
    let (control, ..) = certs(vec![Certs::Answer("200 OK", String::new())]);
    let begun = Instant::now();
    let (tried, seen) = std::thread::scope(|scope| {
        let livez = scope.spawn(|| {
            let (mut taken, mut nothing) = (Vec::new(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert_eq!(server.get("/livez"), Some(200), "{name}: {}", server.log());
                taken.push(asked.elapsed());
                let asked = Instant::now();
                assert_eq!(exchange(control, b"GET / HTTP/1.1\r\n\r\n"), Some(200));
                nothing.push(asked.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            (taken, nothing)
        });
        let pushes = scope.spawn(|| {
            let (mut taken, mut refused) = (Vec::new(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let (body, asked) = (change(taken.len()), Instant::now());
                let answer = push(server.address, &body, &format!("connection: close\r\n{more}"));
                taken.push(asked.elapsed());
                if answer != Some(204) {
                    refused.push(answer);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            (taken, refused)
        });
        let tried = attack();
        over.store(true, Ordering::Relaxed);
        let (taken, refused) = pushes.join().expect("pushed");
        let (livez, nothing) = livez.join().expect("probed");
        (tried, Seen { livez, nothing, pushes: taken, refused })
    });
    let (events, doubled) = server.events();
    let acknowledged = seen.pushes.len() - seen.refused.len();
    let (stall, p99) = (seen.livez.iter().max().expect("probed"), percentile(&seen.pushes));
    println!(
        "{name}: tried {tried}, {} good pushes, refused {}, lost {}, doubled {doubled}, /livez {} times, p99 {} ms, \
         longest {} ms (a bare answer p99 {} ms), pushes p99 {} ms, {:.1} s",
        seen.pushes.len(),
        seen.refused.len(),
        acknowledged.saturating_sub(events),
        seen.livez.len(),
        percentile(&seen.livez).as_millis(),
        stall.as_millis(),
        percentile(&seen.nothing).as_millis(),
        p99.as_millis(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(seen.livez.len() > 20 && seen.pushes.len() > 5, "{name} was too short to tell");
    // On a machine with other work it may be the probe that had to wait.
    let noise = percentile(&seen.nothing);
    let livez = percentile(&seen.livez);
    assert!(livez < Duration::from_millis(100) + noise, "{name}: /livez took {livez:?}, a bare answer {noise:?}");
    assert!(p99 < Duration::from_secs(1) + noise, "{name}: a push took {p99:?}");
    assert!(events >= acknowledged && doubled == 0, "{name}: {events} events of {acknowledged}, {doubled} doubled");
    seen
}

fn percentile(taken: &[Duration]) -> Duration {
    let mut sorted = taken.to_vec();
    sorted.sort();
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// Ends it as Cloud Run does, and asserts what it took at most.
fn ended(name: &str, mut server: Server, most_mib: u64) {
    let took = server.terminate();
    let peak = server.peak.take().expect("watched").join().expect("watched");
    println!("{name}: peak {peak} MiB, ended in {:.1} s", took.as_secs_f64());
    assert!(peak < most_mib, "{name}: {peak} MiB");
    assert!(took < Duration::from_secs(10), "{name}: {took:?}");
}

fn rest() {
    std::thread::sleep(Duration::from_secs(2));
}

#[test]
fn bodies_that_never_come_keep_nobody_out() {
    let (name, server) = ("bodies that never come", Server::start());
    let seen = attacked(name, &server, "", || {
        let tried = 700 * knob();
        let held: Vec<TcpStream> = (0..tried)
            .map(|number| {
                std::thread::sleep(Duration::from_millis(1));
                let mut stream = server.connect();
                // Some begin; all of them say that much more follows.
                let part = vec![b' '; if number % 2 == 0 { 0 } else { 70_000 }];
                let _ = stream.write_all(&[head(10 << 20, ""), part].concat());
                stream
            })
            .collect();
        rest();
        held.len()
    });
    assert_eq!(seen.refused, [], "{name}");
    ended(name, server, 200);
}

#[test]
fn heads_and_bodies_that_drip_keep_nobody_out() {
    let (name, server) = ("heads and bodies that drip", Server::start());
    let seen = attacked(name, &server, "", || {
        let begin = |number: usize| {
            let mut stream = server.connect();
            let begun: &[u8] = match number % 3 {
                0 => b"POST /pubsub/push HTTP/1.1\r\nhost: a\r\nx: ",
                1 => b"POST /pubsub/push HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n",
                _ => b"POST /pubsub/push HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffff\r\n",
            };
            stream.write_all(begun).expect("written");
            stream
        };
        let mut dripping: Vec<TcpStream> = (0..600 * knob()).map(begin).collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(8) {
            dripping.retain_mut(|stream| stream.write_all(b" ").is_ok());
            std::thread::sleep(Duration::from_millis(500));
        }
        600 * knob()
    });
    assert_eq!(seen.refused, [], "{name}");
    ended(name, server, 200);
}

#[test]
fn a_second_head_that_drips_is_cut_like_a_first() {
    let (name, server) = ("second heads that drip", Server::start());
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").expect("written");
        assert_eq!(status(stream), Some(200));
    };
    let answered = || {
        let mut stream = server.connect();
        ask(&mut stream);
        stream
    };
    let mut resting = answered();
    let mut dripping: Vec<TcpStream> = (0..50).map(|_| answered()).collect();
    for stream in &mut dripping {
        stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").expect("written");
    }
    let begun = Instant::now();
    while !dripping.is_empty() && begun.elapsed() < Duration::from_secs(20) {
        dripping.retain_mut(|stream| stream.write_all(b" ").is_ok());
        std::thread::sleep(Duration::from_millis(250));
    }
    println!("{name}: the last of 50 was cut after {:.1?}", begun.elapsed());
    assert!(dripping.is_empty() && begun.elapsed() > Duration::from_secs(9));
    // One that rests between two requests is not.
    ask(&mut resting);
    ended(name, server, 200);
}

/// More than there are file descriptors, too: what cannot be accepted ends nothing, and makes nothing spin.
#[test]
fn connections_by_the_thousand_keep_nobody_out() {
    for (name, files) in [("idle connections", 20_000), ("idle connections, 256 files", 256)] {
        let server = Server::start();
        let pid = format!("--pid={}", server.child.id());
        assert!(
            Command::new("prlimit").args([&pid, &format!("--nofile={files}")]).status().expect("prlimit").success()
        );
        let seen = attacked(name, &server, "", || {
            let connect = |_| {
                // A thousand a second: what waits in front of a prober to be accepted is its delay.
                std::thread::sleep(Duration::from_millis(1));
                server.connect()
            };
            let held: Vec<TcpStream> = (0..3_000 * knob()).map(connect).collect();
            held.len()
        });
        assert_eq!(seen.refused, [], "{name}");
        ended(name, server, 200);
    }
}

#[test]
fn answers_that_nobody_reads_keep_nobody_out() {
    let (name, server) = ("answers that nobody reads", Server::start());
    let seen = attacked(name, &server, "", || {
        let request = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2_000);
        let mut deaf: Vec<TcpStream> = (0..100 * knob()).map(|_| server.connect()).collect();
        for stream in &mut deaf {
            stream.set_write_timeout(Some(Duration::from_millis(10))).expect("set");
            // Until it can be heard no more.
            while stream.write_all(&request).is_ok() {}
        }
        rest();
        deaf.len()
    });
    assert_eq!(seen.refused, [], "{name}");
    ended(name, server, 200);
}

/// A message of 8 MiB in a push body of 11 MiB, sent without ever being whole in our memory.
fn push_large(address: SocketAddr, number: usize) -> Option<u16> {
    const PADDING: usize = 8 << 20;
    let entry = Sample::patch(&format!("large-{number}"), "2026-09-04T20:41:03Z", 3)
        .uid(&format!("large-{number}"))
        .version(1, 1)
        .set("/protoPayload/request/padding", "PADDING");
    let text = String::from_utf8(entry.bytes()).expect("text");
    let (before, after) = text.split_once("PADDING").map(|(before, after)| (before.to_owned(), after)).expect("a mark");
    // Three bytes are four in base64, so that the padding begins where four do.
    let before = " ".repeat(3 - before.len() % 3) + &before;
    let begin = format!("{{\"message\":{{\"messageId\":\"{number}\",\"data\":\"{}", STANDARD.encode(before));
    let end = format!("{}\"}}}}", STANDARD.encode(after));
    let padding = STANDARD.encode("xxx").repeat(1 << 14);
    let times = PADDING / 3 / (1 << 14);
    let mut stream = connect(address).ok()?;
    stream.write_all(&head(begin.len() + padding.len() * times + end.len(), "connection: close\r\n")).ok()?;
    // Who is refused early may still send: what follows is heard out.
    let _ = stream.write_all(begin.as_bytes());
    for _ in 0..times {
        if stream.write_all(padding.as_bytes()).is_err() {
            break;
        }
    }
    let _ = stream.write_all(end.as_bytes());
    status(&stream)
}

/// Who is told to come again does, as Pub/Sub would, until some have got through.
#[test]
fn sixty_four_bodies_of_eleven_mib_at_once_stay_within_the_memory() {
    let (name, server) = ("64 bodies of 11 MiB", Server::start());
    let (all, enough) = (64 * knob(), 4 * knob());
    let (taken, again, unanswered) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let seen = attacked(name, &server, "", || {
        let push_until_taken = |number: usize| {
            loop {
                match push_large(server.address, number) {
                    Some(204) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                    Some(429) => drop(again.fetch_add(1, Ordering::Relaxed)),
                    Some(other) => panic!("{other}: {}", server.log()),
                    None => drop(unanswered.fetch_add(1, Ordering::Relaxed)),
                }
                if taken.load(Ordering::Relaxed) >= enough || unanswered.load(Ordering::Relaxed) > 0 {
                    return;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        std::thread::scope(|scope| {
            for number in 0..all {
                let push_until_taken = &push_until_taken;
                scope.spawn(move || push_until_taken(number));
            }
        });
        all
    });
    let [taken, again, unanswered] = [taken, again, unanswered].map(AtomicUsize::into_inner);
    println!("{name}: {taken} taken, {again} times told to come again, {unanswered} without an answer");
    assert_eq!((seen.refused, unanswered), (Vec::new(), 0), "{name}");
    ended(name, server, 350);
}

/// A body of 57 KB that lists 250 objects makes rows of 12 MB, each of which carries the caller's long name.
#[test]
fn small_bodies_that_list_hundreds_stay_within_the_memory() {
    let (name, server) = ("small bodies that list hundreds", Server::start());
    let agent = "x".repeat(50_000);
    let list = collection(250).set("/protoPayload/requestMetadata", json!({"callerSuppliedUserAgent": agent}));
    std::thread::scope(|scope| {
        for number in 0..20 * knob() {
            let body = list.clone().set("/insertId", format!("list-{number}")).bytes();
            let address = server.address;
            scope.spawn(move || {
                while push(address, &body, "connection: close\r\n").expect("an answer") != 204 {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    ended(name, server, 350);
}

#[test]
fn what_a_body_claims_to_be_is_judged_before_it_comes() {
    let server = Server::start();
    let first = |request: &[u8]| {
        let begun = Instant::now();
        let answer = exchange(server.address, request);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        answer
    };
    assert_eq!(first(&head(17 << 20, "")), Some(413), "not a byte of it has come");
    assert_eq!(first(&head(17 << 20, "expect: 100-continue\r\n")), Some(413), "and none is asked for");
    assert_eq!(first(&head(10, "expect: 100-continue\r\n")), Some(100), "this one is");
    let huge = b"POST /pubsub/push HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n";
    assert_eq!(first(huge), Some(400));
    assert_eq!(first(format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes()), Some(431));
    assert_eq!(first(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), None, "HTTP/2 is not spoken");
    // More than was claimed is another request, and no good one.
    assert_eq!(first(&[head(4, "connection: close\r\n"), b"oops, and more".to_vec()].concat()), Some(204));
    // The caller has said all, and still listens.
    let mut stream = server.connect();
    stream.write_all(&[head(4, ""), b"oops".to_vec()].concat()).expect("written");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    assert_eq!(status(&stream), Some(204));
    // Or less than it claimed.
    let mut stream = server.connect();
    stream.write_all(&[head(400, ""), b"oops".to_vec()].concat()).expect("written");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    assert_ne!(status(&stream), Some(204));
    // A body that is sent all the same does not hide the answer.
    assert_eq!(push(server.address, &vec![b' '; 17 << 20], ""), Some(413));
    ended("claims", server, 150);
}

/// Those who hang up while they are served leave nothing behind: neither room nor memory.
#[test]
fn callers_who_hang_up_leave_nothing_behind() {
    let server = Server::with(|command| {
        command.env("PEDWATCH_PUSH__AUTH", "platform").env("PEDWATCH_PUSH__MAX_IN_FLIGHT", "4");
    });
    for number in 0..400 * knob() {
        let mut stream = server.connect();
        let body = change(number);
        let part = body.len() * (number % 5) / 4;
        let _ = stream.write_all(&[head(body.len(), ""), body[..part.min(body.len())].to_vec()].concat());
    }
    let begun = Instant::now();
    while (0..4).any(|_| push(server.address, b"oops", "") != Some(204)) {
        assert!(begun.elapsed() < Duration::from_secs(2), "{}", server.log());
    }
    ended("callers who hang up", server, 150);
}

/// What an endpoint does to those who ask it for keys, one after the other; the last one for ever.
#[derive(Clone)]
enum Certs {
    Hang,
    Drip,
    Endless,
    Answer(&'static str, String),
}

fn certs(behaviour: Vec<Certs>) -> (SocketAddr, Arc<Mutex<Vec<Certs>>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (asked, behaviour) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(behaviour)));
    let (count, script) = (Arc::clone(&asked), Arc::clone(&behaviour));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let mut script = script.lock().expect("whole");
            let what = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
            std::thread::spawn(move || misbehave(client, what));
        }
    });
    (address, behaviour, asked)
}

fn misbehave(mut client: TcpStream, how: Certs) {
    let lines = BufReader::new(client.try_clone().expect("a socket")).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let begin = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"keys\":[";
    match how {
        Certs::Hang => drop(client.read(&mut [0])),
        Certs::Drip => {
            let _ = client.write_all(begin);
            while client.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        Certs::Endless => {
            let _ = client.write_all(begin);
            while client.write_all(&[b' '; 1 << 16]).is_ok() {}
        }
        Certs::Answer(status, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = client.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        }
    }
}

fn key_set(keys: &[&Json]) -> Certs {
    Certs::Answer("200 OK", json!({"keys": keys}).to_string())
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// A token that looks whole, of a key that nobody has.
fn made_up(number: usize) -> String {
    let part = |value: Json| URL_SAFE_NO_PAD.encode(value.to_string());
    let kid = format!("made-up-{number}");
    format!("{}.{}.{}", part(json!({"alg": "RS256", "kid": kid})), part(claims()), URL_SAFE_NO_PAD.encode([7; 256]))
}

/// Strangers with made-up keys, while no more keys can be had. Who has a good token does not notice, and Google is not asked
/// for each of them.
#[test]
fn strangers_with_made_up_keys_stop_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::new("key-1", folder.path());
    let (address, _, asked) = certs(vec![key_set(&[&key.public]), Certs::Hang]);
    let (name, server) = ("made-up keys", Server::with_keys_at(address));
    let good = bearer(&key.sign(&claims()));
    let seen = attacked(name, &server, &good, || {
        let tried = 300 * knob();
        for number in 0..tried {
            assert_eq!(push(server.address, b"oops", &bearer(&made_up(number))), Some(401));
        }
        rest();
        tried
    });
    assert_eq!(seen.refused, [], "{name}");
    assert!(asked.load(Ordering::Relaxed) <= 2, "{asked:?} fetches");
    ended(name, server, 150);
}

/// Whatever is at the place of the keys: nobody is let in by it, nothing grows, and the first good answer mends it.
#[test]
fn no_answer_for_keys_costs_more_than_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::new("key-1", folder.path());
    let many = format!("[{}]", vec![key.public.to_string(); 10_000].join(","));
    let redirect = "302 Found\r\nlocation: http://example.com/";
    for (name, how) in [
        ("endless keys", Certs::Endless),
        ("keys that drip", Certs::Drip),
        ("no keys", Certs::Answer("200 OK", r#"{"keys":[]}"#.to_owned())),
        ("10,000 keys", Certs::Answer("200 OK", format!(r#"{{"keys":{many}}}"#))),
        ("a page", Certs::Answer("200 OK", "<html>oops</html>".to_owned())),
        ("a redirect", Certs::Answer(redirect, String::new())),
        ("a key for secrets", key_set(&[&json!({"kty": "oct", "kid": "key-1", "k": "AQAB", "alg": "HS256"})])),
    ] {
        let (address, behaviour, _) = certs(vec![how]);
        let server = Server::with_keys_at(address);
        let good = bearer(&key.sign(&claims()));
        let begun = Instant::now();
        assert_eq!(push(server.address, b"oops", &good), Some(503), "{name}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(7), "{name}: {took:?}");
        *behaviour.lock().expect("whole") = vec![key_set(&[&key.public])];
        let begun = Instant::now();
        while push(server.address, b"oops", &good) != Some(204) {
            assert!(begun.elapsed() < Duration::from_secs(15), "{name}: {}", server.log());
        }
        println!("{name}: answered in {:.2} s, mended in {:.2} s", took.as_secs_f64(), begun.elapsed().as_secs_f64());
        ended(name, server, 150);
    }
}

/// An endpoint that never answers, from the start: who asks gets an answer in time, and many who ask are no harm.
#[test]
fn keys_that_never_come_leave_livez_and_the_end_alone() {
    let (address, _, asked) = certs(vec![Certs::Hang]);
    let mut server = Server::with_keys_at(address);
    let metrics = server.metrics;
    let begun = Instant::now();
    let longest = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..200 * knob())
            .map(|number| {
                let address = server.address;
                scope.spawn(move || {
                    let asked = Instant::now();
                    (push(address, b"oops", &bearer(&made_up(number))), asked.elapsed())
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        while asking.iter().any(|thread| !thread.is_finished()) {
            let asked = Instant::now();
            assert_eq!(server.get("/livez"), Some(200));
            assert_eq!(exchange(metrics, b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), Some(200));
            longest = longest.max(asked.elapsed() / 2);
            std::thread::sleep(Duration::from_millis(10));
        }
        for thread in asking {
            let (answer, took) = thread.join().expect("asked");
            assert_eq!(answer, Some(503));
            assert!(took < Duration::from_secs(8), "{took:?}");
        }
        longest
    });
    let asked = asked.load(Ordering::Relaxed);
    println!("keys that never come: 200 askers, {asked} fetches, /livez longest {} ms", longest.as_millis());
    assert!(longest < Duration::from_millis(100), "{longest:?}");
    assert!(asked as u64 <= 1 + begun.elapsed().as_secs(), "one fetch at a time: {asked}");
    assert!(server.terminate() < Duration::from_secs(9));
}

#[test]
fn odd_tokens_are_refused_and_odd_spelling_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::new("key-1", folder.path());
    // The same id at two keys: Google would not, and either may have signed.
    let twin = json!({"kty": "RSA", "alg": "RS256", "kid": "key-1", "n": Key::new("twin", folder.path()).public["n"], "e": "AQAB"});
    let (address, ..) = certs(vec![key_set(&[&json!({"kty": "EC", "crv": "P-256"}), &twin, &key.public])]);
    let server = Server::with_keys_at(address);
    let token = key.sign(&claims());
    let soon = |seconds: i64| json!(Utc::now().timestamp() + seconds);
    let signed_with_the_public_key = {
        let header = jsonwebtoken::Header { kid: Some("key-1".to_owned()), ..Default::default() };
        let secret = jsonwebtoken::EncodingKey::from_secret(key.public["n"].as_str().expect("text").as_bytes());
        jsonwebtoken::encode(&header, &claims(), &secret).expect("signed")
    };
    for (what, expected, headers) in [
        ("good", 204, bearer(&token)),
        ("lower case", 204, format!("authorization: bearer {token}\r\n")),
        ("upper case and spaces", 204, format!("AUTHORIZATION:   BEARER    {token}   \r\n")),
        ("our clock is a little behind", 204, bearer(&key.sign(&with(claims(), "nbf", soon(30))))),
        ("not yet", 401, bearer(&key.sign(&with(claims(), "nbf", soon(600))))),
        ("twice", 401, bearer(&token).repeat(2)),
        ("another scheme", 401, format!("authorization: Basic {token}\r\n")),
        ("no scheme", 401, format!("authorization: {token}\r\n")),
        ("long", 401, bearer(&"a".repeat(60_000))),
        ("longer than any head", 431, bearer(&"a".repeat(1 << 20))),
        ("signed with what everybody knows", 401, bearer(&signed_with_the_public_key)),
        ("not text", 401, "authorization: Bearer \u{e4}\r\n".to_owned()),
    ] {
        assert_eq!(push(server.address, b"oops", &headers), Some(expected), "{what}: {}", server.log());
    }
    ended("odd tokens", server, 150);
}

/// A store that is asked, and never answers.
#[derive(Default)]
struct Silent {
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Store for Silent {
    async fn append(&self, _: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        std::future::pending().await
    }

    fn appends_at_once(&self) -> usize {
        1
    }

    async fn check(&self) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn fetch(&self, _: &Query) -> Result<Rows, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

/// Whoever asks whether we are ready is told what is known, and asks nobody else.
#[test]
fn many_who_ask_for_readiness_ask_the_store_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (address, store) = (free_address(), Arc::new(Silent::default()));
    runtime.block_on(async {
        let health = Health::new(store.clone(), Shutdown::never());
        health::serve(address.port(), health, Metrics::default()).expect("served");
    });
    let ask = || {
        let asked = Instant::now();
        let mut stream = connect(address).expect("connected");
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nage: 0\r\n"), "{answer}");
        asked.elapsed()
    };
    let longest = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..127 * knob()).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().expect("asked")).max()
    });
    println!(
        "readiness: 127 askers of a silent store, longest {longest:?}, {} queries",
        store.asked.load(Ordering::Relaxed)
    );
    assert!(longest < Some(Duration::from_secs(1)), "{longest:?}");
    assert_eq!(store.asked.load(Ordering::Relaxed), 0);
}
