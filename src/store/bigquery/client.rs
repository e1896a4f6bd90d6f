//! Talking to BigQuery: credentials, what an error means, and trying again.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use gcp_bigquery_client::auth::Authenticator;
use gcp_bigquery_client::client_builder::ClientBuilder;
use gcp_bigquery_client::error::{BQError, NestedResponseError};
use google_cloud_auth::credentials::AccessTokenCredentials;
use google_cloud_auth::errors::CredentialsError;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::RwLock;

use super::super::StoreError;
use super::BigQueryConfig;
use crate::credentials;
use crate::remote::chain;

/// All that pedwatch does, and nothing in other services:
/// <https://developers.google.com/identity/protocols/oauth2/scopes#bigquery>.
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";

/// The part of the deadline that one attempt may take: a server that hangs leaves time for two more.
const ATTEMPTS_IN_DEADLINE: u32 = 3;

/// Jittered, so that many instances do not come back together:
/// <https://cloud.google.com/bigquery/docs/error-messages> asks for exponential backoff.
fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(4))
        .without_max_times()
}

/// What an error means for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may work later.
    Transient,
    /// The token is not valid (any more): a new one may be.
    Unauthorized,
    /// BigQuery will not take what was sent.
    Invalid,
    /// What was asked for is not there.
    NotFound,
    /// What was to be made is there.
    AlreadyExists,
    /// This identity may not, or may not yet.
    Denied,
    /// It will not work without a person.
    Permanent,
}

/// A failed request.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            Kind::Transient => StoreError::Transient(failure.message),
            Kind::NotFound | Kind::Denied => StoreError::Missing(failure.message),
            _ => StoreError::Permanent(failure.message),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Transient(message) => Failure { kind: Kind::Transient, message },
            StoreError::Missing(message) => Failure { kind: Kind::Denied, message },
            StoreError::Permanent(message) => Failure { kind: Kind::Permanent, message },
        }
    }
}

impl Failure {
    pub(super) fn transient(message: impl Into<String>) -> Self {
        Failure { kind: Kind::Transient, message: message.into() }
    }
}

/// The one place that tells what may work later from what will not. Source of truth:
/// <https://cloud.google.com/bigquery/docs/error-messages>.
impl From<BQError> for Failure {
    fn from(error: BQError) -> Self {
        match error {
            BQError::ResponseError { error } => Failure::of(error.error),
            // What was asked for cannot even be written down.
            BQError::SerializationError(_) => Failure { kind: Kind::Permanent, message: error.to_string() },
            BQError::RequestError(ref cause) if cause.is_builder() => {
                Failure { kind: Kind::Permanent, message: chain(cause) }
            }
            // Not connected, cut off, timed out, or answered by something between that speaks no JSON. Whether it was
            // done is unknown; every request here may be repeated.
            BQError::RequestError(ref cause) => Failure::transient(chain(cause)),
            other => Failure::transient(other.to_string()),
        }
    }
}

impl Failure {
    fn of(error: NestedResponseError) -> Self {
        let reason = error.errors.first().and_then(|first| first.get("reason")).map_or("", String::as_str);
        let (kind, advice) = match (error.code, reason) {
            // Backing off is what BigQuery asks for; a quota that is used up comes back.
            (429, _) | (_, "rateLimitExceeded" | "quotaExceeded" | "jobRateLimitExceeded") => (Kind::Transient, ""),
            (408 | 500..=599, _) | (_, "backendError" | "internalError" | "timeout") => (Kind::Transient, ""),
            (401, _) => (Kind::Unauthorized, "; are there Application Default Credentials?"),
            (403, _) => {
                let advice = "; this identity needs roles/bigquery.dataEditor on the dataset (dataViewer where it only \
                              reads) and roles/bigquery.jobUser on the project";
                (Kind::Denied, advice)
            }
            (404, _) => (Kind::NotFound, "; pedwatch schema apply makes what is missing"),
            (409, _) => (Kind::AlreadyExists, ""),
            (400 | 413, _) => (Kind::Invalid, ""),
            _ => (Kind::Permanent, ""),
        };
        let reason = if reason.is_empty() { String::new() } else { format!(" {reason}") };
        Failure { kind, message: format!("BigQuery says {}{reason}: {}{advice}", error.code, error.message) }
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        // What refuses a token now may not know of the grant yet.
        let kind = if error.is_transient() { Kind::Transient } else { Kind::Denied };
        Failure {
            kind,
            message: format!("no access token for BigQuery: {}; {}", credentials::causes(&error), credentials::ADVICE),
        }
    }
}

/// Where tokens come from.
#[derive(Clone)]
enum Tokens {
    /// Application Default Credentials, which cache their token and renew it in time.
    Default(Arc<RwLock<AccessTokenCredentials>>),
    /// An emulator asks for none.
    Anonymous,
}

impl Tokens {
    async fn token(&self) -> Result<String, CredentialsError> {
        match self {
            Tokens::Default(credentials) => Ok(credentials.read().await.access_token().await?.token),
            Tokens::Anonymous => Ok("anonymous".to_owned()),
        }
    }

    /// Forgets a token that BigQuery does not accept any more. Credentials that cannot be made stay as they are.
    async fn renew(&self) {
        if let Tokens::Default(credentials) = self
            && let Ok(renewed) = credentials::default(&[SCOPE])
        {
            *credentials.write().await = renewed;
        }
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn access_token(&self) -> Result<String, BQError> {
        // Client::retry has just asked for it, and told what is wrong; this one is out of the cache.
        self.token().await.map_err(|_| BQError::NoToken)
    }
}

/// BigQuery's REST API with credentials and patience.
#[derive(Clone)]
pub(super) struct Client {
    api: gcp_bigquery_client::Client,
    tokens: Tokens,
    deadline: Duration,
    retries: Counter,
}

impl Client {
    pub(super) async fn new(config: &BigQueryConfig, retries: Counter) -> Result<Self, Failure> {
        let tokens = if config.anonymous {
            Tokens::Anonymous
        } else {
            let missing = |message| Failure { kind: Kind::Permanent, message };
            Tokens::Default(Arc::new(RwLock::new(credentials::found(&[SCOPE]).await.map_err(missing)?)))
        };
        let mut builder = ClientBuilder::new();
        if let Some(endpoint) = &config.endpoint {
            builder.with_v2_base_url(format!("{}/bigquery/v2", endpoint.trim_end_matches('/')));
        }
        let api = builder.build_from_authenticator(Arc::new(tokens.clone())).await?;
        Ok(Client { api, tokens, deadline: config.deadline, retries })
    }

    /// How long one attempt may take.
    pub(super) fn attempt(&self) -> Duration {
        self.deadline / ATTEMPTS_IN_DEADLINE
    }

    /// Makes a request until it is answered, is refused for good, or the deadline has passed. Each attempt is a new
    /// request, so it must be one that may be repeated.
    pub(super) async fn retry<T, F>(
        &self,
        mut request: impl FnMut(gcp_bigquery_client::Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut renewed = false;
        let mut last = None;
        let patience = self.attempt();
        let attempt = || {
            let (request, tokens) = (request(self.api.clone()), self.tokens.clone());
            async move {
                tokens.token().await?;
                let late = |_| Failure::transient(format!("no answer within {} s", patience.as_secs_f32()));
                let answer = tokio::time::timeout(patience, request).await.map_err(late)?;
                if matches!(&answer, Err(failure) if failure.kind == Kind::Unauthorized) {
                    tokens.renew().await;
                }
                answer
            }
        };
        // A second refusal is not about an expired token.
        let again = |failure: &Failure| match failure.kind {
            Kind::Transient => true,
            Kind::Unauthorized => !std::mem::replace(&mut renewed, true),
            _ => false,
        };
        let note = |failure: &Failure, delay: Duration| {
            tracing::warn!(delay_ms = delay.as_millis(), error = %failure, "BigQuery does not answer well; trying again");
            self.retries.inc();
            last = Some(failure.message.clone());
        };
        let attempts = attempt.retry(backoff()).when(again).notify(note);
        match tokio::time::timeout(self.deadline, attempts).await {
            Ok(answer) => answer,
            Err(_) => {
                let last = last.unwrap_or_else(|| "no answer".to_owned());
                Err(Failure::transient(format!("gave up after {} s; at last: {last}", self.deadline.as_secs_f32())))
            }
        }
    }
}
