//! Rules without an end: told once for each Deployment in `suppress`, and counted in between.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::known::Standing;
use super::order::{Says, Sighting};
use super::step::{Context, Kind, Reason, Step};
use crate::id;
use crate::names::{self, Named};
use crate::policy::{AlertType, Severity};

/// What was told of a rule without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Once {
    #[serde(with = "names::text")]
    pub(super) rule: AlertType,
    pub(super) told_at: DateTime<Utc>,
    /// How often it held since, for the digest.
    pub(super) suppressed: u32,
}

/// What is to be told of an entry that is the newest state of its object. Whoever is over the limit is told that.
pub(super) fn tell_once(document: &mut Document, news: &Sighting, context: &Context<'_>) -> Vec<Step> {
    let fires = AlertType::ALL.iter().copied().filter(|rule| fires(*rule, news, context));
    let rules: Vec<AlertType> = fires.filter(|rule| context.policy.severity.get(*rule).is_some()).collect();
    rules.into_iter().filter_map(|rule| step(document, rule, news, context)).collect()
}

fn fires(rule: AlertType, news: &Sighting, context: &Context<'_>) -> bool {
    let state = &news.state;
    let number = match state.says {
        Says::Number(number) if state.counts => Some(number),
        Says::Unknown => None,
        _ => return false,
    };
    let is_over = number.zip(context.limit).is_some_and(|(number, limit)| number > limit.max_replicas);
    match rule {
        AlertType::Bypass => !is_over && state.touched && state.route.is_bypass(),
        AlertType::OverInitial => {
            !is_over && number.zip(context.limit).is_some_and(|(number, limit)| number > limit.initial_max_replicas)
        }
        _ => false,
    }
}

fn step(document: &mut Document, rule: AlertType, news: &Sighting, context: &Context<'_>) -> Option<Step> {
    let severity = context.policy.severity.get(rule)?;
    let known = document.once.iter_mut().find(|once| once.rule == rule);
    if let Some(once) = known.filter(|once| context.now - once.told_at < context.settings.suppress) {
        once.suppressed = once.suppressed.saturating_add(1);
        let since = id::time(once.told_at);
        // A line of the next digest, however often it holds meanwhile.
        return (once.suppressed == 1)
            .then(|| made(document, (rule, severity), (Kind::Digest, since), news, context, None));
    }
    let silence = context.silence(rule, severity);
    if silence.is_none() {
        document.once.retain(|once| once.rule != rule);
        document.once.push(Once { rule, told_at: context.now, suppressed: 0 });
    }
    Some(made(document, (rule, severity), (Kind::Once, id::time(context.now)), news, context, silence))
}

fn made(
    document: &Document,
    (rule, severity): (AlertType, Severity),
    (kind, step_value): (Kind, String),
    news: &Sighting,
    context: &Context<'_>,
    silence: Option<&str>,
) -> Step {
    let previous = document.own.standing(None).and_then(|standing| standing.previous);
    Step {
        incident_id: document.deployment.id_under(rule, &[&news.state.write_id]),
        rule,
        severity,
        kind,
        reason: Reason::Written,
        step_value,
        seq: 0,
        began_at: news.state.place.time,
        ended_at: None,
        value: match news.state.says {
            Says::Number(number) => Some(number),
            _ => None,
        },
        limit: context.limit.map(|limit| match rule {
            AlertType::OverInitial => limit.initial_max_replicas,
            _ => limit.max_replicas,
        }),
        highest: None,
        standing: Some(Standing { set_by: news.state.clone(), since: news.state.place.time, previous }),
        silenced_by: silence.map(str::to_owned),
    }
}
