//! PagerDuty, by its [Events API v2](https://developer.pagerduty.com/docs/events-api-v2-overview). An incident here is one
//! there; one that got worse is another one, because triggering the same again rings nobody, and the one before is resolved.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::{Value as Json, json};

use super::Receiver;
use super::http::{client, last_ref, link, outcome, shortened};
use crate::id;
use crate::incident::Kind;
use crate::notify::notice::{Content, Notice, Outcome};

/// PagerDuty's own server.
pub const ENDPOINT: &str = "https://events.pagerduty.com";

/// The longest summary.
const SUMMARY_MAX_CHARS: usize = 1_024;

/// A service that is told by an integration's key.
#[derive(Clone)]
pub struct PagerDuty {
    client: Client,
    url: String,
    routing_key: String,
}

impl fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PagerDuty(…)")
    }
}

impl PagerDuty {
    /// A service, by its key. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(endpoint: Option<&str>, routing_key: String) -> Result<Self, String> {
        let url = format!("{}/v2/enqueue", endpoint.unwrap_or(ENDPOINT));
        Ok(PagerDuty { client: client()?, url, routing_key })
    }

    async fn post(&self, event: &Json, now: DateTime<Utc>) -> Outcome {
        outcome(self.client.post(&self.url).json(event).send().await, now).await
    }

    async fn resolve(&self, key: &str, now: DateTime<Utc>) -> Outcome {
        let event = json!({"routing_key": self.routing_key, "event_action": "resolve", "dedup_key": key});
        self.post(&event, now).await
    }

    async fn trigger(&self, key: &str, notice: &Notice, now: DateTime<Utc>) -> Outcome {
        let Content { deployment, severity, rule, began_at, body, .. } = &notice.content;
        // Never empty; a digest is of many clusters.
        let source = Some(deployment.cluster.as_str()).filter(|cluster| !cluster.is_empty()).unwrap_or("pedwatch");
        let summary = shortened(body.lines().next().unwrap_or_default(), SUMMARY_MAX_CHARS);
        let links: Vec<Json> = link(body).map(|href| json!({"href": href, "text": "log entry"})).into_iter().collect();
        let event = json!({
            "routing_key": self.routing_key,
            "event_action": "trigger",
            "dedup_key": key,
            "client": "pedwatch",
            "payload": {
                "summary": summary,
                "source": source,
                "severity": severity.to_string(),
                "timestamp": id::time(*began_at),
                "component": deployment.name,
                "group": deployment.namespace,
                "class": rule.to_string(),
                "custom_details": {"message": body},
            },
            "links": links,
        });
        self.post(&event, now).await
    }
}

#[async_trait]
impl Receiver for PagerDuty {
    async fn send(&self, notice: &Notice, earlier: &[Notice], now: DateTime<Utc>) -> Outcome {
        let before = last_ref(earlier);
        let key = match (notice.content.kind, before) {
            (Kind::Worsened, _) => format!("{}/{}", notice.incident_id, notice.seq),
            (_, before) => before.unwrap_or(&notice.incident_id).to_owned(),
        };
        let sent = match notice.content.kind {
            Kind::Recovered => self.resolve(&key, now).await,
            _ => self.trigger(&key, notice, now).await,
        };
        let sent = match (&sent, before) {
            // Doing both again changes nothing.
            (Outcome::Sent { .. }, Some(before)) if before != key => self.resolve(before, now).await,
            _ => sent,
        };
        match sent {
            Outcome::Sent { .. } => Outcome::Sent { provider_ref: Some(key) },
            other => other,
        }
    }
}
