//! The team itself is told: where its PED says, as that stood when the notice was made.

use std::collections::HashMap;

use super::*;
use crate::ledger::sending::Post;
use crate::servers::smtp;

const INVALID: &str = "200 OK\r\n|{\"ok\":false,\"error\":\"invalid_arguments\"}";

/// As `chat.postMessage` demands, to whichever channel.
fn any_channel(headers: &HashMap<String, String>, body: String) -> Result<Post, &'static str> {
    let message: Json = serde_json::from_str(&body).map_err(|_| INVALID)?;
    let is_channel = message["channel"].as_str().is_some_and(|channel| channel.starts_with('C') && channel.len() > 8);
    let is_authed = headers.get("authorization").is_some_and(|token| token == "Bearer xoxb-s3cret");
    if is_channel && is_authed { Ok(Post { id: String::new(), unsure: false, body }) } else { Err(INVALID) }
}

/// Everybody is told by the team's own channel and addresses; without them, the hook is.
fn world(bot: &Hook) -> World {
    let world = World::new();
    let (port, folder) = smtp();
    let text = std::fs::read_to_string(world.path("pedwatch.toml")).expect("readable");
    let routes = text.find("[[routes]]").expect("routes");
    let more = format!(
        "[receivers.team_slack]\nkind = \"slack\"\nchannel = \"team\"\nendpoint = \"http://{}\"\ntoken_file = {:?}\nfallback = \"hook\"\n\
         [receivers.team_mail]\nkind = \"email\"\nhost = \"localhost\"\nport = {port}\nca_file = {:?}\nusername = \"pedwatch\"\n\
         password_file = {:?}\nfrom = \"pedwatch@example.com\"\nto = [\"team\"]\n\
         [[routes]]\nreceivers = [\"team_slack\", \"team_mail\"]\n",
        bot.address,
        world.path("token"),
        folder.join("ca.pem"),
        world.path("password"),
    );
    std::fs::write(world.path("token"), "xoxb-s3cret\n").expect("written");
    std::fs::write(world.path("password"), "s3cret\n").expect("written");
    let before = text.get(..routes).expect("the beginning");
    std::fs::write(world.path("pedwatch.toml"), format!("{before}{more}")).expect("written");
    world
}

/// A version of the demo's PED that names these.
fn register(world: &World, notify: &str, from: &str) {
    let yaml = std::fs::read_to_string(root().join("fixtures/demo/ped/2026-09-11/orders-api.yaml")).expect("readable");
    let named = yaml.replace("owner: team-payments\n", &format!("owner: team-payments\n  notify: {notify}\n"));
    assert_ne!(named, yaml);
    std::fs::write(world.path("orders-api.yaml"), named).expect("written");
    world.says(&["ped", "validate", &world.path("orders-api.yaml").display().to_string()]);
    world.register(&world.path("orders-api.yaml").display().to_string(), from);
}

/// To which channels was posted, and in which thread.
fn posted(bot: &Hook) -> Vec<(String, bool)> {
    let post = |post: &Post| {
        let message: Json = serde_json::from_str(&post.body).expect("JSON");
        (message["channel"].as_str().expect("a channel").to_owned(), message["thread_ts"].is_string())
    };
    bot.posts().iter().map(post).collect()
}

/// To whom went mail that is for this test.
pub(super) fn mailed(of: &str) -> Vec<String> {
    let mails = std::fs::read_to_string(smtp().1.join("mail.ndjson")).unwrap_or_default();
    let mails = mails.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let to = mails.flat_map(|mail| mail["to"].as_array().cloned().unwrap_or_default());
    to.filter_map(|to| Some(to.as_str()?.to_owned())).filter(|to| to.contains(of)).collect()
}

#[test]
fn a_team_hears_of_its_own_deployment_where_its_ped_says() {
    let bot = Hook::of("/api/chat.postMessage", any_channel, "{\"ok\":true,\"ts\":\"17.1\"}", 0);
    let world = world(&bot);
    let entry = |number: i64, replicas| {
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        Sample::patch(&format!("team-{number}"), &now, replicas).version(1_000 + number, number).bytes()
    };
    world.register_demo();
    let serve = Serve::start(&world);
    // Its PED names nobody: what stands in for the channel is told, and nothing for the addresses.
    assert!(serve.push(&entry(1, 7)));
    world.quiet();
    assert_eq!((world.heard(), posted(&bot)), (vec!["opened over_limit payments/orders-api 7/6".to_owned()], vec![]));
    register(&world, "{slack: C0PAYMENTS1, email: [one@team23.example.com, two@team23.example.com]}", "now");
    assert!(serve.push(&entry(2, 8)));
    world.quiet();
    assert_eq!(posted(&bot), [("C0PAYMENTS1".to_owned(), false)]);
    assert_eq!(mailed("@team23."), ["one@team23.example.com", "two@team23.example.com"]);
    // Others take it over; a thread of another channel is not theirs.
    register(&world, "{slack: C0ORDERS001, email: three@team23.example.com}", "now");
    assert!(serve.push(&entry(3, 9)));
    assert!(serve.push(&entry(4, 10)));
    world.quiet();
    let channels = ["C0PAYMENTS1", "C0ORDERS001", "C0ORDERS001"].map(str::to_owned).into_iter();
    assert_eq!(posted(&bot), channels.zip([false, false, true]).collect::<Vec<_>>());
    assert_eq!(mailed("three@team23.").len(), 2);
    let alerts = world.json(&["alerts", "payments/orders-api"]);
    let alert = alerts.as_array().expect("alerts").iter().find(|alert| alert["alert_type"] == "over_limit");
    let explained = world.says(&["notify", "explain", alert.expect("an alert")["alert_id"].as_str().expect("an id")]);
    assert!(explained.contains("team_slack: tells the PED's C0ORDERS001"), "{explained}");
    // What the PED says is in its history, and nobody's address is in a log.
    let log = std::fs::read_to_string(world.path("log")).expect("a log");
    assert!(!log.contains("team23.example.com"), "{log}");
    // A try names where.
    let output = world.run(&["notify", "test", "--receiver=team_slack"]);
    assert!(stderr(&output).contains("expected --to"), "{}", stderr(&output));
    assert_eq!(world.says(&["notify", "test", "--receiver=team_slack", "--to=C0ORDERS001"]), "sent\n");
}
