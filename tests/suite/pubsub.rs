//! A topic and its subscription on Google's emulator, and the real binary at their end.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::{Value as Json, json};

use crate::cli::command;
use crate::servers::{free_address, pubsub};

/// A topic with one subscription.
pub struct Subscription {
    http: Client,
    pub topic: String,
    pub name: String,
}

impl Subscription {
    /// One to pull from.
    pub async fn pull() -> Self {
        Self::with(json!({})).await
    }

    /// One to pull from, which confirms acknowledgements.
    pub async fn exactly_once() -> Self {
        Self::with(json!({"enableExactlyOnceDelivery": true})).await
    }

    /// One that posts to this server.
    pub async fn push(endpoint: &str) -> Self {
        Self::with(json!({"pushConfig": {"pushEndpoint": endpoint}})).await
    }

    async fn with(more: Json) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let http = Client::new();
        let topic = format!("projects/acme-prod/topics/audit-{number}");
        let name = format!("projects/acme-prod/subscriptions/pedwatch-{number}");
        let subscription = Subscription { http, topic, name };
        subscription.call("PUT", &subscription.topic, &json!({})).await;
        let retry = json!({"minimumBackoff": "0.1s", "maximumBackoff": "1s"});
        let mut body = json!({"topic": subscription.topic, "ackDeadlineSeconds": 10, "retryPolicy": retry});
        let body_members = body.as_object_mut().expect("an object");
        body_members.extend(more.as_object().expect("an object").clone());
        subscription.call("PUT", &subscription.name, &body).await;
        subscription
    }

    /// Publishes each of these.
    pub async fn publish(&self, messages: &[impl AsRef<[u8]>]) {
        for batch in messages.chunks(500) {
            let messages: Vec<Json> =
                batch.iter().map(|message| json!({"data": STANDARD.encode(message.as_ref())})).collect();
            self.call("POST", &format!("{}:publish", self.topic), &json!({"messages": messages})).await;
        }
    }

    /// How many messages a pull still finds; they stay for whoever comes next.
    pub async fn left(&self) -> usize {
        let (path, body) = (format!("{}:pull", self.name), json!({"maxMessages": 100, "returnImmediately": true}));
        self.call("POST", &path, &body).await["receivedMessages"].as_array().map_or(0, Vec::len)
    }

    /// Waits for so many messages, and takes them: data and attributes, in the order in which they were published.
    pub async fn take(&self, count: usize) -> Vec<(String, Json)> {
        let begun = Instant::now();
        let mut taken: Vec<(String, String, Json)> = Vec::new();
        while taken.len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} messages came", taken.len());
            let (path, body) = (format!("{}:pull", self.name), json!({"maxMessages": 100}));
            let pulled = self.call("POST", &path, &body).await;
            let received = pulled["receivedMessages"].as_array().cloned().unwrap_or_default();
            let acks: Vec<&Json> = received.iter().map(|one| &one["ackId"]).collect();
            if !acks.is_empty() {
                self.call("POST", &format!("{}:acknowledge", self.name), &json!({"ackIds": acks})).await;
            }
            taken.extend(received.iter().map(|one| {
                let message = &one["message"];
                let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
                let data = STANDARD.decode(text("data")).expect("base64");
                (text("publishTime"), String::from_utf8(data).expect("UTF-8"), message["attributes"].clone())
            }));
        }
        taken.sort_by(|left, right| left.0.cmp(&right.0));
        taken.into_iter().map(|(_, data, attributes)| (data, attributes)).collect()
    }

    async fn call(&self, method: &str, path: &str, body: &Json) -> Json {
        let url = format!("http://{}/v1/{path}", pubsub());
        let request = self.http.request(method.parse().expect("a method"), url).body(body.to_string());
        let answer = request.header("content-type", "application/json").send().await.expect("the emulator");
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap_or_default());
        answer.json().await.expect("JSON")
    }
}

/// A running `pedwatch serve` or `pedwatch pull`.
pub struct Subscriber {
    child: Child,
    log: PathBuf,
    pub metrics: SocketAddr,
}

impl Subscriber {
    /// Starts the binary with these arguments, variables, and a log in this folder.
    pub fn start(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let metrics = free_address();
        let log = folder.join(format!("{}.log", metrics.port()));
        let mut command: Command = command();
        command.args(["--config", "fixtures/pedwatch.toml"]).args(args);
        command.env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.port().to_string());
        command.env("PUBSUB_EMULATOR_HOST", pubsub().to_string()).env("PEDWATCH_LOG__FORMAT", "json");
        // What a killed consumer had comes again after ten seconds.
        command.env("PEDWATCH_PULL__LEASE_SECONDS", "10");
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(&log).expect("a log")).spawn().expect("started");
        Subscriber { child, log, metrics }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    /// Waits for its end.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < within, "it does not end; it said: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    /// Waits until its log says something.
    pub async fn says(&self, part: &str) {
        let open_files = format!("/proc/{}/fd", self.child.id());
        eventually(&format!("{part:?} in the log"), async || {
            // A process that has ended, and that nobody has asked about, has no open files.
            let running = std::fs::read_dir(&open_files).is_ok_and(|mut files| files.next().is_some());
            assert!(running || self.log().contains(part), "it ended, and said: {}", self.log());
            self.log().contains(part)
        })
        .await;
    }

    /// A page of its port of its own.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.metrics)).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// How many messages it is at. On a busy machine some come again meanwhile.
    pub async fn in_flight(&self) -> usize {
        let page = self.page("/metrics").await.1;
        let value = page.lines().find_map(|line| line.strip_prefix("pedwatch_messages_in_flight "));
        value.and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Peak memory in MB, as Linux tells it.
    pub fn peak_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_000
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A test that fails says what the subscriber said.
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// Waits until something is so. Redeliveries take as long as a lease, and the machine has other tests to run, so this is
/// patient.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(300), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
