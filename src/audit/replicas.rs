//! Where the number is: what a successful write asks for, read from the response first and from the request only
//! where there is no response.
//!
//! The response is the object after defaulting, admission webhooks and merging; the request is only what the client
//! sent. Text is never searched: the `last-applied-configuration` annotation holds a whole manifest as a string.

use std::fmt;

use json_patch::PatchOperation;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use super::DecodeError;
use super::entry::{Body, Spec};
use super::json::Number;
use super::method::{Call, ObjectKind, Operation};

/// The number a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// `spec.replicas`; for an HPA `spec.maxReplicas`. From 0 to 2147483647.
    pub replicas: i64,
    /// What kind of body it came from.
    pub source: Source,
    /// Where in the entry it was read, or which default applied.
    pub place: &'static str,
}

/// What kind of body a number came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The object as the API server stored it.
    Response,
    /// The whole object as the client sent it.
    Request,
    /// The delta the client sent.
    Patch,
    /// The API's default for a field the client left out.
    Default,
}

impl Source {
    /// The name used in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Response => "response",
            Source::Request => "request",
            Source::Patch => "patch",
            Source::Default => "default",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the bodies say about the number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This many.
    For(Value),
    /// It cannot be told, for this reason.
    Unknown(&'static str),
    /// The patch leaves the number alone, and no response says what it is.
    NotTouched,
    /// This piece of a split entry does not hold the number; another does.
    InAnotherPiece,
}

/// What was read from both bodies.
pub(super) struct Reading {
    pub(super) asked: Asked,
    /// HPA: `spec.minReplicas`.
    pub(super) min_replicas: Option<i64>,
    /// Whether the client itself wrote a watched field. True where that cannot be told.
    pub(super) touched: bool,
}

/// Reads the number out of the bodies of one successful write that removes nothing.
///
/// # Errors
/// [`DecodeError::Malformed`] when the place that counts holds something that cannot be a replica count.
pub(super) fn read(
    call: &Call<'_>,
    request: &Body<'_>,
    response: &Body<'_>,
    split: bool,
) -> Result<Reading, DecodeError> {
    let evaluated = call.is_patch.then(|| merge_patch_of(&request.operations)).flatten();
    let evaluated = evaluated.as_ref().and_then(|spec| Spec::deserialize(spec).ok());
    let sent = Sent::of(request, evaluated.as_ref().or(request.spec.as_ref()));
    let touched = !call.is_patch || !matches!(sent, Sent::Other { .. });
    let stored = stored_spec(call, response);
    let min_replicas = match (stored, &sent) {
        (Some(spec), _) => spec.min_replicas.whole(),
        (None, Sent::Spec(spec)) => spec.min_replicas.whole(),
        (None, _) => None,
    };
    let asked = match from_response(call, response, stored, split)? {
        Some(value) => Asked::For(value),
        // The request may lie in a different piece than the response. Only one of the two may count, or the
        // rows would depend on which piece came first.
        None if split => Asked::InAnotherPiece,
        None => from_request(call, &sent)?,
    };
    Ok(Reading { asked, min_replicas, touched })
}

/// The response's spec, if the response is the object (or Scale) that the call wrote.
fn stored_spec<'b, 'a>(call: &Call<'_>, response: &'b Body<'a>) -> Option<&'b Spec<'a>> {
    let ours = match kind_of(response) {
        Some(kind) => kind == call.kind.as_str() || kind == "Scale" && call.operation == Operation::Scale,
        None => true,
    };
    response.spec.as_ref().filter(|_| ours)
}

fn from_response(
    call: &Call<'_>,
    response: &Body<'_>,
    stored: Option<&Spec<'_>>,
    split: bool,
) -> Result<Option<Value>, DecodeError> {
    let (number, place) = match (stored, call.kind) {
        (Some(spec), ObjectKind::Deployment) => (&spec.replicas, "response.spec.replicas"),
        (Some(spec), ObjectKind::HorizontalPodAutoscaler) => (&spec.max_replicas, "response.spec.maxReplicas"),
        (None, _) => (&Number::Absent, "response.spec"),
    };
    // `replicas` of a Scale is a plain int32 with `omitempty`: zero is written by leaving it out.
    if !split && is_scale(call, response) && matches!(number, Number::Absent | Number::Null) {
        return Ok(Some(Value {
            replicas: 0,
            source: Source::Response,
            place: "response.spec (a Scale without replicas)",
        }));
    }
    count(number, place).map(|found| found.map(|replicas| Value { replicas, source: Source::Response, place }))
}

fn is_scale(call: &Call<'_>, body: &Body<'_>) -> bool {
    call.operation == Operation::Scale
        && match kind_of(body) {
            Some(kind) => kind == "Scale",
            None => body.spec.is_some(),
        }
}

/// What the client sent, as far as it can be understood.
enum Sent<'s, 'a> {
    /// A spec that names a watched field (as a merge patch would: `null` deletes).
    Spec(&'s Spec<'a>),
    /// An object, or a patch, that leaves the watched fields alone.
    Other { whole_object: bool },
    /// Nothing, or nothing that can be understood.
    Opaque,
}

impl<'s, 'a> Sent<'s, 'a> {
    fn of(request: &Body<'_>, spec: Option<&'s Spec<'a>>) -> Self {
        match spec {
            Some(spec) if names_a_watched_field(spec) => Sent::Spec(spec),
            None if request.metadata.is_none() => Sent::Opaque,
            _ => Sent::Other { whole_object: kind_of(request).is_some_and(|kind| kind != "Patch") },
        }
    }
}

fn names_a_watched_field(spec: &Spec<'_>) -> bool {
    [&spec.replicas, &spec.min_replicas, &spec.max_replicas].into_iter().any(|number| *number != Number::Absent)
        || spec.scale_target_ref.0.is_some()
}

fn from_request(call: &Call<'_>, sent: &Sent<'_, '_>) -> Result<Asked, DecodeError> {
    let (number, place) = match (sent, call.kind) {
        (Sent::Opaque, _) => return Ok(Asked::Unknown("neither body is there in a readable form")),
        (Sent::Spec(spec), ObjectKind::Deployment) => (&spec.replicas, "request.spec.replicas"),
        (Sent::Spec(spec), ObjectKind::HorizontalPodAutoscaler) => (&spec.max_replicas, "request.spec.maxReplicas"),
        (Sent::Other { .. }, _) => (&Number::Absent, "request.spec"),
    };
    let source = if call.is_patch { Source::Patch } else { Source::Request };
    if let Some(replicas) = count(number, place)? {
        return Ok(Asked::For(Value { replicas, source, place }));
    }
    let deleted = *number == Number::Null;
    Ok(match (call.kind, call.operation) {
        (ObjectKind::HorizontalPodAutoscaler, _) if !call.is_patch || matches!(sent, Sent::Spec(_)) => {
            Asked::Unknown("the request does not say maxReplicas, and there is no response")
        }
        (ObjectKind::Deployment, Operation::Scale) if deleted || !call.is_patch => {
            Asked::For(Value { replicas: 0, source, place: "request.spec (a Scale without replicas)" })
        }
        (ObjectKind::Deployment, _) if deleted || !call.is_patch => {
            let place = "the default of spec.replicas, which the request leaves out";
            Asked::For(Value { replicas: 1, source: Source::Default, place })
        }
        // A server-side apply is a PATCH with a whole object, and creates what is not there yet.
        _ if matches!(sent, Sent::Other { whole_object: true }) => {
            Asked::Unknown("an apply without the number, and there is no response")
        }
        _ => Asked::NotTouched,
    })
}

/// The kind of a body: `kind` first, the last part of `@type` second.
fn kind_of<'b>(body: &'b Body<'_>) -> Option<&'b str> {
    body.kind.get().or_else(|| body.type_url.get()?.rsplit(['.', '/']).next())
}

fn count(number: &Number<'_>, place: &'static str) -> Result<Option<i64>, DecodeError> {
    match number {
        Number::Absent | Number::Null => Ok(None),
        Number::Whole(whole) if (0..=i64::from(i32::MAX)).contains(whole) => Ok(Some(*whole)),
        Number::Whole(whole) => Err(DecodeError::Malformed { place, value: whole.to_string() }),
        Number::Bad(text) => Err(DecodeError::Malformed { place, value: text.chars().take(64).collect() }),
    }
}

/// The fields of [`Spec`] by their names, for the evaluation of JSON Patches.
const WATCHED: [&str; 4] = ["replicas", "minReplicas", "maxReplicas", "scaleTargetRef"];

/// Turns a JSON Patch (RFC 6902) into the `spec` of the merge patch that does the same to the watched fields: absent
/// means untouched, `null` deleted. `None` when there is no patch, or its effect cannot be told without the object.
///
/// Operations elsewhere in the object are left out, and so are tests: the call succeeded, hence they held.
fn merge_patch_of(operations: &[&RawValue]) -> Option<Json> {
    if operations.is_empty() {
        return None;
    }
    let operations: Vec<PatchOperation> =
        operations.iter().map(|operation| serde_json::from_str(operation.get())).collect::<Result<_, _>>().ok()?;
    let relevant: Vec<PatchOperation> = operations
        .into_iter()
        .filter(|operation| match operation {
            PatchOperation::Test(_) => false,
            PatchOperation::Move(moved) if concerns(moved.from.as_str()) => true,
            _ => concerns(operation.path().as_str()),
        })
        .collect();
    // No value that a watched field can have, so what still equals it was not written to.
    let untouched = json!({});
    let placeholders: Map<String, Json> = WATCHED.iter().map(|&field| (field.to_owned(), untouched.clone())).collect();
    let mut document = json!({ "spec": placeholders });
    json_patch::patch(&mut document, &relevant).ok()?;
    let spec = document.get("spec")?.as_object()?;
    let merge_patch = WATCHED.iter().filter(|&&field| spec.get(field) != Some(&untouched));
    Some(merge_patch.map(|&field| (field.to_owned(), spec.get(field).cloned().unwrap_or_default())).collect())
}

/// Whether a JSON Pointer leads to a watched field, into one, or to something around one.
fn concerns(pointer: &str) -> bool {
    match pointer.strip_prefix("/spec") {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('/').and_then(|rest| rest.split('/').next()).is_some_and(|field| WATCHED.contains(&field))
        }
        None => pointer.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(patch: &str) -> Option<Json> {
        let operations: Vec<&RawValue> = serde_json::from_str(patch).expect("an array");
        merge_patch_of(&operations)
    }

    #[test]
    fn a_json_patch_becomes_the_merge_patch_that_does_the_same() {
        for (patch, expected) in [
            (r#"[{"op":"replace","path":"/spec/replicas","value":6}]"#, json!({"replicas": 6})),
            (
                r#"[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"add","path":"/spec/replicas","value":2}]"#,
                json!({"replicas": 2}),
            ),
            (
                r#"[{"op":"add","path":"/spec/replicas","value":9},{"op":"replace","path":"/spec/replicas","value":4}]"#,
                json!({"replicas": 4}),
            ),
            (r#"[{"op":"remove","path":"/spec/replicas"}]"#, json!({"replicas": null})),
            (r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"x"}]"#, json!({})),
            (r#"[{"op":"copy","from":"/spec/replicas","path":"/metadata/annotations/before"}]"#, json!({})),
            (r#"[{"op":"replace","path":"/spec/replicasX","value":6}]"#, json!({})),
            (r#"[{"op":"test","path":"/spec/replicas","value":3}]"#, json!({})),
        ] {
            assert_eq!(spec_of(patch), Some(expected), "{patch}");
        }
    }

    #[test]
    fn a_json_patch_that_needs_the_object_is_not_guessed_at() {
        for patch in [
            r#"[{"op":"copy","from":"/status/replicas","path":"/spec/replicas"}]"#,
            r#"[{"op":"move","from":"/spec/replicas","path":"/metadata/annotations/before"}]"#,
            r#"[{"op":"frobnicate","path":"/spec/replicas"}]"#,
            r#"[1, 2]"#,
        ] {
            assert_eq!(spec_of(patch), None, "{patch}");
        }
    }
}
