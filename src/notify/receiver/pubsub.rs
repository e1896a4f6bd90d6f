//! A topic of Pub/Sub, by [REST](https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish): for programs
//! that want to know. The data is the message as JSON, as a webhook has it; what one filters subscriptions by is attributes.
//!
//! Pub/Sub itself may deliver a message twice, so the id of the notice is an attribute, the same in every attempt. The notices
//! of an incident have one ordering key: a subscription with message ordering gets them in their order.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use google_cloud_auth::credentials::AccessTokenCredentials;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Receiver;
use super::http::{client, outcome};
use crate::credentials;
use crate::notify::notice::{Notice, Outcome};

/// Google's own server.
pub const ENDPOINT: &str = "https://pubsub.googleapis.com";

/// All that Pub/Sub has, and nothing in other services; what may be published is IAM's affair.
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

/// Longest value of an attribute: <https://cloud.google.com/pubsub/quotas#resource_limits>.
const ATTRIBUTE_MAX_BYTES: usize = 1_024;

/// A topic that is told.
#[derive(Clone)]
pub struct PubSub {
    client: Client,
    url: String,
    /// `None` where nobody asks for them: at an emulator.
    credentials: Option<AccessTokenCredentials>,
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PubSub({})", self.url)
    }
}

/// What Pub/Sub answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    message_ids: Vec<String>,
}

impl PubSub {
    /// A topic by its whole name, at Google's server with Application Default Credentials, or at another one without any.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When credentials cannot be read, or TLS cannot be set up.
    pub fn new(endpoint: Option<&str>, topic: &str, anonymous: bool) -> Result<Self, String> {
        let endpoint = endpoint.unwrap_or(ENDPOINT).trim_end_matches('/');
        let credentials = if anonymous { None } else { Some(credentials::default(&[SCOPE])?) };
        Ok(PubSub { client: client()?, url: format!("{endpoint}/v1/{topic}:publish"), credentials })
    }

    async fn token(&self) -> Result<Option<String>, String> {
        let Some(credentials) = &self.credentials else { return Ok(None) };
        let token = credentials.access_token().await;
        token
            .map(|token| Some(token.token))
            .map_err(|error| format!("no access token: {}", credentials::causes(&error)))
    }
}

/// What a subscription's filter can ask for.
fn attributes(notice: &Notice) -> BTreeMap<&'static str, String> {
    let Notice { notification_id, incident_id, content, progress, .. } = notice;
    let deployment = &content.deployment;
    let attributes = [
        ("notification_id", notification_id.clone()),
        ("incident_id", incident_id.clone()),
        ("kind", content.kind.to_string()),
        ("rule", content.rule.to_string()),
        ("severity", content.severity.to_string()),
        ("project", deployment.project.clone()),
        ("location", deployment.location.clone()),
        ("cluster", deployment.cluster.clone()),
        ("namespace", deployment.namespace.clone()),
        ("deployment", deployment.name.clone()),
        ("unsure", progress.unsure.to_string()),
    ];
    // Names come from a log that holds anything; Kubernetes' own are shorter.
    attributes.into_iter().filter(|(_, value)| (1..=ATTRIBUTE_MAX_BYTES).contains(&value.len())).collect()
}

fn body(notice: &Notice) -> Json {
    let message = json!({
        "data": STANDARD.encode(&notice.content.body),
        "attributes": attributes(notice),
        "orderingKey": notice.incident_id,
    });
    json!({"messages": [message]})
}

#[async_trait]
impl Receiver for PubSub {
    async fn send(&self, notice: &Notice, _: &[Notice], now: DateTime<Utc>) -> Outcome {
        let mut request = self.client.post(&self.url).json(&body(notice));
        match self.token().await {
            Ok(Some(token)) => request = request.bearer_auth(token),
            Ok(None) => {}
            Err(why) => return Outcome::Later { why, after: None, unsure: false },
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                // It has the message; its name for it is only for the record.
                let answer = answer.json::<Answer>().await;
                let provider_ref = answer.ok().and_then(|answer| answer.message_ids.into_iter().next());
                Outcome::Sent { provider_ref }
            }
            other => outcome(other, now).await,
        }
    }
}
