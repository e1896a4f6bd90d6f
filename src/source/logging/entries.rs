//! The entries that answer a question: page after page, at the pace of a quota.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, SubsecRound, Utc};
use serde::Deserialize;
use serde_json::json;

use super::super::files::{CHUNK_BYTES, CHUNK_DOCUMENTS};
use super::api::{Api, Failure};
use super::{LoggingConfig, filter, page};
use crate::id::{self, id};
use crate::pipeline::chunk::{Chunk, Span};
use crate::time;

/// Most resources that one question may name, and most entries that one page may have: both are the API's own limits.
pub const RESOURCES_MAX: usize = 100;
const PAGE_ENTRIES: usize = 1_000;

/// Longest wait that a server may ask for: quotas are counted by the minute.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// From a hiccup to a quota that is used up for the rest of its minute. Jittered, for others share that quota.
fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .without_max_times()
        .build()
}

/// What is asked of the Logging API.
#[derive(Debug, Clone)]
pub struct Question {
    /// Projects (`projects/PROJECT`) and log views, [`RESOURCES_MAX`] at most. Entries of a folder's or an organization's
    /// projects are not the folder's.
    pub resources: Vec<String>,
    /// In Logging's query language, without bounds of time.
    pub filter: String,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until before when.
    pub to: DateTime<Utc>,
}

impl Question {
    /// Names it among others: the same question has the same name.
    pub(super) fn name(&self) -> String {
        let (from, to) = (id::time(self.from), id::time(self.to));
        format!("backfill/{}", id(&[&self.resources.join("\n"), &self.filter, &from, &to]))
    }

    fn place(&self) -> Arc<str> {
        match self.resources.as_slice() {
            [resource] => format!("entries.list of {resource}").into(),
            resources => format!("entries.list of {} resources", resources.len()).into(),
        }
    }
}

/// The entries that answer a question, page by page.
pub struct Entries {
    api: Api,
    pub(super) question: Question,
    pace: Pace,
    deadline: Duration,
    place: Arc<str>,
    /// Everything before has been handed on.
    pub(super) position: DateTime<Utc>,
    /// From when on is asked, which a token belongs to.
    asked_from: DateTime<Utc>,
    token: Option<String>,
    pub(super) is_done: bool,
    /// Why a page could not be had was told.
    pub(super) has_failed: bool,
    entries: u64,
    advanced: Box<dyn Fn(DateTime<Utc>) + Send>,
}

impl Entries {
    /// Begins at a time of the question's. `advanced` hears how far the entries have been handed on.
    pub fn new(
        api: Api,
        config: &LoggingConfig,
        question: Question,
        begin: DateTime<Utc>,
        advanced: impl Fn(DateTime<Utc>) + Send + 'static,
    ) -> Self {
        Entries {
            api,
            place: question.place(),
            question,
            pace: Pace { every: Duration::from_secs(60) / config.requests_per_minute, next: Instant::now() },
            deadline: config.deadline,
            position: begin,
            asked_from: begin,
            token: None,
            is_done: false,
            has_failed: false,
            entries: 0,
            advanced: Box::new(advanced),
        }
    }

    /// Hands on the next pages, as chunks, until `take` returns false. To be called where blocking is allowed.
    ///
    /// # Errors
    /// When a page cannot be had. What was handed on stays valid, and [`Entries::position`] is where to go on.
    pub(super) fn read(&mut self, pages: usize, take: &mut dyn FnMut(Chunk) -> bool) -> Result<()> {
        for _ in 0..pages {
            let page = if self.is_done { Ok(false) } else { self.page(take) };
            self.has_failed = page.is_err();
            if !page? {
                break;
            }
        }
        Ok(())
    }

    /// The next page, however often it has to be asked for; false when nobody takes more.
    fn page(&mut self, take: &mut dyn FnMut(Chunk) -> bool) -> Result<bool> {
        let (begun, mut delays, mut renewed) = (Instant::now(), backoff(), false);
        loop {
            match self.attempt(take) {
                Ok(is_taken) => return Ok(is_taken),
                Err(Failure::Transient { why, after }) => {
                    let delay = after.map(|after| after.min(RETRY_AFTER_MAX)).or_else(|| delays.next());
                    let delay = delay.unwrap_or(RETRY_AFTER_MAX);
                    if begun.elapsed() + delay > self.deadline {
                        bail!("gave up after {} s; at last: {why}", begun.elapsed().as_secs());
                    }
                    tracing::warn!(
                        delay_ms = delay.as_millis(),
                        why,
                        "Cloud Logging does not answer well; trying again"
                    );
                    std::thread::sleep(delay);
                }
                Err(Failure::Unauthorized(_)) if !std::mem::replace(&mut renewed, true) => self.api.renew(),
                // A token is good for a day, and for the very same question. Asking anew has to lead further each time.
                Err(Failure::Invalid(why)) if self.token.is_some() && self.position > self.asked_from => {
                    tracing::warn!(why, "the page token is refused; asking again from the last entry on");
                    (self.asked_from, self.token) = (self.position, None);
                }
                Err(failure) => bail!("{failure}"),
            }
        }
    }

    /// Asks for the next page once. What is handed on of one that breaks off comes again with the next attempt.
    fn attempt(&mut self, take: &mut dyn FnMut(Chunk) -> bool) -> Result<bool, Failure> {
        self.pace.wait();
        let answer = self.api.ask(&self.request())?;
        let (mut chunk, mut last, mut is_taken) = (Chunk::new(Arc::clone(&self.place)), self.position, true);
        let read = page::read(answer, |entry| {
            last = last.max(timestamp(entry).unwrap_or(last));
            self.entries += 1;
            chunk.bytes.extend_from_slice(entry.as_bytes());
            chunk.documents.push(Span { end: chunk.bytes.len(), line: self.entries, too_large: None, refused: None });
            if chunk.bytes.len() >= CHUNK_BYTES || chunk.documents.len() >= CHUNK_DOCUMENTS {
                is_taken = take(std::mem::replace(&mut chunk, Chunk::new(Arc::clone(&self.place))));
            }
            is_taken
        });
        if !is_taken {
            return Ok(false);
        }
        let token = read.map_err(|error| Failure::transient(format!("the answer is no whole page: {error}")))?;
        if !chunk.documents.is_empty() && !take(chunk) {
            return Ok(false);
        }
        self.advance(token, last);
        Ok(true)
    }

    /// A page without entries may have a token: the search goes on.
    fn advance(&mut self, token: Option<String>, last: DateTime<Utc>) {
        self.is_done = token.is_none();
        // To the microsecond, as it is asked for and as stores keep it.
        self.position = if self.is_done { self.question.to } else { last.trunc_subsecs(6).min(self.question.to) };
        self.token = token;
        (self.advanced)(self.position);
    }

    fn request(&self) -> serde_json::Value {
        let Question { resources, filter, to, .. } = &self.question;
        json!({
            "resourceNames": resources,
            "filter": filter::within(filter, Some(self.asked_from), Some(*to)),
            "orderBy": "timestamp asc",
            "pageSize": PAGE_ENTRIES,
            // Empty is the same as none.
            "pageToken": self.token.as_deref().unwrap_or_default(),
        })
    }
}

/// When an entry happened, by which pages are in order.
fn timestamp(entry: &str) -> Option<DateTime<Utc>> {
    #[derive(Deserialize)]
    struct Entry {
        timestamp: String,
    }
    time::read(&serde_json::from_str::<Entry>(entry).ok()?.timestamp)
}

/// Keeps requests apart, so that the quota is never used up: others read logs too.
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn wait(&mut self) {
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next = Instant::now() + self.every;
    }
}
