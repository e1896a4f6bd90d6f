//! Asks Cloud Logging, and records what it answers.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::super::replay::Progress;
use super::super::table::Screen;
use super::super::{Usage, check_span, report};
use super::Args;
use crate::config::Config;
use crate::id;
use crate::source::logging::backfill::{Backfilled, backfill, stopped_at};
use crate::source::logging::{Api, Entries, Question, RESOURCES_MAX};

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

pub(in crate::cli) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
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
