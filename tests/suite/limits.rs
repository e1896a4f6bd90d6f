//! Limits: the look-up in Rust, the views in SQL and what is raised agree, whatever is registered, and whenever.
//!
//! `PEDWATCH_TEST_CASES` is how many cases each law tries, `PEDWATCH_TEST_SEED` where they begin; a failure tells its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use pedwatch::audit::{Decoded, Entry, decode};
use pedwatch::ped::limits::{Claim, Limits};
use pedwatch::ped::retirement::Retirement;
use pedwatch::ped::version::{Addition, Registration, Version, additions};
use pedwatch::ped::{Clusters, Subject, Terms};
use pedwatch::pipeline::consumer::{Consumer, Delivery, Disposition, disposition};
use pedwatch::policy::judge;
use pedwatch::store::batch::Batching;
use pedwatch::store::row::{Record, ReplicaEvent};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{RetireError, Store, query};
use pedwatch::telemetry::metrics::Metrics;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value as Json, json};

use crate::registry::registrations;
use crate::servers::Dataset;
use crate::support::{Sample, block_on, config, on_every_store, ped_with, time};

/// Clusters: two of one name in two locations, two in two projects, and another name.
const CLUSTERS: [(&str, &str, &str); 4] = [
    ("acme-prod", "europe-west1", "prod-1"),
    ("acme-prod", "us-east1", "prod-1"),
    ("acme-test", "europe-west1", "prod-1"),
    ("acme-prod", "europe-west1", "prod-2"),
];

/// Scopes of clusters: any, two names, and three of the clusters.
const SCOPES: [&str; 6] = [
    "",
    "prod-1",
    "prod-2",
    "projects/acme-prod/locations/europe-west1/clusters/prod-1",
    "projects/acme-prod/locations/us-east1/clusters/prod-1",
    "projects/acme-test/locations/europe-west1/clusters/prod-1",
];

/// When the first version can begin.
const BEGIN: &str = "2026-09-01T00:00:00Z";

fn cases(default: usize) -> usize {
    std::env::var("PEDWATCH_TEST_CASES").map_or(default, |cases| cases.parse().expect("a number"))
}

/// So many values, and the seed that they come from.
fn generated<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, count: usize) -> (Vec<T>, u64) {
    let seed = std::env::var("PEDWATCH_TEST_SEED").map_or_else(|_| rand_seed(), |seed| seed.parse().expect("a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let values = (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current());
    (values.collect(), seed)
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

/// A version of some scope. Times are few, so that they meet.
#[derive(Debug, Clone)]
struct Spec {
    scope: usize,
    deployment: usize,
    minute: i64,
    lasts: Option<i64>,
    registered: i64,
    max: Option<i64>,
}

fn spec() -> impl Strategy<Value = Spec> {
    let lasts = prop_oneof![3 => Just(None), 1 => (-1..9_i64).prop_map(Some)];
    let max = prop_oneof![4 => (0..9_i64).prop_map(Some), 1 => Just(None)];
    let scope = prop_oneof![2 => Just(0), 3 => 0..SCOPES.len()];
    (scope, deployment(), 0..20_i64, lasts, 0..4_i64, max).prop_map(
        |(scope, deployment, minute, lasts, registered, max)| Spec {
            scope,
            deployment,
            minute,
            lasts,
            registered,
            max,
        },
    )
}

/// Mostly the first.
fn deployment() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0_usize), 1 => Just(1_usize)]
}

fn minute(minute: i64) -> DateTime<Utc> {
    time(BEGIN) + Duration::minutes(minute)
}

fn version(namespace: &str, number: usize, spec: &Spec, registered_at: DateTime<Utc>) -> Version {
    let deployment = DEPLOYMENTS[spec.deployment];
    let terms = Terms { owner: "team".to_owned(), max_replicas: spec.max, ..Terms::default() };
    Version {
        id: format!("{namespace}-{deployment}-{number:02}"),
        subject: Subject {
            namespace: namespace.to_owned(),
            deployment: deployment.to_owned(),
            clusters: Clusters::of(Some(SCOPES[spec.scope])),
        },
        effective_at: minute(spec.minute),
        until: spec.lasts.map(|lasts| minute(spec.minute + lasts)),
        registered_at,
        terms,
        initial_max_replicas: 1,
        created_at: registered_at,
        change: None,
        updated_by: "test".to_owned(),
        reason: None,
        source: None,
    }
}

/// What is registered through the form, or retires it, for the first Deployment in some scope.
#[derive(Debug, Clone)]
struct PedSpec {
    scope: usize,
    minute: i64,
    max: i64,
    /// From and until which minute, and how many replicas.
    exceptions: Vec<(i64, i64, i64)>,
    retires: bool,
}

fn ped_spec() -> impl Strategy<Value = PedSpec> {
    let exceptions = prop::collection::vec((0..5_i64, 1..6_i64, 0..9_i64), 0..4).prop_map(|parts| {
        let mut end = 0;
        let exceptions = parts.into_iter().map(|(gap, lasts, max)| {
            let from = end + gap;
            end = from + lasts;
            (from, end, max)
        });
        exceptions.collect()
    });
    let retires = prop_oneof![4 => Just(false), 1 => Just(true)];
    (0..2_usize, 0..20_i64, 0..9_i64, exceptions, retires)
        .prop_map(|(scope, minute, max, exceptions, retires)| PedSpec { scope, minute, max, exceptions, retires })
}

impl PedSpec {
    fn registration(&self, namespace: &str, now: DateTime<Utc>) -> Registration {
        let text = |of: i64| pedwatch::id::time(minute(of));
        let exceptions: Vec<_> =
            self.exceptions.iter().map(|&(from, until, max)| (text(from), text(until), max)).collect();
        let exceptions: Vec<_> = exceptions.iter().map(|(from, until, max)| (&**from, &**until, *max)).collect();
        let cluster = Some(SCOPES[self.scope]).filter(|cluster| !cluster.is_empty());
        let yaml = ped_with(namespace, cluster, self.max, &exceptions);
        registrations(&yaml, Some(&text(self.minute)), &pedwatch::id::time(now), "ci").remove(0)
    }

    fn retirement(&self, namespace: &str, now: DateTime<Utc>) -> Retirement {
        Retirement {
            subject: Subject {
                namespace: namespace.to_owned(),
                deployment: DEPLOYMENTS[0].to_owned(),
                clusters: Clusters::of(Some(SCOPES[self.scope])),
            },
            effective_at: minute(self.minute),
            now,
            updated_by: "ci".to_owned(),
            reason: "a test".to_owned(),
        }
    }

    /// What it appends to what is known.
    fn versions(&self, namespace: &str, now: DateTime<Utc>, known: &[Version]) -> Vec<Version> {
        if self.retires {
            let retirement = self.retirement(namespace, now);
            let of_scope = known.iter().filter(|version| version.subject == retirement.subject);
            return retirement.apply(&of_scope.cloned().collect::<Vec<_>>()).versions;
        }
        let added = additions(&[self.registration(namespace, now)], known.to_vec());
        added.iter().flat_map(Addition::versions).cloned().collect()
    }

    /// Has a store append it.
    async fn register(&self, store: &dyn Store, namespace: &str, now: DateTime<Utc>) {
        if !self.retires {
            let registration = self.registration(namespace, now);
            pedwatch::store::register(store, vec![registration]).await.expect("registered");
            return;
        }
        match pedwatch::store::retire(store, &self.retirement(namespace, now)).await {
            Ok(_) | Err(RetireError::NotRegistered { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A write of one of several kinds.
#[derive(Debug, Clone)]
struct WriteSpec {
    cluster: usize,
    deployment: usize,
    minute: i64,
    /// Just before, at, or just after that minute.
    micros: i64,
    replicas: i64,
    kind: u8,
    version: i64,
}

fn write_spec(kinds: u8) -> impl Strategy<Value = WriteSpec> {
    let kind = prop_oneof![2 => Just(0), 3 => 0..kinds];
    (0..CLUSTERS.len(), deployment(), -1..21_i64, -1..2_i64, 0..10_i64, kind, 1..30_i64).prop_map(
        |(cluster, deployment, minute, micros, replicas, kind, version)| WriteSpec {
            cluster,
            deployment,
            minute,
            micros,
            replicas,
            kind,
            version,
        },
    )
}

const DEPLOYMENTS: [&str; 2] = ["orders-api", "carts-api"];

fn entry(namespace: &str, number: usize, spec: &WriteSpec) -> Sample {
    let at = minute(spec.minute) + Duration::microseconds(spec.micros);
    let (project, location, cluster) = CLUSTERS[spec.cluster];
    let name = DEPLOYMENTS[spec.deployment];
    let resource = format!("apps/v1/namespaces/{namespace}/deployments/{name}");
    let sample = Sample::patch(&format!("{namespace}-{number}"), &at.to_rfc3339(), spec.replicas)
        .set("/resource/labels", json!({"project_id": project, "location": location, "cluster_name": cluster}))
        .set("/protoPayload/resourceName", resource.clone())
        .set("/protoPayload/response/metadata/namespace", namespace)
        .set("/protoPayload/response/metadata/name", name)
        .uid(&format!("uid-{namespace}-{name}-{}", spec.cluster))
        .version(spec.version, spec.version);
    let bare =
        |sample: Sample| sample.set("/protoPayload/request", Json::Null).set("/protoPayload/response", Json::Null);
    match spec.kind {
        // A number that is not known, because the bodies are missing.
        1 => bare(sample),
        // A call that timed out.
        2 => sample.set("/protoPayload/status", json!({"code": 4})).set("/protoPayload/response", Json::Null),
        3 => {
            let deleted = sample.delete();
            deleted.set("/protoPayload/response/details/name", name)
        }
        4 => sample.scale().set("/protoPayload/resourceName", format!("{resource}/scale")),
        5 => sample
            .set("/protoPayload/methodName", "io.k8s.autoscaling.v2.horizontalpodautoscalers.patch")
            .set(
                "/protoPayload/resourceName",
                format!("autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{name}"),
            )
            .set("/protoPayload/response/kind", "HorizontalPodAutoscaler")
            .set("/protoPayload/response/apiVersion", "autoscaling/v2")
            .set("/protoPayload/response/@type", "autoscaling.k8s.io/v2.HorizontalPodAutoscaler")
            .set("/protoPayload/response/metadata/uid", format!("uid-hpa-{namespace}-{name}-{}", spec.cluster))
            .set(
                "/protoPayload/response/spec",
                json!({"maxReplicas": spec.replicas, "minReplicas": 0,
                    "scaleTargetRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": name}}),
            )
            .set("/protoPayload/request", json!({"@type": "k8s.io/Patch", "spec": {"maxReplicas": spec.replicas}})),
        _ => sample,
    }
}

/// What one write comes to by the look-up in Rust.
fn by_rust(limits: &Limits, sample: &Sample) -> (String, Json, ReplicaEvent) {
    let policy = config().policy;
    let bytes = sample.bytes();
    let entry = Entry::parse(&bytes).expect("JSON");
    let Decoded::Writes(writes) = decode(&entry).expect("decoded") else { panic!("not a write: {}", sample.entry) };
    let write = &writes[0];
    let limit = limits.at_write(write);
    let verdict = judge(write, limit, &policy).verdict;
    let event = ReplicaEvent::new(write, &policy, time("2026-10-01T00:00:00Z"));
    let found = json!([
        limit.map(|limit| &limit.limit_id),
        limit.map(|limit| limit.max_replicas),
        limit.map(|limit| limit.initial_max_replicas),
        verdict.to_string(),
    ]);
    (event.event_id.clone(), found, event)
}

/// What the views say of every write, by its id.
async fn by_sql(store: &dyn Store) -> BTreeMap<String, Json> {
    let rows = query::dump(store, "judged_events").await.expect("readable");
    let found = rows.iter().map(|row| {
        let id = row["event_id"].as_str().expect("an id").to_owned();
        let columns = ["limit_id", "limit_max_replicas", "limit_initial_max_replicas", "verdict"];
        (id, columns.iter().map(|&column| row[column].clone()).collect())
    });
    found.collect()
}

/// Each case is a namespace of its own, so one question answers for all.
#[test]
fn the_limit_and_the_verdict_in_rust_are_those_in_sql() {
    let peds = prop::collection::vec(ped_spec(), 0..4);
    let case = (prop::collection::vec(spec(), 0..9), peds, prop::collection::vec(write_spec(6), 1..7));
    let (worlds, seed) = generated(case, cases(150));
    on_every_store(async |store| {
        let (mut records, mut expected, mut claims) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (number, (specs, peds, writes)) in worlds.iter().enumerate() {
            let namespace = format!("ns-{number}");
            let versions = specs.iter().enumerate().map(|(number, spec)| {
                let registered_at = minute(100) + Duration::seconds(spec.registered);
                version(&namespace, number, spec, registered_at)
            });
            let mut versions: Vec<Version> = versions.collect();
            for (number, ped) in (0..).zip(peds) {
                let now = minute(100) + Duration::seconds(number);
                versions.extend(ped.versions(&namespace, now, &versions));
            }
            records.extend(versions.iter().map(|version| Record::Version(Box::new(version.into()))));
            let limits = Limits::new(&versions);
            claims.extend(versions.iter().map(Claim::from));
            for (number, spec) in writes.iter().enumerate() {
                let (id, found, event) = by_rust(&limits, &entry(&namespace, number, spec));
                expected.insert(id, (found, namespace.clone()));
                records.push(Record::Event(Box::new(event)));
            }
        }
        store.append(records.into()).await.expect("appended");
        let found = by_sql(store).await;
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        for (id, (rust, namespace)) in expected {
            let world: usize = namespace[3..].parse().expect("a number");
            assert_eq!(found[&id], rust, "seed {seed}: {:#?}", worlds[world]);
        }
        assert_eq!(current(store).await, in_force_now(claims), "seed {seed}");
    });
}

/// The ids in the view `current_limits`.
async fn current(store: &dyn Store) -> BTreeSet<String> {
    let rows = query::dump(store, "current_limits").await.expect("readable");
    rows.iter().map(|row| row["config_id"].as_str().expect("an id").to_owned()).collect()
}

/// The versions by which each scope has a limit of its own now.
fn in_force_now(claims: Vec<Claim>) -> BTreeSet<String> {
    let subjects: BTreeSet<Subject> = claims.iter().map(|claim| claim.subject.clone()).collect();
    let limits = Limits::new(claims);
    subjects.iter().filter_map(|subject| Some(limits.of_scope(subject, Utc::now())?.limit_id.clone())).collect()
}

/// A consumer with the fixtures' rules.
pub async fn consumer(store: &Arc<dyn Store>) -> Consumer {
    let limits_for = std::time::Duration::from_secs(300);
    let started =
        Consumer::start(Arc::clone(store), config().policy, Batching::default(), limits_for, Metrics::default(), None);
    started.await.expect("started")
}

pub async fn deliver(consumer: &Consumer, sample: &Sample, now: DateTime<Utc>) {
    let data = sample.bytes();
    let delivery = Delivery { data: &data, source: "test", message_id: None, publish_time: None };
    let handled = consumer.handle(delivery, now).await;
    assert_eq!(disposition(&handled), Disposition::Ack, "{handled:?}");
}

/// One step of a history in which everything comes when it likes.
#[derive(Debug, Clone)]
enum Step {
    /// An entry arrives at one of two instances.
    Entry { of: usize, at: usize },
    /// A version is registered.
    Version { of: usize },
    /// The next PED is registered, or retired: what it appends depends on those before.
    Ped,
    /// An instance reads the limits.
    Refresh { at: usize },
    /// An instance dies, and another takes its place.
    Restart { at: usize },
}

#[derive(Debug, Clone)]
struct History {
    writes: Vec<WriteSpec>,
    specs: Vec<Spec>,
    peds: Vec<PedSpec>,
    /// Each with the seconds that pass before it.
    steps: Vec<(Step, i64)>,
}

fn history() -> impl Strategy<Value = History> {
    let writes = prop::collection::vec(write_spec(6), 1..6);
    let peds = prop_oneof![Just(Vec::new()), prop::collection::vec(ped_spec(), 1..4)];
    let specs = (prop::collection::vec(spec(), 0..6), peds).prop_map(|(mut specs, mut peds)| {
        // One at an instant, because which of two counts depends on who came first.
        let mut taken = BTreeSet::new();
        peds.retain(|ped| taken.insert((ped.scope, 0, ped.minute)));
        // What a PED appends depends on what is there of its scope.
        specs.retain(|spec| spec.deployment != 0 || peds.iter().all(|ped| ped.scope != spec.scope));
        specs.retain(|spec| taken.insert((spec.scope, spec.deployment, spec.minute)));
        (specs, peds)
    });
    (writes, specs).prop_flat_map(|(writes, (specs, peds))| {
        let entries = (0..writes.len()).map(|of| Step::Entry { of, at: of % 2 });
        let versions = (0..specs.len()).map(|of| Step::Version { of });
        let once: Vec<Step> = entries.chain(versions).chain(peds.iter().map(|_| Step::Ped)).collect();
        let (entries, length) = (writes.len(), once.len());
        let more = prop_oneof![
            2 => (0..entries, 0..2_usize).prop_map(|(of, at)| Step::Entry { of, at }),
            3 => (0..2_usize).prop_map(|at| Step::Refresh { at }),
            2 => (0..2_usize).prop_map(|at| Step::Restart { at }),
        ];
        let more = prop::collection::vec((any::<prop::sample::Index>(), more), 0..8);
        let pauses = prop::collection::vec(prop_oneof![3 => 0..90_i64, 2 => 600..3_000_i64], length + 8);
        (Just(once).prop_shuffle(), more, pauses).prop_map(move |(mut steps, more, pauses)| {
            for (index, step) in more {
                steps.insert(index.index(steps.len() + 1), step);
            }
            let (writes, specs, peds) = (writes.clone(), specs.clone(), peds.clone());
            History { writes, specs, peds, steps: steps.into_iter().zip(pauses).collect() }
        })
    })
}

impl History {
    /// Has it happen from a time on; when it ended. The last instance alive reads the limits once more, when nobody can
    /// take the other one for alive.
    async fn happen(&self, store: &Arc<dyn Store>, namespace: &str, begin: DateTime<Utc>) -> DateTime<Utc> {
        let mut now = begin;
        let mut instances = [consumer(store).await, consumer(store).await];
        // Until then an instance takes everything for new.
        for instance in &instances {
            instance.refresh(now).await.expect("refreshed");
        }
        let mut peds = self.peds.iter();
        for (step, seconds) in &self.steps {
            now += Duration::seconds(*seconds);
            match *step {
                Step::Entry { of, at } => {
                    deliver(&instances[at], &entry(namespace, of, &self.writes[of]), now).await;
                }
                Step::Version { of } => {
                    let version = version(namespace, of, &self.specs[of], now);
                    store.append_versions(&[version]).await.expect("appended");
                }
                Step::Ped => {
                    let next = peds.next().expect("one for each step");
                    next.register(&**store, namespace, now).await;
                }
                Step::Refresh { at } => instances[at].refresh(now).await.expect("refreshed"),
                Step::Restart { at } => instances[at] = consumer(store).await,
            }
        }
        now += Duration::minutes(16);
        instances[0].refresh(now).await.expect("refreshed");
        now
    }

    /// Everything registered, and then every entry once, in the order of their times.
    fn in_order(&self) -> Self {
        let mut entries: Vec<usize> = (0..self.writes.len()).collect();
        entries.sort_by_key(|&of| (self.writes[of].minute, self.writes[of].micros, of));
        let versions = (0..self.specs.len()).map(|of| Step::Version { of });
        let entries = entries.into_iter().map(|of| Step::Entry { of, at: 0 });
        let peds = self.peds.iter().map(|_| Step::Ped);
        History { steps: versions.chain(peds).chain(entries).map(|step| (step, 1)).collect(), ..self.clone() }
    }
}

/// Verdicts, and the alerts that stand, of one namespace.
async fn outcome(store: &dyn Store, namespace: &str) -> (Vec<Json>, Vec<Json>) {
    let about = async |view: &str, columns: &[&str]| {
        let rows = query::dump(store, view).await.expect("readable");
        let rows = rows.into_iter().filter(|row| row["namespace"] == namespace);
        let mut rows: Vec<Json> = rows.map(|row| columns.iter().map(|&column| row[column].clone()).collect()).collect();
        rows.sort_by_key(Json::to_string);
        rows
    };
    let verdicts = about("judged_events", &["event_id", "verdict", "limit_max_replicas", "limit_initial_max_replicas"]);
    let verdicts = verdicts.await;
    let columns = [
        "stands",
        "alert_type",
        "project_id",
        "location",
        "cluster_name",
        "object_kind",
        "object_name",
        "deployment_name",
        "replicas",
        "limit_max_replicas",
        "alert_time",
        "raised_at",
    ];
    let mut alerts = about("alerts", &columns).await;
    alerts.retain(|alert| alert[0] == true || alert[0] == 1);
    for alert in &mut alerts {
        alert[0] = json!(true);
        // When it was raised is another matter than that it was.
        alert[11] = json!(!alert[11].is_null());
    }
    (verdicts, alerts)
}

async fn assert_law(store: Arc<dyn Store>, histories: &[History], seed: u64) {
    let mut now = time("2026-10-01T00:00:00Z");
    for (number, history) in histories.iter().enumerate() {
        // By itself on a fresh store, and on this one among all before it.
        let namespace = format!("law-{number}");
        let fresh: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        history.in_order().happen(&fresh, &namespace, time("2026-10-01T00:00:00Z")).await;
        let expected = outcome(&*fresh, &namespace).await;
        let lines = |rows: &[Json]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let silent = expected.1.iter().any(|alert| alert[11] == false);
        assert!(!silent, "seed {seed}, {number}: not raised:\n{}{history:#?}", lines(&expected.1));
        now = history.happen(&store, &namespace, now + Duration::minutes(1)).await;
        let found = outcome(&*store, &namespace).await;
        for (found, expected) in [(&found.0, &expected.0), (&found.1, &expected.1)] {
            let (found, expected) = (lines(found), lines(expected));
            assert!(found == expected, "seed {seed}, {number}: found\n{found}instead of\n{expected}{history:#?}");
        }
    }
}

/// Whatever comes when, twice or across a restart: the verdicts are the same, and after one more reading of limits the
/// alerts that stand.
#[test]
fn any_interleaving_of_entries_registrations_readings_and_restarts_leaves_the_same() {
    let (histories, seed) = generated(history(), cases(40));
    block_on(async {
        for (number, history) in histories.iter().enumerate() {
            let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
            println!("case {number}");
            assert_law(store, std::slice::from_ref(history), seed).await;
        }
    });
}

#[test]
fn any_interleaving_leaves_the_same_on_bigquery_too() {
    let (histories, seed) = generated(history(), cases(3));
    block_on(async { assert_law(Arc::new(Dataset::new().await.store), &histories, seed).await });
}
