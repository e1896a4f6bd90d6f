//! The token of a push request: Google's signature, for us, of the account that we allow.
//!
//! Source of truth: <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::RwLock;

/// Both spellings are Google's: <https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken>.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// How long keys are used. Google rotates them in days, and announces a new one well before it signs.
const KEYS_FOR: Duration = Duration::from_secs(3_600);

/// How soon unknown keys make us look again, so that made-up ones cannot make us ask Google all the time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// How long Google's keys may take to come.
const FETCH: Duration = Duration::from_secs(5);

/// Why a request is not let in. No variant holds any of the token.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Its token is missing, malformed, expired, or not signed by Google for us.
    Token(&'static str),
    /// Its token is good, but of somebody else.
    Identity(&'static str),
    /// It cannot be told now.
    NoKeys(String),
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    fetched: Option<DateTime<Utc>>,
}

/// Verifies tokens, with Google's keys at hand.
pub(super) struct Verifier {
    validation: Validation,
    service_account: String,
    certs_url: String,
    http: reqwest::Client,
    keys: RwLock<Keys>,
}

impl Verifier {
    /// Lets in tokens for this audience of this service account.
    ///
    /// # Errors
    /// When one of them is missing in the configuration.
    pub(super) fn new(audience: &str, service_account: &str, certs_url: &str) -> Result<Self> {
        for (key, value, wanted) in [
            ("push.audience", audience, "the push subscription's audience, usually this service's URL"),
            ("push.service_account", service_account, "the service account that the push subscription signs with"),
        ] {
            if value.is_empty() {
                bail!(
                    "{key} is empty; expected {wanted}. Where the platform verifies the token instead, push.auth is \
                     \"platform\""
                );
            }
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&ISSUERS);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        Ok(Verifier {
            validation,
            service_account: service_account.to_owned(),
            certs_url: certs_url.to_owned(),
            http: reqwest::Client::builder().timeout(FETCH).build()?,
            keys: RwLock::default(),
        })
    }

    /// Verifies the `Authorization` of a request.
    pub(super) async fn verify(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<(), Refusal> {
        let token = authorization.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refusal::Token("no token"))?;
        let header = decode_header(token).map_err(|_| Refusal::Token("it is no JWT"))?;
        let id = header.kid.ok_or(Refusal::Token("it names no key"))?;
        let key = self.key(&id, now).await?;
        let claims = decode::<Claims>(token, &key, &self.validation)
            .map_err(|_| Refusal::Token("signature, issuer, audience or time do not hold"))?
            .claims;
        if claims.email_verified && claims.email == self.service_account {
            return Ok(());
        }
        Err(Refusal::Identity("it is not of push.service_account"))
    }

    /// The key of that id, fetched anew when it is unknown or the known ones are old.
    async fn key(&self, id: &str, now: DateTime<Utc>) -> Result<DecodingKey, Refusal> {
        let older_than = |keys: &Keys, age: Duration| {
            keys.fetched.is_none_or(|at| (now - at).to_std().is_ok_and(|elapsed| elapsed > age))
        };
        {
            let keys = self.keys.read().await;
            match keys.by_id.get(id) {
                Some(key) if !older_than(&keys, KEYS_FOR) => return Ok(key.clone()),
                None if !older_than(&keys, LOOK_AGAIN_AFTER) => return Err(Refusal::Token("its key is not Google's")),
                _ => {}
            }
        }
        // One request fetches, the others wait for it and find what it found.
        let mut keys = self.keys.write().await;
        if older_than(&keys, LOOK_AGAIN_AFTER) {
            match self.fetch().await {
                Ok(by_id) => *keys = Keys { by_id, fetched: Some(now) },
                // Old keys are better than none, until Google answers again.
                Err(why) if keys.by_id.is_empty() => return Err(Refusal::NoKeys(why.to_string())),
                Err(why) => tracing::warn!(%why, "Google's keys cannot be read; the known ones stay in use"),
            }
        }
        keys.by_id.get(id).cloned().ok_or(Refusal::Token("its key is not Google's"))
    }

    async fn fetch(&self) -> Result<HashMap<String, DecodingKey>> {
        let set: JwkSet = self.http.get(&self.certs_url).send().await?.error_for_status()?.json().await?;
        let key = |jwk: &jsonwebtoken::jwk::Jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?));
        Ok(set.keys.iter().filter_map(key).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Serves these key ids, until there are none: then it fails.
    fn certs_server(ids: Arc<Mutex<Vec<&'static str>>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.read(&mut [0; 4096]);
                let ids = ids.lock().expect("whole").clone();
                let key = |id: &&str| format!(r#"{{"kty":"RSA","alg":"RS256","kid":"{id}","n":"AQAB","e":"AQAB"}}"#);
                let body = format!(r#"{{"keys":[{}]}}"#, ids.iter().map(key).collect::<Vec<_>>().join(","));
                let status = if ids.is_empty() { "500 Error" } else { "200 OK" };
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = client.write_all(format!("{head}{body}").as_bytes());
            }
        });
        url
    }

    #[tokio::test]
    async fn keys_are_kept_rotated_and_outlive_an_outage() {
        // The client wants a provider of cryptography even for plain HTTP.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ids = Arc::new(Mutex::new(vec!["old"]));
        let verifier = Verifier::new("aud", "who", &certs_server(Arc::clone(&ids))).expect("whole");
        let start = Utc::now();
        let known =
            async |id: &str, seconds: i64| verifier.key(id, start + chrono::Duration::seconds(seconds)).await.is_ok();
        assert!(known("old", 0).await);
        *ids.lock().expect("whole") = vec!["old", "new"];
        assert!(!known("new", 1).await, "made-up ids do not make us ask Google each time");
        assert!(known("new", 31).await, "a new key is found");
        ids.lock().expect("whole").clear();
        assert!(known("old", 40).await && known("old", 7_200).await, "known keys outlive an outage of Google's");
        *ids.lock().expect("whole") = vec!["new"];
        assert!(!known("old", 14_400).await, "a key that Google has dropped is dropped");
    }
}
