//! Each receiver against what it demands: a strict stand-in, or the real server.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pedwatch::names::Named;
use pedwatch::notify::message::{Besides, Message};
use pedwatch::notify::receiver::Receiver;
use pedwatch::notify::receiver::alertmanager::Alertmanager;
use pedwatch::notify::receiver::email::{Email, Security, Server};
use pedwatch::notify::receiver::google_chat::GoogleChat;
use pedwatch::notify::receiver::pagerduty::PagerDuty;
use pedwatch::notify::receiver::pubsub::PubSub;
use pedwatch::notify::receiver::slack::Slack;
use pedwatch::notify::template::{Form, Language, Templates};
use serde_json::{Value as Json, json};

use super::messages::standing;
use super::sending::{Hook, Post};
use super::*;
use crate::pubsub::Subscription;
use crate::servers::{free_address, pubsub, smtp};

type Headers = HashMap<String, String>;

const REFUSED: &str = "400 Bad Request\r\n";

/// A notice of an incident, in the words that a receiver is told.
fn worded(form: Form, kind: Kind, seq: u32, value: i64) -> Notice {
    let step = Step {
        standing: Some(standing("<!channel>\r\nBcc: all@example.com")),
        value: Some(value),
        ..step("i1", kind, seq)
    };
    let deployment = deployment("<users/all>");
    let message = Message::new(&step, &deployment, Besides::default(), now());
    let body = Templates::new(Language::English, chrono_tz::Tz::UTC).expect("built in").render(form, &message);
    Notice::new(&step, &deployment, "hook", body.expect("rendered"), now())
}

/// An incident's course as a receiver is told it: each notice with those that were sent before.
async fn tell(receiver: &dyn Receiver, form: Form, course: &[(Kind, i64)]) -> Vec<Notice> {
    let mut sent = Vec::new();
    for (index, (kind, value)) in course.iter().enumerate() {
        let mut notice = worded(form, *kind, index as u32 + 1, *value);
        match receiver.send(&notice, &sent, Utc::now()).await {
            Outcome::Sent { provider_ref } => notice.progress.provider_ref = provider_ref,
            other => panic!("{kind}: {other:?}"),
        }
        notice.progress.state = State::Sent;
        sent.push(notice);
    }
    sent
}

const COURSE: [(Kind, i64); 3] = [(Kind::Opened, 8), (Kind::Worsened, 9), (Kind::Recovered, 9)];

fn post(body: String) -> Post {
    Post { id: String::new(), unsure: false, body }
}

fn bodies(hook: &Hook) -> Vec<Json> {
    hook.posts().iter().map(|post| serde_json::from_str(&post.body).expect("JSON")).collect()
}

/// As `chat.postMessage` demands.
fn bot(headers: &Headers, body: String) -> Result<Post, &'static str> {
    const NOT_AUTHED: &str = "200 OK\r\n|{\"ok\":false,\"error\":\"invalid_auth\"}";
    const INVALID: &str = "200 OK\r\n|{\"ok\":false,\"error\":\"invalid_arguments\"}";
    if headers.get("authorization").map(String::as_str) != Some("Bearer xoxb-s3cret") {
        return Err(NOT_AUTHED);
    }
    let message: Json = serde_json::from_str(&body).map_err(|_| INVALID)?;
    let is_section =
        |block: &Json| block["text"]["text"].as_str().is_some_and(|text| (1..=3000).contains(&text.chars().count()));
    let is_valid = message["channel"] == "C0123456789"
        && message["text"].as_str().is_some_and(|text| !text.is_empty() && !text.contains("<!"))
        && message["blocks"].as_array().is_some_and(|blocks| blocks.iter().all(is_section))
        && message["metadata"]["event_payload"].is_object();
    if is_valid { Ok(post(body)) } else { Err(INVALID) }
}

#[test]
fn a_bot_of_slack_keeps_an_incident_in_a_thread() {
    block_on(async {
        let hook =
            Hook::of("/api/chat.postMessage", bot, "{\"ok\":true,\"ts\":\"17.1\",\"channel\":\"C0123456789\"}", 0);
        let endpoint = format!("http://{}", hook.address);
        let slack = |token: &str| {
            Slack::new(Some(&endpoint), token.to_owned(), Some("C0123456789".to_owned())).expect("a client")
        };
        tell(&slack("xoxb-s3cret"), Form::Slack, &COURSE).await;
        let told: Vec<[Json; 2]> =
            bodies(&hook).iter().map(|body| [body["thread_ts"].clone(), body["reply_broadcast"].clone()]).collect();
        let thread = json!("17.1");
        assert_eq!(told, [[Json::Null, Json::Null], [thread.clone(), json!(true)], [thread, json!(false)]]);
        let notice = worded(Form::Slack, Kind::Opened, 1, 8);
        let refused = slack("xoxb-other").send(&notice, &[], Utc::now()).await;
        assert_eq!(refused, Outcome::Refused { why: "it answers invalid_auth".to_owned() });
        for (answer, after) in [
            ("200 OK\r\n|{\"ok\":false,\"error\":\"ratelimited\"}", None),
            ("429 Too Many Requests\r\nretry-after: 30\r\n", Some(Duration::seconds(30))),
        ] {
            hook.plan(answer);
            let found = slack("xoxb-s3cret").send(&notice, &[], Utc::now()).await;
            assert!(matches!(found, Outcome::Later { after: found, unsure: false, .. } if found == after), "{found:?}");
        }
    });
}

/// As the Events API v2 demands.
fn pager(_: &Headers, body: String) -> Result<Post, &'static str> {
    let event: Json = serde_json::from_str(&body).map_err(|_| REFUSED)?;
    let is_key = |text: &Json| text.as_str().is_some_and(|text| (1..=255).contains(&text.len()));
    let payload = &event["payload"];
    let is_triggered = payload["summary"].as_str().is_some_and(|text| (1..=1024).contains(&text.chars().count()))
        && payload["source"].as_str().is_some_and(|text| !text.is_empty())
        && ["critical", "error", "warning", "info"].iter().any(|known| payload["severity"] == *known)
        && event["links"].as_array().is_some_and(|links| links.iter().all(|link| link["href"].is_string()));
    let is_valid = event["routing_key"].as_str().is_some_and(|key| key.len() == 32)
        && is_key(&event["dedup_key"])
        && (event["event_action"] == "resolve" || event["event_action"] == "trigger" && is_triggered);
    if is_valid { Ok(post(body)) } else { Err(REFUSED) }
}

#[test]
fn pagerduty_rings_again_where_it_gets_worse_and_is_left_with_nothing_open() {
    block_on(async {
        let hook = Hook::of("/v2/enqueue", pager, "", 0);
        let endpoint = format!("http://{}", hook.address);
        let pager = |key: &str| PagerDuty::new(Some(&endpoint), key.to_owned()).expect("a client");
        tell(&pager(&"k".repeat(32)), Form::Text, &COURSE).await;
        let text = |event: &Json, name: &str| event[name].as_str().expect("text").to_owned();
        let told: Vec<String> = bodies(&hook)
            .iter()
            .map(|event| format!("{} {}", text(event, "event_action"), text(event, "dedup_key")))
            .collect();
        assert_eq!(told, ["trigger i1", "trigger i1/2", "resolve i1", "resolve i1/2"]);
        let summary = &bodies(&hook)[1]["payload"]["summary"];
        assert!(
            summary.as_str().is_some_and(|text| text.contains("now asks for 9 replicas, over its limit of 5")),
            "{summary}"
        );
        let mut digest = worded(Form::Text, Kind::Digest, 1, 8);
        digest.content.deployment = Deployment::default();
        let sent = pager(&"k".repeat(32)).send(&digest, &[], Utc::now()).await;
        assert!(matches!(sent, Outcome::Sent { .. }), "a digest that fell back: {sent:?}");
        let notice = worded(Form::Text, Kind::Opened, 1, 8);
        assert!(matches!(pager("short").send(&notice, &[], Utc::now()).await, Outcome::Refused { .. }));
    });
}

/// As Chat demands of an incoming webhook, and nobody is rung by a name.
fn chat(headers: &Headers, body: String) -> Result<Post, &'static str> {
    let path = headers.get(":path").ok_or(REFUSED)?;
    let message: Json = serde_json::from_str(&body).map_err(|_| REFUSED)?;
    let is_valid = ["key=k", "token=t", "messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD", "requestId="]
        .iter()
        .all(|part| path.contains(part))
        && body.len() <= 32_000
        && message["text"].as_str().is_some_and(|text| !text.is_empty() && !text.contains("<users/"))
        && message["thread"]["threadKey"] == "i1";
    if is_valid { Ok(post(path.clone())) } else { Err(REFUSED) }
}

#[test]
fn google_chat_keeps_an_incident_in_a_thread_and_a_name_rings_nobody() {
    block_on(async {
        let hook = Hook::of("/v1/spaces/A/messages", chat, "{}", 0);
        let chat =
            GoogleChat::new(&format!("http://{}/v1/spaces/A/messages?key=k&token=t", hook.address)).expect("a client");
        tell(&chat, Form::Text, &COURSE).await;
        // The same notice has the same id, so that a copy is none.
        chat.send(&worded(Form::Text, Kind::Opened, 1, 8), &[], Utc::now()).await;
        let paths: Vec<String> = hook.posts().into_iter().map(|post| post.body).collect();
        assert_eq!(paths[0], paths[3]);
        assert_ne!(paths[0], paths[1]);
        assert_eq!(GoogleChat::new("no url").expect_err("no URL"), "expected the URL of an incoming webhook");
    });
}

#[test]
fn a_topic_gets_each_notice_with_what_one_filters_by() {
    block_on(async {
        let subscription = Subscription::pull().await;
        let emulator = format!("http://{}", pubsub());
        let topic = |name: &str| PubSub::new(Some(&emulator), name, true).expect("a client");
        let sent = tell(&topic(&subscription.topic), Form::Text, &COURSE).await;
        // Another attempt has the same id, and says that it may be a copy.
        let mut copy = sent[0].clone();
        copy.progress.unsure = true;
        topic(&subscription.topic).send(&copy, &[], Utc::now()).await;
        let taken = subscription.take(4).await;
        for ((data, attributes), notice) in taken.iter().zip(sent.iter().chain([&copy])) {
            assert_eq!(*data, notice.content.body);
            let expected = json!({
                "notification_id": notice.notification_id, "incident_id": "i1", "kind": notice.content.kind.to_string(),
                "rule": "over_limit", "severity": "critical", "project": "acme-prod", "location": "europe-west1",
                "cluster": "prod-1", "namespace": "payments", "deployment": "<users/all>",
                "unsure": notice.progress.unsure.to_string(),
            });
            assert_eq!(*attributes, expected);
            assert!(notice.progress.provider_ref.is_some(), "a name that Pub/Sub gave");
        }
        let missing = topic("projects/acme-prod/topics/nowhere").send(&copy, &[], Utc::now()).await;
        assert!(matches!(&missing, Outcome::Refused { why } if why.contains("404")), "{missing:?}");
        let nobody = format!("http://{}", free_address());
        let found = PubSub::new(Some(&nobody), &subscription.topic, true).expect("a client");
        let found = found.send(&copy, &[], Utc::now()).await;
        assert!(matches!(found, Outcome::Later { unsure: false, .. }), "{found:?}");
    });
}

/// A real Alertmanager, and who it tells.
struct Alerting {
    child: Child,
    url: String,
    told: Hook,
    _folder: tempfile::TempDir,
}

impl Drop for Alerting {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Alerting {
    fn start() -> Self {
        fn any(_: &Headers, body: String) -> Result<Post, &'static str> {
            Ok(post(body))
        }
        let (told, folder, address) =
            (Hook::of("/hook", any, "", 0), tempfile::tempdir().expect("a folder"), free_address());
        let config = format!(
            "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
            told.url()
        );
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, config).expect("written");
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let child = Command::new("prometheus-alertmanager")
            .args([
                flag("config.file", &file),
                flag("storage.path", folder.path()),
                "--cluster.listen-address=".to_owned(),
            ])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager is needed: see tests/servers/setup.sh");
        let url = format!("http://{address}");
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begun.elapsed().as_secs() < 60, "Alertmanager does not answer");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Alerting { child, url, told, _folder: folder }
    }

    /// Waits until somebody was told so many things, and tells them: what, and whether it is over.
    fn heard(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        while self.told.posts().len() < count && begun.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let said = |body: &Json| {
            let alert = &body["alerts"][0];
            let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            let labels = ["alertname", "deployment", "told"].map(|label| text(&alert["labels"][label]));
            format!("{} {}", text(&alert["status"]), labels.join(" ")).trim().to_owned()
        };
        let mut heard: Vec<String> = bodies(&self.told).iter().map(said).collect();
        heard.sort();
        heard
    }
}

#[test]
fn alertmanager_rings_once_again_where_it_gets_worse_and_when_it_is_over() {
    let alerting = Alerting::start();
    block_on(async {
        let receiver = Alertmanager::new(&alerting.url).expect("a client");
        let sent = tell(&receiver, Form::Text, &COURSE[..1]).await;
        const FIRST: &str = "DeploymentOverLimit <users/all>";
        assert_eq!(alerting.heard(1), [format!("firing {FIRST}")]);
        // The same again rings nobody.
        receiver.send(&sent[0], &[], Utc::now()).await;
        let course = |kind, seq, value, told: Option<&str>| {
            let mut notice = worded(Form::Text, kind, seq, value);
            notice.progress.provider_ref = told.map(str::to_owned);
            notice
        };
        let [worse, worst] = [(2, 9), (3, 12)].map(|(seq, value)| course(Kind::Worsened, seq, value, None));
        let found = receiver.send(&worse, &sent, Utc::now()).await;
        assert_eq!(found, Outcome::Sent { provider_ref: Some("9".to_owned()) });
        let mut expected = vec![format!("firing {FIRST}"), format!("firing {FIRST} 9")];
        assert_eq!(alerting.heard(2), expected);
        let mut sent = vec![sent[0].clone(), course(Kind::Worsened, 2, 9, Some("9"))];
        receiver.send(&worst, &sent, Utc::now()).await;
        expected.extend([format!("firing {FIRST} 12"), format!("resolved {FIRST} 9")]);
        expected.sort();
        assert_eq!(alerting.heard(4), expected);
        sent.push(course(Kind::Worsened, 3, 12, Some("12")));
        receiver.send(&course(Kind::Recovered, 4, 12, None), &sent, Utc::now()).await;
        expected.extend([format!("resolved {FIRST}"), format!("resolved {FIRST} 12")]);
        expected.sort();
        assert_eq!(alerting.heard(6), expected);
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(alerting.heard(6).len(), 6);
    });
}

/// A real Prometheus with the rules of `watch`, which tells an Alertmanager by what a page says.
struct Watching {
    child: Child,
    page: Arc<std::sync::Mutex<String>>,
    _folder: tempfile::TempDir,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Watching {
    fn start(alertmanager: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let page: Arc<std::sync::Mutex<String>> = Arc::default();
        let watched = serve_page(Arc::clone(&page));
        let rules = crate::support::root().join("deploy/prometheus/watch.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
             scrape_configs: [{{job_name: watch, honor_labels: true, static_configs: [{{targets: ['{watched}']}}]}}]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
            rules.display(),
            alertmanager.trim_start_matches("http://"),
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is needed: see tests/servers/setup.sh");
        Watching { child, page, _folder: folder }
    }

    /// What `pedwatch watch` would say of these Deployments: how many replicas they ask for, of 5.
    fn says(&self, deployments: &[(&str, i64)]) {
        let line = |metric: &str, name: &str, value: i64| {
            format!(
                "{metric}{{project=\"acme-prod\",location=\"europe-west1\",cluster=\"prod-1\",namespace=\"payments\",\
                 deployment=\"{name}\"}} {value}\n"
            )
        };
        let lines = deployments.iter().map(|(name, replicas)| {
            ["desired", "actual"].map(|what| line(&format!("deployment_replicas_{what}"), name, *replicas)).concat()
                + &line("deployment_replicas_max", name, 5)
        });
        *self.page.lock().expect("a page") = lines.collect();
    }
}

/// A page that says what it is told to.
fn serve_page(page: Arc<std::sync::Mutex<String>>) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let _ = connection.read(&mut [0; 4096]);
            let body = page.lock().expect("a page").clone();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            let _ = write!(connection, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

/// Whoever sees it first.
#[test]
fn a_breach_that_prometheus_and_pedwatch_see_rings_once() {
    let alerting = Alerting::start();
    let watching = Watching::start(&alerting.url);
    let told = |name: &str, kind, seq| {
        let step = step("i1", kind, seq);
        Notice::new(&step, &deployment(name), "alertmanager", format!("{name} is over"), Utc::now())
    };
    watching.says(&[("watched-first", 8)]);
    assert_eq!(alerting.heard(1), ["firing DeploymentOverLimit watched-first"]);
    block_on(async {
        let receiver = Alertmanager::new(&alerting.url).expect("a client");
        let send = async |notice: &Notice, earlier: &[Notice]| {
            let found = receiver.send(notice, earlier, Utc::now()).await;
            assert_eq!(found, Outcome::Sent { provider_ref: Some(String::new()) });
        };
        let names = ["watched-first", "told-first"];
        let opened = names.map(|name| told(name, Kind::Opened, 1));
        send(&opened[0], &[]).await;
        send(&opened[1], &[]).await;
        let both = ["firing DeploymentOverLimit told-first", "firing DeploymentOverLimit watched-first"];
        assert_eq!(alerting.heard(2), both);
        watching.says(&[("watched-first", 8), ("told-first", 8)]);
        std::thread::sleep(std::time::Duration::from_secs(5));
        assert_eq!(alerting.heard(2), both, "nobody is rung again");
        // It is over: Prometheus sees it at once, and pedwatch tells it a little later.
        watching.says(&[("watched-first", 3), ("told-first", 3)]);
        assert_eq!(alerting.heard(4).len(), 4);
        for (name, opened) in names.iter().zip(&opened) {
            send(&told(name, Kind::Recovered, 2), std::slice::from_ref(opened)).await;
        }
    });
    std::thread::sleep(std::time::Duration::from_secs(4));
    let all = ["told-first", "watched-first"];
    let said = |status: &str| all.map(|name| format!("{status} DeploymentOverLimit {name}"));
    assert_eq!(alerting.heard(4), [said("firing"), said("resolved")].concat());
}

/// The rules of `watch` are called as what pedwatch tells, and are as severe.
#[test]
fn the_rules_of_watch_are_named_as_what_is_told() {
    use pedwatch::notify::receiver::alertmanager::alertname;
    let rules = std::fs::read_to_string(crate::support::root().join("deploy/prometheus/watch.yaml")).expect("readable");
    let severities = pedwatch::config::Config::load(None, []).expect("defaults").policy.severity;
    for rule in [AlertType::OverLimit, AlertType::Unregistered] {
        let name = alertname(rule);
        let (_, text) = rules.split_once(&format!("alert: {name}\n")).expect("a rule of that name");
        let (_, severity) = text.split_once("labels: {severity: ").expect("a severity");
        assert_eq!(severity.split('}').next(), severities.get(rule).map(|severity| severity.as_str()), "{name}");
    }
    assert!(rules.contains(&format!("alert: {}\n", alertname(AlertType::RunningOver))));
    assert_eq!(alertname(AlertType::UnknownValue), "DeploymentUnknownValue");
}

#[test]
fn mail_goes_by_starttls_with_a_password_and_a_name_forges_no_header() {
    let (port, folder) = smtp();
    block_on(async {
        let authorities = Some(std::fs::read(folder.join("ca.pem")).expect("a CA"));
        let server = |password: &str, authorities: &Option<Vec<u8>>| Server {
            host: "localhost".to_owned(),
            port,
            security: Security::StartTls,
            login: Some(("pedwatch".to_owned(), password.to_owned())),
            authorities: authorities.clone(),
        };
        let email = |server: &Server, to: &str| {
            let from = "pedwatch <pedwatch@example.com>".parse().expect("an address");
            let to = to.split(", ").map(|to| to.parse().expect("an address")).collect();
            Email::new(server, from, to).expect("a client")
        };
        let good = server("s3cret", &authorities);
        let sent = tell(&email(&good, "Platform <platform@example.com>"), Form::Text, &COURSE).await;
        let mails = std::fs::read_to_string(folder.join("mail.ndjson")).expect("mail");
        let mut mails: Vec<Json> = mails.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        // Other tests send mail too.
        mails.retain(|mail| mail["to"] == json!(["platform@example.com"]));
        assert_eq!(mails.len(), 3);
        for (mail, notice) in mails.iter().zip(&sent) {
            let data = mail["data"].as_str().expect("text");
            let (head, _) = data.split_once("\r\n\r\n").expect("a head");
            assert!(!head.to_ascii_lowercase().contains("\nbcc:"), "{head}");
            assert!(head.contains(&format!("Message-ID: <{}@example.com>", notice.notification_id)), "{head}");
            assert!(
                head.contains("In-Reply-To: <i1@example.com>") && head.contains("Auto-Submitted: auto-generated"),
                "{head}"
            );
            assert!(data.contains("text/plain") && data.contains("text/html"), "{data}");
            assert_eq!(mail["to"], json!(["platform@example.com"]));
        }
        let notice = worded(Form::Text, Kind::Opened, 1, 8);
        let unknown = email(&good, "unknown@example.com").send(&notice, &[], Utc::now()).await;
        assert!(matches!(&unknown, Outcome::Refused { why } if why.contains("550")), "{unknown:?}");
        // An address that is gone silences nobody else.
        let some = email(&good, "unknown@example.com, platform@example.com").send(&notice, &[], Utc::now()).await;
        assert_eq!(some, Outcome::Sent { provider_ref: None });
        let mails = std::fs::read_to_string(folder.join("mail.ndjson")).expect("mail");
        assert_eq!(mails.lines().count(), 4);
        let busy = email(&good, "busy@example.com");
        let found = busy.send(&notice, &[], Utc::now()).await;
        assert!(matches!(found, Outcome::Later { unsure: false, .. }), "{found:?}");
        assert_eq!(busy.send(&notice, &[], Utc::now()).await, Outcome::Sent { provider_ref: None });
        let refused =
            email(&server("wrong", &authorities), "platform@example.com").send(&notice, &[], Utc::now()).await;
        assert!(
            matches!(&refused, Outcome::Refused { why } if why.contains("535") && !why.contains("wrong")),
            "{refused:?}"
        );
        // Nobody is given a password who is not trusted.
        let strange = email(&server("s3cret", &None), "platform@example.com").send(&notice, &[], Utc::now()).await;
        assert!(matches!(strange, Outcome::Later { unsure: false, .. }), "{strange:?}");
        let nobody = Server { port: free_address().port(), ..good };
        let found = email(&nobody, "platform@example.com").send(&notice, &[], Utc::now()).await;
        assert!(matches!(found, Outcome::Later { unsure: false, .. }), "{found:?}");
    });
}
