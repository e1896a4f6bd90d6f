//! What the comparison tells a person.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Finding, Replacement, Running};
use crate::policy::{AlertType, Severity};

impl Finding {
    /// The rule that it is of; `None` for what is no alert.
    pub fn alert_type(self) -> Option<AlertType> {
        match self {
            Finding::Baseline | Finding::NotGone | Finding::NowKnown => None,
            Finding::MissedCreate | Finding::MissedChanges(_) | Finding::MissedDelete => Some(AlertType::MissedWrite),
            Finding::Drift { .. } => Some(AlertType::Drift),
            Finding::OverLimit => Some(AlertType::OverLimit),
            Finding::TooManyPods => Some(AlertType::RunningOver),
            Finding::Unregistered => Some(AlertType::Unregistered),
            Finding::UnusedLimit => Some(AlertType::UnusedLimit),
            Finding::Replaced(_) => Some(AlertType::Replaced),
        }
    }

    /// How bad it is, where the rule's severity is this.
    pub fn severity(self, configured: Severity) -> Severity {
        // The number is as the log says.
        if matches!(self, Finding::MissedChanges(_)) { configured.min(Severity::Info) } else { configured }
    }
}

/// One sentence for a person about a Deployment (`what`) in a snapshot, with the limit in force.
pub fn sentence(what: &str, finding: Finding, running: Option<&Running>, limit: Option<i64>) -> String {
    let replicas = running.and_then(|running| running.replicas);
    let asked = match replicas {
        Some(1) => "1 replica".to_owned(),
        Some(several) => format!("{several} replicas"),
        None => "replicas whose number cannot be".to_owned(),
    };
    let max = limit.unwrap_or_default();
    match finding {
        Finding::Baseline => format!("{what} asks for {asked}, since before the log"),
        Finding::NotGone => format!("{what} is there, and the log says that it was removed"),
        Finding::NowKnown => format!("{what} asks for {asked}, which the log did not tell"),
        Finding::MissedCreate => {
            format!("{what} runs with {asked} asked for, and the log does not tell that it was made{}", hint(running))
        }
        Finding::MissedChanges(1) => format!("a change of {what} is not in the log; its number is as the log says"),
        Finding::MissedChanges(changes) => {
            format!("{changes} changes of {what} are not in the log; its number is as the log says")
        }
        Finding::MissedDelete => format!("{what} is gone, and the log does not tell that it was removed"),
        Finding::Drift { told } => {
            format!("{what} asks for {asked}, where {told} were known{}", hint(running))
        }
        Finding::OverLimit => format!("{what} asks for {asked}, over its limit of {max}, and no entry told it"),
        Finding::TooManyPods => {
            let pods = running.and_then(|running| running.running_pods).unwrap_or_default();
            format!("{what} has {pods} pods in two snapshots running, more than its limit of {max} and a rollout allow")
        }
        Finding::Unregistered => format!("{what} asks for {asked}, but no PED was in force for it"),
        Finding::Replaced(Replacement { kind, replicas }) => format!(
            "a {kind} runs in the place of the Deployment {what} and asks for {replicas}: the limit of {max} sees Deployments alone"
        ),
        Finding::UnusedLimit => format!("a PED allows {what} up to {max} replicas, and there is no such Deployment"),
    }
}

/// The same about an HPA of a Deployment (`what`); of findings that concern HPAs.
pub fn sentence_of_hpa(
    hpa: &str,
    what: &str,
    finding: Finding,
    running: Option<&Running>,
    limit: Option<i64>,
) -> String {
    let max = running.and_then(|running| running.replicas);
    let max = max.map_or_else(|| "a number that cannot be".to_owned(), |max| max.to_string());
    match finding {
        Finding::Drift { told } => format!("an HPA may scale {what} to {max}, where {told} were known"),
        Finding::OverLimit => {
            let limit = limit.unwrap_or_default();
            format!("an HPA may scale {what} to {max}, over its limit of {limit}, and no entry told it")
        }
        Finding::MissedCreate => {
            format!("the HPA {hpa} may scale {what} to {max}, and the log does not tell that it was made")
        }
        Finding::MissedDelete => {
            format!("the HPA {hpa} of {what} is gone, and the log does not tell that it was removed")
        }
        // Of an HPA nothing else is watched.
        _ => format!("the HPA {hpa} scales {what} now, and the log does not tell that it was changed"),
    }
}

/// Who says that they set the number.
fn hint(running: Option<&Running>) -> String {
    let Some((manager, at)) = running.and_then(|running| running.set_by.as_ref()) else { return String::new() };
    let at = at
        .map_or_else(String::new, |at: DateTime<Utc>| format!(" at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)));
    format!(" (managedFields: {manager}{at})")
}
