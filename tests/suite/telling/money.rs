//! What a breach costs this month stands in its message.

use super::commands::fresh;
use super::*;

fn costs(world: &World) -> Vec<(String, Option<String>)> {
    let told = world.hook.posts().into_iter().map(|post| serde_json::from_str::<Json>(&post.body).expect("JSON"));
    let told = told.filter(|message| message["rule"] == "over_limit");
    told.map(|message| {
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        (text("kind").expect("a kind"), text("cost"))
    })
    .collect()
}

/// By the demo's PED: 2 vCPU and 4 GiB each, up to 6. The limit is what is charged, and what is asked for beyond is shown.
#[test]
fn a_message_says_what_it_adds_to_this_month() {
    let world = World::new();
    world.register_demo();
    let serve = Serve::start(&world);
    for (number, replicas) in [(1, 5), (2, 8), (3, 9), (4, 3)] {
        assert!(serve.push(&fresh(number, replicas)));
        world.quiet();
    }
    let said = |kind: &str, cost: &str| (kind.to_owned(), Some(cost.to_owned()));
    assert_eq!(
        costs(&world),
        [
            said("opened", "0.00 USD (85.50 by requested, 57.00 by highest)"),
            said("worsened", "0.00 USD (28.50 by requested and highest)"),
            said("recovered", "0.00 USD (114.00 by requested, 85.50 by highest)"),
        ]
    );
    // The same as `changes` says of the writes: each message of its own, and the last of all that were over.
    let changes: Vec<Json> = serde_json::from_str(&world.says(&["changes", "--format=json"])).expect("JSON");
    let adds = |number: i64, basis: &str| {
        let change = changes.iter().find(|change| change["replicas"] == number).expect("a change");
        change[format!("adds_{basis}")].as_str().expect("an amount").parse::<f64>().expect("a number")
    };
    for (basis, amounts) in [("limit", [0.0, 0.0]), ("requested", [85.5, 28.5]), ("highest", [57.0, 28.5])] {
        assert_eq!([adds(8, basis), adds(9, basis)], amounts, "{basis}");
    }
    let slack = world.slack.posts();
    let line = "It adds 0.00 USD (85.50 by requested, 57.00 by highest) to this month.";
    assert!(slack[0].body.contains(line), "{}", slack[0].body);
}
