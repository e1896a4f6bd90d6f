//! The figures in docs are those that the benches gave: each stands behind its name in a comment, and the capacity plan is computed
//! from them. `PEDWATCH_WRITE_FIGURES=1 cargo test --all-features --test suite -- figures::` writes both anew, after
//! `BENCH_KEEP="…" cargo bench --bench NAME`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::{Captures, Regex};
use serde_json::Value as Json;

use crate::support::root;

/// The pages that have figures.
const PAGES: [&str; 3] = ["docs/speed.md", "docs/capacity.md", "docs/bigquery.md"];

/// What the plan takes for given, of each cluster: its Deployments, the entries that the sink lets through in a day, and how many of
/// these are writes that are recorded.
const DEPLOYMENTS: f64 = 20.0;
const ENTRIES_A_DAY: f64 = 1_000.0;
const WRITES: f64 = 0.5;
const ENTRY_KIB: f64 = 7.0;

/// How the busiest hours compare with the mean; and a storm: every Deployment of the organisation is redeployed within ten minutes.
const PEAK: f64 = 4.0;
const STORM_ENTRIES: f64 = 4.0;
const STORM_SECONDS: f64 = 600.0;

/// A core is not to be busier.
const BUSY: f64 = 0.6;

/// Days of a month.
const DAYS: f64 = 30.4;

const GIB: f64 = (1_u64 << 30) as f64;

/// Bytes of an event and of an alert in BigQuery (docs/bigquery.md), of which every fifth event has one; a streamed row counts as 1 KB.
const EVENT_BYTES: f64 = 507.0;
const ALERT_BYTES: f64 = 255.0;
const ALERTS: f64 = 0.2;

/// Every kept figure: `bench.name`.
fn figures() -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    for file in std::fs::read_dir(root().join("benches/figures")).expect("figures") {
        let path = file.expect("readable").path();
        let kept: Json = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
        let bench = path.file_stem().expect("a name").to_string_lossy().into_owned();
        for (name, value) in kept["figures"].as_object().expect("figures") {
            figures.insert(format!("{bench}.{name}"), value.as_f64().expect("a number"));
        }
    }
    figures
}

/// As people read it: three digits, thousands apart.
fn shown(value: f64) -> String {
    let decimals = if value >= 100.0 || value.fract() == 0.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// Dollars; nothing below a cent.
fn dollars(value: f64) -> String {
    match value {
        value if value < 0.005 => "$0".to_owned(),
        value if value < 10.0 => format!("${value:.2}"),
        value => format!("${}", shown(value.round())),
    }
}

/// A line of the plan: its name and what it comes to for a number of clusters.
type Line = (&'static str, Box<dyn Fn(f64) -> String>);

fn lines(figures: &BTreeMap<String, f64>) -> Vec<Line> {
    let figure = |name: &str| *figures.get(name).unwrap_or_else(|| panic!("{name} was not measured"));
    let cpu = figure("subscriber.push_7kb_cpu_us") / 1e6;
    let pushed = figure("subscriber.push_7kb_per_s");
    let mean = |clusters: f64| clusters * ENTRIES_A_DAY / 86_400.0;
    let storm = |clusters: f64| clusters * DEPLOYMENTS * STORM_ENTRIES / STORM_SECONDS;
    let instances = move |per_s: f64| (per_s * cpu / BUSY).ceil().max(1.0);
    let writes = |clusters: f64| clusters * ENTRIES_A_DAY * WRITES * DAYS;
    let pubsub_gib = |clusters: f64| 2.0 * clusters * ENTRIES_A_DAY * DAYS * ENTRY_KIB * 1_024.0 / GIB;
    // $0.000018 a vCPU-second and $0.000002 a GiB-second of 512 MiB, less what is free.
    let run = move |clusters: f64| {
        let seconds = instances(PEAK * mean(clusters)) * DAYS * 86_400.0;
        (seconds - 240_000.0).max(0.0) * 0.000_018 + (seconds / 2.0 - 450_000.0).max(0.0) * 0.000_002
    };
    let streamed_mb = move |clusters: f64| writes(clusters) * (1.0 + ALERTS) * 1_024.0 / 1e6;
    let stored_gib =
        move |clusters: f64| clusters * ENTRIES_A_DAY * WRITES * 365.0 * (EVENT_BYTES + ALERTS * ALERT_BYTES) / GIB;
    let beyond = |used: f64, free: f64| (used - free).max(0.0);
    // `daily` (docs/bigquery.md), and limits every 45 s, 10 MB each.
    let daily_tib = figure("reads.daily_1m_mib") / 1_024.0 / 1_024.0;
    let questions_tib = move |clusters: f64| {
        let daily = daily_tib * clusters * ENTRIES_A_DAY * WRITES / 1e6;
        DAYS * daily + 0.63 * instances(PEAK * mean(clusters))
    };
    let ledger = move |clusters: f64| {
        let reads = beyond(4.0 * writes(clusters), 50_000.0 * DAYS);
        let written = beyond(writes(clusters), 20_000.0 * DAYS);
        reads / 1e5 * 0.06 + written / 1e5 * 0.18
    };
    // A read for each write, and by each instance's clock (docs/registry.md).
    let registry = move |clusters: f64| {
        let by_the_clock = instances(PEAK * mean(clusters)) * (86_400.0 / 45.0 + 86_400.0 / 10.0) * DAYS;
        beyond(writes(clusters) + by_the_clock, 50_000.0 * DAYS) / 1e5 * 0.06
    };
    let streaming = move |clusters: f64| streamed_mb(clusters) / 200.0 * 0.01;
    let storage = move |clusters: f64| beyond(stored_gib(clusters), 10.0) * 0.02;
    let asked = move |clusters: f64| beyond(questions_tib(clusters), 1.0) * 6.25;
    let carried = move |clusters: f64| beyond(pubsub_gib(clusters), 10.0) * 40.0 / 1_024.0;
    vec![
        ("entries a second, the mean of a day", Box::new(move |clusters| shown(mean(clusters)))),
        ("in the busiest hours", Box::new(move |clusters| shown(PEAK * mean(clusters)))),
        ("in a storm", Box::new(move |clusters| shown(storm(clusters)))),
        ("cores that a storm takes", Box::new(move |clusters| shown(storm(clusters) * cpu))),
        (
            "instances of one vCPU, in the busiest hours",
            Box::new(move |clusters| shown(instances(PEAK * mean(clusters)))),
        ),
        ("instances in a storm", Box::new(move |clusters| shown(instances(storm(clusters))))),
        (
            "seconds that one `serve` on two cores takes for a storm's entries, as fast as they come",
            Box::new(move |clusters| shown(storm(clusters) * STORM_SECONDS / pushed)),
        ),
        (
            "Pub/Sub, GiB a month in and out",
            Box::new(move |clusters| format!("{}: {}", shown(pubsub_gib(clusters)), dollars(carried(clusters)))),
        ),
        ("Cloud Run, by the instance's life", Box::new(move |clusters| dollars(run(clusters)))),
        (
            "BigQuery, MB streamed a month",
            Box::new(move |clusters| format!("{}: {}", shown(streamed_mb(clusters)), dollars(streaming(clusters)))),
        ),
        (
            "BigQuery, GiB stored after a year",
            Box::new(move |clusters| {
                format!("{}: {} a month", shown(stored_gib(clusters)), dollars(storage(clusters)))
            }),
        ),
        (
            "BigQuery, TiB read a month by `daily` and for limits",
            Box::new(move |clusters| format!("{}: {}", shown(questions_tib(clusters)), dollars(asked(clusters)))),
        ),
        ("Firestore, as the ledger", Box::new(move |clusters| dollars(ledger(clusters)))),
        ("Firestore, as the registry, where it is one", Box::new(move |clusters| dollars(registry(clusters)))),
        (
            "all of it but the registry, a month",
            Box::new(move |clusters| {
                dollars(
                    carried(clusters)
                        + run(clusters)
                        + streaming(clusters)
                        + storage(clusters)
                        + asked(clusters)
                        + ledger(clusters),
                )
            }),
        ),
    ]
}

fn plan(figures: &BTreeMap<String, f64>) -> String {
    let mut plan = "| | 1 cluster | 100 | 10,000 |\n|---|---|---|---|\n".to_owned();
    for (name, of) in lines(figures) {
        let _ = writeln!(plan, "| {name} | {} | {} | {} |", of(1.0), of(100.0), of(10_000.0));
    }
    plan
}

/// A page with the figures that were kept.
fn filled(page: &str, figures: &BTreeMap<String, f64>) -> String {
    let figure = Regex::new(r"<!--(\w+\.\w+)-->[^<]*<!---->").expect("a pattern");
    let page = figure.replace_all(page, |found: &Captures<'_>| {
        let value = figures.get(&found[1]).unwrap_or_else(|| panic!("{} was not measured", &found[1]));
        format!("<!--{}-->{}<!---->", &found[1], shown(*value))
    });
    let table = Regex::new(r"(?s)<!--plan-->\n.*?<!---->").expect("a pattern");
    table.replace(&page, |_: &Captures<'_>| format!("<!--plan-->\n{}<!---->", plan(figures))).into_owned()
}

#[test]
fn the_figures_in_docs_are_those_that_were_measured() {
    let figures = figures();
    for page in PAGES {
        let path = root().join(page);
        let text = std::fs::read_to_string(&path).expect("a page");
        let filled = filled(&text, &figures);
        assert!(filled.contains("<!---->"), "{page} has no figures");
        if std::env::var_os("PEDWATCH_WRITE_FIGURES").is_some() {
            std::fs::write(&path, &filled).expect("written");
        }
        assert!(
            std::fs::read_to_string(&path).expect("a page") == filled,
            "{page}: see the first lines of tests/suite/figures.rs"
        );
    }
}

#[test]
fn figures_are_written_as_people_read_them() {
    for (value, text) in
        [(0.0, "0"), (0.013, "0.01"), (1.5, "1.50"), (46.3, "46.3"), (1_333.4, "1,333"), (1e6, "1,000,000")]
    {
        assert_eq!(shown(value), text);
    }
    assert_eq!((dollars(0.001).as_str(), dollars(3.5).as_str(), dollars(1_234.4).as_str()), ("$0", "$3.50", "$1,234"));
}
