//! Any HTTP server, by a POST that is signed as [Standard Webhooks](https://www.standardwebhooks.com) say.
//!
//! The id is the notice's, the same in every attempt, so that who receives it tells a copy from another notice. Whether an
//! earlier attempt may have arrived stands in `pedwatch-unsure`.

use std::fmt;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use sha2::Sha256;

use super::Receiver;
use super::http::{client, outcome};
use crate::notify::notice::{Notice, Outcome};

/// Stands before a secret in base64.
const SECRET_PREFIX: &str = "whsec_";

/// The least that a secret may have, as Standard Webhooks say.
const SECRET_MIN_BYTES: usize = 24;

/// The most.
const SECRET_MAX_BYTES: usize = 64;

/// What a message is signed with.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads one: `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// What would be right; never the secret.
    pub fn read(text: &str) -> Result<Self, String> {
        let encoded = text.trim().strip_prefix(SECRET_PREFIX);
        let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).unwrap_or_default();
        if (SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&bytes.len()) {
            return Ok(Secret(bytes));
        }
        Err(format!("expected {SECRET_PREFIX} and base64 of {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes"))
    }

    /// The signature of a message: `v1,` and base64 of the HMAC-SHA256 over id, time and body.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        // A key may have any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Says nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A server that is told by webhook.
#[derive(Clone)]
pub struct Webhook {
    client: Client,
    url: String,
    secret: Secret,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(…)")
    }
}

impl Webhook {
    /// One at a URL. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: String, secret: Secret) -> Result<Self, String> {
        Ok(Webhook { client: client()?, url, secret })
    }
}

#[async_trait]
impl Receiver for Webhook {
    async fn send(&self, notice: &Notice, _: &[Notice], now: DateTime<Utc>) -> Outcome {
        let (id, body) = (&notice.notification_id, &notice.content.body);
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-signature", self.secret.sign(id, now.timestamp(), body))
            .header("pedwatch-unsure", notice.progress.unsure.to_string())
            .body(body.clone());
        outcome(request.send().await, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Standard Webhooks' own libraries.
    #[test]
    fn a_message_is_signed_as_standard_webhooks_say() {
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for text in
            ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64 at all, but long"]
        {
            assert_eq!(Secret::read(text).expect_err(text), "expected whsec_ and base64 of 24 to 64 bytes");
        }
    }
}
