//! The fee of a month, and what each rise of the maximum adds to it.

use rust_decimal::Decimal;

use super::price::Price;
use crate::timeline::Resources;

/// A maximum, and what one replica may use: what a fee depends on besides the price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// The maximum that is charged.
    pub max: i64,
    /// CPU of one in thousandths of a core.
    pub vcpu_millis: i64,
    /// Memory of one in bytes.
    pub memory_bytes: i64,
}

impl Replicas {
    /// What a fee is made of; `None` where something is missing that has a price.
    pub fn of(max: Option<i64>, resources: Resources, price: &Price) -> Option<Self> {
        let of = |amount: Option<i64>, price: Decimal| amount.or(price.is_zero().then_some(0));
        Some(Replicas {
            max: max?,
            vcpu_millis: of(resources.vcpu_millis, price.cpu)?,
            memory_bytes: of(resources.memory_bytes, price.gb)?,
        })
    }
}

/// What a month costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// For the Deployment itself.
    pub base: Decimal,
    /// For what its replicas may use, not rounded.
    pub resources: Decimal,
    /// Both, rounded: what is charged.
    pub total: Decimal,
}

/// A fee that has more digits than can be kept exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} replicas of {} thousandths of a core and {} bytes cost more than can be counted", .0.max, .0.vcpu_millis, .0.memory_bytes)]
pub struct TooMuch(pub Replicas);

const MILLIS: Decimal = Decimal::from_parts(1000, 0, 0, false, 0);

const GIB: Decimal = Decimal::from_parts(1 << 30, 0, 0, false, 0);

/// The fee of a month whose peak is `peak`.
///
/// # Errors
/// [`TooMuch`] when it cannot be counted exactly.
pub fn fee(price: &Price, peak: Replicas) -> Result<Fee, TooMuch> {
    let resources = resources(price, peak).ok_or(TooMuch(peak))?;
    let total = price.base.checked_add(resources).ok_or(TooMuch(peak))?;
    Ok(Fee { base: price.base, resources, total: price.round(total) })
}

/// Multiplied before it is divided, so that there is one division. It is to 28 digits; a half that decides a rounding is
/// either hit exactly or further away than that.
fn resources(price: &Price, peak: Replicas) -> Option<Decimal> {
    let product = |factors: [Decimal; 3]| factors.into_iter().try_fold(Decimal::ONE, times);
    let cpu = product([price.cpu, peak.vcpu_millis.into(), GIB])?;
    let memory = product([price.gb, peak.memory_bytes.into(), MILLIS])?;
    let of_all = times(plus(cpu, memory)?, peak.max.into())?;
    of_all.checked_div(product([price.divisor, GIB, MILLIS])?).map(|resources| resources.normalize())
}

/// A product of which no digit is lost.
fn times(left: Decimal, right: Decimal) -> Option<Decimal> {
    let product = left.checked_mul(right)?;
    (product.is_zero() || product.scale() == left.scale() + right.scale()).then_some(product)
}

/// A sum of which no digit is lost.
fn plus(left: Decimal, right: Decimal) -> Option<Decimal> {
    left.checked_add(right).filter(|sum| sum.checked_sub(left) == Some(right))
}

/// A rise of the month's fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rise {
    /// Which of those in force, from 0.
    pub index: usize,
    /// The fee from then on.
    pub fee: Fee,
    /// What it adds to the fee before, rounded: all of it for the first. The sum of all rises is the last fee.
    pub adds: Decimal,
}

/// Where the fee of a month rises, given what was in force one after the other: each is charged with what it lifts the fee
/// by, and what is not more than what was before it with nothing.
///
/// # Errors
/// [`TooMuch`] when one cannot be counted exactly.
pub fn climb(price: &Price, in_force: impl IntoIterator<Item = Replicas>) -> Result<Vec<Rise>, TooMuch> {
    let mut rises: Vec<Rise> = Vec::new();
    for (index, replicas) in in_force.into_iter().enumerate() {
        let next = fee(price, replicas)?;
        match rises.last().map(|rise| rise.fee) {
            None => rises.push(Rise { index, fee: next, adds: next.total }),
            Some(highest) if next.resources > highest.resources => {
                rises.push(Rise { index, fee: next, adds: next.total - highest.total });
            }
            Some(_) => {}
        }
    }
    Ok(rises)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use chrono_tz::Tz;

    use super::*;
    use crate::billing::{Basis, Month, Prices, Rounding};

    const GIB_BYTES: i64 = 1 << 30;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    fn price() -> Price {
        Price {
            base: decimal("180"),
            cpu: decimal("19"),
            gb: decimal("19"),
            divisor: decimal("4"),
            basis: Basis::Limit,
            currency: "USD".to_owned(),
            places: 2,
            rounding: Rounding::HalfUp,
            timezone: Tz::UTC,
            min_seconds: 0,
        }
    }

    fn of(vcpu_millis: i64, memory_bytes: i64, max: i64) -> Replicas {
        Replicas { max, vcpu_millis, memory_bytes }
    }

    /// 2 vCPU, 4 GB.
    fn usual(max: i64) -> Replicas {
        of(2000, 4 * GIB_BYTES, max)
    }

    fn added(in_force: &[Replicas]) -> Vec<(usize, String)> {
        let rises = climb(&price(), in_force.iter().copied()).expect("countable");
        rises.into_iter().map(|rise| (rise.index, rise.adds.normalize().to_string())).collect()
    }

    fn pairs(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
        expected.iter().map(|&(index, adds)| (index, adds.to_owned())).collect()
    }

    #[test]
    fn a_fee_is_exact_and_rounded_once() {
        for (peak, expected) in [
            (usual(4), "294"),
            (usual(6), "351"),
            (usual(3), "265.5"),
            (usual(8), "408"),
            (usual(0), "180"),
            (of(500, GIB_BYTES / 4, 3), "190.69"),
            // 4G is 3.7253 GiB: 4 · (38 + 70.780515789031982421875) / 4.
            (of(2000, 4_000_000_000, 4), "288.78"),
        ] {
            assert_eq!(fee(&price(), peak).expect("countable").total.normalize().to_string(), expected, "{peak:?}");
        }
        let exact = fee(&price(), of(500, GIB_BYTES / 4, 3)).expect("countable");
        assert_eq!(exact.base + exact.resources, decimal("190.6875"));
        // Half a cent, exactly.
        let even = Price { rounding: Rounding::HalfEven, cpu: decimal("10"), ..price() };
        assert_eq!(fee(&even, of(1, 0, 2)).expect("countable").total.to_string(), "180.00");
        let up = Price { rounding: Rounding::HalfUp, ..even };
        assert_eq!(fee(&up, of(1, 0, 2)).expect("countable").total.to_string(), "180.01");
    }

    #[test]
    fn a_month_pays_for_its_highest_product_and_each_rise_for_what_it_lifts() {
        // 3 until the 10th, 6 from the 11th; by the highest, and 8 by kubectl on the 18th.
        assert_eq!(added(&[usual(3), usual(6)]), pairs(&[(0, "265.5"), (1, "85.5")]));
        assert_eq!(added(&[usual(3), usual(6), usual(8), usual(6)]), pairs(&[(0, "265.5"), (1, "85.5"), (2, "57")]));
        // Two alerts, 7 then 8.
        assert_eq!(added(&[usual(6), usual(7), usual(8)]), pairs(&[(0, "351"), (1, "28.5"), (2, "28.5")]));
        // Deleted and made again.
        assert_eq!(added(&[usual(6), usual(3)]), pairs(&[(0, "351")]));
        // Twice the resources and half the replicas are the same product.
        assert_eq!(added(&[usual(4), of(4000, 8 * GIB_BYTES, 2)]), pairs(&[(0, "294")]));
    }

    #[test]
    fn what_cannot_be_counted_exactly_is_refused() {
        let wild = Price { cpu: decimal("999999999.999999"), ..price() };
        let peak = of(i64::MAX, 1, i64::MAX);
        assert_eq!(fee(&wild, peak), Err(TooMuch(peak)));
        assert!(TooMuch(peak).to_string().contains("cost more than can be counted"));
    }

    #[test]
    fn a_month_has_the_price_of_its_first_day() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
        let dearer = Price { base: decimal("200"), ..price() };
        let prices = Prices::new([(date("2026-01-01"), price()), (date("2026-07-15"), dearer)]);
        let base = |month: &str| Some(prices.of(month.parse::<Month>().expect("a month"))?.1.base.to_string());
        assert_eq!(base("2025-12"), None);
        assert_eq!(base("2026-01").as_deref(), Some("180"));
        assert_eq!(base("2026-07").as_deref(), Some("180"), "it begins within the month");
        assert_eq!(base("2026-08").as_deref(), Some("200"));
    }

    #[test]
    fn a_month_begins_at_the_first_instant_that_its_zone_has() {
        for (month, zone, expected) in [
            ("2026-09", Tz::UTC, "2026-09-01T00:00:00.000000Z"),
            ("2026-09", Tz::Asia__Shanghai, "2026-08-31T16:00:00.000000Z"),
            ("2026-04", Tz::Europe__Berlin, "2026-03-31T22:00:00.000000Z"),
            // Clocks were put forward at midnight: there was none.
            ("2017-10", Tz::America__Asuncion, "2017-10-01T04:00:00.000000Z"),
            ("2023-10", Tz::America__Asuncion, "2023-10-01T04:00:00.000000Z"),
        ] {
            let begins = month.parse::<Month>().expect("a month").begins_at(zone);
            assert_eq!(crate::id::time(begins), expected, "{month} in {zone}");
            assert_eq!(Month::at(begins, zone).to_string(), month);
            assert_ne!(Month::at(begins - chrono::Duration::microseconds(1), zone).to_string(), month);
        }
        let december: Month = "2026-12".parse().expect("a month");
        assert_eq!(december.next().to_string(), "2027-01");
        for text in ["2026-13", "2026-9", "26-09", "2026-09-01", ""] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_price_tells_all_that_is_wrong_with_it() {
        let wrong = Price {
            base: decimal("-1"),
            gb: decimal("0.0000001"),
            divisor: decimal("0"),
            currency: "euro".to_owned(),
            places: 9,
            ..price()
        };
        let fields: Vec<&str> = wrong.faults().iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["base", "gb", "divisor", "currency", "places"]);
        assert_eq!(price().faults(), []);
    }
}
