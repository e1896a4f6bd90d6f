//! This build takes no messages.

use std::process::ExitCode;

use anyhow::Result;

use super::super::cloud::without;
use super::{Args, PullArgs};
use crate::config::Config;

pub(in crate::cli) async fn serve(_: Args, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch serve", Some("pedwatch replay of what the sink exports to files")))
}

pub(in crate::cli) async fn pull(_: PullArgs, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch pull", Some("pedwatch replay of what the sink exports to files")))
}
