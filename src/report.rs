//! A month as one page that stands by itself: no script, nothing from elsewhere, light and dark, on paper too. Pure.
//!
//! ```text
//!  Subject (timeline, line of the bill, alerts) ─▶ card: plot, calendar, changes, reasons ─▶ page.html.jinja ─▶ HTML
//! ```
//!
//! Every number on it is a fold over the timeline's intervals, or a line of the bill: none is computed here otherwise.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use crate::billing::{Line, Month, Price, Told};
use crate::policy::Severity;
use crate::timeline::Timeline;

mod card;
mod page;
mod plot;
mod words;

pub use page::{PageFault, page};

/// What a page is of.
#[derive(Debug, Clone)]
pub struct Frame<'f> {
    /// The month.
    pub month: Month,
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// Where what is known of it ends.
    pub known_until: DateTime<Utc>,
    /// The first instant after it.
    pub until: DateTime<Utc>,
    /// The price that holds.
    pub price: &'f Price,
    /// When the page is made.
    pub now: DateTime<Utc>,
    /// Only of this owner.
    pub owner: Option<&'f str>,
    /// When the month was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// In which language.
    pub language: crate::notify::template::Language,
}

impl Frame<'_> {
    fn zone(&self) -> Tz {
        self.price.timezone
    }

    fn time(&self, time: DateTime<Utc>) -> String {
        time.with_timezone(&self.zone()).format("%Y-%m-%d %H:%M").to_string()
    }
}

/// One Deployment, and all that is told of it.
#[derive(Debug, Clone)]
pub struct Subject<'s> {
    /// Name of its cluster.
    pub cluster: &'s str,
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Who is charged.
    pub owner: Option<String>,
    /// What was in force when.
    pub timeline: Timeline,
    /// Its line; `None` where it is not billed.
    pub line: Option<Line>,
    /// What it is charged by the bill.
    pub fee: Decimal,
    /// What has become of the line.
    pub state: &'static str,
    /// The versions of its PED.
    pub versions: &'s [crate::ped::version::Version],
    /// The alerts that stand.
    pub alerts: Vec<Alert>,
    /// What snapshots counted, and when.
    pub actual: Vec<(DateTime<Utc>, i64)>,
}

impl Subject<'_> {
    fn told<'t>(&'t self, line: &'t Line, frame: &'t Frame<'_>) -> Told<'t> {
        let versions = crate::billing::Registered(self.versions);
        Told { line, price: frame.price, versions, until: frame.known_until }
    }
}

/// An alert that stands.
#[derive(Debug, Clone)]
pub struct Alert {
    /// When it began.
    pub at: DateTime<Utc>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// Its sentence.
    pub message: String,
    /// Who caused it.
    pub actor: String,
}
