//! `pedwatch backfill`: records what Cloud Logging still has of a span of time.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::filter::Narrow;
use super::replay::{Progress, Recording};
use super::table::Screen;
use super::{Usage, check_span, parse_time, report};
use crate::config::Config;
use crate::id;
use crate::source::logging::backfill::{Backfilled, backfill, stopped_at};
use crate::source::logging::{Api, Entries, Question, RESOURCES_MAX};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A project whose audit logs to read; may be given several times: a folder's and an organization's sink exports those of
    /// all projects below, which are not the folder's own
    #[arg(long = "project", value_name = "PROJECT", value_parser = project, required_unless_present = "views")]
    projects: Vec<String>,
    /// A log view to read, where a bucket gathers the logs of many projects; may be given several times
    #[arg(
        long = "view",
        value_name = "projects/PROJECT/locations/LOCATION/buckets/BUCKET/views/VIEW",
        value_parser = view
    )]
    views: Vec<String>,
    /// From when on (such as 2026-09-11, yesterday or -7d). Somewhat early is right: what is there already is not recorded again
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: DateTime<Utc>,
    /// Until before when
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: DateTime<Utc>,
    #[command(flatten)]
    narrow: Narrow,
    #[command(flatten)]
    recording: Recording,
}

fn project(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    match !text.is_empty() && text.chars().all(is_part) {
        true => Ok(format!("projects/{text}")),
        false => Err("expected a project's id, such as acme-prod".to_owned()),
    }
}

fn view(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["projects" | "folders" | "organizations" | "billingAccounts", _, "locations", _, "buckets", _, "views", _]
            if parts.iter().all(|part| !part.is_empty()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(
            "expected projects/PROJECT/locations/LOCATION/buckets/BUCKET/views/VIEW (or folders/…, organizations/…)"
                .to_owned(),
        ),
    }
}

impl Args {
    fn question(&self) -> Result<Question> {
        let resources = [self.projects.as_slice(), &self.views].concat();
        if resources.len() > RESOURCES_MAX {
            return Err(Usage(format!(
                "{} projects and views are named; expected at most {RESOURCES_MAX} at once, the API's own limit",
                resources.len()
            ))
            .into());
        }
        check_span(["--from", "--to"], Some(id::time(self.from)), Some(id::time(self.to)))?;
        Ok(Question { resources, filter: self.narrow.filter(), from: self.from, to: self.to })
    }
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    let question = args.question()?;
    let api = Api::new(&config.backfill).await?;
    let run = args.recording.begin(config).await?;
    let begin = match stopped_at(&*run.store, &question).await? {
        Some(through) => {
            report::note(&format!("going on at {}, where the same backfill was stopped", id::time(through)));
            through
        }
        None => question.from,
    };
    let progress = Arc::new(Progress::new(seconds(question.from, question.to), SECONDS));
    progress.advance(seconds(question.from, begin));
    let entries = Entries::new(api, &config.backfill, question, begin, advance(&progress, begin));
    let Backfilled { mut replayed, through } = backfill(entries, run.recorder()).await?;
    progress.finish();
    replayed.unread = replayed.unread.map(|error| {
        error.context(format!("not all was read; go on with --from {} --to {}", id::time(through), id::time(args.to)))
    });
    args.recording.finish(&run, replayed, true, config, screen).await
}

/// What the bar shows where what is to do is a span of time.
const SECONDS: &str = "{wide_bar} {percent}% of the time {eta} left";

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
    u64::try_from((to - from).num_seconds()).unwrap_or(0)
}

/// Moves the bar on to a time. Pages may be less than a second apart, so it is counted from the beginning.
fn advance(progress: &Arc<Progress>, begin: DateTime<Utc>) -> impl Fn(DateTime<Utc>) + Send + 'static {
    let (progress, shown) = (Arc::clone(progress), AtomicU64::new(0));
    move |position| {
        let done = seconds(begin, position);
        progress.advance(done.saturating_sub(shown.swap(done, Ordering::Relaxed)));
    }
}
