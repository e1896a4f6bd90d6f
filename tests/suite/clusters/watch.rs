//! `pedwatch watch` beside a real API server that is scaled, restarted and loses its past: its gauges say what is there, and
//! nothing that is gone.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{APPS, Api, Place, deployment};
use crate::servers::free_address;
use crate::support::{PEDS_FROM, block_on, ped, register};

/// A process that ends with its test.
pub(super) struct Watch {
    child: Child,
    metrics: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    pub(super) fn start(place: &Place) -> Self {
        let port = free_address().port().to_string();
        let mut its = place.command(&["watch"]);
        its.env("PEDWATCH_CONSUMER__METRICS_PORT", &port).env("PEDWATCH_CONSUMER__LIMITS_REFRESH_SECONDS", "1");
        let child = its.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the binary starts");
        Watch { child, metrics: format!("http://127.0.0.1:{port}/metrics") }
    }

    /// Host and port that Prometheus scrapes.
    pub(super) fn target(&self) -> &str {
        self.metrics.trim_start_matches("http://").trim_end_matches("/metrics")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// The series, with their values.
    fn scraped(&self) -> BTreeMap<String, f64> {
        let text = block_on(async {
            let answer = reqwest::get(&self.metrics).await.ok()?;
            answer.text().await.ok()
        });
        let text = text.unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
            .collect()
    }

    /// Desired, actual and maximum of each Deployment in `shop`.
    fn shop(&self) -> BTreeMap<String, [Option<f64>; 3]> {
        let mut found: BTreeMap<String, [Option<f64>; 3]> = BTreeMap::new();
        for (series, value) in self.scraped() {
            for (at, gauge) in ["desired", "actual", "max"].into_iter().enumerate() {
                let begins = format!(
                    "deployment_replicas_{gauge}{{project=\"acme-prod\",location=\"europe-west1\",cluster=\"prod-eu\",\
                     namespace=\"shop\",deployment=\""
                );
                if let Some(rest) = series.strip_prefix(&begins) {
                    found.entry(rest.trim_end_matches("\"}").to_owned()).or_default()[at] = Some(value);
                }
            }
        }
        found
    }

    pub(super) fn becomes(&self, expected: &[(&str, [Option<f64>; 3])]) {
        let expected: BTreeMap<String, _> = expected.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect();
        let begun = Instant::now();
        loop {
            let shop = self.shop();
            if shop == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "expected {expected:?}, found {shop:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn gauges_say_what_is_there_through_a_restart_and_a_lost_past() {
    let mut api = Api::start();
    let path = format!("{APPS}/shop/deployments");
    block_on(async {
        api.namespace("shop").await;
        for (name, replicas) in [("orders", 2), ("search", 3), ("batch", 1)] {
            api.post(&path, &deployment(name, replicas)).await;
        }
        // Out of scope.
        api.post(&format!("{APPS}/kube-system/deployments"), &deployment("dns", 2)).await;
    });
    let mut place = Place::new("");
    place.at("eu", &api.server(), "pedwatch", &api.ca, "");
    block_on(register(&place.opened(), &ped("shop", "orders", None, 4), PEDS_FROM));
    let mut watch = Watch::start(&place);
    let none = Some(0.0);
    watch.becomes(&[
        ("batch", [Some(1.0), none, None]),
        ("orders", [Some(2.0), none, Some(4.0)]),
        ("search", [Some(3.0), none, None]),
    ]);
    // What changes, goes, comes and is registered is there at once.
    block_on(async {
        api.patch(&format!("{path}/orders"), &json!({"spec": {"replicas": 6}})).await;
        api.patch(&format!("{path}/orders/status"), &json!({"status": {"replicas": 5}})).await;
        api.call("DELETE", &format!("{path}/batch"), None).await;
        api.post(&path, &deployment("invoices", 2)).await;
        register(&place.opened(), &ped("shop", "search", None, 8), PEDS_FROM).await;
    });
    watch.becomes(&[
        ("invoices", [Some(2.0), none, None]),
        ("orders", [Some(6.0), Some(5.0), Some(4.0)]),
        ("search", [Some(3.0), none, Some(8.0)]),
    ]);
    // Deaf meanwhile: its connection dies, and the server does not know any more what went before (410).
    watch.signal("STOP");
    block_on(async {
        api.call("DELETE", &format!("{path}/invoices"), None).await;
        let scaled = api.patch(&format!("{path}/orders"), &json!({"spec": {"replicas": 3}})).await;
        api.compact(scaled["metadata"]["resourceVersion"].as_str().expect("a version")).await;
    });
    api.restart();
    watch.signal("CONT");
    watch.becomes(&[("orders", [Some(3.0), Some(5.0), Some(4.0)]), ("search", [Some(3.0), none, Some(8.0)])]);
    // And it hears again.
    block_on(api.call("DELETE", &format!("{path}/search"), None));
    watch.becomes(&[("orders", [Some(3.0), Some(5.0), Some(4.0)])]);
    let series = watch.scraped();
    let contact = "pedwatch_watch_last_contact_timestamp_seconds{project=\"acme-prod\",location=\"europe-west1\",cluster=\"prod-eu\"}";
    let last = *series.get(contact).expect("the last contact") as i64;
    assert!((chrono::Utc::now().timestamp() - last).abs() < 240, "{last}");
    assert!(series.keys().any(|name| name.starts_with("pedwatch_build_info")), "{series:?}");
    watch.signal("TERM");
    assert!(watch.child.wait().expect("it ends").success());
}

/// One that cannot be reached is named, and the others go on.
#[test]
fn a_cluster_that_nobody_reaches_has_no_contact() {
    let api = super::api();
    let mut place = Place::new("deadline_seconds = 5");
    place.at("eu", &api.server(), "pedwatch", &api.ca, "");
    place.at("gone", &format!("https://{}", free_address()), "pedwatch", &api.ca, "");
    drop(place.opened());
    let watch = Watch::start(&place);
    let begun = Instant::now();
    let contact = |series: &BTreeMap<String, f64>, cluster: &str| {
        let of = |name: &&String| name.starts_with("pedwatch_watch_last_contact") && name.contains(cluster);
        series.keys().find(of).and_then(|name| series.get(name)).copied()
    };
    loop {
        let series = watch.scraped();
        if contact(&series, "prod-eu").is_some_and(|at| at > 0.0) {
            assert_eq!(contact(&series, "prod-gone"), Some(0.0));
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{series:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
