//! One line of a bill: what one Deployment costs in one month, and why.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::charge::{Charge, Step, charges, steps};
use super::fee::{Fee, Replicas, TooMuch, fee};
use super::price::{Basis, Price};
use crate::timeline::{Stage, Timeline};

/// Why nothing is charged for a Deployment that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpriced {
    /// No PED was in force while it was there.
    NoPed,
    /// What was in force never told all of its number and resources.
    Incomplete,
    /// Nothing was in force for as long as is charged.
    TooShort,
    /// It costs more than can be counted.
    TooMuch(TooMuch),
}

/// What a person has to know besides the fee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Somebody else owned it for some time.
    Owner(String),
    /// No PED was in force.
    NoPed,
    /// The version in force leaves out what one replica may use.
    NoResources(String),
    /// The number was not known.
    NoNumber,
}

/// A note, and what time it is about: [from, to).
pub type Dated = (DateTime<Utc>, DateTime<Utc>, Note);

/// What one Deployment costs in a span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where the fee rises; the last is the peak. Empty where nothing is charged.
    pub steps: Vec<Step>,
    /// Why nothing is charged.
    pub unpriced: Option<Unpriced>,
    /// What else is to be told, by when it begins.
    pub notes: Vec<Dated>,
    /// Replicas times microseconds: for information, not charged.
    pub replica_micros: i64,
}

impl Line {
    /// The line of a span of time; `None` where the Deployment was not there, or concerned nobody.
    pub fn new(timeline: &Timeline, price: &Price, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Option<Self> {
        let stages = timeline.billed(from, to);
        if stages.is_empty() {
            return None;
        }
        let charges = charges(&stages, price.basis, from);
        let (steps, too_much) = match steps(price, &charges) {
            Ok(steps) => (steps, None),
            Err(too_much) => (Vec::new(), Some(Unpriced::TooMuch(too_much))),
        };
        let unpriced = || match () {
            () if stages.iter().all(|stage| stage.in_force.is_none()) => Unpriced::NoPed,
            () if charges.iter().any(|charge| charge.replicas(price).is_some()) => Unpriced::TooShort,
            () => Unpriced::Incomplete,
        };
        let unpriced = too_much.or_else(|| steps.is_empty().then(unpriced));
        let notes = notes(&stages, price, steps.last().and_then(|step| step.charge.owner()));
        Some(Line { steps, unpriced, notes, replica_micros: replica_micros(&stages) })
    }

    /// What is charged: the highest of the span.
    pub fn peak(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// The fee; `None` where nothing is charged.
    pub fn fee(&self) -> Option<Fee> {
        self.peak().map(|peak| peak.fee)
    }

    /// Who is charged: the owner in force at the peak; where nothing is charged, the last there was.
    pub fn owner(&self) -> Option<&str> {
        let last = || {
            self.notes.iter().rev().find_map(|(_, _, note)| match note {
                Note::Owner(owner) => Some(owner.as_str()),
                _ => None,
            })
        };
        self.peak().map_or_else(last, |peak| peak.charge.owner())
    }
}

fn replica_micros(stages: &[Stage]) -> i64 {
    let own = stages.iter().filter(|stage| stage.is_of_the_deployment());
    let micros = own.map(|stage| {
        let micros = stage.to.timestamp_micros() - stage.from.timestamp_micros();
        stage.change.asked.number().unwrap_or(0).saturating_mul(micros)
    });
    micros.fold(0, i64::saturating_add)
}

/// Whatever is odd about the stages of the Deployment itself, one note for what goes on.
fn notes(stages: &[Stage], price: &Price, charged: Option<&str>) -> Vec<Dated> {
    let mut notes: Vec<Dated> = Vec::new();
    for stage in stages.iter().filter(|stage| stage.is_of_the_deployment()) {
        for note in notes_of(stage, price, charged) {
            match notes.iter_mut().rev().find(|(_, to, last)| *to == stage.from && *last == note) {
                Some((_, to, _)) => *to = stage.to,
                None => notes.push((stage.from, stage.to, note)),
            }
        }
    }
    notes
}

fn notes_of(stage: &Stage, price: &Price, charged: Option<&str>) -> Vec<Note> {
    let Some(in_force) = &stage.in_force else { return vec![Note::NoPed] };
    let other_owner = (charged != Some(&in_force.owner)).then(|| Note::Owner(in_force.owner.clone()));
    let lacks = |amount: Option<i64>, price: Decimal| amount.is_none() && !price.is_zero();
    let resources = in_force.resources;
    let no_resources = (lacks(resources.vcpu_millis, price.cpu) || lacks(resources.memory_bytes, price.gb))
        .then(|| Note::NoResources(in_force.limit_id.clone()));
    let no_number = (price.basis != Basis::Limit && stage.change.asked.number().is_none()).then_some(Note::NoNumber);
    [other_owner, no_resources, no_number].into_iter().flatten().collect()
}

/// What a running month will come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// By what was in force so far: it cannot fall.
    pub sure: Option<Decimal>,
    /// If nobody does anything: what is in force stays, and what is registered comes.
    pub expected: Option<Decimal>,
    /// If the limit is raised to the highest that the platform allows.
    pub at_most: Option<Decimal>,
}

impl Forecast {
    /// The forecast at an instant of a span; the timeline goes to the span's end.
    pub fn new(
        timeline: &Timeline,
        price: &Price,
        (from, now, until): (DateTime<Utc>, DateTime<Utc>, DateTime<Utc>),
        platform_max: i64,
    ) -> Self {
        let fee_of = |to| Line::new(timeline, price, (from, to)).and_then(|line| line.fee()).map(|fee| fee.total);
        let (sure, expected) = (fee_of(now), fee_of(until));
        let stages = timeline.billed(now.min(until), until);
        let last = stages.iter().rfind(|stage| stage.is_of_the_deployment() && stage.to == until);
        let raised = last.and_then(|stage| raised(stage, price, platform_max));
        Forecast { sure, expected, at_most: raised.max(expected) }
    }
}

/// What it costs where the limit is the platform's own.
fn raised(stage: &Stage, price: &Price, platform_max: i64) -> Option<Decimal> {
    let charge: Charge = charges(std::slice::from_ref(stage), Basis::Limit, stage.from).into_iter().next()?;
    let replicas = charge.replicas(price)?;
    let max = replicas.max.max(platform_max);
    fee(price, Replicas { max, ..replicas }).ok().map(|fee| fee.total)
}
