//! `cargo bench --bench notify`: how many events a second go through the state machine into a ledger of SQLite, with nobody, a
//! thousand and a hundred thousand Deployments having something open; and what following adds to a push to `pedwatch serve`:
//! without a ledger, with one in a file of its own, and with one in the store's.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use pedwatch::config::Config;
use pedwatch::incident::{
    Context, Deployment, Document, Ended, Input, Place, Says, Settings, Sighting, Silence, State, Step,
};
use pedwatch::notify::ledger::{Change, Ledger, LedgerError, Put};
use pedwatch::notify::notice::Addressed;
use pedwatch::notify::stepping::{Stepper, Surroundings};
use pedwatch::ped::limits::Limit;
use pedwatch::policy::{Policy, Route};
use pedwatch::store::sqlite::Sqlite;
use serde_json::json;

#[path = "../tests/suite/servers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod servers;

mod generate;
#[allow(dead_code, reason = "each bench uses some of it")]
mod measure;

use measure::Figures;

/// Events that are measured with each number of open incidents.
const EVENTS: u64 = 2_000;

/// Pushes that are measured with each ledger.
const PUSHES: u64 = 4_000;

const CONNECTIONS: u64 = 16;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut figures = Figures::default();
    runtime.block_on(async {
        for (open, short) in [(0, "0"), (1_000, "1k"), (100_000, "100k")] {
            figures.keep(format!("open_{short}_per_s"), step(open, folder.path()).await);
        }
        for (name, ledger) in
            [("none", None), ("a file of its own", Some("ledger")), ("the store's file", Some("facts"))]
        {
            push(name, ledger, folder.path(), &mut figures).await;
        }
    });
    figures.write("notify");
}

/// What steps go by: a limit of 5, and nobody to tell, so that it is the steps that are measured.
struct Around {
    policy: Policy,
    settings: Settings,
    limit: Limit,
    now: DateTime<Utc>,
}

impl Around {
    fn new() -> Self {
        let config = Config::load(None, []).expect("defaults");
        let now = Utc::now();
        let from = now - TimeDelta::days(9);
        let limit = Limit { limit_id: "v1".to_owned(), from, max_replicas: 5, initial_max_replicas: 5 };
        Around { policy: config.policy, settings: config.notify.settings, limit, now }
    }
}

#[async_trait]
impl Surroundings for Around {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn limit(&self, _: &Deployment) -> Option<Limit> {
        Some(self.limit.clone())
    }

    async fn limit_anew(&self, deployment: &Deployment) -> Result<Option<Limit>, LedgerError> {
        Ok(self.limit(deployment))
    }

    async fn silences(&self, _: &Deployment) -> Result<Vec<Silence>, LedgerError> {
        Ok(Vec::new())
    }

    async fn addressed(&self, _: &Deployment, _: &Step) -> Result<Vec<Addressed>, LedgerError> {
        Ok(Vec::new())
    }
}

fn deployment(number: u64) -> Deployment {
    let text = |text: &str| text.to_owned();
    Deployment {
        project: text("acme-prod"),
        location: text("europe-west1"),
        cluster: text("prod-1"),
        namespace: format!("team-{}", number % 500),
        name: format!("api-{number}"),
    }
}

/// A write of a Deployment, as it is known to the machine.
fn write(number: u64, version: u64, replicas: i64, time: DateTime<Utc>) -> Input {
    let id = format!("{number}-{version}");
    let place = Place {
        version: Some(version.to_string()),
        generation: i64::try_from(version).ok(),
        time,
        insert_id: id.clone(),
        event_id: id.clone(),
    };
    let state = State {
        place,
        says: Says::Number(replicas),
        target: None,
        counts: true,
        touched: true,
        creates: false,
        write_id: id,
        actor: "deployer@acme-prod.iam.gserviceaccount.com".to_owned(),
        on_behalf_of: None,
        route: Route::Pipeline,
    };
    Input::Own(Sighting { uid: Some(format!("uid-{number}")), born_at: None, shows: true, state })
}

/// Many Deployments that are over their limit, as steps would have left them.
async fn fill(ledger: &Sqlite, around: &Around, open: u64) {
    for from in (0..open).step_by(1_000) {
        let document = |number| {
            let mut document = Document::new(deployment(number));
            let context = Context {
                now: around.now,
                limit: Some(&around.limit),
                policy: &around.policy,
                settings: &around.settings,
                silences: &[],
                ended: Ended::default(),
            };
            document.step(&write(number, 1, 8, around.now - TimeDelta::minutes(1)), &context);
            Put {
                key: document.deployment.key(),
                revision: None,
                due_at: document.due_at(&around.settings, around.now),
                open_in: document.deployment.found_in(true),
                body: serde_json::to_string(&document).expect("JSON"),
            }
        };
        let documents = (from..open.min(from + 1_000)).map(document).collect();
        ledger.commit(&Change { documents, ..Change::default() }).await.expect("committed");
    }
}

/// Events a second.
async fn step(open: u64, folder: &Path) -> f64 {
    let around = Around::new();
    let ledger = Sqlite::open(&folder.join(format!("open-{open}.db"))).expect("a ledger");
    fill(&ledger, &around, open).await;
    let stepper = Stepper { ledger: &ledger, around: &around };
    let begun = Instant::now();
    for event in 0..EVENTS {
        // Spread over those that there are, or over some that are new.
        let number = event * 7_919 % open.max(1_000);
        stepper.step(&deployment(number), &write(number, 2 + event, 8, around.now)).await.expect("stepped");
    }
    let each = begun.elapsed() / u32::try_from(EVENTS).expect("small");
    println!("{open:7} open: {:6.0} events/s, {:.2} ms each", 1.0 / each.as_secs_f64(), each.as_secs_f64() * 1e3);
    1.0 / each.as_secs_f64()
}

async fn push(name: &str, ledger: Option<&str>, folder: &Path, figures: &mut Figures) {
    let folder = folder.join(format!("serve-{}", ledger.unwrap_or("none")));
    std::fs::create_dir(&folder).expect("a folder");
    let file = |name: &str| format!("sqlite:{}", folder.join(format!("{name}.db")).display());
    let (port, metrics) = (servers::free_address().port(), servers::free_address().port());
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pedwatch"));
        command.args(args).env("PEDWATCH_STORE__URL", file("facts")).env("RUST_LOG", "error").stdout(Stdio::null());
        command.env(generate::PIPELINE.0, generate::PIPELINE.1).env("PEDWATCH_NOTIFY__UNROUTED", "ignore");
        // The entries are some months old, and news here.
        command.env("PEDWATCH_NOTIFY__MAX_AGE_SECONDS", "300000000");
        command.env("PEDWATCH_NOTIFY__LEDGER", ledger.map_or("off".to_owned(), file));
        command
    };
    let peds = folder.join("peds.yaml");
    std::fs::write(&peds, generate::peds()).expect("written");
    let register = ["ped", "register", "--updated-by=bench", "--reason=bench", "--effective-at=2020-01-01"];
    assert!(command(&register).arg(&peds).status().expect("started").success());
    let mut serve = command(&["serve"]);
    serve.env("PORT", port.to_string()).env("PEDWATCH_PUSH__AUTH", "platform");
    let mut child = serve.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.to_string()).spawn().expect("started");
    while !reqwest::get(format!("http://127.0.0.1:{metrics}/readyz")).await.is_ok_and(|it| it.status().is_success()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url: Arc<str> = format!("http://127.0.0.1:{port}/pubsub/push").into();
    let next = Arc::new(AtomicU64::new(0));
    let alone = pushes(&url, &next, PUSHES / 8).await;
    let connections = (0..CONNECTIONS).map(|_| {
        let (url, next) = (Arc::clone(&url), Arc::clone(&next));
        tokio::spawn(async move { pushes(&url, &next, PUSHES).await })
    });
    let mut together: Vec<Duration> = Vec::new();
    for connection in connections.collect::<Vec<_>>() {
        together.extend(connection.await.expect("joined"));
    }
    let millis = |took: &[Duration], part: usize| {
        let mut took = took.to_vec();
        took.sort_unstable();
        took.get(took.len() * part / 100).expect("some").as_secs_f64() * 1e3
    };
    let mut keep = |took: &[Duration], what: &str, part: usize| {
        figures.keep(format!("{}_{what}_p{part}_ms", ledger.unwrap_or("none")), millis(took, part))
    };
    println!(
        "serve, ledger in {name}: one at a time median {:.2} ms, p99 {:.2} ms; {CONNECTIONS} connections median {:.2} ms, p99 {:.2} ms",
        keep(&alone, "alone", 50),
        keep(&alone, "alone", 99),
        keep(&together, "together", 50),
        keep(&together, "together", 99),
    );
    end(&mut child);
}

/// Posts the next writes until so many are posted.
async fn pushes(url: &str, next: &AtomicU64, until: u64) -> Vec<Duration> {
    let http = reqwest::Client::new();
    let mut took = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= until {
            return took;
        }
        // Every other entry is a write.
        let entry = String::from_utf8(generate::entry(number * 2, 2 << 10)).expect("UTF-8");
        let body =
            json!({"message": {"data": STANDARD.encode(entry), "messageId": number.to_string()}, "subscription": "s"});
        let sent = Instant::now();
        let answer = http.post(url).body(body.to_string()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 204);
        took.push(sent.elapsed());
    }
}

fn end(child: &mut Child) {
    child.kill().expect("killed");
    child.wait().expect("ended");
}
