//! What holds now: the conditions of the rules that have an end, by what is known and the limit in force.

use chrono::{DateTime, Utc};

use super::document::{Deployment, Document, Incident};
use super::known::Standing;
use super::step::Context;
use crate::id;
use crate::policy::AlertType;

/// Whether incidents of a rule end. What has no end is told once in a while.
pub(super) fn has_end(rule: AlertType) -> bool {
    match rule {
        AlertType::OverLimit
        | AlertType::OutsidePlatformRange
        | AlertType::Unregistered
        | AlertType::UnknownValue
        | AlertType::UnknownRemoval => true,
        // What the daily comparison alone finds is in no document.
        _ => false,
    }
}

/// A condition that holds.
pub(super) struct Condition {
    /// Since when.
    pub(super) since: DateTime<Utc>,
    pub(super) value: Option<i64>,
    pub(super) limit: Option<i64>,
    /// How far over; 0 where there is nothing to be over.
    pub(super) excess: i64,
    pub(super) standing: Option<Standing>,
    /// What brought it about: a write's id, or the limit's with the instant from which it holds.
    cause: [String; 2],
}

impl Condition {
    fn of(standing: &Standing) -> Self {
        Condition {
            since: standing.since,
            value: standing.number(),
            limit: None,
            excess: 0,
            cause: [standing.set_by.write_id.clone(), String::new()],
            standing: Some(standing.clone()),
        }
    }

    /// The id of an incident that it begins, the so-many-th of its Deployment.
    pub(super) fn incident_id(&self, rule: AlertType, deployment: &Deployment, number: u32) -> String {
        let [cause, at] = &self.cause;
        deployment.id_under(rule, &[cause, at, &number.to_string()])
    }
}

/// What the objects of a Deployment ask for now.
pub(super) struct Asks<'d> {
    document: &'d Document,
    standings: Vec<&'d Standing>,
    context: &'d Context<'d>,
}

impl<'d> Asks<'d> {
    pub(super) fn of(document: &'d Document, context: &'d Context<'d>) -> Self {
        let own = document.own.standing(context.ended.deployments);
        let hpas = document.hpas.values().filter(|hpa| !hpa.ended_with(context.ended.hpas)).map(|hpa| &hpa.standing);
        Asks { document, standings: own.into_iter().chain(hpas).collect(), context }
    }

    /// Of those whose numbers pass, the highest; of equal ones the first.
    fn highest(&self, passes: impl Fn(i64) -> bool) -> Option<(&'d Standing, i64)> {
        let numbers = self.standings.iter().filter_map(|standing| Some((*standing, standing.number()?)));
        numbers.filter(|(_, number)| passes(*number)).reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    fn unknown(&self) -> Option<&'d Standing> {
        self.standings.iter().copied().find(|standing| standing.is_unknown())
    }

    /// What holds of a rule, for an incident that goes on where there is one.
    pub(super) fn condition(&self, rule: AlertType, open: Option<&Incident>) -> Option<Condition> {
        match rule {
            AlertType::OverLimit => self.over_limit(),
            AlertType::OutsidePlatformRange => self.outside_range(open.is_some()),
            AlertType::Unregistered => self.unregistered(),
            AlertType::UnknownValue => self.unknown().map(Condition::of),
            AlertType::UnknownRemoval => self.unknown_removal(),
            _ => None,
        }
    }

    /// Whether an open incident stays as it is, although its condition cannot be seen: the number is not known.
    pub(super) fn hides(&self, rule: AlertType) -> bool {
        let needs_number =
            matches!(rule, AlertType::OverLimit | AlertType::OutsidePlatformRange | AlertType::Unregistered);
        let is_registered = rule == AlertType::Unregistered && self.context.limit.is_some();
        needs_number && !is_registered && self.unknown().is_some()
    }

    fn over_limit(&self) -> Option<Condition> {
        let limit = self.context.limit?;
        let (standing, number) = self.highest(|number| number > limit.max_replicas)?;
        let mut condition = Condition::of(standing);
        condition.limit = Some(limit.max_replicas);
        condition.excess = number - limit.max_replicas;
        if limit.from > standing.since {
            condition.since = limit.from;
            condition.cause = [limit.limit_id.clone(), id::time(limit.from)];
        }
        Some(condition)
    }

    /// A number over its own limit does not begin one: `over_limit` says it all. What is open stays as long as it is outside.
    fn outside_range(&self, is_open: bool) -> Option<Condition> {
        let Context { policy, limit, .. } = self.context;
        let (least, most) = (*policy.platform.start(), *policy.platform.end());
        let is_over = |number: i64| limit.is_some_and(|limit| number > limit.max_replicas);
        let (standing, number) =
            self.highest(|number| policy.outside_range(number) && (is_open || !is_over(number)))?;
        let mut condition = Condition::of(standing);
        condition.limit = Some(if number > most { most } else { least });
        condition.excess = if number > most { number - most } else { least - number };
        Some(condition)
    }

    fn unregistered(&self) -> Option<Condition> {
        if self.context.limit.is_some() {
            return None;
        }
        self.highest(|_| true).map(|(standing, _)| Condition::of(standing))
    }

    fn unknown_removal(&self) -> Option<Condition> {
        let ended = self.context.ended.deployments;
        let doubt = self.document.own.doubt().filter(|doubt| ended.is_none_or(|ended| ended < doubt.place.time))?;
        Some(Condition {
            since: doubt.place.time,
            value: None,
            limit: None,
            excess: 0,
            standing: Some(Standing { set_by: doubt.clone(), since: doubt.place.time, previous: None }),
            cause: [doubt.write_id.clone(), String::new()],
        })
    }

    /// When what held stopped holding: with what came, else with the last thing that happened since, else now.
    pub(super) fn over_since(&self, holds_since: DateTime<Utc>, came: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let can_be = |at: &DateTime<Utc>| holds_since < *at && *at <= self.context.now;
        let own = self.document.own.newest().map(|newest| newest.place.time);
        let hpas = self.document.hpas.values().map(|hpa| hpa.standing.since);
        let limit = self.context.limit.map(|limit| limit.from);
        let ended = [self.context.ended.deployments, self.context.ended.hpas].into_iter().flatten();
        let happened = || own.into_iter().chain(hpas).chain(limit).chain(ended).filter(can_be).max();
        came.filter(can_be).or_else(happened).unwrap_or(self.context.now)
    }
}
