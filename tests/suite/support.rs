//! What the tests share: the fixtures, a pipeline over a store, and entries made to measure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use pedwatch::config::Config;
use pedwatch::ped::limits::Limits;
use pedwatch::ped::version::Registration;
use pedwatch::ped::{Located, parse_all};
use pedwatch::pipeline::again::judge_again;
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::{Assessed, Pipeline, Tally, append};
use pedwatch::store::query::{Query, Rows};
use pedwatch::store::row::{AlertLog, Quarantine, Record, ReplicaEvent};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError, query};
use serde_json::{Value as Json, json};

use crate::servers::Dataset;

/// From when the PEDs of `fixtures/ped` apply.
pub const PEDS_FROM: &str = "2026-09-01T00:00:00Z";

/// The tables that an input fills, whatever came first. What is raised, and by which of several copies, depends on that.
pub const FACTS: [&str; 2] = ["replica_events", "quarantine"];

/// Every view.
pub const VIEWS: [&str; 10] = [
    "alerts",
    "quarantined",
    "judged_events",
    "replica_changes",
    "current_replicas",
    "current_limits",
    "limits_in_force",
    "daily_max_replicas",
    "user_replicas_limits",
    "user_pod_usage",
];

/// Columns of `alerts` that tell what was raised, which depends on what came first.
const RAISED: [&str; 4] = ["alert_id", "message", "raised", "last_time"];

/// Columns that tell of an arrival, and so differ between two runs over the same entries.
const ARRIVAL: [&str; 7] =
    ["ingested_at", "quarantined_at", "raised_at", "message_id", "publish_time", "source", "updated_at"];

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Name (without `.json`) and content of each file of a folder of fixtures, in order of name.
pub fn fixtures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("fixtures").join(folder))
        .expect("a folder of fixtures")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).expect("readable"))).collect()
}

/// Every entry in `fixtures`: the matrix, the malformed ones and the demo month.
pub fn all_entries() -> Vec<Vec<u8>> {
    let demo = std::fs::read(root().join("fixtures/demo/audit/2026-09.ndjson")).expect("the demo");
    let files = [fixtures("audit"), fixtures("audit/malformed")].concat();
    let lines = demo.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec);
    files.into_iter().map(|(_, bytes)| bytes).chain(lines).collect()
}

pub fn config() -> Config {
    Config::load(Some(&root().join("fixtures/pedwatch.toml")), []).expect("the fixtures' configuration")
}

pub fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("RFC 3339").to_utc()
}

/// Registers one PED, given as YAML.
pub async fn register(store: &dyn Store, yaml: &str, from: &str) {
    register_at(store, yaml, from, from).await;
}

/// Registers one PED, given as YAML, at some time.
pub async fn register_at(store: &dyn Store, yaml: &str, from: &str, now: &str) {
    let peds = parse_all([(Path::new("test.yaml"), yaml)], &(0..=100)).expect("a valid PED");
    let registration = |located: Located| Registration {
        ped: located.ped,
        effective_at: time(from),
        explicit: false,
        now: time(now),
        updated_by: "test".to_owned(),
        reason: None,
        source: None,
    };
    pedwatch::store::register(store, peds.into_iter().map(registration).collect()).await.expect("registered");
}

/// Registers the PEDs that the fixtures are judged by.
pub async fn register_fixtures(store: &dyn Store) {
    for name in ["invoices-api", "orders-api", "orders-api-prod-2"] {
        let yaml = std::fs::read_to_string(root().join(format!("fixtures/ped/{name}.yaml"))).expect("a PED");
        register(store, &yaml, PEDS_FROM).await;
    }
}

/// A PED with a limit.
pub fn ped(namespace: &str, deployment: &str, cluster: Option<&str>, max: i64) -> String {
    let cluster = cluster.map_or_else(String::new, |cluster| format!("  cluster: {cluster}\n"));
    format!(
        "apiVersion: pedwatch/v1\nkind: Ped\nmetadata:\n  namespace: {namespace}\n  deployment: {deployment}\n{cluster}  \
         owner: team-{namespace}\nspec:\n  maxReplicas: {max}\n"
    )
}

/// The same with exceptions: from when until when, and how many replicas.
pub fn ped_with(namespace: &str, cluster: Option<&str>, max: i64, exceptions: &[(&str, &str, i64)]) -> String {
    let mut yaml = ped(namespace, "orders-api", cluster, max);
    yaml.push_str("  exceptions:\n");
    yaml.push_str(if exceptions.is_empty() { "    []\n" } else { "" });
    yaml.extend(exceptions.iter().map(|(from, until, max)| {
        format!("  - {{maxReplicas: {max}, from: \"{from}\", until: \"{until}\", reason: sales week}}\n")
    }));
    yaml
}

/// Runs a test on an empty store of each kind: what holds for one holds for the other.
pub fn on_every_store(test: impl AsyncFn(&dyn Store)) {
    on_every_store_shared(async |store| test(&*store).await);
}

/// As [`on_every_store`], for what keeps the store.
pub fn on_every_store_shared(test: impl AsyncFn(Arc<dyn Store>)) {
    block_on(async {
        test(Arc::new(Sqlite::in_memory().expect("memory"))).await;
        test(Arc::new(Dataset::new().await.store)).await;
    });
}

/// A store with the fixtures' limits, and the pipeline over it.
pub async fn fixture_store() -> (Sqlite, Pipeline) {
    let store = Sqlite::in_memory().expect("memory");
    register_fixtures(&store).await;
    let pipeline = pipeline(&store).await;
    (store, pipeline)
}

pub async fn pipeline(store: &dyn Store) -> Pipeline {
    let claims = store.claims(None).await.expect("readable");
    Pipeline::new(config().policy, Limits::new(claims))
}

/// Handles entries as one batch, at `now`.
pub async fn handle(store: &dyn Store, pipeline: &Pipeline, entries: &[impl AsRef<[u8]>], now: DateTime<Utc>) -> Tally {
    let mut tally = Tally::default();
    let mut records = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Assessed { ignored, records: found, .. } =
            pipeline.assess(entry.as_ref(), Envelope::default(), || format!("entry {index}"), HANDLED.max(now));
        for reason in ignored {
            *tally.ignored.entry(reason).or_default() += 1;
        }
        records.extend(found.into_iter().map(|record| arrived(record, now)));
    }
    tally.merge(append(store, records, now, now).await.expect("appended"));
    judge_again(store, pipeline.policy(), &tally.namespaces, tally.since(), now).await.expect("judged");
    tally
}

/// No fixture is from the future of this.
const HANDLED: DateTime<Utc> = DateTime::from_timestamp(1_830_000_000, 0).expect("a time");

fn arrived(record: Record, now: DateTime<Utc>) -> Record {
    match record {
        Record::Event(row) => Record::Event(Box::new(ReplicaEvent { ingested_at: now, ..*row })),
        Record::Alert(row) => Record::Alert(Box::new(AlertLog { ingested_at: now, ..*row })),
        Record::Quarantine(row) => Record::Quarantine(Quarantine { quarantined_at: now, ..row }),
        other => other,
    }
}

/// What is in quarantine, whole.
pub async fn in_quarantine(store: &dyn Store) -> Vec<Quarantine> {
    let heads = query::quarantined(store, &[]).await.expect("readable");
    let mut all = Vec::new();
    let take = async |rows| {
        all.extend::<Vec<Quarantine>>(rows);
        Ok::<_, StoreError>(())
    };
    query::in_quarantine(store, &heads, take).await.expect("readable");
    all
}

/// The rows of tables and views, sorted, without what tells of an arrival.
pub async fn contents(store: &dyn Store, tables: &[&str]) -> Vec<(String, Vec<Json>)> {
    let mut contents = Vec::new();
    for &table in tables {
        let mut rows = query::dump(store, table).await.expect("readable");
        // What was raised, and when, is history. What stands is not.
        rows.retain(|row| table != "alerts" || row["stands"] == true || row["stands"] == 1);
        for row in &mut rows {
            let row = row.as_object_mut().expect("a row");
            row.retain(|column, _| !ARRIVAL.contains(&column.as_str()));
            row.retain(|column, _| table != "alerts" || !RAISED.contains(&column.as_str()));
            row.values_mut().for_each(as_number);
        }
        rows.sort_by_key(Json::to_string);
        contents.push((table.to_owned(), rows));
    }
    contents
}

/// SQLite has no type for true and false.
pub fn as_number(value: &mut Json) {
    if let Json::Bool(truth) = value {
        *value = u8::from(*truth).into();
    }
}

/// The rows of one view, only some columns, in order of their text.
pub async fn rows(store: &dyn Store, view: &str, columns: &[&str]) -> Vec<Json> {
    let mut rows: Vec<Json> = query::dump(store, view).await.expect("readable");
    rows.sort_by_key(|row| (row["event_time"].to_string(), row["date"].to_string(), row.to_string()));
    rows.iter().map(|row| columns.iter().map(|&column| row[column].clone()).collect()).collect()
}

/// An entry about one Deployment, to be changed for each test.
#[derive(Clone)]
pub struct Sample {
    pub entry: Json,
}

impl Sample {
    /// A human's strategic patch that asks for so many replicas of `payments/orders-api` in `prod-1`.
    pub fn patch(id: &str, at: &str, replicas: i64) -> Self {
        let resource = "apps/v1/namespaces/payments/deployments/orders-api";
        Sample {
            entry: json!({
                "logName": "projects/acme-prod/logs/cloudaudit.googleapis.com%2Factivity",
                "insertId": id,
                "timestamp": at,
                "resource": {"type": "k8s_cluster",
                    "labels": {"project_id": "acme-prod", "location": "europe-west1", "cluster_name": "prod-1"}},
                "protoPayload": {
                    "serviceName": "k8s.io",
                    "methodName": "io.k8s.apps.v1.deployments.patch",
                    "resourceName": resource,
                    "status": {},
                    "authenticationInfo": {"principalEmail": "alice@example.com"},
                    "request": {"@type": "k8s.io/Patch", "spec": {"replicas": replicas}},
                    "response": {"@type": "apps.k8s.io/v1.Deployment", "kind": "Deployment", "apiVersion": "apps/v1",
                        "metadata": {"name": "orders-api", "namespace": "payments", "uid": "uid-1"},
                        "spec": {"replicas": replicas}},
                },
            }),
        }
    }

    /// Sets what a JSON Pointer leads to, made if it is not there.
    pub fn set(mut self, pointer: &str, value: impl Into<Json>) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        self.entry.pointer_mut(parent).expect("a parent")[key] = value.into();
        self
    }

    pub fn actor(self, name: &str) -> Self {
        self.set("/protoPayload/authenticationInfo/principalEmail", name)
    }

    /// `metadata.resourceVersion` and `metadata.generation` of the stored object.
    pub fn version(self, resource_version: i64, generation: i64) -> Self {
        self.set("/protoPayload/response/metadata/resourceVersion", resource_version.to_string())
            .set("/protoPayload/response/metadata/generation", generation)
    }

    pub fn uid(self, uid: &str) -> Self {
        self.set("/protoPayload/response/metadata/uid", uid)
    }

    /// The same call against `/scale`, whose answer has no generation.
    pub fn scale(self) -> Self {
        let mut scale = self
            .set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.scale.patch")
            .set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments/orders-api/scale")
            .set("/protoPayload/response/@type", "autoscaling.k8s.io/v1.Scale")
            .set("/protoPayload/response/kind", "Scale")
            .set("/protoPayload/response/apiVersion", "autoscaling/v1");
        scale.entry["protoPayload"]["response"]["metadata"].as_object_mut().expect("metadata").remove("generation");
        scale
    }

    /// A delete of the object, answered by a Status.
    pub fn delete(self) -> Self {
        let uid = self.entry["protoPayload"]["response"]["metadata"]["uid"].clone();
        self.set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.delete")
            .set("/protoPayload/request", json!({"@type": "meta.k8s.io/__internal.DeleteOptions"}))
            .set(
                "/protoPayload/response",
                json!({"@type": "core.k8s.io/v1.Status", "kind": "Status", "status": "Success",
                    "details": {"name": "orders-api", "group": "apps", "kind": "deployments", "uid": uid}}),
            )
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.entry.to_string().into_bytes()
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Has a store handle these samples, against a limit of 3 for `payments/orders-api`.
pub async fn record(store: &dyn Store, samples: &[Sample]) {
    register(store, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
    let entries: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
    handle(store, &pipeline(store).await, &entries, Utc::now()).await;
}

/// A store that lets somebody append so many rows and no more.
pub struct Killed<'s> {
    pub store: &'s dyn Store,
    pub left: AtomicUsize,
}

#[async_trait]
impl Store for Killed<'_> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        let some = records.len().min(self.left.load(Ordering::Relaxed));
        self.left.fetch_sub(some, Ordering::Relaxed);
        self.store.append(records[..some].into()).await?;
        match some == records.len() {
            true => Ok(vec![Appended::Stored; some]),
            false => Err(StoreError::Transient("killed".to_owned())),
        }
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.store.fetch(query).await
    }
}
