//! What pedwatch makes of a handful of entries that belong together: the cases that were recorded, reported or thought of,
//! each with what is right. `fixtures/cases/README.md` tells what happens in each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use chrono::{Duration, NaiveDate, Utc};
use pedwatch::audit::Ignored;
use pedwatch::config::Config;
use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::Pipeline;
use pedwatch::pipeline::message::Envelope;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use serde_json::Value as Json;

use crate::servers::Dataset;
use crate::support::{PEDS_FROM, block_on, handle, register, root, time};

/// Those that are held against BigQuery as well: a kind of conclusion each, because the tests' server is slow.
const ON_BIGQUERY: [&str; 12] = [
    "held_then_gone",
    "delete_hits_successor",
    "dry_after_status",
    "retarget_away",
    "cluster_deleted",
    "namespace_deleted",
    "hpa_that_flips",
    "hpa_inert_patched_unanswered",
    "uncertain_several_the_first_stored",
    "uncertain_create_of_a_second_life",
    "successor_of_an_unseen_one_received_early",
    "generated_name",
];

#[test]
fn every_case_comes_out_right() {
    let cases = cases();
    for (case, told) in cases.iter().zip(told_in_order(&cases)) {
        insta::with_settings!({
            snapshot_path => root().join("tests/golden/cases"), prepend_module_to_snapshot => false, omit_expression => true,
        }, { insta::assert_snapshot!(case.name.as_str(), told.text()) });
    }
}

#[test]
fn no_case_depends_on_order_or_duplicates() {
    let cases = cases();
    let expected = told_in_order(&cases);
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        register_limits(&store).await;
        let pipeline = pipeline(&store).await;
        // The last first, each twice, and judged behind each round.
        let rounds = cases.iter().map(|case| case.entries.len()).max().expect("cases");
        for round in 1..=rounds {
            let last = |case: &Case| case.entries.len().checked_sub(round).map(|at| case.entries[at].clone());
            let entries: Vec<Vec<u8>> =
                cases.iter().filter_map(last).flat_map(|entry| [entry.clone(), entry]).collect();
            handle(&store, &pipeline, &entries, Utc::now()).await;
        }
        for (case, (expected, found)) in cases.iter().zip(expected.iter().zip(told(&store, &cases).await)) {
            assert_eq!(found.stands(), expected.stands(), "{}", case.name);
        }
    });
}

#[test]
fn bigquery_says_the_same() {
    let mut cases = cases();
    cases.retain(|case| ON_BIGQUERY.contains(&case.name.as_str()));
    assert_eq!(cases.len(), ON_BIGQUERY.len());
    let expected = told_in_order(&cases);
    block_on(async {
        let store = Dataset::new().await.store;
        register_limits(&store).await;
        let reversed: Vec<&Vec<u8>> = cases.iter().flat_map(|case| &case.entries).rev().collect();
        handle(&store, &pipeline(&store).await, &reversed, Utc::now()).await;
        for (case, (expected, found)) in cases.iter().zip(expected.iter().zip(told(&store, &cases).await)) {
            assert_eq!(found.stands(), expected.stands(), "{}", case.name);
        }
    });
}

#[test]
fn every_case_is_told_of_and_has_its_snapshot() {
    let expected: BTreeSet<String> = cases().into_iter().map(|case| case.name).collect();
    let snapshots = std::fs::read_dir(root().join("tests/golden/cases")).expect("snapshots");
    let snapshots: BTreeSet<String> = snapshots
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .map(|name| name.strip_suffix(".snap").expect("a snapshot").to_owned())
        .collect();
    assert_eq!(snapshots, expected);
    let readme = std::fs::read_to_string(root().join("fixtures/cases/README.md")).expect("a README");
    let told: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(told, expected);
}

/// Some entries in the order in which they came. All cases lie in one store, each in clusters of its own: their names end in
/// the case's.
pub struct Case {
    pub name: String,
    pub entries: Vec<Vec<u8>>,
    last_day: String,
}

pub fn cases() -> Vec<Case> {
    let files = std::fs::read_dir(root().join("fixtures/cases")).expect("a folder of cases");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    files.iter().map(|path| Case::read(path)).collect()
}

impl Case {
    fn read(path: &Path) -> Self {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let lines = std::fs::read_to_string(path).expect("readable");
        let mut entries = Vec::new();
        let mut last = None;
        for line in lines.lines() {
            let mut entry: Json = serde_json::from_str(line).expect("JSON");
            last = last.max(entry["timestamp"].as_str().map(time));
            if let Some(Json::String(cluster)) = entry.pointer_mut("/resource/labels/cluster_name") {
                *cluster += &format!(" of {name}");
            }
            entries.push(entry.to_string().into_bytes());
        }
        // What is there counts until today, which is another every day.
        let last_day = (last.expect("a timestamp") + Duration::days(2)).date_naive().to_string();
        Case { name, entries, last_day }
    }

    fn has(&self, row: &Json) -> bool {
        let suffix = format!(" of {}", self.name);
        let clustered = row["cluster_name"].as_str().is_some_and(|cluster| cluster.ends_with(&suffix));
        clustered || row["raw"].as_str().is_some_and(|raw| raw.contains(&format!("{suffix}\"")))
    }
}

async fn register_limits(store: &dyn Store) {
    for name in ["statement", "teller"] {
        let yaml = std::fs::read_to_string(root().join(format!("fixtures/cases/ped/{name}.yaml"))).expect("a PED");
        register(store, &yaml, PEDS_FROM).await;
    }
}

async fn pipeline(store: &dyn Store) -> Pipeline {
    let config =
        Config::load(Some(&root().join("fixtures/cases/pedwatch.toml")), []).expect("the cases' configuration");
    Pipeline::new(config.policy, Limits::new(store.claims(None).await.expect("readable")))
}

/// What is told of each case, once in the order in which it came.
fn told_in_order(cases: &[Case]) -> Vec<Told> {
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        register_limits(&store).await;
        let pipeline = pipeline(&store).await;
        let entries: Vec<&Vec<u8>> = cases.iter().flat_map(|case| &case.entries).collect();
        handle(&store, &pipeline, &entries, Utc::now()).await;
        let mut told = told(&store, cases).await;
        for (case, told) in cases.iter().zip(&mut told) {
            let mut ignored: BTreeMap<Ignored, usize> = BTreeMap::new();
            for entry in &case.entries {
                let reason = pipeline.assess(entry, Envelope::default(), String::new, Utc::now()).ignored;
                reason.into_iter().for_each(|reason| *ignored.entry(reason).or_default() += 1);
            }
            let lines = ignored.iter().map(|(reason, count)| format!("{reason}: {count}"));
            told.0.push((NOT_A_CHANGE, lines.collect()));
        }
        told
    })
}

/// What a store says of each case.
async fn told(store: &dyn Store, cases: &[Case]) -> Vec<Told> {
    let names = ["cluster_name", "location", "namespace", "object_kind", "object_name"];
    let ordered = async |view, order: &[&str]| {
        let mut rows = query::dump(store, view).await.expect("readable");
        rows.sort_by_cached_key(|row| order.iter().map(|&column| sortable(&row[column])).collect::<Vec<_>>());
        rows
    };
    let events = ordered("judged_events", &["event_time", "insert_id", "object_kind", "object_name", "event_id"]).await;
    let changes = ordered("replica_changes", &[&names[..], &["position", "replicas"]].concat()).await;
    let current = ordered("current_replicas", &names).await;
    let daily = ordered("daily_max_replicas", &["location", "namespace", "deployment_name", "date"]).await;
    let alerts = ordered("alerts", &["alert_time", "alert_type", "deployment_name", "replicas", "event_id"]).await;
    let quarantined = ordered("quarantined", &["reason", "detail"]).await;
    let of = |case: &Case| {
        let lines =
            |rows: &[Json], line: fn(&Json) -> String| rows.iter().filter(|row| case.has(row)).map(line).collect();
        let (standing, fallen): (Vec<_>, Vec<_>) = alerts.iter().cloned().partition(|row| holds(row, "stands"));
        let days: Vec<&Json> =
            daily.iter().filter(|row| case.has(row) && *text(row, "date") <= *case.last_day).collect();
        Told(vec![
            ("events", lines(&events, event)),
            ("changes", lines(&changes, change)),
            ("what is there", lines(&current, present)),
            ("daily maxima", runs(&days)),
            ("alerts that stand", lines(&standing, alert)),
            (FELL, lines(&fallen, alert)),
            ("quarantine", lines(&quarantined, |row| format!("{}: {}", text(row, "reason"), text(row, "detail")))),
        ])
    };
    cases.iter().map(of).collect()
}

/// What is told of a case: headings, and their lines.
struct Told(Vec<(&'static str, Vec<String>)>);

/// Depends on what was seen at which time.
const FELL: &str = "alerts that were raised and do not stand";

/// What is never recorded.
const NOT_A_CHANGE: &str = "not a change";

impl Told {
    /// What may not depend on the order of arrival.
    fn stands(&self) -> String {
        self.lines(|heading| heading != FELL && heading != NOT_A_CHANGE)
    }

    fn text(&self) -> String {
        self.lines(|_| true)
    }

    fn lines(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        for (heading, lines) in self.0.iter().filter(|(heading, lines)| wanted(heading) && !lines.is_empty()) {
            writeln!(text, "{heading}").expect("a String");
            lines.iter().for_each(|line| writeln!(text, "  {line}").expect("a String"));
        }
        text
    }
}

/// Numbers by their size.
fn sortable(value: &Json) -> (Option<i64>, String) {
    (value.as_i64(), value.to_string())
}

/// SQLite has no type for it.
fn holds(row: &Json, column: &str) -> bool {
    row[column] == true || row[column] == 1
}

fn text<'r>(row: &'r Json, column: &str) -> &'r str {
    row[column].as_str().unwrap_or("?")
}

fn clock<'r>(row: &'r Json, column: &str) -> &'r str {
    text(row, column).trim_start_matches("2026-").trim_end_matches('Z')
}

/// `3`, for an HPA `2..9`.
fn number(row: &Json, min: &str, max: &str) -> String {
    let number = |column: &str| row[column].as_i64().map_or_else(|| "?".to_owned(), |number| number.to_string());
    match row[min].is_null() {
        true => number(max),
        false => format!("{}..{}", number(min), number(max)),
    }
}

/// What was written, and for an HPA the Deployment that it aims at.
fn subject(row: &Json) -> String {
    let object = text(row, "object_name");
    match text(row, "object_kind") {
        "Deployment" => object.to_owned(),
        "HorizontalPodAutoscaler" => format!("HPA {object} of {}", text(row, "deployment_name")),
        kind => kind.to_owned(),
    }
}

fn actor(row: &Json) -> String {
    let behalf = row["on_behalf_of"].as_str().map(|behalf| format!(" for {behalf}")).unwrap_or_default();
    format!("{}{behalf} ({})", text(row, "actor"), text(row, "route"))
}

/// The cluster, in cases that have others.
fn place(row: &Json) -> String {
    let cluster = text(row, "cluster_name").split(' ').next().unwrap_or_default();
    match (text(row, "location"), cluster) {
        ("europe-north1", "north-1") => String::new(),
        (location, cluster) => format!("{location}/{cluster} "),
    }
}

fn event(row: &Json) -> String {
    let state = row["object_state"].as_str().map(|state| format!(", {state}")).unwrap_or_default();
    let found = if holds(row, "effective") { "" } else { ", inert" };
    format!(
        "{} {}{} {}: {} {}{state}{found}, {} by {}",
        clock(row, "event_time"),
        place(row),
        text(row, "operation"),
        subject(row),
        number(row, "min_replicas", "replicas"),
        text(row, "outcome"),
        text(row, "verdict"),
        actor(row)
    )
}

fn change(row: &Json) -> String {
    let missed = row["missed_writes"].as_i64().filter(|&missed| missed > 0);
    let (time, effective) = (clock(row, "event_time"), clock(row, "effective_time"));
    format!(
        "{time} {}{}, life {}: {} -> {}, {} by {}{}{}",
        place(row),
        subject(row),
        row["life"],
        number(row, "previous_min_replicas", "previous_replicas"),
        if row["verdict"] == "removed" { "removed".to_owned() } else { number(row, "min_replicas", "replicas") },
        text(row, "verdict"),
        actor(row),
        missed.map(|missed| format!(", {missed} missed")).unwrap_or_default(),
        if time == effective { String::new() } else { format!(", effective {effective}") }
    )
}

fn present(row: &Json) -> String {
    format!("{}{}: {}, {}", place(row), subject(row), number(row, "min_replicas", "replicas"), text(row, "verdict"))
}

fn alert(row: &Json) -> String {
    let number = |column: &str| row[column].as_i64().map_or_else(|| "?".to_owned(), |number| number.to_string());
    format!(
        "{} {}{} {}: {} of {} by {}",
        clock(row, "alert_time"),
        place(row),
        text(row, "alert_type"),
        text(row, "deployment_name"),
        number("replicas"),
        number("limit_max_replicas"),
        actor(row)
    )
}

/// Runs of days with one number.
fn runs(rows: &[&Json]) -> Vec<String> {
    let mut runs: BTreeMap<String, Vec<(NaiveDate, NaiveDate, i64)>> = BTreeMap::new();
    for row in rows {
        let day: NaiveDate = text(row, "date").parse().expect("a date");
        let max = row["max_replicas"].as_i64().expect("a number");
        let runs = runs.entry(format!("{}{}", place(row), text(row, "deployment_name"))).or_default();
        match runs.last_mut() {
            Some((_, last, number)) if *number == max && *last + Duration::days(1) == day => *last = day,
            _ => runs.push((day, day, max)),
        }
    }
    let told = |(first, last, max): &(NaiveDate, NaiveDate, i64)| match first == last {
        true => format!("{max} on {}", first.format("%m-%d")),
        false => format!("{max} from {} to {}", first.format("%m-%d"), last.format("%m-%d")),
    };
    runs.iter()
        .map(|(name, runs)| format!("{name}: {}", runs.iter().map(told).collect::<Vec<_>>().join(", ")))
        .collect()
}
