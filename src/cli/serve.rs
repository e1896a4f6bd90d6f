//! `pedwatch serve` and `pedwatch pull`: two ways in, one pipeline.

use crate::config::{STORE_URL, StoreUrl};
use crate::source::pull as puller;

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct Args {
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct PullArgs {
    /// The subscription; pull.subscription, if not given
    #[arg(long, value_name = puller::FORM, value_parser = puller::subscription)]
    subscription: Option<String>,
    #[command(flatten)]
    store: Args,
}

#[cfg(not(feature = "cloud"))]
mod absent;
#[cfg(feature = "cloud")]
mod live;

#[cfg(not(feature = "cloud"))]
pub(super) use absent::{pull, serve};
#[cfg(feature = "cloud")]
pub(super) use live::{pull, serve};
