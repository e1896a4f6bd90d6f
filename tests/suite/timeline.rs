//! Timelines: what each sentence about them says, the laws that hold for any history, and the same answers as SQL's.
//!
//! `PEDWATCH_TEST_CASES` is how many cases each law tries.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Days, Duration, NaiveDate, Utc};
use pedwatch::audit::{ObjectKind, Operation};
use pedwatch::ped::limits::Limits;
use pedwatch::ped::version::Version;
use pedwatch::ped::{Cluster, Clusters, Subject, Terms};
use pedwatch::policy::{Route, Verdict};
use pedwatch::store::{Registry, query};
use pedwatch::timeline::{
    Asked, Cause, Change, InForce, Input, Interval, Object, Observation, Origin, Peak, Period, Timeline,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

use crate::support::{all_entries, block_on, fixture_store, handle, time};

const CLUSTER: Cluster<'static> = Cluster { project: "acme-prod", location: "europe-west1", name: "prod-1" };

/// Any cluster, the name, the cluster, and another one.
const SCOPES: [&str; 4] = [
    "",
    "prod-1",
    "projects/acme-prod/locations/europe-west1/clusters/prod-1",
    "projects/acme-prod/locations/us-east1/clusters/prod-1",
];

/// A midnight.
const BEGIN: &str = "2026-09-01T00:00:00Z";
const DAY_MICROS: i64 = 86_400_000_000;

pub fn hour(hour: i64) -> DateTime<Utc> {
    time(BEGIN) + Duration::hours(hour)
}

fn date(day: u64) -> NaiveDate {
    hour(0).date_naive() + Days::new(day)
}

pub fn api() -> Object {
    Object { kind: ObjectKind::Deployment, name: "api".to_owned() }
}

pub fn hpa(name: &str) -> Object {
    Object { kind: ObjectKind::HorizontalPodAutoscaler, name: name.to_owned() }
}

/// A write at an hour: the first life, in scope, and all that it should be.
pub fn write(object: Object, at: i64, asked: Asked) -> Change {
    let id = format!("{}-{at}-{asked:?}", object.name);
    Change {
        uid: None,
        life: 1,
        effective_at: hour(at),
        asked,
        min_replicas: None,
        effective: true,
        outside_range: false,
        in_scope: true,
        missed_writes: 0,
        origin: Origin::Write(Arc::new(Cause {
            event_id: id.clone(),
            write_id: id,
            written_at: hour(at),
            actor: format!("{}-{at}@example.com", object.name),
            on_behalf_of: None,
            route: Route::Bypass,
            operation: Operation::Scale,
        })),
        object,
    }
}

pub fn scale(at: i64, number: i64) -> Change {
    write(api(), at, Asked::Number(number))
}

fn seen(at: i64, replicas: Option<i64>) -> Observation {
    Observation {
        at: hour(at),
        object: api(),
        uid: None,
        replicas,
        min_replicas: None,
        effective: true,
        outside_range: false,
        in_scope: true,
        complete: true,
    }
}

pub fn version(id: &str, at: i64, max: Option<i64>) -> Version {
    let resources = [("cpu", "2"), ("memory", "4Gi")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Version {
        id: id.to_owned(),
        subject: Subject { namespace: "shop".to_owned(), deployment: "api".to_owned(), clusters: Clusters::of(None) },
        effective_at: hour(at),
        until: None,
        registered_at: hour(at),
        terms: Terms { owner: format!("owner-{id}"), max_replicas: max, limits: resources.into(), ..Terms::default() },
        initial_max_replicas: 1,
        created_at: hour(at),
        change: None,
        updated_by: "test".to_owned(),
        reason: None,
        source: None,
    }
}

fn input<'i>(
    changes: &'i [Change],
    observations: &'i [Observation],
    versions: &'i [Version],
    until: DateTime<Utc>,
) -> Input<'i> {
    Input { cluster: CLUSTER, namespace: "shop", deployment: "api", changes, observations, versions, until }
}

pub fn timeline(changes: &[Change], versions: &[Version]) -> Timeline {
    Timeline::new(&input(changes, &[], versions, hour(72)))
}

fn since(at: DateTime<Utc>) -> i64 {
    (at - hour(0)).num_hours()
}

/// The numbers of the Deployment and of its HPAs, each with the hours between which it stood.
fn numbers(timeline: &Timeline) -> Vec<(i64, i64, Asked, Asked)> {
    let numbers =
        |interval: &Interval| (since(interval.from), since(interval.to), interval.replicas.asked, interval.hpa.asked);
    timeline.intervals().iter().map(numbers).collect()
}

fn verdicts(timeline: &Timeline) -> Vec<(i64, Verdict)> {
    timeline.intervals().iter().map(|interval| (since(interval.from), interval.replicas.verdict)).collect()
}

use Asked::{Nothing, Number, Unknown};

#[test]
fn a_number_stands_from_its_write_to_the_next() {
    let timeline = timeline(&[scale(3, 2), scale(30, 5)], &[]);
    assert_eq!(numbers(&timeline), [(3, 30, Number(2), Nothing), (30, 72, Number(5), Nothing)]);
    let set = timeline.at(hour(29)).and_then(|interval| interval.replicas.set.clone()).expect("known");
    assert_eq!(set.origin.cause().map(|cause| cause.actor.as_str()), Some("api-3@example.com"));
    assert_eq!(timeline.at(hour(2)), None);
    assert_eq!(timeline.at(hour(72)), None);
}

#[test]
fn a_write_without_a_number_begins_an_unknown_interval() {
    let timeline = timeline(&[scale(0, 4), write(api(), 5, Unknown), scale(9, 4)], &[version("v1", -1, Some(4))]);
    let expected = [(0, 5, Number(4), Nothing), (5, 9, Unknown, Nothing), (9, 72, Number(4), Nothing)];
    assert_eq!(numbers(&timeline), expected);
    assert_eq!(verdicts(&timeline)[1], (5, Verdict::UnknownValue));
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!(day.verdicts.unknown_value, 4 * 3_600_000_000);
    assert_eq!(day.replica_micros, 4 * 20 * 3_600_000_000, "an unknown number adds nothing");
}

#[test]
fn an_end_ends_and_a_new_life_begins_anew() {
    let changes = [scale(0, 4), write(api(), 5, Nothing), Change { life: 2, ..write(api(), 8, Unknown) }];
    let timeline = timeline(&changes, &[]);
    let expected = [(0, 5, Number(4), Nothing), (5, 8, Nothing, Nothing), (8, 72, Unknown, Nothing)];
    assert_eq!(numbers(&timeline), expected);
    assert_eq!(verdicts(&timeline)[1].1, Verdict::Removed);
}

#[test]
fn a_new_life_whose_birth_was_not_seen_sets_its_number_itself() {
    let timeline = timeline(&[scale(0, 4), Change { life: 2, ..scale(7, 4) }], &[]);
    let set = timeline.at(hour(8)).and_then(|interval| interval.replicas.set.clone()).expect("known");
    assert_eq!((set.life, since(set.effective_at)), (2, 7));
}

#[test]
fn the_same_number_again_was_set_by_whoever_set_it_first() {
    let again = Change { missed_writes: 2, ..scale(7, 4) };
    let timeline = timeline(&[scale(0, 4), again], &[]);
    let set = timeline.at(hour(8)).and_then(|interval| interval.replicas.set.clone()).expect("known");
    assert_eq!((since(set.effective_at), set.written_at()), (0, hour(0)));
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!((day.writes, day.changes, day.missed_writes), (2, 1, 2));
}

#[test]
fn the_highest_hpa_that_finds_the_deployment_counts() {
    let changes = [
        scale(0, 2),
        write(hpa("a"), 1, Number(6)),
        write(hpa("b"), 2, Number(9)),
        Change { effective: false, ..write(hpa("b"), 4, Number(9)) },
        write(hpa("a"), 6, Unknown),
        write(hpa("a"), 8, Nothing),
    ];
    let timeline = timeline(&changes, &[version("v1", -1, Some(7))]);
    let expected = [
        (0, 1, Number(2), Nothing),
        (1, 2, Number(2), Number(6)),
        (2, 4, Number(2), Number(9)),
        (4, 6, Number(2), Number(6)),
        (6, 8, Number(2), Unknown),
        (8, 72, Number(2), Nothing),
    ];
    assert_eq!(numbers(&timeline), expected);
    assert_eq!(timeline.at(hour(3)).map(|interval| interval.hpa.verdict), Some(Verdict::OverLimit));
    let day = timeline.day(&hpa("b"), date(0)).period;
    assert_eq!((day.verdicts.over_limit, day.verdicts.not_judged), (2 * 3_600_000_000, 20 * 3_600_000_000));
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!(day.highest_hpa.map(|high| (high.number, high.object, since(high.from))), Some((9, hpa("b"), 2)));
    assert_eq!(day.highest.map(|high| high.number), Some(2));
}

#[test]
fn an_hpa_that_turns_elsewhere_ends_here_and_begins_there() {
    let (to_here, away) = (write(hpa("a"), 1, Number(6)), write(hpa("a"), 5, Nothing));
    let here = timeline(&[scale(0, 2), to_here, away], &[]);
    let there = timeline(&[write(hpa("a"), 5, Number(6))], &[]);
    assert_eq!(here.at(hour(4)).map(|interval| interval.hpa.asked), Some(Number(6)));
    assert_eq!(here.at(hour(5)).map(|interval| interval.hpa.asked), Some(Nothing));
    assert_eq!(numbers(&there), [(5, 72, Nothing, Number(6))]);
}

#[test]
fn a_version_registered_later_with_an_earlier_effect_counts_from_its_effect() {
    let late = Version { registered_at: hour(60), ..version("v2", 10, Some(3)) };
    let timeline = timeline(&[scale(0, 5)], &[version("v1", -1, Some(8)), late]);
    assert_eq!(verdicts(&timeline), [(0, Verdict::Within), (10, Verdict::OverLimit)]);
    let limit =
        |at| timeline.in_force(hour(at)).map(|limit| (limit.limit_id.as_str(), limit.max_replicas, since(limit.since)));
    assert_eq!((limit(9), limit(10)), (Some(("v1", 8, -1)), Some(("v2", 3, 10))));
}

#[test]
fn a_limit_that_turns_under_a_standing_number_judges_it_again() {
    let exception = Version { until: Some(hour(20)), ..version("sale", 10, Some(9)) };
    let retired = version("gone", 40, None);
    let changes = [scale(0, 6)];
    let timeline = timeline(&changes, &[version("v1", 5, Some(4)), exception, retired]);
    let expected = [
        (0, Verdict::Unregistered),
        (5, Verdict::OverLimit),
        (10, Verdict::Within),
        (20, Verdict::OverLimit),
        (40, Verdict::Unregistered),
    ];
    assert_eq!(verdicts(&timeline), expected);
    let in_force = timeline.in_force(hour(12)).expect("an exception");
    assert_eq!((in_force.max_replicas, in_force.initial_max_replicas), (9, 4));
    assert_eq!(in_force.owner, "owner-v1", "an exception lifts the maximum alone");
}

#[test]
fn resources_are_taken_key_by_key_limits_before_requests() {
    let mut version = version("v1", -1, Some(4));
    version.terms.limits.remove("cpu");
    version.terms.requests = [("cpu", "500m"), ("memory", "1Gi")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let timeline = timeline(&[scale(0, 2)], &[version]);
    let resources = timeline.in_force(hour(0)).expect("in force").resources;
    assert_eq!((resources.vcpu_millis, resources.memory_bytes), (Some(500), Some(4 << 30)));
}

#[test]
fn a_change_at_midnight_belongs_to_the_day_that_begins() {
    let timeline = timeline(&[scale(0, 7), scale(24, 3)], &[]);
    let highest = |day| timeline.day(&api(), date(day)).period.highest.map(|high| high.number);
    assert_eq!((highest(0), highest(1)), (Some(7), Some(3)));
}

#[test]
fn what_stood_for_no_time_is_no_interval_and_still_its_days_highest() {
    let timeline = timeline(&[scale(0, 2), scale(5, 50), scale(5, 3)], &[version("v1", -1, Some(4))]);
    assert_eq!(numbers(&timeline), [(0, 5, Number(2), Nothing), (5, 72, Number(3), Nothing)]);
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!(day.highest.as_ref().map(|high| (high.number, since(high.from))), Some((50, 5)));
    assert!(day.requested_peaks.iter().any(|peak| peak.max_replicas == 50 && peak.from == peak.to));
    assert_eq!(timeline.asked(&api()).iter().filter(|point| point.is_instant).count(), 1);
    assert_eq!(timeline.day(&api(), date(1)).period.highest.map(|high| high.number), Some(3));
}

#[test]
fn what_was_made_and_ended_at_one_instant_existed_on_that_day() {
    let timeline = timeline(&[scale(5, 2), write(api(), 5, Nothing)], &[version("v1", -1, Some(4))]);
    let (day, next) = (timeline.day(&api(), date(0)).period, timeline.day(&api(), date(1)).period);
    assert_eq!((day.existed(), next.existed()), (true, false));
    assert_eq!((day.verdicts.absent, day.owner()), (DAY_MICROS, Some("owner-v1")));
    assert_eq!(day.limit_peaks.iter().map(|peak| peak.max_replicas).collect::<Vec<_>>(), [4]);
}

#[test]
fn an_entry_from_the_future_is_cut() {
    let changes = [scale(0, 2), scale(9_000, 9)];
    let timeline = timeline(&changes, &[]);
    assert_eq!(numbers(&timeline), [(0, 72, Number(2), Nothing)]);
    let later = timeline.day(&api(), date(40)).period;
    assert_eq!((later.existed(), later.verdicts.total(), later.writes), (false, 0, 0));
    assert_eq!(timeline.intervals(), self::timeline(&changes[..1], &[]).intervals());
}

#[test]
fn what_is_out_of_scope_is_shown_and_held_against_nobody() {
    let outside = Change { in_scope: false, ..scale(0, 50) };
    let timeline = timeline(&[outside], &[version("v1", -1, Some(4))]);
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!((day.existed(), day.in_scope, day.highest.is_none()), (true, false, true));
    assert_eq!((day.verdicts.not_judged, day.verdicts.over_limit), (DAY_MICROS, 0));
    assert_eq!(day.limit_peaks.iter().count() + day.requested_peaks.iter().count(), 0);
}

#[test]
fn a_snapshot_that_finds_another_number_begins_an_interval() {
    let found = [seen(4, Some(2)), seen(8, Some(7)), seen(9, Some(7))];
    let timeline = Timeline::new(&input(&[scale(0, 2), scale(20, 7)], &found, &[], hour(72)));
    let stands: Vec<_> =
        timeline.intervals().iter().map(|i| (since(i.from), i.replicas.asked, i.replicas.set.clone())).collect();
    let [(0, Number(2), _), (8, Number(7), Some(drift)), (20, Number(7), Some(written))] = stands.as_slice() else {
        panic!("{stands:?}");
    };
    assert_eq!(drift.origin, Origin::Snapshot);
    assert!(written.origin.cause().is_some(), "a write takes the number over");
}

#[test]
fn absence_means_something_only_under_a_complete_snapshot() {
    for (complete, expected) in [(true, Nothing), (false, Number(2))] {
        let found = [Observation { complete, ..seen(8, None) }];
        let timeline = Timeline::new(&input(&[scale(0, 2)], &found, &[], hour(72)));
        assert_eq!(timeline.at(hour(9)).map(|interval| interval.replicas.asked), Some(expected));
    }
    let baseline = Timeline::new(&input(&[], &[seen(1, None), seen(8, Some(3))], &[], hour(72)));
    assert_eq!(numbers(&baseline), [(8, 72, Number(3), Nothing)]);
}

#[test]
fn the_highest_product_is_kept_not_the_product_of_the_highest() {
    let mut larger = version("v2", 12, Some(2));
    larger.terms.limits =
        [("cpu", "4"), ("memory", "8Gi")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let timeline = timeline(&[scale(0, 1)], &[version("v1", -1, Some(4)), larger]);
    let day = timeline.day(&api(), date(0)).period;
    let peaks: Vec<_> =
        day.limit_peaks.iter().map(|peak| (peak.max_replicas, peak.vcpu_millis, since(peak.to))).collect();
    assert_eq!(peaks, [(4, Some(2000), 12)], "of two that cost the same the first");
    assert_eq!(day.highest_limit.map(|limit| limit.max_replicas), Some(4));
    assert_eq!(
        (day.last_limit.as_ref().map(|limit| limit.max_replicas), day.end.map(|end| end.asked)),
        (Some(2), Some(Number(1)))
    );
}

#[test]
fn peaks_are_read_back_as_they_are_kept() {
    let timeline = timeline(&[scale(0, 1)], &[version("v1", -1, Some(4))]);
    let peaks = timeline.day(&api(), date(0)).period.limit_peaks;
    let text = serde_json::to_string(&peaks).expect("JSON");
    assert_eq!(
        text,
        r#"[{"max_replicas":4,"vcpu_millis":2000,"memory_bytes":4294967296,"from":"2026-09-01T00:00:00Z","to":"2026-09-02T00:00:00Z","source":"v1","owner":"owner-v1"}]"#
    );
    assert_eq!(serde_json::from_str::<pedwatch::timeline::Peaks>(&text).expect("peaks"), peaks);
}

#[test]
fn the_higher_of_limit_and_number_is_both_their_peaks_joined() {
    let timeline = timeline(&[scale(0, 3), scale(10, 8), scale(11, 3)], &[version("v1", -1, Some(6))]);
    let day = timeline.day(&api(), date(0)).period;
    let dear = |peaks: &pedwatch::timeline::Peaks| peaks.iter().map(|peak| peak.max_replicas).collect::<Vec<_>>();
    assert_eq!((dear(&day.limit_peaks), dear(&day.requested_peaks)), (vec![6], vec![8]));
    let mut highest = day.limit_peaks.clone();
    highest.join(&day.requested_peaks);
    assert_eq!(dear(&highest), [8]);
    let peak = highest.iter().next().expect("a peak");
    assert_eq!((since(peak.from), since(peak.to), peak.source.as_deref()), (10, 11, Some("api-10-Number(8)")));
}

#[test]
fn an_end_is_a_state_of_the_span_in_which_it_came() {
    let timeline = timeline(&[scale(0, 3), write(api(), 10, Nothing)], &[]);
    let end = |from, to| timeline.period(&api(), hour(from), hour(to)).end.map(|end| end.asked);
    assert_eq!(
        (end(0, 10), end(0, 24), end(10, 11), end(24, 48)),
        (Some(Number(3)), Some(Nothing), Some(Nothing), None)
    );
}

#[test]
fn the_owner_is_the_one_at_the_peak_and_the_one_at_the_end() {
    let timeline = timeline(&[scale(0, 7), scale(2, 3)], &[version("v1", -1, Some(4)), version("v2", 12, Some(4))]);
    let day = timeline.day(&api(), date(0)).period;
    assert_eq!(day.highest.as_ref().and_then(|high| high.owner.as_deref()), Some("owner-v1"));
    assert_eq!(day.owner(), Some("owner-v2"));
    assert_eq!(timeline.day(&api(), date(1)).period.highest.and_then(|high| high.owner).as_deref(), Some("owner-v2"));
}

#[test]
fn a_snapshot_that_sees_another_uid_sees_another_object() {
    let written = Change { uid: Some("one".to_owned()), ..scale(0, 2) };
    let found = [Observation { uid: Some("two".to_owned()), ..seen(8, Some(2)) }];
    let timeline = Timeline::new(&input(&[written], &found, &[], hour(72)));
    let set = timeline.at(hour(9)).and_then(|interval| interval.replicas.set.clone()).expect("known");
    assert_eq!((set.uid.as_deref(), &set.origin, since(set.effective_at)), (Some("two"), &Origin::Snapshot, 8));
}

#[test]
fn a_number_beyond_reason_stops_at_what_a_column_holds() {
    let timeline = timeline(&[scale(0, i64::from(i32::MAX))], &[version("v1", -1, Some(i64::from(i32::MAX)))]);
    let days = |days: u64| (0..days).map(|day| timeline.day(&api(), date(day)).period).reduce(Period::join);
    assert_eq!(days(3).map(|period| period.replica_micros), Some(i64::MAX));
    assert_eq!(days(3), Some(timeline.period(&api(), hour(0), hour(72))));
}

#[test]
fn an_hpa_alone_is_over_and_not_billed() {
    let changes = [scale(0, 1), write(api(), 2, Nothing), write(hpa("a"), 5, Number(9))];
    let timeline = timeline(&changes, &[version("v1", -1, Some(4))]);
    let day = timeline.day(&hpa("a"), date(0)).period;
    assert_eq!(day.highest.map(|high| high.number), Some(9));
    assert_eq!((day.verdicts.over_limit, day.requested_peaks.iter().count()), (19 * 3_600_000_000, 0));
}

#[test]
fn the_hash_of_a_day_tells_what_it_was_computed_from() {
    let (changes, versions) = ([scale(0, 2), scale(30, 3)], [version("v1", -1, Some(4))]);
    let hash =
        |changes: &[Change], versions: &[Version], day| timeline(changes, versions).day(&api(), date(day)).inputs_hash;
    let plain = hash(&changes, &versions, 1);
    assert_eq!(plain, hash(&changes, &versions, 1));
    assert_ne!(plain, hash(&changes, &versions, 0));
    assert_ne!(plain, hash(&[scale(0, 5), scale(30, 3)], &versions, 1), "another state carried in");
    assert_ne!(plain, hash(&changes, &[version("v2", -1, Some(4))], 1), "another version");
    assert_ne!(plain, hash(&[&changes[..], &[write(hpa("a"), 3, Number(2))]].concat(), &versions, 1), "an HPA");
    let later = [&changes[..], &[scale(50, 9)]].concat();
    assert_eq!(plain, hash(&later, &versions, 1), "what comes later is another day's");
}

/// A history: the changes in order of effect, what snapshots saw, and versions. Times are whole hours, and few, so that
/// they meet.
#[derive(Debug, Clone)]
pub struct History {
    changes: Vec<Change>,
    observations: Vec<Observation>,
    versions: Vec<Version>,
}

/// Four days.
pub const HOURS: i64 = 96;

impl History {
    pub fn timeline(&self) -> Timeline {
        Timeline::new(&input(&self.changes, &self.observations, &self.versions, hour(HOURS)))
    }

    /// What an object asks for at an instant, the slow way.
    fn state(&self, object: &Object, at: DateTime<Utc>) -> Option<&Change> {
        self.changes.iter().rfind(|change| change.object == *object && change.effective_at <= at)
    }

    /// Whether one of its changes is by this entry.
    pub fn has_write(&self, event: &str) -> bool {
        self.changes.iter().any(|change| change.origin.cause().is_some_and(|cause| cause.event_id == event))
    }

    pub fn objects() -> [Object; 3] {
        [api(), hpa("a"), hpa("b")]
    }
}

#[derive(Debug, Clone)]
struct Spec {
    object: Index,
    gap: i64,
    lag: i64,
    asked: Asked,
    effective: bool,
    outside: bool,
    in_scope: bool,
    missed: i64,
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![5 => (0..7_i64).prop_map(Number), 1 => Just(Unknown), 1 => Just(Nothing)]
}

fn spec() -> impl Strategy<Value = Spec> {
    let odds = |odds: f64| prop::bool::weighted(odds);
    (any::<Index>(), 0..12_i64, 0..3_i64, asked(), odds(0.8), odds(0.2), odds(0.9), 0..2_i64).prop_map(
        |(object, gap, lag, asked, effective, outside, in_scope, missed)| Spec {
            object,
            gap,
            lag,
            asked,
            effective,
            outside,
            in_scope,
            missed,
        },
    )
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(spec(), 0..20).prop_map(|specs| {
        let mut at = -10;
        let mut lives: BTreeMap<Object, (i64, bool)> = BTreeMap::new();
        let mut changes = Vec::new();
        for (number, spec) in specs.into_iter().enumerate() {
            at += spec.gap;
            let object = spec.object.get(&History::objects()).clone();
            let (life, gone) = lives.entry(object.clone()).or_default();
            *life += i64::from(*gone);
            *gone = spec.asked == Nothing;
            let mut change = Change {
                life: *life,
                effective: spec.effective || object.kind == ObjectKind::Deployment,
                outside_range: spec.outside,
                in_scope: spec.in_scope,
                missed_writes: spec.missed,
                ..write(object, at, spec.asked)
            };
            if let Origin::Write(cause) = &mut change.origin {
                let id = format!("{number:02}");
                let written_at = hour(at - spec.lag);
                *cause = Arc::new(Cause { event_id: id.clone(), write_id: id, written_at, ..Cause::clone(cause) });
            }
            changes.push(change);
        }
        changes
    })
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    let lasts = prop_oneof![3 => Just(None), 1 => (-1..40_i64).prop_map(Some)];
    let max = prop_oneof![5 => (0..7_i64).prop_map(Some), 1 => Just(None)];
    let given = |(cpu, memory): (u8, u8)| {
        BTreeMap::from([("cpu".to_owned(), cpu.to_string()), ("memory".to_owned(), format!("{memory}Gi"))])
    };
    let resources = prop_oneof![Just(BTreeMap::new()), (1..5_u8, 1..5_u8).prop_map(given)];
    let one = (0..SCOPES.len(), -20..HOURS, lasts, 0..4_i64, max, resources);
    prop::collection::vec(one, 0..8).prop_map(|specs| {
        type One = (usize, i64, Option<i64>, i64, Option<i64>, BTreeMap<String, String>);
        let one = |(number, (scope, at, lasts, registered, max, resources)): (usize, One)| {
            let mut version = version(&format!("v{number}"), at, max);
            version.subject.clusters = Clusters::of(Some(SCOPES[scope]));
            version.until = lasts.map(|lasts| hour(at + lasts));
            version.registered_at = hour(registered);
            version.terms.limits = resources;
            version
        };
        specs.into_iter().enumerate().map(one).collect()
    })
}

pub fn observations() -> impl Strategy<Value = Vec<Observation>> {
    let one = (any::<Index>(), -10..HOURS, prop::option::of(0..7_i64), any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|specs| {
        let one = |(object, at, replicas, complete): (Index, i64, Option<i64>, bool)| Observation {
            object: object.get(&History::objects()).clone(),
            complete,
            ..seen(at, replicas)
        };
        specs.into_iter().map(one).collect()
    })
}

pub fn history(observations: impl Strategy<Value = Vec<Observation>>) -> impl Strategy<Value = History> {
    (changes(), observations, versions()).prop_map(|(changes, observations, versions)| History {
        changes,
        observations,
        versions,
    })
}

pub fn cases() -> u32 {
    std::env::var("PEDWATCH_TEST_CASES").map_or(400, |cases| cases.parse().expect("a number"))
}

/// What a write or a state comes to, the slow way.
fn judged(change: Option<&Change>, limits: &Limits, at: DateTime<Utc>) -> Verdict {
    let limit = limits.at(CLUSTER, "shop", "api", at);
    match change {
        Some(change) if change.asked != Nothing => {
            Verdict::of(change.asked.number(), limit.map(|limit| limit.max_replicas), change.outside_range)
        }
        _ => Verdict::Removed,
    }
}

/// The highest of CPU and memory of all replicas at some prices.
fn dearest<'p>(peaks: impl Iterator<Item = &'p Peak>, cpu: i64, memory: i64) -> Option<i64> {
    let price = |peak: &Peak| Some((cpu * peak.vcpu_millis? + memory * (peak.memory_bytes? >> 30)) * peak.max_replicas);
    peaks.filter_map(price).max()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intervals_follow_each_other_without_a_gap_to_the_end(history in history(observations())) {
        let timeline = history.timeline();
        let intervals = timeline.intervals();
        prop_assert!(intervals.iter().all(|interval| interval.from < interval.to));
        prop_assert!(intervals.windows(2).all(|pair| pair[0].to == pair[1].from));
        prop_assert!(intervals.last().is_none_or(|last| last.to == hour(HOURS)));
        let first = history.changes.iter().map(|change| change.effective_at).min().filter(|at| *at < hour(HOURS));
        prop_assert!(first.is_none_or(|first| intervals.first().is_some_and(|interval| interval.from <= first)));
    }

    #[test]
    fn the_days_of_a_span_sum_to_it_and_a_day_to_a_day(
        history in history(observations()), cuts in prop::collection::vec(0..HOURS * 60, 0..5),
    ) {
        let timeline = history.timeline();
        let mut cuts: Vec<i64> = cuts.into_iter().chain([0, HOURS * 60]).collect();
        cuts.sort_unstable();
        let minute = |minute| hour(0) + Duration::minutes(minute);
        for object in History::objects() {
            let whole = timeline.period(&object, hour(0), hour(HOURS));
            let join = |periods: Vec<Period>| periods.into_iter().reduce(Period::join).expect("one at least");
            let parts = cuts.windows(2).map(|cut| timeline.period(&object, minute(cut[0]), minute(cut[1])));
            prop_assert_eq!(&join(parts.collect()), &whole);
            let days: Vec<Period> = (0..4).map(|day| timeline.day(&object, date(day)).period).collect();
            prop_assert!(days.iter().all(|day| day.verdicts.total() == DAY_MICROS));
            let highest = days.iter().filter_map(|day| day.highest.as_ref()).map(|high| high.number).max();
            prop_assert_eq!(highest, whole.highest.as_ref().map(|high| high.number));
            prop_assert_eq!(&join(days), &whole);
        }
    }

    #[test]
    fn an_instant_is_as_the_order_and_the_limits_say(history in history(Just(Vec::new())), half in 0..2_i64) {
        let timeline = history.timeline();
        let limits = Limits::new(&history.versions);
        for at in (0..HOURS).map(|at| hour(at) + Duration::minutes(30 * half)) {
            let own = history.state(&api(), at);
            let hpa = [hpa("a"), hpa("b")];
            let hpas = hpa.iter().filter_map(|hpa| history.state(hpa, at)).filter(|hpa| hpa.effective && hpa.asked != Nothing);
            let highest = hpas.max_by_key(|hpa| hpa.asked.number()).map_or(Nothing, |hpa| hpa.asked);
            let Some(found) = timeline.at(at) else {
                prop_assert!(own.is_none() && highest == Nothing);
                continue;
            };
            prop_assert_eq!(found.replicas.asked, own.map_or(Nothing, |own| own.asked));
            prop_assert_eq!(found.hpa.asked, highest);
            prop_assert_eq!(found.replicas.verdict, judged(own, &limits, at));
            let limit = limits.at(CLUSTER, "shop", "api", at).map(|limit| limit.limit_id.as_str());
            prop_assert_eq!(found.in_force.as_deref().map(|limit| limit.limit_id.as_str()), limit);
            prop_assert_eq!(timeline.in_force(at).map(|limit| limit.limit_id.as_str()), limit);
        }
    }

    #[test]
    fn a_period_is_the_sum_of_its_hours(history in history(Just(Vec::new())), prices in (0..9_i64, 0..9_i64)) {
        let timeline = history.timeline();
        let limits = Limits::new(&history.versions);
        for object in History::objects() {
            let period = timeline.period(&object, hour(0), hour(HOURS));
            let (mut over, mut absent, mut replicas) = (0, 0, 0);
            let mut dear: Option<i64> = None;
            for at in (0..HOURS).map(hour) {
                let state = history.state(&object, at);
                let verdict = judged(state, &limits, at);
                let number = state.filter(|state| state.counts()).and_then(|state| state.asked.number());
                over += i64::from(verdict == Verdict::OverLimit && number.is_some());
                absent += i64::from(verdict == Verdict::Removed);
                replicas += number.unwrap_or_default();
                let is_there = history.state(&api(), at).is_some_and(|own| own.asked != Nothing && own.in_scope);
                if let Some((InForce { resources, .. }, number)) = timeline.in_force(at).zip(number.filter(|_| is_there)) {
                    let peak = Peak {
                        max_replicas: number,
                        vcpu_millis: resources.vcpu_millis,
                        memory_bytes: resources.memory_bytes,
                        from: at,
                        to: at,
                        source: None,
                        owner: None,
                    };
                    dear = dear.max(dearest([&peak].into_iter(), prices.0, prices.1));
                }
            }
            let hours = |micros: i64| micros / 3_600_000_000;
            let found = (hours(period.verdicts.over_limit), hours(period.verdicts.absent), hours(period.replica_micros));
            prop_assert_eq!(found, (over, absent, replicas));
            // What stood for no time costs, too.
            let stood = period.requested_peaks.iter().filter(|peak| peak.from < peak.to);
            let is_instant = period.requested_peaks.iter().any(|peak| peak.from == peak.to);
            prop_assert!(is_instant || dearest(stood, prices.0, prices.1) == dear);
            prop_assert!(dearest(period.requested_peaks.iter(), prices.0, prices.1) >= dear);
        }
    }

    #[test]
    fn versions_and_snapshots_in_any_order_give_the_same_timeline(
        (history, shuffled) in history(observations()).prop_flat_map(|history| {
            let shuffled = Just(history.versions.clone()).prop_shuffle();
            (Just(history), shuffled)
        }),
    ) {
        let mut observations = history.observations.clone();
        observations.sort_by_key(|seen| seen.at);
        let other = History { versions: shuffled, observations, ..history.clone() };
        let (left, right) = (history.timeline(), other.timeline());
        prop_assert_eq!(left.intervals(), right.intervals());
        for object in History::objects() {
            prop_assert_eq!(left.day(&object, date(1)), right.day(&object, date(1)));
        }
    }

    #[test]
    fn a_day_is_the_same_from_the_states_carried_in(history in history(observations()), day in 0..4_u64) {
        let whole = history.timeline();
        let from = hour(24 * i64::try_from(day).expect("small"));
        let carried = History::objects().into_iter().filter_map(|object| {
            // What is gone has no row to carry it.
            whole.period(&object, from, from).end.filter(|end| end.asked != Nothing).map(|end| Change::clone(&end))
        });
        let later = history.changes.iter().filter(|change| change.effective_at >= from).cloned();
        let observations = history.observations.iter().filter(|seen| seen.at >= from).cloned().collect();
        let changes: Vec<Change> = carried.chain(later).collect();
        let cut = History { changes, observations, versions: history.versions.clone() }.timeline();
        for object in History::objects() {
            for day in day..4 {
                let (expected, found) = (whole.day(&object, date(day)), cut.day(&object, date(day)));
                prop_assert_eq!(expected.period.existed(), found.period.existed());
                if expected.period.existed() {
                    prop_assert_eq!(expected, found);
                }
            }
        }
    }
}

fn text(row: &Json, column: &str) -> Option<String> {
    row[column].as_str().map(str::to_owned)
}

fn is_true(row: &Json, column: &str) -> bool {
    row[column].as_i64() == Some(1)
}

/// The names of the Deployment that a row is about.
fn names(row: &Json) -> Option<[String; 5]> {
    let name = |column| text(row, column);
    Some([
        name("project_id").unwrap_or_default(),
        name("location").unwrap_or_default(),
        name("cluster_name")?,
        name("namespace")?,
        name("deployment_name")?,
    ])
}

fn change(row: &Json) -> Change {
    let needed = |column: &str| text(row, column).unwrap_or_else(|| panic!("{column} of {row}"));
    Change {
        object: Object {
            kind: needed("object_kind").parse().expect("a kind"),
            name: text(row, "object_name").unwrap_or_else(|| needed("write_id")),
        },
        uid: text(row, "object_uid"),
        life: row["life"].as_i64().expect("a number"),
        effective_at: time(&needed("effective_time")),
        asked: Asked::of(row["replicas"].as_i64(), row["verdict"] == "removed"),
        min_replicas: row["min_replicas"].as_i64(),
        effective: is_true(row, "effective"),
        outside_range: is_true(row, "outside_range"),
        in_scope: is_true(row, "in_scope"),
        missed_writes: row["missed_writes"].as_i64().expect("a number"),
        origin: Origin::Write(Arc::new(Cause {
            event_id: needed("event_id"),
            write_id: needed("write_id"),
            written_at: time(&needed("event_time")),
            actor: needed("actor"),
            on_behalf_of: text(row, "on_behalf_of"),
            route: needed("route").parse().expect("a route"),
            operation: needed("operation").parse().expect("an operation"),
        })),
    }
}

/// Every fixture, by Deployment: the rows in their order.
type Stored = (BTreeMap<[String; 5], Vec<Json>>, Vec<Json>, Vec<Version>);

async fn stored() -> Stored {
    let (store, pipeline) = fixture_store().await;
    handle(&store, &pipeline, &all_entries(), hour(0)).await;
    let mut rows: Vec<Json> = query::dump(&store, "replica_changes").await.expect("readable");
    rows.sort_by_key(|row| (row["object_id"].to_string(), row["position"].as_i64()));
    let mut deployments: BTreeMap<[String; 5], Vec<Json>> = BTreeMap::new();
    for row in rows {
        if let Some(names) = names(&row) {
            deployments.entry(names).or_default().push(row);
        }
    }
    let daily = query::dump(&store, "daily_max_replicas").await.expect("readable");
    let versions = store.versions(None).await.expect("readable");
    (deployments, daily, versions)
}

#[test]
fn every_fixture_is_judged_and_summed_as_the_views_do() {
    let (deployments, daily, versions) = block_on(stored());
    let mut days: BTreeMap<([String; 5], String), i64> = BTreeMap::new();
    for row in &daily {
        let key = (names(row).expect("names"), text(row, "date").expect("a day"));
        days.insert(key, row["max_replicas"].as_i64().expect("a number"));
    }
    let (mut judged, mut compared) = (0, 0);
    for (names, rows) in &deployments {
        let [project, location, name, namespace, deployment] = names;
        let changes: Vec<Change> = rows.iter().map(change).collect();
        let timeline = Timeline::new(&Input {
            cluster: Cluster { project, location, name },
            namespace,
            deployment,
            changes: &changes,
            observations: &[],
            versions: &versions,
            until: time("2026-12-31T00:00:00Z"),
        });
        for (row, change) in rows.iter().zip(&changes) {
            let limit = timeline.in_force(change.written_at());
            assert_eq!(limit.map(|limit| limit.max_replicas), row["limit_max_replicas"].as_i64(), "{row}");
            let max = limit.map(|limit| limit.max_replicas);
            let verdict = match change.asked {
                Nothing => Verdict::Removed,
                asked => Verdict::of(asked.number(), max, change.outside_range),
            };
            assert_eq!(Some(verdict.to_string()), text(row, "verdict"), "{row}");
            judged += 1;
        }
        let own = Object { kind: ObjectKind::Deployment, name: deployment.clone() };
        for ((_, day), expected) in days.iter().filter(|((of, _), _)| of == names) {
            let date: NaiveDate = day.parse().expect("a date");
            // The view stretches what took effect on a later day over the days between; here it counts for the day on
            // which it was asked for, and from its effect on.
            let is_stretched =
                |change: &Change| change.written_at().date_naive() < date && date <= change.effective_at.date_naive();
            if changes.iter().any(is_stretched) {
                continue;
            }
            let highest = timeline.day(&own, date).period.highest.map(|high| high.number);
            assert_eq!(highest, Some(*expected), "{names:?} on {day}");
            compared += 1;
        }
    }
    assert!(judged > 30 && compared > 300, "{judged} judged, {compared} compared");
}
