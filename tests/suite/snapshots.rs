//! What runs, as files tell it and as both stores keep it. Clusters themselves: `clusters.rs`.

use std::cell::RefCell;
use std::path::Path;

use pedwatch::cluster::{Gathered, Listing, Namespaces, file};
use pedwatch::job::daily::close_day;
use pedwatch::job::snapshot::{Judging, Taken, record};
use pedwatch::ped::Cluster;
use pedwatch::ped::limits::Limits;
use pedwatch::store::row::{Snapshot, SnapshotState};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::support::{
    PEDS_FROM, Sample, block_on, config, handle, on_every_store, ped, pipeline, register, root, time,
};

const PROD: Cluster<'static> = Cluster { project: "acme-prod", location: "europe-west1", name: "prod-1" };
const PROD_PATH: &str = "projects/acme-prod/locations/europe-west1/clusters/prod-1";
const AT: &str = "2026-09-20T06:00:00Z";

/// A Deployment as `kubectl` prints it.
fn deployment(namespace: &str, name: &str, replicas: i64) -> Json {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"), "resourceVersion": "4711",
            "generation": 3, "creationTimestamp": "2026-09-02T08:00:00Z",
            "managedFields": [
                {"manager": "kubectl-create", "operation": "Update", "time": "2026-09-02T08:00:00Z",
                    "fieldsV1": {"f:spec": {"f:template": {}}}},
                {"manager": "argocd", "operation": "Update", "time": "2026-09-03T08:00:00Z",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "kubectl-scale", "operation": "Update", "time": "2026-09-19T08:00:00Z",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ],
        },
        "spec": {"replicas": replicas, "paused": true},
        "status": {"observedGeneration": 3, "replicas": replicas + 1, "updatedReplicas": 1, "readyReplicas": replicas},
    })
}

fn hpa(namespace: &str, target: &str, max: i64) -> Json {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": namespace, "name": target}, "spec": {"maxReplicas": max, "minReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}})
}

fn list(items: Vec<Json>) -> String {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}).to_string()
}

fn write(folder: &Path, items: Vec<Json>) -> String {
    let file = folder.join("list.json");
    std::fs::write(&file, list(items)).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

fn rows(store: &dyn Store, table: &str) -> Vec<Json> {
    let mut rows = block_on(query::dump(store, table)).expect("readable");
    rows.sort_by_key(Json::to_string);
    rows
}

#[test]
fn what_kubectl_printed_is_a_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("facts.db");
    let store = format!("sqlite:{}", database.display());
    block_on(register(&Sqlite::open(&database).expect("a store"), &ped("payments", "orders-api", None, 4), PEDS_FROM));
    let items = vec![
        deployment("payments", "orders-api", 6),
        deployment("kube-system", "kube-dns", 2),
        hpa("payments", "orders-api", 9),
        hpa("payments", "orders-api", 7),
    ];
    let file = write(folder.path(), items);
    let take = || {
        let args = ["snapshot", "--from-file", &file, "--cluster", PROD_PATH, "--at", AT, "--store", &store];
        run(command().args(args).args(["--format", "ndjson"]), b"")
    };
    let output = take();
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Json = serde_json::from_str(&stdout(&output)).expect("one row");
    assert_eq!((&told["state"], &told["deployments"], &told["hpas"]), (&json!("complete"), &json!(2), &json!(2)));
    assert_eq!(
        (&told["pods"], &told["source"], &told["started_at"]),
        (&Json::Null, &json!("file"), &json!("2026-09-20T06:00:00.000000Z"))
    );
    let opened = Sqlite::open(&database).expect("a store");
    let found = rows(&opened, "pod_metrics");
    let orders = found.iter().find(|row| row["deployment_name"] == "orders-api").expect("a row");
    for (column, value) in [
        ("snapshot_id", told["snapshot_id"].clone()),
        ("timestamp", told["started_at"].clone()),
        ("cluster_name", json!("prod-1")),
        ("in_scope", json!(1)),
        ("object_uid", json!("uid-payments-orders-api")),
        ("resource_version", json!("4711")),
        ("generation", json!(3)),
        ("observed_generation", json!(3)),
        ("created_at", json!("2026-09-02T08:00:00.000000Z")),
        ("paused", json!(1)),
        ("desired_replicas", json!(6)),
        ("actual_replicas", json!(7)),
        ("available_replicas", json!(0)),
        ("updated_replicas", json!(1)),
        ("ready_replicas", json!(6)),
        ("running_pods", Json::Null),
        ("hpa_max_replicas", json!(9)),
        ("max_replicas", json!(4)),
        ("replicas_manager", json!("kubectl-scale")),
        ("replicas_managed_at", json!("2026-09-19T08:00:00.000000Z")),
    ] {
        assert_eq!(orders[column], value, "{column}");
    }
    assert!(orders["limit_id"].is_string());
    let dns = found.iter().find(|row| row["deployment_name"] == "kube-dns").expect("a row");
    assert_eq!(
        (&dns["in_scope"], &dns["max_replicas"], &dns["hpa_max_replicas"]),
        (&json!(0), &Json::Null, &Json::Null)
    );
    // Again: the same file of the same time is the same snapshot.
    assert!(take().status.success());
    assert_eq!((rows(&opened, "pod_metrics"), rows(&opened, "snapshots").len()), (found, 1));
}

#[test]
fn a_file_is_refused_with_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), vec![deployment("payments", "orders-api", 6)]);
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, &list(vec![deployment("payments", "orders-api", 6)])[..200]).expect("written");
    let broken = broken.to_str().expect("UTF-8");
    let store = format!("sqlite:{}", folder.path().join("facts.db").display());
    for (args, code, parts) in [
        (&["--from-file", &file, "--store", &store][..], 2, &["--cluster"][..]),
        (&["--from-file", &file, "--cluster", "prod-1"], 2, &["prod-1", "projects/PROJECT/locations"]),
        (&["--from-file", &file, "--cluster", PROD_PATH, "--at", "soon"], 2, &["is not a time"]),
        (&["--from-file", &file, "--cluster", PROD_PATH], 2, &["no store"]),
        (
            &["--from-file", broken, "--cluster", PROD_PATH],
            1,
            &["broken.json", "EOF", "line 1", "kubectl get deployments"],
        ),
        (&["--from-file", "no/such.json", "--cluster", PROD_PATH], 1, &["no/such.json"]),
        (&["--store", &store], 2, &["no cluster is configured", "[clusters.NAME]", "--from-file"]),
    ] {
        let output = run(command().arg("snapshot").args(args), b"");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{args:?}: {said}");
    }
    assert!(!folder.path().join("facts.db").exists(), "nothing was recorded");
}

/// As PowerShell writes what a command prints, from standard input, and of some namespaces alone.
#[test]
fn a_file_may_be_of_another_form_and_of_some_namespaces() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("facts.db");
    let text = list(vec![deployment("payments", "orders-api", 3), deployment("orders", "batch", 3)]);
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let store = format!("--store=sqlite:{}", database.display());
    let args =
        ["snapshot", "--from-file=-", "--cluster", PROD_PATH, "--namespace=pay*", "--namespace=!payments-dev", &store];
    let output = run(command().args(args), &utf16);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("complete"), "{}", stdout(&output));
    let opened = Sqlite::open(&database).expect("a store");
    let [row] = rows(&opened, "pod_metrics").try_into().expect("one row");
    assert_eq!(row["deployment_name"], "orders-api");
    let [snapshot] = rows(&opened, "snapshots").try_into().expect("one row");
    assert_eq!(snapshot["namespaces"], "pay*,!payments-dev");
}

fn listing(items: Vec<Json>, version: &str) -> Listing {
    let gathered: Gathered = file::read(list(items).as_bytes()).expect("a list").gathered;
    gathered.listing(time(AT), Some(version.to_owned()), &Namespaces::default()).expect("one listing")
}

async fn take(store: &dyn Store, outcome: Result<Listing, String>) -> Snapshot {
    let limits = Limits::new(store.claims(None).await.expect("readable"));
    let policy = config().policy;
    let taken = Taken {
        cluster: PROD,
        source: "dns",
        planned_at: time(AT),
        started_at: time(AT),
        namespaces: &Namespaces::default(),
        outcome: outcome.map(|listing| (listing.clone(), listing.resource_version.expect("a version"))),
    };
    record(store, Judging { limits: &limits, scope: &policy.scope }, taken).await.expect("recorded")
}

/// A failure, what a retry of the same plan lists, and that once more.
#[test]
fn a_snapshot_that_failed_and_its_retry_never_mix() {
    let kept = RefCell::new(Vec::new());
    on_every_store(async |store| {
        let first = take(store, Err("no answer within 300 s".to_owned())).await;
        let items = || vec![deployment("payments", "orders-api", 3), deployment("payments", "batch", 2)];
        let second = take(store, Ok(listing(items(), "10"))).await;
        let third = take(store, Ok(listing(items()[..1].to_vec(), "12"))).await;
        let again = take(store, Ok(listing(items(), "10"))).await;
        assert_eq!((first.state, second.state), (SnapshotState::Failed, SnapshotState::Complete));
        assert_eq!(second.snapshot_id, again.snapshot_id);
        let mut found = query::dump(store, "snapshots").await.expect("readable");
        found.iter_mut().for_each(|row| row["finished_at"] = Json::Null);
        let mut metrics = query::dump(store, "pod_metrics").await.expect("readable");
        let of = |snapshot: &Snapshot| {
            let of_it = |row: &&Json| row["snapshot_id"] == snapshot.snapshot_id.as_str();
            let names = metrics.iter().filter(of_it).filter_map(|row| row["deployment_name"].as_str());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(of(&first).len(), 0);
        assert_eq!(of(&second), ["batch", "orders-api"].into());
        assert_eq!(of(&third), ["orders-api"].into());
        for row in found.iter_mut().chain(&mut metrics) {
            row.as_object_mut().expect("a row").values_mut().for_each(crate::support::as_number);
        }
        let mut all: Vec<String> = found.iter().chain(&metrics).map(Json::to_string).collect();
        all.sort();
        all.dedup();
        kept.borrow_mut().push(all);
    });
    let kept = kept.into_inner();
    assert!(kept.windows(2).all(|pair| pair[0] == pair[1]), "the stores differ: {kept:#?}");
}

/// The first release's table had another key, by which it would refuse the second row.
#[test]
fn a_table_of_another_key_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("facts.db");
    std::fs::copy(root().join("fixtures/released/first/facts.db"), &database).expect("copied");
    let raw = rusqlite::Connection::open(&database).expect("a database");
    raw.execute_batch(
        "INSERT INTO pod_metrics (timestamp, cluster_name, namespace, deployment_name, desired_replicas)
         VALUES ('2026-09-01T00:00:00.000000Z', 'prod-1', 'payments', 'orders-api', 2)",
    )
    .expect("the first release's table");
    drop(raw);
    let store = Sqlite::open(&database).expect("migrated");
    block_on(async {
        let of_it = || listing(vec![deployment("payments", "orders-api", 3)], "10");
        take(&store, Ok(of_it())).await;
        take(&store, Ok(of_it())).await;
        take(&store, Ok(listing(vec![deployment("payments", "orders-api", 3)], "11"))).await;
    });
    let desired: Vec<Json> = rows(&store, "pod_metrics").iter().map(|row| row["desired_replicas"].clone()).collect();
    assert_eq!(desired.len(), 3, "{desired:?}");
    assert!(!rows(&store, "current_replicas").is_empty(), "views are there, and rows");
}

/// What a closed day says of what ran; and a file that comes later closes it again.
#[test]
fn a_day_knows_the_most_that_a_snapshot_saw() {
    on_every_store(async |store| {
        let written = Sample::patch("a", "2026-09-20T05:00:00Z", 3).version(4_711, 3).bytes();
        handle(store, &pipeline(store).await, &[written], time("2026-09-20T05:00:01Z")).await;
        let date = time(AT).date_naive();
        let seen = async |at: &str| {
            let closed = close_day(store, date, time(at)).await.expect("closed");
            let days = query::dump(store, "object_days").await.expect("readable");
            let of_it = days.iter().find(|row| row["closing"] == closed.closing.id.as_str()).expect("a day");
            let mut number = of_it["highest_actual"].clone();
            crate::support::as_number(&mut number);
            number.as_i64()
        };
        assert_eq!(seen("2026-09-21T00:30:00Z").await, None, "no snapshot was taken");
        // One more than is asked for: a rollout.
        for (version, replicas, expected) in [("10", 3, 4), ("12", 5, 6), ("14", 1, 6)] {
            take(store, Ok(listing(vec![deployment("payments", "orders-api", replicas)], version))).await;
            assert_eq!(seen(&format!("2026-09-21T00:{version}:00Z")).await, Some(expected));
        }
        take(store, Err("no answer within 300 s".to_owned())).await;
        let marks = query::dump(store, "watermarks").await.expect("readable");
        assert!(marks.iter().any(|mark| mark["name"] == "late/2026-09-20/payments"), "{marks:?}");
    });
}
