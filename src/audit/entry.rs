//! The `LogEntry` as it lies in the input: borrowed, and only the fields that pedwatch reads.
//!
//! Source of truth: [LogEntry](https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry),
//! [AuditLog](https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog) and the Pub/Sub
//! [push body](https://cloud.google.com/pubsub/docs/push#receive_push).

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::DecodeError;
use super::json::{Lenient, Maybe, Number, Scalar, Text, lenient};

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
    pub(super) labels: Maybe<Labels<'a>>,
    pub(super) split: Maybe<Split<'a>>,
    pub(super) proto_payload: Maybe<Payload<'a>>,
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

    /// Whether this is a `LogEntry` with an audit payload, its bodies as objects: then no other form can tell more of it.
    pub fn is_plain(&self) -> bool {
        self.proto_payload.0.as_ref().is_some_and(|payload| {
            payload.service_name.get().is_some() && !payload.request.is_text && !payload.response.is_text
        })
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
        GeneralPurpose::new(alphabet, ANY_PADDING)
            .decode(data)
            .map_err(|error| DecodeError::NotBase64(error.to_string()))
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
}

/// Set on each piece of an entry that was too large for one (over 512 KiB).
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Split<'a> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    pub(super) index: Number<'a>,
    pub(super) total_splits: Number<'a>,
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
    /// The members of a list (the answer to `deletecollection`).
    pub(super) items: Vec<Metadata<'a>>,
    /// It is a text, which may hold JSON of one: see [`super::forms`].
    pub(super) is_text: bool,
    /// The operations of a JSON Patch: the body itself is an array, or holds one under its only other key.
    pub(super) operations: Vec<&'a RawValue>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    pub(super) namespace: Text<'a>,
    pub(super) uid: Text<'a>,
    pub(super) resource_version: Text<'a>,
    pub(super) generation: Number<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub(super) replicas: Number<'a>,
    pub(super) min_replicas: Number<'a>,
    pub(super) max_replicas: Number<'a>,
    pub(super) scale_target_ref: Maybe<TargetRef<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct TargetRef<'a> {
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    pub(super) name: Text<'a>,
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
    #[serde(rename = "items")]
    Items,
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
                BodyKey::Items => body.items = map.next_value::<Items<'de>>()?.0,
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

/// The metadata of a list's members. Anything but an array is no list.
#[derive(Default)]
struct Items<'a>(Vec<Metadata<'a>>);

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    metadata: Maybe<Metadata<'a>>,
}

impl<'de> Lenient<'de> for Items<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        while let Some(Maybe(item)) = seq.next_element::<Maybe<Item<'de>>>()? {
            items.extend(item.and_then(|item| item.metadata.0));
        }
        Ok(Items(items))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Items<'de>, D>(deserializer)
    }
}
