//! What is done from time to time: fetch, a pure room, append.

pub mod backtest;
pub mod bill;
#[cfg(feature = "clusters")]
pub mod canary;
pub mod compare;
pub mod cost;
pub mod daily;
#[cfg(feature = "cloud")]
pub mod notify;
pub mod report;
pub mod snapshot;
#[cfg(feature = "clusters")]
pub mod watch;
