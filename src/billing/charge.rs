//! What is charged: each limit and each number that was in force, one after the other, and what brought it about.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use rust_decimal::Decimal;

use super::fee::{Fee, Replicas, TooMuch, climb, fee};
use super::price::{Basis, Price};
use crate::timeline::{Cause, Change, InForce, Origin, Stage};

/// What brought a charge about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It was carried in from before.
    Before,
    /// A version of the PED came into force.
    Version,
    /// A write.
    Write(Arc<Cause>),
    /// A snapshot found it, and no write explains it.
    Snapshot,
}

/// A maximum that is charged for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it; `from` for what stood for no time.
    pub to: DateTime<Utc>,
    /// Whether it is a limit ([`Basis::Limit`]) or a number that was asked for ([`Basis::Requested`]).
    pub basis: Basis,
    /// The most replicas; `None` where the number is not known.
    pub max: Option<i64>,
    /// The PED's version in force, which says what one replica may use.
    pub in_force: Option<Arc<InForce>>,
    /// What the Deployment, or an HPA of it, asks for.
    pub change: Arc<Change>,
    /// Why it began.
    pub begun: Begun,
}

impl Charge {
    /// What a fee is made of; `None` where something is missing that has a price.
    pub fn replicas(&self, price: &Price) -> Option<Replicas> {
        Replicas::of(self.max, self.in_force.as_ref()?.resources, price)
    }

    /// Who is charged.
    pub fn owner(&self) -> Option<&str> {
        self.in_force.as_ref().map(|in_force| in_force.owner.as_str())
    }

    /// The version that grants a limit, or the entry that asks for a number.
    pub fn source(&self) -> Option<&str> {
        match self.basis {
            Basis::Limit => self.in_force.as_ref().map(|in_force| in_force.limit_id.as_str()),
            _ => self.change.origin.cause().map(|cause| cause.event_id.as_str()),
        }
    }

    fn is_continued_by(&self, later: &Charge) -> bool {
        self.to == later.from
            && (self.basis, self.max, self.source()) == (later.basis, later.max, later.source())
            && (&self.in_force, &self.change.object) == (&later.in_force, &later.change.object)
    }
}

/// What stages are charged by a basis, by when it begins. `begin` is the first instant that they are of.
pub fn charges(stages: &[Stage], basis: Basis, begin: DateTime<Utc>) -> Vec<Charge> {
    let mut charges: Vec<Charge> = Vec::new();
    for stage in stages {
        let limit = stage.in_force.as_ref().filter(|_| stage.is_of_the_deployment() && basis != Basis::Requested);
        let number = Some(&stage.change).filter(|change| change.counts() && basis != Basis::Limit);
        let limit = limit.map(|limit| charge(stage, Basis::Limit, Some(limit.max_replicas), begin));
        let number = number.map(|change| charge(stage, Basis::Requested, change.asked.number(), begin));
        for next in limit.into_iter().chain(number) {
            match charges.iter_mut().rev().find(|last| last.is_continued_by(&next)) {
                Some(last) => last.to = next.to,
                None => charges.push(next),
            }
        }
    }
    charges
}

fn charge(stage: &Stage, basis: Basis, max: Option<i64>, begin: DateTime<Utc>) -> Charge {
    let Stage { from, to, change, in_force, .. } = stage;
    let begun = begun(stage, basis, begin);
    Charge { from: *from, to: *to, basis, max, in_force: in_force.clone(), change: Arc::clone(change), begun }
}

/// What a stage begins with. Where a version comes into force as something is written, the limit is the version's and the
/// number the write's.
fn begun(stage: &Stage, basis: Basis, begin: DateTime<Utc>) -> Begun {
    let is_instant = stage.from == stage.to;
    let set = |change: &Arc<Change>| (change.effective_at == stage.from || is_instant).then(|| by(&change.origin));
    let by_write = set(&stage.change).or_else(|| set(&stage.deployment));
    let by_version = stage.in_force.as_ref().filter(|in_force| in_force.since == stage.from).map(|_| Begun::Version);
    let begun = if basis == Basis::Limit { by_version.or(by_write) } else { by_write.or(by_version) };
    begun.unwrap_or(if stage.from <= begin { Begun::Before } else { Begun::Version })
}

fn by(origin: &Origin) -> Begun {
    match origin {
        Origin::Write(cause) => Begun::Write(Arc::clone(cause)),
        Origin::Snapshot => Begun::Snapshot,
    }
}

/// A charge that lifts the fee of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is charged from then on.
    pub charge: Charge,
    /// Of how many replicas with how much.
    pub replicas: Replicas,
    /// The fee from then on.
    pub fee: Fee,
    /// What it adds to the fee before; all of it for the first.
    pub adds: Decimal,
}

/// Where the fee of a month rises. The last one is the peak, and all together add up to its fee.
///
/// # Errors
/// [`TooMuch`] when a fee cannot be counted exactly.
pub fn steps(price: &Price, charges: &[Charge]) -> Result<Vec<Step>, TooMuch> {
    let mut priced = Vec::new();
    for charge in charges {
        if let Some(replicas) = charge.replicas(price) {
            priced.push((charge, replicas, fee(price, replicas)?));
        }
    }
    let mut priced = long_enough(priced, Duration::seconds(price.min_seconds.into()));
    // Of several at one instant only the highest lifts it.
    priced.sort_by_key(|(charge, _, fee)| (charge.from, Reverse(fee.resources)));
    let rises = climb(price, priced.iter().map(|(_, replicas, _)| *replicas))?;
    let step = |rise: super::fee::Rise| {
        let (charge, replicas, _) = priced.get(rise.index)?;
        Some(Step { charge: (*charge).clone(), replicas: *replicas, fee: rise.fee, adds: rise.adds })
    };
    Ok(rises.into_iter().filter_map(step).collect())
}

type Priced<'c> = (&'c Charge, Replicas, Fee);

/// Those that stood, with what costs as much at least, without a break for so long.
fn long_enough(mut priced: Vec<Priced<'_>>, least: Duration) -> Vec<Priced<'_>> {
    if least.is_zero() {
        return priced;
    }
    priced.sort_by_key(|(_, _, fee)| Reverse(fee.resources));
    let mut covered = Spans::default();
    let mut stood = Vec::new();
    for same in priced.chunk_by(|(_, _, fee), (_, _, other)| fee.resources == other.resources) {
        same.iter().for_each(|(charge, ..)| covered.add(charge.from, charge.to));
        stood.extend(same.iter().filter(|(charge, ..)| covered.around(charge.from) >= least));
    }
    stood
}

/// Spans of time that do not touch, by their beginnings.
#[derive(Default)]
struct Spans(BTreeMap<DateTime<Utc>, DateTime<Utc>>);

impl Spans {
    fn add(&mut self, mut from: DateTime<Utc>, mut to: DateTime<Utc>) {
        let touching: Vec<_> =
            self.0.range(..=to).rev().take_while(|(_, end)| **end >= from).map(|(at, _)| *at).collect();
        for begin in touching {
            let end = self.0.remove(&begin);
            (from, to) = (from.min(begin), end.map_or(to, |end| to.max(end)));
        }
        self.0.insert(from, to);
    }

    /// How long the one is that holds an instant.
    fn around(&self, at: DateTime<Utc>) -> Duration {
        self.0.range(..=at).next_back().map_or_else(Duration::zero, |(from, to)| *to - *from)
    }
}
