//! What every store has to do, and that both do the same.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use futures::future::join_all;
use pedwatch::audit::{ActorKind, ObjectKind, ObjectState, Operation, Outcome};
use pedwatch::ped::Clusters;
use pedwatch::pipeline::append;
use pedwatch::policy::{AlertType, Route, Severity};
use pedwatch::store::bigquery::BigQuery;
use pedwatch::store::query::{self, Counts, Query, WantedAlerts};
use pedwatch::store::reach::Reach;
use pedwatch::store::row::{AlertLog, Quarantine, QuarantineKind, Record, ReplicaEvent};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::proxy::{Fault, Proxy};
use crate::servers::{Dataset, bigquery_at};
use crate::support::{
    FACTS, PEDS_FROM, Sample, VIEWS, all_entries, block_on, fixtures, handle, in_quarantine, on_every_store, ped,
    pipeline, record, register, register_fixtures, time,
};

const NOW: &str = "2026-10-01T00:00:00Z";

fn event(id: &str) -> ReplicaEvent {
    ReplicaEvent {
        event_id: id.to_owned(),
        write_id: Some(id.to_owned()),
        event_time: time("2026-09-04T20:41:03.889214Z"),
        received_time: None,
        ingested_at: time(NOW),
        project_id: Some("acme-prod".to_owned()),
        location: None,
        cluster_name: "prod-1".to_owned(),
        namespace: "payments".to_owned(),
        deployment_name: Some("orders-api".to_owned()),
        object_kind: ObjectKind::Deployment,
        object_name: Some("orders-api".to_owned()),
        object_uid: Some(format!("uid-{id}")),
        born_at: None,
        resource_version: Some(1),
        object_version: Some("1".to_owned()),
        generation: None,
        touched: Some(true),
        operation: Operation::Patch,
        outcome: Some(Outcome::Stored),
        object_state: Some(ObjectState::Live),
        method_name: "io.k8s.apps.v1.deployments.patch".to_owned(),
        replicas: Some(3),
        min_replicas: None,
        effective: None,
        replicas_source: Some("response".to_owned()),
        actor: "alice@example.com".to_owned(),
        on_behalf_of: None,
        actor_kind: ActorKind::User,
        route: Route::Bypass,
        user_agent: None,
        caller_ip: None,
        in_scope: Some(true),
        outside_range: Some(false),
        insert_id: id.to_owned(),
        log_name: "log".to_owned(),
    }
}

fn records(events: impl IntoIterator<Item = ReplicaEvent>) -> Vec<Record> {
    events.into_iter().map(|event| Record::Event(Box::new(event))).collect()
}

async fn append_all(store: &dyn Store, records: Vec<Record>) -> Vec<Appended> {
    store.append(records.into()).await.expect("appended")
}

/// All rows of tables and views, every column of them, sorted.
async fn everything(store: &dyn Store) -> Vec<(String, Vec<Json>)> {
    let mut everything = Vec::new();
    for table in [&FACTS[..], &["alert_log", "deployment_config"], &VIEWS[..]].concat() {
        let mut rows = query::dump(store, table).await.expect("readable");
        let values = rows.iter_mut().filter_map(Json::as_object_mut).flat_map(|row| row.values_mut());
        values.for_each(crate::support::as_number);
        rows.sort_by_key(Json::to_string);
        everything.push((table.to_owned(), rows));
    }
    everything
}

/// The fixtures, the malformed ones and the demo month, backwards and some of them twice.
#[test]
fn the_same_inputs_leave_equal_tables_and_views_on_both() {
    block_on(async {
        let mut entries = all_entries();
        entries.reverse();
        entries.extend(fixtures("audit").into_iter().map(|(_, entry)| entry));
        let mut outcomes = Vec::new();
        let stores: [Box<dyn Store>; 2] =
            [Box::new(Sqlite::in_memory().expect("memory")), Box::new(Dataset::new().await.store)];
        for store in &stores {
            register_fixtures(&**store).await;
            let pipeline = pipeline(&**store).await;
            for (number, chunk) in entries.chunks(entries.len() / 3).enumerate() {
                let now = time(NOW) + Duration::seconds(number.try_into().expect("small"));
                handle(&**store, &pipeline, chunk, now).await;
            }
            outcomes.push(everything(&**store).await);
        }
        let [sqlite, bigquery] = outcomes.try_into().expect("two stores");
        for (left, right) in sqlite.into_iter().zip(bigquery) {
            assert!(!left.1.is_empty(), "{} is empty", left.0);
            assert_eq!(left, right, "{}", left.0);
        }
    });
}

#[test]
fn appending_again_changes_nothing() {
    on_every_store(async |store| {
        let rows = records([event("a"), event("b")]);
        assert_eq!(append_all(store, rows.clone()).await, [Appended::Stored, Appended::Stored]);
        let tables = [&FACTS[..], &["replica_changes", "alerts"]].concat();
        let before = crate::support::contents(store, &tables).await;
        let again = [rows[1].clone(), rows[0].clone(), rows[1].clone()].to_vec();
        assert_eq!(append_all(store, again).await.len(), 3);
        assert_eq!(crate::support::contents(store, &tables).await, before);
    });
}

#[test]
fn a_run_counts_what_it_was_the_first_to_record() {
    on_every_store(async |store| {
        let alert = AlertLog {
            alert_id: "x".to_owned(),
            alert_time: time(NOW),
            alert_type: AlertType::Unregistered,
            severity: Severity::Warning,
            message: "m".to_owned(),
            project_id: Some("acme-prod".to_owned()),
            location: None,
            cluster_name: "prod-1".to_owned(),
            namespace: "payments".to_owned(),
            deployment_name: Some("orders-api".to_owned()),
            event_id: Some("a".to_owned()),
            replicas: Some(3),
            limit_max_replicas: None,
            limit_initial_max_replicas: None,
            limit_id: None,
            actor: None,
            on_behalf_of: None,
            route: None,
            ingested_at: time(NOW),
        };
        append_all(store, [records([event("a"), event("b")]), vec![Record::Alert(Box::new(alert))]].concat()).await;
        let later = time(NOW) + Duration::seconds(1);
        append_all(store, records([event("a"), event("c")].map(|event| ReplicaEvent { ingested_at: later, ..event })))
            .await;
        let first = Counts {
            events: 2,
            writes: 2,
            out_of_scope: 0,
            alerts: [("unregistered".to_owned(), 1)].into(),
            quarantined: 0,
        };
        assert_eq!(query::counts(store, time(NOW), &Reach::default()).await.expect("counted"), first);
        assert_eq!(
            query::counts(store, later, &Reach::default()).await.expect("counted"),
            Counts { events: 1, writes: 1, ..Counts::default() }
        );
        assert_eq!(
            query::counts(store, time("2026-10-02T00:00:00Z"), &Reach::default()).await.expect("counted"),
            Counts::default()
        );
    });
}

#[test]
fn the_same_alerts_are_found_on_both() {
    on_every_store(async |store| {
        // Limits: 3 and 4; the second is within its own, and past the pipeline.
        let over = Sample::patch("over", "2026-09-04T20:41:03Z", 6);
        let within = Sample::patch("within", "2026-09-06T08:00:00Z", 4)
            .uid("uid-2")
            .set("/protoPayload/response/metadata/name", "invoices-api")
            .set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments/invoices-api");
        let elsewhere = Sample::patch("elsewhere", "2026-09-08T08:00:00Z", 6)
            .uid("uid-3")
            .set("/resource/labels/cluster_name", "prod-2");
        register(store, &ped("payments", "invoices-api", None, 4), PEDS_FROM).await;
        record(store, &[over, within, elsewhere]).await;
        let found = async |wanted: WantedAlerts, at_most: usize| -> Vec<String> {
            let alerts = query::alerts(store, &wanted, at_most).await.expect("readable");
            alerts.iter().map(|alert| format!("{} {}", alert.alert_type, alert.alert_time.format("%d"))).collect()
        };
        let all = ["over_limit 04", "bypass 06", "over_limit 08"];
        let wanted = WantedAlerts::default;
        assert_eq!(found(wanted(), usize::MAX).await, all);
        assert_eq!(found(wanted(), 2).await, all[1..], "the latest, in order of time");
        for (wanted, expected) in [
            (WantedAlerts { namespace: Some("payments".into()), ..wanted() }, &all[..]),
            (WantedAlerts { namespace: Some("payment".into()), ..wanted() }, &[]),
            (WantedAlerts { deployment: Some("invoices-api".into()), ..wanted() }, &all[1..2]),
            (WantedAlerts { clusters: Clusters::Named("prod-2".into()), ..wanted() }, &all[2..]),
            (
                WantedAlerts {
                    severity: Some(Severity::Critical),
                    until: Some(time("2026-09-08T08:00:00Z")),
                    ..wanted()
                },
                &all[..1],
            ),
            (WantedAlerts { since: Some(time("2026-09-06T08:00:00Z")), ..wanted() }, &all[1..]),
            (WantedAlerts { since: Some(time("2026-09-06T08:00:00.000001Z")), all: true, ..wanted() }, &all[2..]),
        ] {
            assert_eq!(found(wanted.clone(), usize::MAX).await, expected, "{wanted:?}");
        }
    });
}

#[test]
fn text_and_extremes_come_back_as_they_were() {
    let texts = [
        "",
        " ",
        "日本語 — 🚀",
        "a\"b\\c'd`e",
        "line\nline\ttab\r\n",
        "{\"json\": [null]}",
        "@run ${dataset} %s ?",
        "null",
    ];
    on_every_store(async |store| {
        let odd = texts.iter().enumerate().map(|(number, text)| ReplicaEvent {
            user_agent: Some((*text).to_owned()),
            resource_version: Some(i64::MAX),
            generation: Some(i64::MIN),
            replicas: Some(i64::from(i32::MAX)),
            event_time: [time("1970-01-01T00:00:00Z"), time("9999-12-31T23:59:59.999999Z")][number % 2],
            ..event(&format!("{number}"))
        });
        append_all(store, records(odd)).await;
        let raw = Quarantine {
            quarantine_id: "q".to_owned(),
            quarantined_at: time(NOW),
            message_id: None,
            publish_time: None,
            reason: "not_json".to_owned(),
            detail: "détail".to_owned(),
            kind: Some(QuarantineKind::Message),
            raw: "\"\\x".repeat(700_000),
            source: Some("file:1".to_owned()),
        };
        assert_eq!(append_all(store, vec![Record::Quarantine(raw.clone())]).await, [Appended::Stored]);
        let mut rows = query::dump(store, "replica_events").await.expect("readable");
        rows.sort_by_key(|row| row["event_id"].to_string());
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(row["user_agent"], json!(texts[number]));
            let time = ["1970-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"][number % 2];
            let numbers = json!([i64::MAX, i64::MIN, i32::MAX, time]);
            assert_eq!(
                json!([row["resource_version"], row["generation"], row["replicas"], row["event_time"]]),
                numbers
            );
        }
        assert_eq!(rows.len(), texts.len());
        let recorded = query::Recorded { run: time(NOW), out_of_scope: false, reach: &Reach::default() };
        let report = query::report(store, recorded, 10).await.expect("readable");
        assert_eq!(report.quarantined.len(), 1);
        assert_eq!(in_quarantine(store).await, [raw]);
    });
}

/// A quarantine row has to get through BigQuery's 10 MB for one, whatever the input was.
#[test]
fn a_long_input_is_quarantined_by_its_beginning() {
    let text = vec![b'"'; 6 << 20];
    let control = vec![1; 6 << 20];
    on_every_store(async |store| {
        let tally = handle(store, &pipeline(store).await, &[&text, &control], time(NOW)).await;
        assert!(tally.span.is_none());
        let quarantined = in_quarantine(store).await;
        let mut raws: Vec<&str> = quarantined.iter().map(|row| row.raw.as_str()).collect();
        raws.sort_unstable();
        assert!(raws.iter().all(|raw| raw.len() < 5 << 20 && raw.ends_with('…')), "{:?}", raws.len());
        assert!(raws[0].starts_with("\"\"") && raws[1].starts_with("base64:AQEB"));
    });
}

#[test]
fn a_large_batch_is_written_whole() {
    on_every_store(async |store| {
        let rows = records((0..1_700).map(|number| event(&format!("{number:04}"))));
        let outcomes = append_all(store, rows).await;
        assert!(outcomes.len() == 1_700 && outcomes.iter().all(|outcome| *outcome == Appended::Stored));
        assert_eq!(query::counts(store, time(NOW), &Reach::default()).await.expect("counted").events, 1_700);
        assert_read_in_pages(store).await;
    });
}

/// What is read in pages is what is read at once; and who has seen enough may go.
async fn assert_read_in_pages(store: &dyn Store) {
    let query = Query::new("SELECT event_id FROM ${dataset}.replica_events ORDER BY event_id", Vec::new());
    let (sender, mut receiver) = mpsc::channel::<query::Rows>(1);
    let take = async {
        let mut pages = Vec::new();
        while let Some(page) = receiver.recv().await {
            pages.push(page.rows);
        }
        pages
    };
    let (fetched, pages) = tokio::join!(store.fetch_pages(&query, 1_000, sender), take);
    fetched.expect("readable");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 700]);
    assert_eq!(pages.concat(), store.fetch(&query).await.expect("readable").rows);
    let (sender, mut receiver) = mpsc::channel(1);
    let first = async move { receiver.recv().await.map(|page: query::Rows| page.rows.len()) };
    let (fetched, first) = tokio::join!(store.fetch_pages(&query, 1_000, sender), first);
    assert_eq!((fetched.expect("readable"), first), ((), Some(1_000)));
}

/// What is refused is kept with the reason, and its neighbours are written.
async fn assert_one_refused(store: &dyn Store, refused: ReplicaEvent, reason: &str) {
    let now = time(NOW);
    let rows = records([event("a"), refused, event("b")]);
    append(store, rows, now, now).await.expect("appended");
    assert_eq!(query::dump(store, "replica_events").await.expect("readable").len(), 2);
    let quarantined = in_quarantine(store).await;
    let [row] = quarantined.as_slice() else { panic!("{quarantined:?}") };
    assert!(row.reason == "refused_row" && row.detail.contains(reason), "{row:?}");
    let raw: Json = serde_json::from_str(&row.raw).expect("JSON");
    assert_eq!(json!([raw["table"], raw["row"]["event_id"]]), json!(["replica_events", "refused"]));
}

#[test]
fn a_row_that_sqlite_refuses_goes_to_quarantine() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("facts.db");
    let store = Sqlite::open(&path).expect("a store");
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON replica_events WHEN NEW.event_id = 'refused' \
                   BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    rusqlite::Connection::open(&path).and_then(|connection| connection.execute_batch(trigger)).expect("a trigger");
    block_on(assert_one_refused(&store, event("refused"), "not this one"));
}

#[test]
fn a_row_that_bigquery_refuses_goes_to_quarantine() {
    block_on(async {
        let store = Dataset::new().await.store;
        // A dataset of an older version: rows that have no value for the new column still fit.
        let older = Query::new("ALTER TABLE ${dataset}.replica_events DROP COLUMN user_agent", Vec::new());
        store.fetch(&older).await.expect("dropped");
        assert_one_refused(
            &store,
            ReplicaEvent { user_agent: Some("kubectl".to_owned()), ..event("refused") },
            "user_agent",
        )
        .await;
    });
}

/// BigQuery answers 400 to a request that it cannot read, without saying which row is to blame.
#[test]
fn a_request_that_is_refused_whole_is_halved_until_the_row_is_found() {
    use Fault::{Invalid, Pass};
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        // All three, the first alone, the other two, and each of them.
        let proxy = Proxy::new(server, "replica_events/insertAll", &[Invalid, Pass, Invalid, Invalid, Pass]);
        let store = BigQuery::open(name, &bigquery_at(proxy.address)).await.expect("a client");
        assert_one_refused(&store, event("refused"), "400").await;
        assert_eq!(proxy.left(), 0);
    });
}

/// The order of arrival must not show; SQLite has its own law with many more cases.
#[test]
fn any_order_gives_the_same_views_on_bigquery_too() {
    block_on(async {
        let mut outcomes = Vec::new();
        let stores: [(usize, Box<dyn Store>); 2] =
            [(0, Box::new(Sqlite::in_memory().expect("memory"))), (37, Box::new(Dataset::new().await.store))];
        for (rotate, store) in &stores {
            register_fixtures(&**store).await;
            let pipeline = pipeline(&**store).await;
            let mut entries = all_entries();
            entries.rotate_left(*rotate);
            handle(&**store, &pipeline, &entries, DateTime::<Utc>::UNIX_EPOCH).await;
            outcomes.push(crate::support::contents(&**store, &[&FACTS[..], &VIEWS[..]].concat()).await);
        }
        assert_eq!(outcomes[0], outcomes[1]);
    });
}

#[test]
fn a_batcher_answers_every_caller_for_its_own_rows() {
    use pedwatch::store::batch::{Batcher, Batching};
    use pedwatch::telemetry::metrics::Metrics;
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let batching = Batching { rows: 7, ..Batching::default() };
        let batcher = Batcher::new(Arc::clone(&store), batching, Metrics::default());
        let submit =
            |caller: usize| batcher.append(records((0..caller).map(move |row| event(&format!("{caller}-{row}")))));
        for (caller, answer) in join_all((0..40).map(submit)).await.into_iter().enumerate() {
            assert_eq!(answer.expect("appended").len(), caller);
        }
        assert_eq!(
            query::counts(&*store, time(NOW), &Reach::default()).await.expect("counted").events,
            (0..40).sum::<u64>()
        );
    });
}
