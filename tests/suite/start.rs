//! Starting: what is missing is told once, what may be on its way is waited for.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pedwatch::store::Store;
use pedwatch::store::bigquery::Change;
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr};
use crate::proxy::{Fault, Proxy};
use crate::pubsub::{Subscriber, Subscription, eventually};
use crate::servers::{Dataset, free_address, pubsub};
use crate::support::{Sample, block_on};

/// Runs a command where nobody has credentials, and the metadata server is at this address.
fn without_credentials(args: &[&str], metadata: &str) -> std::process::Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = command();
    command.args(args).env("HOME", home.path()).env("GCE_METADATA_HOST", metadata);
    for variable in ["GOOGLE_APPLICATION_CREDENTIALS", "BIGQUERY_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"] {
        command.env_remove(variable);
    }
    command.env("PEDWATCH_PUSH__AUTH", "platform").env("PORT", free_address().port().to_string());
    command.env("PEDWATCH_CONSUMER__METRICS_PORT", free_address().port().to_string());
    run(&mut command, b"{}")
}

#[test]
fn missing_credentials_are_told_once_within_five_seconds() {
    // One refuses, and one takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addresses = [free_address(), silent.local_addr().expect("an address")].map(|address| address.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = format!("--store=sqlite:{}", folder.path().join("a.db").display());
    let ped = folder.path().join("a.yaml");
    std::fs::write(&ped, crate::support::ped("payments", "orders-api", None, 3)).expect("written");
    let ped = ped.display().to_string();
    let bigquery = "--store=bigquery:acme-prod.pedwatch";
    let subscription = "--subscription=projects/acme-prod/subscriptions/pedwatch";
    let commands = [
        &["ped", "list", bigquery][..],
        &["ped", "history", "payments/orders-api", bigquery],
        &["ped", "register", &ped, "--updated-by=ci", "--reason=test", bigquery],
        &["replay", "-", bigquery],
        &["schema", "check", bigquery],
        &["schema", "apply", bigquery],
        &["quarantine", "list", bigquery],
        &["serve", bigquery],
        &["pull", subscription, bigquery],
        &["pull", subscription, &sqlite],
        &["backfill", "--project=acme-prod", "--from=yesterday", "--to=now", &sqlite],
    ];
    std::thread::scope(|scope| {
        for (args, metadata) in commands.iter().flat_map(|args| addresses.iter().map(move |address| (args, address))) {
            scope.spawn(move || assert_told_once(args, metadata));
        }
    });
}

fn assert_told_once(args: &[&str], metadata: &str) {
    let begun = Instant::now();
    let output = without_credentials(args, metadata);
    let (took, said) = (begun.elapsed(), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(took < Duration::from_secs(5), "{args:?} took {took:?}");
    assert_eq!(said.matches("no credentials").count(), 1, "{args:?}: {said}");
    for way in ["gcloud auth application-default login", "GOOGLE_APPLICATION_CREDENTIALS", "service account"] {
        assert!(said.contains(way), "{args:?}: {said}");
    }
    assert!(said.len() < 1_500 && !said.contains("pulling"), "{args:?}: {said}");
}

#[test]
fn a_subscription_that_cannot_be_one_is_wrong_usage() {
    for name in
        ["pedwatch", "projects/p/topics/t-1", "projects/p/subscriptions/", "projects//subscriptions/abc", "/", "a b"]
    {
        let by_option = run(command().args(["pull", "--subscription", name, "--store=sqlite:never.db"]), b"");
        let by_variable =
            run(command().args(["pull", "--store=sqlite:never.db"]).env("PEDWATCH_PULL__SUBSCRIPTION", name), b"");
        for output in [by_option, by_variable] {
            assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
            assert!(stderr(&output).contains("projects/PROJECT/subscriptions/NAME"), "{}", stderr(&output));
        }
    }
}

/// What is waited for, a line a state.
fn waited_for(log: &str) -> Vec<String> {
    let lines = log.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    lines.filter_map(|line| line["missing"].as_str().map(str::to_owned)).collect()
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

/// As in the first `terraform apply`: the service is there before its grants, and these before the tables.
#[test]
fn a_start_waits_for_what_is_on_its_way_and_says_what() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::unmade().await;
        let proxy = Proxy::new(server, "datasets", &[Fault::AccessDenied]);
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let (port, emulator) = (address.port().to_string(), proxy.address.to_string());
        let env = [("BIGQUERY_EMULATOR_HOST", emulator.as_str()), ("PORT", &port), ("PEDWATCH_PUSH__AUTH", "platform")];
        let begun = Instant::now();
        let subscriber = Subscriber::start(folder.path(), &["serve", &format!("--store=bigquery:{name}")], &env);
        subscriber.says("create the dataset").await;
        let http = reqwest::Client::new();
        let page = |path: &str| http.get(format!("http://{address}{path}"));
        assert_eq!(status(page("/livez")).await, 200, "the port is open at once");
        let ready = page("/readyz").send().await.expect("an answer");
        assert_eq!(ready.status().as_u16(), 503);
        assert_eq!(ready.text().await.expect("text"), "not ready\n", "why is nothing for the outside");
        let (code, why) = subscriber.page("/readyz").await;
        assert!(code == 503 && why.contains("starting") && why.contains("create the dataset"), "{why}");
        let message = Sample::patch("a", "2026-09-04T20:41:03Z", 3).bytes();
        let post = || http.post(format!("http://{address}/pubsub/push")).body(message.clone());
        assert_eq!(status(post()).await, 503, "it comes again");
        tokio::time::sleep(Duration::from_secs(7)).await;
        let waited = waited_for(&subscriber.log());
        assert_eq!(waited.len(), 2, "a line a state: {}", subscriber.log());
        assert!(waited[0].contains("needs roles/bigquery.dataEditor"), "{waited:?}");
        assert!(waited[1].contains("create the dataset"), "{waited:?}");
        for change in store.schema_changes().await.expect("compared") {
            if !matches!(change, Change::ReplaceView(_)) {
                store.apply(&change).await.expect("made");
            }
        }
        subscriber.says("ready for messages").await;
        assert_eq!(status(page("/readyz")).await, 200);
        assert_eq!(status(post()).await, 204);
        store.check().await.expect("whole");
        println!("ready after {:.1?}, {} lines", begun.elapsed(), subscriber.log().lines().count());
    });
}

#[test]
fn a_start_gives_up_when_nothing_comes() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::unmade().await;
        let (folder, emulator) = (tempfile::tempdir().expect("a folder"), server.to_string());
        let env = [
            ("BIGQUERY_EMULATOR_HOST", emulator.as_str()),
            ("PEDWATCH_PUSH__AUTH", "platform"),
            ("PORT", &free_address().port().to_string()),
            ("PEDWATCH_CONSUMER__START_WAIT_SECONDS", "4"),
        ];
        let begun = Instant::now();
        let mut subscriber = Subscriber::start(folder.path(), &["serve", &format!("--store=bigquery:{name}")], &env);
        assert_eq!(subscriber.ended(Duration::from_secs(20)).code(), Some(1));
        assert!(begun.elapsed() > Duration::from_secs(4));
        assert!(subscriber.log().contains("cannot start"), "{}", subscriber.log());
        assert_eq!(subscriber.log().matches("waiting for what may be on its way").count(), 1, "{}", subscriber.log());
    });
}

#[test]
fn nothing_is_said_to_be_pulled_before_the_subscription_is_there() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let name = "projects/acme-prod/subscriptions/made-late";
        let sqlite = format!("--store=sqlite:{}", folder.path().join("a.db").display());
        let subscriber = Subscriber::start(folder.path(), &["pull", "--subscription", name, &sqlite], &[]);
        subscriber.says("there is no such subscription").await;
        assert_eq!((subscriber.page("/livez").await.0, subscriber.page("/readyz").await.0), (200, 503));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!subscriber.log().contains("pulling"), "{}", subscriber.log());
        assert_eq!(waited_for(&subscriber.log()).len(), 1, "{}", subscriber.log());
        let http = reqwest::Client::new();
        let topic = "projects/acme-prod/topics/made-late";
        for (path, body) in [(topic, json!({})), (name, json!({"topic": topic}))] {
            assert_eq!(status(http.put(format!("http://{}/v1/{path}", pubsub())).json(&body)).await, 200);
        }
        subscriber.says("pulling").await;
        assert_eq!(subscriber.page("/readyz").await.0, 200);
    });
}

/// Nothing listens, or somebody does and says nothing: neither is a subscription without messages.
#[test]
fn nothing_is_said_to_be_pulled_where_pubsub_does_not_answer() {
    block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = format!("--store=sqlite:{}", folder.path().join("a.db").display());
        let args = ["pull", "--subscription=projects/acme-prod/subscriptions/pedwatch", &sqlite];
        for address in [free_address(), silent.local_addr().expect("an address")] {
            let address = address.to_string();
            let env = [("PUBSUB_EMULATOR_HOST", address.as_str()), ("PEDWATCH_CONSUMER__START_WAIT_SECONDS", "15")];
            let mut subscriber = Subscriber::start(folder.path(), &args, &env);
            subscriber.says("Pub/Sub does not answer").await;
            assert_eq!(subscriber.page("/readyz").await.0, 503);
            assert_eq!(subscriber.ended(Duration::from_secs(30)).code(), Some(1), "{}", subscriber.log());
            assert!(!subscriber.log().contains("pulling"), "{}", subscriber.log());
        }
    });
}

/// Each message fails, and comes again at once; that is one state.
#[test]
fn a_table_that_is_gone_while_messages_come_is_a_line_a_state() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let subscription = Subscription::pull().await;
        let (folder, emulator) = (tempfile::tempdir().expect("a folder"), server.to_string());
        let args = ["pull", "--subscription", &subscription.name, &format!("--store=bigquery:{name}")];
        let env = [("BIGQUERY_EMULATOR_HOST", emulator.as_str()), ("PEDWATCH_CONSUMER__LIMITS_REFRESH_SECONDS", "2")];
        let subscriber = Subscriber::start(folder.path(), &args, &env);
        subscriber.says("pulling").await;
        for table in ["replica_events", "deployment_config"] {
            let drop = pedwatch::store::query::Query::new(format!("DROP TABLE ${{dataset}}.{table}"), Vec::new());
            store.fetch(&drop).await.expect("dropped");
        }
        let write = |number: i64| {
            Sample::patch(&format!("m{number}"), "2026-09-04T20:41:03Z", 2 + number % 7).version(number, number).bytes()
        };
        subscription.publish(&(1..40).map(write).collect::<Vec<_>>()).await;
        let retried = async || {
            let metrics = subscriber.page("/metrics").await.1;
            let lines = metrics.lines().filter(|line| line.starts_with("pedwatch_messages_total{outcome=\"retried\""));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
        };
        eventually("many have failed", async || retried().await > 100).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let (failed, lines) = (retried().await, subscriber.log().lines().count());
        assert!(lines < 20, "{lines} lines for {failed} failures: {}", subscriber.log());
        println!("{failed} failures, {lines} lines in all");
    });
}
