//! What runs, held against what the log says: what the daily comparison finds, once, and nothing else.

use chrono::{DateTime, Duration, Utc};
use pedwatch::cluster::{Namespaces, file};
use pedwatch::job::compare::{Rules, compare_days};
use pedwatch::job::snapshot::{Judging, Taken, record as record_snapshot};
use pedwatch::ped::Cluster;
use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::again::judge_again;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::support::{PEDS_FROM, Sample, block_on, config, handle, on_every_store, ped, pipeline, register, time};

const PROD: Cluster<'static> = Cluster { project: "acme-prod", location: "europe-west1", name: "prod-1" };

/// A Deployment that runs.
#[derive(Clone)]
pub struct Runs {
    name: &'static str,
    uid: &'static str,
    version: i64,
    generation: i64,
    replicas: i64,
    pods: i64,
    created: &'static str,
}

/// As its create left it: version 100, generation 1.
pub fn runs(name: &'static str, replicas: i64) -> Runs {
    Runs { name, uid: name, version: 100, generation: 1, replicas, pods: replicas, created: "2026-09-05T08:00:00Z" }
}

impl Runs {
    /// What `kubectl` prints of it, its ReplicaSet and its pods.
    fn objects(&self) -> Vec<Json> {
        let Runs { name, uid, version, generation, replicas, created, .. } = self;
        let owned = |kind: &str, name: String, owner_kind: &str, owner: String| {
            json!({"kind": kind, "status": {"phase": "Running"}, "metadata": {"namespace": "payments", "name": name, "uid": name,
                "ownerReferences": [{"kind": owner_kind, "uid": owner, "controller": true}]}})
        };
        let mut objects = vec![
            json!({"kind": "Deployment",
                "metadata": {"namespace": "payments", "name": name, "uid": uid, "resourceVersion": version.to_string(),
                    "generation": generation, "creationTimestamp": created,
                    "managedFields": [{"manager": "kubectl-scale", "time": "2026-09-19T21:14:05Z",
                        "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
                "spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": 1}}}, "status": {}}),
            owned("ReplicaSet", format!("{name}-1"), "Deployment", (*uid).to_owned()),
        ];
        objects.extend(
            (0..self.pods).map(|pod| owned("Pod", format!("{name}-1-{pod}"), "ReplicaSet", format!("{name}-1"))),
        );
        objects
    }
}

/// A create of 5 September, of version 100 and generation 1.
pub fn create(name: &str, replicas: i64) -> Sample {
    entry(&format!("create-{name}"), name, "2026-09-05T08:00:00Z", replicas, 100, 1)
        .set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.create")
        .set("/protoPayload/response/metadata/creationTimestamp", "2026-09-05T08:00:00Z")
}

fn entry(id: &str, name: &str, at: &str, replicas: i64, version: i64, generation: i64) -> Sample {
    Sample::patch(id, at, replicas)
        .version(version, generation)
        .uid(name)
        .set("/protoPayload/resourceName", format!("apps/v1/namespaces/payments/deployments/{name}"))
        .set("/protoPayload/response/metadata/name", name)
}

pub async fn log(store: &dyn Store, samples: &[Sample]) {
    let entries: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
    handle(store, &pipeline(store).await, &entries, Utc::now()).await;
}

pub async fn snapshot(store: &dyn Store, at: &str, running: &[Runs]) {
    snapshot_of(store, PROD, at, running, &Namespaces::default()).await;
}

async fn snapshot_of(store: &dyn Store, cluster: Cluster<'_>, at: &str, running: &[Runs], namespaces: &Namespaces) {
    let items = running.iter().flat_map(Runs::objects).collect();
    snapshot_with(store, cluster, at, items, namespaces).await;
}

async fn snapshot_with(store: &dyn Store, cluster: Cluster<'_>, at: &str, items: Vec<Json>, namespaces: &Namespaces) {
    let list = json!({"kind": "List", "items": items, "metadata": {"resourceVersion": ""}}).to_string();
    let contents = file::read(list.as_bytes()).expect("a list");
    let listing = contents.gathered.listing(time(at), None, namespaces).expect("a listing");
    let limits = Limits::new(store.claims(None).await.expect("readable"));
    let policy = config().policy;
    let taken = Taken {
        cluster,
        source: "file",
        planned_at: time(at),
        started_at: time(at),
        namespaces,
        outcome: Ok((listing, contents.digest)),
    };
    record_snapshot(store, Judging { limits: &limits, scope: &policy.scope }, taken).await.expect("stored");
}

/// Now: long after everything here.
fn now() -> DateTime<Utc> {
    time("2026-09-29T12:00:00Z")
}

/// What the comparison raises that is new, as `RULE NAME: MESSAGE`.
pub async fn compared(store: &dyn Store) -> Vec<String> {
    compared_with(store, 3).await
}

async fn compared_with(store: &dyn Store, broken_sink_writes: usize) -> Vec<String> {
    let config = config();
    let thresholds = pedwatch::timeline::reality::Thresholds { broken_sink_writes, ..config.thresholds };
    let rules = Rules { policy: &config.policy, thresholds };
    let all = compare_days(store, rules, None, None, now()).await.expect("compared");
    let mut told: Vec<String> = all
        .into_iter()
        .flat_map(|one| one.alerts)
        .map(|alert| format!("{} {}", alert.severity, alert.message))
        .collect();
    told.sort();
    told
}

/// The alerts that stand and were raised, by rule and Deployment.
async fn standing(store: &dyn Store) -> Vec<String> {
    let alerts = query::alerts(store, &query::WantedAlerts::default(), usize::MAX).await.expect("readable");
    let name = |alert: &pedwatch::store::row::RaisedAlert| alert.deployment_name.clone().unwrap_or_default();
    let mut told: Vec<String> = alerts.iter().map(|alert| format!("{} {}", alert.alert_type, name(alert))).collect();
    told.sort();
    told
}

async fn peds(store: &dyn Store, names: &[(&str, i64)]) {
    for (name, max) in names {
        register(store, &ped("payments", name, None, *max), PEDS_FROM).await;
    }
}

const HINT: &str = " (managedFields: kubectl-scale at 2026-09-19T21:14:05Z)";

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn what_runs_is_held_against_the_log() {
    on_every_store(async |store| {
        let limited = ["as-told", "drifted", "made", "changed", "gone", "baseline", "scaled", "unused"];
        peds(store, &limited.map(|name| (name, 4))).await;
        let mut written = ["as-told", "drifted", "changed", "gone", "scaled"].map(|name| create(name, 2)).to_vec();
        for (at, version, replicas) in [("2026-09-06T08:00:00Z", 110, 5), ("2026-09-07T08:00:00Z", 120, 3)] {
            let scale = entry(&format!("scale-{version}"), "scaled", at, replicas, version, 0).scale();
            written
                .push(scale.set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments/scaled/scale"));
        }
        log(store, &written).await;
        let running = [
            runs("as-told", 2),
            Runs { version: 130, generation: 2, ..runs("drifted", 6) },
            runs("made", 3),
            Runs { version: 130, generation: 3, ..runs("changed", 2) },
            Runs { created: "2026-08-01T00:00:00Z", ..runs("baseline", 3) },
            Runs { version: 120, generation: 3, ..runs("scaled", 3) },
            Runs { created: "2026-08-01T00:00:00Z", ..runs("stranger", 2) },
        ];
        snapshot(store, "2026-09-20T06:00:00Z", &running).await;
        let expected = sorted(vec![
            format!("warning payments/drifted asks for 6 replicas, where 2 were known{HINT}"),
            "critical payments/drifted asks for 6 replicas, over its limit of 4, and no entry told it".to_owned(),
            format!(
                "warning payments/made runs with 3 replicas asked for, and the log does not tell that it was made{HINT}"
            ),
            "info 2 changes of payments/changed are not in the log; its number is as the log says".to_owned(),
            "warning payments/gone is gone, and the log does not tell that it was removed".to_owned(),
            "warning payments/stranger asks for 2 replicas, but no PED was in force for it".to_owned(),
            "info a PED allows payments/unused up to 4 replicas, and there is no such Deployment".to_owned(),
        ]);
        assert_eq!(compared_with(store, 100).await, expected);
        let found = [
            "drift drifted",
            "missed_write changed",
            "missed_write gone",
            "missed_write made",
            "over_limit drifted",
            "unregistered stranger",
            "unused_limit unused",
        ];
        let known = standing(store).await;
        found.iter().for_each(|alert| assert!(known.contains(&(*alert).to_owned()), "{alert} in {known:?}"));
        assert_eq!(compared_with(store, 100).await, Vec::<String>::new(), "a snapshot is compared once");
        // What it taught is known to every question, and found no more.
        let stands = query::status(store, &query::About::ALL, now()).await.expect("readable");
        let stands: Vec<String> = stands
            .iter()
            .map(|one| {
                format!(
                    "{} {} by {}",
                    one.deployment_name,
                    one.replicas.unwrap_or(-1),
                    one.actor.as_deref().unwrap_or("?")
                )
            })
            .collect();
        let (by, seen) = ("alice@example.com", "(snapshot)");
        let known = [
            ("as-told", 2, by),
            ("baseline", 3, seen),
            ("changed", 2, by),
            ("drifted", 6, seen),
            ("made", 3, seen),
            ("scaled", 3, by),
            ("stranger", 2, seen),
        ];
        assert_eq!(stands, known.map(|(name, replicas, by)| format!("{name} {replicas} by {by}")));
        assert_eq!(compare_again(store).await, 0, "the same days again");
    });
}

/// An HPA of a Deployment, as `kubectl` prints it.
fn hpa(name: &str, max: i64) -> Json {
    json!({"kind": "HorizontalPodAutoscaler", "metadata": {"namespace": "payments", "name": name},
        "spec": {"maxReplicas": max, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}})
}

/// An entry that made it.
fn hpa_created(name: &str, max: i64) -> Sample {
    let object = json!({"@type": "autoscaling.k8s.io/v2.HorizontalPodAutoscaler", "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2", "metadata": {"name": name, "namespace": "payments", "uid": format!("hpa-{name}"),
            "resourceVersion": "101", "creationTimestamp": "2026-09-05T08:00:00Z"},
        "spec": hpa(name, max)["spec"]});
    Sample::patch(&format!("hpa-{name}"), "2026-09-05T08:00:00Z", max)
        .set("/protoPayload/methodName", "io.k8s.autoscaling.v2.horizontalpodautoscalers.create")
        .set(
            "/protoPayload/resourceName",
            format!("autoscaling/v2/namespaces/payments/horizontalpodautoscalers/{name}"),
        )
        .set("/protoPayload/request", object.clone())
        .set("/protoPayload/response", object)
}

/// HPAs are held against the log as Deployments are: each thing once, and what is found is known from then on.
#[test]
fn how_high_hpas_may_scale_is_held_against_the_log() {
    on_every_store(async |store| {
        let names = ["as-told", "raised", "higher", "gone", "before", "told-over"];
        peds(store, &names.map(|name| (name, 4))).await;
        log(store, &names.map(|name| create(name, 2))).await;
        let told = [("as-told", 4), ("raised", 4), ("higher", 3), ("gone", 4), ("told-over", 9)];
        log(store, &told.map(|(name, max)| hpa_created(name, max))).await;
        let running = names.map(|name| runs(name, 2));
        let hpas = [("as-told", 4), ("raised", 9), ("higher", 4), ("before", 7), ("told-over", 9)]
            .map(|(name, max)| hpa(name, max));
        for at in ["2026-09-20T06:00:00Z", "2026-09-21T06:00:00Z"] {
            let objects = running.iter().flat_map(Runs::objects).chain(hpas.clone()).collect();
            snapshot_with(store, PROD, at, objects, &Namespaces::default()).await;
        }
        let expected = sorted(
            [
                "warning an HPA may scale payments/raised to 9, where 4 were known",
                "critical an HPA may scale payments/raised to 9, over its limit of 4, and no entry told it",
                "warning an HPA may scale payments/higher to 4, where 3 were known",
                "warning the HPA gone of payments/gone is gone, and the log does not tell that it was removed",
                "critical an HPA may scale payments/before to 7, over its limit of 4, and no entry told it",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        assert_eq!(compared_with(store, 100).await, expected);
        assert_eq!(compare_again(store).await, 0, "the same days again");
        // What an alert is told by outlives the names of the code.
        let alerts = crate::support::contents(store, &["alert_log"]).await.remove(0).1;
        for (rule, name) in [("drift", "higher"), ("missed_write", "gone")] {
            let is_it = |row: &&Json| row["alert_type"] == rule && row["deployment_name"] == name;
            let alert = alerts.iter().find(is_it).unwrap_or_else(|| panic!("{rule} {name}: {alerts:#?}"));
            let parts = [rule, "payments", name, &PROD.to_string(), "2026-09-20", "HorizontalPodAutoscaler", name];
            assert_eq!(alert["alert_id"], pedwatch::id::id(&parts), "{rule} {name}");
        }
        // What is over its limit is raised by the row that it taught, as where an entry shows it: once.
        let over: Vec<&Json> = alerts.iter().filter(|row| row["alert_type"] == "over_limit").collect();
        let taught: Vec<Json> = crate::support::contents(store, &["replica_events"]).await.remove(0).1;
        for alert in over.iter().filter(|alert| alert["deployment_name"] != "told-over") {
            assert!(taught.iter().any(|event| event["event_id"] == alert["event_id"]), "{alert}");
        }
        assert_eq!(over.len(), 3, "{over:#?}");
        let namespaces = std::collections::BTreeSet::from(["payments".to_owned()]);
        let since = Some(time("2026-09-01T00:00:00Z"));
        judge_again(store, &config().policy, &namespaces, since, now()).await.expect("judged");
        let again = crate::support::contents(store, &["alert_log"]).await.remove(0).1;
        assert_eq!(again.iter().filter(|row| row["alert_type"] == "over_limit").count(), 3, "{again:#?}");
        // It is known to every question.
        let stands = query::status(store, &query::About::ALL, now()).await.expect("readable");
        let stands: Vec<(String, Option<i64>)> =
            stands.into_iter().map(|one| (one.deployment_name, one.hpa_max_replicas)).collect();
        let known = [
            ("as-told", Some(4)),
            ("before", Some(7)),
            ("gone", None),
            ("higher", Some(4)),
            ("raised", Some(9)),
            ("told-over", Some(9)),
        ];
        assert_eq!(stands, known.map(|(name, max)| (name.to_owned(), max)));
    });
}

/// It ends at the one Deployment and begins at the other, in the log as in the cluster.
#[test]
fn an_hpa_that_turned_unseen_is_of_its_new_deployment_from_then_on() {
    on_every_store(async |store| {
        peds(store, &[("orders-api", 4), ("search-api", 4)]).await;
        log(store, &[create("orders-api", 2), create("search-api", 2), hpa_created("orders-api", 4)]).await;
        let mut turned = hpa("orders-api", 4);
        turned["spec"]["scaleTargetRef"]["name"] = json!("search-api");
        let running = [runs("orders-api", 2), runs("search-api", 2)];
        for at in ["2026-09-20T06:00:00Z", "2026-09-21T06:00:00Z"] {
            let objects = running.iter().flat_map(Runs::objects).chain([turned.clone()]).collect();
            snapshot_with(store, PROD, at, objects, &Namespaces::default()).await;
        }
        let told = "the HPA orders-api scales payments/search-api now, and the log does not tell that it was changed";
        assert_eq!(compared_with(store, 100).await, [format!("info {told}")]);
        let stands = query::status(store, &query::About::ALL, now()).await.expect("readable");
        let stands: Vec<_> = stands.iter().map(|one| (one.deployment_name.as_str(), one.hpa_max_replicas)).collect();
        assert_eq!(stands, [("orders-api", None), ("search-api", Some(4))]);
    });
}

/// How many alerts are raised when all days are compared again.
async fn compare_again(store: &dyn Store) -> usize {
    let config = config();
    let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
    let days = Some((time("2026-09-01T00:00:00Z").date_naive(), now().date_naive()));
    let again = compare_days(store, rules, days, None, now()).await.expect("compared");
    again.iter().map(|one| one.alerts.len()).sum()
}

/// A listing is of some instant about its time, by a clock that is not the log's: what is written about then is not missing,
/// whichever of both shows it.
#[test]
fn what_is_written_while_a_listing_begins_is_not_missing() {
    let store = Sqlite::in_memory().expect("memory");
    block_on(async {
        let store = &store;
        peds(store, &[("orders-api", 4), ("search-api", 4), ("carts-api", 4)]).await;
        log(store, &[create("orders-api", 2), create("search-api", 2), create("carts-api", 2)]).await;
        log(
            store,
            &[
                // Listed already.
                entry("behind", "orders-api", "2026-09-20T06:00:02Z", 3, 130, 2),
                // Not listed yet.
                entry("before", "search-api", "2026-09-20T05:59:58Z", 3, 131, 2),
                entry("far-behind", "carts-api", "2026-09-20T06:01:00Z", 3, 132, 2),
            ],
        )
        .await;
        let listed = |name, replicas| Runs { version: 130, generation: 2, ..runs(name, replicas) };
        let running = [listed("orders-api", 3), runs("search-api", 2), listed("carts-api", 3)];
        snapshot(store, "2026-09-20T06:00:00Z", &running).await;
        let drift = format!("warning payments/carts-api asks for 3 replicas, where 2 were known{HINT}");
        assert_eq!(compared(store).await, [drift]);
    });
}

/// Each object by itself: an HPA that drifted makes nothing of what is written to its Deployment about the listing's time.
#[test]
fn what_is_missing_of_an_hpa_hides_no_write_of_its_deployment() {
    let store = Sqlite::in_memory().expect("memory");
    block_on(async {
        let store = &store;
        peds(store, &[("orders-api", 4)]).await;
        log(store, &[create("orders-api", 2), hpa_created("orders-api", 3)]).await;
        log(store, &[entry("behind", "orders-api", "2026-09-20T06:00:02Z", 3, 130, 2)]).await;
        let running = Runs { version: 130, generation: 2, ..runs("orders-api", 3) };
        let objects = running.objects().into_iter().chain([hpa("orders-api", 4)]).collect();
        snapshot_with(store, PROD, "2026-09-20T06:00:00Z", objects, &Namespaces::default()).await;
        assert_eq!(compared(store).await, ["warning an HPA may scale payments/orders-api to 4, where 3 were known"]);
    });
}

#[test]
fn each_thing_is_found_once_by_the_first_snapshot_that_shows_it() {
    let store = Sqlite::in_memory().expect("memory");
    block_on(async {
        let store = &store;
        peds(store, &[("orders-api", 4), ("search-api", 4)]).await;
        log(store, &[create("orders-api", 2), create("search-api", 2)]).await;
        let piled_up = Runs { pods: 6, ..runs("search-api", 2) };
        let drifted = Runs { version: 130, generation: 2, ..runs("orders-api", 6) };
        let drift = |to: i64, from: i64| {
            format!("warning payments/orders-api asks for {to} replicas, where {from} were known{HINT}")
        };
        let over = |replicas: i64| {
            format!(
                "critical payments/orders-api asks for {replicas} replicas, over its limit of 4, and no entry told it"
            )
        };
        let pods = "info payments/search-api has 6 pods in two snapshots running, more than its limit of 4 and a rollout allow";
        let gone = "warning payments/orders-api is gone, and the log does not tell that it was removed";

        snapshot(store, "2026-09-20T06:00:00Z", &[drifted.clone(), piled_up.clone()]).await;
        assert_eq!(compared(store).await, [over(6), drift(6, 2)]);
        snapshot(store, "2026-09-21T06:00:00Z", &[drifted.clone(), piled_up.clone()]).await;
        assert_eq!(compared(store).await, [pods], "a rollout that hangs; what was told is not told again");
        let further = Runs { version: 140, generation: 3, ..runs("orders-api", 7) };
        snapshot(store, "2026-09-22T06:00:00Z", &[further, runs("search-api", 2)]).await;
        assert_eq!(compared(store).await, [drift(7, 6)], "that it is over its limit is told of the number that stood");
        snapshot(store, "2026-09-23T06:00:00Z", &[runs("search-api", 2)]).await;
        assert_eq!(compared(store).await, [gone]);
        snapshot(store, "2026-09-24T06:00:00Z", &[runs("search-api", 2)]).await;
        assert_eq!(compared(store).await, Vec::<String>::new());
        // What came late explains it, for who asks about the day again; what was raised stays.
        let before = standing(store).await;
        log(store, &[entry("late", "orders-api", "2026-09-19T08:00:00Z", 6, 130, 2)]).await;
        let config = config();
        let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
        let days = Some((time("2026-09-20T00:00:00Z").date_naive(), time("2026-09-20T00:00:00Z").date_naive()));
        let again = compare_days(store, rules, days, None, now()).await.expect("compared");
        assert!(again.iter().all(|one| one.alerts.is_empty()), "{again:?}");
        assert!(
            before.iter().all(|alert| [
                "drift",
                "missed_write",
                "over_limit",
                "running_over",
                "bypass",
                "unregistered"
            ]
            .contains(&alert.split(' ').next().unwrap_or_default())),
            "{before:?}"
        );
    });
}

#[test]
fn three_missed_writes_of_a_day_are_one_broken_sink() {
    let store = Sqlite::in_memory().expect("memory");
    block_on(async {
        let store = &store;
        let names = ["a", "b", "c", "d"];
        peds(store, &names.map(|name| (name, 4))).await;
        log(store, &names.map(|name| create(name, 2))).await;
        let after = |drifted: usize| {
            let one = |(at, name)| match at < drifted {
                true => Runs { version: 130, generation: 2, ..runs(name, 3) },
                false => runs(name, 2),
            };
            names.into_iter().enumerate().map(one).collect::<Vec<Runs>>()
        };
        let rules = |told: Vec<String>| {
            told.into_iter().map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        snapshot(store, "2026-09-20T06:00:00Z", &after(2)).await;
        assert_eq!(rules(compared(store).await), ["payments/a", "payments/b"], "two are two");
        snapshot(store, "2026-09-20T12:00:00Z", &after(3)).await;
        let expected = "critical the sink of prod-1 is broken: the log does not tell what was written to 3 Deployments \
                        (payments/a, payments/b, payments/c)";
        assert_eq!(compared(store).await, [expected]);
        snapshot(store, "2026-09-20T18:00:00Z", &after(4)).await;
        assert_eq!(compared(store).await, Vec::<String>::new(), "it is known that day");
        snapshot(store, "2026-09-21T18:00:00Z", &after(4)).await;
        assert_eq!(compared(store).await, Vec::<String>::new());
        // Compared again, whole: the same rows.
        let before = query::dump(store, "alert_log").await.expect("readable");
        let config = config();
        let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
        let days = Some((time("2026-09-01T00:00:00Z").date_naive(), now().date_naive()));
        compare_days(store, rules, days, None, now() + Duration::hours(1)).await.expect("compared");
        assert_eq!(query::dump(store, "alert_log").await.expect("readable"), before);
    });
}

/// Absence means something only where somebody looked, a cluster is not another of its name, and what is out of scope or
/// has not settled is left alone.
#[test]
fn what_nobody_looked_for_is_not_missing() {
    let store = Sqlite::in_memory().expect("memory");
    block_on(async {
        let store = &store;
        peds(store, &[("orders-api", 4)]).await;
        let kube = create("kube-dns", 2)
            .set("/protoPayload/resourceName", "apps/v1/namespaces/kube-system/deployments/kube-dns")
            .set("/protoPayload/response/metadata/namespace", "kube-system");
        log(store, &[create("orders-api", 2), kube]).await;
        let elsewhere = Cluster { location: "us-east1", ..PROD };
        let others = Namespaces::new(&["discovery*".to_owned()]);
        snapshot_of(store, PROD, "2026-09-20T06:00:00Z", &[], &others).await;
        snapshot_of(store, elsewhere, "2026-09-20T07:00:00Z", &[], &Namespaces::default()).await;
        assert_eq!(compared(store).await, Vec::<String>::new());
        snapshot(store, "2026-09-29T11:50:00Z", &[]).await;
        assert_eq!(compared(store).await, Vec::<String>::new(), "it has not settled");
        snapshot(store, "2026-09-29T11:40:00Z", &[]).await;
        let gone = "warning payments/orders-api is gone, and the log does not tell that it was removed";
        assert_eq!(compared(store).await, [gone]);
    });
}

#[test]
fn a_number_that_two_set_in_turn_is_contested_once_a_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let mut entries = String::new();
    for (number, actor) in ["alice", "argocd", "alice", "argocd", "alice", "bob", "bob"].into_iter().enumerate() {
        let hour = 6 + number;
        let sample =
            Sample::patch(&format!("turn-{number}"), &format!("2026-09-20T{hour:02}:00:00Z"), 2 + number as i64 % 2)
                .version(100 + number as i64, 1 + number as i64)
                .actor(&format!("{actor}@example.com"));
        entries.push_str(&format!("{}\n", sample.entry));
    }
    let replayed = run(command().args(["replay", "-", &store]), entries.as_bytes());
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    for round in ["first", "again"] {
        let daily =
            run(command().args(["daily", "--from=2026-09-20", "--to=2026-09-20", "--format=json", &store]), b"");
        assert!(daily.status.success(), "{}", stderr(&daily));
        let alerts = run(command().args(["alerts", "--format=ndjson", "--since=2026-09-20", &store]), b"");
        let alerts: Vec<Json> = stdout(&alerts).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let contested: Vec<&Json> = alerts.iter().filter(|alert| alert["alert_type"] == "contested").collect();
        let [contested] = contested.as_slice() else { panic!("{round}: {contested:?}") };
        let expected = "payments/orders-api: argocd@example.com and alice@example.com set its number in turn, 4 times";
        assert_eq!(contested["message"], expected, "{round}; the first change shows no number before it");
    }
}
