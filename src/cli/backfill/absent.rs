//! This build asks Cloud Logging nothing.

use std::process::ExitCode;

use anyhow::Result;

use super::super::cloud::without;
use super::super::table::Screen;
use super::Args;
use crate::config::Config;

pub(in crate::cli) async fn run(_: Args, _: &Config, _: Screen) -> Result<ExitCode> {
    let instead = "pedwatch replay of what gcloud logging read --format=json prints";
    Err(without("pedwatch backfill", Some(instead)))
}
