//! What a comparison comes to, as rows of `alert_log`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::known::{Found, Known};
use crate::audit::ObjectKind;
use crate::id::id;
use crate::names::Named;
use crate::policy::{AlertType, Severity};
use crate::store::query::reality::Raised;
use crate::store::reach::day;
use crate::store::row::{AlertLog, ReplicaEvent, alert_id, written};
use crate::timeline::reality::{Finding, Running, sentence, sentence_of_hpa};

/// So many Deployments are named where a sink is broken.
const NAMED: usize = 5;

/// What a comparison comes to.
pub(super) struct Outcome {
    /// What was not raised yet.
    pub(super) alerts: Vec<AlertLog>,
    /// What the log did not know.
    pub(super) taught: Vec<ReplicaEvent>,
}

impl Known<'_> {
    /// What it comes to. Several missed writes of one cluster and day are one alert; and what was raised for the same is not
    /// raised again.
    pub(super) fn outcome(&self, now: DateTime<Utc>) -> Outcome {
        let sides = self.sides();
        let found = self.findings(&sides);
        let sink = self.broken_sink(&found, now);
        let is_told_apart = |finding: &&Finding| sink.is_none() || !finding.is_missed_write();
        let mut alerts: Vec<AlertLog> = Vec::new();
        for found in &found {
            let findings = found.findings.iter().filter(is_told_apart);
            alerts.extend(findings.filter_map(|finding| self.alert(found, *finding, now)));
        }
        alerts.extend(sink);
        let known: BTreeSet<&str> = self.raised.iter().map(|raised| raised.alert_id.as_str()).collect();
        alerts.retain(|alert| !known.contains(alert.alert_id.as_str()));
        Outcome { alerts, taught: found.iter().filter_map(|found| self.event(found, now)).collect() }
    }

    fn alert(&self, found: &Found<'_>, finding: Finding, now: DateTime<Utc>) -> Option<AlertLog> {
        let alert_type = finding.alert_type()?;
        let severity = finding.severity(self.rules.policy.severity.get(alert_type)?);
        let Found { namespace, deployment: name, hpa, running, limit, .. } = *found;
        let max = limit.map(|limit| limit.max_replicas);
        let what = names(namespace, name);
        let message = match hpa {
            Some(hpa) => sentence_of_hpa(hpa, &what, finding, running, max),
            None => sentence(&what, finding, running, max),
        };
        let (cluster, date) = (self.snapshot.cluster().to_string(), self.date());
        let row = match (finding, limit) {
            // About a number, whoever showed it: as where an entry did.
            (Finding::OverLimit | Finding::Unregistered, _) => self.about_the_number(found, alert_type),
            // Whichever cluster misses it, and for as long as it holds.
            (Finding::UnusedLimit, Some(limit)) => {
                (id(&[alert_type.as_str(), namespace, name, "", &limit.limit_id]), None)
            }
            (Finding::Replaced(by), Some(limit)) => {
                (id(&[alert_type.as_str(), namespace, name, &cluster, by.kind.as_str(), &limit.limit_id]), None)
            }
            // For as long as it is this object under this limit.
            (Finding::TooManyPods, Some(limit)) => {
                let uid = running.and_then(|running| running.uid.as_deref()).unwrap_or_default();
                (id(&[alert_type.as_str(), namespace, name, &cluster, uid, &limit.limit_id]), None)
            }
            _ => {
                let mut parts = vec![alert_type.as_str(), namespace, name, &cluster, &date];
                parts.extend(hpa.into_iter().flat_map(|hpa| [ObjectKind::HorizontalPodAutoscaler.as_str(), hpa]));
                (id(&parts), None)
            }
        };
        let (alert_id, event_id) = row;
        Some(AlertLog {
            namespace: namespace.to_owned(),
            deployment_name: Some(name.to_owned()),
            replicas: asked(finding, running),
            limit_max_replicas: max,
            limit_initial_max_replicas: limit.map(|limit| limit.initial_max_replicas),
            limit_id: limit.map(|limit| limit.limit_id.clone()),
            event_id,
            ..self.row(alert_type, severity, alert_id, message, now)
        })
    }

    /// The ids of an alert about the number in what the snapshot teaches, and of that.
    fn about_the_number(&self, found: &Found<'_>, alert_type: AlertType) -> (String, Option<String>) {
        let event_id = self.event_id(found);
        let running = found.running;
        let uid = running.and_then(|running| running.uid.as_deref());
        let version = running.and_then(|running| running.version.as_deref());
        let (replicas, max) =
            (running.and_then(|running| running.replicas), found.limit.map(|limit| limit.max_replicas));
        let initial = found.limit.map(|limit| limit.initial_max_replicas);
        (alert_id(alert_type, &written(uid, version, &event_id), replicas, max, initial), Some(event_id))
    }

    /// That the sink is broken, where so many writes went by that day.
    fn broken_sink(&self, found: &[Found<'_>], now: DateTime<Utc>) -> Option<AlertLog> {
        let severity = self.rules.policy.severity.get(AlertType::SinkBroken)?;
        let today = day(self.snapshot.started_at);
        let earlier = || self.raised.iter().filter(|raised| raised.alert_time >= today);
        let missed = |found: &&Found<'_>| found.findings.iter().any(|finding| finding.is_missed_write());
        let mut names: BTreeSet<String> =
            found.iter().filter(missed).map(|found| names(found.namespace, found.deployment)).collect();
        let is_told = earlier().any(|raised| raised.alert_type == AlertType::SinkBroken);
        if names.is_empty() {
            return None;
        }
        names.extend(earlier().filter_map(missed_before));
        if !is_told && names.len() < self.rules.thresholds.broken_sink_writes {
            return None;
        }
        let some: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        let message = format!(
            "the sink of {} is broken: the log does not tell what was written to {} Deployments ({}{})",
            self.snapshot.cluster_name,
            names.len(),
            some.join(", "),
            if names.len() > NAMED { ", …" } else { "" }
        );
        let identity = id(&[AlertType::SinkBroken.as_str(), &self.snapshot.cluster().to_string(), &self.date()]);
        Some(self.row(AlertType::SinkBroken, severity, identity, message, now))
    }

    fn date(&self) -> String {
        self.snapshot.started_at.format("%F").to_string()
    }

    /// A row about the cluster.
    fn row(
        &self,
        alert_type: AlertType,
        severity: Severity,
        alert_id: String,
        message: String,
        now: DateTime<Utc>,
    ) -> AlertLog {
        AlertLog {
            alert_time: self.snapshot.started_at,
            project_id: Some(self.snapshot.project_id.clone()),
            location: Some(self.snapshot.location.clone()),
            cluster_name: self.snapshot.cluster_name.clone(),
            ..AlertLog::compared(alert_type, severity, alert_id, message, now)
        }
    }
}

/// How many are asked for: by the Deployment, or by what is in its place.
fn asked(finding: Finding, running: Option<&Running>) -> Option<i64> {
    match finding {
        Finding::Replaced(by) => Some(by.replicas),
        _ => running.and_then(|running| running.replicas),
    }
}

fn names(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn missed_before(raised: &Raised) -> Option<String> {
    let is_missed = matches!(raised.alert_type, AlertType::Drift | AlertType::MissedWrite);
    Some(names(&raised.namespace, raised.deployment_name.as_deref().filter(|_| is_missed)?))
}
