//! Cutting is a function of the bytes alone, and what is cut off costs only itself.

use std::io::{self, Read};
use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use super::cut::Documents;
use super::window::Window;
use crate::pipeline::chunk::{Chunk, Document};

/// A pipe whose writer writes so much at a time.
struct Short<'t>(&'t [u8], usize);

impl Read for Short<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let short = buffer.len().min(self.1);
        self.0.read(&mut buffer[..short])
    }
}

fn cut(text: &[u8], read_bytes: usize) -> Vec<(u64, String)> {
    let mut documents = Documents::new(Window::new(Short(text, read_bytes)));
    let text = |document: Document<'_>| String::from_utf8_lossy(document.bytes).into_owned();
    let (mut cut, mut is_more) = (Vec::new(), true);
    while is_more {
        let mut chunk = Chunk::new("x".into());
        is_more = documents.fill(&mut chunk);
        cut.extend(chunk.documents().map(|document| (document.line, text(document))));
    }
    cut
}

fn documents(text: &[u8]) -> Vec<(u64, String)> {
    // Short reads: a document must not depend on where they end.
    let documents = cut(text, 7);
    assert_eq!(documents, cut(text, 1 << 20));
    documents
}

fn texts(text: &[u8]) -> Vec<String> {
    documents(text).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn every_form_is_cut_into_its_documents() {
    let two = [(1, r#"{"a":"}\"{"}"#.to_owned()), (2, r#"{"b":[]}"#.to_owned())];
    assert_eq!(documents(b"{\"a\":\"}\\\"{\"}\r\n{\"b\":[]}\n"), two);
    assert_eq!(documents(b"\xef\xbb\xbf[{\"a\":\"}\\\"{\"},\n{\"b\":[]}]"), two);
    assert_eq!(documents(b"{\n \"a\": {}\n}\n{\n}"), [(1, "{\n \"a\": {}\n}".to_owned()), (4, "{\n}".to_owned())]);
    assert_eq!(documents(b" \n\n"), []);
    assert_eq!(documents(b"[1, 2]").len(), 2);
}

#[test]
fn a_broken_line_costs_only_itself() {
    assert_eq!(documents(b"{\"a\":\n{\"b\":1}\n{\"c\":").len(), 3);
    assert_eq!(documents(b"oops\n{\"b\":1}\n"), [(1, "oops".to_owned()), (2, "{\"b\":1}".to_owned())]);
    assert_eq!(documents(b"[{\"a\":1},{\"b\":"), [(1, "{\"a\":1}".to_owned()), (1, "{\"b\":".to_owned())]);
}

#[test]
fn what_is_broken_ends_where_the_next_document_begins() {
    // A string that is cut off, at the first, at any, and at the last line.
    assert_eq!(
        texts(b"{\"a\":\"x\n{\"b\":1}\n{\"c\":\"\n{\"d\":[1]}\n{\"e\":\""),
        ["{\"a\":\"x", "{\"b\":1}", "{\"c\":\"", "{\"d\":[1]}", "{\"e\":\""]
    );
    // Only the end of a line is left of the first.
    assert_eq!(texts(b"x\":{}},\"y\":1}\n{\"b\":1}\n"), ["x\":{}},\"y\":1}", "{\"b\":1}"]);
    // Indented documents: cut in a string, behind a comma, and in a list of objects.
    for broken in ["  \"b\": \"", "  \"b\": 1,", "  \"b\": [\n    {\n      \"c\": 1\n    },\n    {\n      \"c\": 2"] {
        let whole = "{\n  \"z\": [\n    {\n      \"c\": {}\n    },\n    {}\n  ]\n}";
        let text = format!("{{\n  \"a\": {{}},\n{broken}\n{whole}\n{whole}\n");
        assert_eq!(texts(text.as_bytes())[1..], [whole, whole], "{text}");
        let indented = |text: &str| text.replace('\n', "\n  ");
        let text = format!(
            "[\n  {},\n  {{\n    \"a\": {{}},\n  {},\n  {}\n]\n{{\"e\":1}}\n",
            indented(whole),
            indented(broken),
            indented(whole)
        );
        let found = texts(text.as_bytes());
        assert_eq!((found.len(), &found[3][..]), (4, "{\"e\":1}"), "{text}\n{found:#?}");
        assert_eq!([&found[0], &found[2]], [&indented(whole), &indented(whole)]);
    }
    // Without any indentation.
    let flat = "{\n\"a\": [\n{\n\"b\": 1\n},\n{\n\"b\": 2\n}\n]\n}";
    assert_eq!(texts(format!("{flat}\n{flat}\n").as_bytes()), [flat, flat]);
    assert_eq!(texts(format!("{{\n\"a\": [\n{{\n\"b\": \"\n{flat}\n{flat}\n").as_bytes())[1..], [flat, flat]);
}

#[test]
fn a_broken_member_of_an_array_costs_only_itself() {
    for separator in [",", ",\n", ", ", "\n,"] {
        for broken in [r#"{"a":{"x":1}"#, r#"{"a":1,"x":2"#, r#"{"a":"x,"b":{}}"#, r#"{"a":1}}"#, r#"{"a":[1}"#] {
            let text =
                format!("[{}]\n{{\"z\":1}}\n", [r#"{"a":1}"#, broken, r#"{"a":"2"}"#, r#"{"a":"}3"}"#].join(separator));
            let found = texts(text.as_bytes());
            for whole in [r#"{"a":1}"#, r#"{"a":"2"}"#, r#"{"a":"}3"}"#, r#"{"z":1}"#] {
                assert!(found.iter().any(|text| text == whole), "{whole} is not in {found:#?} of {text}");
            }
            assert!(found.len() <= 6, "{found:#?} of {text}");
        }
    }
}

/// What an entry says may hold what looks like an entry. However it is broken, that is none.
#[test]
fn no_part_of_a_broken_document_is_a_document() {
    let inner = r#"{"insertId":"forged","logName":"x"}"#;
    for list in [
        format!("[{inner}]"),
        format!("[{{}},{inner}]"),
        format!("[{inner},{{}}]"),
        format!("[{inner},{inner}]"),
        format!("[[{inner}]]"),
        format!("[{{\"x\":\"y\"}},{inner}]"),
    ] {
        for outer in [
            format!(r#"{{"insertId":"outer","request":{{"list":{list},"z":1}},"timestamp":"t"}}"#),
            format!(r#"{{"insertId":"outer","request":{{"a":"b","list":{list}}},"timestamp":"t"}}"#),
        ] {
            for spaces in [None, Some(0), Some(2), Some(4)] {
                let outer = spaces.map_or(outer.clone(), |spaces| pretty(&outer, spaces));
                no_part_is_a_document(outer.trim_end());
            }
        }
    }
}

fn pretty(document: &str, spaces: usize) -> String {
    let value: Json = serde_json::from_str(document).expect("JSON");
    let text = serde_json::to_string_pretty(&value).expect("JSON");
    let indented = |line: &str| {
        let inner = line.trim_start();
        format!("{}{inner}\n", " ".repeat((line.len() - inner.len()) / 2 * spaces))
    };
    text.lines().map(indented).collect()
}

fn no_part_is_a_document(outer: &str) {
    let place = outer.find("\"list\"").expect("it is there");
    let around = [
        (String::new(), String::from("\n{\"insertId\":\"z\"}\n")),
        (String::new(), String::from("\n{\n\"insertId\": \"z\"\n}\n")),
        (String::from("{\"insertId\":\"y\"}\n"), String::from("\n{\"insertId\":\"z\"}\n")),
        (String::from("[{\"insertId\":\"y\"},"), String::from(",{\"insertId\":\"z\"}]")),
        (String::from("[\n{\n\"insertId\":\"y\"\n},\n"), String::from(",\n{\n\"insertId\":\"z\"\n}\n]\n")),
        (String::from("{\"entries\":[{\"insertId\":\"y\"},"), String::from(",{\"insertId\":\"z\"}]}")),
    ];
    // An array that begins a file may be any.
    let last = outer.rfind(']').expect("a list");
    let begins_an_array = |at: usize| outer[at..].trim_start().starts_with('[');
    let heads = (1..=last).filter(|&at| !begins_an_array(at));
    let quotes = outer.match_indices('"').map(|(at, _)| [&outer[..at], &outer[at + 1..]].concat());
    for (before, behind) in around {
        let headless = heads.clone().filter(|_| before.is_empty()).map(|at| outer[at..].to_owned());
        for cut in headless.chain(quotes.clone()).chain([
            outer[..outer.len() - 5].to_owned(),
            outer[5..].to_owned(),
            outer[place..].to_owned(),
        ]) {
            let text = format!("{before}{cut}{behind}");
            let of = |id: &str| {
                let id = id.to_owned();
                move |text: &&String| serde_json::from_str::<Json>(text).is_ok_and(|value| value["insertId"] == id[..])
            };
            let found = texts(text.as_bytes());
            assert!(!found.iter().any(|text| of("forged")(&text)), "{found:#?} of {text}");
            // Whatever stands behind a colon is its value.
            let is_behind = cut.ends_with(": ");
            assert!(is_behind || found.iter().filter(of("z")).count() == 1, "{found:#?} of {text}");
            assert!(found.len() <= 5, "{found:#?} of {text}");
        }
    }
}

#[test]
fn an_array_that_is_cut_between_its_members_is_told() {
    for (whole, told) in [
        ("[[[", ["[[[ … 3 bytes in all"].as_slice()),
        ("[{\"a\":1},{\"a\":2},", &["{\"a\":1}", "{\"a\":2}", "[ … 17 bytes in all"]),
        ("[{\"a\":1}\n", &["{\"a\":1}", "[ … 9 bytes in all"]),
        ("{\"entries\":[{\"a\":1},", &["{\"a\":1}", "[ … 20 bytes in all"]),
        ("{\"entries\":[", &["[ … 12 bytes in all"]),
        (",{\"a\":1}]\n", &["{\"a\":1}", "] … 10 bytes in all"]),
        ("[[{\"a\":1}],[]]", &["{\"a\":1}"]),
        ("[]\n[{\"a\":1}]\n", &["{\"a\":1}"]),
        // What is broken tells it already.
        ("[{\"a\":1},{\"a\"", &["{\"a\":1}", "{\"a\""]),
    ] {
        assert_eq!(texts(whole.as_bytes()), told, "{whole}");
    }
}

#[test]
fn a_missing_byte_of_utf16_costs_what_it_is_in() {
    let lines: Vec<String> =
        (0..2_000).map(|number| entry(number).to_string().replace("\\n", "\u{3042}\u{4e00}")).collect();
    let text = lines.join("\n");
    let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for raw in [units(u16::to_le_bytes), units(u16::to_be_bytes)] {
        for (missing, at) in [(1, 2_000), (1, 2_001), (1, 300_001), (1, 300_000), (3, 100_000), (2, 100_000)] {
            for again in [None, Some(raw.len() / 2)] {
                let mut damaged = raw.clone();
                if let Some(again) = again {
                    damaged.remove(again);
                }
                damaged.drain(at..at + missing);
                let text = super::encoding::text(Box::new(io::Cursor::new(damaged))).expect("text");
                let mut documents = Documents::new(text);
                let mut chunks = Vec::new();
                loop {
                    let mut chunk = Chunk::new("x".into());
                    let is_more = documents.fill(&mut chunk);
                    chunks.push(chunk);
                    if !is_more {
                        break;
                    }
                }
                let found: Vec<_> = chunks.iter().flat_map(Chunk::documents).collect();
                let is_whole = |line: &&String| found.iter().any(|document| document.bytes == line.as_bytes());
                let lost = lines.iter().filter(|line| !is_whole(line)).count();
                let most = if again.is_some() { 4 } else { 2 };
                assert!(lost <= most, "{lost} of {} are lost", lines.len());
                assert!(found.len() <= lines.len() + most, "{} pieces", found.len());
            }
        }
    }
}

#[test]
fn a_stray_bracket_is_no_part_of_its_neighbours() {
    assert_eq!(texts(b"{\"a\":1}\n}\n{\"b\":1}\n]\n{\"c\":1}\n"), ["{\"a\":1}", "}", "{\"b\":1}", "{\"c\":1}"]);
    assert_eq!(texts(b"[\n  {\n    \"a\": 1\n  }\n  },\n  {\n    \"b\": 1\n  }\n]\n")[2..], ["{\n    \"b\": 1\n  }"]);
}

#[test]
fn zeros_are_a_document_of_their_own_and_cut_the_one_they_are_in() {
    let hole = "\0".repeat(5);
    assert_eq!(texts(format!("{hole}{{\"a\":1}}\n").as_bytes()), [&hole, "{\"a\":1}"]);
    assert_eq!(texts(format!("{{\"a\":1}}\n{hole}\n{{\"b\":1}}\n").as_bytes()), ["{\"a\":1}", &hole, "{\"b\":1}"]);
    assert_eq!(texts(format!("{{\"a\":1}}{hole}\n{{\"b\":1}}\n").as_bytes()), ["{\"a\":1}", &hole, "{\"b\":1}"]);
    let found = texts(format!("{{\"z\":1}}\n{{\"a\":\"x{hole}{{\"b\":\"\"}}\n{{\"c\":1}}\n").as_bytes());
    assert_eq!(found[2..], ["{\"b\":\"\"}", "{\"c\":1}"]);
}

#[test]
fn a_broken_page_costs_what_is_broken_of_it() {
    let page = |members: &str| format!("{{\"nextPageToken\":\"]}}\",\"entries\":[{members}]}}\n");
    let text = [page("{\"a\":1},{\"a\":2}"), page("{\"a\":3},{\"a\":\"4},{\"a\":5}"), page("{\"a\":6}")].concat();
    let found = texts(text.as_bytes());
    for whole in [1, 2, 3, 5, 6] {
        assert!(found.contains(&format!("{{\"a\":{whole}}}")), "{whole} is not in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_file_of_nothing_is_one_document() {
    let mut noise = 1_u64;
    let mut random = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    let random: Vec<u8> = (0..3 << 20).map(|_| random()).collect();
    let braces: Vec<u8> = random.iter().map(|byte| b"{}[]\",:\n\0 ae1\\\r\xff"[usize::from(byte % 16)]).collect();
    let lines = "2026-09-17 13:05:41 INFO {\"a\": 1} ready\n".repeat(50_000);
    let cut = "{\"a\":\"x\n".repeat(100_000);
    for text in [&random, &braces, lines.as_bytes(), "[12] ready\n".repeat(90_000).as_bytes(), cut.as_bytes()] {
        let found = documents(text);
        assert!(found.len() == 1, "{} documents: {:?}", found.len(), &found[..3]);
    }
}

/// A document and where it lies.
type Placed = (Range<usize>, String);

fn entry(number: usize) -> Json {
    let variable = |name: &str| json!({"name": name, "value": "}{\"][,\\ \n\u{e9}"});
    let body = json!({"spec": {"replicas": number, "containers": [
        {"name": "a", "env": [variable("x"), variable("y")]}, {"name": "b", "args": [[], {}, [{}]], "env": []}]}});
    json!({"insertId": format!("id-{number}"), "labels": {}, "protoPayload": {"request": body, "response": null}, "timestamp": "t"})
}

/// Entries in one of the forms in which people have them.
fn segment(form: usize, first: usize, count: usize) -> (String, Vec<String>) {
    let entries: Vec<Json> = (first..first + count).map(entry).collect();
    let lines: Vec<String> = entries.iter().map(Json::to_string).collect();
    let pretty: Vec<String> = entries.iter().map(|entry| serde_json::to_string_pretty(entry).expect("JSON")).collect();
    let indented: Vec<String> = pretty.iter().map(|text| text.replace('\n', "\n  ")).collect();
    let deeper: Vec<String> = pretty.iter().map(|text| text.replace('\n', "\n    ")).collect();
    match form {
        0 => (lines.join("\n"), lines),
        1 => (lines.join("\r\n"), lines),
        2 => (pretty.join("\n"), pretty),
        3 => (format!("[{}]", lines.join(",\n")), lines),
        4 => (format!("[\n  {}\n]", indented.join(",\n  ")), indented),
        5 => (format!("[{}]", lines.join(",")), lines),
        6 => (
            format!("{{\n  \"entries\": [\n    {}\n  ],\n  \"nextPageToken\": \"]}}\"\n}}", deeper.join(",\n    ")),
            deeper,
        ),
        _ => (format!("{{\"entries\":[{}]}}", lines.join(",")), lines),
    }
}

fn file(forms: &[(usize, usize)]) -> (Vec<u8>, Vec<Placed>) {
    let (mut text, mut placed) = (String::new(), Vec::new());
    for &(form, count) in forms {
        let (segment, documents) = segment(form, placed.len(), count);
        for document in documents {
            let at = text.len() + segment.find(&document).expect("it is in there");
            placed.push((at..at + document.len(), document));
        }
        text.push_str(&segment);
        text.push('\n');
    }
    (text.into_bytes(), placed)
}

fn forms() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..8_usize, 1..5_usize), 1..5)
}

/// All documents that the damage does not touch are found as they were.
fn assert_only_lost(
    damaged: &[u8],
    placed: &[Placed],
    damage: Range<usize>,
    most_broken: usize,
) -> Result<(), TestCaseError> {
    let found: Vec<String> = cut(damaged, 1 << 20).into_iter().map(|(_, text)| text).collect();
    // What stands between two documents is part of both.
    let touched = |range: &Range<usize>| {
        let before = placed.iter().map(|(other, _)| other.end).filter(|end| *end <= range.start).max().unwrap_or(0);
        let behind = placed.iter().map(|(other, _)| other.start).filter(|start| *start >= range.end).min();
        before <= damage.end && damage.start <= behind.unwrap_or(usize::MAX)
    };
    let shown = || damaged.escape_ascii();
    // Where the two sides of a cut happen to join into JSON, nothing tells that there was one.
    let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let joined = |document: &str| found.iter().any(|text| text.contains(document) && is_json(text));
    for (range, document) in placed.iter().filter(|(range, _)| !touched(range)) {
        prop_assert!(
            found.contains(document) || joined(document),
            "{range:?} is lost by {damage:?} of\n{}\n{found:#?}",
            shown()
        );
    }
    let broken = found.iter().filter(|text| !placed.iter().any(|(_, document)| document == *text)).count();
    prop_assert!(broken <= most_broken, "{broken} pieces by {damage:?} of\n{}\n{found:#?}", shown());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_may_end_anywhere(forms in forms(), cut_at in any::<Index>(), length in 0..400_usize, read_bytes in 1..300_usize) {
        let (mut text, _) = file(&forms);
        let at = cut_at.index(text.len());
        text.drain(at..(at + length).min(text.len()));
        prop_assert_eq!(cut(&text, read_bytes), cut(&text, 1 << 20));
    }

    #[test]
    fn only_what_is_cut_is_lost(forms in forms(), at in any::<Index>(), length in 1..2_000_usize) {
        let (text, placed) = file(&forms);
        let start = at.index(text.len());
        let damage = start..(start + length).min(text.len());
        let mut damaged = text.clone();
        damaged.drain(damage.clone());
        assert_only_lost(&damaged, &placed, damage, 8)?;
        // All that comes before, and all that comes behind.
        assert_only_lost(&text[..start], &placed, start..text.len(), 1)?;
        assert_only_lost(&text[start..], &placed, 0..start, 8)?;
    }

    #[test]
    fn only_what_is_overwritten_is_lost(forms in forms(), at in any::<Index>(), with in prop::collection::vec(byte(), 1..40)) {
        let (text, placed) = file(&forms);
        let (document, _) = &placed[at.index(placed.len())];
        let start = document.start + at.index(document.len());
        let damage = start..(start + with.len()).min(document.end);
        let mut damaged = text;
        for (at, byte) in damage.clone().zip(with) {
            damaged[at] = byte;
        }
        assert_only_lost(&damaged, &placed, damage.clone(), 8 + damage.len())?;
    }
}

/// How many inputs each property is tried with.
fn cases() -> u32 {
    std::env::var("PEDWATCH_TEST_ATTACK").map_or(400, |times| 400 * times.parse::<u32>().expect("a number"))
}

/// Mostly what means something.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => prop::sample::select(&b"{}[]\",:\n\0\\ a"[..]), 1 => any::<u8>()]
}
