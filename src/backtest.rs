//! What would have been with other limits: the same numbers, held against other versions. Pure.

use chrono::{DateTime, Utc};

use crate::policy::AlertType;
use crate::timeline::{Interval, Stood, Timeline};

/// What a Deployment comes to in a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// When each alert began, and of which rule: one for each run of one number over one limit, as the view `alerts` has
    /// them. Only the rules that a limit decides.
    pub alerts: Vec<(DateTime<Utc>, AlertType)>,
    /// How often the Deployment, by itself or by an HPA, came to be over its limit: what a person is told of once.
    pub breaches: usize,
    /// For how long it was, in microseconds.
    pub over_micros: i64,
}

impl Outcome {
    /// Of a timeline, in [from, to).
    pub fn new(timeline: &Timeline, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let stood = timeline.stood(from, to);
        let mut alerts: Vec<(DateTime<Utc>, AlertType)> = stood.iter().flat_map(|stood| begun(stood, from)).collect();
        alerts.sort_unstable();
        let (breaches, over_micros) = over(timeline.intervals(), from, to);
        Outcome { alerts, breaches, over_micros }
    }

    /// How many alerts of a rule.
    pub fn count(&self, alert_type: AlertType) -> usize {
        self.alerts.iter().filter(|(_, other)| *other == alert_type).count()
    }
}

/// The rules that a limit decides, the platform's among them.
pub const RULES: [AlertType; 3] = [AlertType::OverLimit, AlertType::OutsidePlatformRange, AlertType::Unregistered];

/// What a rule holds against a number: a run of one is one alert. Where the life is another, so is the run.
type Held = (i64, AlertType, Option<i64>, Option<i64>);

fn held(stood: &Stood) -> Option<Held> {
    let Stood { change, in_force, .. } = stood;
    let number = change.asked.number().filter(|_| change.counts())?;
    let max = in_force.as_ref().map(|in_force| in_force.max_replicas);
    match max {
        Some(max) if number > max => Some((change.life, AlertType::OverLimit, Some(number), Some(max))),
        _ if change.outside_range => Some((change.life, AlertType::OutsidePlatformRange, Some(number), None)),
        None => Some((change.life, AlertType::Unregistered, None, None)),
        Some(_) => None,
    }
}

/// What no version was in force for and is outside the platform's range is both.
fn also_unregistered(stood: &Stood) -> Option<Held> {
    let is_both = stood.in_force.is_none() && stood.change.outside_range && held(stood).is_some();
    is_both.then_some((stood.change.life, AlertType::Unregistered, None, None))
}

/// A write alerts at its own time; a limit that turns under a number when it does.
fn told_at(stood: &Stood) -> DateTime<Utc> {
    if stood.change.effective_at == stood.from { stood.change.written_at() } else { stood.from }
}

/// The alerts that begin in one object's course. What goes on from before `from` began then.
fn begun(stood: &[Stood], from: DateTime<Utc>) -> Vec<(DateTime<Utc>, AlertType)> {
    let mut alerts = Vec::new();
    let mut last: [Option<Held>; 3] = [None; 3];
    for one in stood {
        let now = [held(one), also_unregistered(one)];
        for (rule, last) in RULES.iter().zip(&mut last) {
            let found = now.iter().flatten().find(|(_, other, ..)| other == rule).copied();
            let goes_on = *last == found;
            let is_carried_in = one.from == from && one.change.effective_at < from;
            if found.is_some() && !goes_on && !is_carried_in {
                alerts.push((told_at(one), *rule));
            }
            *last = found;
        }
    }
    alerts
}

/// How often, and for how long, intervals were over the limit.
fn over(intervals: &[Interval], from: DateTime<Utc>, to: DateTime<Utc>) -> (usize, i64) {
    let (mut breaches, mut micros, mut was_over) = (0, 0, false);
    for interval in intervals {
        let is_over = interval.is_over();
        let (begin, end) = (interval.from.max(from), interval.to.min(to));
        breaches += usize::from(is_over && !was_over && (from..to).contains(&interval.from));
        if is_over && begin < end {
            micros += end.timestamp_micros() - begin.timestamp_micros();
        }
        was_over = is_over;
    }
    (breaches, micros)
}
