//! What a change adds to the bill of its month.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::charge::{Begun, Step, charges, steps};
use super::price::{Basis, Price};
use crate::names::Named;
use crate::timeline::Timeline;

/// What something adds to a month's fee by each basis, in the order of [`Basis`]' values.
pub type Costs = [Decimal; 3];

/// What each write of a month adds to its fee, by its `event_id`; a write that is not there adds nothing. Together with what
/// was carried in, and with what versions and snapshots add, it is the fee.
pub fn of_writes(timeline: &Timeline, price: &Price, span: (DateTime<Utc>, DateTime<Utc>)) -> HashMap<String, Costs> {
    let mut costs: HashMap<String, Costs> = HashMap::new();
    for (at, &basis) in Basis::ALL.iter().enumerate() {
        for step in steps_by(timeline, price, basis, span) {
            if let Begun::Write(cause) = &step.charge.begun
                && let Some(cost) = costs.entry(cause.event_id.clone()).or_default().get_mut(at)
            {
                *cost += step.adds;
            }
        }
    }
    costs
}

/// Where the fee would rise by a basis. What costs more than can be counted adds nothing.
pub fn steps_by(timeline: &Timeline, price: &Price, basis: Basis, span: (DateTime<Utc>, DateTime<Utc>)) -> Vec<Step> {
    let charges = charges(&timeline.billed(span.0, span.1), basis, span.0);
    steps(price, &charges).unwrap_or_default()
}
