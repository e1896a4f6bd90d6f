//! One message instead of many: a storm, a day; and another receiver where one cannot be told.

use chrono::{TimeDelta, Utc};
use pedwatch::incident::{Deployment, Kind, Step};
use pedwatch::notify::ledger::Change;
use pedwatch::notify::message::sample;
use pedwatch::notify::notice::{Addressed, Notice, Progress};
use pedwatch::policy::Severity;

use super::commands::fresh;
use super::team::mailed;
use super::*;
use crate::servers::smtp;

/// With other text in the place of a part of the configuration.
fn configure(world: &World, parts: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(world.path("pedwatch.toml")).expect("readable");
    for (old, new) in parts {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    std::fs::write(world.path("pedwatch.toml"), text).expect("written");
}

/// Has Slack get a digest now.
pub(super) fn daily(world: &World) {
    let slack = "kind = \"slack_webhook\"\n";
    configure(world, &[(slack, &format!("{slack}digest_at = {:?}\n", at(-1)))]);
}

/// So many notices that wait for a digest.
pub(super) fn collect(world: &World, receiver: &str, count: usize) {
    let (step, deployment) = sample();
    let notice = |number: usize| {
        let step = Step { incident_id: format!("collected-{number}"), kind: Kind::Digest, ..step.clone() };
        Notice::new(&step, &deployment, receiver, "{}".to_owned(), Utc::now())
    };
    let notices = (0..count).map(notice).collect();
    block_on(world.ledger().commit(&Change { notices, ..Change::default() })).expect("committed");
}

/// Notices about so many Deployments, all due for a receiver.
fn storm(world: &World, receiver: &str, count: usize) {
    let (step, deployment) = sample();
    let notice = |number: usize| {
        let severity = if number == count - 1 { Severity::Critical } else { Severity::Warning };
        let step = Step { incident_id: format!("{receiver}-{number}"), severity, ..step.clone() };
        let deployment =
            Deployment { name: format!("api-{number}"), namespace: "storm".to_owned(), ..deployment.clone() };
        Notice::new(&step, &deployment, receiver, json!({"number": number}).to_string(), Utc::now())
    };
    let notices = (0..count).map(notice).collect();
    block_on(world.ledger().commit(&Change { notices, ..Change::default() })).expect("committed");
}

#[test]
fn a_storm_is_one_message_for_people_and_each_notice_for_programs() {
    for world in [World::new(), World::on_firestore()] {
        world.register_demo();
        storm(&world, "slack", 25);
        storm(&world, "hook", 25);
        let sent = world.json(&["notify", "--once"]);
        let of = |receiver: &str| {
            let sent = sent.as_array().expect("an array").iter().find(|sent| sent["receiver"] == receiver);
            sent.expect("a receiver")["sent"].as_u64()
        };
        assert_eq!((of("slack"), of("hook")), (Some(1), Some(25)), "{sent}");
        let posts = world.slack.posts();
        assert_eq!(posts.len(), 1, "{posts:#?}");
        let lines: Vec<&str> = posts[0].body.lines().collect();
        assert_eq!(lines[0], "📦 *25 notices at once*, the gravest first.");
        assert_eq!(lines[1], "🔴 storm/api-24 in test: over_limit, 2 replicas (limit 1).");
        assert_eq!(lines.len(), 22, "{lines:#?}");
        assert_eq!(lines[21], "And 5 more: see pedwatch incident list and pedwatch alerts.");
        // Each is told: nothing comes again, and an end is news.
        assert_eq!(world.says(&["notify", "list"]), "nothing\n");
        let told = block_on(world.ledger().notices(Wanted::State(State::Digested), 100)).expect("readable");
        assert_eq!(told.len(), 25);
        // So many are none.
        storm(&world, "slack", 3);
        configure(&world, &[("[notify]\n", "[notify]\ndigest_above = 2\n")]);
        let (step, deployment) = sample();
        let fresh = |number: usize| {
            let step = Step { incident_id: format!("more-{number}"), ..step.clone() };
            Notice::new(&step, &deployment, "slack", format!("more {number}"), Utc::now())
        };
        let notices = (0..2).map(fresh).collect();
        block_on(world.ledger().commit(&Change { notices, ..Change::default() })).expect("committed");
        world.says(&["notify", "--once"]);
        assert_eq!(world.slack.posts().len(), 3, "{:#?}", world.slack.posts());
    }
}

#[test]
fn who_stands_in_is_told_what_a_receiver_could_not_be_and_how_it_ended() {
    let world = World::new();
    configure(
        &world,
        &[
            ("kind = \"slack_webhook\"\n", "kind = \"slack_webhook\"\nfallback = \"hook\"\n"),
            ("receivers = [\"hook\", \"slack\"]", "receivers = [\"slack\"]"),
            ("[[routes]]\nreceivers = [\"hook\"]", "[[routes]]\nreceivers = [\"slack\"]"),
        ],
    );
    world.slack.plan("404 Not Found\r\n");
    world.register_demo();
    let serve = Serve::start(&world);
    assert!(serve.push(&fresh(1, 8)));
    world.quiet();
    assert_eq!(world.heard(), ["opened over_limit payments/orders-api 8/6"]);
    // It is there again: it hears what is new, and both hear the end.
    assert!(serve.push(&fresh(2, 9)));
    world.quiet();
    assert!(serve.push(&fresh(3, 3)));
    world.quiet();
    let hook: Vec<String> = world.heard().into_iter().filter(|told| told.contains("over_limit")).collect();
    assert_eq!(hook, ["opened over_limit payments/orders-api 8/6", "recovered over_limit payments/orders-api 9/6"]);
    let slack = world.slack.posts();
    assert!(slack.iter().any(|post| post.body.contains("now asks for 9 replicas")), "{slack:#?}");
    assert!(slack.iter().any(|post| post.body.starts_with('✅')), "{slack:#?}");
    // One that would stand in for itself is refused.
    configure(&world, &[("kind = \"webhook\"\n", "kind = \"webhook\"\nfallback = \"slack\"\n")]);
    let output = world.run(&["config", "check"]);
    let expected = "receivers.hook.fallback is \"slack\"; expected one whose own fallbacks do not lead back here";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

/// A time of the day, as minutes from now.
fn at(minutes: i64) -> String {
    (Utc::now() + TimeDelta::minutes(minutes)).format("%H:%M").to_string()
}

#[test]
fn a_day_s_digest_tells_what_is_open_and_what_was_no_message() {
    let world = World::with("flap_seconds = 0\nhold_seconds = 3600");
    let later = format!("digest_at = {:?}\n", at(6 * 60));
    configure(&world, &[("kind = \"slack_webhook\"\n", &format!("kind = \"slack_webhook\"\n{later}"))]);
    world.register_demo();
    let serve = Serve::start(&world);
    // Over, and back before it was told.
    assert!(serve.push(&fresh(1, 8)));
    assert!(serve.push(&fresh(2, 3)));
    drop(serve);
    configure(&world, &[("hold_seconds = 3600", "hold_seconds = 0")]);
    let serve = Serve::start(&world);
    assert!(serve.push(&fresh(3, 9)));
    world.quiet();
    drop(serve);
    let before = world.slack.posts().len();
    world.says(&["notify", "--once"]);
    assert_eq!(world.slack.posts().len(), before, "it is not due yet");
    configure(&world, &[(&later, &format!("digest_at = {:?}\n", at(-1)))]);
    world.says(&["notify", "--once"]);
    let digests = world.slack.posts().split_off(before);
    assert_eq!(digests.len(), 1, "{digests:#?}");
    let told = &digests[0].body;
    assert!(told.starts_with("🗓 *1 open* at "), "{told}");
    assert!(told.contains("payments/orders-api in prod-1: over_limit, 9 replicas (limit 6), open since "), "{told}");
    assert!(told.contains("over_limit, 8 replicas (limit 6), over before it was told."), "{told}");
    // It is told once, whoever asks.
    world.says(&["notify", "--once"]);
    assert_eq!(world.slack.posts().len(), before + 1);
}

/// What was collected is told in as many digests as it takes.
#[test]
fn a_digest_stands_for_no_more_than_one_commit_takes() {
    let world = World::new();
    world.register_demo();
    daily(&world);
    collect(&world, "slack", 1_100);
    world.says(&["notify", "--once"]);
    let posts = world.slack.posts();
    assert_eq!(posts.len(), 3, "{posts:#?}");
    assert!(posts.iter().all(|post| post.body.contains("more")), "{posts:#?}");
    let left = block_on(world.ledger().notices(Wanted::State(State::Collected), 10)).expect("readable");
    assert_eq!(left, []);
    world.says(&["notify", "--once"]);
    assert_eq!(world.slack.posts().len(), 3);
}

/// An address of a team that stands in for a receiver.
fn team(name: &str, body: &str) -> Option<Box<Addressed>> {
    let to = vec![format!("{name}@storm23.example.com")];
    let (receiver, body) = ("team_mail".to_owned(), body.to_owned());
    Some(Box::new(Addressed { receiver, to, body, instead: None }))
}

#[test]
fn a_storm_that_cannot_be_told_is_told_the_teams_that_stand_in() {
    let world = World::new();
    let (port, folder) = smtp();
    let mail = format!(
        "[receivers.team_mail]\nkind = \"email\"\nhost = \"localhost\"\nport = {port}\nca_file = {:?}\nusername = \"pedwatch\"\n\
         password_file = {:?}\nfrom = \"pedwatch@example.com\"\nto = [\"team\"]\n[receivers.slack]\n\
         fallback = \"team_mail\"\n",
        folder.join("ca.pem"),
        world.path("password"),
    );
    std::fs::write(world.path("password"), "s3cret\n").expect("written");
    configure(&world, &[("[receivers.slack]\n", &mail)]);
    world.register_demo();
    let (step, deployment) = sample();
    let notice = |number: usize| {
        let step = Step { incident_id: format!("storm-{number}"), ..step.clone() };
        let mut notice = Notice::new(&step, &deployment, "slack", format!("{number}"), Utc::now());
        notice.content.instead = team(if number.is_multiple_of(2) { "one" } else { "two" }, "one of them");
        notice
    };
    let notices = (0..50).map(notice).collect();
    block_on(world.ledger().commit(&Change { notices, ..Change::default() })).expect("committed");
    world.slack.plan("404 Not Found\r\n");
    world.slack.plan("404 Not Found\r\n");
    assert!(!world.run(&["notify", "--once"]).status.success(), "Slack refuses");
    world.says(&["notify", "--once"]);
    let mut mailed = mailed("@storm23.");
    mailed.sort();
    assert_eq!(mailed, ["one@storm23.example.com", "two@storm23.example.com"]);
    assert_eq!(world.slack.posts().len(), 0);
}

/// Slack was not told that they began, and the hook was instead: it hears how each ended.
#[test]
fn who_stood_in_hears_of_ends_though_there_are_many() {
    let world = World::new();
    let slack = "kind = \"slack_webhook\"\n";
    configure(&world, &[(slack, &format!("{slack}fallback = \"hook\"\n"))]);
    world.register_demo();
    let (step, deployment) = sample();
    let notices = |number: usize| {
        let of = |kind, seq, receiver: &str, state| {
            let step = Step { incident_id: format!("ends-{number}"), kind, seq, ..step.clone() };
            let mut notice = Notice::new(&step, &deployment, receiver, "{}".to_owned(), Utc::now());
            let instead = Addressed { receiver: "hook".to_owned(), to: vec![], body: "{}".to_owned(), instead: None };
            notice.content.instead = (receiver == "slack").then(|| Box::new(instead));
            notice.progress = Progress::new(state, Utc::now());
            notice
        };
        [
            of(Kind::Opened, 1, "slack", State::Failed),
            of(Kind::Opened, 1, "hook", State::Sent),
            of(Kind::Recovered, 2, "slack", State::Pending),
        ]
    };
    let notices = (0..25).flat_map(notices).collect();
    block_on(world.ledger().commit(&Change { notices, ..Change::default() })).expect("committed");
    for _ in 0..2 {
        world.says(&["notify", "--once"]);
    }
    assert_eq!((world.slack.posts().len(), world.hook.posts().len()), (0, 25));
}
