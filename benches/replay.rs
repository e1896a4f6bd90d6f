//! `cargo bench --bench replay`: a gigabyte of NDJSON through the real binary into SQLite, against decoding alone on
//! the same cores, in one run; and the binary's peak memory. `BENCH_MB` sets another size.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pedwatch::pipeline::chunk::Chunk;
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::open;
use pedwatch::source::files;

mod generate;

fn main() {
    let size_mb: u64 = std::env::var("BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("audit.ndjson");
    let entries = write_input(&input, size_mb << 20);
    let peds = folder.path().join("peds.yaml");
    std::fs::write(&peds, generate::peds()).expect("written");
    let cores = std::thread::available_parallelism().expect("cores").get();
    println!("{entries} entries of 7 KB, {size_mb} MiB, {cores} cores; half are writes, half failed calls");

    let alone = (0..3).map(|_| decode_alone(&input, cores)).min().expect("three runs");
    let runs = (0..3).map(|run| replay(&input, &peds, &folder.path().join(format!("{run}.db"))));
    let (replayed, peak_kb) = runs.min().expect("three runs");
    let rate = |time: Duration| size_mb as f64 / time.as_secs_f64();
    println!("decoding alone:     {:6.0} MiB/s", rate(alone));
    println!("replay into SQLite: {:6.0} MiB/s, peak memory {} MB", rate(replayed), peak_kb / 1000);
    println!("ratio:              {:6.2}", alone.as_secs_f64() / replayed.as_secs_f64());
}

fn write_input(path: &Path, size_bytes: u64) -> u64 {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let (mut written, mut entries) = (0, 0);
    while written < size_bytes {
        let entry = generate::entry(entries, 7 << 10);
        file.write_all(&entry).and_then(|()| file.write_all(b"\n")).expect("written");
        written += entry.len() as u64 + 1;
        entries += 1;
    }
    file.flush().expect("written");
    entries
}

/// Reads, cuts and decodes on all cores, and drops what comes out.
fn decode_alone(input: &Path, cores: usize) -> Duration {
    let begun = Instant::now();
    let (chunks, taken) = crossbeam_channel::bounded::<Chunk>(cores);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let taken = taken.clone();
            scope.spawn(move || {
                for chunk in taken {
                    chunk
                        .documents()
                        .for_each(|document| open(document.bytes, Envelope::default(), |_, decoded| drop(decoded)));
                }
            });
        }
        files::read(&[PathBuf::from(input)], |chunk| chunks.send(chunk).is_ok()).expect("readable");
        drop(chunks);
    });
    begun.elapsed()
}

/// How long the real binary takes, and its peak memory in KB as Linux tells it.
fn replay(input: &Path, peds: &Path, store: &Path) -> (Duration, u64) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pedwatch"))
        .args(["replay", "--format", "json", "--store", &format!("sqlite:{}", store.display())])
        .env(generate::PIPELINE.0, generate::PIPELINE.1)
        .arg("--ped")
        .arg(peds)
        .arg(input)
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    let mut peak_kb = 0;
    let status = loop {
        peak_kb = peak_kb.max(peak_memory_kb(child.id()).unwrap_or(0));
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success());
    (begun.elapsed(), peak_kb)
}

fn peak_memory_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
