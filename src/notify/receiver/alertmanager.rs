//! Prometheus' Alertmanager, by its [API v2](https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
//!
//! It tells by labels what is new: other annotations ring nobody. A breach has the labels that the rules of `pedwatch watch`
//! give it (deploy/prometheus/watch.yaml), so that one that Prometheus sees too is one alert, and rings once. Where it gets
//! worse, an alert rings beside it that has the number as a label too; one that is told as worse again ends that.

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use reqwest::Client;
use serde_json::{Value as Json, json};

use super::Receiver;
use super::http::{client, last_ref, link, outcome};
use crate::id;
use crate::incident::Kind;
use crate::names::Named;
use crate::notify::notice::{Content, Notice, Outcome};
use crate::policy::AlertType;

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

/// What an alert of a rule is called: as Prometheus' rules are.
pub fn alertname(rule: AlertType) -> String {
    match rule {
        AlertType::RunningOver => "DeploymentPodsOverLimit".to_owned(),
        rule => {
            let capitalized = |word: &str| {
                let (first, rest) = word.split_at(word.len().min(1));
                format!("{}{rest}", first.to_ascii_uppercase())
            };
            format!("Deployment{}", rule.as_str().split('_').map(capitalized).collect::<String>())
        }
    }
}

/// An alert; `told` is what it got worse to.
fn alert(content: &Content, told: Option<&str>, ends_at: DateTime<Utc>) -> Json {
    let Content { deployment, rule, severity, began_at, body, .. } = content;
    // An empty label is none.
    json!({
        "labels": {
            "alertname": alertname(*rule),
            "severity": severity.to_string(),
            "project": deployment.project,
            "location": deployment.location,
            "cluster": deployment.cluster,
            "namespace": deployment.namespace,
            "deployment": deployment.name,
            "told": told.unwrap_or_default(),
        },
        "annotations": {"summary": body.lines().next().unwrap_or_default(), "description": body},
        "startsAt": id::time((*began_at).min(ends_at)),
        "endsAt": id::time(ends_at),
        "generatorURL": link(body).unwrap_or_default(),
    })
}

/// What is to be posted, and what it got worse to by then. What was told before is ended where its labels are others now.
fn alerts(content: &Content, earlier: &[Notice], now: DateTime<Utc>) -> (String, Vec<Json>) {
    let before = earlier.last().map(|notice| &notice.content);
    let told_before = last_ref(earlier).filter(|told| !told.is_empty());
    let ends_at = match content.kind {
        Kind::Recovered => now,
        Kind::Once | Kind::Digest => now + ONCE_FOR,
        _ => now + ENDS_AFTER,
    };
    let worse = content.value.map(|value| value.to_string());
    let told = match content.kind {
        Kind::Worsened if before.is_some_and(|before| before.severity == content.severity) => worse,
        Kind::Recovered | Kind::Repeated => told_before.map(str::to_owned),
        _ => None,
    };
    let mut alerts = vec![alert(content, None, ends_at)];
    alerts.extend(told.as_deref().map(|told| alert(content, Some(told), ends_at)));
    if let Some(before) = before {
        let is_another = before.severity != content.severity;
        alerts.extend(is_another.then(|| alert(before, None, now)));
        let has_ended = told_before.filter(|told_before| is_another || told.as_deref() != Some(told_before));
        alerts.extend(has_ended.map(|told_before| alert(before, Some(told_before), now)));
    }
    (told.unwrap_or_default(), alerts)
}

#[async_trait]
impl Receiver for Alertmanager {
    async fn send(&self, notice: &Notice, earlier: &[Notice], now: DateTime<Utc>) -> Outcome {
        let (told, alerts) = alerts(&notice.content, earlier, now);
        match outcome(self.client.post(&self.url).json(&alerts).send().await, now).await {
            Outcome::Sent { .. } => Outcome::Sent { provider_ref: Some(told) },
            other => other,
        }
    }
}
