//! `cargo bench --bench replay`: NDJSON through the real binary into SQLite, against decoding alone on the same cores, in
//! pairs of one run: until all rows are durable for entries as they are in reality, the same packed, the same into a store that
//! is large already, and entries of which each alarms; and whole runs, which end with judging again and the report's
//! questions. `BENCH_MB` sets another size than 256 MiB, `BENCH_ROWS` another than a million rows for the large store;
//! `BENCH_INPUT` is a folder in which the inputs stay, for `benches/peers`.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that panics has failed")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use pedwatch::pipeline::chunk::Chunk;
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::open;
use pedwatch::source::files;

use rusqlite::OpenFlags;

use measure::{Figures, Spread, Used};

mod generate;
mod measure;

const PAIRS: usize = 3;

fn main() {
    let set = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (size_mb, rows) = (set("BENCH_MB", 256), set("BENCH_ROWS", 1_000_000));
    let temporary = tempfile::tempdir().expect("a folder");
    let kept = std::env::var_os("BENCH_INPUT").map(PathBuf::from);
    let bench = Bench::new(kept.as_deref().unwrap_or(temporary.path()), temporary.path(), size_mb << 20);
    println!("{} entries of 7 KB, {size_mb} MiB; half are writes, half failed calls", bench.entries);
    let mut figures = Figures::default();
    bench.compare(&mut figures);
    bench.whole(&mut figures);
    bench.append_to_large(rows, &mut figures);
    bench.alarms(size_mb << 18, &mut figures);
    figures.write("replay");
}

struct Bench<'f> {
    folder: &'f Path,
    input: PathBuf,
    entries: u64,
    inputs: &'f Path,
}

impl<'f> Bench<'f> {
    fn new(inputs: &'f Path, folder: &'f Path, size_bytes: u64) -> Self {
        std::fs::write(inputs.join("peds.yaml"), generate::peds()).expect("written");
        let input = inputs.join("audit.ndjson");
        let entries = write_input(&input, size_bytes, |number| generate::entry(number, 7 << 10));
        Bench { folder, input, entries, inputs }
    }

    /// Decoding alone, and replay of the plain and of the packed file, in turn.
    fn compare(&self, figures: &mut Figures) {
        let cores = std::thread::available_parallelism().expect("cores").get();
        let packed = self.inputs.join("audit.ndjson.gz");
        pack(&self.input, &packed);
        let size_mb = std::fs::metadata(&self.input).expect("a file").len() as f64 / f64::from(1 << 20);
        let (mut ratios, mut packed_ratios, mut alone, mut plain, mut peaks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let decoded = decode_alone(&self.input, cores).as_secs_f64();
            let (replayed, used) = self.ingest(&self.input, self.entries, &self.store(&format!("{pair}.db")));
            let (unpacked, _) = self.ingest(&packed, self.entries, &self.store(&format!("{pair}-packed.db")));
            alone.push(size_mb / decoded);
            plain.push(size_mb / replayed.as_secs_f64());
            peaks.push(used.peak_mb);
            ratios.push(decoded / replayed.as_secs_f64());
            packed_ratios.push(decoded / unpacked.as_secs_f64());
        }
        let (alone, plain, peak) = (Spread::of(alone), Spread::of(plain), Spread::of(peaks).most);
        println!("decoding alone, MiB/s:     {alone}");
        println!("replay into SQLite, MiB/s: {plain}; {peak:.0} MB at most");
        println!("  of decoding alone:       {}", Spread::of(ratios.iter().copied()));
        println!("  packed (gzip):           {}", Spread::of(packed_ratios.iter().copied()));
        figures.keep("decoded_mib_per_s", alone.median);
        figures.keep("replayed_mib_per_s", plain.median);
        figures.keep("replayed_ratio", Spread::of(ratios).median);
        figures.keep("packed_ratio", Spread::of(packed_ratios).median);
        figures.keep("peak_mb", peak);
    }

    /// Whole runs, of which the second finds everything there already.
    fn whole(&self, figures: &mut Figures) {
        let store = self.store("whole.db");
        let (first, used) = self.replay(&self.input, &store);
        let (second, _) = self.replay(&self.input, &store);
        let (first, second) = (first.as_secs_f64(), second.as_secs_f64());
        println!("a whole run with its questions: {first:.1} s, {:.0} MB at most", used.peak_mb);
        println!("  an event, ms:                 {:.2}", first * 2e3 / self.entries as f64);
        println!("  the same again, of the first: {:.2}", second / first);
        figures.keep("whole_entries_per_s", self.entries as f64 / first);
        figures.keep("whole_peak_mb", used.peak_mb);
        figures.keep("again_ratio", second / first);
    }

    /// The rate into a store with so many rows, of the rate into an empty one.
    fn append_to_large(&self, rows: u64, figures: &mut Figures) {
        let large = self.store("large.db");
        self.ingest(&self.input, self.entries, &large);
        grow(&large, rows);
        // Others than those that are there.
        let fresh = self.store("fresh.ndjson");
        let size_bytes = std::fs::metadata(&self.input).expect("a file").len();
        let entries = write_input(&fresh, size_bytes, |number| generate::entry(self.entries + number, 7 << 10));
        let pair = |run: usize| {
            let (empty, _) = self.ingest(&fresh, entries, &self.store(&format!("{run}-empty.db")));
            // Each a file of its own: what is killed leaves its log behind.
            let kept = self.store(&format!("{run}-full.db"));
            std::fs::copy(&large, &kept).expect("copied");
            let (full, _) = self.ingest(&fresh, entries, &kept);
            std::fs::remove_file(kept).expect("removed");
            empty.as_secs_f64() / full.as_secs_f64()
        };
        let ratio = Spread::of((0..PAIRS).map(pair));
        println!("into a store of {rows} rows, of an empty one: {ratio}");
        figures.keep("large_rows", rows as f64);
        figures.keep("large_ratio", ratio.median);
        std::fs::remove_file(large).expect("removed");
    }

    /// Each entry over its limit, by somebody who may not.
    fn alarms(&self, size_bytes: u64, figures: &mut Figures) {
        let input = self.inputs.join("alarms.ndjson");
        let entries = write_input(&input, size_bytes, |number| generate::alarming(number, 7 << 10));
        let run =
            |run: usize| self.ingest(&input, 2 * entries, &self.store(&format!("{run}-alarms.db"))).0.as_secs_f64();
        let rate = Spread::of((0..PAIRS).map(|number| entries as f64 / run(number)));
        println!("{entries} entries that all alarm, a second: {rate}");
        figures.keep("alarming_entries_per_s", rate.median);
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start(&self, input: &Path, store: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_pedwatch"))
            .args(["replay", "--format", "json", "--store", &format!("sqlite:{}", store.display())])
            .env(generate::PIPELINE.0, generate::PIPELINE.1)
            .arg("--ped")
            .arg(self.inputs.join("peds.yaml"))
            .arg(input)
            .stdout(Stdio::null())
            .spawn()
            .expect("started")
    }

    /// How long the real binary takes in all, and what it uses.
    fn replay(&self, input: &Path, store: &Path) -> (Duration, Used) {
        let begun = Instant::now();
        measure::ended(self.start(input, store), begun)
    }

    /// How long it takes until the row of the last write is durable, and what it has used by then. Every other entry is a
    /// write.
    fn ingest(&self, input: &Path, entries: u64, store: &Path) -> (Duration, Used) {
        let before = if store.exists() { rows(store).expect("a store") } else { 0 };
        let begun = Instant::now();
        let mut child = self.start(input, store);
        // Of an odd number, the last or the first may be a failed call.
        while rows(store).is_none_or(|rows| rows < before + entries / 2) {
            assert!(child.try_wait().expect("a child").is_none(), "it has ended, and not all is there");
            std::thread::sleep(Duration::from_millis(5));
        }
        let (took, used) = (begun.elapsed(), Used::by(child.id()));
        child.kill().expect("killed");
        child.wait().expect("ended");
        (took, used)
    }
}

/// How many events a store has, if it is one yet.
fn rows(store: &Path) -> Option<u64> {
    let database = rusqlite::Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let last = "SELECT COALESCE(MAX(rowid), 0) FROM replica_events";
    let last = database.query_row(last, [], |row| row.get::<_, i64>(0)).ok()?;
    u64::try_from(last).ok()
}

fn write_input(path: &Path, size_bytes: u64, entry: impl Fn(u64) -> Vec<u8>) -> u64 {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let (mut written, mut entries) = (0, 0);
    while written < size_bytes {
        let entry = entry(entries);
        file.write_all(&entry).and_then(|()| file.write_all(b"\n")).expect("written");
        written += entry.len() as u64 + 1;
        entries += 1;
    }
    file.flush().expect("written");
    entries
}

fn pack(from: &Path, to: &Path) {
    let mut packed = GzEncoder::new(File::create(to).expect("a file"), Compression::fast());
    std::io::copy(&mut File::open(from).expect("a file"), &mut packed).expect("packed");
    packed.finish().expect("packed");
}

/// Adds copies of the rows that are there under other ids and earlier times, until there are so many.
fn grow(store: &Path, rows: u64) {
    let database = rusqlite::Connection::open(store).expect("opened");
    let mut columns = database.prepare("SELECT name FROM pragma_table_info('replica_events')").expect("asked");
    let columns: Vec<String> =
        columns.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
    let of_copy = |column: &String| match column.as_str() {
        "event_id" => "lower(hex(randomblob(16)))".to_owned(),
        "event_time" => "'2026-0' || (1 + copy % 8) || substr(event_time, 8)".to_owned(),
        other => format!("`{other}`"),
    };
    let copied: Vec<String> = columns.iter().map(of_copy).collect();
    database
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;
             WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy < 1000)
             INSERT INTO replica_events ({}) SELECT {} FROM copies, replica_events LIMIT {rows};
             PRAGMA wal_checkpoint(TRUNCATE)",
            columns.join(", "),
            copied.join(", "),
        ))
        .expect("grown");
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
