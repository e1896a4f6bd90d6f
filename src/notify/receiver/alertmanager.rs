//! Prometheus' Alertmanager, by its [API v2](https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
//!
//! It tells by labels what is new: other annotations ring nobody. So the highest number that was told is a label; one that got
//! worse ends as it was, and begins as it is.

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use reqwest::Client;
use serde_json::{Value as Json, json};

use super::{Receiver, client, last_ref, link, outcome};
use crate::id;
use crate::incident::Kind;
use crate::notify::notice::{Content, Notice, Outcome};

/// An alert ends by itself then, if nobody ends it: whoever posts once has to say so, or it is over after minutes.
const ENDS_AFTER: Duration = Duration::days(30);

/// What has no end is shown for so long.
const ONCE_FOR: Duration = Duration::hours(1);

/// An Alertmanager that is told.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    client: Client,
    url: String,
}

impl Alertmanager {
    /// One at a URL, such as `http://alertmanager:9093`. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, String> {
        Ok(Alertmanager { client: client()?, url: format!("{}/api/v2/alerts", url.trim_end_matches('/')) })
    }
}

/// A label's value that tells one step from the one before.
fn told(content: &Content) -> String {
    let number = content.value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    format!("{number} {}", content.severity)
}

fn alert(content: &Content, told: &str, ends_at: DateTime<Utc>) -> Json {
    let Content { deployment, rule, severity, began_at, body, .. } = content;
    json!({
        "labels": {
            "alertname": rule.to_string(),
            "severity": severity.to_string(),
            "source": "pedwatch",
            "project": deployment.project,
            "location": deployment.location,
            "cluster": deployment.cluster,
            "namespace": deployment.namespace,
            "deployment": deployment.name,
            "told": told,
        },
        "annotations": {"summary": body.lines().next().unwrap_or_default(), "description": body},
        "startsAt": id::time((*began_at).min(ends_at)),
        "endsAt": id::time(ends_at),
        "generatorURL": link(body).unwrap_or_default(),
    })
}

#[async_trait]
impl Receiver for Alertmanager {
    async fn send(&self, notice: &Notice, earlier: &[Notice], now: DateTime<Utc>) -> Outcome {
        let (content, before) = (&notice.content, last_ref(earlier));
        let of_before = earlier.last().map_or(content, |notice| &notice.content);
        let (key, alerts) = match (content.kind, before) {
            (Kind::Recovered, before) => {
                let key = before.map_or_else(|| told(content), str::to_owned);
                (key.clone(), vec![alert(of_before, &key, now)])
            }
            (Kind::Once, _) => (told(content), vec![alert(content, &told(content), now + ONCE_FOR)]),
            (Kind::Repeated, Some(key)) => (key.to_owned(), vec![alert(of_before, key, now + ENDS_AFTER)]),
            (_, Some(before)) if before != told(content) => {
                let key = told(content);
                let alerts = vec![alert(of_before, before, now), alert(content, &key, now + ENDS_AFTER)];
                (key, alerts)
            }
            _ => (told(content), vec![alert(content, &told(content), now + ENDS_AFTER)]),
        };
        match outcome(self.client.post(&self.url).json(&alerts).send().await, now).await {
            Outcome::Sent { .. } => Outcome::Sent { provider_ref: Some(key) },
            other => other,
        }
    }
}
