//! Decides what a parsed entry is.

use chrono::{DateTime, Utc};

use super::actor;
use super::body::{Body, Metadata};
use super::canary::canary;
use super::entry::{ClusterLabels, Entry, Payload};
use super::json::{Member, Number};
use super::method::{Call, ObjectKind, Operation, classify};
use super::removal;
use super::replicas::{self, Found, Reading};
use super::target::Target;
use super::write::{Asked, DecodeError, Decoded, Ignored, ObjectState, Outcome, ROWS_MAX_BYTES, Split, Write};
use crate::time;

/// Decides what a parsed entry is.
///
/// # Errors
/// [`DecodeError`] when it is no `LogEntry`, or one of a watched write that lacks what identifies it, or whose number
/// cannot be one. An entry about anything else is [`Decoded::Ignored`], however odd its bodies are.
pub fn decode<'e>(entry: &'e Entry<'_>) -> Result<Decoded<'e>, DecodeError> {
    let log_name = entry.log_name.get().ok_or(DecodeError::NotALogEntry { missing: "logName" })?;
    let unreadable = |place, found, expected| DecodeError::UnreadablePayload { place, found, expected };
    let expected = "an AuditLog object";
    let payload = match &entry.proto_payload {
        Member::Object(payload) => payload,
        _ if !is_audit_log(log_name) => return Ok(Decoded::Ignored(Ignored::OtherLog)),
        Member::Absent => return Err(unreadable("protoPayload", "missing", expected)),
        Member::Other(found) => return Err(unreadable("protoPayload", found, expected)),
    };
    let method_name = payload.method_name.get();
    match payload.service_name.get() {
        // Google Distributed Cloud's clusters have a service of their own.
        Some("k8s.io" | "anthosgke.googleapis.com") => {
            let method_name = method_name.ok_or_else(|| {
                unreadable("protoPayload.methodName", "missing", "a call such as io.k8s.apps.v1.deployments.patch")
            })?;
            call_to_the_api_server(entry, payload, method_name, log_name)
        }
        Some("container.googleapis.com") if method_name.is_some_and(|name| name.ends_with(DELETE_CLUSTER)) => {
            cluster_deletion(entry, payload, log_name)
        }
        None if is_audit_log(log_name) => {
            Err(unreadable("protoPayload.serviceName", "missing", "a service such as k8s.io"))
        }
        _ => Ok(Decoded::Ignored(Ignored::OtherService)),
    }
}

/// `cloudaudit.googleapis.com%2Factivity`, and `externalaudit.…` of Google Distributed Cloud.
pub(super) fn is_audit_log(log_name: &str) -> bool {
    log_name.contains("audit.googleapis.com%2F") || log_name.contains("audit.googleapis.com/")
}

/// What `status` says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It was done.
    Done,
    /// Nothing was stored.
    Refused,
    /// It timed out or broke inside; it may go on and be stored.
    Uncertain,
}

impl Answer {
    /// Labels such as `authorization.k8s.io/decision` do not tell: a quota denial has `allow`.
    fn of(payload: &Payload<'_>) -> Self {
        let code = payload.status.0.as_ref().map_or(&Number::Absent, |status| &status.code);
        match code {
            Number::Absent | Number::Null | Number::Whole(0) => {}
            // google.rpc.Code: cancelled, unknown, deadline exceeded, internal, unavailable, and what cannot be read.
            Number::Whole(1 | 2 | 4 | 13 | 14) | Number::Bad(_) => return Answer::Uncertain,
            Number::Whole(_) => return Answer::Refused,
        }
        match (payload.response.outcome.get(), payload.response.code.whole()) {
            (Some("Failure"), Some(500..)) => Answer::Uncertain,
            (Some("Failure"), _) => Answer::Refused,
            _ => Answer::Done,
        }
    }
}

fn call_to_the_api_server<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    method_name: &'e str,
    log_name: &'e str,
) -> Result<Decoded<'e>, DecodeError> {
    let call = match classify(method_name, payload.resource_name.get().unwrap_or_default()) {
        Ok(call) => call,
        Err(reason) => return Ok(Decoded::Ignored(reason)),
    };
    let answer = Answer::of(payload);
    // Whatever made it fail, a `deletecollection` may have deleted some before.
    if answer == Answer::Refused && !(call.operation == Operation::DeleteCollection && was_let_in(entry, payload)) {
        return Ok(Decoded::Ignored(Ignored::FailedCall));
    }
    let is_dry_run = is_dry_run(entry, payload, &call);
    if let Some(canary) = canary(entry, payload, &call, is_dry_run).filter(|_| answer == Answer::Done) {
        return Ok(Decoded::Canary(canary));
    }
    if is_dry_run {
        return Ok(Decoded::Ignored(Ignored::DryRun));
    }
    if call.is_status {
        let described = describe(entry, payload, &call, method_name, log_name).ok();
        return Ok(match described.filter(|_| answer == Answer::Done) {
            // Whatever was written, the answer shows that the object is gone.
            Some(write) if write.ends() => Decoded::Writes(vec![write]),
            Some(write) => observed(Ignored::StatusWrite, write),
            None => Decoded::Ignored(Ignored::StatusWrite),
        });
    }
    let outcome = if answer == Answer::Done { Outcome::Stored } else { Outcome::Uncertain };
    let write = Write { outcome, ..describe(entry, payload, &call, method_name, log_name)? };
    if outcome == Outcome::Uncertain {
        return uncertain(entry, payload, &call, write);
    }
    if call.operation.removes() {
        return removed(payload, &call, write);
    }
    changed(entry, payload, &call, write)
}

/// Whether a call got past authentication and authorization. Who did not has done nothing.
fn was_let_in(entry: &Entry<'_>, payload: &Payload<'_>) -> bool {
    const UNAUTHENTICATED: i64 = 16;
    let decision = entry.labels.0.as_ref().and_then(|labels| labels.decision.get());
    let code = payload.status.0.as_ref().and_then(|status| status.code.whole());
    match decision {
        Some("forbid") => false,
        // An admission webhook may answer with any code, but only behind the decision.
        None => code != Some(UNAUTHENTICATED),
        Some(_) => true,
    }
}

/// A call that was answered, and is no DELETE.
fn changed<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    call: &Call<'e>,
    write: Write<'e>,
) -> Result<Decoded<'e>, DecodeError> {
    if write.ends() {
        return Ok(Decoded::Writes(vec![write]));
    }
    if sent_and_stored_versions_agree(payload, call) {
        // Were it a dry run, its generation would be one that never was.
        return Ok(observed(Ignored::NotStored, Write { generation: None, ..write }));
    }
    let split = write.split.is_some();
    let Reading { found, min_replicas, touched } = replicas::read(call, &payload.request, &payload.response, split)?;
    if aims_elsewhere(payload, call) {
        return Ok(observed(Ignored::OtherScaleTarget, Write { effective: Some(false), ..write }));
    }
    let asked = match found {
        Found::For(value) => Asked::For(value),
        Found::Unknown(_) if is_truncated(entry) => {
            Asked::Unknown("the audit entry was truncated: its bodies are missing")
        }
        Found::Unknown(why) => Asked::Unknown(why),
        Found::NotTouched if split => Asked::Unknown("no piece of the split entry that was read holds it"),
        Found::NotTouched => return Ok(observed(Ignored::ReplicasNotTouched, write)),
    };
    Ok(Decoded::Writes(vec![Write { asked, min_replicas, touched, ..write }]))
}

/// Whether it is an HPA that scales something else than a Deployment.
fn aims_elsewhere(payload: &Payload<'_>, call: &Call<'_>) -> bool {
    call.kind == ObjectKind::HorizontalPodAutoscaler && Target::of(&payload.response, &payload.request) == Target::Other
}

/// What the client sent is all there is: the answer is a `Status`.
fn uncertain<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    call: &Call<'e>,
    write: Write<'e>,
) -> Result<Decoded<'e>, DecodeError> {
    let shown = Write { object_state: None, object_version: None, generation: None, born_at: None, ..write };
    if call.operation.removes() {
        return Ok(Decoded::Writes(vec![shown]));
    }
    let split = entry.split.0.is_some();
    let Reading { found, min_replicas, touched } = replicas::read(call, &payload.request, &Body::default(), split)?;
    let asked = match found {
        Found::For(value) if !aims_elsewhere(payload, call) => Asked::For(value),
        // It may have taken a generation all the same.
        _ => Asked::Nothing,
    };
    Ok(Decoded::Writes(vec![Write { asked, min_replicas, touched, ..shown }]))
}

/// A delete is one write; a `deletecollection` is one for each object that the answer lists.
fn removed<'e>(payload: &'e Payload<'_>, call: &Call<'e>, write: Write<'e>) -> Result<Decoded<'e>, DecodeError> {
    if call.operation == Operation::Delete {
        if aims_elsewhere(payload, call) {
            return Ok(observed(Ignored::OtherScaleTarget, Write { effective: Some(false), ..write }));
        }
        return held_or_gone(payload, call, write);
    }
    let Some(items) = &payload.response.items else {
        // The namespace controller empties a namespace; on GKE its calls are logged without an answer.
        let all = write.actor.empties_namespaces() && write.split.is_none();
        return Ok(Decoded::Writes(vec![Write { object_state: all.then_some(ObjectState::Gone), ..write }]));
    };
    // Of a list that does not tell all, nothing is certain.
    if items.untold || items.members.len() > ROWS_MAX_BYTES / write.row_bytes() {
        return Ok(Decoded::Writes(vec![write]));
    }
    if items.members.is_empty() {
        return Ok(Decoded::Ignored(Ignored::NothingDeleted));
    }
    let item = |item: &'e Metadata<'_>| Write {
        object_name: item.name.get(),
        deployment_name: item.name.get().filter(|_| call.kind == ObjectKind::Deployment),
        object_uid: item.uid.get(),
        born_at: born_at(item, write.event_time),
        // The list shows the object as it was before the call: its version and generation are not this write's.
        object_version: None,
        generation: None,
        object_state: Some(removal::listed(item, &payload.request, call.group_version)),
        touched: Some(false),
        ..write.clone()
    };
    Ok(Decoded::Writes(items.members.iter().map(item).collect()))
}

/// A delete that answers the object with finalizers is an ordinary write: it is still there, terminating.
fn held_or_gone<'e>(payload: &'e Payload<'_>, call: &Call<'e>, write: Write<'e>) -> Result<Decoded<'e>, DecodeError> {
    if write.object_state != Some(ObjectState::Terminating) {
        return Ok(Decoded::Writes(vec![write]));
    }
    let Reading { found, min_replicas, .. } = replicas::read(call, &Body::default(), &payload.response, false)?;
    Ok(match found {
        Found::For(value) => {
            let touched = Some(false);
            Decoded::Writes(vec![Write { asked: Asked::For(value), min_replicas, touched, ..write }])
        }
        _ => Decoded::Writes(vec![Write { touched: Some(false), ..write }]),
    })
}

/// A write that is recorded without a number, where its answer shows the object at all.
fn observed<'e>(reason: Ignored, write: Write<'e>) -> Decoded<'e> {
    if write.object_uid.is_none() && reason != Ignored::OtherScaleTarget {
        return Decoded::Ignored(reason);
    }
    let deployment_name = write.deployment_name.filter(|_| reason != Ignored::OtherScaleTarget);
    let (outcome, asked, touched) = (Outcome::Observed, Asked::Nothing, Some(false));
    Decoded::Observed(reason, Box::new(Write { deployment_name, outcome, asked, touched, ..write }))
}

/// GKE labels dry runs, and DeleteOptions name them. Clusters too old for the label show one that would create, by POST
/// or by an apply, by a new object without resourceVersion.
fn is_dry_run(entry: &Entry<'_>, payload: &Payload<'_>, call: &Call<'_>) -> bool {
    let labelled = entry.labels.0.as_ref().is_some_and(|labels| labels.dry_run.get().is_some());
    let asked_for = call.operation.removes() && payload.request.dry_run.0.0;
    let answer = payload.response.metadata.as_ref().filter(|_| payload.response.kind() == Some(call.kind_name()));
    let never_stored = entry.split.0.is_none()
        && answer.is_some_and(|answer| {
            answer.resource_version.get().is_none()
                && match call.operation {
                    Operation::Create => true,
                    Operation::Patch => is_born_with(answer, entry.timestamp.get()),
                    _ => false,
                }
        });
    labelled || asked_for || never_stored
}

/// Whether an object began with the call that shows it. A call takes at most a minute.
fn is_born_with(metadata: &Metadata<'_>, timestamp: Option<&str>) -> bool {
    let times = metadata.creation_timestamp.get().and_then(time::read).zip(timestamp.and_then(time::read));
    times.is_some_and(|(born, called)| (-1..60).contains(&(born - called).num_seconds()))
}

/// A PUT names the resourceVersion it replaces. Getting the same one back means that nothing was stored: either
/// nothing changed, or it was a dry run on a cluster too old to label it.
fn sent_and_stored_versions_agree(payload: &Payload<'_>, call: &Call<'_>) -> bool {
    fn version<'b>(body: &'b Body<'_>) -> Option<&'b str> {
        object_version(body.metadata()?)
    }
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
    method_name: &'e str,
    log_name: &'e str,
) -> Result<Write<'e>, DecodeError> {
    let response = payload.response.metadata();
    let request = payload.request.metadata();
    let details = &payload.response.details;
    let object_name = call
        .name
        .or_else(|| response?.name.get())
        .or_else(|| request?.name.get())
        .filter(|_| call.operation != Operation::DeleteCollection);
    let namespace = call.namespace.or_else(|| response?.namespace.get()).or_else(|| request?.namespace.get());
    let target = match call.kind {
        ObjectKind::HorizontalPodAutoscaler => Target::of(&payload.response, &payload.request),
        _ => Target::Unsaid,
    };
    let one_object = response.filter(|_| call.operation != Operation::DeleteCollection);
    let (deployment_name, effective) = match (call.kind, target) {
        (ObjectKind::Deployment, _) => (object_name, None),
        (_, Target::Deployment { name, found }) => (Some(name), found),
        (_, Target::Other | Target::Unsaid) => (None, None),
    };
    let namespace =
        namespace.ok_or(DecodeError::NotALogEntry { missing: "the namespace in protoPayload.resourceName" })?;
    let write = identified(entry, payload, call.kind, call.operation, method_name, log_name)?;
    Ok(Write {
        namespace,
        deployment_name,
        effective,
        object_name,
        object_uid: one_object.and_then(|metadata| metadata.uid.get()).or_else(|| details.uid.get()),
        born_at: one_object.and_then(|metadata| born_at(metadata, write.event_time)),
        object_version: one_object.and_then(object_version),
        generation: one_object.and_then(|metadata| metadata.generation.counting()),
        object_state: removal::answered(call.operation, &payload.response)
            .filter(|_| call.operation != Operation::DeleteCollection),
        ..write
    })
}

/// What every row has: which entry, when, where and who.
fn identified<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    object_kind: ObjectKind,
    operation: Operation,
    method_name: &'e str,
    log_name: &'e str,
) -> Result<Write<'e>, DecodeError> {
    let missing = |missing| DecodeError::NotALogEntry { missing };
    let cluster: Option<&'e ClusterLabels<'_>> =
        entry.resource.0.as_ref().and_then(|resource| resource.labels.0.as_ref());
    let caller = payload.request_metadata.0.as_ref();
    let cluster_name = cluster.and_then(|labels| labels.cluster_name.get());
    let split = entry
        .split
        .0
        .as_ref()
        .and_then(|split| split.uid.get().map(|uid| Split { uid, index: split.index.counting().unwrap_or(0) }));
    Ok(Write {
        log_name,
        insert_id: entry.insert_id.get().ok_or(missing("insertId"))?,
        split,
        event_time: required_time("timestamp", entry.timestamp.get().ok_or(missing("timestamp"))?)?,
        received_time: entry.receive_timestamp.get().map(|text| required_time("receiveTimestamp", text)).transpose()?,
        project_id: cluster.and_then(|labels| labels.project_id.get()),
        location: cluster.and_then(|labels| labels.location.get()),
        cluster_name: cluster_name.ok_or(missing("resource.labels.cluster_name"))?,
        namespace: "",
        deployment_name: None,
        object_kind,
        object_name: None,
        object_uid: None,
        born_at: None,
        object_version: None,
        generation: None,
        operation,
        outcome: Outcome::Stored,
        object_state: None,
        method_name,
        asked: Asked::Nothing,
        min_replicas: None,
        effective: None,
        touched: Some(true),
        actor: actor::actor(payload.authentication_info.0.as_ref()),
        user_agent: caller.and_then(|caller| caller.caller_supplied_user_agent.get()),
        caller_ip: caller.and_then(|caller| caller.caller_ip.get()),
    })
}

/// `google.container.v1.ClusterManager.DeleteCluster`, and the beta's.
const DELETE_CLUSTER: &str = ".ClusterManager.DeleteCluster";

/// Two entries of one operation: the first has who asked, and minutes later the last tells whether it happened. The
/// operation's id stands for the object's uid, so that the one finds the other.
fn cluster_deletion<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    log_name: &'e str,
) -> Result<Decoded<'e>, DecodeError> {
    if Answer::of(payload) != Answer::Done {
        return Ok(Decoded::Ignored(Ignored::FailedCall));
    }
    let operation = entry.operation.0.as_ref();
    let ended = operation.is_some_and(|operation| operation.last.get() == Some("true"));
    let method_name = payload.method_name.get().unwrap_or_default();
    let write = identified(entry, payload, ObjectKind::Cluster, Operation::Delete, method_name, log_name)?;
    let object_uid = operation.and_then(|operation| operation.id.get());
    let object_name = Some(write.cluster_name);
    if ended {
        let object_state = Some(ObjectState::Gone);
        return Ok(Decoded::Writes(vec![Write { object_uid, object_name, object_state, ..write }]));
    }
    Ok(observed(Ignored::OperationBegun, Write { object_uid, object_name, ..write }))
}

/// Longest resourceVersion that is one. The views put its length before it in four digits, so that it compares as a
/// number; etcd's count has 19.
const VERSION_MAX_DIGITS: usize = 9_999;

/// A decimal number of any length (documented since Kubernetes 1.35, true in practice before), without leading zeros.
fn object_version<'b>(metadata: &'b Metadata<'_>) -> Option<&'b str> {
    let digits = metadata.resource_version.get()?.trim_start_matches('0');
    let is_one = (1..=VERSION_MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then_some(digits)
}

/// `metadata.creationTimestamp`, unless no object that was seen at `seen` can be that young or that old: lives are put in
/// order by it, and one from the future would be the present one for ever.
fn born_at(metadata: &Metadata<'_>, seen: DateTime<Utc>) -> Option<DateTime<Utc>> {
    metadata.creation_timestamp.get().and_then(time::read).filter(|born| time::can_have_happened(*born, seen))
}

fn required_time(place: &'static str, text: &str) -> Result<DateTime<Utc>, DecodeError> {
    time::read(text).ok_or_else(|| DecodeError::BadTime {
        place,
        value: text.chars().take(64).collect(),
        expected: "an RFC 3339 time such as 2026-09-04T20:41:03.889214Z",
    })
}
