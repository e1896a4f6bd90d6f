//! A channel of Slack, by an [incoming webhook](https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
//!
//! Slack does not tell copies apart, so one that may be a copy says so to whoever reads it. A webhook takes one message a
//! second; what it is asked to wait is waited.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::{Value as Json, json};

use super::Receiver;
use super::http::{client, outcome};
use crate::notify::notice::{Notice, Outcome};

/// What a section holds at most, in characters: <https://docs.slack.dev/reference/block-kit/blocks/section-block>.
const SECTION_MAX_CHARS: usize = 3_000;

/// Stands before what may be a copy.
const COPY: &str = "(again: it is not known whether the first one arrived) ";

/// Stands where a text was cut.
const CUT: &str = "…";

/// A channel that is told by an incoming webhook. Its URL is its secret.
#[derive(Clone)]
pub struct SlackWebhook {
    client: Client,
    url: String,
}

impl fmt::Debug for SlackWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlackWebhook(…)")
    }
}

impl SlackWebhook {
    /// One at a URL. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: String) -> Result<Self, String> {
        Ok(SlackWebhook { client: client()?, url })
    }
}

#[async_trait]
impl Receiver for SlackWebhook {
    async fn send(&self, notice: &Notice, _: &[Notice], now: DateTime<Utc>) -> Outcome {
        outcome(self.client.post(&self.url).json(&message(notice)).send().await, now).await
    }
}

/// What Slack shows of a notice.
pub(super) fn message(notice: &Notice) -> Json {
    let copy = if notice.progress.unsure { COPY } else { "" };
    let text = cut(&format!("{copy}{}", notice.content.body));
    let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    // The text is what a notification on a telephone shows.
    json!({"text": text, "blocks": [section]})
}

/// As much as a section holds. What matters stands first; what was escaped is not cut in two.
fn cut(text: &str) -> String {
    if text.chars().count() <= SECTION_MAX_CHARS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(SECTION_MAX_CHARS - CUT.chars().count()).collect();
    let whole = match (kept.rfind(['&', '<']), kept.rfind([';', '>'])) {
        (Some(begun), ended) if ended.is_none_or(|ended| ended < begun) => kept.get(..begun).unwrap_or_default(),
        _ => &kept,
    };
    format!("{whole}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_where_nothing_is_broken() {
        let filler = "x".repeat(SECTION_MAX_CHARS - 4);
        assert_eq!(cut(&filler), filler);
        for (end, expected) in [
            ("&lt;&lt;", "…"),
            ("名前が長い", "名前が…"),
            ("<https://example.com|log entry>", "…"),
            ("ab&amp;c", "ab…"),
        ] {
            let cut = cut(&format!("{filler}{end}"));
            assert_eq!(cut.strip_prefix(&filler), Some(expected), "{end}");
            assert!(cut.chars().count() <= SECTION_MAX_CHARS);
        }
    }
}
