//! One request of `entries.list`: with credentials, from a thread that may block, and what its failure means.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::body::Bytes;
use axum::http::Extensions;
use chrono::{DateTime, Utc};
use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::LoggingConfig;
use crate::credentials::{self, causes};
use crate::remote::{self, chain};

const GOOGLE: &str = "https://logging.googleapis.com";

/// Reads logs, and nothing else: <https://developers.google.com/identity/protocols/oauth2/scopes#logging>.
const SCOPE: &str = "https://www.googleapis.com/auth/logging.read";

/// How long a token may take: where there are no credentials, a metadata server is waited for that does not exist.
const TOKEN_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may take, an answer may take to begin (a search that finds little is given up by Google's own side
/// after about a minute, with a token), and each part of it.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
const BEGUN_WITHIN: Duration = Duration::from_secs(120);
const PART_WITHIN: Duration = Duration::from_secs(30);

/// Parts of an answer that wait for their reader; each is some hundred kilobytes at most.
const PARTS_AHEAD: usize = 4;

/// How much is read of an answer that says what is wrong, and how much of that is told.
const ERROR_MAX_BYTES: usize = 64 << 10;
const TOLD_CHARS: usize = 500;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may work later; the server may have said when.
    Transient { why: String, after: Option<Duration> },
    /// The access token is not good (any more): a new one may be.
    Unauthorized(String),
    /// The question is not understood, or its page token is not good any more.
    Invalid(String),
    /// It will not work without a person.
    Permanent(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transient { why, .. } => f.write_str(why),
            Failure::Unauthorized(why) | Failure::Invalid(why) | Failure::Permanent(why) => f.write_str(why),
        }
    }
}

impl Failure {
    pub(super) fn transient(why: impl Into<String>) -> Self {
        Failure::Transient { why: why.into(), after: None }
    }

    fn of(error: reqwest::Error) -> Self {
        Failure::transient(chain(&error.without_url()).chars().take(TOLD_CHARS).collect::<String>())
    }

    /// What the status means: <https://cloud.google.com/apis/design/errors#handling_errors>.
    fn refused(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Self {
        let said = serde_json::from_slice::<Json>(body).unwrap_or_default();
        let said = said.pointer("/error/message").and_then(Json::as_str).unwrap_or_default();
        let said: String = said.chars().take(TOLD_CHARS).collect();
        let why = format!("Cloud Logging says {status}: {said}");
        match status.as_u16() {
            408 | 429 | 500..=599 => Failure::Transient { why, after },
            400 => Failure::Invalid(why),
            401 => Failure::Unauthorized(why),
            403 => Failure::Permanent(format!(
                "{why}; this identity needs roles/logging.viewer on each project (roles/logging.viewAccessor for a view)"
            )),
            _ => Failure::Permanent(why),
        }
    }
}

/// The Logging API, with credentials.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    /// How long an answer may take in all.
    within: Duration,
    /// Application Default Credentials, which cache their token and renew it in time; none for a stand-in.
    credentials: Option<Arc<RwLock<Credentials>>>,
    runtime: Handle,
}

impl Api {
    /// Finds credentials, and tries them.
    ///
    /// # Errors
    /// When there are none, with how to get some; within five seconds.
    pub async fn new(config: &LoggingConfig) -> Result<Self> {
        let http = reqwest::Client::builder()
            // Where the configuration says it is, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECTED_WITHIN)
            .build()?;
        let base = config.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/');
        // Without spaces an entry has the bytes that a subscription delivers, and half the length.
        let url = format!("{base}/v2/entries:list?prettyPrint=false");
        let credentials = match config.anonymous {
            true => None,
            false => {
                credentials::found(&[SCOPE]).await.map_err(|missing| anyhow!(missing))?;
                Some(Arc::new(RwLock::new(default_credentials()?)))
            }
        };
        let api = Api { http, url, within: config.deadline, credentials, runtime: Handle::current() };
        // What is refused for good is told before anything is begun.
        match api.authorization().await {
            Err(why @ Failure::Permanent(_)) => Err(anyhow!("{why}")),
            Ok(_) | Err(_) => Ok(api),
        }
    }

    /// Asks once, and returns the answer while it comes. Blocks the thread, which must not be the runtime's.
    pub(super) fn ask(&self, request: &Json) -> Result<Answer, Failure> {
        let (parts, mut answer) = mpsc::channel(PARTS_AHEAD);
        let (api, request) = (self.clone(), request.to_string());
        // Not `block_on`, which panics when the runtime ends.
        self.runtime.spawn(async move { api.fetch(request, parts).await });
        match answer.blocking_recv() {
            Some(Ok(part)) => Ok(Answer { is_whole: part.is_empty(), part, parts: answer }),
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::Permanent(ENDS.to_owned())),
        }
    }

    /// Forgets a token that is not accepted. Credentials that cannot be made anew stay as they are.
    pub(super) fn renew(&self) {
        if let Some(credentials) = &self.credentials
            && let Ok(renewed) = default_credentials()
        {
            *credentials.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        }
    }

    /// Sends on what comes, part by part; an empty one is the end.
    async fn fetch(self, request: String, parts: mpsc::Sender<Result<Bytes, Failure>>) {
        let mut response = match self.send(request).await {
            Ok(response) => response,
            Err(failure) => return drop(parts.send(Err(failure)).await),
        };
        // However slowly it comes.
        let until = Instant::now() + self.within;
        loop {
            let part = match timeout_at(until.min(Instant::now() + PART_WITHIN), response.chunk()).await {
                Ok(Ok(Some(part))) if part.is_empty() => continue,
                Ok(Ok(part)) => Ok(part.unwrap_or_default()),
                Ok(Err(error)) => Err(Failure::of(error)),
                Err(_) => Err(Failure::transient("the answer does not go on")),
            };
            let is_last = part.as_ref().map_or(true, Bytes::is_empty);
            if parts.send(part).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn send(&self, request: String) -> Result<Response, Failure> {
        let headers = self.authorization().await?;
        let sent = self.http.post(&self.url).headers(headers).header(CONTENT_TYPE, "application/json").body(request);
        let begun_within = BEGUN_WITHIN.min(self.within);
        let late = |_| Failure::transient(format!("no answer within {} s", begun_within.as_secs()));
        let mut response = timeout(begun_within, sent.send()).await.map_err(late)?.map_err(Failure::of)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?, Utc::now()));
        let mut body = Vec::new();
        // What is wrong is told as far as it comes.
        while let Ok(Ok(Some(part))) = timeout(PART_WITHIN, response.chunk()).await
            && body.len() + part.len() <= ERROR_MAX_BYTES
        {
            body.extend_from_slice(&part);
        }
        Err(Failure::refused(response.status(), after, &body))
    }

    /// The token, and the project whose quota it is for where the credentials name one.
    async fn authorization(&self) -> Result<HeaderMap, Failure> {
        let Some(credentials) = &self.credentials else { return Ok(HeaderMap::new()) };
        let credentials = credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let late = |_| Failure::transient(format!("no access token within {} s", TOKEN_WITHIN.as_secs()));
        match timeout(TOKEN_WITHIN, credentials.headers(Extensions::new())).await.map_err(late)? {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Err(Failure::transient("no access token")),
            Err(error) if error.is_transient() => Err(Failure::transient(causes(&error))),
            Err(error) => Err(Failure::Permanent(format!("no access token for Cloud Logging: {}", causes(&error)))),
        }
    }
}

const ENDS: &str = "the program ends";

fn default_credentials() -> Result<Credentials> {
    let built = Builder::default().with_scopes([SCOPE]).build();
    built.map_err(|error| anyhow!("no credentials for Cloud Logging: {}", causes(&error)))
}

/// How long to wait; until a date that is past, not at all.
fn pause(retry_after: &str, now: DateTime<Utc>) -> Option<Duration> {
    Some(remote::retry_after(retry_after, now)?.to_std().unwrap_or_default())
}

/// The body of an answer, while it comes.
pub(super) struct Answer {
    parts: mpsc::Receiver<Result<Bytes, Failure>>,
    part: Bytes,
    is_whole: bool,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && !self.is_whole {
            match self.parts.blocking_recv() {
                Some(Ok(part)) => (self.is_whole, self.part) = (part.is_empty(), part),
                Some(Err(failure)) => return Err(io::Error::other(failure.to_string())),
                None => return Err(io::Error::other(ENDS)),
            }
        }
        let read = self.part.as_ref().read(buffer)?;
        drop(self.part.split_to(read));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_told_in_seconds_or_by_a_date() {
        let now = DateTime::from_timestamp(1_445_412_480, 0).expect("a time");
        for (text, seconds) in [
            ("7", Some(7)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(pause(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_status_tells_whether_to_try_again() {
        let refused = |code: u16| Failure::refused(StatusCode::from_u16(code).expect("a status"), None, b"<html>");
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(refused(code), Failure::Transient { .. }), "{code}");
        }
        assert!(matches!(refused(400), Failure::Invalid(_)));
        assert!(matches!(refused(401), Failure::Unauthorized(_)));
        for code in [204, 301, 403, 404, 409, 413] {
            assert!(matches!(refused(code), Failure::Permanent(_)), "{code}");
        }
        let body = br#"{"error":{"code":403,"message":"Permission denied","status":"PERMISSION_DENIED"}}"#;
        let why = Failure::refused(StatusCode::FORBIDDEN, None, body).to_string();
        assert!(why.contains("403 Forbidden: Permission denied") && why.contains("roles/logging.viewer"), "{why}");
    }
}
