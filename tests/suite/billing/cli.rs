//! `pedwatch bill` as people run it.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value as Json;

use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::support::{Sample, block_on, rows, time};

/// A store with the demo month.
fn demo(folder: &Path) -> PathBuf {
    let store = folder.join("facts.db");
    let replayed = run(command().args(DEMO).arg(format!("--store=sqlite:{}", store.display())), b"");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    store
}

fn bill(store: &Path, args: &[&str]) -> Output {
    run(command().arg("bill").args(args).arg(format!("--store=sqlite:{}", store.display())), b"")
}

fn answer(store: &Path, args: &[&str]) -> String {
    let output = bill(store, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn the_demo_month_costs_what_its_limits_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = demo(folder.path());
    let told = answer(&store, &["--month", "2026-09"]);
    for part in [
        "payments/orders-api: 351.00\n  265.50 for a limit of 3 replicas",
        "\n  +85.50 for a limit of 6 replicas of 2 vCPU and 4 GiB each, from 2026-09-11 00:00:00 UTC: version ",
        "lab/prototype: 0.00\n  not priced: no PED was in force while it was there",
        "payments/invoices-api: 294.00",
        "discovery/search-api: 322.50",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let json: Json = serde_json::from_str(&answer(&store, &["--month=2026-09", "--format=json"])).expect("JSON");
    assert_eq!((&json["total"], &json["lines_added"]), (&"967.50".into(), &0.into()));
    assert_eq!(json["owners"][2]["fee"], "645.00");

    // The numbers of its CSV add up to the same.
    let csv = answer(&store, &["--month=2026-09", "--format=csv", "--owner=team-payments"]);
    let fees: Vec<&str> = csv.lines().filter_map(|line| line.split(',').nth(8)).collect();
    assert_eq!(fees, ["fee", "294.00", "351.00"]);
    // And so do those of the view, to the cent.
    let facts = pedwatch::store::sqlite::Sqlite::open(&store).expect("a store");
    let views = block_on(rows(&facts, "monthly_fees", &["user_id", "fee_micros", "fee"]));
    let of_payments = serde_json::json!(["team-payments", 645_000_000, "645"]);
    assert!(views.contains(&of_payments), "{views:?}");
    let micros: i64 = views.iter().filter_map(|row| row[1].as_i64()).sum();
    assert_eq!(micros, 967_500_000);

    let explained = answer(&store, &["explain", "payments/orders-api", "--month=2026-09"]);
    assert!(explained.contains("180 + (19 a vCPU, 19 a GiB, of 2 vCPU and 4 GiB) × 6 / 4 = 351.00"), "{explained}");
    let changes =
        command().args(["changes", "--format=csv"]).arg(format!("--store=sqlite:{}", store.display())).output();
    let changes = stdout(&changes.expect("it runs"));
    let ids = explained.split("event ").skip(1).map(|rest| &rest[..32]);
    assert!(ids.clone().count() >= 3 && ids.clone().all(|id| changes.contains(id)), "{explained}\n{changes}");
}

/// More changes than lie in memory at once are told with what each of them adds, while the store still answers page by page.
#[test]
fn a_long_answer_says_what_each_change_adds() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
    let begin = time("2026-09-01T00:00:00Z");
    let entry = |number: i64| {
        let at = begin + chrono::Duration::seconds(number * 20);
        let (name, turn) = (format!("api-{}", number % 1_010), number / 1_010);
        let sample = Sample::patch(&format!("e{number}"), &pedwatch::id::time(at), 2 + turn % 2)
            .set("/protoPayload/resourceName", format!("apps/v1/namespaces/payments/deployments/{name}"))
            .set("/protoPayload/response/metadata/name", name.clone())
            .uid(&name);
        String::from_utf8(sample.version(1_000 + number, 1 + turn).bytes()).expect("UTF-8") + "\n"
    };
    let entries: String = (0..10_100).map(entry).collect();
    let replayed = run(command().args(["replay", "-", "--format=json", &store]), entries.as_bytes());
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let changes = stdout(&run(command().args(["changes", "--format=ndjson", &store]), b""));
    assert_eq!(changes.lines().count(), 10_100);
    assert!(changes.lines().all(|line| line.contains("\"adds_limit\":\"")), "{}", &changes[..600]);
}

/// Each change and each alert says what it adds, by each basis; the limit that rises on the 11th adds 85.50 by itself.
#[test]
fn changes_and_alerts_say_what_they_add() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = demo(folder.path());
    let asked = |command_name: &str, more: &[&str]| {
        let output =
            run(command().arg(command_name).args(more).arg(format!("--store=sqlite:{}", store.display())), b"");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let of = |rows: &str, column: &str| -> Vec<f64> {
        let rows: Vec<Json> = serde_json::from_str(rows).expect("JSON");
        rows.iter().map(|row| row[column].as_str().expect("an amount").parse().expect("a number")).collect()
    };
    let changes = asked("changes", &["--from=2026-09-01", "--to=2026-10-01", "--format=json"]);
    let sum = |column| of(&changes, column).iter().sum::<f64>();
    // 967.50 less what the version adds; and by what was asked for: 379.50 (7 by a snapshot) + 465 + 408.
    assert_eq!((sum("adds_limit"), sum("adds_requested")), (882.0, 1_252.5));
    let alerts = asked("alerts", &["--severity=critical", "--format=json"]);
    assert_eq!(of(&alerts, "adds_highest"), [171.0, 85.5, 0.0, 28.5]);
    assert_eq!(of(&alerts, "adds_limit"), [0.0; 4]);
    assert!(asked("alerts", &[]).contains("0.00 USD (171.00 by requested and highest)"));
    let mended = asked("changes", &["payments/orders-api", "--format=csv"]);
    assert!(
        mended.lines().next().is_some_and(|names| names.ends_with(",adds_limit,adds_requested,adds_highest,currency"))
    );
}

#[test]
fn a_month_that_cannot_be_billed_is_refused_with_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = demo(folder.path());
    for (args, code, why) in [
        (&["--month=2199-01"][..], 2, "2199-01 has not begun; expected a month that has"),
        (&["--month=1999-12"], 2, "no price holds in 1999-12; expected [billing.prices.DATE]"),
        (&["--month=2026-13"], 2, "is no month; expected one like 2026-09"),
        (&["--close"], 2, "--month"),
        (&["explain", "payments"], 2, "expected NAMESPACE/DEPLOYMENT"),
        (&["explain", "payments/nobody", "--month=2026-09"], 1, "nothing is known of payments/nobody in 2026-09"),
    ] {
        let output = bill(&store, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{args:?}: {}", stderr(&output));
    }
    let running = chrono::Utc::now().format("%Y-%m").to_string();
    let refused = bill(&store, &["--close", "--month", &running]);
    assert!(stderr(&refused).contains("is not over, it ends at"), "{}", stderr(&refused));
    assert!(answer(&store, &["--month=2020-02"]).starts_with("nothing is billed for 2020-02"));
}

/// An owner is whatever a team writes into its PED.
#[test]
fn a_cell_of_csv_is_no_formula() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, peds) = (folder.path().join("facts.db"), folder.path().join("peds"));
    std::fs::create_dir(&peds).expect("a folder");
    let ped = std::fs::read_to_string(crate::support::root().join("fixtures/demo/ped/2026-09-01/orders-api.yaml"));
    let ped = ped.expect("a PED").replace("owner: team-payments", "owner: \"=cmd|' /C calc'!A1\"");
    std::fs::write(peds.join("ped.yaml"), ped).expect("written");
    let replayed = command()
        .args(["replay", "fixtures/demo/audit"])
        .arg(format!("--ped=2026-09-01={}", peds.display()))
        .arg(format!("--store=sqlite:{}", store.display()))
        .output()
        .expect("it runs");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let csv = answer(&store, &["--month=2026-09", "--format=csv"]);
    assert!(csv.contains(",'=cmd|' /C calc'!A1,"), "{csv}");
    assert!(!csv.contains(",="), "{csv}");
}

/// A date cannot have two prices, and none has a gap: each holds until the next.
#[test]
fn prices_that_overlap_or_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pedwatch.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let output = run(command().args(["config", "check", "--config"]).arg(&file), b"");
        (output.status.code(), stderr(&output))
    };
    let twice = "[billing.prices.2026-01-01]\nbase = \"200\"\n[billing.prices.2026-01-01]\nbase = \"210\"\n";
    let (code, why) = check(twice);
    assert!(code == Some(2) && why.contains("duplicate key"), "{why}");
    let (code, why) = check("[billing.prices.2026-01-01]\nmin_seconds = -1\nbasis = \"most\"\n");
    assert!(code == Some(2) && why.contains("expected from 0 to 86400") && why.contains("expected one of"), "{why}");
    assert_eq!(check("[billing.prices.2026-01-01]\nbase = \"200\"\nmin_seconds = 300\n").0, Some(0));
}
