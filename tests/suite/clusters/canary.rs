//! `pedwatch canary` against a real API server, whose audit log goes through a sink's double into a real `serve`: whether its
//! entry comes, how long it takes, and who is told when it does not.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pedwatch::audit::{Decoded, Entry, decode};
use serde_json::{Value as Json, json};

use super::{APPS, Api, Place, deployment};
use crate::cli::{stderr, stdout};
use crate::servers::free_address;
use crate::support::{Sample, block_on, root};

/// A process that ends with its test.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody who consumes into the place's store.
pub(super) struct Serve {
    _process: Running,
    push: String,
    metrics: SocketAddr,
}

impl Serve {
    pub(super) fn start(place: &Place) -> Self {
        let (address, metrics) = (free_address(), free_address());
        let mut its = place.command(&["serve"]);
        its.env("PORT", address.port().to_string()).env("PEDWATCH_PUSH__AUTH", "platform");
        its.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.port().to_string());
        let process = Running(its.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the binary starts"));
        let serve = Serve { _process: process, push: format!("http://{address}/pubsub/push"), metrics };
        let begun = Instant::now();
        while serve.get("readyz").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "serve does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        serve
    }

    fn get(&self, path: &str) -> Option<String> {
        block_on(async {
            let answer = reqwest::get(format!("http://{}/{path}", self.metrics)).await.ok()?;
            answer.error_for_status().ok()?.text().await.ok()
        })
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let series = format!("{name}{{cluster_id=\"projects/acme-prod/locations/europe-west1/clusters/prod-1\"}} ");
        let text = self.get("metrics").expect("metrics");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }
}

pub(super) fn sink(api: &Api, serve: &Serve, more: &[&str]) -> Running {
    let mut its = Command::new("python3");
    its.arg(root().join("tests/kubernetes/sink.py")).arg(api.audit_log()).arg(&serve.push).args(more);
    Running(its.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("python3"))
}

/// One with the shipped object and role, and the cluster that the audit log names.
fn place(api: &Api) -> Place {
    let mut place = Place::new("");
    place.at("1", &api.server(), "canary", &api.ca, "");
    place.sections += "[canary]\nnamespace = \"pedwatch-canary\"\n";
    drop(place.opened());
    place
}

fn rows(output: &std::process::Output) -> Vec<Json> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn set_up() -> Api {
    let api = Api::start();
    api.apply("canary.yaml");
    api
}

/// Labelled or not, nothing of it is recorded, and nobody is alerted of its object; what others write is, all the same.
#[test]
fn a_canary_comes_back_through_the_sink_and_is_no_change() {
    let api = set_up();
    for more in [&[][..], &["--unlabelled"]] {
        let place = place(&api);
        let serve = Serve::start(&place);
        let _sink = sink(&api, &serve, more);
        let output = place.run(&["canary", "--wait", "60", "--format", "ndjson"]);
        assert!(output.status.success(), "{more:?}: {}{}", stdout(&output), stderr(&output));
        let [row] = rows(&output).try_into().expect("one cluster");
        assert!(row["seconds"].as_f64().is_some_and(|seconds| seconds < 30.0) && row["why"].is_null(), "{row}");
        let now = chrono::Utc::now().timestamp() as f64;
        assert!(serve.metric("pedwatch_canary_timestamp_seconds").is_some_and(|at| now - at < 60.0));
        assert!(serve.metric("pedwatch_canary_delay_seconds").is_some_and(|seconds| (0.0..60.0).contains(&seconds)));
        let text = serve.get("metrics").expect("metrics");
        assert!(text.contains("pedwatch_messages_total{outcome=\"ignored\",reason=\"canary\"} "), "{text}");
        // That its object was made is recorded, out of scope.
        let events = place.rows("replica_events");
        let of_it: Vec<&Json> = events.iter().filter(|row| row["deployment_name"] == "pedwatch-canary").collect();
        assert_eq!(of_it.len(), 1, "{of_it:#?}");
        assert_eq!((&of_it[0]["operation"], &of_it[0]["in_scope"]), (&json!("create"), &json!(0)));
        assert_eq!(place.rows("alert_log"), Vec::<Json>::new());
    }
    let own = block_on(api.call("GET", &format!("{APPS}/pedwatch-canary/deployments/pedwatch-canary"), None));
    assert!(own["metadata"]["labels"]["pedwatch-canary"].is_null(), "nothing was stored: {own}");
}

/// What is not sent, does not come, or is of a cluster that the log names otherwise is missed, and named; the others come.
#[test]
fn silence_is_named() {
    let api = set_up();
    let mut place = place(&api);
    place.at("renamed", &api.server(), "canary", &api.ca, "");
    place.at("gone", &format!("https://{}", free_address()), "canary", &api.ca, "");
    place.at("stranger", &api.server(), "stranger", &api.ca, "");
    let serve = Serve::start(&place);
    let through = sink(&api, &serve, &[]);
    let output = place.run(&["canary", "--wait", "20", "--format", "ndjson"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let rows_of = rows(&output);
    let why = |cluster: &str| {
        let row = rows_of.iter().find(|row| row["cluster"] == cluster).unwrap_or_else(|| panic!("no {cluster}"));
        row["why"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(why("1"), "");
    for (cluster, parts) in [
        ("renamed", &["did not come within 20 s", "pedwatch filter", "pedwatch cluster check"][..]),
        ("gone", &["could not be sent", "Connection refused"]),
        (
            "stranger",
            &[
                "could not be sent: 403; expected a grant on pedwatch-canary/pedwatch-canary",
                "deploy/kubernetes/canary.yaml",
            ],
        ),
    ] {
        assert!(parts.iter().all(|part| why(cluster).contains(part)), "{cluster}: {}", why(cluster));
        let line = format!("clusters/prod-{cluster}");
        assert!(stderr(&output).lines().any(|said| said.contains("canary is missing") && said.contains(&line)));
    }
    // The API server calls whom it refuses by an e-mail address.
    assert!(!stdout(&output).contains("stranger@") && !stderr(&output).contains("stranger@"), "{}", stderr(&output));
    // The sink breaks.
    drop(through);
    let output = place.run(&["canary", "--cluster", "1", "--wait", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("did not come within 2 s"), "{}", stdout(&output));
}

#[test]
fn its_role_is_enough_and_no_more_and_its_object_is_asked_for() {
    let api = set_up();
    let status = |method: &str, path: &str| block_on(api.status_for("canary", method, path));
    for (method, path) in [
        ("GET", "/apis/apps/v1/deployments"),
        ("GET", "/apis/apps/v1/namespaces/pedwatch-canary/deployments"),
        ("GET", "/apis/apps/v1/namespaces/pedwatch-canary/deployments/another"),
        ("PATCH", "/apis/apps/v1/namespaces/pedwatch-canary/deployments/another"),
        ("PATCH", "/apis/apps/v1/namespaces/pedwatch-canary/deployments/pedwatch-canary/scale"),
        ("DELETE", "/apis/apps/v1/namespaces/pedwatch-canary/deployments/pedwatch-canary"),
        ("GET", "/api/v1/namespaces/pedwatch-canary/secrets"),
    ] {
        assert_eq!(status(method, path), 403, "{method} {path}");
    }
    block_on(async {
        api.call("DELETE", &format!("{APPS}/pedwatch-canary/deployments/pedwatch-canary"), None).await;
        api.post(&format!("{APPS}/pedwatch-canary/deployments"), &deployment("orders", 1)).await;
    });
    let output = place(&api).run(&["canary", "--wait", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("404") && said.contains("pedwatch-canary/pedwatch-canary (canary.namespace)"), "{said}");
}

/// Whoever puts the label on a write hides nothing by it: what was stored is a write, and what was refused shows no life.
#[test]
fn what_is_stored_is_a_write_whatever_it_is_labelled() {
    let own = "apps/v1/namespaces/pedwatch-canary/deployments/pedwatch-canary";
    let sent = json!({"@type": "k8s.io/Patch", "spec": {"replicas": 500},
        "metadata": {"resourceVersion": "7", "labels": {"pedwatch-canary": "x"}}});
    let entry = |name: &str| {
        Sample::patch("a", "2026-09-04T10:00:00Z", 500)
            .set("/protoPayload/resourceName", name)
            .set("/protoPayload/request", sent.clone())
    };
    let dry = |sample: Sample| sample.set("/labels", json!({"command.gke.io/dryRun": "All"}));
    for (what, sample, expected) in [
        ("stored", entry(own).version(8, 2), "write"),
        ("of another object", entry("apps/v1/namespaces/payments/deployments/orders-api").version(7, 2), "write"),
        ("of another object, dry", dry(entry("apps/v1/namespaces/payments/deployments/orders-api")), "dry_run"),
        ("scaled", entry(own).version(7, 2).scale(), "write"),
        ("without versions", entry(own), "write"),
        ("refused", dry(entry(own)).set("/protoPayload/status/code", 7), "failed_call"),
        ("not sure", dry(entry(own)).set("/protoPayload/status/code", 4), "dry_run"),
        ("of no cluster", dry(entry(own)).set("/resource/labels/location", Json::Null), "dry_run"),
        ("dry", dry(entry(own)), "canary x"),
        ("of the version that there is", entry(own).version(7, 2), "canary x"),
    ] {
        let bytes = sample.bytes();
        let entry = Entry::parse(&bytes).expect("JSON");
        let found = match decode(&entry).expect("decoded") {
            Decoded::Writes(_) => "write".to_owned(),
            Decoded::Ignored(reason) | Decoded::Observed(reason, _) => reason.to_string(),
            Decoded::Canary(canary) => format!("canary {}", canary.nonce),
        };
        assert_eq!(found, expected, "{what}");
    }
}
