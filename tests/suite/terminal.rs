//! What people see: on terminals of any width, in files and in pipes.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use pedwatch::shown::Shown;
use serde_json::Value as Json;

use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::support::{Sample, root};

/// What the binary shows on a terminal of so many columns: standard output and standard error, as they come.
pub fn on_a_terminal(columns: usize, args: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = Command::new("python3");
    command.arg("tests/servers/terminal.py").arg(columns.to_string()).arg(env!("CARGO_BIN_EXE_pedwatch")).args(args);
    command.current_dir(root()).env_remove("PEDWATCH_CONFIG").env_remove("NO_COLOR").env("TERM", "xterm-256color");
    let output = command.envs(env.iter().copied()).output().expect("Python 3");
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    stdout(&output).replace("\r\n", "\n")
}

/// Some tell no size, as over a serial line or in CI; then `COLUMNS` may.
#[test]
fn where_a_terminal_tells_no_width_the_environment_may() {
    for columns in [80, 200] {
        let shown = on_a_terminal(0, &DEMO, &[("COLUMNS", &columns.to_string())]);
        let story = |text: &str| text.rsplit_once(" s: ").map(|(story, _)| uncoloured(story)).expect("a story");
        let without_time = |text: &str| story(text).rsplit_once('\n').map(|(story, _)| story.to_owned());
        assert_eq!(without_time(&shown), without_time(&on_a_terminal(columns, &DEMO, &[])), "{columns}");
    }
}

fn in_a_pipe(args: &[&str]) -> Output {
    let output = run(command().args(args), b"");
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

pub fn uncoloured(text: &str) -> String {
    regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("a pattern").replace_all(text, "").into_owned()
}

/// The names, ids and times of the demo, as its rows have them.
fn copied() -> BTreeSet<String> {
    let columns = ["deployment_name", "namespace", "actor", "alert_type", "severity", "verdict"];
    let lines = stdout(&in_a_pipe(&[&DEMO[..], &["--format=ndjson"]].concat()));
    let mut copied = BTreeSet::new();
    for line in lines.lines() {
        let row = serde_json::from_str::<Json>(line).expect("JSON")["row"].clone();
        let text = |column: &str| row[column].as_str().map(str::to_owned);
        copied.extend(columns.iter().filter_map(|column| text(column)));
        copied.extend(text("event_time").map(|time| time[..19].replace('T', " ")));
        copied.extend(
            text("namespace").zip(text("deployment_name")).map(|(namespace, name)| format!("{namespace}/{name}")),
        );
    }
    copied
}

#[test]
fn the_demo_breaks_no_word_whatever_the_width() {
    let copied = copied();
    assert!(copied.len() > 30, "{copied:?}");
    let in_a_file: BTreeSet<String> = stdout(&in_a_pipe(&DEMO)).split_whitespace().map(str::to_owned).collect();
    let shown = [80, 100, 120, 160, 200, 300].map(|columns| {
        let text = uncoloured(&on_a_terminal(columns, &DEMO, &[]));
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{columns}: the terminal breaks {line:?}");
        }
        for name in &copied {
            assert!(text.contains(name), "{columns}: {name} is broken in\n{text}");
        }
        // Whatever a word is: all that a file has of them, but for how long it took.
        let words: BTreeSet<&str> = text.split_whitespace().collect();
        let broken =
            |word: &&String| !words.contains(word.as_str()) && !word.starts_with('─') && !word.starts_with("0.");
        let broken: Vec<&String> =
            in_a_file.iter().filter(broken).filter(|word| word.contains(['/', '@', ':', '_'])).collect();
        assert!(broken.is_empty(), "{columns}: {broken:?} in\n{text}");
        (columns, text.lines().count())
    });
    println!("lines of the demo at each width: {shown:?}");
    assert!(shown[0].1 < 100, "short blocks: {shown:?}");
}

#[test]
fn every_table_and_every_explanation_fits_eighty_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    in_a_pipe(&[&DEMO[..], &[&store]].concat());
    for args in [
        &["--config=fixtures/pedwatch.toml", "explain", "fixtures/demo/audit"][..],
        &["quarantine", "list", &store],
        &["config", "check"],
    ] {
        let text = on_a_terminal(80, args, &[]);
        let longest = text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        for line in text.lines().filter(|line| line.chars().count() > 80) {
            assert_eq!(line.trim().split(' ').count(), 1, "{args:?}: {line:?}, and the longest word is {longest}");
        }
    }
    let listed = on_a_terminal(80, &["quarantine", "list", &store], &[]);
    let ids = stdout(&in_a_pipe(&["quarantine", "list", "--format=ndjson", &store]));
    let id = serde_json::from_str::<Json>(ids.lines().next().expect("a row")).expect("JSON")["quarantine_id"].clone();
    assert!(listed.contains(id.as_str().expect("an id")), "{listed}");
    let peds = on_a_terminal(80, &["ped", "list", &store], &[]);
    assert!(peds.contains("payments/orders-api") && peds.contains("max 6"), "{peds}");
}

#[test]
fn colours_are_for_terminals_alone_unless_somebody_says_otherwise() {
    let critical = "\u{1b}[1m\u{1b}[31mcritical\u{1b}[0m";
    assert!(on_a_terminal(200, &DEMO, &[]).contains(critical));
    let never = [&DEMO[..], &["--color=never"]].concat();
    let always = [&DEMO[..], &["--color", "always"]].concat();
    assert!(!on_a_terminal(200, &never, &[]).contains('\u{1b}'));
    assert!(!on_a_terminal(200, &DEMO, &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(on_a_terminal(200, &always, &[("NO_COLOR", "1")]).contains(critical));
    assert!(!stdout(&in_a_pipe(&DEMO)).contains('\u{1b}'));
    assert!(stdout(&in_a_pipe(&always)).contains(critical));
}

/// A warning of the logs, of which some have colours by themselves.
#[test]
fn a_file_of_logs_has_no_colours() {
    let args = ["config", "check"];
    let output = run(command().args(args).env("PEDWATCH_PORT", "x").env_remove("NO_COLOR"), b"");
    assert!(stderr(&output).contains("PEDWATCH_PORT"), "{}", stderr(&output));
    assert!(!stderr(&output).contains('\u{1b}'), "{:?}", stderr(&output));
}

#[test]
fn several_clusters_are_told_apart_by_as_much_of_their_names_as_it_takes() {
    let entry = |id: &str, at: &str, location: &str, cluster: &str| {
        Sample::patch(id, at, 3)
            .set("/resource/labels/location", location)
            .set("/resource/labels/cluster_name", cluster)
            .entry
            .to_string()
    };
    let shown = |entries: &[String]| stdout(&run(command().args(["replay", "-"]), entries.join("\n").as_bytes()));
    let one = entry("a", "2026-09-04T20:41:03Z", "europe-west1", "prod-1");
    assert!(!shown(std::slice::from_ref(&one)).contains("cluster"));
    let other = entry("b", "2026-09-04T20:41:04Z", "europe-west1", "prod-2");
    let text = shown(&[one.clone(), other]);
    assert!(text.contains(" cluster ") && text.contains(" prod-1 ") && text.contains(" prod-2 "), "{text}");
    let namesake = entry("c", "2026-09-04T20:41:05Z", "us-east1", "prod-1");
    let text = shown(&[one, namesake]);
    for location in ["europe-west1", "us-east1"] {
        let name = format!("projects/acme-prod/locations/{location}/clusters/prod-1");
        assert!(text.contains(&name), "{name} is not in {text}");
    }
}

/// As wide as a name may be, whatever it holds: it stays on its line, and moves nothing.
#[test]
fn what_would_move_the_cursor_is_spelled_out_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "eve\u{1b}[2J\u{202e}@example.com";
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, Sample::patch("a", "2026-09-04T20:41:03Z", 3).actor(name).bytes()).expect("written");
    for columns in [40, 80, 200] {
        let text = uncoloured(&on_a_terminal(columns, &["replay", path.to_str().expect("UTF-8")], &[]));
        assert!(text.contains(&Shown(name).to_string()) && !text.contains('\u{1b}'), "{columns}: {text:?}");
    }
}
