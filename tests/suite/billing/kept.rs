//! What is kept of bills, in every store and whatever is killed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use chrono::{DateTime, Utc};
use pedwatch::billing::bill::State;
use pedwatch::billing::{Basis, Prices};
use pedwatch::job::bill::{BillError, MonthBill, Period, bill};
use pedwatch::store::query::bills;
use pedwatch::store::row::{Bill, Record};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use serde_json::{Value as Json, json};

use super::price;
use crate::support::{
    Killed, Sample, block_on, handle, on_every_store, ped, pipeline, register, register_at, rows, time,
};

const MONTH: &str = "2026-09";

fn prices() -> Prices {
    Prices::new([("2000-01-01".parse().expect("a date"), price())])
}

fn period(now: &str) -> Period {
    period_of(MONTH, now)
}

fn period_of(month: &str, now: &str) -> Period {
    Period::new(&prices(), Some(month.parse().expect("a month")), time(now)).expect("a period")
}

/// The bill of another month, not closed.
pub async fn month_billed(store: &dyn Store, month: &str, now: &str) -> MonthBill {
    bill(store, period_of(month, now), false, 8).await.expect("a bill")
}

pub async fn billed(store: &dyn Store, now: &str, close: bool) -> MonthBill {
    bill(store, period(now), close, 8).await.expect("a bill")
}

pub fn with_resources(max: i64) -> String {
    ped("payments", "orders-api", None, max) + "  resources:\n    limits: {cpu: \"2\", memory: 4Gi}\n"
}

/// orders-api in two clusters and without a PED in a namespace of its own.
async fn recorded(store: &dyn Store) {
    register(store, &with_resources(3), "2026-08-01T00:00:00Z").await;
    register(store, &with_resources(6), "2026-09-11T00:00:00Z").await;
    let first = Sample::patch("one", "2026-08-20T08:00:00Z", 3).version(1_000, 1);
    let other = Sample::patch("two", "2026-09-05T08:00:00Z", 2).version(1_000, 1).uid("uid-2");
    let other = other.set("/resource/labels/cluster_name", "prod-2");
    let lab = Sample::patch("three", "2026-09-06T08:00:00Z", 2).version(1_000, 1).uid("uid-3");
    let lab = lab
        .set("/protoPayload/resourceName", "apps/v1/namespaces/lab/deployments/orders-api")
        .set("/protoPayload/response/metadata/namespace", "lab");
    let entries = [first.bytes(), other.bytes(), lab.bytes()];
    handle(store, &pipeline(store).await, &entries, time("2026-09-06T09:00:00Z")).await;
}

fn states(bill: &MonthBill) -> Vec<(String, State, i64)> {
    let state = |item: &pedwatch::job::bill::Item| {
        let [_, _, cluster, namespace, _] = item.bill.place();
        (format!("{cluster}/{namespace}"), item.state(), item.charged_micros() / 10_000)
    };
    bill.items.iter().map(state).collect()
}

/// The views say of the month what the program does, in millionths: owner by owner, and Deployment by Deployment.
async fn views_agree(store: &dyn Store, bill: &MonthBill) {
    let mut owners: BTreeMap<Option<&str>, (i64, i64)> = BTreeMap::new();
    let mut lines: Vec<Json> = Vec::new();
    for item in &bill.items {
        let (deployments, micros) = owners.entry(item.owner()).or_default();
        *deployments += 1;
        *micros += item.charged_micros();
        let [_, _, cluster, namespace, name] = item.bill.place();
        let state = item.state().to_string();
        lines.push(json!([cluster, namespace, name, item.owner(), item.charged_micros(), state]));
    }
    let owners: Vec<Json> = owners
        .into_iter()
        .map(|(owner, (deployments, micros))| json!(["2026-09-01", owner, "USD", deployments, micros]))
        .collect();
    let sorted = |mut rows: Vec<Json>| {
        rows.sort_by_key(Json::to_string);
        rows
    };
    let fees = rows(store, "monthly_fees", &["month", "user_id", "currency", "deployments", "fee_micros"]).await;
    assert_eq!(sorted(fees), sorted(owners));
    let columns = ["cluster_name", "namespace", "deployment_name", "user_id", "fee_micros", "state"];
    assert_eq!(sorted(rows(store, "current_bills", &columns).await), sorted(lines));
}

fn expected(state: State, cents: [i64; 2]) -> Vec<(String, State, i64)> {
    let line = |place: &str, state, cents| (place.to_owned(), state, cents);
    vec![
        line("prod-1/lab", State::Unpriced, 0),
        line("prod-1/payments", state, cents[0]),
        line("prod-2/payments", state, cents[1]),
    ]
}

#[test]
fn a_month_is_preliminary_then_final_then_corrected_there_and_back() {
    on_every_store(async |store| {
        recorded(store).await;
        let running = billed(store, "2026-09-08T00:00:00Z", false).await;
        assert_eq!(states(&running), expected(State::Preliminary, [26_550, 26_550]));
        assert_eq!(running.added, 3);
        let forecast = running.items[1].forecast.expect("it goes on");
        let written = |fee: Option<rust_decimal::Decimal>| fee.map(|fee| price().written(fee)).unwrap_or_default();
        let forecast = [forecast.sure, forecast.expected, forecast.at_most].map(written);
        assert_eq!(forecast, ["265.50", "351.00", "408.00"]);

        assert_eq!(billed(store, "2026-09-08T00:00:00Z", false).await.added, 0, "the same inputs");
        assert_eq!(billed(store, "2026-09-09T00:00:00Z", false).await.added, 0, "another day");
        let over = billed(store, "2026-10-02T00:00:00Z", false).await;
        assert_eq!((states(&over), over.added), (expected(State::Preliminary, [35_100, 35_100]), 2));
        views_agree(store, &over).await;

        let closed = billed(store, "2026-10-03T00:00:00Z", true).await;
        assert_eq!((states(&closed), closed.added), (expected(State::Final, [35_100, 35_100]), 2));
        assert_eq!(billed(store, "2026-10-03T01:00:00Z", true).await.added, 0, "closed again");
        views_agree(store, &closed).await;

        // There and back again, and there.
        for (at, max, charged) in [(4, 8, 40_800), (5, 6, 35_100), (6, 8, 40_800)] {
            let now = format!("2026-10-{at:02}T00:00:00Z");
            register_at(store, &with_resources(max), "2026-09-20T00:00:00Z", &now).await;
            let corrected = billed(store, &now, false).await;
            assert_eq!((states(&corrected), corrected.added), (expected(State::Correction, [charged; 2]), 2), "{now}");
            assert_eq!(billed(store, &now, false).await.added, 0, "{now}");
            views_agree(store, &corrected).await;
        }
        // A table may hold a row twice.
        let lines = bills::bills(store, MONTH.parse().expect("a month")).await.expect("readable");
        let copies = lines.into_iter().map(|line| Record::Bill(Box::new(line))).collect::<Vec<_>>();
        store.append(copies.into()).await.expect("appended");
        views_agree(store, &billed(store, "2026-10-07T00:00:00Z", false).await).await;
        // All in all, as anybody adds it up.
        let lines = query::dump(store, "bills").await.expect("readable");
        let settled = lines.iter().filter(|line| line["state"] == "final" || line["state"] == "correction");
        let sum: i64 = settled.map(|line| line["fee_micros"].as_i64().expect("an integer")).sum();
        assert_eq!(sum, 2 * 408_000_000);
    });
}

#[test]
fn a_late_fact_and_a_late_ped_become_corrections() {
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        recorded(&store).await;
        billed(&store, "2026-10-03T00:00:00Z", true).await;
        // The PED of what had none; and what was there and nobody had seen.
        let lab = with_resources(4).replace("payments", "lab");
        register_at(&store, &lab, "2026-09-01T00:00:00Z", "2026-10-04T00:00:00Z").await;
        let late = Sample::patch("late", "2026-09-30T10:00:00Z", 2).version(1_000, 1).uid("uid-4");
        let late = late.set("/resource/labels/cluster_name", "prod-3").bytes();
        handle(&store, &pipeline(&store).await, &[late], time("2026-10-04T00:00:00Z")).await;
        let bill = billed(&store, "2026-10-05T00:00:00Z", false).await;
        let of = |at: usize| (states(&bill)[at].clone(), bill.items[at].kept.len());
        assert_eq!(of(0), (("prod-1/lab".to_owned(), State::Correction, 29_400), 2));
        assert_eq!(of(3), (("prod-3/payments".to_owned(), State::Correction, 35_100), 1));
        assert_eq!(bill.items[3].kept[0].corrects, None);
    });
}

/// The month was closed by one price: another one of its date changes nothing.
#[test]
fn a_closed_month_keeps_its_price() {
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        recorded(&store).await;
        billed(&store, "2026-10-03T00:00:00Z", true).await;
        let period = |from: &str, basis| {
            let other = pedwatch::billing::Price { basis, base: 200.into(), ..price() };
            let dates = [("2000-01-01", price()), (from, other)];
            let prices = Prices::new(dates.map(|(date, price)| (date.parse().expect("a date"), price)));
            Period::new(&prices, Some(MONTH.parse().expect("a month")), time("2026-10-05T00:00:00Z")).expect("a period")
        };
        let later = bill(&store, period("2026-10-01", Basis::Highest), false, 8).await.expect("a bill");
        assert_eq!(later.added, 0, "a price of its own date");
        let refused = bill(&store, period("2026-08-15", Basis::Limit), false, 8).await.expect_err("repriced");
        assert!(matches!(refused, BillError::Repriced { .. }), "{refused}");
        assert!(refused.to_string().contains("expected a new price to have a date of its own"), "{refused}");
    });
}

async fn kept(store: &dyn Store) -> Vec<(State, Option<String>, i64)> {
    let lines = bills::bills(store, MONTH.parse().expect("a month")).await.expect("readable");
    let mut lines: Vec<Bill> = lines;
    lines.sort_by(|one, other| one.line_id.cmp(&other.line_id));
    lines.into_iter().map(|line| (line.state, line.corrects, line.fee_micros)).collect()
}

async fn closed_at(store: &dyn Store) -> Option<DateTime<Utc>> {
    bills::closed_at(store, MONTH.parse().expect("a month")).await.expect("readable")
}

#[test]
fn a_kill_between_two_lines_leaves_a_month_that_the_next_run_finishes() {
    block_on(async {
        let whole = Sqlite::in_memory().expect("memory");
        recorded(&whole).await;
        billed(&whole, "2026-09-08T00:00:00Z", false).await;
        billed(&whole, "2026-10-03T00:00:00Z", true).await;
        for rows in 0..4 {
            let store = Sqlite::in_memory().expect("memory");
            recorded(&store).await;
            billed(&store, "2026-09-08T00:00:00Z", false).await;
            let killed = Killed { store: &store, left: AtomicUsize::new(rows) };
            let outcome = bill(&killed, period("2026-10-03T00:00:00Z"), true, 8).await;
            assert_eq!(outcome.is_err(), rows < 3, "two lines and the mark");
            assert_eq!(closed_at(&store).await.is_some(), rows >= 3);
            // Somebody looks, and it is finished.
            billed(&store, "2026-10-03T12:00:00Z", false).await;
            let finished = billed(&store, "2026-10-04T00:00:00Z", true).await;
            assert!(finished.closed_at.is_some());
            let settled = |lines: Vec<(State, Option<String>, i64)>| {
                let mut lines: Vec<_> = lines.into_iter().filter(|line| line.0 != State::Preliminary).collect();
                lines.iter_mut().for_each(|line| line.1 = None);
                lines.sort_by_key(|line| (line.0, line.2));
                lines
            };
            assert_eq!(settled(kept(&store).await), settled(kept(&whole).await), "killed behind {rows} rows");
        }
    });
}
