//! PEDs on GitHub: what a pull request changes, and what runs there, as far as it runs without GitHub.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::support::root;

const DAYS: [&str; 2] = ["fixtures/demo/ped/2026-09-01", "fixtures/demo/ped/2026-09-11"];

fn diff(args: &[&str]) -> Output {
    run(command().args(["--config=fixtures/pedwatch.toml", "ped", "diff"]).args(args), b"")
}

#[test]
fn a_pull_request_says_limits_fees_and_who_would_be_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let replayed = run(command().args(DEMO).arg(&store), b"");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let found = diff(&[DAYS[0], DAYS[1], "--format=json", &store]);
    assert!(found.status.success(), "{}", stderr(&found));
    let found: Vec<Json> = serde_json::from_slice(&found.stdout).expect("JSON");
    let orders = found.iter().find(|one| one["deployment"] == "orders-api").expect("orders-api");
    let of = |key: &str| orders[key].to_string();
    // 180 + (19·2 + 19·4)·3/4, and with 6.
    let expected = [
        ("kind", "\"changed\""),
        ("max_replicas_before", "3"),
        ("max_replicas_after", "6"),
        ("fee_before", "\"265.50\""),
        ("fee_after", "\"351.00\""),
    ];
    for (key, value) in expected {
        assert_eq!(of(key), value, "{key}: {orders}");
    }
    // The other way round its seven replicas are over what is asked for.
    let back = diff(&[DAYS[1], DAYS[0], "--format=markdown", &store]);
    let text = stdout(&back);
    assert!(text.contains("over the new limit"), "{text}");
    assert!(text.contains("| payments/orders\\-api | ") || text.contains("| payments/orders-api | "), "{text}");
    // Nothing, and a side without any PED.
    assert_eq!(stdout(&diff(&[DAYS[0], DAYS[0]])), "no PED changes\n");
    let nothing = folder.path().join("none");
    std::fs::create_dir(&nothing).expect("made");
    let new = diff(&[nothing.to_str().expect("UTF-8"), DAYS[0], "--format=json"]);
    let new: Vec<Json> = serde_json::from_slice(&new.stdout).expect("JSON");
    assert!(!new.is_empty() && new.iter().all(|one| one["kind"] == "new"), "{new:?}");
    let gone = diff(&[DAYS[0], nothing.to_str().expect("UTF-8"), "--format=json"]);
    let gone: Vec<Json> = serde_json::from_slice(&gone.stdout).expect("JSON");
    assert!(gone.len() == new.len() && gone.iter().all(|one| one["kind"] == "gone"), "{gone:?}");
    // Who repairs a fault is told what changes.
    std::fs::write(nothing.join("bad.yaml"), "kind: Ped\n").expect("written");
    let repaired = diff(&[nothing.to_str().expect("UTF-8"), DAYS[0]]);
    assert!(repaired.status.success() && stderr(&repaired).contains("had faults"), "{}", stderr(&repaired));
    let missing = diff(&["no-such-folder", DAYS[0]]);
    assert_eq!(missing.status.code(), Some(1), "{}", stderr(&missing));
}

/// Runs something in a repository.
fn in_folder(folder: &Path, program: &str, args: &[&str]) -> Output {
    let done = Command::new(program).current_dir(folder).args(args).output().expect(program);
    assert!(done.status.success(), "{program} {args:?}: {}", stderr(&done));
    done
}

fn git(folder: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"];
    stdout(&in_folder(folder, "git", &[&who, args].concat())).trim().to_owned()
}

/// The script of the action, with the binary in the place of the image.
fn review(folder: &Path, base: &str) -> (Output, String) {
    let summary = tempfile::NamedTempFile::new().expect("a file");
    let mut script = Command::new(root().join("deploy/github/review.sh"));
    script.current_dir(folder).env("PEDS", "peds").env("BASE", base).env("GITHUB_STEP_SUMMARY", summary.path());
    script.env("PEDWATCH", env!("CARGO_BIN_EXE_pedwatch")).env_remove("PEDWATCH_CONFIG");
    let done = script.output().expect("bash");
    (done, std::fs::read_to_string(summary.path()).expect("text"))
}

#[test]
fn the_action_annotates_faults_and_sums_up_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let repository = folder.path();
    let copied = |from: &str| {
        let _ = std::fs::remove_dir_all(repository.join("peds"));
        let from = root().join(from);
        in_folder(repository, "cp", &["-r", from.to_str().expect("UTF-8"), "peds"]);
    };
    git(repository, &["init", "-q"]);
    copied(DAYS[0]);
    git(repository, &["add", "."]);
    git(repository, &["commit", "-qm", "before"]);
    let base = git(repository, &["rev-parse", "HEAD"]);
    copied(DAYS[1]);
    let (done, summary) = review(repository, &base);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(summary.starts_with("### What these PEDs change\n") && summary.contains("3 → 6"), "{summary}");
    // Of a push to a new branch nothing is known before.
    let (done, summary) = review(repository, "0000000000000000000000000000000000000000");
    assert!(done.status.success() && summary.contains("| new |"), "{summary} {}", stderr(&done));
    // The last one may be taken out.
    std::fs::remove_dir_all(repository.join("peds")).expect("removed");
    let (done, summary) = review(repository, &base);
    assert!(done.status.success() && summary.contains("| gone |"), "{summary} {}", stderr(&done));
    copied(DAYS[1]);
    // A fault is an annotation on its line, and the review fails.
    std::fs::write(repository.join("peds/bad.yaml"), "apiVersion: pedwatch/v1\nkind: Ped\nspec: {maxReplicas: many}\n")
        .expect("written");
    let (done, _) = review(repository, &base);
    assert!(!done.status.success());
    assert!(stdout(&done).contains("::error title=PED,file=peds/bad.yaml,line=3,"), "{}", stdout(&done));
    assert_eq!(
        git(repository, &["status", "--short", "--untracked-files=all", "--", ":!peds"]),
        "",
        "it leaves something"
    );
}

#[test]
fn workflows_and_the_action_are_as_github_wants_them() {
    let set_up = Command::new(root().join("tests/servers/setup.sh")).status().expect("bash");
    assert!(set_up.success(), "tests/servers/setup.sh failed: nothing checks workflows");
    let check = |schema: &str, file: &Path| {
        let mut check = Command::new(root().join("target/servers/check-jsonschema/bin/check-jsonschema"));
        let output = check.args(["--builtin-schema", schema]).arg(file).output().expect("check-jsonschema");
        (output.status.success(), stdout(&output) + &stderr(&output))
    };
    let of_ours = [
        ("vendor.github-actions", "action.yml"),
        ("vendor.github-workflows", ".github/workflows/ci.yaml"),
        ("vendor.github-workflows", ".github/workflows/release.yaml"),
        ("vendor.github-workflows", "deploy/github/peds.yaml"),
    ];
    for (schema, file) in of_ours {
        let (passed, said) = check(schema, &root().join(file));
        assert!(passed, "{file}: {said}");
        let broken = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        let text = std::fs::read_to_string(root().join(file)).expect("text");
        std::fs::write(broken.path(), text.replace("\nruns:", "\nrun:").replace("\njobs:", "\njob:")).expect("written");
        assert!(!check(schema, broken.path()).0, "{file}: it finds nothing");
    }
}
