//! Being told, from a push to a receiver: the real binary, a real ledger, and receivers that refuse what real ones refuse.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pedwatch::notify::ledger::{Ledger, Wanted};
use pedwatch::notify::notice::State;
use pedwatch::store::firestore::{DatabaseName, Firestore, FirestoreConfig};
use pedwatch::store::sqlite::Sqlite;
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::ledger::sending::{Hook, SECRET};
use crate::servers::{firestore, free_address};
use crate::support::{Sample, block_on, root};

mod commands;
mod digests;
mod money;
mod serving;
mod team;

/// How long something may take that takes a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is over is told at once, and the fixtures' month is no history.
const AT_ONCE: &str = "flap_seconds = 0\nmax_age_seconds = 300000000";

/// A folder with a configuration, a store and a ledger, and the receivers that it names.
struct World {
    folder: tempfile::TempDir,
    hook: Hook,
    slack: Hook,
    /// A database of Firestore, where the ledger is in one.
    database: Option<DatabaseName>,
    /// The ledger's file else.
    ledger: &'static str,
}

impl World {
    /// With other settings of `[notify]`, and a ledger in a file.
    fn with(settings: &str) -> Self {
        Self::by(None, settings)
    }

    fn by(database: Option<DatabaseName>, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World { folder, hook: Hook::new(0), slack: Hook::slack(), database, ledger: "ledger.db" };
        let judged_by = std::fs::read_to_string(root().join("fixtures/pedwatch.toml")).expect("readable");
        let notify = format!(
            "[store]\nurl = {:?}\n[notify]\nledger = {:?}\n{settings}\n\
             [receivers.hook]\nkind = \"webhook\"\nurl = {:?}\nsecret_file = {:?}\n\
             [receivers.slack]\nkind = \"slack_webhook\"\nwebhook_url_file = {:?}\n\
             [[routes]]\nseverity = [\"critical\"]\nreceivers = [\"hook\", \"slack\"]\n\
             [[routes]]\nreceivers = [\"hook\"]\n",
            format!("sqlite:{}", world.path("facts.db").display()),
            match &world.database {
                Some(DatabaseName { project, database }) => format!("firestore:{project}/{database}"),
                None => format!("sqlite:{}", world.path("ledger.db").display()),
            },
            world.hook.url(),
            world.path("secret"),
            world.path("slack-url"),
        );
        std::fs::write(world.path("secret"), format!("{SECRET}\n")).expect("written");
        std::fs::write(world.path("slack-url"), world.slack.url()).expect("written");
        std::fs::write(world.path("pedwatch.toml"), format!("{judged_by}\n{notify}")).expect("written");
        world
    }

    /// One in which what is over is told at once, and the fixtures' month is no history.
    fn new() -> Self {
        Self::with(AT_ONCE)
    }

    /// As [`World::new`], with the ledger in Firestore.
    fn on_firestore() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("acme-telling-{}-{number}/(default)", std::process::id());
        Self::by(Some(name.parse().expect("a name")), AT_ONCE)
    }

    /// As [`World::new`], with the ledger in the store's own file.
    fn in_one_file() -> Self {
        let world = World { ledger: "facts.db", ..Self::new() };
        let text = std::fs::read_to_string(world.path("pedwatch.toml")).expect("readable");
        std::fs::write(world.path("pedwatch.toml"), text.replace("ledger.db", "facts.db")).expect("written");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.arg("--config").arg(self.path("pedwatch.toml")).args(args);
        if self.database.is_some() {
            command.env("FIRESTORE_EMULATOR_HOST", firestore().to_string());
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&mut self.command(args), b"")
    }

    /// What a command says that does what it should.
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.says(&[args, &["--format=json"]].concat())).expect("JSON")
    }

    fn register(&self, path: &str, from: &str) -> String {
        self.says(&["ped", "register", path, "--updated-by=test", "--reason=test", "--effective-at", from])
    }

    fn register_demo(&self) {
        for day in ["2026-09-01", "2026-09-11"] {
            self.register(&format!("fixtures/demo/ped/{day}"), day);
        }
    }

    fn ledger(&self) -> Box<dyn Ledger> {
        let Some(name) = &self.database else {
            return Box::new(Sqlite::open(&self.path(self.ledger)).expect("a ledger"));
        };
        let endpoint = Some(format!("http://{}", firestore()));
        let config = FirestoreConfig { endpoint, anonymous: true, deadline: PATIENCE };
        Box::new(block_on(Firestore::open(name, &config)).expect("a client"))
    }

    /// Waits until nothing is to be sent any more.
    fn quiet(&self) {
        let (ledger, begun) = (self.ledger(), Instant::now());
        let open = || {
            let count = |state| block_on(ledger.notices(Wanted::State(state), 1)).expect("readable").len();
            count(State::Pending) + count(State::Sending)
        };
        while open() > 0 {
            assert!(begun.elapsed() < PATIENCE, "not all was sent");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the hook was told, by the ids of the notices: each once, and each copy says that it may be one.
    fn told(&self) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for post in self.hook.posts() {
            let known = told.insert(post.id.clone(), said(&post.body));
            assert!(known.is_none() || post.unsure, "{} is told again", post.body);
        }
        told
    }

    /// What it was told, in order.
    fn heard(&self) -> Vec<String> {
        self.hook.posts().iter().map(|post| said(&post.body)).collect()
    }
}

/// A notice in a few words.
fn said(body: &str) -> String {
    let message: Json = serde_json::from_str(body).expect("JSON");
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| message[name].as_i64().map_or("?".to_owned(), |number| number.to_string());
    format!(
        "{} {} {}/{} {}/{}",
        text("kind"),
        text("rule"),
        text("namespace"),
        text("deployment"),
        number("value"),
        number("limit")
    )
}

/// A running `serve`, killed when it is dropped.
struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    fn start(world: &World) -> Self {
        let (address, metrics) = (free_address(), free_address());
        let mut command = world.command(&["serve"]);
        command.env("PORT", address.port().to_string()).env("PEDWATCH_PUSH__AUTH", "platform");
        command.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(world.path("log")).expect("a log"));
        let mut child = command.spawn().expect("the binary starts");
        let begun = Instant::now();
        while !get(address, "/readyz") {
            let log = || std::fs::read_to_string(world.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE && child.try_wait().expect("a child").is_none(), "{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Serve { child, address }
    }

    /// Pushes an entry, and tells whether it is acknowledged.
    fn push(&self, entry: &[u8]) -> bool {
        push(self.address, entry)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("gone");
    }
}

fn get(address: SocketAddr, path: &str) -> bool {
    let answer = block_on(reqwest::Client::new().get(format!("http://{address}{path}")).send());
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn push(address: SocketAddr, entry: &[u8]) -> bool {
    let message = json!({"data": STANDARD.encode(entry), "messageId": "1"});
    let body = json!({"message": message, "subscription": "projects/acme-prod/subscriptions/pedwatch"});
    let client = reqwest::Client::new();
    let answer = block_on(client.post(format!("http://{address}/pubsub/push")).json(&body).send());
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The demo month, and a Deployment that goes over its limit and further.
fn month() -> Vec<Vec<u8>> {
    let demo = std::fs::read(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo");
    let lines = demo.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec);
    let first: Json = demo
        .split(|&byte| byte == b'\n')
        .next()
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .expect("a line");
    let uid = first["protoPayload"]["response"]["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let further = [("2026-09-30T08:00:00Z", 7), ("2026-09-30T09:00:00Z", 8)];
    let further = further.iter().enumerate().map(|(number, (at, replicas))| {
        Sample::patch(&format!("further-{number}"), at, *replicas)
            .uid(&uid)
            .version(9_000_001 + number as i64, 50 + number as i64)
            .bytes()
    });
    lines.chain(further).collect()
}
