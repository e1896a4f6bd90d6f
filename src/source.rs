//! Where messages come from. A source carries bytes and answers for them; it does not parse them.

pub mod files;
pub mod health;
mod http;
pub mod logging;
pub mod pull;
pub mod push;
pub mod shutdown;
pub mod start;
