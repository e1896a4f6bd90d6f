//! Bills: what happened in a month becomes lines, which are held against those that are kept; what they lack is appended.
//! Doing it again adds nothing, and what was kept by half is finished by the next run.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, SubsecRound, Utc};
use rust_decimal::Decimal;

use crate::billing::bill::{Due, Entry, NOTHING, Phase, State, charged, next};
use crate::billing::{Forecast, Line, Month, Price, Prices, Registered, Told, TooMuch, Unpriced};
use crate::ped::Deployment;
use crate::store::query::bills::{bills, closed_at, closing};
use crate::store::query::story::{self, Story, story};
use crate::store::row::{Bill, Billing, Place, Record};
use crate::store::{Appended, Store, StoreError};

/// Rows for one append.
const APPEND_ROWS: usize = 4_096;

/// Why there is no bill.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BillError {
    /// The month has not begun.
    #[error("{0} has not begun; expected a month that has, the running one ({1}) at the latest")]
    Future(Month, Month),
    /// The month is to be closed and is not over.
    #[error("{0} is not over, it ends at {1}; expected a month that is")]
    Running(Month, String),
    /// No price holds.
    #[error("no price holds in {0}; expected [billing.prices.DATE] with a date that is not after its first day")]
    NoPrice(Month),
    /// The month was closed by another price.
    #[error(
        "{month} was closed by the price {closed}, and by the configuration the price is {configured}; a closed month keeps its price: expected a new price to have a date of its own, after that month"
    )]
    Repriced {
        /// The month.
        month: Month,
        /// The version of its price then.
        closed: String,
        /// The version now.
        configured: String,
    },
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A month, and what holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The month.
    pub month: Month,
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub until: DateTime<Utc>,
    /// The price.
    pub price: Price,
    /// The version of the price.
    pub price_version: String,
    /// When it is looked at.
    pub now: DateTime<Utc>,
}

impl Period {
    /// A month as it is at an instant: the running one, where none is named.
    ///
    /// # Errors
    /// [`BillError`] for one that has not begun, or has no price.
    pub fn new(prices: &Prices, month: Option<Month>, now: DateTime<Utc>) -> Result<Self, BillError> {
        let now = now.trunc_subsecs(6);
        let running = prices.month_at(now).unwrap_or_else(|| Month::of(now.date_naive()));
        let month = month.unwrap_or(running);
        let (date, price) = prices.of(month).ok_or(BillError::NoPrice(month))?;
        let (from, until) = prices.span(month).ok_or(BillError::NoPrice(month))?;
        if now < from {
            return Err(BillError::Future(month, running));
        }
        Ok(Period { month, from, until, price: price.clone(), price_version: price.version(date, until), now })
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.now < self.until
    }

    /// Where what is known of it ends.
    pub fn known_until(&self) -> DateTime<Utc> {
        self.now.min(self.until)
    }

    fn billing(&self) -> Billing<'_> {
        Billing { month: self.month, price: &self.price, price_version: &self.price_version }
    }

    /// Reads what happened in it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn story(&self, store: &dyn Store, deployments: &[Deployment]) -> Result<Story, StoreError> {
        story(store, deployments, (self.from, self.until)).await
    }

    /// The line of one Deployment, as it is known.
    pub fn line(&self, told: &story::Told<'_>) -> Option<Line> {
        Line::new(&told.timeline, &self.price, (self.from, self.known_until()))
    }

    /// A line with what its sentences are made of.
    pub fn told<'t>(&'t self, line: &'t Line, told: &story::Told<'t>) -> Told<'t> {
        Told { line, price: &self.price, versions: Registered(told.versions), until: self.known_until() }
    }

    /// The line as a row. One that costs more than a column holds is not priced.
    fn bill(&self, line: &Line, told: &story::Told<'_>) -> Option<Bill> {
        let row = |line: &Line| Bill::new(self.billing(), told.place, self.told(line, told));
        row(line).or_else(|| {
            let unpriced = line.peak().map(|peak| Unpriced::TooMuch(TooMuch(peak.replicas)));
            row(&Line { steps: Vec::new(), unpriced, ..line.clone() })
        })
    }
}

/// One Deployment in a bill.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it comes to now. Where nothing is billed and something was, its sentence says so.
    pub bill: Bill,
    /// What is kept of it, what was added now included.
    pub kept: Vec<Bill>,
    /// What the month will come to, while it goes on.
    pub forecast: Option<Forecast>,
    /// Replicas times microseconds.
    pub replica_micros: i64,
}

impl Item {
    /// What is charged for it, in millionths.
    pub fn charged_micros(&self) -> i64 {
        charged(&self.entries())
    }

    /// Who is charged for it, by the last line that names somebody, as the view `current_bills` has it.
    pub fn owner(&self) -> Option<&str> {
        self.kept.iter().rev().find_map(|line| line.user_id.as_deref())
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        let entries = self.entries();
        let has = |state| entries.iter().any(|entry| entry.state == state);
        [State::Correction, State::Final].into_iter().find(|state| has(*state)).unwrap_or(self.bill.state)
    }

    fn entries(&self) -> Vec<Entry> {
        self.kept.iter().map(Bill::entry).collect()
    }
}

/// The bill of a month.
#[derive(Debug, Clone, PartialEq)]
pub struct MonthBill {
    /// The month.
    pub period: Period,
    /// Its Deployments, by cluster, namespace and name.
    pub items: Vec<Item>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// How many lines were added.
    pub added: usize,
}

/// Computes the bill of a month, and keeps what is new of it. `close` makes it final; `platform_max` is what a limit may be
/// raised to.
///
/// # Errors
/// [`BillError`]; doing it again is safe.
pub async fn bill(store: &dyn Store, period: Period, close: bool, platform_max: i64) -> Result<MonthBill, BillError> {
    if close && period.is_running() {
        return Err(BillError::Running(period.month, crate::id::time(period.until)));
    }
    let story = period.story(store, &[]).await?;
    let (mut bill, lines) = drafted(store, period, &story, close, platform_max).await?;
    for chunk in lines.chunks(APPEND_ROWS) {
        append(store, chunk.to_vec()).await?;
    }
    if close && bill.closed_at.is_none() {
        let Period { month, until, now, .. } = bill.period;
        // Last: who finds it finds all.
        append(store, vec![Record::Watermark(closing(month, until, now))]).await?;
        bill.closed_at = Some(now);
    }
    Ok(bill)
}

/// The bill of a month as it would be kept, and the lines that are not kept yet.
///
/// # Errors
/// [`BillError`]; nothing is written.
pub async fn drafted(
    store: &dyn Store,
    period: Period,
    story: &Story,
    close: bool,
    platform_max: i64,
) -> Result<(MonthBill, Vec<Record>), BillError> {
    let closed_at = closed_at(store, period.month).await?;
    let kept = bills(store, period.month).await?;
    keeps_its_price(&period, &kept)?;
    let mut items = items(&period, story, kept, platform_max);
    let phase = match (closed_at, close) {
        (Some(_), _) => Phase::Closed,
        (None, true) => Phase::Closing,
        (None, false) => Phase::Open,
    };
    let mut lines = Vec::new();
    for item in &mut items {
        if let Some(line) = addition(item, phase, period.now) {
            item.kept.push(line.clone());
            lines.push(Record::Bill(Box::new(line)));
        }
    }
    items.retain(|item| !item.kept.is_empty());
    Ok((MonthBill { period, items, closed_at, added: lines.len() }, lines))
}

fn keeps_its_price(period: &Period, kept: &[Bill]) -> Result<(), BillError> {
    let other = |line: &&Bill| line.price_version != period.price_version && line.entry().is_settled();
    kept.iter().find(other).map_or(Ok(()), |line| {
        Err(BillError::Repriced {
            month: period.month,
            closed: line.price_version.clone(),
            configured: period.price_version.clone(),
        })
    })
}

/// What is billed now, and what is kept of what is not billed any more.
fn items(period: &Period, story: &Story, kept: Vec<Bill>, platform_max: i64) -> Vec<Item> {
    let mut of_place: BTreeMap<[String; 5], Vec<Bill>> = BTreeMap::new();
    let key = |bill: &Bill| bill.place().map(str::to_owned);
    kept.into_iter().for_each(|line| of_place.entry(key(&line)).or_default().push(line));
    let mut items: BTreeMap<[String; 5], Item> = BTreeMap::new();
    for told in story.deployments() {
        let Some(line) = period.line(&told) else { continue };
        let Some(bill) = period.bill(&line, &told) else { continue };
        let kept = of_place.remove(&key(&bill)).unwrap_or_default();
        let span = (period.from, period.now, period.until);
        let forecast = period.is_running().then(|| Forecast::new(&told.timeline, &period.price, span, platform_max));
        items.insert(key(&bill), Item { bill, kept, forecast, replica_micros: line.replica_micros });
    }
    for (key, kept) in of_place {
        let Some(line) = kept.first() else { continue };
        let place = Place {
            project_id: line.project_id.as_deref(),
            location: line.location.as_deref(),
            cluster_name: &line.cluster_name,
            cluster_id: "",
            namespace: &line.namespace,
            deployment_name: &line.deployment_name,
        };
        let bill = Bill::none(period.billing(), place);
        items.insert(key, Item { bill, kept, forecast: None, replica_micros: 0 });
    }
    items.into_values().collect()
}

/// The line that what is kept lacks.
fn addition(item: &Item, phase: Phase, now: DateTime<Utc>) -> Option<Bill> {
    let bill = &item.bill;
    let is_priced = bill.base_micros.is_some();
    let due = Due { fee_micros: is_priced.then_some(bill.fee_micros), inputs: &bill.inputs_hash };
    let due = (bill.inputs_hash != NOTHING).then_some(due);
    let entries = item.entries();
    let draft = next(&entries, due, phase)?;
    // A line is later than those before it, whatever the clocks say.
    let last = entries.iter().map(|entry| entry.computed_at + Duration::microseconds(1)).max();
    Some(bill.clone().kept_as(draft, last.map_or(now, |last| last.max(now))))
}

async fn append(store: &dyn Store, records: Vec<Record>) -> Result<(), StoreError> {
    let outcomes = store.append(records.into()).await?;
    let refused = outcomes.iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a line of a bill: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}

/// Millionths as an amount.
pub fn amount(micros: i64) -> Decimal {
    Decimal::new(micros, 6)
}
