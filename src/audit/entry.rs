//! The `LogEntry` as it lies in the input: borrowed, and only the fields that pedwatch reads.
//!
//! Source of truth: [LogEntry](https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry),
//! [AuditLog](https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog) and the Pub/Sub
//! [push body](https://cloud.google.com/pubsub/docs/push#receive_push).

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::DecodeError;
use super::json::{Lenient, List, Maybe, Number, Scalar, Text, lenient};

/// One parsed input document: a `LogEntry`, or a Pub/Sub push body around one.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Entry<'a> {
    #[serde(borrow)]
    pub(super) log_name: Text<'a>,
    pub(super) insert_id: Text<'a>,
    pub(super) timestamp: Text<'a>,
    pub(super) receive_timestamp: Text<'a>,
    pub(super) resource: Maybe<Resource<'a>>,
    #[serde(deserialize_with = "labels_or_text")]
    pub(super) labels: Maybe<Labels<'a>>,
    pub(super) split: Maybe<Split<'a>>,
    pub(super) operation: Maybe<LongRunning<'a>>,
    pub(super) proto_payload: Member<Payload<'a>>,
    message: Maybe<PushMessage<'a>>,
}

impl<'a> Entry<'a> {
    /// Parses one JSON document.
    ///
    /// # Errors
    /// [`DecodeError::NotJson`] when it is not JSON, [`DecodeError::NotALogEntry`] when it is not an object.
    pub fn parse(input: &'a [u8]) -> Result<Self, DecodeError> {
        match serde_json::from_slice::<Maybe<Entry<'a>>>(input) {
            Ok(Maybe(Some(entry))) => Ok(entry),
            Ok(Maybe(None)) => Err(DecodeError::NotALogEntry { missing: "the outer JSON object" }),
            Err(error) => Err(DecodeError::NotJson(error.to_string())),
        }
    }

    /// The bytes inside a Pub/Sub push body; `None` when this document is not one.
    ///
    /// # Errors
    /// [`DecodeError::NotBase64`] when `message.data` cannot be decoded.
    pub fn pushed(&self) -> Result<Option<Vec<u8>>, DecodeError> {
        let Some(data) = self.message.0.as_ref().and_then(|message| message.data.get()) else { return Ok(None) };
        if self.log_name.get().is_some() {
            return Ok(None);
        }
        decode_base64(data).map(Some)
    }

    /// Whether Logging itself writes entries like this: an audit payload, its bodies and labels as objects, and a time that
    /// ends in `Z`. Only of another, [`super::forms`] may make more than the decoder.
    pub fn is_plain(&self) -> bool {
        let Member::Object(payload) = &self.proto_payload else { return false };
        let time = self.timestamp.get().unwrap_or_default().as_bytes();
        payload.service_name.get().is_some()
            && !payload.request.is_text
            && !payload.response.is_text
            && self.log_name.get().is_some()
            && (time.get(10), time.last()) == (Some(&b'T'), Some(&b'Z'))
            && self.labels.0.as_ref().is_none_or(|labels| !labels.is_text)
    }

    /// Pub/Sub's id of the message that carried this entry, and when it was published, for the quarantine.
    pub fn message_id(&self) -> Option<&str> {
        self.message.0.as_ref()?.message_id.get()
    }

    /// When Pub/Sub took the message (RFC 3339).
    pub fn publish_time(&self) -> Option<&str> {
        self.message.0.as_ref()?.publish_time.get()
    }

    /// Logging's own id of the entry, unique together with `logName` and `timestamp`.
    pub fn insert_id(&self) -> Option<&str> {
        self.insert_id.get()
    }
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Either alphabet, with or without padding, also in lines: a reader of protobuf's JSON takes all of these.
fn decode_base64(data: &str) -> Result<Vec<u8>, DecodeError> {
    let decode = |alphabet: &Alphabet, data: &[u8]| {
        let decoded = GeneralPurpose::new(alphabet, ANY_PADDING).decode(data);
        decoded.map_err(|error| DecodeError::NotBase64(error.to_string().trim_end_matches('.').to_owned()))
    };
    let alphabet = if data.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    if !data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return decode(alphabet, data.as_bytes());
    }
    let lines: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    decode(alphabet, &lines)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PushMessage<'a> {
    #[serde(borrow)]
    data: Text<'a>,
    // Pub/Sub writes both of them twice, the second time as `message_id` and `publish_time`.
    message_id: Text<'a>,
    publish_time: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Resource<'a> {
    #[serde(borrow)]
    pub(super) labels: Maybe<ClusterLabels<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ClusterLabels<'a> {
    #[serde(borrow)]
    pub(super) project_id: Text<'a>,
    pub(super) location: Text<'a>,
    pub(super) cluster_name: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Labels<'a> {
    #[serde(borrow, rename = "command.gke.io/dryRun")]
    pub(super) dry_run: Text<'a>,
    #[serde(rename = "audit.k8s.io/truncated")]
    pub(super) truncated: Text<'a>,
    #[serde(rename = "authorization.k8s.io/decision")]
    pub(super) decision: Text<'a>,
    /// They are a text, which may hold JSON of them.
    #[serde(skip)]
    is_text: bool,
}

/// Labels that are no object are none; but a text is remembered, lest a dry run be missed in it.
#[derive(Default)]
struct LabelsOrText<'a>(Maybe<Labels<'a>>);

impl<'de> Lenient<'de> for LabelsOrText<'de> {
    fn from_scalar(scalar: Scalar<'de>) -> Self {
        let text = matches!(scalar, Scalar::Text(_)).then(|| Labels { is_text: true, ..Labels::default() });
        LabelsOrText(Maybe(text))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Maybe::from_map(map).map(LabelsOrText)
    }
}

fn labels_or_text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Maybe<Labels<'a>>, D::Error> {
    lenient::<LabelsOrText<'de>, D>(deserializer).map(|LabelsOrText(labels)| labels)
}

/// Set on each piece of an entry that was too large for one (over 512 KiB).
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Split<'a> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    pub(super) index: Number<'a>,
}

/// `LogEntry.operation`: which entries belong to one long-running operation.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct LongRunning<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) first: Text<'a>,
    pub(super) last: Text<'a>,
}

/// A member of the entry that is an object, where one is there at all.
#[derive(Debug, Default)]
pub(super) enum Member<T> {
    /// There is no such key, or it is `null`.
    #[default]
    Absent,
    Object(T),
    /// Something else, named.
    Other(&'static str),
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for Member<T> {
    fn from_scalar(scalar: Scalar<'de>) -> Self {
        match scalar {
            Scalar::Null => Member::Absent,
            Scalar::Text(_) => Member::Other("a text"),
            Scalar::Bool(_) | Scalar::Whole(_) | Scalar::Float(_) => Member::Other("a scalar"),
        }
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other("an array"))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Member::Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    pub(super) service_name: Text<'a>,
    pub(super) method_name: Text<'a>,
    pub(super) resource_name: Text<'a>,
    pub(super) status: Maybe<CallStatus<'a>>,
    pub(super) authentication_info: Maybe<AuthenticationInfo<'a>>,
    pub(super) request_metadata: Maybe<RequestMetadata<'a>>,
    // BigQuery's names, whose values are texts: so these do not look like entries without bodies.
    #[serde(alias = "requestJson")]
    pub(super) request: Body<'a>,
    #[serde(alias = "responseJson")]
    pub(super) response: Body<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct CallStatus<'a> {
    #[serde(borrow)]
    pub(super) code: Number<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AuthenticationInfo<'a> {
    #[serde(borrow)]
    pub(super) principal_email: Text<'a>,
    pub(super) principal_subject: Text<'a>,
    pub(super) authority_selector: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RequestMetadata<'a> {
    #[serde(borrow)]
    pub(super) caller_ip: Text<'a>,
    pub(super) caller_supplied_user_agent: Text<'a>,
}

/// `protoPayload.request` or `.response`: a Kubernetes object, a Scale, a patch, a Status, a list, or nothing.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) type_url: Text<'a>,
    pub(super) api_version: Text<'a>,
    pub(super) kind: Text<'a>,
    pub(super) metadata: Option<Metadata<'a>>,
    pub(super) spec: Option<Spec<'a>>,
    /// `Status.details`: names what a delete removed.
    pub(super) details: Metadata<'a>,
    /// `Status.status`: "Success" or "Failure". Empty for objects, whose `status` is itself an object.
    pub(super) outcome: Text<'a>,
    /// `Status.code`: HTTP's.
    pub(super) code: Number<'a>,
    /// The members of a list or a Table; `None` when this is neither.
    pub(super) items: Option<Vec<Metadata<'a>>>,
    /// `DeleteOptions.dryRun`.
    pub(super) dry_run: List<Text<'a>>,
    /// `DeleteOptions.propagationPolicy`, and what it was called before.
    pub(super) propagation_policy: Text<'a>,
    pub(super) orphan_dependents: Text<'a>,
    /// A directive of a strategic merge patch for the whole object.
    pub(super) directive: Text<'a>,
    /// It is a text, which may hold JSON of one: see [`super::forms`].
    pub(super) is_text: bool,
    /// The operations of a JSON Patch: the body itself is an array, or holds one under its only other key.
    pub(super) operations: Vec<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Its kind: `kind` first, the last part of `@type` second.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.get().or_else(|| self.type_url.get()?.rsplit(['.', '/']).next())
    }

    /// Whether it is there, with its type and nothing else.
    pub(super) fn is_bare(&self) -> bool {
        self.type_url.get().is_some() && self.spec.is_none() && self.metadata.is_none() && self.operations.is_empty()
    }

    /// Whether this is a `Status` instead of an object.
    pub(super) fn is_status(&self) -> bool {
        self.kind() == Some("Status")
            || self.outcome.get().is_some() && self.metadata.as_ref().is_none_or(|m| m.uid.get().is_none())
    }

    /// The metadata of the one object that this is, or that it is a Table of.
    pub(super) fn metadata(&self) -> Option<&Metadata<'a>> {
        match (self.kind(), self.items.as_deref()) {
            (Some("Table"), Some([only])) => Some(only),
            (Some("Table"), _) => None,
            _ => self.metadata.as_ref(),
        }
    }
}

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    pub(super) namespace: Text<'a>,
    pub(super) uid: Text<'a>,
    pub(super) resource_version: Text<'a>,
    pub(super) generation: Number<'a>,
    pub(super) creation_timestamp: Text<'a>,
    pub(super) deletion_timestamp: Text<'a>,
    pub(super) finalizers: List<Text<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub(super) replicas: Number<'a>,
    pub(super) min_replicas: Number<'a>,
    pub(super) max_replicas: Number<'a>,
    pub(super) scale_target_ref: Maybe<TargetRef<'a>>,
    /// Directives of a strategic merge patch: `$patch`, and the keys that `$retainKeys` leaves.
    #[serde(rename = "$patch")]
    pub(super) directive: Text<'a>,
    #[serde(rename = "$retainKeys")]
    pub(super) retained: Option<List<Text<'a>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct TargetRef<'a> {
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    pub(super) name: Text<'a>,
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Text<'a>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum BodyKey {
    #[serde(rename = "@type")]
    TypeUrl,
    #[serde(rename = "apiVersion")]
    ApiVersion,
    #[serde(rename = "kind")]
    Kind,
    #[serde(rename = "metadata")]
    Metadata,
    #[serde(rename = "spec")]
    Spec,
    #[serde(rename = "details")]
    Details,
    #[serde(rename = "status")]
    Status,
    #[serde(rename = "code")]
    Code,
    #[serde(rename = "items")]
    Items,
    #[serde(rename = "rows")]
    Rows,
    #[serde(rename = "dryRun")]
    DryRun,
    #[serde(rename = "propagationPolicy")]
    PropagationPolicy,
    #[serde(rename = "orphanDependents")]
    OrphanDependents,
    #[serde(rename = "$patch")]
    Directive,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Body<'de>, D>(deserializer)
    }
}

impl<'de> Lenient<'de> for Body<'de> {
    fn from_scalar(scalar: Scalar<'de>) -> Self {
        Body { is_text: matches!(scalar, Scalar::Text(_)), ..Body::default() }
    }

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut body = Body::default();
        while let Some(key) = map.next_key()? {
            match key {
                BodyKey::TypeUrl => body.type_url = map.next_value()?,
                BodyKey::ApiVersion => body.api_version = map.next_value()?,
                BodyKey::Kind => body.kind = map.next_value()?,
                BodyKey::Metadata => body.metadata = map.next_value::<Maybe<_>>()?.0,
                BodyKey::Spec => body.spec = map.next_value::<Maybe<_>>()?.0,
                BodyKey::Details => body.details = map.next_value::<Maybe<_>>()?.0.unwrap_or_default(),
                BodyKey::Status => body.outcome = map.next_value()?,
                BodyKey::Code => body.code = map.next_value()?,
                BodyKey::DryRun => body.dry_run = map.next_value()?,
                BodyKey::PropagationPolicy => body.propagation_policy = map.next_value()?,
                BodyKey::OrphanDependents => body.orphan_dependents = map.next_value()?,
                BodyKey::Directive => body.directive = map.next_value()?,
                BodyKey::Rows => {
                    let List(rows) = map.next_value::<List<Maybe<TableRow<'de>>>>()?;
                    let metadata = |row: TableRow<'de>| row.object.0?.metadata.0;
                    body.items = Some(rows.into_iter().filter_map(|Maybe(row)| row.and_then(metadata)).collect());
                }
                // The members of a list, or a JSON Patch that a Struct carries under this key.
                BodyKey::Items => {
                    let raw: &RawValue = map.next_value()?;
                    let List(items) = serde_json::from_str::<List<Maybe<Item<'de>>>>(raw.get()).unwrap_or_default();
                    let items = items.into_iter().filter_map(|Maybe(item)| item);
                    if items.clone().any(|item| item.op.get().is_some()) {
                        body.operations = serde_json::from_str(raw.get()).unwrap_or_default();
                    } else if raw.get().starts_with('[') {
                        body.items = Some(items.filter_map(|item| item.metadata.0).collect());
                    }
                }
                // How a Struct carries an array is unknown, so any other key may hold a JSON Patch. A Kubernetes
                // object has no other top-level keys of any size, so keeping the raw text costs nothing there.
                BodyKey::Other => {
                    let raw: &RawValue = map.next_value()?;
                    if let Ok(operations) = serde_json::from_str(raw.get()) {
                        body.operations = operations;
                    }
                }
            }
        }
        Ok(body)
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut body = Body::default();
        while let Some(operation) = seq.next_element()? {
            body.operations.push(operation);
        }
        Ok(body)
    }
}

/// A member of a list, or an operation of a JSON Patch.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    metadata: Maybe<Metadata<'a>>,
    op: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct TableRow<'a> {
    #[serde(borrow)]
    object: Maybe<Item<'a>>,
}
