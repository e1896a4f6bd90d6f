//! Firestore's typed values, and a notice in them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json, json};

use crate::id;
use crate::names::Named;
use crate::notify::notice::{Notice, Progress, State};

pub(super) fn text(value: &str) -> Json {
    json!({"stringValue": value})
}

pub(super) fn texts(values: &[String]) -> Json {
    let values: Vec<Json> = values.iter().map(|value| text(value)).collect();
    json!({"arrayValue": {"values": values}})
}

pub(super) fn time(value: Option<DateTime<Utc>>) -> Json {
    value.map_or(json!({"nullValue": null}), |time| json!({"timestampValue": id::time(time)}))
}

pub(super) fn boolean(value: bool) -> Json {
    json!({"booleanValue": value})
}

fn maybe(value: Option<&str>) -> Json {
    value.map_or(json!({"nullValue": null}), text)
}

/// Integers are texts in JSON, because they have 64 bits.
fn integer(value: u32) -> Json {
    json!({"integerValue": value.to_string()})
}

pub(super) fn of_notice(notice: &Notice) -> Map<String, Json> {
    let Progress { state, attempts, due_at, owner, unsure, last_error, provider_ref, sent_at } = &notice.progress;
    // Names, numbers and times: this cannot fail.
    let content = serde_json::to_string(&notice.content).unwrap_or_default();
    let fields = [
        ("incident_id", text(&notice.incident_id)),
        ("receiver", text(&notice.receiver)),
        ("seq", integer(notice.seq)),
        ("created_at", time(Some(notice.created_at))),
        ("content", text(&content)),
        ("state", text(state.as_str())),
        ("attempts", integer(*attempts)),
        ("due_at", time(*due_at)),
        ("owner", maybe(owner.as_deref())),
        ("unsure", boolean(*unsure)),
        ("last_error", maybe(last_error.as_deref())),
        ("provider_ref", maybe(provider_ref.as_deref())),
        ("sent_at", time(*sent_at)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A notice back.
///
/// # Errors
/// The field that is not as it was written.
pub(super) fn notice(id: &str, fields: &Map<String, Json>) -> Result<Notice, &'static str> {
    let string = |name: &'static str| read_text(fields, name).ok_or(name);
    let number = |name: &'static str| read(fields, name, "integerValue").and_then(|text| text.parse().ok()).ok_or(name);
    let when = |name: &'static str| match read(fields, name, "timestampValue") {
        Some(text) => crate::time::read(text).map(Some).ok_or(name),
        None => Ok(None),
    };
    let content = serde_json::from_str(&string("content")?).map_err(|_| "content")?;
    let unsure = fields.get("unsure").and_then(|value| value.get("booleanValue")).and_then(Json::as_bool);
    Ok(Notice {
        notification_id: id.to_owned(),
        incident_id: string("incident_id")?,
        receiver: string("receiver")?,
        seq: number("seq")?,
        created_at: when("created_at")?.ok_or("created_at")?,
        content,
        progress: Progress {
            state: State::from_name(&string("state")?).ok_or("state")?,
            attempts: number("attempts")?,
            due_at: when("due_at")?,
            owner: read_text(fields, "owner"),
            unsure: unsure.ok_or("unsure")?,
            last_error: read_text(fields, "last_error"),
            provider_ref: read_text(fields, "provider_ref"),
            sent_at: when("sent_at")?,
        },
    })
}

pub(super) fn read_text(fields: &Map<String, Json>, name: &str) -> Option<String> {
    read(fields, name, "stringValue").map(str::to_owned)
}

fn read<'f>(fields: &'f Map<String, Json>, name: &str, kind: &str) -> Option<&'f str> {
    fields.get(name)?.get(kind)?.as_str()
}
