//! What a person does: tries receivers, sees what was not sent, acknowledges, silences.

use super::*;
use crate::backfill::logging::Logging;
use crate::support;

/// An entry that was just written.
pub(super) fn fresh(number: i64, replicas: i64) -> Vec<u8> {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    Sample::patch(&format!("fresh-{number}"), &now, replicas).version(1_000 + number, number).bytes()
}

/// `serve` with a limit of 6 for `payments/orders-api`, and somebody over it.
fn over(world: &World) -> Serve {
    world.register_demo();
    let serve = Serve::start(world);
    assert!(serve.push(&fresh(1, 8)));
    serve
}

fn fails(world: &World, args: &[&str]) -> String {
    let output = world.run(args);
    assert!(!output.status.success(), "{args:?}: {}", stdout(&output));
    stderr(&output)
}

#[test]
fn a_receiver_is_tried_by_itself() {
    let world = World::new();
    assert_eq!(world.says(&["notify", "test", "--receiver=slack"]), "sent\n");
    assert_eq!(world.says(&["notify", "test", "--receiver=hook"]), "sent\n");
    assert!(world.slack.posts()[0].body.contains("*test/this-is-only-a-test*"), "{:?}", world.slack.posts());
    assert!(fails(&world, &["notify", "test", "--receiver=slak"]).contains("expected one of hook, slack"));
    world.hook.plan("403 Forbidden\r\n");
    assert!(fails(&world, &["notify", "test", "--receiver=hook"]).contains("hook refuses it: it answers 403"));
    assert!(!world.path("facts.db").exists(), "nothing is recorded");
}

/// Who registers or closes days puts notices into the ledger, and sends none: the secrets are another process's.
#[test]
fn who_sends_nothing_needs_no_secret() {
    let world = World::new();
    let serve = over(&world);
    world.quiet();
    drop(serve);
    let told = world.heard().len();
    std::fs::remove_file(world.path("secret")).expect("removed");
    serving::allow(&world, 8, "2026-10-01");
    world.says(&["daily"]);
    assert!(fails(&world, &["notify", "--once"]).contains("receivers.hook.secret"));
    std::fs::write(world.path("secret"), format!("{SECRET}\n")).expect("written");
    world.says(&["notify", "--once"]);
    assert_eq!(world.heard().len(), told + 1, "{:?}", world.heard());
}

/// A question about what was told makes no ledger.
#[test]
fn asking_makes_no_ledger() {
    let world = World::new();
    for args in [&["incident", "list"][..], &["notify", "list"], &["silence", "list"], &["incident", "show", "x"]] {
        assert!(fails(&world, args).contains("no ledger is in sqlite:"), "{args:?}");
        assert!(!world.path("ledger.db").exists(), "{args:?}");
    }
}

/// A receiver that is down loses nothing: it is told when it is there, by whoever sends then.
#[test]
fn what_could_not_be_sent_is_seen_and_tried_again() {
    let world = World::new();
    world.hook.plan("404 Not Found\r\n");
    world.hook.plan("503 Service Unavailable\r\n");
    let serve = over(&world);
    let begun = Instant::now();
    let failed = loop {
        let failed = world.json(&["notify", "list", "--failed"]);
        if failed.as_array().is_some_and(|failed| !failed.is_empty()) {
            break failed;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!((&failed[0]["receiver"], &failed[0]["kind"]), (&json!("hook"), &json!("opened")));
    assert!(failed[0]["last_error"].as_str().is_some_and(|why| why.starts_with("it answers 404")), "{failed}");
    drop(serve);
    let id = failed[0]["notification_id"].as_str().expect("an id");
    world.says(&["notify", "retry", id]);
    assert!(fails(&world, &["notify", "retry", id]).contains("there is no notice"));
    let once = || world.json(&["notify", "--once"]);
    let of_hook = |sent: Json| sent.as_array().expect("an array").iter().find(|one| one["receiver"] == "hook").cloned();
    let later = of_hook(once()).expect("a receiver");
    assert_eq!((&later["sent"], &later["later"]), (&json!(0), &json!(1)));
    assert_eq!(world.json(&["notify", "list"]).as_array().map(Vec::len), Some(1));
    while world.heard().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        once();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(world.heard(), ["opened over_limit payments/orders-api 8/6"]);
    assert_eq!(world.says(&["notify", "list"]), "nothing\n");
}

#[test]
fn an_incident_is_acknowledged_assigned_and_explained() {
    let world = World::new();
    let _serve = over(&world);
    world.quiet();
    let open = world.json(&["incident", "list"]);
    let id = open[0]["incident_id"].as_str().expect("an id").to_owned();
    world.says(&["incident", "ack", &id, "--by=alice@example.com"]);
    world.says(&["incident", "assign", &id, "--to=bob@example.com"]);
    let open = world.json(&["incident", "list"]);
    let people = [&open[0]["acknowledged_by"], &open[0]["assigned_to"]];
    assert_eq!(people, [&json!("alice@example.com"), &json!("bob@example.com")]);
    let shown = world.says(&["incident", "show", &id]);
    assert!(shown.contains("opened over_limit") && shown.contains("sent"), "{shown}");
    assert!(fails(&world, &["incident", "ack", "none", "--by=a"]).contains("no incident none is open"));
    let alerts = world.json(&["alerts", "payments/orders-api"]);
    let alert = alerts.as_array().expect("alerts").iter().find(|alert| alert["alert_type"] == "over_limit");
    let alert = alert.and_then(|alert| alert["alert_id"].as_str()).expect("an alert").to_owned();
    let explained = world.says(&["notify", "explain", &alert]);
    for part in ["routes[0]: tells hook, slack", "routes[1]: is not asked", "owner: ", "is open since", "queued at"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert!(fails(&world, &["notify", "explain", "none"]).contains("there is no alert none"));
}

/// A silence holds notices back, says how many, and what is still open when it ends is told then.
#[test]
fn what_a_silence_holds_back_is_told_when_it_ends() {
    let world = World::new();
    let silence = ["silence", "add", "namespace=payments", "rule=over_*", "--for=2h", "--by=alice", "--reason=a move"];
    assert!(
        fails(&world, &["silence", "add", "namespace=*", "--for=2h", "--by=a", "--reason=b"]).contains("everything")
    );
    assert!(
        fails(&world, &["silence", "add", "rule=over_limits", "--for=2h", "--by=a", "--reason=b"])
            .contains("expected one of")
    );
    world.says(&silence);
    let serve = over(&world);
    assert!(serve.push(&fresh(2, 9)));
    let listed = world.json(&["silence", "list"]);
    assert_eq!((&listed[0]["held_back"], &listed[0]["reason"]), (&json!(2), &json!("a move")), "{listed}");
    assert_eq!(world.says(&["silence", "test", "namespace=payments"]), "over_limit payments/orders-api in prod-1\n");
    assert_eq!(world.says(&["silence", "test", "owner=nobody"]), "nothing that is open\n");
    assert_eq!(world.heard(), Vec::<String>::new());
    let id = listed[0]["silence_id"].as_str().expect("an id");
    world.says(&["silence", "end", id, "--by=bob"]);
    assert!(fails(&world, &["silence", "end", id, "--by=bob"]).contains("there is no silence"));
    let begun = Instant::now();
    while world.heard().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.heard(), ["opened over_limit payments/orders-api 9/6"]);
    assert_eq!(world.says(&["silence", "list"]), "no silences\n");
}

/// The number stands, and its limit changes: told without any entry, and sent without a server.
#[test]
fn a_limit_that_is_lowered_raised_or_retired_is_told() {
    let world = World::new();
    world.register_demo();
    let serve = Serve::start(&world);
    assert!(serve.push(&fresh(1, 5)));
    world.quiet();
    drop(serve);
    let before = world.heard().len();
    let told = || {
        world.says(&["notify", "--once"]);
        let mut told = world.heard().split_off(before);
        told.sort();
        told
    };
    serving::allow(&world, 4, "now");
    assert_eq!(told(), ["opened over_limit payments/orders-api 5/4"]);
    serving::allow(&world, 7, "now");
    assert_eq!(told().len(), 2, "{:?}", world.heard());
    world.says(&["ped", "remove", "payments/orders-api", "--updated-by=test", "--reason=test"]);
    world.says(&["daily"]);
    let expected = [
        "opened over_limit payments/orders-api 5/4",
        "opened unregistered payments/orders-api 5/?",
        "recovered over_limit payments/orders-api 5/4",
    ];
    assert_eq!(told(), expected);
}

#[test]
fn a_configuration_that_tells_nobody_is_refused() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.path(name), text).expect("written");
    let good = std::fs::read_to_string(world.path("pedwatch.toml")).expect("readable");
    let checked = world.says(&["config", "check"]);
    assert!(checked.contains("receivers.hook.url") && !checked.contains(SECRET), "{checked}");
    // Secrets of the environment are taken, and not shown.
    let mut by_env = world.command(&["config", "check"]);
    let output = run(
        by_env
            .env("PEDWATCH_RECEIVERS__MORE__KIND", "slack_webhook")
            .env("PEDWATCH_RECEIVERS__MORE__WEBHOOK_URL", "https://hooks.example.com/s3cret"),
        b"",
    );
    assert!(output.status.success() && stdout(&output).contains("(hidden)"), "{}", stderr(&output));
    assert!(!stdout(&output).contains("s3cret"));
    write("words", "{{ deployment }}\n{{ deploymnt }}");
    let words = world.path("words");
    let slack = "kind = \"slack_webhook\"\n";
    let words = format!("{slack}template = {words:?}\n");
    for (good_part, bad, expected) in [
        (slack, words.as_str(), "words:2: \"deploymnt\" is not known; expected one of actor"),
        ("\"hook\", \"slack\"]", "\"hok\"]", "routes[0]: \"hok\" is no receiver; expected one of hook, slack"),
        (
            "kind = \"webhook\"",
            "kind = \"webhok\"",
            "receivers.hook.kind is \"webhok\"; expected one of alertmanager, email, google_chat, pagerduty, pubsub, slack, slack_webhook, webhook",
        ),
        (
            "kind = \"webhook\"",
            "kind = \"webhook\"\nsecret = \"whsec_s3cret\"",
            "receivers.hook.secret is in the file of the configuration; expected receivers.hook.secret_file, or the variable PEDWATCH_RECEIVERS__HOOK__SECRET",
        ),
        (
            "kind = \"webhook\"",
            "kind = \"webhook\"\nwebhook_url_file = \"x\"",
            "receivers.hook.webhook_url_file is given; expected it only with kind = \"google_chat\" or \"slack_webhook\"",
        ),
        (
            slack,
            "kind = \"pubsub\"\ntopic = \"pedwatch\"\n",
            "receivers.slack.topic is \"pedwatch\"; expected \"projects/PROJECT/topics/NAME\"",
        ),
        ("severity = [\"critical\"]", "severity = [\"loud\"]", "routes[0]: severity = \"loud\""),
        ("[[routes]]\nreceivers = [\"hook\"]\n", "", "what no route matches goes nowhere"),
        ("flap_seconds = 0", "flap_seconds = -1", "notify.flap_seconds is -1; expected from 0 to 86400"),
        ("flap_seconds = 0", "language = \"de\"", "notify.language is \"de\""),
        // More are not looked at together, so it would never be a digest.
        ("flap_seconds = 0", "digest_above = 200", "notify.digest_above is 200; expected from 0 to 199"),
        ("slack-url\"", "nowhere\"", "receivers.slack.webhook_url: cannot read"),
    ] {
        assert!(good.contains(good_part), "{good_part}");
        write("pedwatch.toml", &good.replace(good_part, bad));
        let said = fails(&world, &["config", "check"]);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{expected}: {said}");
    }
    write("pedwatch.toml", &good);
    let output = run(world.command(&["config", "check"]).env("K_SERVICE", "pedwatch"), b"");
    assert!(
        stderr(&output).contains("expected firestore:PROJECT/DATABASE: Cloud Run keeps no file"),
        "{}",
        stderr(&output)
    );
}

/// A replay that is asked to tell tells what is open by its newest entries, and nothing of what was.
#[test]
fn a_replay_tells_when_it_is_asked_to() {
    let world = World::with("flap_seconds = 0");
    world.register_demo();
    let folder = tempfile::tempdir().expect("a folder");
    let month = month().join(&b'\n');
    std::fs::write(folder.path().join("month.ndjson"), month).expect("written");
    let log = folder.path().join("month.ndjson").display().to_string();
    let output = world.run(&["replay", &log, "--notify"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(world.heard(), Vec::<String>::new(), "serve, pull or notify sends it");
    world.says(&["notify", "--once"]);
    let mut told = world.heard();
    told.sort();
    let expected = [
        "opened over_limit discovery/search-api 8/5",
        "opened over_limit payments/orders-api 8/6",
        "opened unknown_value payments/invoices-api ?/?",
    ];
    assert_eq!(told, expected);
    // Again tells nobody anything.
    assert!(world.run(&["replay", &log, "--notify"]).status.success());
    world.says(&["notify", "--once"]);
    assert_eq!(world.heard().len(), 3);
    let text = std::fs::read_to_string(world.path("pedwatch.toml")).expect("readable");
    let text = text.replace("ledger = ", "# ledger = ");
    std::fs::write(world.path("pedwatch.toml"), text).expect("written");
    assert!(fails(&world, &["replay", &log, "--notify"]).contains("no ledger; expected notify.ledger"));
}

/// A backfill tells what is open behind its last leg, by the limits as they are then.
#[test]
fn a_backfill_tells_what_its_last_leg_left_open() {
    let world = World::with("flap_seconds = 0");
    world.register_demo();
    let ped = |max| {
        std::fs::write(world.path("late.yaml"), support::ped("payments", "late-api", None, max)).expect("written");
        world.path("late.yaml").display().to_string()
    };
    world.register(&ped(3), "2026-09-01");
    let at = |second: i64| {
        let begin = support::time("2026-09-20T08:00:00Z") + chrono::TimeDelta::seconds(second);
        begin.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let entry = |number: i64, (namespace, name): (&str, &str), replicas| {
        Sample::patch(&format!("leg-{number}"), &at(number), replicas)
            .version(1_000 + number, 10 + number)
            .uid(name)
            .set("/protoPayload/resourceName", format!("apps/v1/namespaces/{namespace}/deployments/{name}"))
            .set("/protoPayload/response/metadata/name", name)
            .set("/protoPayload/response/metadata/namespace", namespace)
            .entry
    };
    let (orders, search, late) = (("payments", "orders-api"), ("discovery", "search-api"), ("payments", "late-api"));
    let mut entries = vec![entry(0, search, 8), entry(1, late, 4)];
    // A page for each: a leg is 300 pages long.
    entries.extend((2..320).map(|number| entry(number, orders, 8)));
    entries.push(entry(320, orders, 3));
    let logging = Logging::new(entries, 1, &[]);
    let span = ["--from=2026-09-19", "--to=2026-09-21"];
    let mut command = world.command(&["backfill", "--project=acme-prod", "--notify", span[0], span[1]]);
    command.env("PEDWATCH_BACKFILL__ENDPOINT", format!("http://{}", logging.address));
    command.env("PEDWATCH_BACKFILL__ANONYMOUS", "true").env("PEDWATCH_BACKFILL__REQUESTS_PER_MINUTE", "3000");
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let begun = Instant::now();
    while logging.requests().len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "no requests");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Another limit, while it reads.
    world.register(&ped(5), "now");
    assert!(logging.requests().len() < 300, "it was registered too late for this test");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    world.says(&["notify", "--once"]);
    assert_eq!(world.heard(), ["opened over_limit discovery/search-api 8/5"]);
}

/// What ends a silence waits for no digest, even where one cannot be made.
#[test]
fn what_a_silence_held_back_is_told_though_a_digest_cannot_be_made() {
    let world = World::new();
    world.says(&["silence", "add", "namespace=payments", "rule=over_*", "--for=2h", "--by=alice", "--reason=a move"]);
    drop(over(&world));
    let listed = world.json(&["silence", "list"]);
    world.says(&["silence", "end", listed[0]["silence_id"].as_str().expect("an id"), "--by=bob"]);
    digests::daily(&world);
    digests::collect(&world, "slack", 1);
    let ledger = rusqlite::Connection::open(world.path("ledger.db")).expect("opened");
    ledger.execute("UPDATE notifications SET content = '{}' WHERE state = 'collected'", []).expect("a ledger");
    assert!(fails(&world, &["notify", "--once"]).contains("what is due cannot be told"));
    ledger.execute("DELETE FROM notifications WHERE state = 'collected'", []).expect("a ledger");
    let pending = block_on(world.ledger().notices(Wanted::State(State::Pending), 10)).expect("readable");
    assert!(pending.iter().any(|notice| notice.receiver == "hook"), "{pending:#?}");
}

/// Nobody is told what is read again from files, nor of old entries that come late.
#[test]
fn what_is_replayed_or_old_is_told_to_nobody() {
    let world = World::with("flap_seconds = 0");
    world.register_demo();
    world.says(&["replay", "fixtures/demo/audit", "--store", &format!("sqlite:{}", world.path("facts.db").display())]);
    let serve = Serve::start(&world);
    for entry in month() {
        assert!(serve.push(&entry));
    }
    assert!(serve.push(&fresh(1_000_000, 9)));
    world.quiet();
    assert_eq!(world.heard(), ["opened over_limit payments/orders-api 9/6"]);
}
