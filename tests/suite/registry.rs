//! Registering: an append like any other, whoever else registers, in whichever order, and however many PEDs there are.
//!
//! `PEDWATCH_TEST_PEDS` is how many PEDs are registered at once, to see how long that takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chrono::{DateTime, Duration, Utc};
use pedwatch::ped::version::{Registration, Version, history};
use pedwatch::ped::{Located, parse_all};
use pedwatch::pipeline::register::register;
use pedwatch::store::firestore::{DatabaseName, FirestoreConfig, Registered};
use pedwatch::store::query::{Query, Rows};
use pedwatch::store::row::{DeploymentConfig, Record};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::limits::{consumer, deliver};
use crate::servers::{Dataset, firestore};
use crate::support::{
    Sample, block_on, config, handle, on_every_store, on_every_store_shared, ped, pipeline, rows, time,
};

mod apart;
mod contract;
mod costs;
mod serving;

/// Runs a test on an empty registry of each kind: in the store of the facts, and in Firestore beside it.
fn on_every_registry(test: impl AsyncFn(Arc<dyn Store>)) {
    block_on(async {
        let facts = async || {
            let (sqlite, dataset) = (Sqlite::in_memory().expect("memory"), Dataset::new().await.store);
            [Arc::new(sqlite) as Arc<dyn Store>, Arc::new(dataset) as Arc<dyn Store>]
        };
        for facts in facts().await {
            test(facts).await;
        }
        for facts in facts().await {
            test(Arc::new(beside(facts, &fresh_database(), firestore()).await)).await;
        }
    });
}

/// A database of Firestore that no other test has.
fn fresh_database() -> DatabaseName {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("acme-registry-{}-{number}/(default)", std::process::id()).parse().expect("a name")
}

/// A store with its versions in a database of Firestore.
async fn beside(facts: Arc<dyn Store>, database: &DatabaseName, server: SocketAddr) -> Registered {
    let deadline = std::time::Duration::from_secs(30);
    let config = FirestoreConfig { endpoint: Some(format!("http://{server}")), anonymous: true, deadline };
    Registered::open(facts, database, &config).await.expect("a client")
}

const PIPELINE: &str = "deployer@acme-prod.iam.gserviceaccount.com";

/// PEDs as the command registers them: at a time that somebody named, or at once.
pub fn registrations(yaml: &str, effective_at: Option<&str>, now: &str, who: &str) -> Vec<Registration> {
    let located = parse_all([(Path::new("test.yaml"), yaml)], &(0..=100)).expect("valid PEDs");
    let registration = |Located { ped, .. }: Located| Registration {
        ped,
        effective_at: time(effective_at.unwrap_or(now)),
        explicit: effective_at.is_some(),
        now: time(now),
        updated_by: who.to_owned(),
        reason: Some("a test".to_owned()),
        source: None,
    };
    located.into_iter().map(registration).collect()
}

/// Registers a limit for `payments/orders-api`, and leaves judging to others; whether there was something to register.
async fn limit(store: &dyn Store, max: i64, effective_at: Option<&str>, now: &str) -> bool {
    let registrations = registrations(&ped("payments", "orders-api", None, max), effective_at, now, "ci");
    pedwatch::store::register(store, registrations).await.expect("registered")[0].version.is_some()
}

/// When each version begins, and its limit, in their order.
async fn versions(store: &dyn Store) -> Vec<(String, i64)> {
    let versions = history(store.versions(None).await.expect("readable"));
    let short = |version: &Version| version.effective_at.format("%m-%d").to_string();
    versions.iter().map(|version| (short(version), version.terms.max_replicas.unwrap_or(-1))).collect()
}

/// Of the alerts that stand: type, limit, time, and whether they were raised.
pub async fn standing(store: &dyn Store) -> Vec<Json> {
    let columns = ["stands", "alert_type", "limit_max_replicas", "alert_time", "raised_at"];
    let alerts = rows(store, "alerts", &columns).await;
    let stand = |row: &&Json| row[0] == true || row[0] == 1;
    let told = |row: &Json| json!([row[1], row[2], row[3], !row[4].is_null()]);
    alerts.iter().filter(stand).map(told).collect()
}

#[test]
fn a_version_in_between_does_not_lose_the_one_behind_it() {
    on_every_registry(async |store| {
        let store = &*store;
        let now = "2026-09-01T08:00:00Z";
        for (max, from) in [(3, "2026-09-01T00:00:00Z"), (3, "2026-09-20T00:00:00Z"), (6, "2026-09-10T00:00:00Z")] {
            assert!(limit(store, max, Some(from), now).await, "{max} from {from}");
        }
        let expected = [("09-01", 3), ("09-10", 6), ("09-20", 3)].map(|(from, max)| (from.to_owned(), max));
        assert_eq!(versions(store).await, expected);
    });
}

#[test]
fn nothing_is_registered_only_where_it_would_say_nothing_new() {
    on_every_registry(async |store| {
        let store = &*store;
        assert!(limit(store, 3, None, "2026-09-01T00:00:00Z").await, "the first");
        assert!(!limit(store, 3, None, "2026-09-02T00:00:00Z").await, "unchanged");
        assert!(limit(store, 3, Some("2026-09-02T00:00:00Z"), "2026-09-02T01:00:00Z").await, "somebody named the time");
        assert!(limit(store, 6, Some("2026-09-20T00:00:00Z"), "2026-09-03T00:00:00Z").await, "another");
        assert!(limit(store, 3, None, "2026-09-04T00:00:00Z").await, "unchanged, but another begins later");
        let expected = [("09-01", 3), ("09-02", 3), ("09-04", 3), ("09-20", 6)];
        assert_eq!(versions(store).await, expected.map(|(from, max)| (from.to_owned(), max)));
    });
}

#[test]
fn two_who_register_at_once_keep_both() {
    on_every_store(async |store| {
        let (ours, theirs) = (ped("payments", "orders-api", None, 3), ped("payments", "orders-api", None, 6));
        let now = "2026-09-01T00:00:00Z";
        let by = async |yaml: &str, who: &str| {
            pedwatch::store::register(store, registrations(yaml, None, now, who)).await.expect("registered")
        };
        futures::join!(by(&ours, "ci"), by(&theirs, "carol@example.com"), by(&ours, "dave@example.com"));
        let found = store.versions(None).await.expect("readable");
        let mut who: Vec<&str> = found.iter().map(|version| version.updated_by.as_str()).collect();
        who.sort_unstable();
        assert_eq!(who, ["carol@example.com", "ci", "dave@example.com"]);
        // Registering again after a lost answer is the same version.
        by(&ours, "ci").await;
        assert_eq!(history(store.versions(None).await.expect("readable")).len(), 3);
        // Whatever the order of arrival, everybody is judged by the same one.
        let claims = store.claims(None).await.expect("readable");
        let backwards = claims.iter().rev().cloned();
        let limit = |limits: pedwatch::ped::limits::Limits| {
            limits.of_scope(&claims[0].subject, time(now)).map(|limit| limit.limit_id.clone())
        };
        let limits = pedwatch::ped::limits::Limits::new;
        assert_eq!(limit(limits(claims.clone())), limit(pedwatch::ped::limits::Limits::new(backwards)));
        let current = rows(store, "current_limits", &["config_id"]).await;
        assert_eq!(current, [json!([limit(pedwatch::ped::limits::Limits::new(claims.clone()))])]);
    });
}

/// 6 → 3 is registered 3 s before a write of 5, which is handled by an instance that has read limits before.
#[test]
fn a_limit_lowered_just_before_a_write_alerts_at_the_next_reading() {
    on_every_registry(async |store| {
        limit(&*store, 6, None, "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        consumer.refresh(time("2026-09-04T20:40:00Z")).await.expect("refreshed");
        limit(&*store, 3, None, "2026-09-04T20:41:00Z").await;
        let write = Sample::patch("a", "2026-09-04T20:41:03Z", 5).actor(PIPELINE).version(7, 2);
        deliver(&consumer, &write, time("2026-09-04T20:41:05Z")).await;
        let after = async |minutes: i64| {
            consumer.refresh(time("2026-09-04T20:41:30Z") + Duration::minutes(minutes)).await.expect("refreshed");
            standing(&*store).await
        };
        let over = json!(["over_limit", 3, "2026-09-04T20:41:03.000000Z", true]);
        assert_eq!(after(0).await, std::slice::from_ref(&over));
        assert_eq!(after(1).await, [over], "and only once");
        assert_eq!(rows(&*store, "alert_log", &["alert_type"]).await, [json!(["over_limit"])]);
    });
}

#[test]
fn registering_after_a_replay_leaves_one_alert() {
    on_every_registry(async |store| {
        let store = &*store;
        let write = Sample::patch("a", "2026-09-04T20:41:03Z", 5).actor(PIPELINE).version(7, 2).bytes();
        handle(store, &pipeline(store).await, &[write], time("2026-10-01T00:00:00Z")).await;
        assert_eq!(standing(store).await, [json!(["unregistered", null, "2026-09-04T20:41:03.000000Z", true])]);
        let (from, now) = ("2026-09-01T00:00:00Z", "2026-10-02T00:00:00Z");
        let registrations = registrations(&ped("payments", "orders-api", None, 3), Some(from), now, "ci");
        let raised = register(store, &config().policy, registrations, time(now)).await.expect("registered").raised;
        assert_eq!(raised.len(), 1, "{raised:?}");
        assert_eq!(standing(store).await, [json!(["over_limit", 3, "2026-09-04T20:41:03.000000Z", true])]);
    });
}

/// A limit may take effect long after it was registered, while nobody writes. By the store's own clock, so only where a
/// question is quick.
#[test]
fn a_limit_that_takes_effect_on_a_standing_number_alerts_then() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let begun = Utc::now();
        let at = |seconds: i64| (begun + Duration::seconds(seconds)).to_rfc3339();
        limit(&*store, 6, Some("2026-09-01T00:00:00Z"), &at(-3600)).await;
        limit(&*store, 3, Some(&at(4)), &at(-3500)).await;
        let consumer = consumer(&store).await;
        deliver(&consumer, &Sample::patch("a", &at(-60), 5).actor(PIPELINE).version(7, 2), begun).await;
        consumer.refresh(begun).await.expect("refreshed");
        assert_eq!(standing(&*store).await, [] as [Json; 0]);
        while Utc::now() < begun + Duration::seconds(4) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        consumer.refresh(Utc::now()).await.expect("refreshed");
        let since = begun + Duration::seconds(4);
        assert_eq!(standing(&*store).await, [json!(["over_limit", 3, pedwatch::id::time(since), true])]);
    });
}

/// A limit that began on a standing number was told. That the number had been set again before, behind writes that are
/// missing, comes late, and is no second breach.
#[test]
fn what_began_on_a_standing_number_is_told_whoever_had_set_it_last() {
    on_every_store_shared(async |store| {
        limit(&*store, 2, Some("2026-09-01T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        limit(&*store, 1, Some("2026-09-04T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        let begun = time("2026-10-01T00:00:00Z");
        consumer.refresh(begun).await.expect("refreshed");
        let write =
            |id: &str, at: &str, version: i64| Sample::patch(id, at, 2).actor(PIPELINE).version(version, version);
        deliver(&consumer, &write("first", "2026-09-02T00:00:00Z", 7), begun).await;
        consumer.refresh(begun + Duration::minutes(1)).await.expect("refreshed");
        let raised = [json!(["over_limit", 1, "2026-09-04T00:00:00.000000Z", true])];
        assert_eq!(standing(&*store).await, raised);
        deliver(&consumer, &write("late", "2026-09-03T00:00:00Z", 12), begun + Duration::minutes(2)).await;
        assert_eq!(standing(&*store).await, raised, "before it is read again");
        consumer.refresh(begun + Duration::minutes(3)).await.expect("refreshed");
        assert_eq!(standing(&*store).await, raised);
        let alerts = rows(&*store, "alert_log", &["alert_type"]).await;
        assert_eq!(alerts.iter().filter(|alert| alert[0] == "over_limit").count(), 1);
    });
}

/// A limit that began on a number was told; then an earlier write of the same number comes, which was answered only behind that.
#[test]
fn what_began_on_a_number_is_told_once_though_the_number_turns_out_to_have_come_later() {
    on_every_store_shared(async |store| {
        limit(&*store, 6, Some("2026-09-01T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        limit(&*store, 4, Some("2026-09-04T12:00:00Z"), "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        let begun = time("2026-10-01T00:00:00Z");
        consumer.refresh(begun).await.expect("refreshed");
        let write =
            |id: &str, at: &str, version: i64| Sample::patch(id, at, 5).actor(PIPELINE).version(version, version);
        deliver(&consumer, &write("first", "2026-09-04T11:59:50Z", 8), begun).await;
        consumer.refresh(begun + Duration::minutes(1)).await.expect("refreshed");
        let raised = |at: &str| [json!(["over_limit", 4, at, true])];
        assert_eq!(standing(&*store).await, raised("2026-09-04T12:00:00.000000Z"));
        deliver(&consumer, &write("late", "2026-09-04T12:00:05Z", 7), begun + Duration::minutes(2)).await;
        consumer.refresh(begun + Duration::minutes(3)).await.expect("refreshed");
        assert_eq!(standing(&*store).await, raised("2026-09-04T12:00:05.000000Z"));
        let about = rows(&*store, "alerts", &["alert_type", "raised"]).await;
        let about: Vec<&Json> = about.iter().filter(|alert| alert[0] == "over_limit").collect();
        assert_eq!(about, [&json!(["over_limit", 2])], "both are about one breach");
    });
}

/// A limit that began on what an HPA allowed one Deployment says nothing of another, to which the HPA had turned by then.
#[test]
fn what_began_on_one_deployment_is_not_told_of_another_that_its_hpa_has_turned_to() {
    on_every_store_shared(async |store| {
        limit(&*store, 6, Some("2026-09-01T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        limit(&*store, 4, Some("2026-09-04T12:00:00Z"), "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        let begun = time("2026-10-01T00:00:00Z");
        consumer.refresh(begun).await.expect("refreshed");
        let aims = |id: &str, at: &str, version: i64, deployment: &str| {
            let spec = json!({"maxReplicas": 5, "minReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": deployment}});
            Sample::patch(id, at, 5)
                .actor(PIPELINE)
                .set("/protoPayload/methodName", "io.k8s.autoscaling.v2.horizontalpodautoscalers.patch")
                .set("/protoPayload/resourceName", "autoscaling/v2/namespaces/payments/horizontalpodautoscalers/scaler")
                .set("/protoPayload/request", json!({"@type": "k8s.io/Patch", "spec": spec}))
                .set("/protoPayload/response/kind", "HorizontalPodAutoscaler")
                .set("/protoPayload/response/apiVersion", "autoscaling/v2")
                .set("/protoPayload/response/@type", "autoscaling.k8s.io/v2.HorizontalPodAutoscaler")
                .set("/protoPayload/response/metadata/name", "scaler")
                .set("/protoPayload/response/spec", spec)
                .uid("uid-scaler")
                .version(version, version)
        };
        deliver(&consumer, &aims("first", "2026-09-04T10:00:00Z", 7, "orders-api"), begun).await;
        consumer.refresh(begun + Duration::minutes(1)).await.expect("refreshed");
        assert_eq!(standing(&*store).await, [json!(["over_limit", 4, "2026-09-04T12:00:00.000000Z", true])]);
        deliver(&consumer, &aims("late", "2026-09-04T11:00:00Z", 8, "carts-api"), begun + Duration::minutes(2)).await;
        let now = begun + Duration::minutes(3);
        let carts = ped("payments", "carts-api", None, 4);
        let carts = registrations(&carts, Some("2026-09-01T00:00:00Z"), &pedwatch::id::time(now), "ci");
        pedwatch::store::register(&*store, carts).await.expect("registered");
        let turned = |is_told: bool| [json!(["over_limit", 4, "2026-09-04T11:00:00.000000Z", is_told])];
        assert_eq!(standing(&*store).await, turned(false));
        consumer.refresh(now + Duration::minutes(1)).await.expect("refreshed");
        assert_eq!(standing(&*store).await, turned(true));
    });
}

/// What an instance has put off to its next reading is judged by another when it dies.
#[test]
fn what_a_dead_instance_owed_is_judged_by_another() {
    on_every_store_shared(async |store| {
        limit(&*store, 6, Some("2026-09-01T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        limit(&*store, 3, Some("2026-09-05T00:00:00Z"), "2026-09-01T00:00:00Z").await;
        let (dying, living) = (consumer(&store).await, consumer(&store).await);
        let begun = time("2026-10-01T00:00:00Z");
        for instance in [&dying, &living] {
            instance.refresh(begun).await.expect("refreshed");
        }
        // Fine when it was written, and over the limit that took effect a day later: judged already.
        let late = Sample::patch("a", "2026-09-04T00:00:00Z", 5).actor(PIPELINE).version(7, 2);
        deliver(&dying, &late, begun + Duration::minutes(1)).await;
        drop(dying);
        living.refresh(begun + Duration::minutes(2)).await.expect("refreshed");
        assert_eq!(standing(&*store).await[..], [json!(["over_limit", 3, "2026-09-05T00:00:00.000000Z", false])]);
        living.refresh(begun + Duration::minutes(17)).await.expect("refreshed");
        assert_eq!(standing(&*store).await, [json!(["over_limit", 3, "2026-09-05T00:00:00.000000Z", true])]);
    });
}

/// Two clusters of one name are two, wherever one looks.
#[test]
fn a_limit_for_one_cluster_is_not_for_its_namesake() {
    let path = |location: &str| format!("projects/acme-prod/locations/{location}/clusters/prod-1");
    on_every_registry(async |store| {
        let store = &*store;
        let now = "2026-09-01T00:00:00Z";
        for (cluster, max) in [(Some(path("us-east1")), 6), (Some("prod-1".to_owned()), 3), (None, 2)] {
            let yaml = ped("payments", "orders-api", cluster.as_deref(), max);
            pedwatch::store::register(store, registrations(&yaml, None, now, "ci")).await.expect("registered");
        }
        let write = |id: &str, location: &str, cluster: &str| {
            let labels = json!({"project_id": "acme-prod", "location": location, "cluster_name": cluster});
            let sample = Sample::patch(id, "2026-09-04T20:41:03Z", 5).actor(PIPELINE).version(7, 2);
            sample.set("/resource/labels", labels).uid(&format!("uid-{id}")).bytes()
        };
        let entries =
            [write("a", "us-east1", "prod-1"), write("b", "europe-west1", "prod-1"), write("c", "us-east1", "prod-2")];
        handle(store, &pipeline(store).await, &entries, time("2026-10-01T00:00:00Z")).await;
        let limits = rows(store, "judged_events", &["location", "cluster_name", "limit_max_replicas", "verdict"]).await;
        let mut limits: Vec<String> = limits.iter().map(Json::to_string).collect();
        limits.sort();
        assert_eq!(
            limits,
            [
                r#"["europe-west1","prod-1",3,"over_limit"]"#,
                r#"["us-east1","prod-1",6,"within"]"#,
                r#"["us-east1","prod-2",2,"over_limit"]"#,
            ]
        );
        let current = rows(store, "current_limits", &["cluster_name", "max_replicas"]).await;
        let expected = [json!(["prod-1", 3]), json!([path("us-east1"), 6]), json!([null, 2])];
        assert!(current.len() == 3 && expected.iter().all(|limit| current.contains(limit)), "{current:?}");
        // The one with a limit of 6 breaches nothing.
        for (view, clusters) in [("current_replicas", 3), ("daily_max_replicas", 3), ("alerts", 2)] {
            let found = rows(store, view, &["project_id", "location", "cluster_name"]).await;
            let found: BTreeSet<String> = found.iter().map(Json::to_string).collect();
            assert_eq!(found.len(), clusters, "{view}: {found:?}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_version_read_back_is_the_one_that_was_registered(
        max in prop::option::of(0..100_i64),
        min in prop::option::of(0..100_i64),
        texts in prop::collection::btree_map("[a-z]{1,5}", "\\PC{0,9}", 0..4),
        cluster in prop::option::of("[a-z]{1,9}|projects/[a-z]{3}/locations/[a-z]{3}/clusters/[a-z]{3}"),
        lasts in prop::option::of(1..1000_i64),
    ) {
        let yaml = ped("payments", "orders-api", cluster.as_deref(), 3);
        let registration = registrations(&yaml, None, "2026-09-01T00:00:00.123456Z", "ci").remove(0);
        let additions = pedwatch::ped::version::additions(&[registration], Vec::new());
        let mut version = additions[0].version.clone().expect("the first");
        version.until = lasts.map(|lasts| version.effective_at + Duration::seconds(lasts));
        version.terms.max_replicas = max;
        version.terms.min_replicas = min;
        version.terms.environment = texts.clone();
        version.terms.volumes = texts.iter().map(|(name, text)| (name.clone(), json!({"a": [text, 1, null]}))).collect();
        version.change = max.map(|max| json!([{"op": "add", "path": "/maxReplicas", "value": max}]));
        prop_assert_eq!(Version::from(DeploymentConfig::from(&version)), version);
    }
}

/// Counts what a store is asked.
struct Counting<'s> {
    store: &'s dyn Store,
    appends: AtomicUsize,
    questions: AtomicUsize,
}

#[async_trait::async_trait]
impl Store for Counting<'_> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.store.fetch(query).await
    }
}

/// Many PEDs in some namespaces.
fn many(count: usize, max: i64) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = write!(text, "---\n{}", ped(&format!("team-{}", number % 997), &format!("api-{number}"), None, max));
        text
    })
}

/// However many there are: one read, one append, and two questions behind it: what is closed, and what stands. Five times as many take five times as long.
async fn assert_few_requests(store: &dyn Store, count: usize) {
    let begun = Instant::now();
    let texts = many(count, 3);
    let first = registrations(&texts, None, "2026-09-01T00:00:00Z", "ci");
    println!("{count} PEDs ({} MB) are validated in {:.2?}", texts.len() >> 20, begun.elapsed());
    let all: Vec<Vec<Registration>> = (1..5_i64)
        .map(|round| registrations(&many(count, 3 + round), None, &format!("2026-09-0{}T00:00:00Z", 1 + round), "ci"))
        .collect();
    for (round, registrations) in [first].into_iter().chain(all).enumerate() {
        let counting = Counting { store, appends: AtomicUsize::new(0), questions: AtomicUsize::new(0) };
        let begun = Instant::now();
        let now: DateTime<Utc> = registrations[0].now;
        let registered = register(&counting, &config().policy, registrations, now).await.expect("registered");
        println!("round {round}: {count} PEDs are registered in {:.2?}", begun.elapsed());
        assert_eq!(registered.additions.iter().flat_map(|addition| addition.versions()).count(), count);
        assert_eq!(counting.appends.into_inner(), 1);
        assert_eq!(counting.questions.into_inner(), 3);
    }
    assert_eq!(store.claims(None).await.expect("readable").len(), 5 * count);
}

fn peds(default: usize) -> usize {
    std::env::var("PEDWATCH_TEST_PEDS").map_or(default, |peds| peds.parse().expect("a number"))
}

#[test]
fn many_peds_are_registered_in_few_requests() {
    block_on(assert_few_requests(&Sqlite::in_memory().expect("memory"), peds(1_500)));
}

#[test]
fn many_peds_are_registered_in_few_requests_on_bigquery_too() {
    block_on(async { assert_few_requests(&Dataset::new().await.store, peds(300)).await });
}
