//! Where the number is: what a successful write asks for, read from the response first and from the request only
//! where there is no response.
//!
//! The response is the object after defaulting, admission webhooks and merging; the request is only what the client
//! sent. Text is never searched: the `last-applied-configuration` annotation holds a whole manifest as a string.

use super::DecodeError;
use super::body::{Body, Spec};
use super::json::Number;
use super::method::{Call, ObjectKind, Operation};
use super::patch::Patch;
use crate::names::named;

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

named! {
    /// What kind of body a number came from.
    pub enum Source {
        /// The object as the API server stored it.
        Response = "response",
        /// The whole object as the client sent it.
        Request = "request",
        /// The delta the client sent.
        Patch = "patch",
        /// The API's default for a field that the client took away.
        Default = "default",
    }
}

/// What the bodies say about the number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This many.
    For(Value),
    /// It cannot be told, for this reason.
    Unknown(&'static str),
    /// The patch leaves the number alone, and no response says what it is.
    NotTouched,
}

/// What was read from both bodies.
pub(super) struct Reading {
    pub(super) found: Found,
    /// HPA: `spec.minReplicas`.
    pub(super) min_replicas: Option<i64>,
    /// Whether the client itself wrote a watched field: true where that cannot be told, `None` where it stands in
    /// another piece of a split entry.
    pub(super) touched: Option<bool>,
}

/// Reads the number out of the bodies of one write. Without a response (an empty body), the request alone tells.
///
/// # Errors
/// [`DecodeError::Malformed`] when the place that counts holds something that cannot be a replica count.
pub(super) fn read(
    call: &Call<'_>,
    request: &Body<'_>,
    response: &Body<'_>,
    split: bool,
) -> Result<Reading, DecodeError> {
    let evaluated = request.patch.as_ref().filter(|_| call.is_patch).and_then(Patch::spec);
    let sent = match Sent::of(request, evaluated.as_ref().or(request.spec.as_ref())) {
        // The answer shows the object, so bodies are logged: a patch with nothing in it is an empty one.
        Sent::Opaque if call.is_patch && request.is_bare() && response.metadata().is_some() && !split => {
            Sent::Other { whole_object: false }
        }
        sent => sent,
    };
    let touched = match sent {
        Sent::Opaque if split => None,
        Sent::Other { .. } => Some(!call.is_patch),
        Sent::Spec(_) | Sent::Reset | Sent::Opaque => Some(true),
    };
    let stored = stored_spec(call, response);
    let shown = stored.or(match sent {
        Sent::Spec(spec) => Some(spec),
        Sent::Reset | Sent::Other { .. } | Sent::Opaque => None,
    });
    let min_replicas = shown.and_then(|spec| spec.min_replicas.counting());
    let found = match from_response(call, response, stored, split)? {
        Some(value) => Found::For(value),
        // An object that shows no number was cut; what the client sent is not what was stored.
        None if stored.is_some() && call.kind == ObjectKind::Deployment && !split => {
            Found::Unknown("the response's object shows no number, so it was cut")
        }
        None => from_request(call, &sent, split)?,
    };
    Ok(Reading { found, min_replicas, touched })
}

/// The response's spec, if the response is the object (or Scale) that the call wrote.
fn stored_spec<'b, 'a>(call: &Call<'_>, response: &'b Body<'a>) -> Option<&'b Spec<'a>> {
    let ours = match response.kind() {
        Some(kind) => kind == call.kind_name() || kind == "Scale" && call.operation == Operation::Scale,
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
    let Some(spec) = stored else { return Ok(None) };
    let (number, place) = match call.kind {
        ObjectKind::HorizontalPodAutoscaler => (&spec.max_replicas, "response.spec.maxReplicas"),
        _ => (&spec.replicas, "response.spec.replicas"),
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
    call.operation == Operation::Scale && body.kind().is_none_or(|kind| kind == "Scale")
}

/// What the client sent, as far as it can be understood.
enum Sent<'s, 'a> {
    /// A spec that names a watched field (as a merge patch would: `null` deletes).
    Spec(&'s Spec<'a>),
    /// A strategic merge patch with a directive that takes the number away.
    Reset,
    /// An object, or a patch, that leaves the watched fields alone.
    Other { whole_object: bool },
    /// Nothing, or nothing that can be understood.
    Opaque,
}

impl<'s, 'a> Sent<'s, 'a> {
    fn of(request: &Body<'_>, spec: Option<&'s Spec<'a>>) -> Self {
        match spec {
            Some(spec) if names_a_watched_field(spec) => Sent::Spec(spec),
            _ if replaces(request.directive.get()) || spec.is_some_and(takes_the_number_away) => Sent::Reset,
            None if request.metadata.is_none() => Sent::Opaque,
            _ => Sent::Other { whole_object: request.kind().is_some_and(|kind| kind != "Patch") },
        }
    }
}

fn names_a_watched_field(spec: &Spec<'_>) -> bool {
    [&spec.replicas, &spec.min_replicas, &spec.max_replicas].into_iter().any(|number| *number != Number::Absent)
        || spec.scale_target_ref.0.is_some()
}

/// `$patch: replace` takes the fields as they are, `delete` takes them away, and `$retainKeys` keeps those it names.
fn takes_the_number_away(spec: &Spec<'_>) -> bool {
    replaces(spec.directive.get()) || spec.retained.as_ref().is_some_and(|keys| !keys.0.replicas)
}

fn replaces(directive: Option<&str>) -> bool {
    matches!(directive, Some("replace" | "delete"))
}

fn from_request(call: &Call<'_>, sent: &Sent<'_, '_>, split: bool) -> Result<Found, DecodeError> {
    let (number, place) = match (sent, call.kind) {
        (Sent::Opaque, _) => return Ok(Found::Unknown("neither body is there in a readable form")),
        (Sent::Reset, _) => return Ok(Found::Unknown("the patch takes the number away, and there is no response")),
        (Sent::Spec(spec), ObjectKind::HorizontalPodAutoscaler) => (&spec.max_replicas, "request.spec.maxReplicas"),
        (Sent::Spec(spec), _) => (&spec.replicas, "request.spec.replicas"),
        (Sent::Other { .. }, _) => (&Number::Absent, "request.spec"),
    };
    let source = if call.is_patch { Source::Patch } else { Source::Request };
    if let Some(replicas) = count(number, place)? {
        return Ok(Found::For(Value { replicas, source, place }));
    }
    let deleted = *number == Number::Null;
    Ok(match (call.kind, call.operation) {
        (ObjectKind::HorizontalPodAutoscaler, _) if !call.is_patch || matches!(sent, Sent::Spec(_)) => {
            Found::Unknown("the request does not say maxReplicas, and there is no response")
        }
        (_, Operation::Scale) if split => Found::Unknown("no piece of the split entry that was read holds it"),
        (_, Operation::Scale) if deleted || !call.is_patch => {
            Found::For(Value { replicas: 0, source, place: "request.spec (a Scale without replicas)" })
        }
        // A body is logged after defaulting, so a whole one always has its number.
        _ if !call.is_patch => Found::Unknown("the request's object shows no number, so it was cut"),
        _ if deleted => {
            let place = "the default of spec.replicas, which the patch takes away";
            Found::For(Value { replicas: 1, source: Source::Default, place })
        }
        // A server-side apply is a PATCH with a whole object, and creates what is not there yet.
        _ if matches!(sent, Sent::Other { whole_object: true }) => {
            Found::Unknown("an apply without the number, and there is no response")
        }
        _ => Found::NotTouched,
    })
}

fn count(number: &Number<'_>, place: &'static str) -> Result<Option<i64>, DecodeError> {
    match number {
        Number::Absent | Number::Null => Ok(None),
        Number::Whole(whole) if number.counting().is_some() => Ok(Some(*whole)),
        Number::Whole(whole) => Err(DecodeError::Malformed { place, value: whole.to_string() }),
        Number::Bad(text) => Err(DecodeError::Malformed { place, value: text.chars().take(64).collect() }),
    }
}
