//! What a message says: all that a person needs to act on it, under the names that templates use. Pure.

use chrono::{DateTime, Utc};
use percent_encoding::utf8_percent_encode;
use serde::Serialize;

use crate::id;
use crate::incident::{Deployment, Kind, Reason, Step};
use crate::names;
use crate::policy::{AlertType, Severity};
use crate::remote::IN_A_URL;

/// A step with what its Deployment's PED and prices say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What is told.
    #[serde(with = "names::text")]
    pub kind: Kind,
    /// Why.
    #[serde(with = "names::text")]
    pub reason: Reason,
    /// The rule.
    #[serde(with = "names::text")]
    pub rule: AlertType,
    /// How bad it is.
    #[serde(with = "names::text")]
    pub severity: Severity,
    /// The incident.
    pub incident_id: String,
    /// Google Cloud project of the cluster.
    pub project: String,
    /// Region or zone of the cluster.
    pub location: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// What is asked for, where that is known.
    pub value: Option<i64>,
    /// What it is held against.
    pub limit: Option<i64>,
    /// What was asked for before.
    pub previous: Option<i64>,
    /// The highest value since it began.
    pub highest: Option<i64>,
    /// Since when the condition holds, RFC 3339.
    pub began_at: String,
    /// When it stopped holding.
    pub ended_at: Option<String>,
    /// How long it held, or has held so far, in seconds.
    pub lasted_seconds: i64,
    /// Who set the number.
    pub actor: Option<String>,
    /// Whom they impersonated.
    pub on_behalf_of: Option<String>,
    /// When they did, RFC 3339.
    pub written_at: Option<String>,
    /// The log entry in Google Cloud's console.
    pub log_url: Option<String>,
    /// Who is charged for the Deployment.
    pub owner: Option<String>,
    /// Where its PED lies.
    pub source: Option<String>,
    /// What it adds to this month's fee, with its currency.
    pub cost: Option<String>,
}

/// What is known of a Deployment besides the step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Besides {
    /// See [`Message::owner`].
    pub owner: Option<String>,
    /// See [`Message::source`].
    pub source: Option<String>,
    /// See [`Message::cost`].
    pub cost: Option<String>,
}

impl Message {
    /// What is said of a step at `now`.
    pub fn new(step: &Step, deployment: &Deployment, besides: Besides, now: DateTime<Utc>) -> Self {
        let set_by = step.standing.as_ref().map(|standing| &standing.set_by);
        let place = set_by.map(|state| &state.place);
        let Besides { owner, source, cost } = besides;
        let log_url = place.filter(|place| !place.insert_id.is_empty() && !deployment.project.is_empty());
        Message {
            kind: step.kind,
            reason: step.reason,
            rule: step.rule,
            severity: step.severity,
            incident_id: step.incident_id.clone(),
            project: deployment.project.clone(),
            location: deployment.location.clone(),
            cluster: deployment.cluster.clone(),
            namespace: deployment.namespace.clone(),
            deployment: deployment.name.clone(),
            value: step.value,
            limit: step.limit,
            previous: step.standing.as_ref().and_then(|standing| standing.previous),
            highest: step.highest,
            began_at: id::time(step.began_at),
            ended_at: step.ended_at.map(id::time),
            lasted_seconds: (step.ended_at.unwrap_or(now) - step.began_at).num_seconds().max(0),
            actor: set_by.map(|state| state.actor.clone()).filter(|actor| !actor.is_empty()),
            on_behalf_of: set_by.and_then(|state| state.on_behalf_of.clone()),
            written_at: place.map(|place| id::time(place.time)),
            log_url: log_url.map(|place| log_url_of(&deployment.project, &place.insert_id, place.time)),
            owner,
            source,
            cost,
        }
    }
}

/// Nothing happened: what a receiver is tried with.
impl Message {
    /// A message that says so in its names.
    pub fn sample() -> Self {
        let (step, deployment) = sample();
        Message::new(&step, &deployment, Besides::default(), step.began_at)
    }
}

/// A step of a Deployment that is not there.
pub fn sample() -> (Step, Deployment) {
    let deployment = Deployment {
        project: "test".to_owned(),
        location: "test".to_owned(),
        cluster: "test".to_owned(),
        namespace: "test".to_owned(),
        name: "this-is-only-a-test".to_owned(),
    };
    let step = Step {
        incident_id: id::id(&["test"]),
        rule: AlertType::OverLimit,
        severity: Severity::Info,
        kind: Kind::Opened,
        reason: Reason::Began,
        step_value: String::new(),
        seq: 1,
        began_at: DateTime::UNIX_EPOCH,
        ended_at: None,
        value: Some(2),
        limit: Some(1),
        highest: Some(2),
        standing: None,
        silenced_by: None,
    };
    (step, deployment)
}

/// The entry in the Logs Explorer: <https://cloud.google.com/logging/docs/view/building-queries#share-query>.
fn log_url_of(project: &str, insert_id: &str, time: DateTime<Utc>) -> String {
    // Ids may hold anything; quotes would end the text in the query.
    let insert_id = insert_id.replace('\\', "\\\\").replace('"', "\\\"");
    let query = format!("insertId=\"{insert_id}\"\ntimestamp=\"{}\"", id::time(time));
    let (query, project) = (utf8_percent_encode(&query, IN_A_URL), utf8_percent_encode(project, IN_A_URL));
    format!(
        "https://console.cloud.google.com/logs/query;query={query};cursorTimestamp={}?project={project}",
        id::time(time)
    )
}
