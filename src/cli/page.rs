//! `pedwatch report`: a month as one HTML file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::table::Screen;
use super::{Access, report as printed, require_store};
use crate::billing::Month;
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::job::report::{ReportError, report};
use crate::notify::template::Language;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The month, such as 2026-09; without it the running one
    #[arg(long, value_name = "MONTH")]
    month: Option<Month>,
    /// Only what this owner is charged
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// In English (en) or Chinese (zh)
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// Where to write it; without it, to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where facts are kept; none is touched
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(args: Args, config: &Config, _screen: Screen) -> Result<ExitCode> {
    let period = super::bill::period(config, args.month)?;
    let store = require_store(args.store, config, Access::Existing).await?;
    let platform_max = *config.policy.platform.end();
    let made = report(&*store, period, args.owner.as_deref(), args.language, platform_max).await;
    let page = made.map_err(|error| match error {
        ReportError::Bill(error) => super::bill::usage(error),
        ReportError::Page(fault) => fault.into(),
    })?;
    match &args.output {
        None => printed::bytes(page.as_bytes())?,
        Some(file) => write(file, &page).with_context(|| format!("failed to write {}", file.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Beside it first, and then in its place: whoever looks sees the old page or the new one.
fn write(file: &std::path::Path, page: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, page)?;
    std::fs::rename(&beside, file)
}
