//! Push: Pub/Sub posts each message to us, and takes the status for the answer.
//!
//! Source of truth: <https://cloud.google.com/pubsub/docs/push>. 102, 200, 201, 202 and 204 acknowledge; anything else
//! makes it come again.

#[cfg(feature = "cloud")]
mod body;
#[cfg(feature = "cloud")]
mod endpoint;
#[cfg(feature = "cloud")]
mod keys;
#[cfg(feature = "cloud")]
mod large;
#[cfg(feature = "cloud")]
mod oidc;

#[cfg(feature = "cloud")]
pub use endpoint::{Started, listen};

/// Where Pub/Sub posts to; Terraform's push endpoint ends in it.
pub const PATH: &str = "/pubsub/push";

/// The push endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// Port to listen on.
    pub port: u16,
    /// Who looks at the caller's token.
    pub auth: PushAuth,
    /// Requests handled at once; more are told to come again.
    pub max_in_flight: usize,
}

/// Who looks at a push request's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAuth {
    /// We do: it has to be Google's, for this audience, of this service account.
    Oidc {
        /// `aud` of the token: the push subscription's audience, usually the service's URL.
        audience: String,
        /// `email` of the token.
        service_account: String,
        /// Where Google's keys are.
        certs_url: String,
    },
    /// The platform does, before a request gets here: Cloud Run without unauthenticated access.
    Platform,
}

impl PushAuth {
    /// What it cannot do without, and the configuration does not say: each with what it is.
    pub fn missing(&self) -> Vec<String> {
        let PushAuth::Oidc { audience, service_account, .. } = self else { return Vec::new() };
        let keys = [
            ("push.audience", audience, "the push subscription's audience, usually this service's URL"),
            ("push.service_account", service_account, "the service account that the push subscription signs with"),
        ];
        let fault = |(key, _, wanted): (&str, _, &str)| {
            format!(
                "{key} is empty; expected {wanted}. Where the platform verifies the token instead, push.auth is \
                 \"platform\""
            )
        };
        keys.into_iter().filter(|(_, value, _)| value.is_empty()).map(fault).collect()
    }
}
