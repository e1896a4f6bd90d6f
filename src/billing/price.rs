//! Prices, each from a date on: the bill of a past month never changes because a price did.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Duration, Months, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::id;
use crate::names::named;

named! {
    /// Which maximum is charged.
    pub enum Basis {
        /// The highest limit in force.
        Limit = "limit",
        /// The highest number that was asked for.
        Requested = "requested",
        /// The higher of both.
        Highest = "highest",
    }
}

named! {
    /// Where half of the last place goes.
    pub enum Rounding {
        /// Away from zero.
        HalfUp = "half_up",
        /// To the even neighbour.
        HalfEven = "half_even",
    }
}

impl Rounding {
    fn strategy(self) -> RoundingStrategy {
        match self {
            Rounding::HalfUp => RoundingStrategy::MidpointAwayFromZero,
            Rounding::HalfEven => RoundingStrategy::MidpointNearestEven,
        }
    }
}

/// What a month costs: `base + (cpu · vCPU + gb · GB) · maximum / divisor`, where GB is GiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// For the Deployment itself.
    pub base: Decimal,
    /// For a core of one replica.
    pub cpu: Decimal,
    /// For a GiB of one replica.
    pub gb: Decimal,
    /// What the maximum is divided by; more than 0.
    pub divisor: Decimal,
    /// Which maximum is charged.
    pub basis: Basis,
    /// ISO 4217.
    pub currency: String,
    /// Places behind the point of what is charged.
    pub places: u32,
    /// Where half of the last place goes.
    pub rounding: Rounding,
    /// Where months begin and end.
    pub timezone: Tz,
    /// What was in force for less than so long, without a break in the month, is not charged; 0 where any length counts.
    pub min_seconds: u32,
}

/// What is wrong with a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFault {
    /// Which of its fields.
    pub field: &'static str,
    /// What that is.
    pub value: String,
    /// What would be right.
    pub wanted: &'static str,
}

impl Price {
    /// The most that a number of it may be: what fees are made of stays exact.
    const MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

    /// The most places that a number of it may have.
    const MAX_SCALE: u32 = 6;

    /// Everything that is wrong with it.
    pub fn faults(&self) -> Vec<PriceFault> {
        let is_amount =
            |number: &Decimal| !number.is_sign_negative() && *number <= Self::MAX && number.scale() <= Self::MAX_SCALE;
        let amounts = [("base", self.base), ("cpu", self.cpu), ("gb", self.gb), ("divisor", self.divisor)];
        let refuse = |field, value: String, wanted| PriceFault { field, value, wanted };
        let mut faults: Vec<PriceFault> = amounts
            .into_iter()
            .filter(|(_, number)| !is_amount(number))
            .map(|(field, number)| {
                refuse(
                    field,
                    number.to_string(),
                    "expected from 0 to 1000000000, with 6 places behind the point at most",
                )
            })
            .collect();
        if self.divisor.is_zero() {
            faults.push(refuse("divisor", self.divisor.to_string(), "expected more than 0"));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            faults.push(refuse("currency", format!("{:?}", self.currency), "expected three letters such as \"EUR\""));
        }
        if self.places > 4 {
            faults.push(refuse("places", self.places.to_string(), "expected from 0 to 4"));
        }
        faults
    }

    /// Identity of the price that holds from a date, for a month that ends at an instant: another one of the same date is
    /// another price.
    pub fn version(&self, from: NaiveDate, until: DateTime<Utc>) -> String {
        let Price { base, cpu, gb, divisor, basis, currency, places, rounding, timezone, min_seconds } = self;
        let amounts = [base, cpu, gb, divisor].map(|amount| amount.normalize().to_string()).join(" ");
        let rest = format!("{basis} {currency} {places} {rounding} {timezone} {min_seconds}");
        let hash = id::id(&[&amounts, &rest, &id::time(until)]);
        format!("{from}/{}", hash.get(..8).unwrap_or_default())
    }

    /// An amount as people read it: all its places.
    pub fn written(&self, amount: Decimal) -> String {
        let mut amount = self.round(amount);
        amount.rescale(self.places);
        amount.to_string()
    }

    /// As it is charged: one rounding, at the line.
    pub(super) fn round(&self, amount: Decimal) -> Decimal {
        amount.round_dp_with_strategy(self.places, self.rounding.strategy())
    }
}

/// All prices by the dates from which they hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices(BTreeMap<NaiveDate, Price>);

impl Prices {
    /// Takes each with its date.
    pub fn new(prices: impl IntoIterator<Item = (NaiveDate, Price)>) -> Self {
        Prices(prices.into_iter().collect())
    }

    /// The price of a month, with the date from which it holds: that of its first day. One that begins within it waits for
    /// the next. `None` before the first price.
    pub fn of(&self, month: Month) -> Option<(NaiveDate, &Price)> {
        self.0.range(..=month.first).next_back().map(|(from, price)| (*from, price))
    }

    /// From when to when a month is: it begins where its own zone has it, and ends where the next one begins, whatever zone
    /// that one is in, so that no instant is in two months or in none. `None` before the first price.
    pub fn span(&self, month: Month) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let begin = |month: Month| Some(month.begins_at(self.of(month)?.1.timezone));
        Some((begin(month)?, begin(month.next())?))
    }

    /// The month that an instant is in; `None` before the first price.
    pub fn month_at(&self, time: DateTime<Utc>) -> Option<Month> {
        let month = Month::of(time.date_naive());
        // No zone is as far from UTC as a month.
        [month.previous(), month, month.next()]
            .into_iter()
            .find(|month| self.span(*month).is_some_and(|(from, to)| (from..to).contains(&time)))
    }

    /// All of them, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = (NaiveDate, &Price)> {
        self.0.iter().map(|(from, price)| (*from, price))
    }
}

/// A month of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    first: NaiveDate,
}

impl Month {
    /// The month of a day.
    pub fn of(day: NaiveDate) -> Self {
        Month { first: day.with_day(1).unwrap_or(day) }
    }

    /// The month in which an instant lies, where the clock shows the time of a zone.
    pub fn at(time: DateTime<Utc>, zone: Tz) -> Self {
        Month::of(time.with_timezone(&zone).date_naive())
    }

    /// The one after it.
    pub fn next(self) -> Self {
        Month { first: self.first.checked_add_months(Months::new(1)).unwrap_or(self.first) }
    }

    /// The one before it.
    pub fn previous(self) -> Self {
        Month { first: self.first.checked_sub_months(Months::new(1)).unwrap_or(self.first) }
    }

    /// Its first day.
    pub fn first_day(self) -> NaiveDate {
        self.first
    }

    /// Its days in a zone, each with its first instant and the first one behind it.
    pub fn days(self, zone: Tz) -> impl Iterator<Item = (NaiveDate, DateTime<Utc>, DateTime<Utc>)> {
        let days = self.first.iter_days().take_while(move |day| Month::of(*day) == self);
        days.map(move |day| (day, first_instant(day, zone), first_instant(day.succ_opt().unwrap_or(day), zone)))
    }

    /// Its first instant in a zone.
    pub fn begins_at(self, zone: Tz) -> DateTime<Utc> {
        first_instant(self.first, zone)
    }
}

/// The first instant of a day. Where clocks are put forward at midnight, the day begins later; where they are put back, it
/// has two midnights, and begins at the first.
fn first_instant(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    if let Some(time) = midnight.and_local_timezone(zone).earliest() {
        return time.to_utc();
    }
    // No gap is longer than a day; clocks jump by whole minutes.
    let minutes = (0..24 * 60).map(|minute| midnight + Duration::minutes(minute));
    let first = minutes.filter_map(|time| time.and_local_timezone(zone).earliest()).next();
    first.map_or_else(|| midnight.and_utc(), |time| time.to_utc())
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no month; expected one like 2026-09");
        let is_month = text.len() == 7 && text.as_bytes().get(4) == Some(&b'-');
        let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d");
        first.ok().filter(|_| is_month).map(Month::of).ok_or_else(refuse)
    }
}
