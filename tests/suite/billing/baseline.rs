//! What no entry tells of, and a complete snapshot showed: it was there, so it is billed, and the line says by what.

use pedwatch::job::bill::MonthBill;
use pedwatch::store::Store;
use pedwatch::store::row::Bill;
use pedwatch::store::sqlite::Sqlite;

use super::kept::{billed, month_billed, with_resources};
use crate::cli::{command, run, stderr, stdout};
use crate::reality::{compared, create, log, runs, snapshot};
use crate::support::{block_on, on_every_store, register};

const SEEN: &str = "2026-09-19T06:00:00Z";

async fn applied(store: &dyn Store) {
    register(store, &with_resources(3).replace("orders-api", "legacy"), "2026-08-01T00:00:00Z").await;
}

fn fees(bill: &MonthBill) -> Vec<(String, i64)> {
    bill.items.iter().map(|item| (item.bill.deployment_name.clone(), item.charged_micros() / 10_000)).collect()
}

#[test]
fn what_a_complete_snapshot_showed_is_billed_from_then_on() {
    on_every_store(async |store| {
        applied(store).await;
        snapshot(store, SEEN, &[runs("legacy", 2)]).await;
        assert_eq!(compared(store).await, Vec::<String>::new(), "a baseline alerts nobody");
        let bill = billed(store, "2026-10-02T00:00:00Z", false).await;
        assert_eq!(fees(&bill), [("legacy".to_owned(), 26_550)]);
        let sentences = bill.items[0].bill.sentences();
        let why = "265.50 for a limit of 3 replicas of 2 vCPU and 4 GiB each, from 2026-09-19 06:00:00 UTC: shown by a complete \
                   snapshot of the cluster, and told by no entry, event ";
        assert!(sentences[0].starts_with(why), "{sentences:?}");
        // Nobody saw it before, and it stays until somebody sees that it is gone.
        assert_eq!(fees(&month_billed(store, "2026-08", "2026-10-02T00:00:00Z").await), []);
        let october = month_billed(store, "2026-10", "2026-11-02T00:00:00Z").await;
        assert_eq!(fees(&october), [("legacy".to_owned(), 26_550)]);
    });
}

#[test]
fn explaining_a_bill_says_what_was_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("facts.db");
    block_on(async {
        let store = Sqlite::open(&file).expect("a store");
        applied(&store).await;
        snapshot(&store, SEEN, &[runs("legacy", 2)]).await;
        compared(&store).await;
    });
    let store = format!("--store=sqlite:{}", file.display());
    let output = run(command().args(["bill", "explain", "payments/legacy", "--month=2026-09", &store]), b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    let course = "2026-09-19 06:00:00 UTC to 2026-10-01 00:00:00 UTC: 2 replicas, shown by a complete snapshot of the cluster, and told \
                  by no entry, event ";
    assert!(told.contains(course) && told.contains(" at 2026-09-19 06:00:00 UTC; limit 3 of "), "{told}");
    let changes = stdout(&run(command().args(["changes", "--format=csv", &store]), b""));
    let ids = told.split("event ").skip(1).map(|rest| &rest[..32]);
    assert!(ids.clone().count() >= 2 && ids.clone().all(|id| changes.contains(id)), "{told}\n{changes}");
}

/// Whatever comes first, the entry or the snapshot: it is the entry's from when it came.
#[test]
fn an_entry_that_comes_late_takes_the_place_of_what_was_seen() {
    let line = |is_late: bool| -> Bill {
        block_on(async {
            let store = Sqlite::in_memory().expect("memory");
            applied(&store).await;
            let entry = [create("legacy", 2)];
            if !is_late {
                log(&store, &entry).await;
            }
            snapshot(&store, SEEN, &[runs("legacy", 2)]).await;
            compared(&store).await;
            if is_late {
                billed(&store, "2026-09-30T00:00:00Z", false).await;
                log(&store, &entry).await;
            }
            billed(&store, "2026-10-02T00:00:00Z", false).await.items.remove(0).bill
        })
    };
    let (late, early) = (line(true), line(false));
    assert!(early.sentences()[0].contains("from 2026-09-05 08:00:00 UTC: the Deployment was there by the create"));
    assert_eq!(late, early);
}
