//! Clusters as they are: a real API server, listed by an identity that has the shipped role alone; and what a network, a
//! quota or an outage does to its answers, by a proxy in front of it.
//!
//! No Google API and no cluster of 20,000 Deployments can be started here: these two are stand-ins, each in its own file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use pedwatch::store::query;
use pedwatch::store::sqlite::Sqlite;
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::servers::free_address;
use crate::support::{PEDS_FROM, Sample, block_on, ped, record, register};
use api::{Api, Before, Front, What, api};
use google::Google;

mod api;
mod canary;
mod google;
mod large;
mod replaced;
mod ringing;
mod watch;

/// A folder with a configuration and a store.
struct Place {
    folder: tempfile::TempDir,
    sections: String,
}

impl Place {
    fn new(settings: &str) -> Self {
        Place { folder: tempfile::tempdir().expect("a folder"), sections: format!("[snapshot]\n{settings}\n") }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a cluster `prod-HANDLE`, reached in some way.
    fn cluster(&mut self, handle: &str, access: &str) {
        self.sections += &format!(
            "[clusters.{handle}]\nproject = \"acme-prod\"\nlocation = \"europe-west1\"\nname = \"prod-{handle}\"\n{access}\n"
        );
    }

    /// Adds one that a kubeconfig leads to.
    fn at(&mut self, handle: &str, server: &str, token: &str, authority: &str, more: &str) {
        let cluster = match authority {
            "" => json!({"server": server}),
            authority => json!({"server": server, "certificate-authority": authority}),
        };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}], "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let file = self.path().join(format!("{handle}.kubeconfig"));
        std::fs::write(&file, kubeconfig.to_string()).expect("written");
        self.cluster(
            handle,
            &format!("access = \"kubeconfig\"\nkubeconfig = {:?}\n{more}", file.to_str().expect("UTF-8")),
        );
    }

    /// Adds one behind a proxy.
    fn behind(&mut self, handle: &str, front: &Front, more: &str) {
        self.at(handle, &format!("http://{}", front.address), "pedwatch", "", more);
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.path().join("facts.db").display())
    }

    fn opened(&self) -> Sqlite {
        Sqlite::open(&self.path().join("facts.db")).expect("a store")
    }

    fn command(&self, args: &[&str]) -> Command {
        let config = self.path().join("pedwatch.toml");
        std::fs::write(&config, &self.sections).expect("written");
        let mut its = command();
        its.arg("--config").arg(config).args(args).args(["--store", &self.store()]);
        its
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&mut self.command(args), b"")
    }

    /// Takes snapshots: the rows that it prints, by handle.
    fn snapshot(&self) -> (Output, BTreeMap<String, Json>) {
        let output = self.run(&["snapshot", "--format", "ndjson"]);
        let rows = by_handle(&output);
        (output, rows)
    }

    fn rows(&self, table: &str) -> Vec<Json> {
        block_on(query::dump(&self.opened(), table)).expect("readable")
    }
}

fn by_handle(output: &Output) -> BTreeMap<String, Json> {
    let rows = stdout(output);
    let rows = rows.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    rows.map(|row| (row["cluster_name"].as_str().expect("a name").trim_start_matches("prod-").to_owned(), row))
        .collect()
}

fn deployment(name: &str, replicas: i64) -> Json {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1"}]}}}})
}

fn owned(name: &str, kind: &str, owner: &Json) -> Json {
    let owner = &owner["metadata"];
    json!({"name": name, "labels": {"app": "orders-api"}, "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind,
        "name": owner["name"], "uid": owner["uid"], "controller": true}]})
}

const APPS: &str = "/apis/apps/v1/namespaces";

/// A Deployment in the middle of a rollout, with an HPA, pods of every state, and ReplicaSets of it and of nobody.
async fn set_up_shop(api: &Api) {
    api.namespace("shop").await;
    let made = api.post(&format!("{APPS}/shop/deployments"), &deployment("orders-api", 3)).await;
    let status = json!({"status": {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3,
        "availableReplicas": 2, "unavailableReplicas": 2}});
    api.patch(&format!("{APPS}/shop/deployments/orders-api/status"), &status).await;
    let hpa = json!({"metadata": {"name": "orders-api"}, "spec": {"maxReplicas": 9,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-api"}}});
    api.post("/apis/autoscaling/v1/namespaces/shop/horizontalpodautoscalers", &hpa).await;
    let template = deployment("orders-api", 3);
    let mut sets = Vec::new();
    for (name, owner) in
        [("orders-api-new", Some(&made)), ("orders-api-old", Some(&made)), ("orders-api-foreign", None)]
    {
        let mut set = json!({"metadata": {"name": name}, "spec": template["spec"]});
        if let Some(owner) = owner {
            set["metadata"] = owned(name, "Deployment", owner);
        }
        sets.push(api.post(&format!("{APPS}/shop/replicasets"), &set).await);
    }
    api.post("/api/v1/namespaces/shop/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    for (name, set, phase) in [
        ("new-1", 0, "Running"),
        ("new-2", 0, "Pending"),
        ("old-1", 1, "Running"),
        ("old-2", 1, "Succeeded"),
        ("old-3", 1, "Failed"),
        ("old-4", 1, "Terminating"),
        ("foreign-1", 2, "Running"),
    ] {
        let mut pod = json!({"metadata": owned(name, "ReplicaSet", &sets[set]),
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "app", "image": "registry.example.com/app:1"}]}});
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
        api.post("/api/v1/namespaces/shop/pods", &pod).await;
        let pod = format!("/api/v1/namespaces/shop/pods/{name}");
        match phase {
            "Terminating" => drop(api.call("DELETE", &pod, None).await),
            phase => drop(api.patch(&format!("{pod}/status"), &json!({"status": {"phase": phase}})).await),
        }
    }
}

/// By nobody else than the identity that `deploy/kubernetes/rbac.yaml` names, and with what it grants.
#[test]
fn a_snapshot_says_what_runs() {
    let api = api();
    block_on(set_up_shop(api));
    let mut place = Place::new("pods = true");
    place.at("eu", &api.server(), "pedwatch", &api.ca, "namespaces = [\"shop\"]");
    block_on(register(&place.opened(), &ped("shop", "orders-api", Some("prod-eu"), 4), PEDS_FROM));
    let (output, rows) = place.snapshot();
    assert!(output.status.success(), "{}", stderr(&output));
    let snapshot = &rows["eu"];
    assert_eq!(
        (&snapshot["state"], &snapshot["deployments"], &snapshot["error"]),
        (&json!("complete"), &json!(1), &Json::Null)
    );
    assert!(snapshot["list_resource_version"].as_str().is_some_and(|version| version.parse::<u64>().is_ok()));
    assert_eq!((&snapshot["namespaces"], &snapshot["source"]), (&json!("shop"), &json!("kubeconfig")));
    let [row] = place.rows("pod_metrics").try_into().expect("one Deployment");
    let listed = block_on(api.call("GET", &format!("{APPS}/shop/deployments/orders-api"), None));
    for (column, value) in [
        ("snapshot_id", snapshot["snapshot_id"].clone()),
        ("object_uid", listed["metadata"]["uid"].clone()),
        ("resource_version", listed["metadata"]["resourceVersion"].clone()),
        ("generation", json!(1)),
        ("observed_generation", json!(1)),
        ("paused", json!(0)),
        ("desired_replicas", json!(3)),
        // A quarter of it, which is what a Deployment has that says nothing.
        ("surge_replicas", json!(1)),
        ("actual_replicas", json!(4)),
        ("updated_replicas", json!(1)),
        ("ready_replicas", json!(3)),
        ("available_replicas", json!(2)),
        // new-1, new-2 and old-1: neither terminal nor terminating, and its own.
        ("running_pods", json!(3)),
        ("hpa_max_replicas", json!(9)),
        ("max_replicas", json!(4)),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    assert!(row["replicas_manager"].is_string() && row["limit_id"].is_string(), "{row}");
}

#[test]
fn the_shipped_role_is_enough_and_no_more() {
    let api = api();
    let mut place = Place::new("pods = true");
    place.at("eu", &api.server(), "pedwatch", &api.ca, "");
    // Where the log has it, and not where the configuration does.
    let entry = Sample::patch("a", "2026-09-04T10:00:00Z", 3).set("/resource/labels/cluster_name", "prod-eu");
    block_on(record(&place.opened(), &[entry]));
    let output = place.run(&["cluster", "check", "--format", "ndjson"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let steps: Vec<Json> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    let expected = [
        "find it",
        "reach it",
        "list Deployments",
        "list HPAs",
        "list StatefulSets",
        "list Rollouts",
        "list pods",
        "list ReplicaSets",
        "its name in the audit log",
    ];
    assert_eq!(told, expected);
    assert!(steps[1]["said"].as_str().is_some_and(|version| version.starts_with("v1.")), "{}", steps[1]);
    for (method, path) in [
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/default/configmaps"),
        ("GET", "/apis/apps/v1/daemonsets"),
        ("GET", "/apis/apps/v1/namespaces/default/statefulsets/x"),
        ("DELETE", "/apis/apps/v1/namespaces/default/deployments/x"),
    ] {
        assert_eq!(block_on(api.status_for("pedwatch", method, path)), 403, "{method} {path}");
    }
}

#[test]
fn what_is_missing_is_told_with_how_to_give_it() {
    let api = api();
    let mut place = Place::new("deadline_seconds = 60\npods = true");
    place.at("stranger", &api.server(), "stranger", &api.ca, "");
    place.at("unknown", &api.server(), "nobody-knows", &api.ca, "");
    place.at("moved", &api.server(), "pedwatch", &api.ca, "");
    place.at("refused", &format!("https://{}", free_address()), "pedwatch", &api.ca, "");
    place.cluster("nowhere", "access = \"kubeconfig\"\nkubeconfig = \"/no/such/file\"");
    place.cluster("googles", "access = \"dns\"");
    let moved = Sample::patch("a", "2026-09-04T10:00:00Z", 3)
        .set("/resource/labels/cluster_name", "prod-moved")
        .set("/resource/labels/location", "europe-west1-b");
    block_on(record(&place.opened(), &[moved]));
    let mut check = place.command(&["cluster", "check", "--format", "ndjson"]);
    check
        .env_remove("GOOGLE_APPLICATION_CREDENTIALS")
        .env("HOME", place.path())
        .env("GCE_METADATA_HOST", "127.0.0.1:1");
    let output = run(&mut check, b"");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let steps: Vec<Json> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (cluster, step, said, advice) in [
        ("stranger", "list Deployments", "stranger@acme-prod.iam.gserviceaccount.com", "deploy/kubernetes/rbac.yaml"),
        ("stranger", "list pods", "cannot list resource \"pods\"", "deploy/kubernetes/rbac.yaml"),
        ("unknown", "reach it", "401: Unauthorized", "roles/container.viewer"),
        (
            "moved",
            "its name in the audit log",
            "no entry names projects/acme-prod/locations/europe-west1/clusters/prod-moved",
            "projects/acme-prod/locations/europe-west1-b/clusters/prod-moved",
        ),
        ("refused", "reach it", "Connection refused", "expected an API server at that address"),
        ("nowhere", "find it", "/no/such/file", "a kubeconfig that kubectl works with"),
        ("googles", "find it", "no credentials for Google Cloud", ""),
    ] {
        let found =
            steps.iter().find(|found| found["cluster"] == cluster && found["step"] == step && found["ok"] == false);
        let found = found.unwrap_or_else(|| panic!("{cluster}: {step} is fine:\n{}", stdout(&output)));
        assert!(found["said"].as_str().is_some_and(|text| text.contains(said)), "{found}");
        assert!(found["advice"].as_str().is_some_and(|text| text.contains(advice)), "{found}");
    }
    assert!(steps.iter().any(|step| step["cluster"] == "moved" && step["step"] == "list HPAs" && step["ok"] == true));
    let table = place.run(&["cluster", "check", "--cluster", "stranger"]);
    assert!(stdout(&table).contains("what to do"), "{}", stdout(&table));
}

/// Writes one Deployment and has another go; and etcd forget what was before, where it is to.
fn between_pages(name: &'static str, gone: &'static str, forgets: bool) -> Before {
    Box::pin(async move {
        let (api, path) = (api(), format!("{APPS}/pages/deployments"));
        let made = api.post(&path, &deployment(name, 1)).await;
        api.call("DELETE", &format!("{path}/{gone}"), None).await;
        if forgets {
            api.compact(made["metadata"]["resourceVersion"].as_str().expect("a version")).await;
        }
    })
}

/// What is written between two pages is in none of them; and where the server has forgotten the version (a real compaction),
/// all begins again, and nothing of the first listing is left.
#[test]
fn pages_are_of_one_version() {
    let api = api();
    let path = format!("{APPS}/pages/deployments");
    block_on(async {
        api.namespace("pages").await;
        for at in 0..5 {
            api.post(&path, &deployment(&format!("app-{at}"), 1)).await;
        }
    });
    let between = |name: &'static str, gone: &'static str, forgets: bool| {
        let mut is_done = false;
        Front::new(api, move |path| {
            let is_second_page = path.contains("/deployments") && path.contains("continue=");
            if !is_second_page || is_done {
                return What::Pass;
            }
            is_done = true;
            What::Before(between_pages(name, gone, forgets))
        })
    };
    let names = |front: &Front| {
        let mut place = Place::new("page_objects = 2");
        place.behind("eu", front, "namespaces = [\"pages\"]");
        let (output, rows) = place.snapshot();
        assert!(output.status.success(), "{}", stdout(&output));
        let mut names: Vec<String> = place
            .rows("pod_metrics")
            .iter()
            .map(|row| row["deployment_name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        (names.join(" "), rows["eu"]["list_resource_version"].clone())
    };
    let front = between("app-0-late", "app-4", false);
    let (found, first) = names(&front);
    // Another test may have had the server forget this version; then the listing is a later one, and whole as well.
    let begun = front.seen().iter().filter(|path| path.contains("/deployments") && !path.contains("continue=")).count();
    let expected = if begun == 1 { "app-0 app-1 app-2 app-3 app-4" } else { "app-0 app-0-late app-1 app-2 app-3" };
    assert_eq!(found, expected);
    let front = between("app-0-later", "app-3", true);
    let (found, second) = names(&front);
    assert_eq!(found, "app-0 app-0-late app-0-later app-1 app-2");
    assert_ne!(first, second);
    let begun = front.seen().iter().filter(|path| path.contains("/deployments") && !path.contains("continue=")).count();
    assert!(begun >= 2, "it began again: {:?}", front.seen());
}

/// What is in front of a cluster does to its `nth` answer about Deployments (from 0), and why the snapshot then fails, if it does.
type Spoilt = (&'static str, fn(path: &str, nth: usize) -> What, Option<&'static str>);

/// The proxy makes the faults; the answers behind it are the real server's.
const SPOILT: [Spoilt; 12] = [
    ("busy", |_, nth| at_first(nth, What::Status(429, Some("1"))), None),
    ("broken", |_, nth| at_first(nth, What::Status(500, None)), None),
    ("cut", |_, nth| at_first(nth, What::Cut), None),
    ("html", |_, nth| at_first(nth, What::Body("<html>")), None),
    ("odd", |_, _| What::Body(ODD), None),
    ("failing", |_, _| What::Status(500, None), Some("500: as the test has it")),
    (
        "slow",
        |_, _| What::Status(429, Some("86400")),
        Some("within 12 s (snapshot.deadline_seconds); the last was: 429"),
    ),
    ("hanging", |_, _| What::Hang, Some("no answer within 12 s (snapshot.deadline_seconds)")),
    ("empty", |_, _| What::Body("{}"), Some("the answer is not what was asked for: missing field `kind`")),
    ("other", |_, _| What::Body(PODS), Some("answers with \"PodList\"; expected a DeploymentList")),
    (
        "expiring",
        |path, _| behind_the_first(path, What::Status(410, None)),
        Some("too old to go on with, 5 times: 410"),
    ),
    ("mixing", |path, _| behind_the_first(path, What::Body(ODD)), Some("a page is of version 1, the ones before of ")),
];

fn at_first(nth: usize, what: What) -> What {
    if nth == 0 { what } else { What::Pass }
}

fn behind_the_first(path: &str, what: What) -> What {
    if path.contains("continue=") { what } else { What::Pass }
}

const PODS: &str = r#"{"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}"#;

/// Numbers that no API server takes, and a clock that is a century ahead.
const ODD: &str = r#"{"kind": "DeploymentList", "metadata": {"resourceVersion": "1"}, "items": [
    {"metadata": {"namespace": "faults", "name": "app-0"}, "spec": {"replicas": -1}},
    {"metadata": {"namespace": "faults", "name": "app-1"}, "spec": {"replicas": 2}, "status": {"replicas": 3000000000}},
    {"metadata": {"namespace": "faults", "name": "app-2", "creationTimestamp": "2126-09-20T00:00:00Z"}, "spec": {"replicas": 2}}
]}"#;

fn spoil(api: &Api, what: fn(&str, usize) -> What) -> Front {
    let mut asked = 0;
    Front::new(api, move |path| {
        if !path.contains("/deployments") {
            return What::Pass;
        }
        asked += 1;
        what(path, asked - 1)
    })
}

/// Side by side, each with its own fault.
#[test]
fn a_cluster_that_fails_costs_only_itself() {
    let api = api();
    block_on(async {
        api.namespace("faults").await;
        for at in 0..3 {
            api.post(&format!("{APPS}/faults/deployments"), &deployment(&format!("app-{at}"), 2)).await;
        }
    });
    let mut place = Place::new("deadline_seconds = 12\npage_objects = 2\nclusters_at_once = 32");
    let (server, faults) = (api.server(), "namespaces = [\"faults\"]");
    for (handle, what, _) in SPOILT {
        place.behind(handle, &spoil(api, what), faults);
    }
    place.at("fine", &server, "pedwatch", &api.ca, faults);
    place.at("foreign", &server, "pedwatch", &another_authority(place.path()), faults);
    place.at("refused", &format!("https://{}", free_address()), "pedwatch", &api.ca, faults);
    place.at("stranger", &server, "stranger", &api.ca, faults);
    place.at("unknown", &server, "nobody-knows", &api.ca, faults);
    let (output, rows) = place.snapshot();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let expected = SPOILT.map(|(handle, _, why)| (handle, why)).into_iter().chain([
        ("fine", None),
        ("foreign", Some("invalid peer certificate")),
        ("refused", Some("Connection refused")),
        ("stranger", Some("403: deployments.apps is forbidden: User \"stranger@acme-prod.iam.gserviceaccount.com\"")),
        ("unknown", Some("401: Unauthorized")),
    ]);
    for (handle, why) in expected {
        let row = &rows[handle];
        let (state, deployments) = if why.is_some() { ("failed", Json::Null) } else { ("complete", json!(3)) };
        assert_eq!((&row["state"], &row["deployments"]), (&json!(state), &deployments), "{handle}: {row}");
        let error = row["error"].as_str().unwrap_or_default();
        assert!(error.contains(why.unwrap_or_default()), "{handle}: {row}");
    }
    assert_eq!((rows["odd"]["impossible"].as_i64(), rows["fine"]["impossible"].as_i64()), (Some(2), Some(0)));
    only_what_is_complete_is_stored(&place, &rows);
}

fn only_what_is_complete_is_stored(place: &Place, rows: &BTreeMap<String, Json>) {
    assert_eq!(place.rows("snapshots").len(), rows.len(), "each has its row");
    let complete: Vec<&Json> =
        rows.values().filter(|row| row["state"] == "complete").map(|row| &row["snapshot_id"]).collect();
    let metrics = place.rows("pod_metrics");
    assert_eq!(metrics.len(), 3 * complete.len());
    assert!(metrics.iter().all(|row| complete.contains(&&row["snapshot_id"])));
}

/// Makes a certificate authority that nobody knows.
fn another_authority(folder: &Path) -> String {
    let file = folder.join("other.crt").to_str().expect("UTF-8").to_owned();
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=another -keyout other.key -out other.crt".split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    file
}

/// Google's APIs are a stand-in, strict about who asks and for which scopes; the API server behind them is the real one.
#[test]
fn gke_is_asked_where_a_cluster_is() {
    let api = api();
    let google = Google::new(api);
    let mut place = Place::new("deadline_seconds = 60");
    place.sections += &format!("[gke]\nendpoint = \"http://{0}\"\ngateway_endpoint = \"http://{0}\"\n", google.address);
    for (handle, access) in [
        ("address", "access = \"endpoint\""),
        ("private", "access = \"endpoint\"\nprivate_endpoint = true"),
        ("dns", "access = \"dns\""),
        ("closed", "access = \"dns\""),
        ("fleet", "access = \"connect_gateway\""),
        (
            "member",
            "access = \"connect_gateway\"\nmembership = \"projects/123456789012/locations/global/memberships/prod-fleet\"",
        ),
        ("lonely", "access = \"connect_gateway\""),
        ("absent", "access = \"endpoint\""),
        ("denied", "access = \"endpoint\""),
        ("another", "access = \"endpoint\""),
    ] {
        place.cluster(handle, access);
    }
    let credentials = google.credentials(place.path());
    let mut take = place.command(&["snapshot", "--format", "ndjson"]);
    let output = run(take.env("GOOGLE_APPLICATION_CREDENTIALS", &credentials), b"");
    let rows = by_handle(&output);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for handle in ["address", "private", "fleet", "member"] {
        assert_eq!(rows[handle]["state"], "complete", "{handle}: {}", rows[handle]);
    }
    for (handle, parts) in [
        ("dns", &["invalid peer certificate", "public authority"][..]),
        ("closed", &["lets nobody in by a DNS endpoint", "--enable-dns-access"]),
        ("lonely", &["is in no fleet", "memberships register", "clusters.lonely.membership"]),
        ("absent", &["404", "gcloud container clusters list --project acme-prod"]),
        ("denied", &["403: Permission denied", "--role=roles/container.viewer", "container.clusters.connect"]),
        ("another", &["names no certificate of the cluster's authority"]),
    ] {
        let error = rows[handle]["error"].as_str().unwrap_or_default();
        assert!(parts.iter().all(|part| error.contains(part)), "{handle}: {error}");
    }
    // The first token was an expired one, which GKE took and the cluster did not.
    assert!(google.tokens() >= 2, "another token was asked for");
    let mut take = place.command(&["snapshot", "--cluster", "dns", "--format", "ndjson"]);
    let take = take.env("GOOGLE_APPLICATION_CREDENTIALS", &credentials).env("SSL_CERT_FILE", &api.ca);
    let output = run(take, b"");
    assert_eq!(by_handle(&output)["dns"]["state"], "complete", "{}", stdout(&output));
}

/// A configuration that names one cluster twice is refused before anything is asked.
#[test]
fn a_cluster_that_is_named_twice_is_refused() {
    let mut place = Place::new("");
    place.cluster("eu", "");
    place.sections += "[clusters.again]\nproject = \"acme-prod\"\nlocation = \"europe-west1\"\nname = \"prod-eu\"\n";
    let output = place.run(&["snapshot"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected another cluster than clusters.again"), "{}", stderr(&output));
}
