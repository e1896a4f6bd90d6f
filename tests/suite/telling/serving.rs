//! What `serve` tells of the demo month: each breach once, whatever comes again, and whoever is killed.

use super::*;

/// What is told of the month: the demo's story, and what comes behind it.
const TOLD: [&str; 14] = [
    "once over_initial payments/orders-api 6/3",
    "opened over_limit payments/invoices-api 10/4",
    "recovered over_limit payments/invoices-api 10/4",
    "once bypass payments/invoices-api 4/4",
    "opened over_limit discovery/search-api 8/5",
    "opened outside_platform_range lab/prototype 1/2",
    "opened unregistered lab/prototype 1/?",
    "once bypass lab/prototype 1/?",
    "opened unknown_value payments/invoices-api ?/?",
    "recovered outside_platform_range lab/prototype 1/2",
    "recovered unregistered lab/prototype 1/?",
    "opened over_limit payments/orders-api 7/6",
    "worsened over_limit payments/orders-api 8/6",
    "recovered over_limit payments/orders-api 8/6",
];

/// What follows from one message may be told in any order.
fn sorted<T: Into<String>>(told: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut told: Vec<String> = told.into_iter().map(Into::into).collect();
    told.sort_unstable();
    told
}

/// A version that allows it.
fn allow_more(world: &World) {
    allow(world, 8, "2026-10-01");
}

/// Another maximum for `payments/orders-api`.
pub(super) fn allow(world: &World, max: i64, from: &str) {
    let yaml = std::fs::read_to_string(root().join("fixtures/demo/ped/2026-09-11/orders-api.yaml")).expect("readable");
    let more = yaml.replace("maxReplicas: 6", &format!("maxReplicas: {max}"));
    assert_ne!(more, yaml);
    std::fs::write(world.path("orders-api.yaml"), more).expect("written");
    world.register(&world.path("orders-api.yaml").display().to_string(), from);
}

#[test]
fn each_breach_rings_once_each_worsening_and_each_recovery() {
    let world = World::new();
    world.register_demo();
    let serve = Serve::start(&world);
    for entry in month() {
        assert!(serve.push(&entry));
        world.quiet();
    }
    allow_more(&world);
    world.quiet();
    assert_eq!(sorted(world.heard()), sorted(TOLD));
    let critical = world.slack.posts();
    assert_eq!(critical.len(), 6, "{critical:#?}");
    assert!(
        critical[0]
            .body
            .starts_with("🔴 *payments/invoices-api* asks for 10 replicas, over its limit of 4 (before: 4).\n")
    );
    assert!(critical[0].body.contains("; owner "), "{}", critical[0].body);
    assert!(critical[1].body.starts_with("✅ *payments/invoices-api*"), "{}", critical[1].body);
    // Everything comes again, in another order.
    let entries = month();
    for index in 0..entries.len() * 2 {
        assert!(serve.push(&entries[index * 7 % entries.len()]));
    }
    std::thread::sleep(Duration::from_secs(1));
    world.quiet();
    assert_eq!((world.heard().len(), world.slack.posts().len()), (TOLD.len(), 6), "{:?}", world.heard());
    // What is open is what was told and is not over.
    let open = world.json(&["incident", "list"]);
    let open: Vec<String> = open
        .as_array()
        .expect("an array")
        .iter()
        .map(|one| format!("{} {}", one["rule"], one["deployment_name"]))
        .collect();
    assert_eq!(open, ["\"over_limit\" \"search-api\"", "\"unknown_value\" \"invoices-api\""]);
}

/// The ledger may be in Firestore: the same is told.
#[test]
fn the_same_is_told_by_a_ledger_in_firestore() {
    let world = World::on_firestore();
    world.register_demo();
    let serve = Serve::start(&world);
    for entry in month() {
        assert!(serve.push(&entry));
        world.quiet();
    }
    allow_more(&world);
    world.quiet();
    assert_eq!(sorted(world.heard()), sorted(TOLD));
    assert!(month().iter().all(|entry| serve.push(entry)));
    std::thread::sleep(Duration::from_secs(1));
    world.quiet();
    assert_eq!(world.heard().len(), TOLD.len());
}

/// Killed at any moment and started again, it ends with the same notices: what was not acknowledged comes again.
#[test]
fn whoever_is_killed_ends_with_the_same_notices() {
    ends_with_the_same_notices(&World::new());
}

/// Rows and steps are one transaction then.
#[test]
fn whoever_is_killed_ends_with_the_same_notices_where_all_is_in_one_file() {
    ends_with_the_same_notices(&World::in_one_file());
}

fn ends_with_the_same_notices(world: &World) {
    world.register_demo();
    let mut serve = Serve::start(world);
    for (number, entry) in month().iter().enumerate() {
        match (number % 4, number) {
            // Right behind the answer, or before it can answer. What was being sent then waits for the end of its lease.
            (_, 5 | 12) | (1, _) => {
                let address = serve.address;
                let copy = entry.clone();
                let pushing = std::thread::spawn(move || push(address, &copy));
                if number != 5 && number != 12 {
                    std::thread::sleep(Duration::from_millis(3 * number as u64 % 17));
                } else {
                    pushing.join().expect("answered");
                }
                drop(serve);
                serve = Serve::start(world);
                assert!(serve.push(entry), "it comes again");
            }
            _ => assert!(serve.push(entry)),
        }
        world.quiet();
    }
    allow_more(world);
    world.quiet();
    assert_eq!(sorted(world.told().into_values()), sorted(TOLD));
}
