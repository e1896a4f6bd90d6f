//! This build looks at no dataset.

use std::process::ExitCode;

use anyhow::Result;

use super::super::cloud::without;
use crate::config::Config;
use crate::store::bigquery::DatasetName;

/// What makes the same tables.
const INSTEAD: Option<&str> = Some("pedwatch schema print, and bq query with what it prints");

pub(super) async fn apply(_: DatasetName, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch schema apply", INSTEAD))
}

pub(super) async fn check(_: DatasetName, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch schema check", INSTEAD))
}
