//! A space of Google Chat, by an [incoming webhook](https://developers.google.com/workspace/chat/quickstart/webhooks); an
//! incident is a thread.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{Client, Url};
use serde_json::json;

use super::Receiver;
use super::http::{client, outcome, shortened};
use crate::notify::notice::{Notice, Outcome};

/// A message has 32,000 bytes at most, with all around it; a character has four.
const TEXT_MAX_CHARS: usize = 7_000;

/// A space that is told by an incoming webhook. Its URL is its secret.
#[derive(Clone)]
pub struct GoogleChat {
    client: Client,
    url: Url,
}

impl fmt::Debug for GoogleChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GoogleChat(…)")
    }
}

impl GoogleChat {
    /// One at a URL. Nothing is sent yet.
    ///
    /// # Errors
    /// When it is no URL, which is not shown, or TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, String> {
        let mut url = Url::parse(url).map_err(|_| "expected the URL of an incoming webhook".to_owned())?;
        url.query_pairs_mut().append_pair("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
        Ok(GoogleChat { client: client()?, url })
    }
}

#[async_trait]
impl Receiver for GoogleChat {
    async fn send(&self, notice: &Notice, _: &[Notice], now: DateTime<Utc>) -> Outcome {
        let mut url = self.url.clone();
        // The same id again is answered with the first message.
        url.query_pairs_mut().append_pair("requestId", &notice.notification_id);
        // `<users/all>` would ring everybody, and nothing escapes it: a character without width takes it apart.
        let text = shortened(&notice.content.body, TEXT_MAX_CHARS).replace('<', "<\u{200b}");
        let body = json!({"text": text, "thread": {"threadKey": notice.incident_id}});
        outcome(self.client.post(url).json(&body).send().await, now).await
    }
}
