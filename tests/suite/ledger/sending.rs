//! A strict receiver of webhooks: it refuses what Standard Webhooks refuse.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard};

use pedwatch::notify::message::{Besides, Message};
use pedwatch::notify::receiver::Receiver;
use pedwatch::notify::receiver::slack_webhook::SlackWebhook;
use pedwatch::notify::receiver::webhook::{Secret, Webhook};
use pedwatch::notify::sender::Sender;
use pedwatch::notify::template::{Form, Language, Templates};

use super::messages::standing;
use super::*;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A POST that was signed as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    pub id: String,
    pub unsure: bool,
    pub body: String,
}

/// A server that takes webhooks. It serves until the process ends.
pub struct Hook {
    pub address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    /// What it answers next: a status and headers; 200 when nothing is planned.
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Hook {
    /// One that takes its time: so many milliseconds at most between having a POST and answering it.
    pub fn new(slow_ms: u64) -> Self {
        Self::of("/hook", post, "", slow_ms)
    }

    /// One that takes what Slack takes of an incoming webhook.
    pub fn slack() -> Self {
        Self::of("/hook", slack_post, "", 0)
    }

    /// One that takes what passes a check under a path, and answers with a body.
    pub fn of(path: &'static str, check: Check, body: &'static str, slow_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hook = Hook { address, posts: Arc::default(), answers: Arc::default() };
        let (posts, answers) = (Arc::clone(&hook.posts), Arc::clone(&hook.answers));
        std::thread::spawn(move || {
            for (number, connection) in listener.incoming().enumerate() {
                let (posts, answers) = (Arc::clone(&posts), Arc::clone(&answers));
                let wait = std::time::Duration::from_millis(number as u64 * 7919 % (slow_ms + 1));
                std::thread::spawn(move || {
                    serve(connection.expect("a connection"), (path, check, body), &posts, &answers, wait)
                });
            }
        });
        hook
    }

    pub fn posts(&self) -> Vec<Post> {
        lock(&self.posts).clone()
    }

    /// What it answers next: a status, and headers.
    pub fn plan(&self, answer: &'static str) {
        lock(&self.answers).push_back(answer);
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

/// Whoever sends may be killed in the middle: what was not whole was nothing.
fn serve(
    connection: TcpStream,
    (path, check, answered): (&str, Check, &str),
    posts: &Mutex<Vec<Post>>,
    answers: &Mutex<VecDeque<&'static str>>,
    wait: std::time::Duration,
) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let asked = line.strip_prefix("POST ").and_then(|line| line.strip_suffix(" HTTP/1.1\r\n")).unwrap_or_default();
    let is_ours = asked.split('?').next() == Some(path);
    let mut headers = HashMap::from([(":path".to_owned(), asked.to_owned())]);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let planned = lock(answers).pop_front();
    let accepted = format!("200 OK\r\n|{answered}");
    let answer = match check(&headers, body) {
        _ if !is_ours => "404 Not Found\r\n",
        Err(refusal) => refusal,
        Ok(_) if planned.is_some() => planned?,
        Ok(post) => {
            lock(posts).push(post);
            accepted.as_str()
        }
    };
    let (head, body) = answer.split_once('|').unwrap_or((answer, ""));
    std::thread::sleep(wait);
    write!(&connection, "HTTP/1.1 {head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

/// What a server demands: the POST, or the answer that refuses it.
pub type Check = fn(&HashMap<String, String>, String) -> Result<Post, &'static str>;

/// As Standard Webhooks demand.
fn post(headers: &HashMap<String, String>, body: String) -> Result<Post, &'static str> {
    let found = || {
        let id = headers.get("webhook-id")?.clone();
        let timestamp: i64 = headers.get("webhook-timestamp")?.parse().ok()?;
        let is_recent = (Utc::now().timestamp() - timestamp).abs() < 300;
        let signature = Secret::read(SECRET).ok()?.sign(&id, timestamp, &body);
        let is_signed = headers.get("webhook-signature")?.split(' ').any(|one| one == signature);
        let is_json = headers.get("content-type")? == "application/json"
            && serde_json::from_str::<serde_json::Value>(&body).is_ok();
        let unsure = headers.get("pedwatch-unsure")?.parse().ok()?;
        (is_recent && is_signed && is_json).then_some((id, unsure))
    };
    let (id, unsure) = found().ok_or("400 Bad Request\r\n")?;
    Ok(Post { id, unsure, body })
}

/// As Slack demands of an incoming webhook, and nobody is rung by a name.
fn slack_post(_: &HashMap<String, String>, body: String) -> Result<Post, &'static str> {
    const INVALID_PAYLOAD: &str = "400 Bad Request\r\nx-slack-error: invalid_payload\r\n";
    let message: serde_json::Value = serde_json::from_str(&body).map_err(|_| INVALID_PAYLOAD)?;
    let text = message["text"]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or("400 Bad Request\r\nx-slack-error: no_text\r\n")?;
    let blocks = message["blocks"].as_array().ok_or(INVALID_PAYLOAD)?;
    let is_section = |block: &serde_json::Value| {
        let text = block["text"]["text"].as_str().unwrap_or_default();
        block["type"] == "section" && block["text"]["type"] == "mrkdwn" && (1..=3000).contains(&text.chars().count())
    };
    let rings = ["<!", "<@", "<#"].iter().any(|mark| text.contains(mark));
    if blocks.is_empty()
        || blocks.len() > 50
        || !blocks.iter().all(is_section)
        || rings
        || text.chars().count() > 40_000
    {
        return Err("400 Bad Request\r\nx-slack-error: invalid_blocks\r\n");
    }
    Ok(Post { id: String::new(), unsure: text.starts_with("(again: "), body: text.to_owned() })
}

pub(super) fn webhook(url: String, secret: &str) -> Webhook {
    Webhook::new(url, Secret::read(secret).expect("a secret")).expect("a client")
}

/// What sends to a hook.
pub(super) fn sender(ledger: Arc<dyn Ledger>, url: String, owner: &str, patience: Patience) -> Sender {
    let receiver = Arc::new(webhook(url, SECRET));
    Sender { ledger, name: "hook".to_owned(), receiver, owner: owner.to_owned(), patience }
}

#[test]
fn a_webhook_is_signed_and_what_its_answer_means_is_obeyed() {
    block_on(async {
        let hook = Hook::new(0);
        let receiver = webhook(hook.url(), SECRET);
        let notice = notice("i1", Kind::Opened, 1);
        assert_eq!(receiver.send(&notice, &[], Utc::now()).await, Outcome::Sent { provider_ref: None });
        let expected = Post { id: notice.notification_id.clone(), unsure: false, body: notice.content.body.clone() };
        assert_eq!(hook.posts(), [expected]);
        let after = |seconds| Some(Duration::seconds(seconds));
        for (answer, expected) in [
            ("408 Request Timeout\r\n", Some((None, false))),
            ("429 Too Many Requests\r\nretry-after: 17\r\n", Some((after(17), false))),
            ("503 Service Unavailable\r\nretry-after: 3\r\n", Some((after(3), true))),
            ("502 Bad Gateway\r\n", Some((None, true))),
            ("301 Moved Permanently\r\nlocation: http://127.0.0.1:1/\r\n", None),
            ("404 Not Found\r\n", None),
        ] {
            lock(&hook.answers).push_back(answer);
            match (receiver.send(&notice, &[], Utc::now()).await, expected) {
                (Outcome::Later { after, unsure, .. }, Some(expected)) => {
                    assert_eq!((after, unsure), expected, "{answer}")
                }
                (Outcome::Refused { why }, None) => assert!(why.starts_with("it answers "), "{why}"),
                (found, _) => panic!("{answer}: {found:?}"),
            }
        }
        // Another secret, or nobody there: the URL, which may hold a secret, is not told.
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(matches!(webhook(hook.url(), other).send(&notice, &[], Utc::now()).await, Outcome::Refused { .. }));
        let nobody = crate::servers::free_address();
        let found = webhook(format!("http://{nobody}/s3cret"), SECRET).send(&notice, &[], Utc::now()).await;
        let Outcome::Later { why, unsure: false, .. } = found else { panic!("{found:?}") };
        assert!(!why.contains("s3cret"), "{why}");
    });
}

#[test]
fn slack_takes_what_is_told_and_a_name_rings_nobody() {
    let mut step = step("i1", Kind::Opened, 1);
    step.standing = Some(standing("<!channel> & <@U1>\r\nBcc: all"));
    let deployment = deployment("<!here>");
    let templates = Templates::new(Language::English, chrono_tz::Tz::UTC).expect("built in");
    let owner = Some(format!("<!everyone>{}", "&".repeat(2000)));
    let message = Message::new(&step, &deployment, Besides { owner, ..Besides::default() }, now());
    let body = templates.render(Form::Slack, &message).expect("rendered");
    let mut notice = Notice::new(&step, &deployment, "slack", body, now());
    block_on(async {
        let hook = Hook::slack();
        let slack = SlackWebhook::new(hook.url()).expect("a client");
        assert_eq!(slack.send(&notice, &[], Utc::now()).await, Outcome::Sent { provider_ref: None });
        notice.progress.unsure = true;
        assert_eq!(slack.send(&notice, &[], Utc::now()).await, Outcome::Sent { provider_ref: None });
        let posts = hook.posts();
        assert_eq!((posts[0].unsure, posts[1].unsure), (false, true));
        assert!(
            posts[0]
                .body
                .starts_with("🔴 *payments/&lt;!here&gt;* asks for 8 replicas, over its limit of 5 (before: 3).\n")
        );
        assert!(
            posts[0]
                .body
                .contains("By &lt;!channel&gt; &amp; &lt;@U1&gt;\\u{d}\\u{a}Bcc: all at 2026-09-04 20:41 UTC.\n"),
            "{}",
            posts[0].body
        );
        assert!(posts[0].body.ends_with('…'));
        // What is wrong for good, and what Slack asks to wait.
        for (answer, is_final) in [
            ("410 Gone\r\n", true),
            ("403 Forbidden\r\n", true),
            ("429 Too Many Requests\r\nretry-after: 30\r\n", false),
        ] {
            lock(&hook.answers).push_back(answer);
            match slack.send(&notice, &[], Utc::now()).await {
                Outcome::Refused { .. } => assert!(is_final, "{answer}"),
                Outcome::Later { after, .. } => {
                    assert_eq!((is_final, after), (false, Some(Duration::seconds(30))), "{answer}")
                }
                Outcome::Sent { .. } => panic!("{answer}"),
            }
        }
    });
}
