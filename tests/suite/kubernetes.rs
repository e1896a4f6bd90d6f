//! A real API server's audit log against its own watch: nothing missing, nothing invented, nothing credited to the
//! wrong name; and what is there at the end is what the API lists. `tests/kubernetes/record.py` starts the server,
//! writes to it and leaves both; `fixtures/kubernetes` holds two such recordings, the first line of these tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use chrono::Duration;
use flate2::read::GzDecoder;
use pedwatch::store::query;
use pedwatch::store::sqlite::Sqlite;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::support::{block_on, handle, pipeline, root, time};

/// How many random writes the live run makes, if `PEDWATCH_TEST_WRITES` does not say.
const WRITES: &str = "300";

mod withheld;

#[test]
fn a_recorded_matrix_agrees_with_its_watch() {
    let recording = Recording::fixture("matrix");
    recording.agrees(1);
    recording.finds_what_is_withheld(1);
}

#[test]
fn recorded_random_writes_agree_with_their_watch() {
    let recording = Recording::fixture("random");
    recording.agrees(2);
    recording.finds_what_is_withheld(2);
}

/// Every kind of write, and random ones, against the real server. `PEDWATCH_TEST_SEED` repeats the choices of a run.
#[test]
fn a_live_api_server_agrees_with_its_watch() {
    let seed = std::env::var("PEDWATCH_TEST_SEED")
        .unwrap_or_else(|_| SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().to_string());
    println!("PEDWATCH_TEST_SEED={seed}");
    let writes = std::env::var("PEDWATCH_TEST_WRITES").unwrap_or_else(|_| WRITES.to_owned());
    // It stays there, to be looked at.
    let folder = root().join("target/kubernetes").join(&seed);
    let recorded = Command::new("python3")
        .arg(root().join("tests/kubernetes/record.py"))
        .args(["--matrix", "--random", &writes, "--seed", &seed, "--out"])
        .arg(&folder)
        .status()
        .expect("python3");
    assert!(recorded.success(), "tests/kubernetes/record.py failed: no API server to be held against");
    let (recording, seed) = (Recording::read(&folder), seed.parse().expect("the seed is a number"));
    recording.agrees(seed);
    recording.finds_what_is_withheld(seed);
}

/// What the audit log says, and what happened.
struct Recording {
    folder: PathBuf,
    entries: Vec<Vec<u8>>,
    truth: Truth,
}

/// From the server's watch and the driver's own calls.
#[derive(Deserialize)]
struct Truth {
    /// Every object that ever was.
    objects: Vec<Object>,
    /// What the API lists at the end.
    listed: Vec<Listed>,
}

#[derive(Deserialize)]
struct Object {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    /// What was stored, in the server's order: each time that a watched field had another value.
    changes: Vec<Change>,
    ended: bool,
    /// Null where it cannot be known.
    ended_by: Option<String>,
    /// Whether the log tells for certain that it ended, and when.
    told: bool,
}

#[derive(Deserialize)]
struct Change {
    resource_version: String,
    /// Not in the recordings of the first release.
    generation: Option<i64>,
    replicas: i64,
    min_replicas: Option<i64>,
    target: Option<Target>,
    /// Null where it cannot be known: of two answers with one version that overlapped, either may be the write's.
    actor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    /// These three are not in the recordings of the first release.
    generation: Option<i64>,
    resource_version: Option<String>,
    created: Option<String>,
    replicas: i64,
    min_replicas: Option<i64>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: String,
    name: String,
}

impl Recording {
    fn fixture(name: &str) -> Self {
        Self::read(&root().join("fixtures/kubernetes").join(name))
    }

    fn read(folder: &Path) -> Self {
        let mut lines = Vec::new();
        match std::fs::File::open(folder.join("entries.ndjson.gz")) {
            Ok(packed) => GzDecoder::new(packed).read_to_end(&mut lines).expect("gzip"),
            Err(_) => std::fs::File::open(folder.join("entries.ndjson"))
                .and_then(|mut file| file.read_to_end(&mut lines))
                .expect("entries"),
        };
        let truth = std::fs::read(folder.join("truth.json")).expect("the truth");
        Recording {
            folder: folder.to_owned(),
            entries: lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect(),
            truth: serde_json::from_slice(&truth).expect("the truth"),
        }
    }

    /// In the log's order, and shuffled with duplicates.
    fn agrees(&self, seed: u64) {
        let mut wrong = self.differences("in the log's order", &self.entries);
        wrong.extend(self.differences("shuffled, with duplicates", &shuffled(&self.entries, seed)));
        let (objects, found) = (self.truth.objects.len(), wrong.len());
        println!("{}: {} entries, {objects} objects", self.folder.display(), self.entries.len());
        assert!(wrong.is_empty(), "{}: {found} differences\n\n{}", self.folder.display(), wrong.join("\n\n"));
    }

    /// Has pedwatch read the entries, and tells what it says that is not so.
    fn differences(&self, order: &str, entries: &[Vec<u8>]) -> Vec<String> {
        let (changes, current) = block_on(async {
            let store = Sqlite::in_memory().expect("memory");
            let last = entries.iter().map(|entry| timestamp(entry)).max().expect("entries");
            handle(&store, &pipeline(&store).await, entries, time(&last) + Duration::hours(1)).await;
            let dump = async |view| query::dump(&store, view).await.expect("readable");
            (dump("replica_changes").await, dump("current_replicas").await)
        });
        let mut wrong = self.wrong_changes(&changes);
        wrong.extend(self.wrong_end(&current));
        wrong.iter().map(|difference| format!("{order}: {difference}")).collect()
    }

    /// Where the history of an object is another than the truth.
    fn wrong_changes(&self, changes: &[Json]) -> Vec<String> {
        let mut by_object: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
        for row in changes {
            by_object.entry(row["object_uid"].as_str().unwrap_or("no uid")).or_default().push(row);
        }
        let mut wrong = Vec::new();
        for object in &self.truth.objects {
            let rows = by_object.remove(object.uid.as_str()).unwrap_or_default();
            let expected = object.history();
            let mut found = told(rows);
            if !object.told {
                found.retain(|step| !step.is_end);
            }
            if !matches(&expected, &found) {
                wrong.push(format!("{}\n{}", object.title(), side_by_side(&expected, &found)));
            }
        }
        wrong.extend(by_object.into_iter().map(|(uid, rows)| {
            format!("invented: an object {uid} that never was\n{}", side_by_side(&[], &told(rows)))
        }));
        wrong
    }

    /// Where what is there at the end is not what the API lists.
    fn wrong_end(&self, current: &[Json]) -> Vec<String> {
        let expected: BTreeSet<String> = self.truth.listed.iter().filter_map(Listed::line).collect();
        let found: BTreeSet<String> = current.iter().map(current_line).collect();
        let missing = expected.difference(&found).map(|line| format!("current_replicas lacks {line}"));
        let invented =
            found.difference(&expected).map(|line| format!("current_replicas has {line}, which the API does not list"));
        missing.chain(invented).collect()
    }
}

/// One change or end, as it is compared and shown.
#[derive(Debug)]
struct Step {
    text: String,
    /// Nobody is asked for where the truth does not know.
    actor: Option<String>,
    is_end: bool,
}

impl Object {
    fn title(&self) -> String {
        format!("{} {}/{} ({})", self.kind, self.namespace, self.name, self.uid)
    }

    /// What has to be told of it.
    fn history(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        // The Deployment that it is about, and the numbers that are known of it there.
        let mut now: Option<(&str, Numbers)> = None;
        for change in &self.changes {
            let numbers = (Some(change.replicas), change.min_replicas);
            let aim = scaled(&self.kind, &self.name, change.target.as_ref());
            if let Some((deployment, _)) = now.filter(|&(before, _)| Some(before) != aim) {
                steps.push(Step::end(deployment, change.actor.clone()));
                now = None;
            }
            // An autoscaler whose reference alone came to nothing, or back, shows the same numbers.
            if let Some(deployment) = aim.filter(|&aim| now != Some((aim, numbers))) {
                let before = now.map_or((None, None), |(_, numbers)| numbers);
                steps.push(Step::change(deployment, before, numbers, change.actor.clone()));
            }
            now = aim.map(|deployment| (deployment, numbers));
        }
        if let Some((deployment, _)) = now.filter(|_| self.ended && self.told) {
            steps.push(Step::end(deployment, self.ended_by.clone()));
        }
        steps
    }
}

/// `replicas` (of an autoscaler, its maximum) and the minimum.
type Numbers = (Option<i64>, Option<i64>);

/// The Deployment that an object is about; None is none of ours. An autoscaler that names a Deployment in a way that
/// finds nothing is recorded all the same.
fn scaled<'a>(kind: &str, name: &'a str, target: Option<&'a Target>) -> Option<&'a str> {
    match target {
        Some(target) => target.kind.eq_ignore_ascii_case("Deployment").then_some(&target.name),
        None => (kind == "Deployment").then_some(name),
    }
}

impl Step {
    fn change(deployment: &str, before: Numbers, numbers: Numbers, actor: Option<String>) -> Self {
        let text = format!("{deployment}: {} -> {}", shown(before), shown(numbers));
        Step { text, actor, is_end: false }
    }

    fn end(deployment: &str, actor: Option<String>) -> Self {
        Step { text: format!("{deployment}: removed"), actor, is_end: true }
    }

    /// A row of `replica_changes`.
    fn told(row: &Json) -> Self {
        let deployment = row["deployment_name"].as_str().unwrap_or("no Deployment");
        let actor = row["actor"].as_str().map(str::to_owned);
        if row["verdict"] == "removed" {
            return Self::end(deployment, actor);
        }
        let numbers = |replicas: &str, min: &str| (row[replicas].as_i64(), row[min].as_i64());
        let before = numbers("previous_replicas", "previous_min_replicas");
        let mut step = Self::change(deployment, before, numbers("replicas", "min_replicas"), actor);
        if let Some(missed @ 1..) = row["missed_writes"].as_i64() {
            step.text += &format!(" ({missed} missed)");
        }
        step
    }

    fn line(&self) -> String {
        format!("{} by {}", self.text, self.actor.as_deref().unwrap_or("?"))
    }
}

fn shown((replicas, min): Numbers) -> String {
    let number = |number: Option<i64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    min.map_or_else(|| number(replicas), |_| format!("{}..{}", number(min), number(replicas)))
}

/// Rows of one object, in order.
fn told(mut rows: Vec<&Json>) -> Vec<Step> {
    rows.sort_by_key(|row| (row["life"].as_i64(), row["position"].as_i64(), row["verdict"] != "removed"));
    rows.into_iter().map(Step::told).collect()
}

fn matches(expected: &[Step], found: &[Step]) -> bool {
    let same = |(expected, found): (&Step, &Step)| {
        expected.text == found.text && (expected.actor.is_none() || expected.actor == found.actor)
    };
    expected.len() == found.len() && expected.iter().zip(found).all(same)
}

fn side_by_side(expected: &[Step], found: &[Step]) -> String {
    let lines = |steps: &[Step]| steps.iter().map(|step| format!("\n    {}", step.line())).collect::<String>();
    format!("  expected{}\n  found{}", lines(expected), lines(found))
}

impl Listed {
    /// None if it is none of ours.
    fn line(&self) -> Option<String> {
        let deployment = scaled(&self.kind, &self.name, self.target.as_ref())?;
        let numbers = shown((Some(self.replicas), self.min_replicas));
        Some(format!("{} {}/{} ({}) on {deployment}: {numbers}", self.kind, self.namespace, self.name, self.uid))
    }
}

/// A row of `current_replicas`, in the same words.
fn current_line(row: &Json) -> String {
    let text = |column: &str| row[column].as_str().unwrap_or("none").to_owned();
    let numbers = shown((row["replicas"].as_i64(), row["min_replicas"].as_i64()));
    let object = format!("{} {}/{}", text("object_kind"), text("namespace"), text("object_name"));
    format!("{object} ({}) on {}: {numbers}", text("object_uid"), text("deployment_name"))
}

fn timestamp(entry: &[u8]) -> String {
    let entry: Json = serde_json::from_slice(entry).expect("JSON");
    entry["timestamp"].as_str().expect("a timestamp").to_owned()
}

/// Another order, with every third entry twice.
fn shuffled(entries: &[Vec<u8>], seed: u64) -> Vec<Vec<u8>> {
    let mut drawn = draws(seed);
    let copies = entries.iter().step_by(3);
    let mut drawn: Vec<(u64, &Vec<u8>)> = entries.iter().chain(copies).map(|entry| (drawn(), entry)).collect();
    drawn.sort();
    drawn.into_iter().map(|(_, entry)| entry.clone()).collect()
}

/// SplitMix64, which any seed will do for.
fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
