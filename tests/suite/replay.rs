//! Replaying: everything at once, within its memory, and nothing lost or doubled where it breaks off.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use flate2::Compression;
use flate2::write::GzEncoder;
use pedwatch::pipeline::replay::{Recorder, Replayed, Take, replay};
use pedwatch::source::files;
use pedwatch::store::query::{Query, Rows};
use pedwatch::store::row::Record;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Store, StoreError};
use serde_json::Value as Json;

use crate::cli::{command, stderr};
use crate::support::{FACTS, Killed, Sample, block_on, contents, pipeline};

/// Entries of one file, each a write of another version, as a line each.
fn lines(from: usize, to: usize) -> Vec<u8> {
    let line = |number: usize| {
        let at = format!("2026-09-{:02}T{:02}:{:02}:00Z", 1 + number / 1_440 % 28, number / 60 % 24, number % 60);
        let version = i64::try_from(number).expect("small");
        let mut line = Sample::patch(&format!("entry-{number}"), &at, version % 7).version(version, version).bytes();
        line.push(b'\n');
        line
    };
    (from..to).flat_map(line).collect()
}

/// A store whose first append waits until something is so, or for a minute.
struct Held<'s, F> {
    store: &'s dyn Store,
    appends: AtomicUsize,
    until: F,
}

#[async_trait]
impl<F: Fn() -> bool + Send + Sync> Store for Held<'_, F> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        let begun = Instant::now();
        let is_first = self.appends.fetch_add(1, Ordering::Relaxed) == 0;
        while is_first && !(self.until)() {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(StoreError::Transient("nobody went on meanwhile".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        self.store.fetch(query).await
    }
}

async fn replayed(store: &dyn Store, files: Vec<PathBuf>, progress: impl Fn(u64)) -> anyhow::Result<Replayed> {
    let pipeline = Arc::new(pipeline(store).await);
    let recorder =
        Recorder { pipeline: &pipeline, store, telling: None, now: Utc::now(), registered: &BTreeSet::new() };
    replay(move |take: Take<'_>| files::read_side_by_side(&files, take), recorder, progress).await
}

#[test]
fn while_rows_are_written_the_next_are_gathered_and_no_more() {
    // Each is an event and two alerts, of which some 2,000 are a commit: six commits.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.ndjson");
    let text = lines(0, 12_000);
    std::fs::write(&file, &text).expect("written");
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        let done_bytes = Arc::new(AtomicU64::new(0));
        let (seen, at_first) = (Arc::clone(&done_bytes), AtomicU64::new(0));
        // Nearly two commits' worth of input is done with while the first is being written.
        let until = || {
            at_first.store(seen.load(Ordering::Relaxed), Ordering::Relaxed);
            seen.load(Ordering::Relaxed) > text.len() as u64 * 3 / 10
        };
        let held = Held { store: &store, appends: AtomicUsize::default(), until };
        let progress = |bytes| {
            done_bytes.fetch_add(bytes, Ordering::Relaxed);
        };
        replayed(&held, vec![file], progress).await.expect("recorded");
        let (at_first, all) = (at_first.load(Ordering::Relaxed), text.len() as u64);
        assert!(at_first < all * 6 / 7, "{at_first} of {all} bytes were taken while one commit was written");
        assert_eq!(contents(&store, &["replica_events"]).await[0].1.len(), 12_000);
    });
}

#[test]
fn a_store_that_fails_in_a_full_pipeline_ends_it_and_a_second_run_completes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.ndjson");
    std::fs::write(&file, lines(0, 6_000)).expect("written");
    block_on(async {
        let whole = Sqlite::in_memory().expect("memory");
        replayed(&whole, vec![file.clone()], |_| ()).await.expect("recorded");
        let store = Sqlite::in_memory().expect("memory");
        let killed = Killed { store: &store, left: AtomicUsize::new(9_000) };
        let error = replayed(&killed, vec![file.clone()], |_| ()).await.expect_err("the store fails");
        assert!(format!("{error:#}").contains("killed"), "{error:#}");
        replayed(&store, vec![file], |_| ()).await.expect("recorded");
        assert_eq!(contents(&store, &FACTS).await, contents(&whole, &FACTS).await);
    });
}

/// No file of the store's may grow beyond this, as where a quota ends or the disk is full; SQLite reports it as a failed write.
const DISK_BYTES: u64 = 8 << 20;

#[test]
fn a_disk_that_fills_in_a_full_pipeline_ends_it_and_a_second_run_completes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, path) = (folder.path().join("audit.ndjson"), folder.path().join("facts.db"));
    std::fs::write(&file, lines(0, 12_000)).expect("written");
    // The signal of that limit would kill it; a shell that ignores it hands that on.
    let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", DISK_BYTES / 512);
    let replay = |mut command: Command| {
        let store = format!("sqlite:{}", path.display());
        command.args(["replay", "--format=json", "--store", &store]).arg(&file).output().expect("it starts")
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited]).arg(command().get_program()).env_remove("PEDWATCH_CONFIG");
    let failed = replay(shell);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("the store cannot be used now, it may work later"), "{}", stderr(&failed));
    let done = replay(command());
    assert!(done.status.success(), "{}", stderr(&done));
    let done: Json = serde_json::from_slice(&done.stdout).expect("JSON");
    block_on(async {
        let whole = Sqlite::in_memory().expect("memory");
        replayed(&whole, vec![file.clone()], |_| ()).await.expect("recorded");
        let store = Sqlite::open(&path).expect("a store");
        assert_eq!(contents(&store, &FACTS).await, contents(&whole, &FACTS).await);
    });
    println!(
        "12,000 writes onto a disk of 8 MiB: {} were there, {} came with the second run",
        done["duplicates"], done["events"]
    );
    assert!(done["duplicates"].as_u64() > Some(0), "{done}");
}

/// Each pipe is filled only when the one before it has been read to its end, and they are named the other way round.
#[test]
fn files_are_read_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipes = ["one.ndjson", "other.ndjson"].map(|name| folder.path().join(name));
    assert!(Command::new("mkfifo").args(&pipes).status().expect("mkfifo").success());
    let mut child = command()
        .args(["replay", "--format=json", "--store", &format!("sqlite:{}", folder.path().join("facts.db").display())])
        .args(&pipes)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (begun, writer) = (Instant::now(), std::thread::spawn(move || fill(&pipes)));
    while !writer.is_finished() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_read = writer.is_finished();
    if !is_read {
        child.kill().expect("killed");
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(is_read, "the second is not opened before the first is read");
    let summary: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(summary["entries"], 30);
}

fn fill(pipes: &[PathBuf; 2]) {
    for (number, pipe) in pipes.iter().rev().enumerate() {
        // Waits for its reader.
        let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).expect("a pipe");
        pipe.write_all(&lines(number * 100, number * 100 + 15)).expect("read");
    }
}

/// What was unpacked before the end is recorded, and the end told.
#[test]
fn a_packed_file_that_breaks_off_costs_only_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.ndjson.gz");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&lines(0, 4_000)).expect("packed");
    let packed = packed.finish().expect("packed");
    std::fs::write(&file, &packed[..packed.len() / 2]).expect("written");
    let replayed = |file: &Path| {
        let file = vec![file.to_owned()];
        block_on(async { replayed(&Sqlite::in_memory().expect("memory"), file, |_| ()).await.expect("recorded") })
    };
    let Replayed { tally, unread } = replayed(&file);
    assert!(tally.entries > 1_500, "{}", tally.entries);
    assert!(unread.is_some_and(|why| format!("{why:#}").contains("audit.ndjson.gz")));
}
