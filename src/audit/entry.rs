//! The `LogEntry` as it lies in the input: borrowed, and only the fields that pedwatch reads.
//!
//! Source of truth: [LogEntry](https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry) and
//! [AuditLog](https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog).

use serde::de::{Deserializer, MapAccess};

use super::DecodeError;
use super::body::Body;
use super::json::{Lenient, Maybe, Member, Number, Scalar, Text, lenient};
use super::push_body::PushMessage;

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
        if self.log_name.get().is_some() {
            return Ok(None);
        }
        self.message.0.as_ref().and_then(PushMessage::published).transpose()
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
    pub(super) last: Text<'a>,
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
