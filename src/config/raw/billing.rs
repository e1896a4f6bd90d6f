//! `[billing]`: what a Deployment costs, each price from a date on.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use chrono::NaiveDate;
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::billing::{Basis, Price, Prices, Rounding};
use crate::names::Named;

/// What the built-in price holds from: earlier than any log.
const BEGINNING: &str = "2000-01-01";

/// What is not charged is a slip of the hand, no way to run.
const DAY_SECONDS: u32 = 86_400;

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBilling {
    prices: BTreeMap<String, RawPrice>,
}

/// What a price leaves out is as in the one before it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPrice {
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gb: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    divisor: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    places: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_seconds: Option<i64>,
}

/// Money is exact: TOML's numbers with a point are not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or a decimal in quotes such as \"19.5\"")]
enum Amount {
    Text(String),
    Whole(i64),
}

impl Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amount::Text(text) => text.fmt(f),
            Amount::Whole(number) => number.fmt(f),
        }
    }
}

impl Default for RawBilling {
    fn default() -> Self {
        let amount = |text: &str| Some(Amount::Text(text.to_owned()));
        let text = |text: &str| Some(text.to_owned());
        let price = RawPrice {
            base: amount("180"),
            cpu: amount("19"),
            gb: amount("19"),
            divisor: amount("4"),
            basis: text(Basis::Limit.as_str()),
            currency: text("USD"),
            places: Some(2),
            rounding: text(Rounding::HalfUp.as_str()),
            timezone: text("UTC"),
            min_seconds: Some(0),
        };
        RawBilling { prices: [(BEGINNING.to_owned(), price)].into() }
    }
}

impl RawBilling {
    pub(super) fn validate(self, faults: &mut Faults) -> Prices {
        let mut prices = Vec::new();
        // Dates of one form sort as text.
        for (date, raw) in self.prices {
            let place = format!("billing.prices.{date}");
            let before = prices.last().map(|(_, price): &(NaiveDate, Price)| price.clone());
            let price = raw.price(&place, before.unwrap_or_else(unset), faults);
            match date.parse::<NaiveDate>().ok().filter(|day| day.to_string() == date) {
                Some(day) => prices.push((day, price)),
                None => faults.add(place, "no date".to_owned(), format!("expected one like {BEGINNING}")),
            }
        }
        Prices::new(prices)
    }
}

/// What stands under the first price: the built-in one, which may be set to something else and not be taken away.
fn unset() -> Price {
    Price {
        base: Decimal::ZERO,
        cpu: Decimal::ZERO,
        gb: Decimal::ZERO,
        divisor: Decimal::ONE,
        basis: Basis::Limit,
        currency: "USD".to_owned(),
        places: 2,
        rounding: Rounding::HalfUp,
        timezone: Tz::UTC,
        min_seconds: 0,
    }
}

impl RawPrice {
    fn price(self, place: &str, before: Price, faults: &mut Faults) -> Price {
        let mut reader = Reader { place, faults };
        let price = Price {
            base: reader.amount("base", self.base, before.base),
            cpu: reader.amount("cpu", self.cpu, before.cpu),
            gb: reader.amount("gb", self.gb, before.gb),
            divisor: reader.amount("divisor", self.divisor, before.divisor),
            basis: reader.read("basis", self.basis, before.basis, &names::<Basis>()),
            currency: self.currency.unwrap_or(before.currency),
            places: self.places.map_or(before.places, |places| places.try_into().unwrap_or(u32::MAX)),
            rounding: reader.read("rounding", self.rounding, before.rounding, &names::<Rounding>()),
            timezone: reader.read(
                "timezone",
                self.timezone,
                before.timezone,
                "expected a zone such as \"Asia/Shanghai\"",
            ),
            min_seconds: reader.seconds("min_seconds", self.min_seconds, before.min_seconds),
        };
        for fault in price.faults() {
            faults.add(format!("{place}.{}", fault.field), fault.value, fault.wanted.to_owned());
        }
        price
    }
}

fn names<T: Named>() -> String {
    let names: Vec<String> = T::ALL.iter().map(|value| format!("{:?}", value.as_str())).collect();
    format!("expected one of {}", names.join(", "))
}

/// Reads the values of one price.
struct Reader<'r> {
    place: &'r str,
    faults: &'r mut Faults,
}

impl Reader<'_> {
    fn amount(&mut self, field: &str, amount: Option<Amount>, before: Decimal) -> Decimal {
        self.read(field, amount.map(|amount| amount.to_string()), before, "expected a decimal such as \"19.5\"")
    }

    /// A length of time within a day.
    fn seconds(&mut self, field: &str, seconds: Option<i64>, before: u32) -> u32 {
        let Some(seconds) = seconds else { return before };
        u32::try_from(seconds).ok().filter(|&seconds| seconds <= DAY_SECONDS).unwrap_or_else(|| {
            let wanted = format!("expected from 0 to {DAY_SECONDS}");
            self.faults.add(format!("{}.{field}", self.place), seconds.to_string(), wanted);
            before
        })
    }

    /// A value; as before where it is left out.
    fn read<T: FromStr>(&mut self, field: &str, text: Option<String>, before: T, wanted: &str) -> T {
        let Some(text) = text else { return before };
        text.parse().unwrap_or_else(|_| {
            self.faults.add(format!("{}.{field}", self.place), format!("{text:?}"), wanted.to_owned());
            before
        })
    }
}
