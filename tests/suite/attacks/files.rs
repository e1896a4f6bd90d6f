//! Files that are cut, broken, huge, or no files at all.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Ended, knob, limited, run};
use crate::support::{Sample, ped};

/// What replay and ped validate may take, whatever they are given.
const MEMORY_MIB: u64 = 256;

/// Room for what is mapped and never touched: stacks of threads, and the allocator's arenas.
const UNTOUCHED_MIB: u64 = 512;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A write of its own, of about so many bytes.
fn entry(number: usize, bytes: usize) -> String {
    let mut entry = Sample::patch(&format!("write-{number}"), "2026-09-04T20:41:03Z", 3).entry;
    entry["protoPayload"]["response"]["metadata"]["annotations"]["note"] = "}{\"".repeat(bytes / 4).into();
    entry.to_string()
}

fn lines(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|number| entry(number, bytes)).collect()
}

fn replay(name: &str, inputs: &[&str]) -> (Ended, Json) {
    let ended = run(name, &mut limited(UNTOUCHED_MIB, &[&["replay", "--format=json"], inputs].concat()), b"");
    let summary = serde_json::from_str(&ended.stdout).unwrap_or_default();
    assert!(ended.peak_mib <= MEMORY_MIB, "{} MiB: {}", ended.peak_mib, ended.stderr);
    (ended, summary)
}

fn figures(summary: &Json) -> (u64, u64) {
    (summary["events"].as_u64().expect("figures"), summary["quarantined"].as_u64().expect("figures"))
}

#[test]
fn a_cut_line_costs_only_itself() {
    let folder = folder();
    for (name, broken) in [("first", 0), ("middle", 200), ("last", 399)] {
        let mut lines = lines(400, 60 << 10);
        let half = lines[broken].len() / 2;
        lines[broken].truncate(half);
        let text = lines.join("\n");
        let packed = write(&folder, "cut.json.gz", gzip(text.as_bytes()));
        let (ended, summary) = replay(&format!("the {name} of 400 lines of 60 KB is cut"), &[&packed]);
        assert_eq!((ended.status.code(), figures(&summary)), (Some(0), (399, 1)));
        // Slowly through a pipe, as from a server: reads end anywhere.
        let script = format!(
            "(head -c 70000; sleep 0.1; head -c 100001; sleep 0.1; cat) < {packed}.plain | $0 replay --format=json -"
        );
        std::fs::write(format!("{packed}.plain"), &text).expect("written");
        let mut command = Command::new("sh");
        let ended = run("the same through a pipe", command.args(["-c", &script, env!("CARGO_BIN_EXE_pedwatch")]), b"");
        let summary: Json = serde_json::from_str(&ended.stdout).expect("figures");
        assert_eq!(figures(&summary), (399, 1));
    }
}

#[test]
fn a_broken_member_of_an_array_costs_only_itself() {
    let folder = folder();
    for separator in [",\n", ",", ",\n  "] {
        for (what, from, to) in [("brace", "}}", "}"), ("quote", "\"insertId\"", "\"insertId")] {
            let mut members = lines(50, 2 << 10);
            members[20] = members[20].replacen(from, to, 1);
            let path = write(&folder, "array.json", format!("[{}]\n", members.join(separator)));
            let (_, summary) = replay(&format!("a member lacks a {what}"), &[&path]);
            assert_eq!(figures(&summary), (49, 1), "{separator:?}");
        }
    }
}

#[test]
fn zeros_between_lines_cost_nothing_but_themselves() {
    let folder = folder();
    let lines = lines(100, 1 << 10);
    let hole = "\0".repeat(5 << 20);
    let text = format!("{hole}{}\n{hole}\n{}\n", lines[..50].join("\n"), lines[50..].join("\n"));
    let path = write(&folder, "emptied.ndjson", text);
    let (_, summary) = replay("two holes of 5 MiB", &[&path]);
    assert_eq!(figures(&summary).0, 100);
}

#[test]
fn what_can_be_had_of_a_broken_archive_is_kept_and_the_others_are_read() {
    let folder = folder();
    let text = format!("{}\n", lines(300, 20 << 10).join("\n"));
    let good = write(&folder, "good.ndjson", entry(1_000, 100));
    let packed = gzip(text.as_bytes());
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("packed");
    let wrong = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 6;
        bytes[at] ^= 1;
        bytes
    };
    for (what, name, bytes, least) in [
        ("cut", "cut.gz", packed[..packed.len() - 20].to_vec(), 290),
        ("zeros behind it", "zeros.gz", [&packed[..], &[0; 512]].concat(), 300),
        ("text behind it", "text.gz", [&packed[..], b"and more"].concat(), 300),
        ("a wrong checksum", "checksum.gz", wrong(packed.clone()), 300),
        ("cut", "cut.zst", zstd[..zstd.len() - 20].to_vec(), 150),
        ("text behind it", "text.zst", [&zstd[..], b"and more"].concat(), 300),
    ] {
        let path = write(&folder, name, bytes);
        let (ended, summary) = replay(&format!("{name}: {what}"), &[&path, &good]);
        assert_eq!(ended.status.code(), Some(1), "{name}: {what}");
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
        assert!(figures(&summary).0 > least, "{name}: {what}: {summary}");
    }
    // Two members are one file.
    let two = write(&folder, "two.gz", [gzip(&text.as_bytes()[..9_999]), gzip(&text.as_bytes()[9_999..])].concat());
    let (ended, summary) = replay("two members", &[&two]);
    assert_eq!((ended.status.code(), figures(&summary)), (Some(0), (300, 0)));
}

#[test]
fn a_file_that_cannot_be_opened_costs_only_itself() {
    let folder = folder();
    let good = write(&folder, "good.ndjson", entry(1, 100));
    let missing = folder.path().join("missing.ndjson");
    let missing = missing.to_str().expect("UTF-8");
    let (ended, summary) = replay("one of two is missing", &[missing, &good]);
    assert_eq!((ended.status.code(), figures(&summary)), (Some(1), (1, 0)));
    assert!(ended.stderr.contains("missing.ndjson"), "{}", ended.stderr);
    let (ended, summary) = replay("nothing is there", &[missing]);
    assert_eq!((ended.status.code(), summary), (Some(1), Json::Null));
    assert!(ended.stderr.contains("cannot read"), "{}", ended.stderr);
    let empty = write(&folder, "empty.ndjson", "");
    let (ended, summary) = replay("an empty file", &[&empty]);
    assert_eq!((ended.status.code(), figures(&summary)), (Some(1), (0, 0)), "nothing could be read");
}

#[test]
fn an_alarm_is_told_to_nobody_too() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut replay = limited(512, &["replay", "--fail-on=info", "fixtures/demo/audit"]);
    assert_eq!(replay.stdout(full).status().expect("it ends").code(), Some(3), "nor where nothing can be printed");
    let folder = folder();
    let path = write(&folder, "alarm.ndjson", entry(1, 100));
    for format in ["table", "json", "ndjson"] {
        for redirect in ["", "2>&1"] {
            let script =
                format!("set -o pipefail; $0 replay --fail-on=info --format={format} {path} {redirect} | true");
            let mut command = Command::new("bash");
            let status = command.args(["-c", &script, env!("CARGO_BIN_EXE_pedwatch")]).stderr(Stdio::null()).status();
            assert_eq!(status.expect("bash").code(), Some(3), "{format} {redirect}");
        }
    }
    let invalid = write(&folder, "invalid.yaml", "kind: Ped\n");
    let script = format!("set -o pipefail; $0 ped validate {invalid} | true");
    let status = Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_pedwatch")]).status();
    assert_eq!(status.expect("bash").code(), Some(1));
}

/// A folder with everything in it that is no regular file.
fn odd_folder(extension: &str, good: &str) -> TempDir {
    let folder = folder();
    let at = |name: &str| folder.path().join(format!("{name}.{extension}"));
    std::fs::write(folder.path().join("target"), good).expect("written");
    symlink("target", at("linked")).expect("a link");
    symlink("nowhere", at("dangling")).expect("a link");
    symlink(".", at("circle")).expect("a link");
    symlink("/dev/zero", at("endless")).expect("a link");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
    symlink(at("pipe"), at("to-pipe")).expect("a link");
    drop(std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket"));
    folder
}

#[test]
fn in_a_folder_only_regular_files_are_read() {
    let logs = odd_folder("json", &entry(1, 100));
    let (ended, summary) = replay("a folder of pipes, devices and circles", &[logs.path().to_str().expect("UTF-8")]);
    assert_eq!((ended.status.code(), figures(&summary)), (Some(0), (1, 0)));
    assert!(ended.stderr.contains("pipe.json") && ended.stderr.contains("endless.json"), "{}", ended.stderr);
    let peds = odd_folder("yaml", &ped("payments", "orders-api", None, 3));
    let args = ["ped", "validate", peds.path().to_str().expect("UTF-8")];
    let ended = run("the same for PEDs", &mut limited(UNTOUCHED_MIB, &args), b"");
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(0), "1 valid\n"));
    // By hand, a pipe may be named.
    let input = write(&logs, "by-hand", entry(2, 100));
    let script = format!("$0 replay --format=json <(cat {input}) && $0 replay --format=json /dev/stdin < {input}");
    let ended = run("by hand", Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_pedwatch")]), b"");
    assert_eq!(ended.stdout.matches("\"events\":1,").count(), 2, "{}{}", ended.stdout, ended.stderr);
}

fn validate(name: &str, path: &str) -> Ended {
    let ended = run(name, &mut limited(UNTOUCHED_MIB, &["ped", "validate", path]), b"");
    assert!(ended.peak_mib <= MEMORY_MIB, "{} MiB", ended.peak_mib);
    ended
}

#[test]
fn what_is_no_ped_is_refused_at_once_and_not_shown() {
    let folder = folder();
    let secret = "s3cr3t".repeat(20);
    for (name, text) in [
        ("a token", format!("eyJhbGciOi{}{secret}", "x".repeat(80))),
        (
            "a Secret",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\ndata: {{password: {secret}}}\n",
                "n".repeat(60)
            ),
        ),
        ("a mapping", format!("user: {}\n{secret}: {secret}\nkind: {secret}\n", "x".repeat(80))),
        ("a list", format!("- {}\n- {secret}\n", "x".repeat(80))),
        ("no YAML", format!("key: {}\n  {secret}: [{secret}\n", "x".repeat(80))),
        ("second", format!("{}\n---\n{secret}\n", ped("payments", "orders-api", None, 3))),
    ] {
        let path = write(&folder, "token", text);
        let link = folder.path().join("linked.yaml");
        let _ = std::fs::remove_file(&link);
        symlink(&path, &link).expect("a link");
        let ended = validate(name, link.to_str().expect("UTF-8"));
        assert_eq!(ended.status.code(), Some(1), "{name}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!told.contains("s3cr3t"), "{name}: {told}");
    }
    let ended = validate("/dev/zero", "/dev/zero");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_ped_that_cannot_be_read_is_a_fault_among_others() {
    let folder = folder();
    write(&folder, "a-latin1.yaml", b"kind: Ped\n# caf\xe9\n");
    write(&folder, "b-utf16.yaml", "kind: Ped\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    write(&folder, "c-good.yaml", ped("payments", "orders-api", None, 3));
    write(&folder, "d-wrong.yaml", ped("payments", "orders-api", None, 3).replace("kind: Ped", "kind: Pad"));
    let huge = std::fs::File::create(folder.path().join("e-huge.yaml")).expect("made");
    huge.set_len(65 << 20).expect("a hole");
    let named = folder.path().to_str().expect("UTF-8");
    let missing = write(&folder, "missing", "");
    std::fs::remove_file(&missing).expect("removed");
    let ended =
        run("PEDs of which four are wrong", &mut limited(UNTOUCHED_MIB, &["ped", "validate", named, &missing]), b"");
    assert_eq!(ended.status.code(), Some(1));
    let told = |place: &str| ended.stdout.lines().any(|line| line.contains(place));
    for place in ["a-latin1.yaml:2:", "b-utf16.yaml:1:", "d-wrong.yaml:2:7: kind", "e-huge.yaml:1:", "missing:1:"] {
        assert!(told(place), "{place} in {}{}", ended.stdout, ended.stderr);
    }
    assert!(!told("c-good.yaml:"), "{}", ended.stdout);
}

#[test]
fn a_huge_deep_or_laughing_ped_is_refused() {
    let folder = folder();
    let head = "apiVersion: pedwatch/v1\nkind: Ped\nspec:\n";
    let laughs: String =
        (1..12).map(|n| format!("  a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))).collect();
    let texts = format!("  a0: &a0 \"{}\"\n", "ha".repeat(100_000));
    let copies: String = (0..400).map(|n| format!("  b{n}: *a0\n")).collect();
    for (name, text, told) in [
        ("one of 150 MB", format!("{head}  x: \"{}\"\n", "x".repeat(150 << 20)), "67108864 bytes"),
        ("one of 30 MB", format!("{head}  x: \"{}\"\n", "x".repeat(30 << 20)), "too large"),
        ("a million keys", (0..1_000_000).map(|n| format!("k{n}: {n}\n")).collect(), "too large"),
        ("deep", "- ".repeat(100_000), "nested too deeply"),
        ("deep in brackets", "[".repeat(1 << 20), "limit exceeded"),
        ("a billion laughs", format!("{head}  a0: &a0 ha\n{laughs}"), "too large"),
        ("copies of a text", format!("{head}{texts}{copies}"), "too large"),
        ("five million faults", "---\na\n".repeat(5_000_000), "first"),
    ] {
        let path = write(&folder, "ped.yaml", text);
        let ended = validate(name, &path);
        assert_eq!(ended.status.code(), Some(1), "{name}: {}", ended.stderr);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(told) && all.len() < 1 << 20, "{name}: {}", &all[..all.len().min(2_000)]);
        assert!(ended.took.as_secs() < 60, "{name}");
    }
}

#[test]
fn a_file_of_many_peds_is_validated() {
    let folder = folder();
    let count = 20_000 * knob();
    let text: String = (0..count).map(|n| format!("---\n{}", ped("payments", &format!("api-{n}"), None, 3))).collect();
    let ended = validate(&format!("{count} PEDs"), &write(&folder, "all.yaml", text));
    assert_eq!(ended.stdout, format!("{count} valid\n"));
}

#[test]
fn long_lines_are_replayed_in_little_memory() {
    let folder = folder();
    let long = |bytes: usize, what: &str| what.repeat(bytes / what.len());
    let entries = |bytes| lines(6 * knob(), bytes).join("\n");
    for (name, text) in [
        ("entries of 4 MiB", entries(4 << 20)),
        ("entries of 15 MiB", entries(15 << 20)),
        ("no entries, of 10 MiB", vec![format!("{{\"x\":\"{}\"}}", long(10 << 20, "x")); 6 * knob()].join("\n")),
        (
            "binary in lines of 10 MiB",
            vec![format!("{{\"x\":\"{}\"}}", long(10 << 20, "\u{1}")); 6 * knob()].join("\n"),
        ),
        ("broken lines of 15 MiB", vec![format!("{{\"x\":\"{}", long(15 << 20, "x")); 6 * knob()].join("\n")),
        ("one line of 40 MiB", long(40 << 20, "{\"x\":[")),
        ("brackets", long(4 << 20, "[")),
        ("small documents", long(512 << 10, "{\"x\":1}\n")),
        ("spaces", format!("{{\n{}", long(40 << 20, " "))),
    ] {
        let path = write(&folder, "long.ndjson", text);
        let store = format!("--store=sqlite:{}", folder.path().join(format!("{}.db", name.len())).display());
        let (ended, _) = replay(name, &[&store, &path]);
        // Where nothing could be read, it says so by its exit code.
        let code = if name.starts_with("entries") { 0 } else { 1 };
        assert_eq!(ended.status.code(), Some(code), "{name}: {}", ended.stderr);
    }
}

#[test]
fn a_file_of_nothing_is_one_row() {
    let folder = folder();
    let mut noise = 1_u64;
    let mut random = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    let random: Vec<u8> = (0..4 << 20).map(|_| random()).collect();
    let braces: Vec<u8> = random.iter().map(|byte| b"{}[]\",:\n\0 ae1\\\r\xff"[usize::from(byte % 16)]).collect();
    let log = "2026-09-17 13:05:41 INFO ready {\"a\": 1}\n".repeat(100_000);
    let utf16: Vec<u8> = log.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let packed = gzip(&random);
    let zip = [b"PK\x03\x04", &random[..]].concat();
    let pdf = format!("%PDF-1.7\n{}", "<< /Root 1 >>\n{\"a\":1}\n".repeat(1_000));
    for (name, bytes) in [
        ("random.json", &random[..]),
        ("braces.log", &braces),
        ("random.json.gz", &packed),
        ("text.log", log.as_bytes()),
        ("utf16.log", &utf16),
        ("archive.json", &zip),
        ("report.json", pdf.as_bytes()),
    ] {
        let path = write(&folder, name, bytes);
        let (ended, summary) = replay(name, &[&path]);
        assert_eq!((ended.status.code(), figures(&summary)), (Some(1), (0, 1)), "{name}: {summary}");
    }
}

#[test]
fn files_of_nothing_that_begin_alike_are_told_apart() {
    let folder = folder();
    let csv = |rows: usize| format!("time,user,replicas\n{}", "09:00,anna,3\n".repeat(rows));
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let zip = |last: &[u8]| [b"PK\x03\x04", &[7; 700_000][..], last].concat();
    let hole = |bytes: usize| vec![0; bytes];
    for (name, one, other) in [
        ("CSV", csv(1_000).into_bytes(), csv(1_001).into_bytes()),
        ("CSV of many chunks", csv(200_000).into_bytes(), csv(200_001).into_bytes()),
        ("UTF-16", utf16(&csv(1_000)), utf16(&csv(1_001))),
        ("packed", gzip(csv(1_000).as_bytes()), gzip(csv(1_001).as_bytes())),
        ("a zip", zip(b"1"), zip(b"2")),
        ("binary", [&[1; 9_000][..], b"1"].concat(), [&[1; 9_000][..], b"2"].concat()),
        ("zeros", hole(9_000), hole(9_001)),
        ("text", "no log at all\n".repeat(500).into_bytes(), "no log at all\n".repeat(501).into_bytes()),
    ] {
        let paths = [("1", &one), ("2", &other), ("3", &one)].map(|(name, bytes)| write(&folder, name, bytes));
        let store = format!("--store=sqlite:{}", folder.path().join(format!("{name}.db")).display());
        let (_, summary) = replay(name, &[&store, &paths[0], &paths[1], &paths[2]]);
        let listed =
            run("its rows", &mut limited(UNTOUCHED_MIB, &["quarantine", "list", "--format=ndjson", &store]), b"");
        assert_eq!(listed.stdout.lines().count(), 2, "{name}: {summary} {}", listed.stdout);
    }
}

#[test]
fn long_documents_that_begin_alike_are_told_apart() {
    let folder = folder();
    let line = |last: &str| format!("{{\"x\":\"{}{last}\"}}\n", "x".repeat(17 << 20));
    let path = write(&folder, "long.ndjson", ["1", "2", "3"].map(line).concat());
    let (_, summary) = replay("three lines of 17 MiB", &[&path]);
    assert_eq!(figures(&summary), (0, 3));
    assert!(Path::new(&path).exists());
}
