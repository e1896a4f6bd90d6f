//! What one audit entry says: the write it records, or why it is not a change. Pure, borrowing, never panics.
//!
//! ```text
//! bytes ─▶ Entry::parse ─▶ decode ─▶ Decoded::Writes │ Decoded::Ignored(reason)
//! ```
//!
//! The response is believed before the request, the object's own names before the call's, and nothing is guessed:
//! a number that cannot be read is *unknown*, which is recorded, and never "no change".

use std::fmt;

use chrono::{DateTime, Utc};

mod actor;
mod entry;
pub mod forms;
mod json;
mod method;
mod replicas;

pub use actor::{Actor, ActorKind};
pub use entry::Entry;
pub use method::{ObjectKind, Operation};
pub use replicas::{Source, Value};

use entry::{Body, ClusterLabels, Metadata, Payload, Split};
use json::Number;
use method::{Call, classify};
use replicas::Asked;

/// What an entry turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<'e> {
    /// Successful writes to watched objects. One, except for a `deletecollection`, which removes several objects.
    Writes(Vec<Write<'e>>),
    /// Recognised, and not a change.
    Ignored(Ignored),
}

/// Why an entry is not a change. Counted by this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// A log entry without an audit payload.
    OtherLog,
    /// An audit entry of another service than `k8s.io`.
    OtherService,
    /// A write to something that holds no watched number: Pods, ReplicaSets, StatefulSets, other subresources.
    OtherResource,
    /// An HPA that scales something else than a Deployment.
    OtherScaleTarget,
    /// `get`, `list`, `watch`.
    Read,
    /// A write to `/status`, which carries a possibly stale spec.
    StatusWrite,
    /// `status.code` is not 0: nothing was stored.
    FailedCall,
    /// A dry run: nothing was stored.
    DryRun,
    /// A PUT that came back with the `resourceVersion` it was sent with: nothing was stored.
    NotStored,
    /// A patch of something else, and no response that says what the number is.
    ReplicasNotTouched,
    /// A piece of a split entry; the number is in another piece.
    SplitPiece,
}

impl Ignored {
    /// The name used in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::OtherLog => "other_log",
            Ignored::OtherService => "other_service",
            Ignored::OtherResource => "other_resource",
            Ignored::OtherScaleTarget => "other_scale_target",
            Ignored::Read => "read",
            Ignored::StatusWrite => "status_write",
            Ignored::FailedCall => "failed_call",
            Ignored::DryRun => "dry_run",
            Ignored::NotStored => "not_stored",
            Ignored::ReplicasNotTouched => "replicas_not_touched",
            Ignored::SplitPiece => "split_piece",
        }
    }

    /// The reason in plain words.
    pub fn explain(self) -> &'static str {
        match self {
            Ignored::OtherLog => "a log entry without an audit payload",
            Ignored::OtherService => "an audit entry of another service than k8s.io",
            Ignored::OtherResource => "neither a Deployment, nor its scale, nor a HorizontalPodAutoscaler",
            Ignored::OtherScaleTarget => "the HorizontalPodAutoscaler scales something else than a Deployment",
            Ignored::Read => "a read",
            Ignored::StatusWrite => "a status write, whose spec may be stale",
            Ignored::FailedCall => "the call failed, so nothing was stored",
            Ignored::DryRun => "a dry run, so nothing was stored",
            Ignored::NotStored => "the resourceVersion did not move, so nothing was stored (no change, or a dry run)",
            Ignored::ReplicasNotTouched => "the patch leaves the number alone",
            Ignored::SplitPiece => "a piece of a split entry; the number is in another piece",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an input cannot be read. It goes to quarantine with this message: reading it again would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but not a `LogEntry` with everything that identifies one.
    #[error("not a LogEntry: {missing} is missing")]
    NotALogEntry {
        /// What a `LogEntry` has and this does not.
        missing: &'static str,
    },
    /// An audit log's entry whose payload cannot be read.
    #[error("an audit log's entry whose {place} is {found}; expected {expected}")]
    UnreadablePayload {
        /// The field.
        place: &'static str,
        /// What stands there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// Something else than log entries, or entries in a form that cannot be read.
    #[error("this is {form}; expected {remedy}")]
    Form {
        /// What it looks like.
        form: String,
        /// What to give instead.
        remedy: &'static str,
    },
    /// A Pub/Sub push body whose `message.data` is not base64.
    #[error("message.data is not base64 ({0}); expected base64 of what was published, in either alphabet")]
    NotBase64(String),
    /// `timestamp` or `receiveTimestamp` is not RFC 3339.
    #[error("{place} is {value:?}; expected {expected}")]
    BadTime {
        /// The field.
        place: &'static str,
        /// What it holds, shortened.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A number that no replica count can be.
    #[error("{place} is {value}, not a whole number from 0 to {max}", max = i32::MAX)]
    Malformed {
        /// The field.
        place: &'static str,
        /// What it holds, shortened.
        value: String,
    },
    /// Longer than any message that Pub/Sub carries.
    #[error("{size_bytes} bytes long, more than the {limit_bytes} that one entry may have")]
    TooLarge {
        /// How long it is.
        size_bytes: u64,
        /// How long it may be.
        limit_bytes: usize,
    },
}

impl DecodeError {
    /// One of [`DecodeError::reason`], or `other`: metrics have bounded labels.
    pub fn reason_of(text: &str) -> &'static str {
        let known = [
            "not_json",
            "not_a_log_entry",
            "unreadable_payload",
            "other_form",
            "not_base64",
            "bad_time",
            "malformed_number",
            "too_large",
        ];
        known.into_iter().find(|reason| *reason == text).unwrap_or("other")
    }

    /// The name used in reports, metrics and the quarantine.
    pub fn reason(&self) -> &'static str {
        match self {
            DecodeError::NotJson(_) => "not_json",
            DecodeError::NotALogEntry { .. } => "not_a_log_entry",
            DecodeError::UnreadablePayload { .. } => "unreadable_payload",
            DecodeError::Form { .. } => "other_form",
            DecodeError::NotBase64(_) => "not_base64",
            DecodeError::BadTime { .. } => "bad_time",
            DecodeError::Malformed { .. } => "malformed_number",
            DecodeError::TooLarge { .. } => "too_large",
        }
    }
}

/// One successful write to a watched object.
#[derive(Debug, Clone, PartialEq)]
pub struct Write<'e> {
    /// Full name of the log.
    pub log_name: &'e str,
    /// Logging's id of the entry (of this piece, when split).
    pub insert_id: &'e str,
    /// What the pieces of a split entry share.
    pub split_uid: Option<&'e str>,
    /// `timestamp`: when the call happened. Every rule and look-up goes by it.
    pub event_time: DateTime<Utc>,
    /// `receiveTimestamp`: when Logging got the entry.
    pub received_time: Option<DateTime<Utc>>,
    /// Google Cloud project of the cluster.
    pub project_id: Option<&'e str>,
    /// Region or zone of the cluster.
    pub location: Option<&'e str>,
    /// Name of the cluster.
    pub cluster_name: &'e str,
    /// Kubernetes namespace.
    pub namespace: &'e str,
    /// The Deployment that the number is about; for an HPA its scaleTargetRef. `None` when no body names it.
    pub deployment_name: Option<&'e str>,
    /// What was written.
    pub object_kind: ObjectKind,
    /// Its name.
    pub object_name: Option<&'e str>,
    /// `metadata.uid`: a re-created object has a new one.
    pub object_uid: Option<&'e str>,
    /// `metadata.resourceVersion`: orders the writes of one object.
    pub resource_version: Option<i64>,
    /// `metadata.generation`: counts the changes of one object's spec. A Scale has none.
    pub generation: Option<i64>,
    /// How it was written.
    pub operation: Operation,
    /// The call, as Logging names it.
    pub method_name: &'e str,
    /// The number asked for, or why it is unknown.
    pub asked: Result<Value, &'static str>,
    /// HPA: `spec.minReplicas`.
    pub min_replicas: Option<i64>,
    /// Whether the client wrote a watched field itself (a patch of the image alone does not). True where that
    /// cannot be told.
    pub touched: bool,
    /// Who did it.
    pub actor: Actor<'e>,
    /// Set by the caller: to be shown, never to decide by.
    pub user_agent: Option<&'e str>,
    /// Address the call came from.
    pub caller_ip: Option<&'e str>,
}

/// Decides what a parsed entry is.
///
/// # Errors
/// [`DecodeError`] when it is no `LogEntry`, or one of a watched write that lacks what identifies it, or whose number
/// cannot be one. An entry about anything else is [`Decoded::Ignored`], however odd its bodies are.
pub fn decode<'e>(entry: &'e Entry<'_>) -> Result<Decoded<'e>, DecodeError> {
    let log_name = entry.log_name.get().ok_or(DecodeError::NotALogEntry { missing: "logName" })?;
    let Some(payload) = &entry.proto_payload.0 else { return Ok(Decoded::Ignored(Ignored::OtherLog)) };
    let call = match watched_call(entry, payload) {
        Ok(call) => call,
        Err(reason) => return Ok(Decoded::Ignored(reason)),
    };
    let template = describe(entry, payload, &call, log_name)?;
    if call.operation.removes() {
        return Ok(removal(entry, payload, template));
    }
    let split = entry.split.0.is_some();
    let reading = replicas::read(&call, &payload.request, &payload.response, split)?;
    let asked = match reading.asked {
        Asked::For(value) => Ok(value),
        Asked::Unknown(_) if is_truncated(entry) => Err("the audit entry was truncated: its bodies are missing"),
        Asked::Unknown(why) => Err(why),
        Asked::NotTouched => return Ok(Decoded::Ignored(Ignored::ReplicasNotTouched)),
        Asked::InAnotherPiece => return Ok(Decoded::Ignored(Ignored::SplitPiece)),
    };
    if call.kind == ObjectKind::HorizontalPodAutoscaler && scales_something_else(payload) {
        return Ok(Decoded::Ignored(Ignored::OtherScaleTarget));
    }
    let write = Write { asked, min_replicas: reading.min_replicas, touched: reading.touched, ..template };
    Ok(Decoded::Writes(vec![write]))
}

/// The call, if it is a successful write to something watched.
fn watched_call<'e>(entry: &'e Entry<'_>, payload: &'e Payload<'_>) -> Result<Call<'e>, Ignored> {
    if payload.service_name.get() != Some("k8s.io") {
        return Err(Ignored::OtherService);
    }
    let method_name = payload.method_name.get().unwrap_or_default();
    let call = classify(method_name, payload.resource_name.get().unwrap_or_default())?;
    // Labels such as `authorization.k8s.io/decision` do not tell: a quota denial has `allow`.
    let code = payload.status.0.as_ref().map_or(&Number::Absent, |status| &status.code);
    let failed = !matches!(code, Number::Absent | Number::Null | Number::Whole(0));
    if failed || payload.response.outcome.get() == Some("Failure") {
        return Err(Ignored::FailedCall);
    }
    if is_dry_run(entry, payload, &call) {
        return Err(Ignored::DryRun);
    }
    if sent_and_stored_versions_agree(payload, &call) {
        return Err(Ignored::NotStored);
    }
    Ok(call)
}

/// GKE labels dry runs. Clusters too old for the label show a dry-run create by an object without resourceVersion.
fn is_dry_run(entry: &Entry<'_>, payload: &Payload<'_>, call: &Call<'_>) -> bool {
    let labelled = entry.labels.0.as_ref().is_some_and(|labels| labels.dry_run.get().is_some());
    let never_stored = call.operation == Operation::Create
        && entry.split.0.is_none()
        && payload.response.kind.get() == Some(call.kind.as_str())
        && payload.response.metadata.as_ref().is_some_and(|metadata| metadata.resource_version.get().is_none());
    labelled || never_stored
}

/// A PUT names the resourceVersion it replaces. Getting the same one back means that nothing was stored: either
/// nothing changed, or it was a dry run on a cluster too old to label it.
fn sent_and_stored_versions_agree(payload: &Payload<'_>, call: &Call<'_>) -> bool {
    let version = |body: &Body<'_>| resource_version(body.metadata.as_ref()?);
    let replaces = matches!(call.operation, Operation::Update | Operation::Scale) && !call.is_patch;
    replaces && version(&payload.request).is_some() && version(&payload.request) == version(&payload.response)
}

fn is_truncated(entry: &Entry<'_>) -> bool {
    entry.labels.0.as_ref().is_some_and(|labels| labels.truncated.get() == Some("true"))
}

/// Everything about a write but its number.
fn describe<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    call: &Call<'e>,
    log_name: &'e str,
) -> Result<Write<'e>, DecodeError> {
    let missing = |missing| DecodeError::NotALogEntry { missing };
    let cluster: Option<&'e ClusterLabels<'_>> =
        entry.resource.0.as_ref().and_then(|resource| resource.labels.0.as_ref());
    let caller = payload.request_metadata.0.as_ref();
    let response = payload.response.metadata.as_ref();
    let request = payload.request.metadata.as_ref();
    let details = &payload.response.details;
    let object_name = call
        .name
        .or_else(|| response?.name.get())
        .or_else(|| request?.name.get())
        .filter(|_| call.operation != Operation::DeleteCollection);
    Ok(Write {
        log_name,
        insert_id: entry.insert_id.get().ok_or(missing("insertId"))?,
        split_uid: entry.split.0.as_ref().and_then(|split: &Split<'_>| split.uid.get()),
        event_time: time("timestamp", entry.timestamp.get().ok_or(missing("timestamp"))?)?,
        received_time: entry.receive_timestamp.get().map(|text| time("receiveTimestamp", text)).transpose()?,
        project_id: cluster.and_then(|labels| labels.project_id.get()),
        location: cluster.and_then(|labels| labels.location.get()),
        cluster_name: cluster
            .and_then(|labels| labels.cluster_name.get())
            .ok_or(missing("resource.labels.cluster_name"))?,
        namespace: call
            .namespace
            .or_else(|| response?.namespace.get())
            .or_else(|| request?.namespace.get())
            .ok_or(missing("the namespace in protoPayload.resourceName"))?,
        deployment_name: match call.kind {
            ObjectKind::Deployment => object_name,
            ObjectKind::HorizontalPodAutoscaler => scale_target(payload).and_then(|(_, name)| name),
        },
        object_kind: call.kind,
        object_name,
        object_uid: response.and_then(|metadata| metadata.uid.get()).or_else(|| details.uid.get()),
        resource_version: response.and_then(resource_version),
        generation: response.and_then(|metadata| metadata.generation.whole()),
        operation: call.operation,
        method_name: payload.method_name.get().unwrap_or_default(),
        asked: Err("a removal asks for no number"),
        min_replicas: None,
        touched: true,
        actor: actor::actor(payload.authentication_info.0.as_ref()),
        user_agent: caller.and_then(|caller| caller.caller_supplied_user_agent.get()),
        caller_ip: caller.and_then(|caller| caller.caller_ip.get()),
    })
}

/// A delete is one write; a `deletecollection` is one for each object that the response lists.
fn removal<'e>(entry: &'e Entry<'_>, payload: &'e Payload<'_>, template: Write<'e>) -> Decoded<'e> {
    let removed: Vec<Write<'e>> = payload
        .response
        .items
        .iter()
        .map(|item| Write {
            object_name: item.name.get(),
            deployment_name: item.name.get().filter(|_| template.object_kind == ObjectKind::Deployment),
            object_uid: item.uid.get(),
            resource_version: resource_version(item),
            generation: item.generation.whole(),
            ..template.clone()
        })
        .collect();
    let first_piece = entry.split.0.as_ref().is_none_or(|split| split.index.whole().unwrap_or(0) == 0);
    match (template.operation, removed.is_empty(), first_piece) {
        (Operation::DeleteCollection, false, _) => Decoded::Writes(removed),
        // A split removal is told once, by its first piece: the others say nothing more.
        (_, _, true) => Decoded::Writes(vec![template]),
        (_, _, false) => Decoded::Ignored(Ignored::SplitPiece),
    }
}

/// Kind and name of what an HPA scales: from the response, else from the request.
fn scale_target<'e>(payload: &'e Payload<'_>) -> Option<(&'e str, Option<&'e str>)> {
    [&payload.response, &payload.request].into_iter().find_map(|body| {
        let target = body.spec.as_ref()?.scale_target_ref.0.as_ref()?;
        Some((target.kind.get()?, target.name.get()))
    })
}

fn scales_something_else(payload: &Payload<'_>) -> bool {
    scale_target(payload).is_some_and(|(kind, _)| kind != "Deployment")
}

/// Compares as a number (documented since Kubernetes 1.35, true in practice before).
fn resource_version(metadata: &Metadata<'_>) -> Option<i64> {
    metadata.resource_version.get()?.parse().ok()
}

fn time(place: &'static str, text: &str) -> Result<DateTime<Utc>, DecodeError> {
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| DecodeError::BadTime {
        place,
        value: text.chars().take(64).collect(),
        expected: "an RFC 3339 time such as 2026-09-04T20:41:03.889214Z",
    })
}
