//! What would have been: with the real limits it is what was.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use pedwatch::backtest::{Outcome, RULES};
use pedwatch::billing::Prices;
use pedwatch::job::backtest::{Compared, Suppose, backtest};
use pedwatch::store::query::{self, WantedAlerts};
use pedwatch::store::{Store, sqlite::Sqlite};
use serde_json::Value as Json;

use super::price;
use crate::cases::{Case, cases};
use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::support::{Sample, block_on, config, fixture_store, handle, ped, pipeline, register, time};

type Alerts = BTreeMap<String, Vec<(DateTime<Utc>, String)>>;

/// The alerts that stand, of the rules that a limit decides.
async fn standing(store: &dyn Store) -> Alerts {
    let mut alerts: Alerts = BTreeMap::new();
    for alert in query::alerts(store, &WantedAlerts::default(), usize::MAX).await.expect("readable") {
        if RULES.contains(&alert.alert_type) {
            let place = format!("{} {} {:?}", alert.cluster_name, alert.namespace, alert.deployment_name);
            alerts.entry(place).or_default().push((alert.alert_time, alert.alert_type.to_string()));
        }
    }
    alerts.values_mut().for_each(|alerts| alerts.sort());
    alerts
}

fn told(compared: &[Compared], of: fn(&Compared) -> &Outcome) -> Alerts {
    let mut alerts: Alerts = BTreeMap::new();
    for one in compared {
        let place = format!("{} {} {:?}", one.cluster[2], one.namespace, Some(&one.deployment_name));
        alerts.entry(place).or_default().extend(of(one).alerts.iter().map(|(at, rule)| (*at, rule.to_string())));
    }
    alerts.retain(|_, alerts| !alerts.is_empty());
    alerts.values_mut().for_each(|alerts| alerts.sort());
    alerts
}

async fn compared(store: &dyn Store, suppose: &Suppose) -> Vec<Compared> {
    let prices = Prices::new([("2026-01-01".parse().expect("a date"), price())]);
    let span = (time("2015-01-01T00:00:00Z"), time("2026-11-29T00:00:00Z"));
    backtest(store, &config().policy, &prices, suppose, span).await.expect("readable")
}

#[test]
fn with_the_real_limits_the_cases_give_the_alerts_that_stand() {
    // What shows no uid has no lives to tell apart; and of writes of one effective instant, by clocks that run backwards, the
    // timeline may begin a run with the other: the same alert at another second.
    let is_tried = |(number, case): &(usize, Case)| {
        let has_odd_times = ["early", "clock", "uncertain", "last"].iter().any(|part| case.name.contains(part));
        (number % 4 == 0 || has_odd_times) && !["requests_alone", "clock_behind"].contains(&case.name.as_str())
    };
    let cases = cases().into_iter().enumerate().filter(is_tried);
    let mut failed = Vec::new();
    for (_, Case { name, entries, .. }) in cases {
        block_on(async {
            let (store, pipeline) = fixture_store().await;
            handle(&store, &pipeline, &entries, Utc::now()).await;
            let real = Suppose { platform_max: Some(8), ..Suppose::default() };
            let compared = compared(&store, &real).await;
            let (was, would_be) = (told(&compared, |one| &one.was), told(&compared, |one| &one.would_be));
            assert_eq!(was, would_be);
            let standing = standing(&store).await;
            if was != standing {
                failed.push(format!("{name}\n  {was:?}\n  {standing:?}"));
            }
        });
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Limits that rise and fall under numbers that stand, numbers that stay, and lives that end.
#[test]
fn with_other_limits_it_is_as_if_they_had_been_registered() {
    block_on(async {
        let numbers = [3, 9, 9, 5, 12, 4, 7, 7, 0, 6];
        let sample = |(at, number): (usize, &i64)| {
            let when = format!("2026-09-{:02}T08:00:00Z", at * 2 + 2);
            let version = 1_000 + i64::try_from(at).expect("small") * 10;
            Sample::patch(&format!("w{at}"), &when, *number).version(version, i64::try_from(at).expect("small") + 1)
        };
        let mut samples: Vec<Sample> = numbers.iter().enumerate().map(sample).collect();
        samples.push(Sample::patch("end", "2026-09-24T08:00:00Z", 6).delete());
        let entries: Vec<Vec<u8>> = samples.iter().map(Sample::bytes).collect();
        let recorded = async |max: i64, later: i64| {
            let store = Sqlite::in_memory().expect("memory");
            register(&store, &ped("payments", "orders-api", None, max), "2026-08-01T00:00:00Z").await;
            register(&store, &ped("payments", "orders-api", None, later), "2026-09-13T00:00:00Z").await;
            handle(&store, &pipeline(&store).await, &entries, Utc::now()).await;
            store
        };
        let real = recorded(4, 8).await;
        for max in [0, 3, 5, 8, 20] {
            let limits = HashMap::from([(("payments".to_owned(), "orders-api".to_owned()), max)]);
            let compared = compared(&real, &Suppose { limits, ..Suppose::default() }).await;
            assert_eq!(told(&compared, |one| &one.was), standing(&real).await);
            let other = recorded(max, max).await;
            assert_eq!(told(&compared, |one| &one.would_be), standing(&other).await, "a limit of {max}");
        }
    });
}

#[test]
fn the_demo_month_would_have_been_quiet_for_its_price() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let replayed = run(command().args(DEMO).arg(&store), b"");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let backtest =
        |args: &[&str]| run(command().args(["--config=fixtures/pedwatch.toml", "backtest", &store]).args(args), b"");
    let span = ["--from=2026-09-01", "--to=2026-10-01"];
    let rows = |args: &[&str]| -> Vec<Json> {
        let output = backtest(&[&span, args, &["--format=json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let [invoices] = rows(&["--limit=payments/invoices-api=10"]).try_into().expect("one");
    // From 22:47:58 to 07:30:12.
    assert_eq!((&invoices["seconds_over_was"], &invoices["seconds_over"]), (&31_334.into(), &0.into()));
    assert_eq!((&invoices["over_limit_was"], &invoices["over_limit"]), (&1.into(), &0.into()));
    assert_eq!(invoices["fee_difference"], "171");
    let all = rows(&["--platform-max=5"]);
    assert_eq!(all.len(), 4);
    let outside: Vec<i64> = all.iter().map(|row| row["outside_platform_range"].as_i64().expect("a count")).collect();
    assert_eq!(outside, [0, 1, 0, 1], "1 in the lab, and 6 of orders-api");
    let lower = rows(&["--ped=fixtures/demo/ped/2026-09-01"]);
    let orders = lower.iter().find(|row| row["deployment_name"] == "orders-api").expect("there");
    assert_eq!(
        (&orders["over_limit"], &orders["fee_difference"]),
        (&2.into(), &"-85.5".into()),
        "the 6 of the 11th, and the 7 that a snapshot found"
    );
    let table = stdout(&backtest(&[&span[..], &["--limit=payments/invoices-api=10"]].concat()));
    assert!(table.contains("1 → 0") && table.contains("8h 42m → 0m") && table.contains("+171"), "{table}");
    for (args, why) in [
        (&["--from=2026-09-01"][..], "no other limit is given; expected --platform-max, --limit or --ped"),
        (&["--from=2026-09-01", "--limit=payments=3"], "expected NAMESPACE/DEPLOYMENT=N"),
        (&["--from=2026-09-01", "--to=2026-08-01", "--platform-max=4"], "expected --from to be earlier"),
    ] {
        let output = backtest(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}
