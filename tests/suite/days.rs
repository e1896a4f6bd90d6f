//! Closed days: what is stored of them never changes an answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use pedwatch::job::daily::{close, close_day, due, have_looked, look_since};
use pedwatch::policy::Verdict;
use pedwatch::store::query::{About, Query, Rows, days};
use pedwatch::store::reach::Reach;
use pedwatch::store::row::{ClosedChange, Quarantine, QuarantineHead, Record, Standing};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError, query};
use serde_json::{Value as Json, json};

mod cli;
mod history;
mod laws;

use crate::cases::cases;
use crate::support::{Sample, block_on, contents, handle, on_every_store, ped, register, register_at, rows, time};

/// The changes as they are told, whatever they were computed from.
async fn told(store: &dyn Store, reach: &Reach) -> Vec<String> {
    let changes = days::changes(store, reach).await.expect("readable");
    let told = |change: ClosedChange| {
        let change = ClosedChange {
            change_id: String::new(),
            closing: String::new(),
            position: 0,
            ingested_at: DateTime::UNIX_EPOCH,
            ..change
        };
        format!("{change:?}")
    };
    let mut told: Vec<String> = changes.into_iter().map(told).collect();
    told.sort();
    told
}

fn first_time() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn event_time(entry: &[u8]) -> DateTime<Utc> {
    let entry: Json = serde_json::from_slice(entry).unwrap_or_default();
    let text = entry["timestamp"].as_str().or(entry["receiveTimestamp"].as_str());
    text.map_or_else(first_time, time)
}

/// The whole answer, and the one out of what is closed.
async fn both(store: &dyn Store) -> (Vec<String>, Vec<String>) {
    let whole = told(store, &Reach::default()).await;
    let closings = days::closings(store).await.expect("readable");
    let far = DateTime::<Utc>::MAX_UTC;
    let reach = closings.reach(far, &BTreeSet::new()).with_changes_of(first_time(), time("2200-01-01T00:00:00Z"));
    (whole, told(store, &reach).await)
}

fn assert_same(name: &str, (whole, closed): &(Vec<String>, Vec<String>)) {
    for one in whole {
        assert!(closed.contains(one), "{name}: lacks {one}\nhas {closed:#?}");
    }
    for one in closed {
        assert!(whole.contains(one), "{name}: too much: {one}\nexpected {whole:#?}");
    }
    assert_eq!(whole.len(), closed.len(), "{name}");
}

/// Closes behind each write of some cases, whatever kind of conclusion they are about, and once within the others.
#[test]
fn a_case_that_is_closed_in_between_tells_the_same() {
    for (number, case) in cases().into_iter().enumerate() {
        let mut entries = case.entries.clone();
        entries.sort_by_key(|entry| event_time(entry));
        let closes = |at: usize| number % 8 == 0 || at == entries.len() / 2;
        block_on(async {
            let store = Sqlite::in_memory().expect("memory");
            let pipeline = crate::support::pipeline(&store).await;
            let mut now = time("2027-01-01T00:00:00Z");
            for (at, entry) in entries.iter().enumerate() {
                now += Duration::days(1);
                handle(&store, &pipeline, &[entry], now).await;
                if closes(at) {
                    let through = event_time(entry) + Duration::microseconds(1);
                    close(&store, through, now + Duration::hours(2)).await.expect("closed");
                }
            }
            assert_same(&case.name, &both(&store).await);
        });
    }
}

/// A write of a Deployment of its own story: generation and version follow the number, with room for another between.
fn write(number: i64, hours: i64, replicas: i64) -> Sample {
    let at = time("2026-09-01T00:00:00Z") + Duration::hours(hours);
    let id = format!("w{number}");
    Sample::patch(&id, &pedwatch::id::time(at), replicas).version(1_000 + number * 10, number * 2)
}

fn on_sqlite(test: impl AsyncFn(&dyn Store)) {
    block_on(async { test(&Sqlite::in_memory().expect("memory")).await });
}

/// The tests' server takes seconds for each question.
#[test]
fn days_are_closed_on_every_store() {
    on_every_store(async |store| {
        month(store, 2).await;
        assert_same("two days", &both(store).await);
        let standing = status_at(store, "2026-09-02T09:00:00Z").await;
        assert_eq!(standing.iter().map(|standing| standing.replicas).collect::<Vec<_>>(), [Some(1)]);
        let alerts = async |since: Option<DateTime<Utc>>| {
            let wanted = query::WantedAlerts { since, ..Default::default() };
            query::alerts(store, &wanted, usize::MAX).await.expect("readable")
        };
        let second_day = time("2026-09-02T00:00:00Z");
        let mut since = alerts(None).await;
        since.retain(|alert| alert.alert_time >= second_day);
        assert!(!since.is_empty());
        assert_eq!(alerts(Some(second_day)).await, since);
        // Late, on the first of two closed days; the reference never closed one.
        let late = Sample::patch("late", "2026-09-01T18:00:00.000000Z", 7).version(1_015, 3);
        let pipeline = crate::support::pipeline(store).await;
        handle(store, &pipeline, &[late.bytes()], time("2026-09-03T01:00:00Z")).await;
        let open = Sqlite::in_memory().expect("memory");
        month_open(&open, 2).await;
        handle(&open, &crate::support::pipeline(&open).await, &[late.bytes()], time("2026-09-03T01:00:00Z")).await;
        assert_eq!(people_see(store).await, people_see(&open).await);
    });
}

/// The views that are read from closed days and what came behind them.
async fn people_see(store: &dyn Store) -> Vec<(String, Vec<Json>)> {
    let mut seen = contents(store, &["daily_max_replicas", "user_pod_usage", "current_replicas"]).await;
    // Which write has the number is known as it was when the day was closed; the verdict goes by it.
    let today = Utc::now().date_naive().to_string();
    for (_, rows) in &mut seen {
        // A test may run over midnight.
        rows.retain(|row| row["date"].as_str().is_none_or(|date| date < &*today));
    }
    seen
}

/// The writes of [`month`], and no day closed.
async fn month_open(store: &dyn Store, days: i64) {
    register(store, &ped("payments", "orders-api", None, 4), "2026-09-01T00:00:00Z").await;
    let pipeline = crate::support::pipeline(store).await;
    let entries: Vec<Vec<u8>> =
        (1..=days).map(|number| write(number, (number - 1) * 24 + 10, number).bytes()).collect();
    handle(store, &pipeline, &entries, time("2026-09-20T00:00:00Z")).await;
}

fn assert_seen(what: &str, found: &[(String, Vec<Json>)], expected: &[(String, Vec<Json>)]) {
    for ((view, found), (_, expected)) in found.iter().zip(expected) {
        let lacking: Vec<&Json> = expected.iter().filter(|row| !found.contains(row)).collect();
        let beyond: Vec<&Json> = found.iter().filter(|row| !expected.contains(row)).collect();
        assert!(lacking.is_empty() && beyond.is_empty(), "{what}, {view}: lacks {lacking:#?}, and has {beyond:#?}");
        assert_eq!(found.len(), expected.len(), "{what}, {view}");
    }
}

/// All cases in one store; of each, every second entry comes when its day is closed.
#[test]
fn people_see_the_same_whatever_is_closed() {
    let entries = || cases().into_iter().flat_map(|case| case.entries);
    let (early, late): (Vec<_>, Vec<_>) = entries().enumerate().partition(|(index, _)| index % 2 == 0);
    let [early, late] = [early, late].map(|entries| entries.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>());
    let close_all = async |store: &dyn Store, now: &str| {
        for day in [5, 7, 8] {
            close(store, time(&format!("2026-09-0{day}T00:00:00Z")), time(now)).await.expect("closed");
        }
    };
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        let pipeline = crate::support::pipeline(&store).await;
        handle(&store, &pipeline, &early, time("2026-10-01T00:00:00Z")).await;
        let open = people_see(&store).await;
        close_all(&store, "2026-10-01T02:00:00Z").await;
        assert_seen("closed", &people_see(&store).await, &open);

        let whole = Sqlite::in_memory().expect("memory");
        handle(&whole, &pipeline, &early, time("2026-10-01T00:00:00Z")).await;
        handle(&whole, &pipeline, &late, time("2026-10-02T00:00:00Z")).await;
        let whole = people_see(&whole).await;
        handle(&store, &pipeline, &late, time("2026-10-02T00:00:00Z")).await;
        assert_seen("late", &people_see(&store).await, &whole);
        close_all(&store, "2026-10-02T02:00:00Z").await;
        assert_seen("closed again", &people_see(&store).await, &whole);
    });
}

/// A number has its owner as of the day, and nothing of the day that begins when it ends.
#[test]
fn a_day_has_its_own_owner_and_ends_at_midnight() {
    on_sqlite(async |store| {
        let owned = |owner: &str, max| ped("payments", "orders-api", None, max).replace("team-payments", owner);
        register(store, &owned("team-old", 8), "2026-09-01T00:00:00Z").await;
        register(store, &owned("team-new", 8), "2026-09-03T00:00:00Z").await;
        let pipeline = crate::support::pipeline(store).await;
        // The last begins when the number before it has stood until midnight sharp.
        let entries = [write(1, 10, 4), write(2, 34, 7), write(3, 72, 2)].map(|sample| sample.bytes());
        let entry_of_next_year = Sample::patch("far", "2027-09-01T00:00:00.000000Z", 8).uid("another");
        handle(store, &pipeline, &entries, time("2026-09-04T00:20:00Z")).await;
        let usage = async || rows(store, "user_pod_usage", &["date", "user_id", "max_pods"]).await;
        let expected = [
            json!(["2026-09-01", "team-old", 4]),
            json!(["2026-09-02", "team-old", 7]),
            json!(["2026-09-03", "team-new", 7]),
            json!(["2026-09-04", "team-new", 2]),
        ];
        assert_eq!(usage().await[..4], expected);
        let open = people_see(store).await;
        for date in due(store, None, None, time("2026-09-04T02:00:00Z")).await.expect("readable") {
            close_day(store, date, time("2026-09-04T02:00:00Z")).await.expect("closed");
        }
        assert_seen("closed", &people_see(store).await, &open);
        let days = counted(store, "daily_max_replicas").await;
        let record = |sample: &Sample| sample.clone().set("/resource/labels/cluster_name", "prod-9").bytes();
        handle(store, &pipeline, &[record(&entry_of_next_year)], time("2026-09-04T03:00:00Z")).await;
        assert_eq!(counted(store, "daily_max_replicas").await, days, "a day of next year is none of these");
    });
}

/// For dashboards: what changed since yesterday, with what was before.
#[test]
fn recent_changes_are_those_since_yesterday() {
    on_every_store(async |store| {
        let now = Utc::now();
        let today = pedwatch::store::reach::day(now);
        register(store, &ped("payments", "orders-api", None, 4), "2026-09-01T00:00:00Z").await;
        let pipeline = crate::support::pipeline(store).await;
        let write = |number: i64, before: Duration| {
            Sample::patch(&format!("w{number}"), &pedwatch::id::time(today - before), number)
                .version(1_000 + number, number)
                .bytes()
        };
        let entries = [
            write(1, Duration::days(5)),
            write(2, Duration::hours(30)),
            write(3, Duration::hours(20)),
            write(4, Duration::zero()),
        ];
        handle(store, &pipeline, &entries, now).await;
        let seen = async || rows(store, "recent_changes", &["previous_replicas", "replicas"]).await;
        // The write before yesterday is read too.
        assert_eq!(seen().await, [json!([2, 3]), json!([3, 4])]);
        let yesterday = today - Duration::days(1);
        for through in [today - Duration::days(4), yesterday] {
            close(store, through, now + Duration::hours(2)).await.expect("closed");
        }
        assert_eq!(seen().await, [json!([2, 3]), json!([3, 4])]);
    });
}

async fn counted(store: &dyn Store, table: &str) -> usize {
    query::dump(store, table).await.expect("readable").len()
}

async fn status_at(store: &dyn Store, at: &str) -> Vec<Standing> {
    query::status(store, &About::ALL, time(at)).await.expect("readable")
}

/// Days with a number each, recorded when they happened, and closed in the nights.
async fn month(store: &dyn Store, days: i64) {
    register(store, &ped("payments", "orders-api", None, 4), "2026-09-01T00:00:00Z").await;
    for number in 1..=days {
        let now = time("2026-09-01T00:30:00Z") + Duration::days(number);
        let pipeline = crate::support::pipeline(store).await;
        handle(store, &pipeline, &[write(number, (number - 1) * 24 + 10, number).bytes()], now - Duration::hours(12))
            .await;
        for date in due(store, None, None, now).await.expect("readable") {
            close_day(store, date, now).await.expect("closed");
        }
    }
}

#[test]
fn days_are_closed_one_after_the_other_and_tell_what_was() {
    on_sqlite(async |store| {
        month(store, 12).await;
        assert_same("a month", &both(store).await);
        let days = rows(store, "object_days", &["date", "highest_replicas", "limit_last", "owner", "writes"]).await;
        assert_eq!(days.len(), 12);
        assert_eq!(days[4], json!(["2026-09-05", 5, 4, "team-payments", 1]));
        let sums = [
            "within_micros",
            "over_limit_micros",
            "outside_range_micros",
            "unregistered_micros",
            "unknown_micros",
            "absent_micros",
            "not_judged_micros",
        ];
        for day in rows(store, "object_days", &sums).await {
            let sum: i64 = day.as_array().expect("a row").iter().map(|micros| micros.as_i64().expect("a number")).sum();
            assert_eq!(sum, 86_400_000_000);
        }
        for (at, replicas, verdict) in [
            ("2026-09-03T09:59:59Z", 2, Verdict::Within),
            ("2026-09-03T10:00:00Z", 3, Verdict::Within),
            ("2026-09-06T00:00:00Z", 5, Verdict::OverLimit),
            ("2026-10-01T00:00:00Z", 12, Verdict::OverLimit),
        ] {
            let standing = status_at(store, at).await;
            assert_eq!(standing.len(), 1, "{at}");
            assert_eq!((standing[0].replicas, standing[0].verdict), (Some(replicas), verdict), "{at}");
        }
        assert!(status_at(store, "2026-08-31T00:00:00Z").await.is_empty(), "before the first event");
    });
}

#[test]
fn closing_again_changes_nothing_and_what_comes_late_is_taken_in() {
    on_sqlite(async |store| {
        month(store, 12).await;
        let tables = ["closed_changes", "carried_writes", "object_days"];
        let mut before = Vec::new();
        for table in tables {
            before.push(counted(store, table).await);
        }
        let now = time("2026-09-13T01:00:00Z");
        let closed = close_day(store, "2026-09-12".parse().expect("a day"), now).await.expect("closed");
        assert!(closed.is_known);
        for (table, before) in tables.iter().zip(before) {
            assert_eq!(counted(store, table).await, before, "{table}");
        }
        // A write of the fourth day, between two that are known, comes a week late; and a version with an earlier effect.
        let pipeline = crate::support::pipeline(store).await;
        let late = Sample::patch("late", "2026-09-04T18:00:00.000000Z", 8).version(1_045, 9);
        handle(store, &pipeline, &[late.bytes()], now).await;
        assert_same("before it is closed again", &both(store).await);
        register_at(store, &ped("payments", "orders-api", None, 6), "2026-09-05T00:00:00Z", "2026-09-13T01:30:00Z")
            .await;
        let now = time("2026-09-14T00:30:00Z");
        for date in due(store, None, None, now).await.expect("readable") {
            close_day(store, date, now).await.expect("closed");
        }
        assert_same("after", &both(store).await);
        let closings = days::closings(store).await.expect("readable");
        let last = closings.chain(now, &BTreeSet::new());
        let ids: BTreeSet<String> = last.iter().map(|closing| closing.id.clone()).collect();
        let found = query::dump(store, "object_days").await.expect("readable");
        let of = |date: &str| {
            let is_it = |row: &&Json| row["date"] == date && ids.contains(row["closing"].as_str().expect("text"));
            found.iter().find(is_it).expect("a day").clone()
        };
        assert_eq!(of("2026-09-06")["limit_last"], 6);
    });
}

/// A history that was just replayed is closed day by day, and no day twice.
#[test]
fn closing_a_history_reads_each_day_once() {
    on_sqlite(async |store| {
        month_open(store, 4).await;
        let last = "2026-09-05".parse().ok();
        let begun = time("2026-09-20T00:30:00Z");
        for date in due(store, None, last, begun).await.expect("readable") {
            let closed = close_day(store, date, begun).await.expect("closed");
            assert_eq!(closed.object_days, 1, "{date}");
        }
        // Something may have been stored behind its back within the hour, so questions do not go by it yet.
        let closings = days::closings(store).await.expect("readable");
        assert!(closings.chain(DateTime::<Utc>::MAX_UTC, &BTreeSet::new()).is_empty());
        let later = begun + Duration::hours(2);
        for date in due(store, None, last, later).await.expect("readable") {
            assert!(close_day(store, date, later).await.expect("closed").is_known, "{date}");
        }
        assert_same("closed again", &both(store).await);
    });
}

#[test]
fn what_is_stored_by_half_is_not_found_and_two_at_once_do_no_harm() {
    on_sqlite(async |store| {
        register(store, &ped("payments", "orders-api", None, 4), "2026-09-01T00:00:00Z").await;
        let pipeline = crate::support::pipeline(store).await;
        let now = time("2026-09-04T00:30:00Z");
        let entries: Vec<Vec<u8>> = (1..=6).map(|number| write(number, number * 9, number).bytes()).collect();
        handle(store, &pipeline, &entries, time("2026-09-03T12:00:00Z")).await;
        let date = "2026-09-02".parse().expect("a day");
        for polls in 1..12 {
            let mut closing = Box::pin(close_day(store, date, now));
            for _ in 0..polls {
                // On a fast machine it ends before it is given up.
                if tokio::time::timeout(std::time::Duration::from_millis(5), &mut closing).await.is_ok() {
                    break;
                }
            }
            drop(closing);
            assert_same("given up", &both(store).await);
        }
        let (one, other) = tokio::join!(close_day(store, date, now), close_day(store, date, now));
        assert_eq!(one.expect("closed").closing.id, other.expect("closed").closing.id);
        assert_same("two at once", &both(store).await);
    });
}

/// Who asked is credited on the day of asking, though the answer timed out and the number is shown days later.
#[test]
fn a_call_that_is_shown_days_later_counts_on_its_own_day() {
    on_sqlite(async |store| {
        let timed_out = write(2, 34, 7).set("/protoPayload/status", json!({"code": 4}));
        let timed_out = timed_out.set("/protoPayload/response", Json::Null);
        let seen = write(2, 80, 7).set("/insertId", "seen").set("/protoPayload/request", Json::Null);
        let mut now = time("2026-09-01T12:00:00Z");
        for sample in [write(1, 10, 3), timed_out, seen] {
            let entries = [sample.bytes()];
            handle(store, &crate::support::pipeline(store).await, &entries, now).await;
            now += Duration::hours(36);
            for date in due(store, None, None, now).await.expect("readable") {
                close_day(store, date, now).await.expect("closed");
            }
        }
        let closings = days::closings(store).await.expect("readable").chain(now, &BTreeSet::new());
        let days = rows(store, "object_days", &["closing", "date", "writes", "highest_replicas"]).await;
        let counts = |day: &&Json| closings.iter().any(|closing| day[0] == closing.id.as_str());
        let told: Vec<Json> = days.iter().filter(counts).map(|day| json!([day[1], day[2], day[3]])).collect();
        let expected = [json!(["2026-09-01", 1, 3]), json!(["2026-09-02", 1, 7]), json!(["2026-09-03", 0, 3])];
        assert_eq!(told[..3], expected, "{told:#?}");
    });
}

/// Also where nothing is older than the call.
#[test]
fn a_first_call_that_is_shown_a_day_later_counts_on_its_own_day() {
    on_sqlite(async |store| {
        let create = write(1, 10, 7).set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.create");
        let timed_out =
            create.set("/protoPayload/status", json!({"code": 4})).set("/protoPayload/response", Json::Null);
        let request = json!({"@type": "k8s.io/Patch", "spec": {"template": {}}});
        let seen = write(1, 30, 7).set("/insertId", "seen").set("/protoPayload/request", request);
        let seen = seen.set("/protoPayload/response/metadata/creationTimestamp", "2026-09-01T10:00:00Z");
        let now = time("2026-09-04T12:00:00Z");
        let entries = [timed_out.bytes(), seen.bytes()];
        handle(store, &crate::support::pipeline(store).await, &entries, now).await;
        let columns = ["date", "max_replicas"];
        let open = rows(store, "daily_max_replicas", &columns).await;
        // Later: what was recorded just now counts as late.
        let later = now + Duration::hours(2);
        for date in due(store, None, None, later).await.expect("readable") {
            close_day(store, date, later).await.expect("closed");
        }
        assert_eq!(open[..2], [json!(["2026-09-01", 7]), json!(["2026-09-02", 7])]);
        let mut closed = rows(store, "daily_max_replicas", &columns).await;
        closed.sort_by_key(Json::to_string);
        assert_eq!(closed, open);
    });
}

/// How it stands, of what was written to since the last closing and of what was not: some writes before it, the day is closed, and
/// some behind it. What the last writes come to may depend on those before them.
#[test]
fn it_stands_as_it_does_whatever_is_closed() {
    let patched = json!({"@type": "k8s.io/Patch", "spec": {"template": {}}});
    let touch = |number: i64, hours: i64, replicas: i64| {
        write(number, hours, replicas).set("/protoPayload/request", patched.clone())
    };
    let touches = |numbers: std::ops::Range<i64>, replicas: i64| -> Vec<Sample> {
        numbers.map(|number| touch(number, number, replicas)).collect()
    };
    let other = write(50, 20, 4).set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments/web");
    let other = other.set("/protoPayload/response/metadata/name", "web").uid("uid-web");
    let mut missed = vec![write(1, 1, 3), write(4, 2, 7)];
    missed.extend(touches(5..15, 7));
    let mut timed_out = vec![write(1, 1, 3)];
    let call = write(2, 2, 9).set("/protoPayload/status", json!({"code": 4})).actor("carol@example.com");
    timed_out.push(call.set("/protoPayload/response", Json::Null));
    timed_out.extend(touches(3..6, 9));
    let mut dry = vec![write(1, 1, 5)];
    dry.extend(touches(2..10, 5));
    dry.push(write(10, 10, 9).version(1_099, 19));
    let mut nine = vec![write(1, 1, 3), write(2, 2, 5)];
    nine.extend(touches(3..10, 5));
    for (name, before, behind) in [
        ("untouched", nine.clone(), Vec::new()),
        ("touched", nine.clone(), vec![touch(11, 30, 5)]),
        ("another came late", nine, vec![other]),
        ("missed writes", missed.clone(), Vec::new()),
        ("missed writes, touched", missed, vec![touch(16, 30, 7)]),
        ("a call that timed out, touched", timed_out, vec![touch(11, 30, 9)]),
        ("a dry run", dry, vec![touch(10, 30, 5).set("/insertId", "seen").version(1_100, 19)]),
    ] {
        on_sqlite(async |store| {
            let whole = Sqlite::in_memory().expect("memory");
            let (evening, now) = (time("2026-09-02T01:00:00Z"), time("2026-09-02T12:00:00Z"));
            for (samples, at, closes) in [(&before, time("2026-09-01T23:00:00Z"), true), (&behind, now, false)] {
                let entries: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
                for store in [store, &whole] {
                    handle(store, &crate::support::pipeline(store).await, &entries, at).await;
                }
                if closes {
                    close_day(store, time("2026-09-01T00:00:00Z").date_naive(), evening).await.expect("closed");
                }
            }
            let stands = async |store: &dyn Store| {
                let mut standings = query::status(store, &About::ALL, now).await.expect("readable");
                // Who set the number under it is no longer read, until the day is closed again.
                let forgets = name == "a dry run";
                standings.iter_mut().filter(|_| forgets).for_each(|one| (one.since, one.event_id) = (None, None));
                standings
            };
            let expected = stands(&whole).await;
            assert!(!expected.is_empty(), "{name}");
            assert_eq!(stands(store).await, expected, "{name}");
        });
    }
}

/// Only what somebody was killed over, or came late, is left to be found.
#[test]
fn alerts_that_nobody_raised_are_looked_for_since_that_was_done_last() {
    on_every_store(async |store| {
        let now = time("2026-09-30T00:20:00Z");
        let since = async |now| look_since(store, "rules", now).await.expect("readable");
        assert_eq!(since(now).await, now - Duration::days(35), "never yet");
        have_looked(store, "rules", now).await.expect("stored");
        let later = now + Duration::days(1);
        let day_before = time("2026-09-29T00:00:00Z");
        assert_eq!(since(later).await, day_before);
        let pipeline = crate::support::pipeline(store).await;
        handle(store, &pipeline, &[write(1, 10, 3).bytes()], now - Duration::days(2)).await;
        assert_eq!(since(later).await, day_before, "it came late before");
        handle(store, &pipeline, &[write(2, 34, 4).bytes()], later - Duration::hours(1)).await;
        assert_eq!(since(later).await, time("2026-09-02T00:00:00Z"), "it came late since");
        assert_eq!(look_since(store, "others", later).await.expect("readable"), later - Duration::days(35));
        let much_later = later + Duration::days(20);
        assert_eq!(since(much_later).await, much_later - Duration::days(35));
    });
}

#[test]
fn an_empty_store_and_the_future_have_no_days_to_close() {
    on_sqlite(async |store| {
        let now = time("2026-09-04T12:00:00Z");
        assert!(due(store, None, None, now).await.expect("readable").is_empty());
        assert!(status_at(store, "2026-09-04T12:00:00Z").await.is_empty());
        let pipeline = crate::support::pipeline(store).await;
        handle(store, &pipeline, &[write(1, 24 * 4, 3).bytes()], now).await;
        assert!(due(store, None, None, now).await.expect("readable").is_empty(), "it is of tomorrow");
        close_day(store, "2026-09-02".parse().expect("a day"), now).await.expect("a day before the first event");
        assert_same("a day before", &both(store).await);
    });
}

/// What stands is not lost with the partitions that expire.
#[test]
fn days_stay_when_their_events_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&file).expect("opened");
        month(&store, 12).await;
        let (before, _) = both(&store).await;
        let seen = people_see(&store).await;
        let events = rusqlite::Connection::open(&file).expect("opened");
        events.execute("DELETE FROM replica_events WHERE event_time < '2026-09-10'", []).expect("dropped");
        let (_, after) = both(&store).await;
        assert_eq!(before, after);
        assert_seen("their events are gone", &people_see(&store).await, &seen);
        assert_eq!(status_at(&store, "2026-09-06T00:00:00Z").await[0].replicas, Some(5));
        let pipeline = crate::support::pipeline(&store).await;
        handle(&store, &pipeline, &[write(13, 13 * 24, 2).bytes()], time("2026-09-14T12:00:00Z")).await;
        let now = time("2026-09-15T00:30:00Z");
        for date in due(&store, None, None, now).await.expect("readable") {
            close_day(&store, date, now).await.expect("closed");
        }
        assert_eq!(status_at(&store, "2026-09-20T00:00:00Z").await[0].replicas, Some(2));
    });
}

/// For how long it is over is the whole breach, not the last number's; and who asked for the number asked for it first.
#[test]
fn a_breach_lasts_from_its_beginning_whatever_is_closed() {
    on_sqlite(async |store| {
        register(store, &ped("payments", "orders-api", None, 4), "2026-09-01T00:00:00Z").await;
        let pipeline = crate::support::pipeline(store).await;
        // Within, over, higher, the same number behind a missed write, lower and still over.
        let numbers = [(10, 3), (34, 5), (40, 7), (50, 7), (60, 6)];
        let mut entries: Vec<Vec<u8>> =
            (1..).zip(numbers).map(|(n, (hours, number))| write(n, hours, number).bytes()).collect();
        let again = (20..40)
            .map(|n| write(n, n * 4, 6).set("/protoPayload/authenticationInfo/principalEmail", "other@example.com"));
        entries.extend(again.map(|sample| sample.bytes()));
        handle(store, &pipeline, &entries, time("2026-09-10T00:00:00Z")).await;
        let over = async |at: &str| {
            let standing = status_at(store, at).await.remove(0);
            (standing.replicas, standing.since, standing.over_since, standing.actor == Some("other@example.com".into()))
        };
        let ats = ["2026-09-02T12:00:00Z", "2026-09-03T11:00:00Z", "2026-09-05T00:00:00Z", "2026-10-20T00:00:00Z"];
        let begun = Some(time("2026-09-02T10:00:00Z"));
        let mut open = Vec::new();
        for at in ats {
            open.push(over(at).await);
            assert_eq!(open.last().expect("one").2, begun, "{at}");
        }
        assert_eq!(open[2], (Some(6), Some(time("2026-09-03T12:00:00Z")), begun, false));
        for date in due(store, None, None, time("2026-09-10T02:00:00Z")).await.expect("readable") {
            close_day(store, date, time("2026-09-10T02:00:00Z")).await.expect("closed");
        }
        for (at, open) in ats.iter().zip(open) {
            assert_eq!(over(at).await, open, "{at}");
        }
        // It ends with a version that allows it.
        register(store, &ped("payments", "orders-api", None, 8), "2026-09-06T00:00:00Z").await;
        assert_eq!(over("2026-09-07T00:00:00Z").await.2, None);
    });
}

/// Alerts since a time are told as from the whole history: with their first write, and with all that was raised for them.
#[test]
fn alerts_since_a_time_are_told_whole() {
    on_sqlite(async |store| {
        month(store, 12).await;
        let since = |at: &str| query::WantedAlerts { since: Some(time(at)), all: true, ..Default::default() };
        let pipeline = crate::support::pipeline(store).await;
        // The breach of the twelfth day goes on, and is raised once more.
        let again = write(13, 13 * 24, 12).bytes();
        handle(store, &pipeline, &[again], time("2026-09-14T12:00:00Z")).await;
        let open = Sqlite::in_memory().expect("memory");
        for table in ["replica_events", "alert_log", "deployment_config"] {
            copy(store, &open, table).await;
        }
        for at in ["2026-09-02T00:00:00Z", "2026-09-10T09:00:00Z", "2026-09-12T11:00:00Z", "2026-09-20T00:00:00Z"] {
            let wanted = since(at);
            let expected = query::alerts(&open, &wanted, usize::MAX).await.expect("readable");
            assert_eq!(query::alerts(store, &wanted, usize::MAX).await.expect("readable"), expected, "{at}");
            assert_eq!(expected.is_empty(), at == "2026-09-20T00:00:00Z");
        }
    });
}

/// The rows of one table, in another store.
async fn copy(from: &dyn Store, to: &dyn Store, table: &str) {
    let rows = query::dump(from, table).await.expect("readable");
    let record = |row: &Json| Record::from_json(table, row.as_object().expect("a row")).expect("a row of the table");
    to.append(rows.iter().map(record).collect()).await.expect("appended");
}

/// An HPA that comes to find its Deployment, or ceases to, while its number stands.
#[test]
fn an_hpa_counts_while_it_finds_its_deployment() {
    on_sqlite(async |store| {
        register(store, &ped("ledger", "statement", None, 4), "2026-09-01T00:00:00Z").await;
        let case = cases().into_iter().find(|case| case.name == "hpa_that_flips").expect("the case");
        let pipeline = crate::support::pipeline(store).await;
        handle(store, &pipeline, &case.entries, time("2026-09-20T00:00:00Z")).await;
        let changes = days::changes(store, &Reach::default()).await.expect("readable");
        let effective: Vec<Option<bool>> = changes.iter().map(|change| change.effective).collect();
        assert!(effective.contains(&Some(true)) && effective.contains(&Some(false)), "{changes:#?}");
        let last = changes.last().expect("a change").effective_time;
        let hpa = async |at: DateTime<Utc>| status_at(store, &pedwatch::id::time(at)).await[0].hpa_max_replicas;
        let before =
            (hpa(last).await, hpa(last - Duration::microseconds(1)).await, hpa(time("2026-09-12T00:00:00Z")).await);
        assert_ne!(before.0, before.1, "{changes:#?}");
        for day in 4..=9 {
            let through = time(&format!("2026-09-0{day}T00:00:00Z"));
            close(store, through, time("2026-09-20T02:00:00Z")).await.expect("closed");
        }
        let after =
            (hpa(last).await, hpa(last - Duration::microseconds(1)).await, hpa(time("2026-09-12T00:00:00Z")).await);
        assert_eq!(after, before);
    });
}

/// A report of any length is read page by page, in its order and each row once.
#[test]
fn a_long_report_comes_in_pages() {
    on_sqlite(async |store| {
        let now = time("2026-09-03T00:00:00Z");
        let held = |number: usize, at: DateTime<Utc>| {
            Record::Quarantine(Quarantine {
                quarantine_id: format!("{number:05}"),
                quarantined_at: at,
                message_id: None,
                publish_time: None,
                reason: "not_json".to_owned(),
                detail: "expected JSON".to_owned(),
                kind: None,
                raw: String::new(),
                source: Some("entries.log".to_owned()),
            })
        };
        // One that was there before is none of this run's.
        let before = std::iter::once(held(7, now - Duration::days(1)));
        store.append(before.chain((0..5_101).map(|number| held(number, now))).collect()).await.expect("appended");
        let recorded = query::Recorded { run: now, out_of_scope: false, reach: &Reach::default() };
        let (mut pages, mut ids) = (Vec::new(), Vec::new());
        let page = async |page: Vec<QuarantineHead>| {
            pages.push(page.len());
            ids.extend(page.into_iter().map(|head| head.quarantine_id));
            Ok::<_, StoreError>(())
        };
        recorded.quarantined(store, usize::MAX, page).await.expect("readable");
        assert_eq!(pages, [5_000, 100]);
        assert!(ids.is_sorted_by(|one, other| one < other) && !ids.contains(&"00007".to_owned()));
        let counted = query::counts(store, now, &Reach::default()).await.expect("counted");
        assert_eq!(counted.quarantined, 5_100);
        let yesterday = (None, Some(now));
        assert_eq!(query::quarantined_in(store, yesterday).await.expect("readable").len(), 1);
    });
}
/// A store whose events expire.
struct Expiring<'s> {
    store: &'s dyn Store,
    from: DateTime<Utc>,
}

#[async_trait]
impl Store for Expiring<'_> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    fn keeps_events_from(&self) -> Option<DateTime<Utc>> {
        Some(self.from)
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.store.fetch(query).await
    }
}

#[test]
fn what_comes_late_for_days_without_events_changes_nothing_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&file).expect("opened");
        month(&store, 12).await;
        let (before, _) = both(&store).await;
        let events = rusqlite::Connection::open(&file).expect("opened");
        events.execute("DELETE FROM replica_events WHERE event_time < '2026-09-10'", []).expect("dropped");
        let store = Expiring { store: &store, from: time("2026-09-10T00:00:00Z") };
        // A version of a frozen day, and a write of one that is not.
        register_at(&store, &ped("payments", "orders-api", None, 6), "2026-09-05T00:00:00Z", "2026-09-13T01:30:00Z")
            .await;
        let now = time("2026-09-13T02:00:00Z");
        let late = Sample::patch("late", "2026-09-11T18:00:00.000000Z", 8).version(1_115, 23);
        handle(&store, &crate::support::pipeline(&store).await, &[late.bytes()], now).await;
        for hours in [0, 12] {
            let (_, after) = both(&store).await;
            let lost: Vec<&String> = before.iter().filter(|change| !after.contains(change)).collect();
            // The late write stands between that of the eleventh and the next.
            assert!(lost.len() <= 1, "{lost:#?}");
            assert_eq!(after.len(), before.len() + 1, "{after:#?}");
            assert_eq!(status_at(&store, "2026-09-06T00:00:00Z").await[0].replicas, Some(5));
            assert_eq!(status_at(&store, "2026-09-11T20:00:00Z").await[0].replicas, Some(8));
            let now = now + Duration::hours(24 + hours);
            for date in due(&store, None, None, now).await.expect("readable") {
                close_day(&store, date, now).await.expect("closed");
            }
        }
    });
}
