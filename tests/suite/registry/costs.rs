//! What Firestore is asked, counted on its way: the table of costs in docs/registry.md says the same.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;
use pedwatch::pipeline::register::mend;

use super::*;
use crate::proxy::{Call, Proxy};
use crate::support::root;

/// Documents that were read and written, as Firestore bills them: a document that is not there is read too, and a query that finds
/// nothing is one read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    reads: usize,
    writes: usize,
}

/// What a server behind a proxy is asked.
#[derive(Clone, Default)]
struct Meter(Arc<Mutex<Cost>>);

impl Meter {
    /// What has come since the last time.
    fn take(&self) -> Cost {
        std::mem::take(&mut *self.0.lock().expect("whole"))
    }

    fn count(&self, call: &Call<'_>, server: SocketAddr) {
        let asked: Json = serde_json::from_slice(call.body).expect("JSON");
        let length = |name: &str| asked[name].as_array().map_or(0, Vec::len);
        let queried = if call.line.contains(":runQuery") { found(call, server).max(1) } else { 0 };
        let mut cost = self.0.lock().expect("whole");
        cost.reads += length("documents") + queried;
        cost.writes += length("writes");
    }
}

/// How many documents a query finds.
fn found(call: &Call<'_>, server: SocketAddr) -> usize {
    let path = call.line.split(' ').nth(1).expect("a path");
    let (url, token, body) = (format!("http://{server}{path}"), call.token.to_owned(), call.body.to_vec());
    let asked = async move {
        let asked = reqwest::Client::new().post(url).header("authorization", token).body(body).send().await;
        asked.expect("the emulator").text().await.expect("text").matches("\"updateTime\"").count()
    };
    block_on(asked)
}

/// Beyond the 50,000 reads of a day that are free, what a month costs, in dollars: of one instance, for so many events a day.
fn month(events: usize, costs: &BTreeMap<String, Cost>) -> String {
    let reads = |what: &str| costs.iter().find(|(known, _)| known.starts_with(what)).expect("measured").1.reads;
    let by_the_clock = 86_400 / 45 * reads("all limits again") + 86_400 / 10 * reads("`/readyz`");
    let billed = (events * reads("a message about a Deployment") + by_the_clock).saturating_sub(50_000);
    match billed as f64 * 30.4 * 0.06 / 100_000.0 {
        0.0 => "$0".to_owned(),
        dollars => format!("${dollars:.2}"),
    }
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/registry.md")).expect("a page")
}

/// The table, by what its lines are about.
fn told() -> BTreeMap<String, Cost> {
    let page = page();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let lines = page.lines().filter(|line| line.starts_with('|')).map(cells);
    let costs = lines.filter_map(|cells| {
        let [what, reads, writes] = cells.as_slice() else { return None };
        Some((what.clone(), Cost { reads: reads.parse().ok()?, writes: writes.parse().ok()? }))
    });
    costs.collect()
}

#[test]
fn the_table_of_costs_is_what_firestore_is_asked() {
    block_on(async {
        let meter = Meter::default();
        let (counting, server) = (meter.clone(), firestore());
        let proxy = Proxy::strict(server, "", &[], move |call| {
            counting.count(call, server);
            None
        });
        let facts: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let store: Arc<dyn Store> = Arc::new(beside(facts, &fresh_database(), proxy.address).await);
        let mut costs = BTreeMap::new();
        let mut measured = |what: &str, cost: Cost| {
            assert!(costs.insert(what.to_owned(), cost).is_none(), "{what} twice");
        };
        let register_one = async |max: i64, now: &str| {
            mend(&*store, &config().policy, time(now)).await.expect("mended");
            let registrations = registrations(&ped("payments", "orders-api", None, max), None, now, "ci");
            register(&*store, &config().policy, registrations, time(now)).await.expect("registered");
        };
        register_one(6, "2026-09-01T00:00:00Z").await;
        measured("the first version of a PED", meter.take());
        register_one(3, "2026-09-02T00:00:00Z").await;
        measured("the second version", meter.take());
        register_one(3, "2026-09-03T00:00:00Z").await;
        measured("the same PED again, of two versions", meter.take());

        let one = consumer(&store).await;
        meter.take();
        let now = time("2026-09-04T20:41:05Z");
        let write = |number: i64| {
            let at = format!("2026-09-04T20:41:{number:02}Z");
            Sample::patch(&format!("w{number}"), &at, 2).actor(PIPELINE).version(number + 7, number + 7)
        };
        deliver(&one, &write(0), now).await;
        let alone = meter.take();
        measured("a message about a Deployment", alone);
        deliver(&one, &write(1).set("/protoPayload/response/spec/replicas", 5), now).await;
        measured("a message that alerts", meter.take());
        let samples: Vec<Sample> = (2..34).map(write).collect();
        join_all(samples.iter().map(|sample| deliver(&one, sample, now))).await;
        measured("32 messages at once about one Deployment", meter.take());
        let elsewhere = "apps/v1/namespaces/kube-system/deployments/orders-api";
        let elsewhere = write(40)
            .set("/protoPayload/resourceName", elsewhere)
            .set("/protoPayload/response/metadata/namespace", "kube-system");
        deliver(&one, &elsewhere, now).await;
        deliver(&one, &write(41).set("/protoPayload/status", json!({"code": 7})), now).await;
        measured("a message that is no change, or out of scope", meter.take());
        store.versions(Some(&[("payments".to_owned(), "orders-api".to_owned())])).await.expect("readable");
        measured("whom to tell of a Deployment with two versions", meter.take());
        store.ping().await.expect("there");
        measured("`/readyz`, every 10 s", meter.take());

        // However many Deployments there are, a message costs the same.
        pedwatch::store::register(&*store, registrations(&many(200, 3), None, "2026-09-04T00:00:00Z", "ci"))
            .await
            .expect("registered");
        let other = consumer(&store).await;
        meter.take();
        deliver(&other, &write(50), now).await;
        assert_eq!(meter.take(), alone, "of 201 Deployments");
        let whole = async |store: &dyn Store| {
            assert_eq!(store.claims(None).await.expect("readable").len(), 202);
            meter.take()
        };
        let facts: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let fresh: Arc<dyn Store> = Arc::new(beside(facts, &fresh_database(), proxy.address).await);
        assert_eq!(fresh.claims(None).await.expect("readable"), []);
        measured("all limits again, every 45 s, where none has changed within 5 min", meter.take());
        let all = whole(&*store).await;
        assert!((201..=210).contains(&all.reads) && all.writes == 0, "one for each that has just changed: {all:?}");
        assert_eq!(told(), costs, "docs/registry.md says otherwise");
        let months = [10_000, 100_000, 1_000_000].map(|events| month(events, &costs)).join(" | ");
        assert!(page().contains(&format!("| a month, with one instance | {months} |")), "{months}");
    });
}
