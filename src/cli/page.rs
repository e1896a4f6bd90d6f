//! `pedwatch report`: a month, or a span of time, as one HTML file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use percent_encoding::utf8_percent_encode;

use super::bill::WantedMonth;
use super::cloud::Storage;
use super::table::Screen;
use super::{Access, Usage, check_span, parse_time, report as printed, require_store};
use crate::bucket::ObjectName;
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::report::{ReportError, Scope, report};
use crate::notify::template::Language;
use crate::remote::IN_A_URL;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The month, such as 2026-09, or last; without it, and without --from, the running one
    #[arg(long, value_name = "MONTH", conflicts_with_all = ["from", "to"])]
    month: Option<WantedMonth>,
    /// What happened from then on, in the place of a month; the months that it touches are charged whole
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<DateTime<Utc>>,
    /// Until then; without it until now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true, requires = "from")]
    to: Option<DateTime<Utc>>,
    /// Only what this owner is charged
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// In English (en) or Chinese (zh)
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// Where to write it: a file, or an object of Cloud Storage; without it, to standard output. A folder's name that ends in
    /// a slash gets 2026-09.html, by the month
    #[arg(short, long, value_name = "FILE|gs://BUCKET/OBJECT")]
    output: Option<Output>,
    /// Where facts are kept; none is touched
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(args: Args, config: &Config, _screen: Screen) -> Result<ExitCode> {
    let scope = scope(&args, config)?;
    let store = require_store(args.store, config, Access::Existing).await?;
    // Before the work: who may write nothing is told at once.
    let target = Target::open(args.output, &file_name(&scope, args.owner.as_deref()), config).await?;
    let platform_max = *config.policy.platform.end();
    let page = report(&*store, scope, args.owner.as_deref(), args.language, platform_max).await.map_err(usage)?;
    target.put(&page).await?;
    Ok(ExitCode::SUCCESS)
}

/// Where a page is to be put.
#[derive(Debug, Clone)]
enum Output {
    File(PathBuf),
    Object(ObjectName),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("gs://") { text.parse().map(Output::Object) } else { Ok(Output::File(text.into())) }
    }
}

/// What a browser is to take an object for.
const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// As [`Output`], with what it takes to write there.
enum Target {
    Stdout,
    File(PathBuf),
    Object(ObjectName, Storage),
}

impl Target {
    /// `name` is what the page is called in a folder.
    async fn open(output: Option<Output>, name: &str, config: &Config) -> Result<Self> {
        Ok(match output {
            None => Target::Stdout,
            Some(Output::File(file)) if file.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                Target::File(file.join(name))
            }
            Some(Output::File(file)) => Target::File(file),
            Some(Output::Object(object)) => {
                let object = object.or_in_it(name);
                let storage = Storage::open(&object, config).await?;
                Target::Object(object, storage)
            }
        })
    }

    async fn put(self, page: &str) -> Result<()> {
        match self {
            Target::Stdout => printed::bytes(page.as_bytes()),
            Target::File(file) => write(&file, page).with_context(|| format!("failed to write {}", file.display())),
            Target::Object(object, storage) => storage.put(&object, CONTENT_TYPE, page).await,
        }
    }
}

/// What a page is called beside others.
fn file_name(scope: &Scope, owner: Option<&str>) -> String {
    // An owner is whatever a team writes into its PED, and no path.
    let owner = owner.map_or_else(String::new, |owner| format!("-{}", utf8_percent_encode(owner, IN_A_URL)));
    format!("{}{owner}.html", scope.name())
}

fn scope(args: &Args, config: &Config) -> Result<Scope> {
    let now = Utc::now();
    let Some(from) = args.from else {
        return Ok(Scope::month(super::bill::period(config, args.month)?));
    };
    let to = args.to.unwrap_or(now);
    check_span(["--from", "--to"], Some(id::time(from)), Some(id::time(to)))?;
    Scope::span(&config.prices, (from, to), now).map_err(usage)
}

/// What the caller has to put right, but for the store and for faults of ours.
fn usage(error: ReportError) -> anyhow::Error {
    match error {
        ReportError::Bill(error) => super::bill::usage(error),
        ReportError::Page(fault) => fault.into(),
        wrong => Usage(wrong.to_string()).into(),
    }
}

/// Beside it first, and then in its place: whoever looks sees the old page or the new one.
fn write(file: &std::path::Path, page: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, page)?;
    std::fs::rename(&beside, file)
}
