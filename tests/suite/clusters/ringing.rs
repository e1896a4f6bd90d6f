//! The whole way, of real servers: an API server, what pedwatch makes of it, Prometheus, Alertmanager, and a webhook that rings
//! once and is told when it is over.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value as Json, json};

use super::canary::{Serve, sink};
use super::watch::Watch;
use super::{APPS, Api, Place, deployment};
use crate::cli::{stderr, stdout};
use crate::servers::free_address;
use crate::support::{PEDS_FROM, block_on, ped, register, root};

/// Longer than any of them needs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// So long nothing more is to ring: several evaluations and intervals of all of them.
const QUIET: Duration = Duration::from_secs(8);

/// A server that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, args: &[String], address: SocketAddr) -> Server {
    let mut its = Command::new(program);
    its.args(args).arg(format!("--web.listen-address={address}"));
    let child = its.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.unwrap_or_else(|error| panic!("{program}: {error}; see tests/servers/setup.sh")));
    let begun = Instant::now();
    while !block_on(is_ready(address)) {
        assert!(begun.elapsed() < PATIENCE, "{program} does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    server
}

async fn is_ready(address: SocketAddr) -> bool {
    reqwest::get(format!("http://{address}/-/ready")).await.is_ok_and(|answer| answer.status().is_success())
}

/// Who is rung.
#[derive(Clone, Default)]
struct Bell(Arc<Mutex<Vec<String>>>);

impl Bell {
    /// The bell, and where it is.
    fn hang() -> (Self, SocketAddr) {
        let bell = Bell::default();
        let router = Router::new().route("/", post(ring)).with_state(bell.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("set");
        std::thread::spawn(move || {
            block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("served");
            });
        });
        (bell, address)
    }

    /// What was told of a rule: `STATUS NAMESPACE/DEPLOYMENT in CLUSTER`.
    fn told(&self, rule: &str) -> Vec<String> {
        let told = self.0.lock().expect("whole");
        told.iter().filter_map(|line| Some(line.strip_prefix(rule)?.trim().to_owned())).collect()
    }

    /// Waits until so much was told of a rule, and then for whether it stays at that.
    fn rings(&self, rule: &str, expected: &[&str]) {
        let begun = Instant::now();
        while self.told(rule).len() < expected.len() {
            assert!(begun.elapsed() < PATIENCE, "expected {expected:?} of {rule}, heard {:?}", self.0.lock());
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(QUIET);
        assert_eq!(self.told(rule), expected, "{rule}");
    }
}

async fn ring(State(bell): State<Bell>, body: String) {
    let body: Json = serde_json::from_str(&body).expect("JSON");
    let mut told = bell.0.lock().expect("whole");
    for alert in body["alerts"].as_array().into_iter().flatten() {
        let label = |name: &str| alert["labels"][name].as_str().unwrap_or("?").to_owned();
        let status = alert["status"].as_str().unwrap_or("?");
        let names = format!("{}/{} in {}", label("namespace"), label("deployment"), label("cluster"));
        told.push(format!("{} {status} {names}", label("alertname")));
    }
}

/// Tells the bell at once, and when it is over.
fn alertmanager(folder: &Path, bell: SocketAddr) -> (Server, SocketAddr) {
    let config = json!({
        "route": {"receiver": "bell", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h"},
        "receivers": [{"name": "bell", "webhook_configs": [{"url": format!("http://{bell}/"), "send_resolved": true}]}],
    });
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, config.to_string()).expect("written");
    let address = free_address();
    let storage = folder.join("alertmanager");
    let args = [
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", storage.display()),
        "--cluster.listen-address=".to_owned(),
    ];
    (start("prometheus-alertmanager", &args, address), address)
}

/// With the rules that are shipped, scraping one target.
fn prometheus(folder: &Path, target: &str, alertmanager: SocketAddr) -> Server {
    let config = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [root().join("deploy/prometheus/watch.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.to_string()]}]}]},
        "scrape_configs": [{"job_name": "pedwatch", "honor_labels": true, "static_configs": [{"targets": [target]}]}],
    });
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config.to_string()).expect("written");
    let storage = folder.join("prometheus");
    let args = [format!("--config.file={}", file.display()), format!("--storage.tsdb.path={}", storage.display())];
    start("prometheus", &args, free_address())
}

fn scale(api: &Api, replicas: i64) {
    let path = format!("{APPS}/shop/deployments/orders-api");
    block_on(api.patch(&path, &json!({"spec": {"replicas": replicas}})));
}

/// A shop with a Deployment of two, and a limit of four.
fn open_shop(api: &Api, place: &Place) {
    block_on(async {
        api.namespace("shop").await;
        api.post(&format!("{APPS}/shop/deployments"), &deployment("orders-api", 2)).await;
        register(&place.opened(), &ped("shop", "orders-api", None, 4), PEDS_FROM).await;
    });
}

/// Through `watch`, and through a restart of the API server in the middle of it.
#[test]
fn what_watch_sees_rings_once_and_is_told_when_it_is_over() {
    let mut api = Api::start();
    let mut place = Place::new("");
    place.at("eu", &api.server(), "pedwatch", &api.ca, "");
    open_shop(&api, &place);
    let (bell, address) = Bell::hang();
    let watch = Watch::start(&place);
    let (_alertmanager, alerted) = alertmanager(place.path(), address);
    let _prometheus = prometheus(place.path(), watch.target(), alerted);
    watch.becomes(&[("orders-api", [Some(2.0), Some(0.0), Some(4.0)])]);
    std::thread::sleep(QUIET);
    assert_eq!(bell.told("DeploymentOverLimit"), Vec::<String>::new(), "within its limit");
    scale(&api, 6);
    let firing = "firing shop/orders-api in prod-eu";
    bell.rings("DeploymentOverLimit", &[firing]);
    // Further over it, and seen again by a connection that began anew: it is the same.
    scale(&api, 7);
    api.restart();
    watch.becomes(&[("orders-api", [Some(7.0), Some(0.0), Some(4.0)])]);
    bell.rings("DeploymentOverLimit", &[firing]);
    scale(&api, 3);
    bell.rings("DeploymentOverLimit", &[firing, "resolved shop/orders-api in prod-eu"]);
    let others: Vec<String> = bell.0.lock().expect("whole").clone();
    assert_eq!(others.len(), 2, "nothing else rings: {others:?}");
}

/// Through the log, a snapshot and `daily`: what is scaled while the sink is broken is found, and told by the receiver.
#[test]
fn what_the_log_misses_is_found_by_daily_rings_once_and_stops() {
    let api = Api::start();
    let mut place = Place::new("");
    let (bell, address) = Bell::hang();
    let (_alertmanager, alerted) = alertmanager(place.path(), address);
    let ledger = format!("sqlite:{}", place.path().join("ledger.db").display());
    place.sections += &format!(
        "[comparison]\nsettle_seconds = 0\n[notify]\nledger = {ledger:?}\nflap_seconds = 0\n\
         [receivers.alertmanager]\nkind = \"alertmanager\"\nurl = \"http://{alerted}\"\n\
         [[routes]]\nrule = [\"over_limit\"]\nreceivers = [\"alertmanager\"]\n[[routes]]\nreceivers = []\n"
    );
    place.at("1", &api.server(), "pedwatch", &api.ca, "");
    open_shop(&api, &place);
    // The log tells that it was made, and then nothing more.
    {
        let serve = Serve::start(&place);
        let _sink = sink(&api, &serve, &[]);
        let begun = Instant::now();
        while !place.rows("replica_events").iter().any(|row| row["deployment_name"] == "orders-api") {
            assert!(begun.elapsed() < PATIENCE, "its entry does not come");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let night = || {
        for args in [&["snapshot"][..], &["daily"], &["notify", "--once"]] {
            let output = place.run(args);
            assert!(output.status.success(), "{args:?}: {}{}", stdout(&output), stderr(&output));
        }
    };
    night();
    // Whoever made it did not come through the pipeline; what runs is as the log says.
    let is_bypass = |row: &Json| row["alert_type"] == "bypass";
    assert!(place.rows("alert_log").iter().all(is_bypass), "{:?}", place.rows("alert_log"));
    // What the log tells of the five seconds around a listing may be behind it or before it: nothing is missing for sure then.
    std::thread::sleep(Duration::from_secs(6));
    scale(&api, 6);
    night();
    let found: Vec<String> = place.rows("alert_log").iter().map(|row| row["alert_type"].to_string()).collect();
    assert!(found.contains(&"\"over_limit\"".to_owned()) && found.contains(&"\"drift\"".to_owned()), "{found:?}");
    let firing = "firing shop/orders-api in prod-1";
    bell.rings("DeploymentOverLimit", &[firing]);
    night();
    bell.rings("DeploymentOverLimit", &[firing]);
    scale(&api, 3);
    night();
    bell.rings("DeploymentOverLimit", &[firing, "resolved shop/orders-api in prod-1"]);
    night();
    bell.rings("DeploymentOverLimit", &[firing, "resolved shop/orders-api in prod-1"]);
}
