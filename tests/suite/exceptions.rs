//! Exceptions and retirements: what a PED says holds from its effect on, ends by itself, and what has held stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use pedwatch::id;
use pedwatch::ped::limits::Limits;
use pedwatch::ped::retirement::{Retired, Retirement};
use pedwatch::ped::standing::{Standing, standings};
use pedwatch::ped::version::{Addition, Registration, Version, additions, history};
use pedwatch::ped::{Clusters, Subject};
use pedwatch::pipeline::register::{register, retire};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{RetireError, Store, query};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::limits::{consumer, deliver};
use crate::registry::{registrations, standing};
use crate::support::{Sample, block_on, config, handle, on_every_store, ped, ped_with, pipeline, rows, time};

const PIPELINE: &str = "deployer@acme-prod.iam.gserviceaccount.com";

/// A day of September 2026.
fn day(day: u32) -> String {
    format!("2026-09-{day:02}T00:00:00Z")
}

/// Registers a PED with exceptions (days and replicas) that takes effect at once, or as somebody named; how many rows
/// that appended.
async fn apply(store: &dyn Store, max: i64, exceptions: &[(u32, u32, i64)], from: Option<u32>, now: u32) -> usize {
    let exceptions: Vec<_> = exceptions.iter().map(|&(from, until, max)| (day(from), day(until), max)).collect();
    let exceptions: Vec<_> = exceptions.iter().map(|(from, until, max)| (&**from, &**until, *max)).collect();
    let registrations =
        registrations(&ped_with("payments", None, max, &exceptions), from.map(day).as_deref(), &day(now), "ci");
    let added = pedwatch::store::register(store, registrations).await.expect("registered");
    added.iter().flat_map(Addition::versions).count()
}

fn subject(cluster: Option<&str>) -> Subject {
    let clusters = Clusters::of(cluster);
    Subject { namespace: "payments".to_owned(), deployment: "orders-api".to_owned(), clusters }
}

fn retirement(effective_at: DateTime<Utc>, now: DateTime<Utc>) -> Retirement {
    let (updated_by, reason) = ("ci".to_owned(), "moved away".to_owned());
    Retirement { subject: subject(None), effective_at, now, updated_by, reason }
}

/// The limit on each day of September up to the 20th, by Rust and by the view.
async fn days(store: &dyn Store) -> Vec<i64> {
    let limits = Limits::new(store.claims(None).await.expect("readable"));
    let on = |of: u32| limits.of_scope(&subject(None), time(&day(of))).map_or(-1, |limit| limit.max_replicas);
    let found: Vec<i64> = (1..=20).map(on).collect();
    let ranges = query::dump(store, "limit_ranges").await.expect("readable");
    let at = |of: u32| {
        let instant = id::time(time(&day(of)));
        let holds = |row: &&Json| {
            row["begins_at"].as_str() <= Some(&instant) && row["ends_at"].as_str().is_none_or(|end| *instant < *end)
        };
        ranges.iter().find(holds).and_then(|row| row["max_replicas"].as_i64()).unwrap_or(-1)
    };
    assert_eq!(found, (1..=20).map(at).collect::<Vec<_>>(), "Rust, and the view");
    found
}

/// So many days with each limit.
fn runs(runs: &[(usize, i64)]) -> Vec<i64> {
    runs.iter().flat_map(|&(days, limit)| std::iter::repeat_n(limit, days)).collect()
}

#[test]
fn an_exception_holds_from_its_beginning_to_its_end_whatever_versions_come_under_it() {
    on_every_store(async |store| {
        assert_eq!(apply(store, 3, &[(5, 9, 8)], None, 1).await, 2);
        assert_eq!(days(store).await, runs(&[(4, 3), (4, 8), (12, 3)]));
        assert_eq!(apply(store, 4, &[(5, 9, 8)], None, 7).await, 1, "a version comes under it");
        assert_eq!(days(store).await, runs(&[(4, 3), (4, 8), (12, 4)]));
        for now in [8, 12] {
            assert_eq!(apply(store, 4, &[(5, 9, 8)], None, now).await, 0, "nothing new");
        }
        let exceptions = query::dump(store, "deployment_config").await.expect("readable");
        let exceptions: Vec<&Json> = exceptions.iter().filter(|row| !row["until"].is_null()).collect();
        let [row] = exceptions.as_slice() else { panic!("{exceptions:?}") };
        let columns = ["timestamp", "until", "max_replicas", "user_id", "change_reason", "updated_by"];
        assert_eq!(
            json!(columns.map(|column| &row[column])),
            json!([
                "2026-09-05T00:00:00.000000Z",
                "2026-09-09T00:00:00.000000Z",
                8,
                "team-payments",
                "sales week",
                "ci"
            ])
        );
    });
}

#[test]
fn an_exception_that_is_taken_out_never_begins_or_ends_now() {
    on_every_store(async |store| {
        apply(store, 3, &[(5, 9, 8), (12, 14, 7)], None, 1).await;
        assert_eq!(apply(store, 3, &[], None, 6).await, 2);
        assert_eq!(days(store).await, runs(&[(4, 3), (1, 8), (15, 3)]));
        assert_eq!(apply(store, 3, &[], None, 7).await, 0);
        assert_eq!(apply(store, 3, &[(12, 14, 7)], None, 8).await, 1, "named again");
        assert_eq!(days(store).await, runs(&[(4, 3), (1, 8), (6, 3), (2, 7), (7, 3)]));
    });
}

#[test]
fn an_exception_that_is_changed_stays_what_it_was_until_then() {
    on_every_store(async |store| {
        apply(store, 3, &[(5, 9, 8), (12, 14, 7)], None, 1).await;
        assert_eq!(apply(store, 3, &[(5, 9, 6), (12, 16, 7)], None, 7).await, 3);
        let changed = runs(&[(4, 3), (2, 8), (2, 6), (3, 3), (4, 7), (5, 3)]);
        assert_eq!(days(store).await, changed);
        assert_eq!(apply(store, 3, &[(5, 9, 6), (12, 16, 7)], None, 8).await, 0);
        assert_eq!(apply(store, 3, &[(5, 9, 6), (12, 16, 7)], None, 18).await, 0, "all is over");
        assert_eq!(days(store).await, changed);
        // It is shortened while it holds, and lengthened.
        assert_eq!(apply(store, 3, &[(17, 20, 5)], None, 16).await, 1);
        assert_eq!(apply(store, 3, &[(17, 19, 5)], None, 18).await, 1);
        assert_eq!(days(store).await[15..], runs(&[(1, 3), (2, 5), (2, 3)]));
        assert_eq!(apply(store, 3, &[(17, 18, 5)], None, 18).await, 1, "over by now");
        assert_eq!(days(store).await[15..], runs(&[(1, 3), (1, 5), (3, 3)]));
        assert_eq!(apply(store, 3, &[(17, 18, 5)], None, 19).await, 0);
    });
}

#[test]
fn a_ped_leaves_the_exceptions_of_the_next_version_alone() {
    on_every_store(async |store| {
        apply(store, 4, &[(12, 14, 7)], Some(10), 1).await;
        assert_eq!(apply(store, 3, &[], None, 2).await, 1);
        let expected = runs(&[(1, -1), (8, 3), (2, 4), (2, 7), (7, 4)]);
        assert_eq!(days(store).await, expected);
    });
}

/// `replay --ped` names all of them at every run.
#[test]
fn registering_a_row_of_peds_again_appends_nothing() {
    on_every_store(async |store| {
        let all = async |now: u32| {
            let with = ped_with("payments", None, 3, &[(&day(10), &day(14), 8)]);
            let of = |yaml: &str, from: u32| {
                registrations(yaml, Some(&day(from)), &day(now), "replay")
                    .into_iter()
                    .map(|registration| Registration { explicit: false, ..registration })
            };
            let peds = of(&with, 1).chain(of(&ped("payments", "orders-api", None, 4), 12)).collect();
            let added = pedwatch::store::register(store, peds).await.expect("registered");
            added.iter().flat_map(Addition::versions).count()
        };
        assert_eq!(all(20).await, 3);
        assert_eq!(days(store).await, runs(&[(9, 3), (2, 8), (9, 4)]));
        assert_eq!(all(21).await, 0);
    });
}

#[test]
fn two_who_register_exceptions_at_once_keep_both() {
    on_every_store(async |store| {
        let by = async |exceptions: &[(&str, &str, i64)], who: &str| {
            let registrations = registrations(&ped_with("payments", None, 3, exceptions), None, &day(1), who);
            pedwatch::store::register(store, registrations).await.expect("registered");
        };
        let (first, second) = ([(&*day(5), &*day(9), 8)], [(&*day(7), &*day(11), 6)]);
        futures::join!(by(&first, "ci"), by(&second, "carol@example.com"));
        let found = store.versions(None).await.expect("readable");
        // Where one store answers the first before it hears the second, the second has withdrawn the first.
        let kept = found.iter().filter(|version| version.until.is_some()).count();
        assert!(kept >= 2, "{found:?}");
        let last = days(store).await;
        assert!(
            [runs(&[(4, 3), (2, 8), (4, 6), (10, 3)]), runs(&[(6, 3), (4, 6), (10, 3)])].contains(&last),
            "{last:?}"
        );
    });
}

#[test]
fn a_retirement_ends_the_version_and_the_exceptions_until_the_next_version() {
    on_every_store(async |store| {
        apply(store, 3, &[(5, 9, 8), (12, 14, 7)], None, 1).await;
        apply(store, 4, &[(5, 9, 8), (12, 14, 7)], Some(13), 2).await;
        let retire = async |from: u32, now: u32| {
            let retirement = retirement(time(&day(from)), time(&day(now)));
            pedwatch::store::retire(store, &retirement).await.expect("retired")
        };
        let retired = retire(7, 3).await;
        assert_eq!(retired.versions.len(), 2, "what is in force, and the exception to come");
        assert_eq!(retired.next, Some(time(&day(13))));
        assert_eq!(days(store).await, runs(&[(4, 3), (2, 8), (6, -1), (8, 4)]));
        assert_eq!(retire(8, 4).await, Retired { versions: Vec::new(), next: retired.next }, "already");
        assert_eq!(retire(13, 5).await.versions.len(), 1);
        assert_eq!(days(store).await, runs(&[(4, 3), (2, 8), (14, -1)]));
        let found = query::dump(store, "deployment_config").await.expect("readable");
        let retired = found.iter().filter(|row| row["max_replicas"].is_null());
        for row in retired {
            assert_eq!(
                json!([row["user_id"], row["updated_by"], row["change_reason"]]),
                json!(["team-payments", "ci", "moved away"])
            );
        }
        // It is applied for again, with the exception that the retirement ended.
        assert_eq!(apply(store, 5, &[(5, 9, 8), (12, 15, 7)], None, 8).await, 3);
        assert_eq!(days(store).await, runs(&[(4, 3), (2, 8), (1, -1), (1, 8), (3, 5), (1, 7), (8, -1)]));
    });
}

#[test]
fn only_what_is_registered_can_be_retired_in_its_own_scope() {
    on_every_store(async |store| {
        let retire = async |cluster: Option<&str>| {
            let retirement = Retirement { subject: subject(cluster), ..retirement(time(&day(2)), time(&day(2))) };
            pedwatch::store::retire(store, &retirement).await
        };
        let nothing = RetireError::NotRegistered { elsewhere: [].into() };
        assert_eq!(retire(None).await, Err(nothing));
        let yaml = ped("payments", "orders-api", Some("prod-2"), 3);
        pedwatch::store::register(store, registrations(&yaml, None, &day(1), "ci")).await.expect("registered");
        let elsewhere = [Clusters::of(Some("prod-2"))].into();
        assert_eq!(retire(None).await, Err(RetireError::NotRegistered { elsewhere }));
        assert_eq!(retire(Some("prod-2")).await.map(|retired| retired.versions.len()), Ok(1));
    });
}

/// The number outlives the exception that allowed it, and the limit that was retired under it.
#[test]
fn a_number_that_still_stands_when_its_limit_ends_is_judged_again() {
    on_every_store(async |store| {
        apply(store, 3, &[(5, 9, 8)], Some(1), 1).await;
        let write = Sample::patch("a", &day(6), 7).actor(PIPELINE).version(7, 2).bytes();
        handle(store, &pipeline(store).await, &[write], time("2026-10-01T00:00:00Z")).await;
        let ended = json!(["over_limit", 3, "2026-09-09T00:00:00.000000Z", true]);
        // More than first applied for, too, while the exception allows it.
        let standing = async || {
            let mut alerts = standing(store).await;
            alerts.retain(|alert| alert[0] != "over_initial");
            alerts
        };
        assert_eq!(standing().await, std::slice::from_ref(&ended));
        let now = time("2026-10-02T00:00:00Z");
        let (_, raised) = retire(store, &config().policy, &retirement(time(&day(12)), now)).await.expect("retired");
        assert_eq!(raised.len(), 1, "{raised:?}");
        let unregistered = json!(["unregistered", null, "2026-09-12T00:00:00.000000Z", true]);
        assert_eq!(standing().await, [ended, unregistered.clone()]);
        // An exception that is registered late allows the number meanwhile.
        let yaml = ped_with("payments", None, 3, &[(&day(5), &day(9), 8), (&day(9), &day(30), 7)]);
        let late = registrations(&yaml, Some(&day(1)), &id::time(now), "ci");
        register(store, &config().policy, late, now + Duration::seconds(1)).await.expect("registered");
        assert_eq!(standing().await, [unregistered], "the retirement still ends it");
    });
}

/// While `serve` lives, and nobody writes. By the store's own clock, so only where a question is quick.
#[test]
fn an_exception_that_ends_on_a_standing_number_alerts_then() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let begun = Utc::now();
        let at = |seconds: i64| (begun + Duration::seconds(seconds)).to_rfc3339();
        let yaml = ped_with("payments", None, 3, &[(&at(-120), &at(4), 8)]);
        let registrations = registrations(&yaml, Some("2026-09-01T00:00:00Z"), &at(-3600), "ci");
        pedwatch::store::register(&*store, registrations).await.expect("registered");
        let consumer = consumer(&store).await;
        deliver(&consumer, &Sample::patch("a", &at(-60), 7).actor(PIPELINE).version(7, 2), begun).await;
        consumer.refresh(begun).await.expect("refreshed");
        let over: Vec<Json> = standing(&*store).await.into_iter().filter(|alert| alert[0] != "over_initial").collect();
        assert_eq!(over, [] as [Json; 0], "the exception allows it");
        while Utc::now() < begun + Duration::seconds(4) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        consumer.refresh(Utc::now()).await.expect("refreshed");
        let ended = id::time(begun + Duration::seconds(4));
        assert!(standing(&*store).await.contains(&json!(["over_limit", 3, ended, true])));
    });
}

#[test]
fn each_version_and_exception_tells_where_it_stands() {
    on_every_store(async |store| {
        apply(store, 3, &[(2, 3, 8), (5, 9, 8), (12, 14, 7)], None, 1).await;
        apply(store, 4, &[(5, 9, 8), (12, 15, 7), (16, 17, 7)], None, 6).await;
        apply(store, 4, &[(5, 9, 8), (12, 15, 7)], None, 7).await;
        let versions = history(store.versions(None).await.expect("readable"));
        let short = |version: &Version, standing: Standing| {
            let day = |time: DateTime<Utc>| time.format("%d").to_string();
            let (from, until) = (day(version.effective_at), version.until.map(day).unwrap_or_default());
            format!("{from}-{until} {standing}")
        };
        let found: Vec<String> = std::iter::zip(&versions, standings(&versions, time(&day(7))))
            .map(|(version, standing)| short(version, standing))
            .collect();
        assert_eq!(
            found,
            [
                "01- ended",
                "02-03 ended",
                "05-09 in_force",
                "06- below_exception",
                "12-14 replaced",
                "12-15 to_come",
                "16-17 replaced",
                "16-16 withdrawn",
            ]
        );
        let current = rows(store, "current_limits", &["max_replicas"]).await;
        assert_eq!(current, [json!([4])], "all exceptions are over by now");
    });
}

/// As released: a version without exceptions has the id that it always had.
#[test]
fn a_version_keeps_its_id() {
    let content = r#"{"environment":{},"image":null,"limits":{},"maxReplicas":3,"minReplicas":null,"owner":"team-payments","requests":{},"volumes":{}}"#;
    let expected = id::id(&[
        "",
        "payments",
        "orders-api",
        "2026-09-01T00:00:00.000000Z",
        content,
        "2026-09-02T00:00:00.000000Z",
        "ci",
    ]);
    for yaml in [ped("payments", "orders-api", None, 3), ped_with("payments", None, 3, &[(&day(5), &day(9), 8)])] {
        let added = additions(&registrations(&yaml, Some(&day(1)), &day(2), "ci"), Vec::new());
        assert_eq!(added[0].version.as_ref().map(|version| &version.id), Some(&expected));
    }
}

/// A step of one scope's history.
#[derive(Debug, Clone)]
enum Step {
    /// A PED with exceptions: minutes from and until, and replicas.
    Register {
        max: i64,
        exceptions: Vec<(i64, i64, i64)>,
        is_explicit: bool,
    },
    Retire,
}

/// Steps and the minutes at which they take effect.
fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let exceptions = prop::collection::vec((0..4_i64, 1..6_i64, 0..9_i64), 0..4).prop_map(|parts| {
        let mut end = 0;
        let exceptions = parts.into_iter().map(|(gap, lasts, max)| {
            let from = end + gap;
            end = from + lasts;
            (from, end, max)
        });
        exceptions.collect()
    });
    let register = (0..9_i64, exceptions, any::<bool>());
    let step = prop_oneof![
        4 => register.prop_map(|(max, exceptions, is_explicit)| Step::Register { max, exceptions, is_explicit }),
        1 => Just(Step::Retire),
    ];
    prop::collection::vec((0..24_i64, step), 1..7)
}

fn minute(minute: i64) -> DateTime<Utc> {
    time(&day(1)) + Duration::minutes(minute)
}

fn limit_at(limits: &Limits, at: i64) -> Option<i64> {
    limits.of_scope(&subject(None), minute(at)).map(|limit| limit.max_replicas)
}

/// What a step appends.
fn appended(step: &Step, at: i64, now: DateTime<Utc>, known: &[Version]) -> Vec<Version> {
    let Step::Register { max, exceptions, is_explicit } = step else {
        return retirement(minute(at), now).apply(known).versions;
    };
    let exceptions: Vec<_> =
        exceptions.iter().map(|&(from, until, max)| (id::time(minute(from)), id::time(minute(until)), max)).collect();
    let exceptions: Vec<_> = exceptions.iter().map(|(from, until, max)| (&**from, &**until, *max)).collect();
    let yaml = ped_with("payments", None, *max, &exceptions);
    let registrations: Vec<Registration> = registrations(&yaml, Some(&id::time(minute(at))), &id::time(now), "ci")
        .into_iter()
        .map(|registration| Registration { explicit: *is_explicit, ..registration })
        .collect();
    additions(&registrations, known.to_vec()).iter().flat_map(Addition::versions).cloned().collect()
}

/// The versions that there are, by when they begin: the most replicas, or a retirement.
type Bases = BTreeMap<i64, Option<i64>>;

/// What the PED says of a minute from its effect on.
fn said(step: &Step, at: i64, bases: &Bases, of: i64) -> Option<i64> {
    let base = || bases.range(..=of).next_back().and_then(|(_, max)| *max);
    let Step::Register { exceptions, .. } = step else { return base() };
    let is_cut = |from: i64| bases.iter().any(|(&base, max)| from.max(at) < base && base <= of && max.is_none());
    match exceptions.iter().find(|(from, until, _)| (*from..*until).contains(&of)) {
        Some((from, _, max)) if !is_cut(*from) => Some(*max),
        _ => base(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// From its effect to the next version the limit is what the last PED says, and registering it again appends nothing. What has held
    /// before stays, but for exceptions that nobody knew.
    #[test]
    fn a_ped_says_what_holds_from_its_effect_on(steps in steps()) {
        let mut known: Vec<Version> = Vec::new();
        let mut bases = Bases::new();
        for (number, (at, step)) in steps.iter().enumerate() {
            let now = minute(100) + Duration::seconds(i64::try_from(number).expect("few"));
            let before = Limits::new(&known);
            let was_exception = |of: i64| {
                let limit = before.of_scope(&subject(None), minute(of));
                limit.is_some_and(|limit| known.iter().any(|one| one.id == limit.limit_id && one.until.is_some()))
            };
            let added = appended(step, *at, now, &known);
            let names = |of: i64| match step {
                Step::Register { exceptions, .. } => {
                    exceptions.iter().any(|(from, until, _)| (*from..*until).contains(&of))
                }
                Step::Retire => false,
            };
            let all: Vec<Version> = known.iter().chain(&added).cloned().collect();
            let after = Limits::new(&all);
            match step {
                // What holds already needs no version of its own, unless its time is named.
                Step::Register { max, .. } if added.iter().any(|version| version.until.is_none()) => {
                    bases.insert(*at, Some(*max));
                }
                Step::Register { .. } => {}
                Step::Retire if limit_at(&before, *at).is_none() => {}
                Step::Retire => drop(bases.insert(*at, None)),
            }
            let next = bases.range(at + 1..).find(|(_, max)| max.is_some()).map_or(30, |(next, _)| *next);
            for of in 0..30 {
                let found = limit_at(&after, of);
                if of >= next {
                    // The version after it says.
                } else if of >= *at {
                    prop_assert_eq!(found, said(step, *at, &bases, of), "minute {} after step {}", of, number);
                } else if was_exception(of) || !names(of) {
                    prop_assert_eq!(found, limit_at(&before, of), "minute {} before step {}", of, number);
                }
            }
            known = all;
            let again = appended(step, *at, now + Duration::milliseconds(1), &known);
            prop_assert_eq!(again.len(), 0, "again after step {}", number);
        }
    }
}

/// An exception lifts the maximum, and leaves the rest to the version under it, in Rust (which closes days) and in views.
#[test]
fn while_an_exception_holds_the_owner_is_that_of_the_version_under_it() {
    on_every_store(async |store| {
        let exceptions = [(&*day(5), &*day(9), 8)];
        let of = |owner: &str| ped_with("payments", None, 3, &exceptions).replace("team-payments", owner);
        for (owner, from) in [("team-payments", 1), ("team-new", 7)] {
            let registrations = registrations(&of(owner), None, &day(from), "ci");
            pedwatch::store::register(store, registrations).await.expect("registered");
        }
        let write = Sample::patch("one", "2026-09-02T00:00:00Z", 3).version(1, 1).bytes();
        handle(store, &pipeline(store).await, &[write], time(&day(10))).await;
        let owners = async || {
            let days = rows(store, "daily_max_replicas", &["date", "owner"]).await;
            ["2026-09-06", "2026-09-08"].map(|date| days.iter().find(|row| row[0] == date).expect("a day")[1].clone())
        };
        assert_eq!(owners().await, ["team-payments", "team-new"], "out of events");
        let about = query::About {
            namespace: None,
            deployment: None,
            clusters: Clusters::Any,
            verdicts: Vec::new(),
            actor: None,
            out_of_scope: true,
        };
        let standing = query::status(store, &about, time(&day(8))).await.expect("readable");
        assert_eq!(standing[0].owner.as_deref(), Some("team-new"), "{standing:?}");
        pedwatch::job::daily::close(store, time(&day(10)), time(&day(12))).await.expect("closed");
        assert_eq!(owners().await, ["team-payments", "team-new"], "out of closed days");
    });
}
