//! Where notices go. [`Receiver`] is a seam with one file for each kind.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::notice::{Notice, Outcome};

#[cfg(feature = "cloud")]
pub mod alertmanager;
#[cfg(feature = "cloud")]
pub mod email;
#[cfg(feature = "cloud")]
pub mod google_chat;
#[cfg(feature = "cloud")]
mod http;
#[cfg(feature = "cloud")]
mod open;
#[cfg(feature = "cloud")]
pub mod pagerduty;
#[cfg(feature = "cloud")]
pub mod pubsub;
#[cfg(feature = "cloud")]
pub mod slack;
#[cfg(feature = "cloud")]
pub mod slack_webhook;
#[cfg(feature = "cloud")]
pub mod webhook;

/// Somewhere that notices go.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Sends one, and says what became of it. It ends by itself, well within a lease. `earlier` are those of its incident
    /// that this receiver was sent before, in their order.
    async fn send(&self, notice: &Notice, earlier: &[Notice], now: DateTime<Utc>) -> Outcome;
}
