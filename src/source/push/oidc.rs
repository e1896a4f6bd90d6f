//! The token of a push request: Google's signature, for us, of the account that we allow.
//!
//! Source of truth: <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>.

use anyhow::Result;
use axum::http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::keys::Keys;

/// Both spellings are Google's: <https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken>.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// How far our clock may be from Google's. A token is good for an hour, so a minute more or less gives nothing away.
const LEEWAY_SECONDS: u64 = 60;

/// Longest token that is looked at: Google's have about 1 KB.
const TOKEN_MAX_BYTES: usize = 8 << 10;

/// Why a request is not let in. No variant holds any of the token.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Its token is missing, malformed, expired, or not signed by Google for us.
    Token(&'static str),
    /// Its token is good, but of somebody else.
    Identity(&'static str),
    /// It cannot be told now: there are no keys.
    NoKeys,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
}

/// Verifies tokens, with Google's keys at hand.
pub(super) struct Verifier {
    validation: Validation,
    service_account: String,
    keys: Keys,
}

impl Verifier {
    /// Lets in tokens for this audience of this service account, which both have to be there.
    ///
    /// # Errors
    /// When Google's keys cannot be asked for.
    pub(super) fn new(audience: &str, service_account: &str, certs_url: &str) -> Result<Self> {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&ISSUERS);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        Ok(Verifier { validation, service_account: service_account.to_owned(), keys: Keys::of(certs_url)? })
    }

    /// Verifies the `Authorization` of a request. It waits for nothing, unless there are no keys at all.
    pub(super) async fn verify(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = bearer(headers)?;
        let header = decode_header(token).map_err(|_| Refusal::Token("it is no JWT"))?;
        let id = header.kid.ok_or(Refusal::Token("it names no key"))?;
        // What must be understood, and is not: <https://www.rfc-editor.org/rfc/rfc7515#section-4.1.11>.
        if header.crit.is_some() {
            return Err(Refusal::Token("its header asks for extensions"));
        }
        let keys = self.keys.at_hand().await.map_err(|_| Refusal::NoKeys)?;
        let mut keys = keys.iter().filter_map(|(of, key)| (*of == id).then_some(key)).peekable();
        if keys.peek().is_none() {
            self.keys.lacks_one();
            return Err(Refusal::Token("its key is not Google's"));
        }
        let claims = keys
            .find_map(|key| decode::<Claims>(token, key, &self.validation).ok())
            .ok_or(Refusal::Token("signature, issuer, audience or time do not hold"))?
            .claims;
        if claims.email_verified && claims.email == self.service_account {
            return Ok(());
        }
        Err(Refusal::Identity("it is not of push.service_account"))
    }
}

/// The one bearer token; its scheme is written in any case: <https://www.rfc-editor.org/rfc/rfc9110#section-11.1>.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(authorization), None) = (all.next(), all.next()) else {
        return Err(Refusal::Token("there is no token, or more than one"));
    };
    let text = authorization.to_str().map_err(|_| Refusal::Token("it is no text"))?;
    let (scheme, token) = text.trim().split_once(' ').ok_or(Refusal::Token("no token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Token("it is no bearer token"));
    }
    let token = token.trim_start();
    if token.len() > TOKEN_MAX_BYTES {
        return Err(Refusal::Token("it is longer than Google's"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        }
        bearer(&headers).ok().map(str::to_owned)
    }

    #[test]
    fn one_bearer_token_of_bounded_length_is_taken_however_its_scheme_is_written() {
        for text in ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", " Bearer abc "] {
            assert_eq!(token_of(&[text]).as_deref(), Some("abc"), "{text:?}");
        }
        let long = format!("Bearer {}", "a".repeat(TOKEN_MAX_BYTES + 1));
        for texts in [&[][..], &[""], &["Bearer"], &["Basic abc"], &["Bearerabc"], &["Bearer a", "Bearer a"], &[&long]]
        {
            assert_eq!(token_of(texts), None, "{texts:?}");
        }
    }
}
