//! The rules: what a write means against the limit in force when it happened. Pure.

use std::fmt;
use std::ops::RangeInclusive;

use crate::audit::{Asked, ObjectKind, Outcome, Source, Write};
use crate::names::{Named, named};
use crate::ped::limits::Limit;

pub mod actors;
pub mod scope;

pub use actors::{Route, Routes};
pub use scope::Scope;

named! {
    /// What a write comes to.
    pub enum Verdict {
        /// At most its limit, and inside the platform's range.
        Within = "within",
        /// More than the limit in force.
        OverLimit = "over_limit",
        /// No breach of its own limit, but outside what the platform allows anybody.
        OutsidePlatformRange = "outside_platform_range",
        /// No PED version was in force.
        Unregistered = "unregistered",
        /// The entry does not tell the number, the Deployment that it is about, or whether it removed something.
        UnknownValue = "unknown_value",
        /// The object is gone.
        Removed = "removed",
    }
}

named! {
    /// What an alert is about. Each can be switched off, and has a severity of its own.
    pub enum AlertType {
        /// The write asks for more than the limit in force.
        OverLimit = "over_limit",
        /// No breach of a limit of its own, but outside the platform's range.
        OutsidePlatformRange = "outside_platform_range",
        /// No PED version was in force.
        Unregistered = "unregistered",
        /// Somebody outside the pipeline wrote a watched field, within the limit. (Above it, `OverLimit` says it all.)
        Bypass = "bypass",
        /// More than the team first applied for, and within the limit. (Above it, `OverLimit` says it all.)
        OverInitial = "over_initial",
        /// The number cannot be told.
        UnknownValue = "unknown_value",
        /// Something may have been removed: the entry does not tell what, or whether.
        UnknownRemoval = "unknown_removal",
        /// What runs asks for another number than the log says.
        Drift = "drift",
        /// Something was made, changed or removed, and the log does not say so.
        MissedWrite = "missed_write",
        /// Several missed writes of one cluster: it is the sink.
        SinkBroken = "sink_broken",
        /// More pods than the limit and a rollout allow, in two snapshots running.
        RunningOver = "running_over",
        /// A limit of a Deployment that is not there.
        UnusedLimit = "unused_limit",
        /// Something else than a Deployment runs under the name of one that has a limit, which sees Deployments alone.
        Replaced = "replaced",
        /// Two writers set one number in turn.
        Contested = "contested",
    }
}

impl AlertType {
    /// Whether the daily comparison alone tells it: no single write does.
    pub fn is_compared(self) -> bool {
        use AlertType::{Contested, Drift, MissedWrite, Replaced, RunningOver, SinkBroken, UnusedLimit};
        matches!(self, Drift | MissedWrite | SinkBroken | RunningOver | UnusedLimit | Replaced | Contested)
    }
}

named! {
    /// How bad an alert is; ordered.
    pub enum Severity {
        /// Good to know.
        Info = "info",
        /// Look at it today.
        Warning = "warning",
        /// Look at it now.
        Critical = "critical",
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
    /// Whom it does not concern.
    pub scope: Scope,
}

impl Policy {
    /// Whether a number is outside what the platform allows anybody.
    pub fn outside_range(&self, replicas: i64) -> bool {
        let allowed = self.platform.contains(&replicas) || replicas == 0 && self.allow_zero;
        !allowed
    }
}

/// The severity of each alert type; cannot miss one.
#[derive(Debug, Clone, Default)]
pub struct Severities(Vec<(AlertType, Option<Severity>)>);

impl Severities {
    /// Asks once for each type. `None` switches the rule off.
    pub fn from_fn(mut severity_of: impl FnMut(AlertType) -> Option<Severity>) -> Self {
        Severities(AlertType::ALL.iter().map(|&alert_type| (alert_type, severity_of(alert_type))).collect())
    }

    /// `None` where the rule is off.
    pub fn get(&self, alert_type: AlertType) -> Option<Severity> {
        self.0.iter().find(|(known, _)| *known == alert_type).and_then(|(_, severity)| *severity)
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
    /// The rules that fired, in the order of [`AlertType`].
    pub alerts: Vec<Alert>,
}

/// Judges one write against the limit that was in force at its own time.
///
/// Each rule is checked by itself; the verdict is the first thing to say about the write. At the limit is not over it.
/// Only what is known to be stored, and whole, alerts at once: the rest is judged when the order of the object's writes
/// has told what it was. Nobody is told about what is out of scope.
pub fn judge(write: &Write<'_>, limit: Option<&Limit>, policy: &Policy) -> Judgement {
    let verdict = verdict(write, limit, policy);
    let route = policy.routes.route(&write.actor);
    let told = policy.scope.holds(write) && is_judged_at_once(write) && write.effective != Some(false);
    let facts = Facts::of(write, limit);
    let alerts = AlertType::ALL
        .iter()
        .filter(|&&alert_type| told && fires(alert_type, write, verdict, route, limit, policy))
        .filter_map(|&alert_type| {
            let severity = policy.severity.get(alert_type)?;
            Some(Alert { alert_type, severity, message: facts.message(alert_type, policy) })
        })
        .collect();
    Judgement { verdict, route, alerts }
}

/// Whether a write can be judged by itself. Otherwise the order of its object's writes tells what it comes to: it may not
/// have been stored, its number or what it aims at stands elsewhere.
pub fn is_judged_at_once(write: &Write<'_>) -> bool {
    if write.removes_unknown() {
        return write.split.is_none();
    }
    // Of a split entry, only what the response says is sure to be what was stored.
    let is_whole =
        write.split.is_none() || matches!(write.asked, Asked::For(value) if value.source == Source::Response);
    // An HPA's patch may leave out what it aims at, which its history tells.
    let is_named = write.object_kind == ObjectKind::Deployment || write.deployment_name.is_some();
    write.outcome == Outcome::Stored && is_whole && is_named
}

fn verdict(write: &Write<'_>, limit: Option<&Limit>, policy: &Policy) -> Verdict {
    if write.ends() {
        return Verdict::Removed;
    }
    let replicas = write.asked.replicas().filter(|_| write.deployment_name.is_some());
    let outside_range = replicas.is_some_and(|replicas| policy.outside_range(replicas));
    Verdict::of(replicas, limit.map(|limit| limit.max_replicas), outside_range)
}

impl Verdict {
    /// What a number (`None`: unknown) comes to against the limit in force, if one is.
    pub fn of(replicas: Option<i64>, max_replicas: Option<i64>, outside_range: bool) -> Verdict {
        match (replicas, max_replicas) {
            (None, _) => Verdict::UnknownValue,
            (Some(_), None) => Verdict::Unregistered,
            (Some(replicas), Some(max_replicas)) if replicas > max_replicas => Verdict::OverLimit,
            (Some(_), Some(_)) if outside_range => Verdict::OutsidePlatformRange,
            _ => Verdict::Within,
        }
    }
}

fn fires(
    alert_type: AlertType,
    write: &Write<'_>,
    verdict: Verdict,
    route: Route,
    limit: Option<&Limit>,
    policy: &Policy,
) -> bool {
    let replicas = write.asked.replicas();
    let removes = write.operation.removes();
    match alert_type {
        AlertType::OverLimit => verdict == Verdict::OverLimit,
        AlertType::OutsidePlatformRange => {
            verdict != Verdict::OverLimit && replicas.is_some_and(|replicas| policy.outside_range(replicas))
        }
        AlertType::Unregistered => verdict == Verdict::Unregistered,
        AlertType::Bypass => {
            route.is_bypass()
                && write.touched == Some(true)
                && !removes
                && !matches!(verdict, Verdict::OverLimit | Verdict::Removed)
        }
        AlertType::OverInitial => {
            verdict != Verdict::OverLimit
                && replicas.zip(limit).is_some_and(|(replicas, limit)| replicas > limit.initial_max_replicas)
        }
        AlertType::UnknownValue => verdict == Verdict::UnknownValue && !removes,
        AlertType::UnknownRemoval => write.removes_unknown(),
        compared => {
            debug_assert!(compared.is_compared());
            false
        }
    }
}

/// What an alert's sentence is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'f> {
    /// Kubernetes namespace.
    pub namespace: &'f str,
    /// The Deployment that it is about.
    pub deployment_name: Option<&'f str>,
    /// What was written.
    pub object_kind: ObjectKind,
    /// Its name.
    pub object_name: Option<&'f str>,
    /// What is asked for.
    pub replicas: Option<i64>,
    /// The limit in force.
    pub max_replicas: Option<i64>,
    /// What was first applied for.
    pub initial_max_replicas: Option<i64>,
    /// Whether the write that it is about set the number; a limit that begins on a standing number does not.
    pub set_by_write: bool,
    /// Why the number is unknown.
    pub why: Option<&'f str>,
}

impl<'f> Facts<'f> {
    fn of(write: &Write<'f>, limit: Option<&Limit>) -> Self {
        Facts {
            namespace: write.namespace,
            deployment_name: write.deployment_name,
            object_kind: write.object_kind,
            object_name: write.object_name,
            replicas: write.asked.replicas(),
            max_replicas: limit.map(|limit| limit.max_replicas),
            initial_max_replicas: limit.map(|limit| limit.initial_max_replicas),
            set_by_write: write.touched != Some(false),
            why: match write.asked {
                Asked::Unknown(why) => Some(why),
                Asked::For(_) | Asked::Nothing => None,
            },
        }
    }

    /// One sentence for a person, without the actor's name.
    pub fn message(&self, alert_type: AlertType, policy: &Policy) -> String {
        let what = Subject(self);
        let asked = match self.replicas.unwrap_or_default() {
            1 => "1 replica".to_owned(),
            several => format!("{several} replicas"),
        };
        let (max, initial) = (self.max_replicas.unwrap_or_default(), self.initial_max_replicas.unwrap_or_default());
        let (least, most) = (policy.platform.start(), policy.platform.end());
        match alert_type {
            AlertType::OverLimit if !self.set_by_write => {
                format!("{what} still asks for {asked}, over its limit of {max}; this write did not set them")
            }
            AlertType::OverLimit => format!("{what} asks for {asked}, over its limit of {max}"),
            AlertType::OutsidePlatformRange => {
                format!("{what} asks for {asked}, outside the {least} to {most} that the platform allows")
            }
            AlertType::Unregistered => format!("{what} asks for {asked}, but no PED was in force for it"),
            AlertType::Bypass => format!("{what} was written past the pipeline"),
            AlertType::OverInitial => format!("{what} asks for {asked}, more than the {initial} first applied for"),
            AlertType::UnknownValue => {
                let why = self.why.unwrap_or("no body names the Deployment");
                format!("{what} was written, but its replicas are unknown: {why}")
            }
            AlertType::UnknownRemoval => match self.object_name {
                Some(_) => format!("{what} may have been removed: the entry does not tell whether it was"),
                None => format!("{what} may have been removed: the entry does not tell which"),
            },
            // The comparison has its own words.
            compared => format!("{what}: {compared}"),
        }
    }
}

/// `payments/orders-api`, with the HPA's name where it is one.
struct Subject<'w, 'f>(&'w Facts<'f>);

impl fmt::Display for Subject<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject(facts) = self;
        match (facts.object_kind, facts.object_name, facts.deployment_name) {
            (ObjectKind::HorizontalPodAutoscaler, name, Some(deployment)) => {
                let name = name.unwrap_or("(unnamed)");
                write!(f, "{}/{deployment} (by HorizontalPodAutoscaler {name})", facts.namespace)
            }
            (_, _, Some(deployment)) => write!(f, "{}/{deployment}", facts.namespace),
            (kind, Some(name), None) => write!(f, "{kind} {}/{name}", facts.namespace),
            (kind, None, None) => write!(f, "some {kind} in {}", facts.namespace),
        }
    }
}
