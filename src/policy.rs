//! The rules: what a write means against the limit in force when it happened. Pure.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::audit::{Actor, ActorKind, ObjectKind, Write};
use crate::ped::history::Limit;

/// What a write comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// At most its limit, and inside the platform's range.
    Within,
    /// More than the limit in force.
    OverLimit,
    /// No breach of its own limit, but outside what the platform allows anybody.
    OutsidePlatformRange,
    /// No PED version was in force.
    Unregistered,
    /// The entry does not tell the number, or not the Deployment that it is about.
    UnknownValue,
    /// The object is gone.
    Removed,
}

impl Verdict {
    /// The name used in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Within => "within",
            Verdict::OverLimit => "over_limit",
            Verdict::OutsidePlatformRange => "outside_platform_range",
            Verdict::Unregistered => "unregistered",
            Verdict::UnknownValue => "unknown_value",
            Verdict::Removed => "removed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a write came: told by the actor's name alone, never by the user agent, which the caller chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// The approved way.
    Pipeline,
    /// An autoscaler that was itself configured the approved way.
    Autoscaler,
    /// A Kubernetes or GKE component.
    Controller,
    /// Anybody else with a name.
    Bypass,
    /// Nobody knows who.
    Unknown,
}

impl Route {
    /// The name used in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Route::Pipeline => "pipeline",
            Route::Autoscaler => "autoscaler",
            Route::Controller => "controller",
            Route::Bypass => "bypass",
            Route::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Name patterns of actors: `*` any text, `?` any character. The first list that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    patterns: Vec<(Route, Pattern)>,
}

#[derive(Debug, Clone)]
struct Pattern {
    whole: WildMatch,
    /// What is behind its last wildcard: comparing that first spares most names the slow way.
    tail: String,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let tail = text.rsplit(['*', '?']).next().unwrap_or_default().to_owned();
        Pattern { whole: WildMatch::new(text), tail }
    }

    fn matches(&self, name: &str) -> bool {
        name.ends_with(&self.tail) && self.whole.matches(name)
    }
}

impl Routes {
    /// Takes the three lists in the order in which they are asked.
    pub fn new(pipeline: &[String], autoscaler: &[String], controller: &[String]) -> Self {
        let lists = [(Route::Pipeline, pipeline), (Route::Autoscaler, autoscaler), (Route::Controller, controller)];
        let patterns = lists
            .into_iter()
            .flat_map(|(route, list)| list.iter().map(move |pattern| (route, Pattern::new(pattern))))
            .collect();
        Routes { patterns }
    }

    /// The route of an actor, and the pattern that told it.
    pub fn of(&self, actor: &Actor<'_>) -> (Route, Option<String>) {
        match self.find(actor) {
            Some((route, pattern)) => (*route, Some(pattern.whole.to_string())),
            None => (Self::without_pattern(actor), None),
        }
    }

    fn route(&self, actor: &Actor<'_>) -> Route {
        self.find(actor).map_or_else(|| Self::without_pattern(actor), |(route, _)| *route)
    }

    fn find(&self, actor: &Actor<'_>) -> Option<&(Route, Pattern)> {
        self.patterns.iter().find(|(_, pattern)| pattern.matches(actor.name))
    }

    fn without_pattern(actor: &Actor<'_>) -> Route {
        match actor.kind {
            ActorKind::Unknown | ActorKind::Anonymous => Route::Unknown,
            _ => Route::Bypass,
        }
    }
}

/// What an alert is about. Each can be switched off, and has a severity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertType {
    /// The write asks for more than the limit in force.
    OverLimit,
    /// No breach of a limit of its own, but outside the platform's range.
    OutsidePlatformRange,
    /// No PED version was in force.
    Unregistered,
    /// Somebody outside the pipeline wrote a watched field, within the limit. (Above it, `OverLimit` says it all.)
    Bypass,
    /// More than the team first applied for.
    OverInitial,
    /// The number cannot be told.
    UnknownValue,
}

impl AlertType {
    /// All of them, in the order in which they are checked.
    pub const ALL: [AlertType; 6] = [
        AlertType::OverLimit,
        AlertType::OutsidePlatformRange,
        AlertType::Unregistered,
        AlertType::Bypass,
        AlertType::OverInitial,
        AlertType::UnknownValue,
    ];

    /// The name used in the tables and as the rule's key in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertType::OverLimit => "over_limit",
            AlertType::OutsidePlatformRange => "outside_platform_range",
            AlertType::Unregistered => "unregistered",
            AlertType::Bypass => "bypass",
            AlertType::OverInitial => "over_initial",
            AlertType::UnknownValue => "unknown_value",
        }
    }
}

/// How bad an alert is; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// The name used in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// The severity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Severity::Info, Severity::Warning, Severity::Critical].into_iter().find(|severity| severity.as_str() == name)
    }
}

/// Everything that judging goes by besides the limit. Made by [`crate::config`].
#[derive(Debug, Clone)]
pub struct Policy {
    /// Replicas that the platform allows anybody.
    pub platform: RangeInclusive<i64>,
    /// Whether scaling to zero is fine although it is outside the range.
    pub allow_zero: bool,
    /// Which rules are on, and how bad their alerts are.
    pub severity: Severities,
    /// Who counts as what.
    pub routes: Routes,
}

/// The severity of each alert type; cannot miss one.
#[derive(Debug, Clone, Default)]
pub struct Severities([Option<Severity>; AlertType::ALL.len()]);

impl Severities {
    /// Asks once for each type. `None` switches the rule off.
    pub fn from_fn(severity_of: impl FnMut(AlertType) -> Option<Severity>) -> Self {
        Severities(AlertType::ALL.map(severity_of))
    }

    /// `None` where the rule is off.
    pub fn get(&self, alert_type: AlertType) -> Option<Severity> {
        self.0.get(alert_type as usize).copied().flatten()
    }
}

/// One rule that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which rule.
    pub alert_type: AlertType,
    /// As configured.
    pub severity: Severity,
    /// One sentence for a person, without the actor's name (that has a column of its own).
    pub message: String,
}

/// What [`judge`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What the write comes to.
    pub verdict: Verdict,
    /// Which way it came.
    pub route: Route,
    /// The rules that fired, in the order of [`AlertType::ALL`].
    pub alerts: Vec<Alert>,
}

/// Judges one write against the limit that was in force at its own time.
///
/// Each rule is checked by itself; the verdict is the first thing to say about the write. At the limit is not over it.
pub fn judge(write: &Write<'_>, limit: Option<&Limit>, policy: &Policy) -> Judgement {
    let verdict = verdict(write, limit, policy);
    let route = policy.routes.route(&write.actor);
    let alerts = AlertType::ALL
        .into_iter()
        .filter(|&alert_type| fires(alert_type, write, verdict, route, limit, policy))
        .filter_map(|alert_type| {
            let severity = policy.severity.get(alert_type)?;
            Some(Alert { alert_type, severity, message: message(alert_type, write, limit, policy) })
        })
        .collect();
    Judgement { verdict, route, alerts }
}

fn verdict(write: &Write<'_>, limit: Option<&Limit>, policy: &Policy) -> Verdict {
    if write.operation.removes() {
        return Verdict::Removed;
    }
    match (write.asked, write.deployment_name, limit) {
        (Err(_), _, _) | (_, None, _) => Verdict::UnknownValue,
        (Ok(_), Some(_), None) => Verdict::Unregistered,
        (Ok(asked), Some(_), Some(limit)) if asked.replicas > limit.max_replicas => Verdict::OverLimit,
        (Ok(asked), ..) if outside(asked.replicas, policy) => Verdict::OutsidePlatformRange,
        _ => Verdict::Within,
    }
}

fn outside(replicas: i64, policy: &Policy) -> bool {
    let allowed = policy.platform.contains(&replicas) || replicas == 0 && policy.allow_zero;
    !allowed
}

fn fires(
    alert_type: AlertType,
    write: &Write<'_>,
    verdict: Verdict,
    route: Route,
    limit: Option<&Limit>,
    policy: &Policy,
) -> bool {
    let replicas = write.asked.ok().filter(|_| verdict != Verdict::Removed).map(|asked| asked.replicas);
    match alert_type {
        AlertType::OverLimit => verdict == Verdict::OverLimit,
        AlertType::OutsidePlatformRange => {
            verdict != Verdict::OverLimit && replicas.is_some_and(|replicas| outside(replicas, policy))
        }
        AlertType::Unregistered => verdict == Verdict::Unregistered,
        AlertType::Bypass => {
            route == Route::Bypass && write.touched && !matches!(verdict, Verdict::OverLimit | Verdict::Removed)
        }
        AlertType::OverInitial => {
            replicas.zip(limit).is_some_and(|(replicas, limit)| replicas > limit.initial_max_replicas)
        }
        AlertType::UnknownValue => verdict == Verdict::UnknownValue,
    }
}

fn message(alert_type: AlertType, write: &Write<'_>, limit: Option<&Limit>, policy: &Policy) -> String {
    let what = Subject(write);
    let asked = match write.asked.map_or(0, |asked| asked.replicas) {
        1 => "1 replica".to_owned(),
        several => format!("{several} replicas"),
    };
    let (max, initial) = limit.map_or((0, 0), |limit| (limit.max_replicas, limit.initial_max_replicas));
    let (least, most) = (policy.platform.start(), policy.platform.end());
    match alert_type {
        AlertType::OverLimit if !write.touched => {
            format!("{what} still asks for {asked}, over its limit of {max}; this write did not set them")
        }
        AlertType::OverLimit => format!("{what} asks for {asked}, over its limit of {max}"),
        AlertType::OutsidePlatformRange => {
            format!("{what} asks for {asked}, outside the {least} to {most} that the platform allows")
        }
        AlertType::Unregistered => format!("{what} asks for {asked}, but no PED was in force for it"),
        AlertType::Bypass => format!("{what} was written past the pipeline"),
        AlertType::OverInitial => {
            format!("{what} asks for {asked}, more than the {initial} first applied for")
        }
        AlertType::UnknownValue => {
            let why = write.asked.err().unwrap_or("no body names the Deployment");
            format!("{what} was written, but its replicas are unknown: {why}")
        }
    }
}

/// `payments/orders-api`, with the HPA's name where it is one.
struct Subject<'w, 'e>(&'w Write<'e>);

impl fmt::Display for Subject<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject(write) = self;
        let object = write.object_name.unwrap_or("(unnamed)");
        match (write.object_kind, write.deployment_name) {
            (ObjectKind::HorizontalPodAutoscaler, Some(deployment)) => {
                write!(f, "{}/{deployment} (by HorizontalPodAutoscaler {object})", write.namespace)
            }
            (kind, None) => write!(f, "{kind} {}/{object}", write.namespace),
            (_, Some(deployment)) => write!(f, "{}/{deployment}", write.namespace),
        }
    }
}
