//! A month, or a span of time, as one page: what happened, what it costs and what was raised, fetched and handed to the pure
//! room.

use std::collections::HashMap;

use chrono::{DateTime, Duration, SubsecRound, Utc};

use super::bill::{BillError, Item, MonthBill, Period, amount, drafted};
use crate::billing::{Month, Price, Prices};
use crate::names::Named;
use crate::notify::template::Language;
use crate::report::{Alert, Billed, Charged, Frame, PageFault, Subject, page};
use crate::store::Store;
use crate::store::query::bills::{Counted, counted};
use crate::store::query::story::{Story, Told, story};
use crate::store::query::{self, WantedAlerts};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no bill.
    #[error(transparent)]
    Bill(#[from] BillError),
    /// The span of time has not begun.
    #[error("{0} has not come; expected a span of time that has begun")]
    Future(String),
    /// The span of time is too long for a page.
    #[error("these are {0} days; expected {SPAN_DAYS_MAX} at most: the page has each of them for each Deployment")]
    TooLong(i64),
    /// What is charged cannot be added up, or its months are cut by other clocks.
    #[error(
        "{0} and {1} have prices of another currency, zone or number of places; expected a span of time on one side"
    )]
    Unlike(Month, Month),
    /// A fault of ours.
    #[error(transparent)]
    Page(#[from] PageFault),
}

impl From<crate::store::StoreError> for ReportError {
    fn from(error: crate::store::StoreError) -> Self {
        ReportError::Bill(error.into())
    }
}

/// What a Deployment is called everywhere: project, location, cluster, namespace and name.
type Names = [String; 5];

/// What a page is made of besides the bill.
struct Found {
    story: Story,
    alerts: HashMap<Names, Vec<Alert>>,
    actual: HashMap<Names, Vec<(DateTime<Utc>, i64)>>,
}

/// A page has a calendar of every day: a quarter, and some days to look around it.
const SPAN_DAYS_MAX: i64 = 100;

/// What a page is of: a month, or a span of time with the months that it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    /// Of whose currency, zone and places all of them are.
    price: Price,
    months: Vec<Period>,
}

impl Scope {
    /// A month.
    pub fn month(period: Period) -> Self {
        let Period { from, until, now, ref price, .. } = period;
        Scope { from, until, now, price: price.clone(), months: vec![period] }
    }

    /// What happens in [from, until), as it is at an instant. The months that it touches are charged whole: a part of one
    /// has no fee.
    ///
    /// # Errors
    /// [`ReportError`] for a span that has not begun, is too long, or has no price, or prices that differ in what a sum has.
    pub fn span(
        prices: &Prices,
        (from, until): (DateTime<Utc>, DateTime<Utc>),
        now: DateTime<Utc>,
    ) -> Result<Self, ReportError> {
        let now = now.trunc_subsecs(6);
        if now <= from {
            return Err(ReportError::Future(crate::id::time(from)));
        }
        if until - from > Duration::days(SPAN_DAYS_MAX) {
            return Err(ReportError::TooLong((until - from).num_days()));
        }
        let first = prices.month_at(from).unwrap_or_else(|| Month::of(from.date_naive()));
        let first = Period::new(prices, Some(first), now)?;
        let price = first.price.clone();
        let sums = |price: &Price| (price.currency.clone(), price.timezone, price.places);
        let mut months = vec![first];
        while let Some(last) = months.last().filter(|last| last.until < until.min(now)) {
            let next = Period::new(prices, Some(last.month.next()), now)?;
            if sums(&price) != sums(&next.price) {
                return Err(ReportError::Unlike(last.month, next.month));
            }
            months.push(next);
        }
        Ok(Scope { from, until, now, price, months })
    }

    /// What it is called in a name of a file: `2026-09`, or `2026-09-05_2026-09-12` by its first instant and the first after it.
    pub fn name(&self) -> String {
        match self.months.as_slice() {
            [period] if (period.from, period.until) == (self.from, self.until) => period.month.to_string(),
            _ => {
                let day = |time: DateTime<Utc>| time.with_timezone(&self.price.timezone).date_naive();
                format!("{}_{}", day(self.from), day(self.until))
            }
        }
    }

    fn known_until(&self) -> DateTime<Utc> {
        self.now.min(self.until)
    }

    /// From the first instant that is charged to the first after the last: the months whole.
    fn reach(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let begins = self.months.iter().map(|period| period.from).min();
        let ends = self.months.iter().map(|period| period.until).max();
        (begins.unwrap_or(self.from), ends.unwrap_or(self.until))
    }
}

/// Makes the page. Nothing is written.
///
/// # Errors
/// [`ReportError`] when there is no bill, or the store cannot be read.
pub async fn report(
    store: &dyn Store,
    scope: Scope,
    owner: Option<&str>,
    language: Language,
    platform_max: i64,
) -> Result<String, ReportError> {
    let (from, known_until) = (scope.from, scope.known_until());
    let story = story(store, &[], scope.reach()).await?;
    let span = (from, known_until);
    let found = Found { alerts: alerts(store, span).await?, actual: actual(store, span).await?, story };
    let Scope { until, now, price, months, .. } = scope;
    let mut bills = Vec::new();
    for period in months {
        bills.push(drafted(store, period, &found.story, false, platform_max).await?.0);
    }
    let months: Vec<Billed<'_>> = bills.iter().map(billed).collect();
    let frame = Frame { from, known_until, until, months: &months, price: &price, now, owner, language };
    Ok(page(&frame, subjects(&bills, &months, &found, owner))?)
}

fn billed(bill: &MonthBill) -> Billed<'_> {
    let known_until = bill.period.known_until();
    let Period { month, from, until, ref price, .. } = bill.period;
    Billed { month, from, until, known_until, price, closed_at: bill.closed_at }
}

fn names(told: &Told<'_>) -> Names {
    let place = told.place;
    let parts = [place.project_id, place.location].map(Option::unwrap_or_default);
    [parts[0], parts[1], place.cluster_name, place.namespace, place.deployment_name].map(str::to_owned)
}

/// Each Deployment of the bills. One of which nothing is known any more, but what was charged, has no story.
fn subjects<'s>(
    bills: &'s [MonthBill],
    months: &'s [Billed<'s>],
    found: &'s Found,
    owner: Option<&str>,
) -> Vec<Subject<'s>> {
    let is_wanted = |item: &&Item| owner.is_none_or(|owner| item.owner() == Some(owner));
    let items = |bill: &'s MonthBill| -> HashMap<Names, &'s Item> {
        bill.items.iter().filter(is_wanted).map(|item| (item.bill.place().map(str::to_owned), item)).collect()
    };
    let bills: Vec<_> = bills.iter().zip(months).map(|(bill, billed)| (bill, billed, items(bill))).collect();
    let told = found.story.deployments().filter_map(|told| {
        let names = names(&told);
        let of = |(bill, billed, items): &(&'s MonthBill, &'s Billed<'s>, HashMap<Names, &'s Item>)| {
            let item = *items.get(&names)?;
            let (line, fee, state) = (bill.period.line(&told), amount(item.charged_micros()), item.state().as_str());
            Some((item, Charged { billed, line, fee, state }))
        };
        let (items, charges): (Vec<&Item>, Vec<Charged<'_>>) = bills.iter().filter_map(of).unzip();
        // Who is charged last.
        let owner = items.iter().rev().find_map(|item| item.owner());
        (!charges.is_empty()).then(|| Subject {
            cluster: told.place.cluster_name,
            name: format!("{}/{}", told.place.namespace, told.place.deployment_name),
            owner: owner.map(str::to_owned),
            charges,
            versions: told.versions,
            alerts: found.alerts.get(&names).cloned().unwrap_or_default(),
            actual: found.actual.get(&names).cloned().unwrap_or_default(),
            timeline: told.timeline,
        })
    });
    told.collect()
}

async fn alerts(
    store: &dyn Store,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<HashMap<Names, Vec<Alert>>, ReportError> {
    let wanted = WantedAlerts { since: Some(from), until: Some(until), ..WantedAlerts::default() };
    let mut alerts: HashMap<Names, Vec<Alert>> = HashMap::new();
    for row in query::alerts(store, &wanted, usize::MAX).await? {
        let Some(deployment) = row.deployment_name else { continue };
        let text = |part: Option<String>| part.unwrap_or_default();
        let names = [text(row.project_id), text(row.location), row.cluster_name, row.namespace, deployment];
        let actor = text(row.actor);
        let alert = Alert { at: row.alert_time, severity: row.severity, message: text(row.message), actor };
        alerts.entry(names).or_default().push(alert);
    }
    Ok(alerts)
}

async fn actual(
    store: &dyn Store,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<HashMap<Names, Vec<(DateTime<Utc>, i64)>>, ReportError> {
    let mut actual: HashMap<Names, Vec<(DateTime<Utc>, i64)>> = HashMap::new();
    for row in counted(store, span).await? {
        let Counted { timestamp, project_id, location, cluster_name, namespace, deployment_name, actual_replicas } =
            row;
        let names =
            [project_id.unwrap_or_default(), location.unwrap_or_default(), cluster_name, namespace, deployment_name];
        actual.entry(names).or_default().push((timestamp, actual_replicas));
    }
    Ok(actual)
}
