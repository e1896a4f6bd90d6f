//! Streaming pull: messages as fast as they are answered for. The client extends leases, and gives back what is dropped.

use std::time::Duration;

#[cfg(feature = "cloud")]
mod stream;

#[cfg(feature = "cloud")]
pub use stream::{Puller, open, pull};

/// The pull subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullConfig {
    /// `projects/PROJECT/subscriptions/NAME`, if the configuration says it.
    pub subscription: Option<String>,
    /// Base URL of another server than Google's.
    pub endpoint: Option<String>,
    /// Sends no credentials: for an emulator.
    pub anonymous: bool,
    /// Messages that may be waiting for their answer.
    pub max_outstanding_messages: u32,
    /// Their size in MiB.
    pub max_outstanding_mib: u32,
    /// How long a message is ours without a sign of life; then somebody else gets it.
    pub lease: Duration,
}

/// Checks how a subscription is named: <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>.
///
/// # Errors
/// What would be right.
pub fn subscription(text: &str) -> Result<String, String> {
    let project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '%');
    match text.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", left, "subscriptions", right]
            if !left.is_empty()
                && left.chars().all(project)
                && (3..=255).contains(&right.len())
                && right.starts_with(|first: char| first.is_ascii_alphabetic())
                && right.chars().all(name) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "expected {FORM:?} with a name of 3 to 255 characters, such as \"projects/acme-prod/subscriptions/pedwatch-audit\""
        )),
    }
}

/// How a subscription is named.
pub const FORM: &str = "projects/PROJECT/subscriptions/NAME";
