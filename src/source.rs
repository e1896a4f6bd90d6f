//! Where messages come from. A source carries bytes and answers for them; it does not parse them.

pub mod files;
#[cfg(feature = "cloud")]
pub mod health;
#[cfg(feature = "cloud")]
mod http;
pub mod logging;
pub mod pull;
pub mod push;
#[cfg(feature = "cloud")]
pub mod shutdown;
#[cfg(feature = "cloud")]
pub mod start;
