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

/// What the writes that took effect in a part of the month add together.
pub fn of_writes_between(
    timeline: &Timeline,
    price: &Price,
    span: (DateTime<Utc>, DateTime<Utc>),
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Costs {
    let is_within = |step: &Step| step.charge.from >= from && step.charge.from <= to;
    let is_written = |step: &Step| matches!(step.charge.begun, Begun::Write(_));
    let mut costs = Costs::default();
    for (cost, &basis) in costs.iter_mut().zip(Basis::ALL) {
        let steps = steps_by(timeline, price, basis, span).into_iter();
        *cost = steps.filter(|step| is_within(step) && is_written(step)).map(|step| step.adds).sum();
    }
    costs
}

/// Costs for people: by the basis that is charged, and by others where they say otherwise. `None` where none of them is any.
pub fn written(price: &Price, costs: &Costs) -> Option<String> {
    if costs.iter().all(Decimal::is_zero) {
        return None;
    }
    let by: Vec<(Basis, Decimal)> = Basis::ALL.iter().copied().zip(*costs).collect();
    let charged = by.iter().find(|(basis, _)| *basis == price.basis)?.1;
    let others = by.iter().filter(|(basis, cost)| *basis != price.basis && *cost != charged);
    let others: Vec<(String, &str)> = others.map(|(basis, cost)| (price.written(*cost), basis.as_str())).collect();
    let same = others.chunk_by(|(one, _), (other, _)| one == other);
    let others: Vec<String> = same
        .filter_map(|same| {
            let by: Vec<&str> = same.iter().map(|(_, basis)| *basis).collect();
            Some(format!("{} by {}", same.first()?.0, by.join(" and ")))
        })
        .collect();
    let charged = format!("{} {}", price.written(charged), price.currency);
    Some(if others.is_empty() { charged } else { format!("{charged} ({})", others.join(", ")) })
}

/// Where the fee would rise by a basis. What costs more than can be counted adds nothing.
pub fn steps_by(timeline: &Timeline, price: &Price, basis: Basis, span: (DateTime<Utc>, DateTime<Utc>)) -> Vec<Step> {
    let charges = charges(&timeline.billed(span.0, span.1), basis, span.0);
    steps(price, &charges).unwrap_or_default()
}
