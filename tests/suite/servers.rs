//! Real servers, started by the tests that need them. A server that cannot be started fails its tests.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pedwatch::store::bigquery::{BigQuery, BigQueryConfig, Change, DatasetName};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fresh machine installs the server first, which is not counted; this is for its start alone.
const START: Duration = Duration::from_secs(90);

struct Server {
    address: SocketAddr,
    /// Its standard input is open as long as this process runs; then it stops by itself.
    _child: Child,
}

/// Datasets of one server: each makes it slower for the next.
const DATASETS: usize = 6;

/// Address of a BigQuery server with room for one more dataset.
pub fn bigquery() -> SocketAddr {
    static SERVERS: Mutex<(Vec<Server>, usize)> = Mutex::new((Vec::new(), 0));
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (started, datasets) = &mut *servers;
    if *datasets % DATASETS == 0 {
        started.push(start_bigquery());
    }
    *datasets += 1;
    started.last().expect("started").address
}

fn start_bigquery() -> Server {
    set_up();
    let home = Path::new(ROOT).join("target/servers/bigquery");
    let (address, grpc) = (free_address(), free_address());
    let log = home.join(format!("{}.log", address.port()));
    let output = || std::fs::File::create(&log).expect("a log file");
    let child = Command::new(home.join("bin/python"))
        .arg(Path::new(ROOT).join("tests/servers/bigquery.py"))
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--grpc-port", &grpc.port().to_string()])
        .args(["--project", "acme-prod", "--data-dir"])
        .arg(home.join(format!("data-{}", address.port())))
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        .spawn()
        .expect("python");
    wait_for(address, &log);
    Server { address, _child: child }
}

/// Installs what the tests start, where it is not there.
fn set_up() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let set_up = Command::new(Path::new(ROOT).join("tests/servers/setup.sh")).status().expect("bash");
        assert!(set_up.success(), "tests/servers/setup.sh failed: the tests' servers cannot be installed");
    });
}

/// An SMTP server that demands STARTTLS and a password: its port, and the folder with its CA and what it took.
pub fn smtp() -> (u16, &'static Path) {
    static SERVER: OnceLock<(Server, tempfile::TempDir)> = OnceLock::new();
    let (server, folder) = SERVER.get_or_init(|| {
        set_up();
        let (address, folder) = (free_address(), tempfile::tempdir().expect("a folder"));
        let log = folder.path().join("log");
        let child = Command::new(Path::new(ROOT).join("target/servers/smtp/bin/python"))
            .arg(Path::new(ROOT).join("tests/servers/smtp.py"))
            .arg(address.port().to_string())
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("python");
        wait_for(address, &log);
        (Server { address, _child: child }, folder)
    });
    (server.address.port(), folder.path())
}

fn wait_for(address: SocketAddr, log: &Path) {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(begun.elapsed() < START, "the server does not answer; it said:\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An address that nobody listens on, and that stays free until it is used, and while its server is started again: its
/// port is below those that the system gives to connections (from 32768 on Linux), and given once in this process.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000).expect("small");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}

/// How a server at this address is reached.
pub fn bigquery_at(address: SocketAddr) -> BigQueryConfig {
    BigQueryConfig {
        endpoint: Some(format!("http://{address}")),
        anonymous: true,
        location: None,
        deadline: Duration::from_secs(30),
        requests_in_flight: 8,
        partition_expiration_days: None,
    }
}

/// The name of a dataset that no other test has.
fn fresh_name() -> DatasetName {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("acme-prod.test_{}_{number}", std::process::id()).parse().expect("a name")
}

/// Address of the Pub/Sub emulator which all tests of this process share.
pub fn pubsub() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start_pubsub).address
}

/// Google's own emulator, out of the Cloud SDK.
fn start_pubsub() -> Server {
    let library = cloud_sdk().join("platform/pubsub-emulator/lib");
    let jars = std::fs::read_dir(&library).expect("the component pubsub-emulator of the Google Cloud SDK is needed");
    let mut jars = jars.map(|jar| jar.expect("readable").path());
    let jar = jars.find(|jar| jar.to_string_lossy().ends_with("-all.jar")).expect("the emulator's jar");
    start_java("pubsub", &["-jar".to_owned(), jar.to_string_lossy().into_owned()])
}

/// Address of the Firestore emulator which all tests of this process share.
pub fn firestore() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start_firestore).address
}

/// Google's own emulator, out of the Cloud SDK.
fn start_firestore() -> Server {
    let jar = cloud_sdk().join("platform/cloud-firestore-emulator/cloud-firestore-emulator.jar");
    assert!(jar.exists(), "the component cloud-firestore-emulator of the Google Cloud SDK is needed");
    let class = "com.google.cloud.datastore.emulator.firestore.CloudFirestore";
    start_java("firestore", &["-cp".to_owned(), jar.to_string_lossy().into_owned(), class.to_owned()])
}

fn cloud_sdk() -> PathBuf {
    let sdk = Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output();
    let sdk = String::from_utf8(sdk.expect("gcloud: the Google Cloud SDK is needed").stdout).expect("UTF-8");
    PathBuf::from(sdk.trim())
}

fn start_java(name: &str, program: &[String]) -> Server {
    let address = free_address();
    let log = Path::new(ROOT).join(format!("target/{name}-{}.log", address.port()));
    let output = || std::fs::File::create(&log).expect("a log file");
    // Java does not stop with its standard input: cat does, and takes it along.
    let script = "java -Xmx512m \"$@\" & cat; kill $!; wait";
    let child = Command::new("bash")
        .args(["-c", script, name])
        .args(program)
        .args(["--host=127.0.0.1".to_owned(), format!("--port={}", address.port())])
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        .spawn()
        .expect("bash");
    wait_for(address, &log);
    Server { address, _child: child }
}

/// A new dataset, and where it is.
pub struct Dataset {
    pub name: DatasetName,
    pub server: SocketAddr,
    pub store: BigQuery,
}

impl Dataset {
    /// One that is only a name yet.
    pub async fn unmade() -> Self {
        let (name, server) = (fresh_name(), bigquery());
        let store = BigQuery::open(name.clone(), &bigquery_at(server)).await.expect("a client");
        Dataset { name, server, store }
    }

    /// With all tables. The program asks no view that is stored, and making them takes the tests' server its time.
    pub async fn new() -> Self {
        Self::made(|change| !matches!(change, Change::ReplaceView(_))).await
    }

    /// With all tables and views.
    pub async fn with_views() -> Self {
        Self::made(|_| true).await
    }

    async fn made(wanted: impl Fn(&Change) -> bool) -> Self {
        let dataset = Self::unmade().await;
        for change in dataset.store.schema_changes().await.expect("compared").iter().filter(|change| wanted(change)) {
            dataset.store.apply(change).await.expect("made");
        }
        dataset
    }
}
