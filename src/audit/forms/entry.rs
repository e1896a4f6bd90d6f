//! One entry under other names: each level's names are Logging's own again, and what was put into texts is taken out.
//! Only what the decoder reads is carried over; a name that it reads newly has to be added here.

use serde_json::value::RawValue;

use super::members::{self, Array, Members, quoted};
use super::structs;
use super::time::{self, Precision};
use crate::audit::DecodeError;
use crate::audit::decode::is_audit_log;

/// What a level's names are called, in lower case and without underscores.
type Names = &'static [(&'static str, &'static str)];

const ENTRY: Names = &[
    ("logname", "logName"),
    ("insertid", "insertId"),
    ("timestamp", "timestamp"),
    ("receivetimestamp", "receiveTimestamp"),
    ("resource", "resource"),
    ("labels", "labels"),
    ("split", "split"),
    ("operation", "operation"),
    ("protopayload", "protoPayload"),
    // BigQuery's sink adds the last part of the payload's `@type`.
    ("protopayloadauditlog", "protoPayload"),
];

const RESOURCE: Names = &[("labels", "labels")];

const PAYLOAD: Names = &[
    ("servicename", "serviceName"),
    ("methodname", "methodName"),
    ("resourcename", "resourceName"),
    ("status", "status"),
    // A column of its own in some tables of BigQuery's sink.
    ("statuscode", "status"),
    ("authenticationinfo", "authenticationInfo"),
    ("requestmetadata", "requestMetadata"),
    ("request", "request"),
    ("requestjson", "request"),
    ("response", "response"),
    ("responsejson", "response"),
];

/// The small messages of an entry and of its payload.
const MESSAGES: Names = &[
    ("code", "code"),
    ("principalemail", "principalEmail"),
    ("principalsubject", "principalSubject"),
    ("authorityselector", "authoritySelector"),
    ("callerip", "callerIp"),
    ("callersupplieduseragent", "callerSuppliedUserAgent"),
    ("uid", "uid"),
    ("index", "index"),
    ("id", "id"),
    ("last", "last"),
];

/// Labels that are read. BigQuery's sink writes their names in lower case and with underscores.
const LABELS: [&str; 3] = ["command.gke.io/dryRun", "audit.k8s.io/truncated", "authorization.k8s.io/decision"];

const AUDIT_LOG: &str = "an AuditLog object, or JSON of one";

/// The JSON of the `LogEntry` that these members are; `None` when they are none, or one without a payload of this kind.
pub(super) fn entry(members: &Members) -> Result<Option<String>, DecodeError> {
    let Some(log_name) = members.folded("logname").and_then(members::text) else { return Ok(None) };
    let payload = ["protopayloadauditlog", "protopayload"].into_iter().find_map(|name| members.folded(name));
    let payload = match payload {
        Some(raw) => payload_of(raw, &log_name)?,
        None if members.get("logName").is_some() => return Ok(None),
        None => None,
    };
    let precision = if is_row(members) { Precision::Microseconds } else { Precision::Nanoseconds };
    members::object(members, ENTRY, |name, raw| {
        Ok(match name {
            "timestamp" => time::canonical("timestamp", raw, precision)?.map(|time| quoted(&time)),
            "receiveTimestamp" => time::canonical("receiveTimestamp", raw, precision)?.map(|time| quoted(&time)),
            "resource" => Members::of(raw).map(|resource| resource_of(&resource)).transpose()?,
            "labels" => labels(raw),
            "split" | "operation" => message(raw)?,
            "protoPayload" => payload.clone(),
            _ => Some(raw.get().to_owned()),
        })
    })
    .map(Some)
}

/// Whether these are the columns of a table: BigQuery's sink's, or those of Log Analytics.
fn is_row(members: &Members) -> bool {
    let nested = members.folded("protopayload").and_then(Members::of);
    members.folded("protopayloadauditlog").is_some()
        || members.get("log_name").is_some()
        || nested.is_some_and(|payload| payload.folded("auditlog").is_some())
}

fn payload_of(raw: &RawValue, log_name: &str) -> Result<Option<String>, DecodeError> {
    if members::is_null(raw) {
        return Ok(None);
    }
    let Some(payload) = Members::of(raw) else {
        // Another log may have a payload of any kind: it is none of ours.
        let found = if members::text(raw).is_some() { "a text that is not JSON of an object" } else { "no object" };
        let error = DecodeError::UnreadablePayload { place: "protoPayload", found, expected: AUDIT_LOG };
        return if is_audit_log(log_name) { Err(error) } else { Ok(None) };
    };
    // Log Analytics has a column for each kind of payload below `proto_payload`.
    match payload.folded("auditlog") {
        Some(raw) if members::is_null(raw) => Ok(None),
        Some(raw) => Members::of(raw).map(|payload| audit_log(&payload)).transpose(),
        None => audit_log(&payload).map(Some),
    }
}

fn audit_log(payload: &Members) -> Result<String, DecodeError> {
    if payload.folded("typeurl").is_some() && payload.get("value").is_some() {
        return Err(DecodeError::Form {
            form: "a client library's dump whose protoPayload is still protobuf's bytes".to_owned(),
            remedy: super::REMEDY,
        });
    }
    members::object(payload, PAYLOAD, |name, raw| {
        Ok(match name {
            "status" => status(raw)?,
            "authenticationInfo" | "requestMetadata" => message(raw)?,
            "request" | "response" => body(raw),
            _ => Some(raw.get().to_owned()),
        })
    })
}

/// A body as it lies there. One that was put into a text is taken out; what is left of one that was cut off inside is
/// no body, so that its number is unknown and never guessed.
fn body(raw: &RawValue) -> Option<String> {
    let inner = match members::text(raw) {
        Some(text) => serde_json::from_str::<Box<RawValue>>(&text).ok()?,
        None => raw.to_owned(),
    };
    let holds_something = inner.get().starts_with(['{', '[']);
    holds_something.then(|| structs::plain(&inner).unwrap_or_else(|| inner.get().to_owned()))
}

/// `google.rpc.Status`, or its code alone.
fn status(raw: &RawValue) -> Result<Option<String>, DecodeError> {
    let code = || format!("{{\"code\":{}}}", raw.get());
    Ok(message(raw)?.or_else(|| (!members::is_null(raw)).then(code)))
}

fn message(raw: &RawValue) -> Result<Option<String>, DecodeError> {
    Members::of(raw)
        .map(|message| members::object(&message, MESSAGES, |_, raw| Ok(Some(raw.get().to_owned()))))
        .transpose()
}

fn resource_of(resource: &Members) -> Result<String, DecodeError> {
    members::object(resource, RESOURCE, |name, raw| {
        Ok(if name == "labels" { labels(raw) } else { Some(raw.get().to_owned()) })
    })
}

/// Labels under their own names: an object of them, or a list of key and value as tables have it.
fn labels(raw: &RawValue) -> Option<String> {
    let pairs: Vec<(String, String)> = match Members::of(raw) {
        Some(labels) => labels.iter().map(|(name, raw)| (label(name), raw.get().to_owned())).collect(),
        None => {
            let pair = |pair: &RawValue| {
                let pair = Members::parse(pair.get())?;
                Some((label(&pair.text("key")?), pair.get("value")?.get().to_owned()))
            };
            Array::parse(raw.get())?.first.into_iter().filter_map(pair).collect()
        }
    };
    Some(members::json(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

fn label(name: &str) -> String {
    let letters =
        |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let known = LABELS.into_iter().find(|known| letters(known) == letters(name));
    known.unwrap_or(name).to_owned()
}
