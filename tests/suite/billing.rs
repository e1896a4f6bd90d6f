//! Bills: what is said of a month, what is kept of it, and the laws that hold for any history.

mod backtest;
mod baseline;
mod cli;
mod kept;
mod report;
mod storage;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use pedwatch::billing::{
    Basis, Begun, Forecast, Line, Month, Price, Prices, Registered, Replicas, Rounding, Told, cost, fee,
};
use pedwatch::names::Named;
use pedwatch::ped::version::Version;
use pedwatch::timeline::{Asked, Change, Peak, Peaks, Timeline};
use proptest::prelude::*;

use crate::support::time;
use crate::timeline::{HOURS, History, api, cases, history, hour, hpa, observations, scale, timeline, version, write};

pub fn price() -> Price {
    let whole = |amount: i64| amount.into();
    Price {
        base: whole(180),
        cpu: whole(19),
        gb: whole(19),
        divisor: whole(4),
        basis: Basis::Limit,
        currency: "USD".to_owned(),
        places: 2,
        rounding: Rounding::HalfUp,
        timezone: Tz::UTC,
        min_seconds: 0,
    }
}

fn by(basis: Basis) -> Price {
    Price { basis, ..price() }
}

/// The first three days, which the helpers' timelines are of.
fn span() -> (DateTime<Utc>, DateTime<Utc>) {
    (hour(0), hour(72))
}

fn line_of(timeline: &Timeline, price: &Price, span: (DateTime<Utc>, DateTime<Utc>)) -> Option<(String, Vec<String>)> {
    let line = Line::new(timeline, price, span)?;
    let told = Told { line: &line, price, versions: Registered(&[]), until: span.1 };
    Some((line.fee().map_or_else(|| "none".to_owned(), |fee| price.written(fee.total)), told.sentences()))
}

fn billed(changes: &[Change], versions: &[Version], price: &Price) -> (String, Vec<String>) {
    line_of(&timeline(changes, versions), price, span()).expect("billed")
}

fn fee_of(changes: &[Change], versions: &[Version], price: &Price) -> String {
    billed(changes, versions, price).0
}

fn with_resources(id: &str, at: i64, max: i64, resources: &[(&str, &str)]) -> Version {
    let mut version = version(id, at, Some(max));
    version.terms.limits = resources.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    version
}

/// The cases of the design, with their fees.
#[test]
fn a_month_is_charged_for_its_highest_while_the_deployment_was_there() {
    let (three, six) = (version("v3", -9, Some(3)), version("v6", 30, Some(6)));
    let versions = [three.clone(), six.clone()];
    assert_eq!(fee_of(&[scale(0, 3)], &versions, &price()), "351.00");
    let (_, sentences) = billed(&[scale(0, 3)], &versions, &price());
    assert!(
        sentences[0].starts_with("265.50 for a limit of 3 replicas of 2 vCPU and 4 GiB each, from "),
        "{sentences:?}"
    );
    assert!(
        sentences[1].starts_with("+85.50 for a limit of 6 replicas of 2 vCPU and 4 GiB each, from 2026-09-02 06:00:00")
    );
    assert!(sentences[2].ends_with("it belonged to owner-v3, who is not charged"), "{sentences:?}");

    // And 8 by kubectl for an hour.
    let high = [scale(0, 3), scale(50, 8), scale(51, 6)];
    assert_eq!(fee_of(&high, &versions, &price()), "351.00");
    assert_eq!(fee_of(&high, &versions, &by(Basis::Highest)), "408.00");
    assert_eq!(fee_of(&high, &versions, &by(Basis::Requested)), "408.00");
    let hour_long = |min_seconds| Price { min_seconds, ..by(Basis::Highest) };
    assert_eq!(fee_of(&high, &versions, &hour_long(3_600)), "408.00");
    assert_eq!(fee_of(&high, &versions, &hour_long(3_601)), "351.00");

    // Two alerts, 7 then 8: each pays for what it lifts.
    let two = [scale(0, 6), scale(40, 7), scale(41, 8)];
    let costs = cost::of_writes(&timeline(&two, &[version("v6", -9, Some(6))]), &price(), span());
    let highest = |change: &Change| {
        costs.get(&change.origin.cause().expect("a write").event_id).map(|costs| costs[2].normalize().to_string())
    };
    assert_eq!([highest(&two[1]), highest(&two[2])], [Some("28.5".to_owned()), Some("28.5".to_owned())]);

    // Deleted, and made again under its name: one line.
    let again = [scale(0, 3), write(api(), 20, Asked::Nothing), Change { life: 2, ..scale(60, 3) }];
    let lowered = [version("v6", -9, Some(6)), version("v3", 40, Some(3))];
    assert_eq!(fee_of(&again, &lowered, &price()), "351.00");

    // Twice the resources and half the replicas are the same product.
    let moved = [version("v4", -9, Some(4)), with_resources("v2", 20, 2, &[("cpu", "4"), ("memory", "8Gi")])];
    assert_eq!(fee_of(&[scale(0, 2)], &moved, &price()), "294.00");
    let small = [with_resources("v3", -9, 3, &[("cpu", "500m"), ("memory", "256Mi")])];
    assert_eq!(fee_of(&[scale(0, 2)], &small, &price()), "190.69");
}

#[test]
fn what_is_not_there_is_not_billed_and_what_has_no_price_says_why() {
    let six = [version("v6", -9, Some(6))];
    assert_eq!(line_of(&timeline(&[], &six), &price(), span()), None, "a PED alone");
    let gone = [scale(-5, 3), write(api(), -2, Asked::Nothing)];
    assert_eq!(line_of(&timeline(&gone, &six), &price(), span()), None, "gone the month through");
    let alone = [write(hpa("a"), 3, Asked::Number(9))];
    assert_eq!(line_of(&timeline(&alone, &six), &price(), span()), None, "an HPA alone");
    let inert = [Change { in_scope: false, ..scale(0, 3) }];
    assert_eq!(line_of(&timeline(&inert, &six), &price(), span()), None, "out of scope");

    let unpriced = |versions: &[Version], price: &Price, why: &str| {
        let (fee, sentences) = billed(&[scale(0, 3)], versions, price);
        assert_eq!(fee, "none");
        assert!(sentences.iter().any(|sentence| sentence.contains(why)), "{why}: {sentences:?}");
    };
    unpriced(&[], &price(), "no PED was in force while it was there");
    unpriced(&[with_resources("v1", -9, 3, &[("cpu", "2")])], &price(), "leaves out cpu or memory; expected both");
    let short = [scale(0, 3), write(api(), 1, Asked::Nothing)];
    let (fee, sentences) = billed(&short, &six, &Price { min_seconds: 3_601, ..price() });
    assert_eq!(
        (fee.as_str(), sentences[0].contains("nothing was in force for 3601 s")),
        ("none", true),
        "{sentences:?}"
    );
    // What has no price needs none.
    let free = Price { gb: 0.into(), ..price() };
    assert_eq!(fee_of(&[scale(0, 3)], &[with_resources("v1", -9, 4, &[("cpu", "2")])], &free), "218.00");

    // Resources that go missing within the month leave the rest of it charged.
    let later = [version("v3", -9, Some(3)), with_resources("v8", 30, 8, &[])];
    let (fee, sentences) = billed(&[scale(0, 3)], &later, &price());
    assert_eq!(fee, "265.50");
    assert!(sentences.iter().any(|sentence| sentence.contains("version v8 leaves out cpu or memory")), "{sentences:?}");
}

#[test]
fn months_of_any_zones_follow_each_other_without_a_gap() {
    let of = |zone: Tz| Price { timezone: zone, ..price() };
    let date = |text: &str| text.parse().expect("a date");
    let month = |text: &str| text.parse::<Month>().expect("a month");
    let prices = Prices::new([
        (date("2017-01-01"), of(Tz::America__Asuncion)),
        (date("2026-09-01"), of(Tz::Asia__Shanghai)),
        (date("2026-11-01"), of(Tz::UTC)),
    ]);
    let mut at = month("2017-01");
    while at < month("2027-01") {
        let ((_, end), (begin, _)) = (prices.span(at).expect("priced"), prices.span(at.next()).expect("priced"));
        assert_eq!(end, begin, "{at}");
        let just_before = end - Duration::microseconds(1);
        assert_eq!((prices.month_at(just_before), prices.month_at(end)), (Some(at), Some(at.next())));
        at = at.next();
    }
    // The midnight that did not exist.
    assert_eq!(prices.span(month("2017-10")).expect("priced").0, time("2017-10-01T04:00:00Z"));
    assert_eq!(prices.span(month("2026-09")).expect("priced").0, time("2026-08-31T16:00:00Z"));
    assert_eq!(prices.span(month("2026-10")).expect("priced").1, time("2026-11-01T00:00:00Z"));
    assert_eq!(prices.span(month("2016-12")), None);
}

/// The highest fee of peaks.
fn dearest(peaks: &Peaks) -> Option<rust_decimal::Decimal> {
    let of = |peak: &Peak| {
        let replicas =
            Replicas { max: peak.max_replicas, vcpu_millis: peak.vcpu_millis?, memory_bytes: peak.memory_bytes? };
        Some(fee(&price(), replicas).expect("countable").total)
    };
    peaks.iter().filter_map(of).max()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// What `object_days` keeps of each day gives the same fee as the month at once.
    #[test]
    fn days_that_are_folded_cost_what_the_month_costs(history in history(observations())) {
        let timeline = history.timeline();
        for (at, &basis) in Basis::ALL.iter().enumerate() {
            let mut peaks = Peaks::default();
            for object in History::objects() {
                for day in 0..4 {
                    let period = timeline.period(&object, hour(24 * day), hour(24 * day + 24));
                    if object == api() && at != 1 {
                        peaks.join(&period.limit_peaks);
                    }
                    if at != 0 {
                        peaks.join(&period.requested_peaks);
                    }
                }
            }
            let line = Line::new(&timeline, &by(basis), (hour(0), hour(HOURS)));
            prop_assert_eq!(line.and_then(|line| line.fee()).map(|fee| fee.total), dearest(&peaks), "{}", basis);
        }
    }

    /// What writes add, with what was carried in and what versions and snapshots add, is the fee; so what writes add is the
    /// bill less what it would have been.
    #[test]
    fn the_costs_of_all_changes_sum_to_the_bill(history in history(observations())) {
        let (timeline, span) = (history.timeline(), (hour(0), hour(HOURS)));
        let costs = cost::of_writes(&timeline, &price(), span);
        for (at, &basis) in Basis::ALL.iter().enumerate() {
            let total = Line::new(&timeline, &by(basis), span).and_then(|line| line.fee()).map(|fee| fee.total);
            let others = cost::steps_by(&timeline, &price(), basis, span)
                .into_iter()
                .filter(|step| !matches!(step.charge.begun, Begun::Write(_)))
                .map(|step| step.adds);
            let sum = costs.values().map(|costs| costs[at]).chain(others).sum::<rust_decimal::Decimal>();
            prop_assert_eq!(sum, total.unwrap_or_default(), "{}", basis);
            prop_assert!(costs.keys().all(|event| history.has_write(event)));
        }
    }

    /// What is sure cannot fall, is no more than what is expected, and both are the bill in the end.
    #[test]
    fn a_forecast_comes_true(history in history(observations()), now in 0..HOURS) {
        let (timeline, price) = (history.timeline(), by(Basis::Highest));
        let forecast = |now| Forecast::new(&timeline, &price, (hour(0), hour(now), hour(HOURS)), 8);
        let fee = Line::new(&timeline, &price, (hour(0), hour(HOURS))).and_then(|line| line.fee()).map(|fee| fee.total);
        let last = forecast(HOURS);
        prop_assert_eq!((last.sure, last.expected), (fee, fee));
        prop_assert!(forecast(now).sure <= forecast(now + 1).sure);
        prop_assert!(forecast(now).sure <= forecast(now).expected && forecast(now).expected <= forecast(now).at_most);
    }

    /// A shorter least duration charges no less, and none charges the highest.
    #[test]
    fn a_least_duration_only_leaves_out(history in history(observations()), seconds in 1..200_000_u32) {
        let timeline = history.timeline();
        let fee = |min_seconds| {
            let price = Price { min_seconds, ..by(Basis::Highest) };
            Line::new(&timeline, &price, (hour(0), hour(HOURS))).and_then(|line| line.fee()).map(|fee| fee.total)
        };
        prop_assert!(fee(seconds) <= fee(seconds / 2) && fee(seconds / 2) <= fee(0));
    }
}
