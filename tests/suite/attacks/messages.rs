//! Entries that anybody who may write to a cluster, or to the log, can make.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use pedwatch::audit::{Decoded, Entry, decode};
use pedwatch::pipeline::Assessed;
use pedwatch::pipeline::message::Envelope;
use pedwatch::store::row::Record;
use serde_json::{Value as Json, json};

use super::{Ended, knob, limited, run};
use crate::support::{Sample, block_on, fixture_store};

const AT: &str = "2026-09-04T20:41:03Z";

const HPAS: &str = "autoscaling/v2/namespaces/payments/horizontalpodautoscalers";

/// A patch of an HPA, with this request and nothing in answer. The request is text, for what no `Value` could hold.
fn hpa_patch(request: &str) -> Vec<u8> {
    let sample = Sample::patch("hpa", AT, 3)
        .set("/protoPayload/methodName", "io.k8s.autoscaling.v2.horizontalpodautoscalers.patch")
        .set("/protoPayload/resourceName", format!("{HPAS}/cart"))
        .set("/protoPayload/response", Json::Null);
    with_text(&sample, "/protoPayload/request", request)
}

/// An entry with this text where a JSON Pointer leads to.
fn with_text(sample: &Sample, pointer: &str, text: &str) -> Vec<u8> {
    let marked = sample.clone().set(pointer, "\u{1}here");
    marked.entry.to_string().replace(r#""\u0001here""#, text).into_bytes()
}

/// Replays one input under a limit of memory, with the fixtures' PEDs.
fn replayed(name: &str, mib: u64, input: &[u8]) -> Ended {
    run(name, &mut limited(mib, &["replay", "--format", "ndjson", "-"]), input)
}

fn filled(with: &str, bytes: usize) -> String {
    let mut text = with.repeat(bytes / with.len());
    text.truncate(text.trim_end_matches(',').len());
    text
}

/// Copies of what is there into itself: under another name each, which doubles it, or under one, which nests it.
fn copies(count: usize, path: &str, doubling: bool) -> String {
    let name = |number: usize| if doubling { number } else { 0 };
    let copy = |number| format!(r#",{{"op":"copy","from":"{path}","path":"{path}/{}"}}"#, name(number));
    let copies: String = (0..count).map(copy).collect();
    format!(r#"[{{"op":"add","path":"{path}","value":{{}}}}{copies}]"#)
}

/// All of them can be sent to an API server; what they do to the number stands only in the object.
#[test]
fn a_json_patch_costs_no_more_than_its_text_and_is_not_guessed_at() {
    let count = 60 * knob();
    for (name, patch) in [
        ("copies of a target", copies(count, "/spec/scaleTargetRef", true)),
        ("copies of a number", copies(count, "/spec/maxReplicas", true)),
        ("copies of the spec", copies(count, "/spec", true)),
        ("copies of everything", copies(count, "", true)),
        ("moves", copies(count, "/spec/maxReplicas", true).replace("copy", "move")),
        ("copies ever deeper", copies(20_000, "/spec/scaleTargetRef", false)),
        ("a deep path", format!(r#"[{{"op":"add","path":"/spec/maxReplicas{}","value":1}}]"#, "/a".repeat(500_000))),
    ] {
        let ended = replayed(name, 128, &hpa_patch(&patch));
        assert!(ended.status.success(), "{name}: {}", ended.stderr);
        assert!(ended.stdout.contains(r#""alert_type":"unknown_value""#), "{name}: {}", ended.stdout);
        assert!(!ended.stdout.contains(r#""replicas":1"#), "{name}: {}", ended.stdout);
    }
}

/// What a tenant can have stored: an HPA may be patched like this.
#[test]
fn a_patch_of_an_hpa_costs_as_much_as_any_entry_of_its_size() {
    let patch = copies(50, "/spec/scaleTargetRef", true);
    let hard = hpa_patch(&patch);
    let labels: String = (0..patch.len() / 20).map(|number| format!(r#""label-{number:06}":"x","#)).collect();
    let plain = hpa_patch(&format!(r#"{{"metadata":{{"labels":{{{}}}}}}}"#, labels.trim_end_matches(',')));
    let cost = |entry: &[u8]| {
        let best = (0..20).map(|_| {
            let begun = std::time::Instant::now();
            for _ in 0..20 {
                let entry = Entry::parse(entry).expect("JSON");
                std::hint::black_box(decode(&entry).expect("a write"));
            }
            begun.elapsed() / 20
        });
        best.min().expect("runs")
    };
    let (hard_cost, plain_cost) = (cost(&hard), cost(&plain));
    println!("a patch of {} bytes takes {hard_cost:?}, a plain one of {} {plain_cost:?}", hard.len(), plain.len());
    // Unoptimised, and on a machine that does other things too; it was five thousand times as much.
    assert!(hard_cost < 10 * plain_cost, "{hard_cost:?} and {plain_cost:?}");
}

/// Every place that is read, filled with what is dearest there.
#[test]
fn no_body_costs_more_than_a_small_multiple_of_its_text() {
    let bytes = (2 << 20) * knob();
    let fills = [
        ("numbers", format!("[{}]", filled("1,", bytes))),
        ("objects", format!("[{}]", filled("{},", bytes))),
        ("members", format!("[{}]", filled(r#"{"metadata":{}},"#, bytes))),
        ("names", format!("[{}]", filled(r#"{"metadata":{"name":"a"}},"#, bytes))),
        ("rows", format!("[{}]", filled(r#"{"object":{"metadata":{"name":"a"}}},"#, bytes))),
        ("operations", format!("[{}]", filled(r#"{"op":"add","path":"","value":{}},"#, bytes))),
        ("keys", format!("{{{}}}", filled(r#""a":1,"#, bytes))),
        ("brackets", format!("{}{}", "[".repeat(bytes / 2), "]".repeat(bytes / 2))),
        ("braces", format!("{}1{}", r#"{"a":"#.repeat(bytes / 6), "}".repeat(bytes / 6))),
        ("digits", "1".repeat(bytes)),
        ("a fraction", format!("0.{}", "1".repeat(bytes))),
        ("escapes", format!(r#""{}""#, r"\u0041".repeat(bytes / 6))),
    ];
    let places = [
        "/protoPayload/request",
        "/protoPayload/response/items",
        "/protoPayload/response/rows",
        "/protoPayload/request/patch",
        "/protoPayload/request/spec/replicas",
        "/protoPayload/request/spec/$retainKeys",
        "/protoPayload/response/metadata/finalizers",
        "/protoPayload/request/dryRun",
        "/labels",
    ];
    for (name, fill) in &fills {
        let lines: Vec<u8> = places
            .iter()
            .flat_map(|place| {
                let collection = Sample::patch(place, AT, 3)
                    .set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.deletecollection")
                    .set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments");
                [with_text(&collection, place, fill), b"\n".to_vec()].concat()
            })
            .collect();
        let ended = replayed(name, 400, &lines);
        assert!(ended.status.success(), "{name}: {}", ended.stderr);
        assert!(ended.took.as_secs() < 60, "{name}: {:?}", ended.took);
    }
}

#[test]
fn a_deeply_nested_entry_costs_only_itself() {
    for deep in [
        "[".repeat(100_000),
        r#"{"a":"#.repeat(100_000),
        "- ".repeat(100_000),
        format!("logName: {}", "[".repeat(100_000)),
        format!("logName:\n{}", "- ".repeat(100_000)),
    ] {
        let lines = [deep.as_bytes(), b"\n", &Sample::patch("after", AT, 3).bytes()].concat();
        let ended = replayed("a deep line", 128, &lines);
        assert!(ended.status.code().is_some(), "{:?}", ended.status);
    }
}

pub fn collection(items: usize) -> Sample {
    let items: Vec<Json> = (0..items).map(|number| json!({"metadata": {"name": format!("d{number}")}})).collect();
    Sample::patch("collection", AT, 3)
        .set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.deletecollection")
        .set("/protoPayload/resourceName", "apps/v1/namespaces/payments/deployments")
        .set("/protoPayload/request", json!({"propagationPolicy": "Background"}))
        .set("/protoPayload/response", json!({"kind": "DeploymentList", "items": items}))
}

/// Each listed object has a row of its own, with copies of what the entry has once.
#[test]
fn a_list_of_what_was_deleted_costs_its_rows_and_no_more() {
    let ended = replayed("500 listed", 128, &collection(500 * knob()).bytes());
    assert!(ended.status.success(), "{}", ended.stderr);
    let agent = "x".repeat(200_000);
    let long = collection(10_000).set("/protoPayload/requestMetadata", json!({"callerSuppliedUserAgent": agent}));
    let ended = replayed("10,000 listed by a long name", 128, &long.bytes());
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains(r#""alert_type":"unknown_removal""#), "what is not told is said");
    assert_eq!(assessed(&collection(20_000).bytes()).records.len(), 20_000);
}

#[test]
fn all_that_one_entry_can_list_is_told_and_what_is_more_is_said() {
    let told = |items: usize, response: Json| {
        let bytes = collection(items).bytes();
        let entry: Json = serde_json::from_slice(&bytes).expect("JSON");
        let sample = Sample { entry };
        let bytes = if response.is_null() { bytes } else { sample.set("/protoPayload/response", response).bytes() };
        let entry = Entry::parse(&bytes).expect("JSON");
        match decode(&entry).expect("decoded") {
            Decoded::Writes(writes) => (
                writes.iter().filter(|write| write.ends()).count(),
                writes.iter().filter(|write| write.removes_unknown()).count(),
            ),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(3, Json::Null), (3, 0));
    assert_eq!(told(32_768, Json::Null), (32_768, 0));
    assert_eq!(told(32_769, Json::Null), (0, 1));
    // Without a name it stands for nothing, least of all for everything.
    assert_eq!(told(0, json!({"items": [{"metadata": {"name": "a"}}, {"metadata": {"uid": "u"}}]})), (0, 1));
    assert_eq!(told(0, json!({"items": [{}]})), (0, 1));
}

/// Wrapped in each other, a few letters would be many documents.
#[test]
fn no_form_multiplies_what_it_holds() {
    let pushed = |inner: &str| json!({"message": {"data": STANDARD.encode(inner), "messageId": "1"}}).to_string();
    let page = |inner: &str, times: usize| {
        format!(r#"{{"entries":[{}]}}"#, filled(&format!("{inner},"), (inner.len() + 1) * times))
    };
    let times = 100 * knob();
    let numbers = page("1", 9_000);
    let yaml = format!("logName: &a [{}]\ninsertId: [{}]\n", filled("x,", 9_000), filled("*a,", 9_000));
    for (name, input) in [
        ("pages in a page", page(&numbers, times)),
        ("pages in push bodies in a page", page(&pushed(&numbers), times)),
        ("arrays in an array", format!("[[{}]]", filled(&format!("[{}],", filled("1,", 18_000)), 18_000 * times))),
        ("texts in texts", json!(json!(json!(numbers).to_string()).to_string()).to_string()),
        ("YAML's aliases", yaml),
        ("YAML's documents", format!("logName: x\n{}", "---\n".repeat(900_000))),
        ("base64 in base64", (0..12).fold("x".repeat(100_000), |inner, _| pushed(&inner))),
    ] {
        let bytes = input.len();
        // As one message: a file's reader takes a page apart by itself.
        let inner = pushed(&input);
        let ended = replayed(&format!("{name}, {bytes} bytes"), 400, inner.as_bytes());
        // Where nothing of it is an entry, that is told.
        let is_told = ended.status.code() == Some(1) && ended.stderr.contains("nothing of the input could be read");
        assert!(ended.status.success() || is_told, "{name}: {}", ended.stderr);
        assert!(ended.took.as_secs() < 60, "{name}: {:?}", ended.took);
    }
}

#[test]
fn the_rows_of_all_lists_in_one_message_have_one_bound() {
    let agent = "x".repeat(50_000);
    let list = collection(500).set("/protoPayload/requestMetadata", json!({"callerSuppliedUserAgent": agent}));
    let page = json!({"entries": vec![list.entry; 30]}).to_string();
    let records = assessed(page.as_bytes()).records;
    let agents = records.iter().map(|record| match record {
        Record::Event(row) => row.user_agent.as_ref().map_or(0, String::len),
        _ => 0,
    });
    let (bytes, refused) =
        (agents.sum::<usize>(), records.iter().filter(|row| matches!(row, Record::Quarantine(_))).count());
    println!("30 lists of 500 in {} bytes: rows of {bytes} bytes, {refused} quarantined", page.len());
    assert!((1 << 20..64 << 20).contains(&bytes) && refused == 28, "{bytes} bytes, {refused} refused");
}

fn assessed(entry: &[u8]) -> Assessed {
    block_on(async {
        let (_store, pipeline) = fixture_store().await;
        pipeline.assess(entry, Envelope::default(), || "here".to_owned(), Utc::now())
    })
}

fn reason(entry: &[u8]) -> Option<String> {
    assessed(entry).records.into_iter().find_map(|record| match record {
        Record::Quarantine(row) => Some(row.reason),
        _ => None,
    })
}

#[test]
fn a_time_that_cannot_be_is_quarantined_or_unknown_wherever_it_stands() {
    for odd in [
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2014-12-31T23:59:59Z",
        "2099-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "+10000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
    ] {
        let sample = Sample::patch("a", odd, 3);
        assert_eq!(reason(&sample.bytes()).as_deref(), Some("bad_time"), "{odd}");
        // The answer's own times: of an object from the future, the next one would never be the present one.
        let born = Sample::patch("a", AT, 3).set("/protoPayload/response/metadata/creationTimestamp", odd);
        let records = assessed(&born.bytes()).records;
        assert!(records.iter().all(|record| !matches!(record, Record::Event(row) if row.born_at.is_some())), "{odd}");
        assert_eq!(records.len(), assessed(&Sample::patch("a", AT, 3).bytes()).records.len(), "{odd}");
    }
    // A leap second is the first second of the next minute.
    let leap = assessed(&Sample::patch("a", "2016-12-31T23:59:60Z", 3).bytes()).records;
    let at = leap.iter().find_map(|record| match record {
        Record::Event(row) => Some(row.event_time),
        _ => None,
    });
    assert_eq!(at, Some(crate::support::time("2017-01-01T00:00:00Z")));
}

#[test]
fn a_number_beyond_any_count_is_unknown() {
    for odd in [json!(u64::MAX), json!(i64::MAX), json!(-1), json!(1e300), json!("9223372036854775808"), json!("-5")] {
        let sample = Sample::patch("a", AT, 3)
            .set("/protoPayload/response/metadata/generation", odd.clone())
            .set("/protoPayload/response/spec/minReplicas", odd.clone());
        for record in assessed(&sample.bytes()).records {
            if let Record::Event(row) = record {
                assert_eq!((row.generation, row.min_replicas), (None, None), "{odd}");
            }
        }
    }
    let version = |digits: &str| {
        let sample = Sample::patch("a", AT, 3).set("/protoPayload/response/metadata/resourceVersion", digits);
        assessed(&sample.bytes()).records.into_iter().find_map(|record| match record {
            Record::Event(row) => Some((row.resource_version, row.object_version)),
            _ => None,
        })
    };
    let long = "9".repeat(9_999);
    assert_eq!(version(&long), Some((None, Some(long.clone()))), "a decimal of any length");
    assert_eq!(version(&format!("{long}9")), Some((None, None)), "that the views can compare");
}

/// One value would spoil the store for good: every later reading of limits would fail.
#[test]
fn no_time_outside_the_range_of_effects_is_registered() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("facts.db").display());
    let ped = "fixtures/ped/orders-api.yaml";
    for odd in ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "1999-12-31", "2100-01-01", "2016-12-31T23:59:61Z"]
    {
        let register =
            ["ped", "register", ped, "--store", &store, "--updated-by", "a", "--reason", "b", "--effective-at", odd];
        let ended = run("register", &mut limited(256, &register), b"");
        assert_eq!(ended.status.code(), Some(2), "{odd}: {}{}", ended.stdout, ended.stderr);
        let named = format!("{odd}={ped}");
        for command in ["replay", "explain"] {
            let ended = run(command, &mut limited(256, &[command, "--ped", &named, "-"]), b"");
            assert_eq!(ended.status.code(), Some(2), "{odd}: {}{}", ended.stdout, ended.stderr);
        }
    }
    let leap = [
        "ped",
        "register",
        ped,
        "--store",
        &store,
        "--updated-by",
        "a",
        "--reason",
        "b",
        "--effective-at",
        "2016-12-31T23:59:60Z",
    ];
    let ended = run("register", &mut limited(256, &leap), b"");
    assert!(ended.stdout.contains("from 2017-01-01T00:00:00.000000Z"), "{}{}", ended.stdout, ended.stderr);
    let ended = run("list", &mut limited(256, &["ped", "list", "--store", &store]), b"");
    assert!(ended.stdout.contains("2017-01-01"), "{}{}", ended.stdout, ended.stderr);
}

/// A time after 9999 of a push body stays with its message, and does not spoil the quarantine's list.
#[test]
fn a_publish_time_that_no_store_keeps_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("facts.db").display());
    let push = |time: &str| {
        json!({"message": {"data": STANDARD.encode("{}"), "messageId": "1", "publishTime": time}}).to_string()
    };
    let input = format!("{}\n{}\n", push("9999-12-31T23:59:59-23:59"), push("0000-01-01T00:00:00Z"));
    run("replay", &mut limited(256, &["replay", "--store", &store, "-"]), input.as_bytes());
    for format in ["table", "json"] {
        let ended = run("list", &mut limited(256, &["quarantine", "list", "--store", &store, "--format", format]), b"");
        assert!(ended.status.success() && !ended.stdout.contains("10000"), "{}{}", ended.stdout, ended.stderr);
    }
}

/// Clears a screen, turns the writing round, hides, breaks lines; and one that is only there to be found.
const ODD: &str = "x\u{1b}[2J\u{9b}1m\u{7f}\u{202e}\u{200b}\u{2028}\u{feff}\u{e0041}\r\n\u{7}found";

/// No byte that a terminal obeys, and nothing that cannot be seen.
fn assert_harmless(what: &str, ended: &Ended) {
    for (stream, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        let odd: Vec<char> = text
            .chars()
            .filter(|&c| {
                c.is_control() && c != '\n'
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
            })
            .collect();
        assert!(odd.is_empty(), "{what} prints {odd:?} to {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("found")), "{what}: a name begins a line of {stream}");
    }
}

/// Entries with such a name in every place from which something is printed.
fn odd_entries() -> Vec<u8> {
    let places = [
        "/insertId",
        "/logName",
        "/timestamp",
        "/resource/labels/cluster_name",
        "/resource/labels/project_id",
        "/protoPayload/methodName",
        "/protoPayload/resourceName",
        "/protoPayload/authenticationInfo/principalEmail",
        "/protoPayload/authenticationInfo/authoritySelector",
        "/protoPayload/requestMetadata",
        "/protoPayload/response/metadata/name",
        "/protoPayload/response/metadata/resourceVersion",
        "/protoPayload/response/spec/replicas",
    ];
    let value = |place: &str| match place {
        "/logName" => json!(format!("projects/{ODD}/logs/cloudaudit.googleapis.com%2Factivity")),
        "/protoPayload/methodName" => json!(format!("{ODD}.io.k8s.apps.v1.deployments.patch")),
        "/protoPayload/resourceName" => json!(format!("apps/v1/namespaces/{ODD}/deployments/{ODD}")),
        "/protoPayload/requestMetadata" => json!({"callerIp": ODD, "callerSuppliedUserAgent": ODD}),
        _ => json!(ODD),
    };
    let mut entries: Vec<Json> =
        places.iter().map(|place| Sample::patch(place, AT, 9).set(place, value(place)).entry).collect();
    let hpa = Sample::patch("hpa", AT, 9)
        .set("/protoPayload/methodName", "io.k8s.autoscaling.v2.horizontalpodautoscalers.patch")
        .set("/protoPayload/resourceName", format!("{HPAS}/{ODD}"))
        .set("/protoPayload/response", json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": ODD, "uid": ODD},
            "spec": {"maxReplicas": 99, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": ODD}}}));
    entries.push(hpa.entry);
    let mut lines: Vec<u8> = entries.iter().flat_map(|entry| format!("{entry}\n").into_bytes()).collect();
    lines.extend(format!("{ODD}\n").into_bytes());
    lines.extend(json!({"message": {"data": ODD, "messageId": ODD}}).to_string().into_bytes());
    lines
}

#[test]
fn no_name_from_outside_reaches_a_terminal_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.display().to_string();
    let store = format!("sqlite:{}", text(&at("facts.db")));
    let entries = text(&at("a\u{1b}[2J\u{202e}\nfound.ndjson"));
    std::fs::write(&entries, odd_entries()).expect("written");
    let ped = text(&at("p\u{1b}[2J\u{202e}\nfound.yaml"));
    let owner = serde_json::to_string(ODD).expect("JSON");
    let yaml = |max: &str| {
        format!(
            "apiVersion: pedwatch/v1\nkind: Ped\nmetadata:\n  namespace: payments\n  deployment: orders-api\n  owner: {owner}\nspec:\n  maxReplicas: {max}\n  environment:\n    A: {owner}\n"
        )
    };
    std::fs::write(&ped, yaml("3")).expect("written");
    let wrong = text(&at("w\u{1b}[2J\u{202e}\nfound.yaml"));
    std::fs::write(&wrong, yaml(&owner) + &format!("{owner}: {owner}\n")).expect("written");
    let missing = text(&at("m\u{1b}[2J\u{202e}.yaml"));
    let commands: [&[&str]; 16] = [
        &["ped", "validate", &ped],
        &["ped", "validate", &wrong],
        &["ped", "validate", &missing],
        &["ped", "register", &ped, "--store", &store, "--updated-by", ODD, "--reason", ODD],
        &["ped", "register", &ped, "--store", &store, "--updated-by", ODD, "--reason", ODD, "--effective-at", ODD],
        &["ped", "list", "--store", &store],
        &["ped", "list", "--store", &store, "--format", "json"],
        &["ped", "history", "payments/orders-api", "--store", &store, "--format", "ndjson"],
        &["replay", &entries, "--store", &store, "--ped", &wrong],
        &["replay", &entries, "--store", &store, "--format", "table"],
        &["replay", &entries, "--ped", &ped, "--format", "ndjson"],
        &["replay", &entries, "--ped", &ped, "--format", "json"],
        &["explain", &entries, "--ped", &ped],
        &["quarantine", "list", "--store", &store],
        &["quarantine", "list", "--store", &store, "--format", "json"],
        &["quarantine", "list", "--store", &store, "--format", "ndjson"],
    ];
    for command in commands {
        // clap prints wrong arguments itself, and they are the caller's own.
        let own = command.contains(&"--effective-at");
        let ended = run(&command[..2].join(" ").escape_debug().to_string(), &mut limited(512, command), b"");
        assert!(ended.status.code().is_some());
        if !own {
            assert_harmless(&command.join(" "), &ended);
        }
        if command.contains(&"ndjson") && ended.status.success() {
            let first = ended.stdout.lines().next().unwrap_or("{}");
            serde_json::from_str::<Json>(first).expect("still JSON");
        }
    }
    let shown = run("explain", &mut limited(512, &["explain", &entries]), b"").stdout;
    assert!(shown.contains(r"x\u{1b}[2J\u{9b}1m\u{7f}\u{202e}\u{200b}\u{2028}\u{feff}\u{e0041}"), "{shown}");
}

/// YAML is read by another's parser, which looks ahead and back.
#[test]
fn yaml_takes_as_long_as_it_is() {
    let bytes = (1 << 20) * knob();
    let of = |begin: &str, with: &str| format!("logName: x\n{begin}{}", filled(with, bytes));
    for (name, yaml) in [
        ("items", of("a: [", "b,")),
        ("pairs", of("a: {", "b: c,")),
        ("lines of a text", of("a:\n", "  b\n")),
        ("empty lines of a text", of("a: |\n", "\n")),
        ("blanks", of("a: ", " ")),
        ("spaces and breaks", of("a: b\n", " \n")),
        ("comments", of("", "#\n")),
        ("keys", of("", "a: b\n")),
        ("long keys", of("", &format!("{}: b\n", "k".repeat(1_000)))),
        ("no value", of("", "a")),
        ("question marks", of("", "? ")),
        ("question lines", of("", "? a\n")),
        ("dashes", of("a:\n", "- ")),
        ("dash lines", of("a:\n", "- b\n")),
        ("documents", of("", "---\n")),
        ("document ends", of("", "...\n")),
        ("anchors", of("a: ", "&b ")),
        ("anchored", of("a:\n", "- &b c\n")),
        ("tags", of("a: ", "!b ")),
        ("directives", of("...\n", "%YAML 1.2\n")),
        ("quotes", of("a: '", "''")),
        ("escapes", of("a: \"", "\\u0041")),
        ("breaks in quotes", of("a: \"", "\n")),
        ("ever deeper", (0..1_400).map(|depth| format!("{}logName:\n", " ".repeat(depth))).collect()),
        ("colons", of("a: [", "b:")),
        ("brackets", of("a: ", "[]")),
        ("open brackets", of("a: ", "[")),
        ("open braces", of("a: ", "{")),
    ] {
        let begun = std::time::Instant::now();
        let read = pedwatch::audit::forms::canonical(yaml.as_bytes()).map(|form| form.is_some());
        let took = begun.elapsed();
        println!("{name}: {} bytes in {took:?}: {read:?}", yaml.len());
        assert!(took.as_secs() < 20, "{name}: {took:?}");
    }
}
