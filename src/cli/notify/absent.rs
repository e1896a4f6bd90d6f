//! This build sends nothing.

use std::process::ExitCode;

use anyhow::Result;

use super::super::Format;
use super::super::cloud::without;
use super::super::table::Screen;
use crate::config::{Config, StoreUrl};

pub(super) async fn once(_: Option<StoreUrl>, _: &Config, _: Format, _: Screen) -> Result<ExitCode> {
    Err(without("pedwatch notify --once", None))
}

pub(super) async fn go_on(_: Option<StoreUrl>, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch notify", None))
}

pub(super) async fn test(_: &str, _: Vec<String>, _: &Config) -> Result<ExitCode> {
    Err(without("pedwatch notify test", None))
}
