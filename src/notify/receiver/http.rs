//! What receivers over HTTP have in common.

use chrono::{DateTime, Utc};
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use crate::notify::notice::{Notice, Outcome};
use crate::remote::retry_after;

/// How long one attempt may take.
pub(super) const WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// A client that follows nobody elsewhere: who redirects is not who was meant.
///
/// # Errors
/// When TLS cannot be set up.
pub(super) fn client() -> Result<Client, String> {
    let client = Client::builder().redirect(Policy::none()).timeout(WITHIN).build();
    client.map_err(|error| crate::credentials::causes(&error))
}

/// What the receiver called the last that it was sent of the incident.
pub(super) fn last_ref(earlier: &[Notice]) -> Option<&str> {
    earlier.iter().rev().find_map(|notice| notice.progress.provider_ref.as_deref())
}

/// As much of a text as somebody takes, in characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The link in a message, which stands on a line of its own.
pub(super) fn link(body: &str) -> Option<&str> {
    body.lines().find(|line| line.starts_with("https://") && !line.contains(' '))
}

/// How much is read of an answer.
const ANSWER_MAX_BYTES: usize = 16 << 10;

/// What an answer over HTTP means: 2xx is sent; 408, 425, 429 and 5xx may work later, and not before `Retry-After`; anything
/// else is final.
pub(super) async fn outcome(answered: reqwest::Result<Response>, now: DateTime<Utc>) -> Outcome {
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => {
            // Where there was no connection, nothing can have arrived. The URL may hold a secret.
            let unsure = !(error.is_connect() || error.is_builder());
            let why = crate::credentials::causes(&error.without_url());
            return Outcome::Later { why, after: None, unsure };
        }
    };
    let status = response.status();
    if status.is_success() {
        return Outcome::Sent { provider_ref: None };
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    let why = format!("it answers {status}: {}", beginning(&mut response).await);
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Later { why, after, unsure: false }
        }
        // Whoever stands in between may have passed it on.
        status if status.is_server_error() => Outcome::Later { why, after, unsure: true },
        _ => Outcome::Refused { why },
    }
}

/// How an answer begins, on one line.
async fn beginning(response: &mut Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(part)) = response.chunk().await {
        body.extend_from_slice(&part);
        if body.len() >= ANSWER_MAX_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ")
}
