//! A month, or a span of time, as one page that stands by itself: no script, nothing from elsewhere, light and dark, on paper too. Pure.
//!
//! ```text
//!  Subject (timeline, line of the bill, alerts) ─▶ card: plot, calendar, changes, reasons ─▶ page.html.jinja ─▶ HTML
//! ```
//!
//! Every number on it is a fold over the timeline's intervals, or a line of the bill: none is computed here otherwise.

use chrono::{DateTime, NaiveDate, Utc};
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
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// Where what is known of it ends.
    pub known_until: DateTime<Utc>,
    /// The first instant after it.
    pub until: DateTime<Utc>,
    /// What is charged: the month that it is, or each that it touches, whole.
    pub months: &'f [Billed<'f>],
    /// A price that holds; all of them have its currency, zone and places.
    pub price: &'f Price,
    /// When the page is made.
    pub now: DateTime<Utc>,
    /// Only of this owner.
    pub owner: Option<&'f str>,
    /// In which language.
    pub language: crate::notify::template::Language,
}

/// A month that is charged.
#[derive(Debug, Clone)]
pub struct Billed<'f> {
    /// The month.
    pub month: Month,
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub until: DateTime<Utc>,
    /// Where what is known of it ends.
    pub known_until: DateTime<Utc>,
    /// The price that holds.
    pub price: &'f Price,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
}

impl Frame<'_> {
    fn zone(&self) -> Tz {
        self.price.timezone
    }

    /// Whether it is a month, and no other span of time.
    fn is_month(&self) -> bool {
        matches!(self.months, [month] if (month.from, month.until) == (self.from, self.until))
    }

    /// What it is called.
    fn title(&self) -> String {
        match self.months {
            [billed] if self.is_month() => billed.month.to_string(),
            _ => format!("{} – {}", self.time(self.from), self.time(self.until)),
        }
    }

    /// Its days, each with the part of it that it is of.
    fn days(&self) -> impl Iterator<Item = (NaiveDate, DateTime<Utc>, DateTime<Utc>)> {
        let (zone, from, until) = (self.zone(), self.from, self.until);
        let months = std::iter::successors(Some(Month::at(from, zone)), |month| Some(month.next()));
        let days =
            months.take_while(move |month| month.begins_at(zone) < until).flat_map(move |month| month.days(zone));
        let parts = days.map(move |(day, begin, end)| (day, begin.max(from), end.min(until)));
        parts.filter(|(_, begin, end)| begin < end)
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
    /// What it is charged, by the months.
    pub charges: Vec<Charged<'s>>,
    /// The versions of its PED.
    pub versions: &'s [crate::ped::version::Version],
    /// The alerts that stand.
    pub alerts: Vec<Alert>,
    /// What snapshots counted, and when.
    pub actual: Vec<(DateTime<Utc>, i64)>,
}

/// What a Deployment is charged for a month.
#[derive(Debug, Clone)]
pub struct Charged<'s> {
    /// The month.
    pub billed: &'s Billed<'s>,
    /// Its line; `None` where it is not billed.
    pub line: Option<Line>,
    /// What it is charged by the bill.
    pub fee: Decimal,
    /// What has become of the line.
    pub state: &'static str,
}

impl Subject<'_> {
    /// What it is charged in all.
    fn fee(&self) -> Decimal {
        self.charges.iter().map(|charged| charged.fee).sum()
    }

    /// What has become of its lines, each once.
    fn states(&self) -> Vec<&'static str> {
        let mut states: Vec<&'static str> = self.charges.iter().map(|charged| charged.state).collect();
        states.dedup();
        states
    }

    /// The lines, each with what its sentences are made of, and its month.
    fn lines(&self) -> impl Iterator<Item = (Month, Told<'_>)> {
        self.charges.iter().filter_map(|Charged { billed, line, .. }| {
            let versions = crate::billing::Registered(self.versions);
            let line = line.as_ref()?;
            Some((billed.month, Told { line, price: billed.price, versions, until: billed.known_until }))
        })
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
