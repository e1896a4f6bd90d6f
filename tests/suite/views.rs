//! What the views derive, whatever order the rows came in.

use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::Pipeline;
use pedwatch::policy::{Policy, Scope};
use pedwatch::store::Store;
use pedwatch::store::sqlite::Sqlite;
use serde_json::json;

use crate::support::{Sample, block_on, config, handle, on_every_store, ped, pipeline, record, register, rows};

const CHANGES: [&str; 4] = ["event_time", "previous_replicas", "replicas", "missed_writes"];

fn at(minute: u32) -> String {
    format!("2026-09-04T20:{minute:02}:00.000000Z")
}

fn patch(minute: u32, replicas: i64, resource_version: i64, generation: i64) -> Sample {
    Sample::patch(&format!("i{minute}"), &at(minute), replicas).version(resource_version, generation)
}

/// Asserts what `replica_changes` says, for the samples in this order and in the reverse.
fn assert_changes(samples: &[Sample], expected: &[(u32, Option<i64>, Option<i64>, i64)]) {
    let expected: Vec<_> =
        expected.iter().map(|&(minute, from, to, missed)| json!([at(minute), from, to, missed])).collect();
    let mut reverse = samples.to_vec();
    reverse.reverse();
    let check = async |store: &dyn Store, order: &[Sample]| {
        record(store, order).await;
        assert_eq!(rows(store, "replica_changes", &CHANGES).await, expected);
    };
    block_on(async { check(&Sqlite::in_memory().expect("memory"), samples).await });
    on_every_store(async |store| check(store, &reverse).await);
}

#[test]
fn a_change_knows_the_value_before_it() {
    let samples = [patch(1, 3, 100, 1), patch(2, 5, 200, 2), patch(3, 2, 300, 3)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), Some(5), 0), (3, Some(5), Some(2), 0)]);
}

#[test]
fn what_changed_nothing_drops_out() {
    // A re-apply that only moved the resourceVersion, and a no-op that did not even do that.
    let samples = [patch(1, 3, 100, 1), patch(2, 3, 200, 1), patch(3, 3, 200, 1), patch(4, 4, 300, 2)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (4, Some(3), Some(4), 0)]);
}

#[test]
fn the_resource_version_orders_writes_and_as_a_number() {
    // The clock of the second call is behind, and "99" would sort behind "1000" as text.
    let samples = [patch(1, 3, 99, 1), patch(3, 5, 1000, 2), patch(2, 4, 1001, 3)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(5), Some(4), 0), (3, Some(3), Some(5), 0)]);
}

#[test]
fn a_skipped_generation_is_a_missed_write() {
    let samples = [patch(1, 3, 100, 1), patch(2, 6, 400, 4)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), Some(6), 2)]);
    // Even where the number came back to what it was.
    let samples = [patch(1, 3, 100, 1), patch(2, 3, 400, 3)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), Some(3), 1)]);
}

#[test]
fn a_scale_has_no_generation_and_is_not_missed() {
    let samples = [patch(1, 3, 100, 1), patch(2, 5, 200, 0).scale(), patch(3, 6, 300, 3)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), Some(5), 0), (3, Some(5), Some(6), 0)]);
    // One scale explains one generation, not two.
    let samples = [patch(1, 3, 100, 1), patch(2, 5, 200, 0).scale(), patch(3, 6, 300, 4)];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), Some(5), 0), (3, Some(5), Some(6), 1)]);
}

#[test]
fn a_created_again_object_has_a_history_of_its_own() {
    let samples = [patch(1, 3, 100, 1), patch(2, 3, 100, 1).delete(), patch(3, 2, 900, 1).uid("uid-2")];
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), None, 0), (3, None, Some(2), 0)]);
    on_every_store(async |store| {
        record(store, &samples[..2]).await;
        assert!(rows(store, "current_replicas", &["replicas"]).await.is_empty());
        record(store, &samples).await;
        let current = rows(store, "current_replicas", &["object_uid", "replicas"]).await;
        assert_eq!(current, [json!(["uid-2", 2])]);
    });
}

#[test]
fn a_write_without_bodies_is_recorded_as_unknown() {
    let mut truncated = patch(2, 9, 200, 2);
    for body in ["request", "response"] {
        truncated.entry["protoPayload"].as_object_mut().expect("a payload").remove(body);
    }
    let samples = [patch(1, 3, 100, 1), truncated, patch(3, 3, 300, 2)];
    // What came after is compared with what is known of it: nothing.
    assert_changes(&samples, &[(1, None, Some(3), 0), (2, Some(3), None, 0), (3, None, Some(3), 0)]);
}

#[test]
fn the_highest_value_in_force_on_each_day_includes_days_without_a_write() {
    let write = |id: &str, time: &str, replicas, version| Sample::patch(id, time, replicas).version(version, version);
    let samples = [
        write("a", "2026-09-04T10:00:00Z", 3, 1),
        write("b", "2026-09-04T11:00:00Z", 7, 2),
        write("c", "2026-09-06T12:00:00Z", 2, 3),
        write("d", "2026-09-08T00:00:00Z", 2, 3).delete(),
    ];
    on_every_store(async |store| {
        record(store, &samples).await;
        let daily = rows(store, "daily_max_replicas", &["date", "max_replicas"]).await;
        // It ended with the seventh: what ends at midnight has nothing of the day that begins.
        let expected = [("2026-09-04", 7), ("2026-09-05", 7), ("2026-09-06", 7), ("2026-09-07", 2)];
        assert_eq!(daily, expected.map(|(date, max)| json!([date, max])));
        let usage = rows(store, "user_pod_usage", &["user_id", "date", "max_pods"]).await;
        assert_eq!(usage[0], json!(["team-payments", "2026-09-04", 7]));
        assert_eq!(usage.len(), daily.len());
    });
}

#[test]
fn limits_are_those_of_the_event_s_own_time_and_cluster() {
    on_every_store(async |store| {
        record(store, &[]).await;
        register(store, &ped("payments", "orders-api", None, 6), "2026-09-04T20:10:00Z").await;
        register(store, &ped("payments", "orders-api", Some("prod-2"), 8), "2026-09-04T20:05:00Z").await;
        let prod_2 = |minute| {
            Sample::patch(&format!("p{minute}"), &at(minute), 5)
                .set("/resource/labels/cluster_name", "prod-2")
                .uid("p2")
        };
        let samples = [
            Sample::patch("before", "2026-08-31T23:59:59.999999Z", 5),
            Sample::patch("first", "2026-09-04T20:09:59.999999Z", 5),
            Sample::patch("second", "2026-09-04T20:10:00.000000Z", 5),
            prod_2(4),
            prod_2(6),
        ];
        let entries: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
        handle(store, &pipeline(store).await, &entries, chrono::Utc::now()).await;
        let judged =
            rows(store, "judged_events", &["insert_id", "limit_max_replicas", "limit_initial_max_replicas", "verdict"])
                .await;
        let expected = [
            json!(["before", null, null, "unregistered"]),
            json!(["p4", 3, 3, "over_limit"]),
            json!(["p6", 8, 8, "within"]),
            json!(["first", 3, 3, "over_limit"]),
            json!(["second", 6, 3, "within"]),
        ];
        assert_eq!(judged, expected);
        let current = rows(store, "current_limits", &["cluster_name", "max_replicas", "initial_max_replicas"]).await;
        assert_eq!(current.len(), 2);
        let users = rows(store, "user_replicas_limits", &["user_id", "max_replicas"]).await;
        assert_eq!(users, [json!(["team-payments", 14])]);
    });
}

#[test]
fn what_falls_out_of_scope_ends_the_number_before_it() {
    let write = |id: &str, time: &str, replicas, version| Sample::patch(id, time, replicas).version(version, version);
    on_every_store(async |store| {
        record(store, &[write("a", "2026-09-04T10:00:00Z", 3, 1)]).await;
        let policy = Policy { scope: Scope::new(&[], &["payments".to_owned()], &[]), ..config().policy };
        let without = Pipeline::new(policy, Limits::new(store.claims(None).await.expect("readable")));
        let behind = [write("b", "2026-09-05T10:00:00Z", 2, 2).bytes()];
        handle(store, &without, &behind, chrono::Utc::now()).await;
        let daily = rows(store, "daily_max_replicas", &["date", "max_replicas"]).await;
        assert_eq!(daily, [json!(["2026-09-04", 3]), json!(["2026-09-05", 3])]);
        // A lower limit finds no number of 3 that would still stand.
        register(store, &ped("payments", "orders-api", None, 2), "2026-09-06T00:00:00Z").await;
        let alerts = rows(store, "alerts", &["alert_type"]).await;
        assert!(!alerts.contains(&json!(["over_limit"])), "{alerts:?}");
    });
}
