//! Why a line of a bill is what it is, in sentences.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::charge::{Begun, Charge, Step};
use super::fee::Replicas;
use super::line::{Dated, Line, Note, Unpriced};
use super::price::{Basis, Price};
use crate::ped::version::Version;
use crate::timeline::{Change, InForce, Stage};

/// Versions, to tell who registered them.
#[derive(Debug, Clone, Copy)]
pub struct Registered<'v>(pub &'v [Version]);

impl Registered<'_> {
    /// The version of that id.
    pub fn of(&self, id: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.id == id)
    }
}

/// A line, with what its sentences are made of.
#[derive(Debug, Clone, Copy)]
pub struct Told<'t> {
    /// The line.
    pub line: &'t Line,
    /// The price that it was computed by.
    pub price: &'t Price,
    /// The versions of its PED.
    pub versions: Registered<'t>,
    /// Where what is known ends: what lasts until then may go on.
    pub until: DateTime<Utc>,
}

impl Told<'_> {
    /// The sentences: what is charged from when and why, one for each rise, and what else there is to know.
    pub fn sentences(&self) -> Vec<String> {
        let steps = self.line.steps.iter().enumerate().map(|(at, step)| self.step(at, step));
        let unpriced = self.line.unpriced.iter().map(|why| self.unpriced(why));
        let notes = self.line.notes.iter().map(|note| self.note(note));
        unpriced.chain(steps).chain(notes).collect()
    }

    /// What was in force from when to when, whether it is charged or not, with the version and the entry behind each number:
    /// what a team can hold against its own log.
    pub fn course(&self, stages: &[Stage]) -> Vec<String> {
        stages.iter().map(|stage| self.stage(stage)).collect()
    }

    fn stage(&self, stage: &Stage) -> String {
        let span = format!("{} to {}", self.time(stage.from), self.time(stage.to));
        let asked = match stage.change.asked.number() {
            Some(number) => plural(number),
            None => "an unknown number".to_owned(),
        };
        let since = self.time(stage.change.written_at());
        let by = asker(&stage.change);
        let limit = stage.in_force.as_ref().map_or_else(
            || "no PED in force".to_owned(),
            |in_force| {
                let lacking = || "no cpu or no memory".to_owned();
                let all = in_force.resources.vcpu_millis.zip(in_force.resources.memory_bytes);
                let each = all.map_or_else(lacking, |(vcpu_millis, memory_bytes)| {
                    resources(Replicas { max: 1, vcpu_millis, memory_bytes })
                });
                let version = self.version(Some(in_force));
                format!("limit {} of {each} each for {}, {version}", in_force.max_replicas, in_force.owner)
            },
        );
        format!("{span}: {asked}, {by} at {since}; {limit}")
    }

    fn step(&self, at: usize, step: &Step) -> String {
        let amount = self.price.written(step.adds);
        let amount = if at == 0 { amount } else { format!("+{amount}") };
        let max = plural(step.replicas.max);
        let what = match step.charge.basis {
            Basis::Limit => format!("a limit of {max}"),
            _ => format!("{max} asked for,"),
        };
        let (span, why) = (self.span(&step.charge), self.why(&step.charge));
        format!("{amount} for {what} of {} each, {span}: {why}", resources(step.replicas))
    }

    fn span(&self, charge: &Charge) -> String {
        let from = match charge.begun {
            Begun::Before => "from the month's beginning".to_owned(),
            _ => format!("from {}", self.time(charge.from)),
        };
        match charge.to {
            to if to == charge.from => format!("{from}, where it stood for no time"),
            to if to < self.until => format!("{from} until {}", self.time(to)),
            _ => from,
        }
    }

    /// What brought it about.
    fn why(&self, charge: &Charge) -> String {
        let version = || self.version(charge.in_force.as_ref());
        match (&charge.begun, charge.basis) {
            (Begun::Before | Begun::Version, Basis::Limit) => version(),
            (Begun::Version, _) => format!("{} says what one may use", version()),
            (Begun::Write(cause), Basis::Limit) if cause.is_snapshot() => {
                format!("{} at {}; {}", shown(&cause.event_id), self.time(cause.written_at), version())
            }
            (Begun::Write(cause), Basis::Limit) => format!(
                "the Deployment was there by the {} of {}, event {}; {}",
                cause.operation,
                cause.actor,
                cause.event_id,
                version()
            ),
            (Begun::Before | Begun::Write(_), _) => {
                format!("{} at {}", asker(&charge.change), self.time(charge.change.written_at()))
            }
            (Begun::Snapshot, _) => "a snapshot of the cluster found it".to_owned(),
        }
    }

    fn version(&self, in_force: Option<&Arc<InForce>>) -> String {
        let Some(in_force) = in_force else { return "no version".to_owned() };
        let version = self.versions.of(&in_force.limit_id);
        let by = version.map_or_else(String::new, |version| format!(", registered by {}", version.updated_by));
        let reason = version.and_then(|version| version.reason.as_ref());
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        format!("version {}{by}{reason}", in_force.limit_id)
    }

    fn unpriced(&self, why: &Unpriced) -> String {
        match why {
            Unpriced::NoPed => {
                "not priced: no PED was in force while it was there; expected one to be registered".to_owned()
            }
            Unpriced::Incomplete => "not priced: nothing that was in force tells all that is charged for".to_owned(),
            Unpriced::TooShort => {
                format!("not priced: nothing was in force for {} s without a break", self.price.min_seconds)
            }
            Unpriced::TooMuch(too_much) => format!("not priced: {too_much}"),
        }
    }

    fn note(&self, (from, to, note): &Dated) -> String {
        let span = if *to < self.until {
            format!("from {} until {}", self.time(*from), self.time(*to))
        } else {
            format!("from {}", self.time(*from))
        };
        match note {
            Note::Owner(owner) => format!("{span} it belonged to {owner}, who is not charged"),
            Note::NoPed => format!("{span} no PED was in force, and nothing is charged for that time"),
            Note::NoResources(version) => format!(
                "{span} nothing is charged: version {version} leaves out cpu or memory; expected both in resources.limits or resources.requests"
            ),
            Note::NoNumber => format!("{span} the number that was asked for is not known, and not charged"),
        }
    }

    fn time(&self, time: DateTime<Utc>) -> String {
        let zone = self.price.timezone;
        format!("{} {zone}", time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S"))
    }
}

/// Who asked for a number, and how.
fn asker(change: &Change) -> String {
    let object = &change.object;
    match change.origin.cause() {
        Some(cause) if cause.is_snapshot() => shown(&cause.event_id),
        Some(cause) => format!(
            "{} of {} {} by {} ({}), event {}",
            cause.operation, object.kind, object.name, cause.actor, cause.route, cause.event_id
        ),
        None => "found by a snapshot of the cluster".to_owned(),
    }
}

/// What no entry of the log tells.
fn shown(event_id: &str) -> String {
    format!("shown by a complete snapshot of the cluster, and told by no entry, event {event_id}")
}

fn plural(replicas: i64) -> String {
    if replicas == 1 { "1 replica".to_owned() } else { format!("{replicas} replicas") }
}

/// What one replica may use, as people read it: GB is GiB, to four places.
pub fn resources(replicas: Replicas) -> String {
    let part = |amount: i64, of: i64| (Decimal::from(amount) / Decimal::from(of)).round_dp(4).normalize();
    format!("{} vCPU and {} GiB", part(replicas.vcpu_millis, 1_000), part(replicas.memory_bytes, 1 << 30))
}
