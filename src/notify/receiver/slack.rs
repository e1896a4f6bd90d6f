//! A channel of Slack, by an app's [bot token](https://docs.slack.dev/reference/methods/chat.postMessage): what follows in an
//! incident stands in the thread of its first message, and rings in the channel too where it got worse or is still open.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::json;

use super::Receiver;
use super::http::{client, outcome};
use super::slack_webhook::message;
use crate::incident::Kind;
use crate::notify::notice::{Notice, Outcome};

/// Slack's own server.
pub const ENDPOINT: &str = "https://slack.com";

/// Errors that may pass: <https://docs.slack.dev/reference/methods/chat.postMessage#errors>.
const PASSING: [&str; 5] = ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"];

/// A channel that is told by a bot.
#[derive(Clone)]
pub struct Slack {
    client: Client,
    url: String,
    token: String,
    /// `None`: each notice names its own.
    channel: Option<String>,
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slack(…)")
    }
}

/// What Slack answers; a failure too is answered with 200.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
    ts: Option<String>,
}

impl Slack {
    /// A channel, by its id, or the one that each notice names. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(endpoint: Option<&str>, token: String, channel: Option<String>) -> Result<Self, String> {
        let url = format!("{}/api/chat.postMessage", endpoint.unwrap_or(ENDPOINT));
        Ok(Slack { client: client()?, url, token, channel })
    }
}

#[async_trait]
impl Receiver for Slack {
    async fn send(&self, notice: &Notice, earlier: &[Notice], now: DateTime<Utc>) -> Outcome {
        let to = &notice.content.to;
        let Some(channel) = self.channel.as_ref().or(to.first()) else {
            return Outcome::Refused { why: "no channel is named for it".to_owned() };
        };
        let mut body = message(notice);
        // A thread of another channel is not there.
        let there = earlier.iter().filter(|notice| self.channel.is_some() || notice.content.to == *to);
        let thread = there.filter_map(|notice| notice.progress.provider_ref.as_deref()).next();
        if let Some(body) = body.as_object_mut() {
            body.insert("channel".to_owned(), json!(channel));
            let metadata =
                json!({"event_type": "pedwatch_notice", "event_payload": {"notification_id": notice.notification_id}});
            body.insert("metadata".to_owned(), metadata);
            if let Some(thread) = thread {
                let rings = matches!(notice.content.kind, Kind::Worsened | Kind::Repeated);
                body.insert("thread_ts".to_owned(), json!(thread));
                body.insert("reply_broadcast".to_owned(), json!(rings));
            }
        }
        match self.client.post(&self.url).bearer_auth(&self.token).json(&body).send().await {
            Ok(answer) if answer.status().is_success() => answered(answer).await,
            other => outcome(other, now).await,
        }
    }
}

async fn answered(answer: Response) -> Outcome {
    match answer.json::<Answer>().await {
        Ok(Answer { ok: true, ts, .. }) => Outcome::Sent { provider_ref: ts },
        Ok(Answer { error, .. }) => {
            let why = format!("it answers {error}");
            match PASSING.contains(&error.as_str()) {
                true => Outcome::Later { why, after: None, unsure: false },
                false => Outcome::Refused { why },
            }
        }
        Err(_) => Outcome::Later { why: "its answer cannot be read".to_owned(), after: None, unsure: true },
    }
}
