//! What an entry turns out to be, in the types of the domain.

use std::fmt;

use chrono::{DateTime, Utc};

use super::actor::Actor;
use super::canary::Canary;
use super::method::{ObjectKind, Operation};
use super::replicas::Value;
use crate::names::{Named, named};

/// What an entry turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<'e> {
    /// Writes to watched objects that were stored or may have been. One, except for a `deletecollection`, which removes
    /// several objects.
    Writes(Vec<Write<'e>>),
    /// Recognised, and not a change, for this reason; but its answer shows the object, which can refute an end, tell a
    /// dry run, or explain a generation. Recorded as an observation without a number.
    Observed(Ignored, Box<Write<'e>>),
    /// Recognised, and not a change.
    Ignored(Ignored),
    /// A dry run of our own, which is not a change either: it shows that entries of its cluster come.
    Canary(Canary<'e>),
}

named! {
    /// Why an entry is not a change. Counted by this reason.
    pub enum Ignored {
        /// A log entry without an audit payload.
        OtherLog = "other_log",
        /// An audit entry of another service than the API server's.
        OtherService = "other_service",
        /// A write to something that holds no watched number: Pods, ReplicaSets, StatefulSets, other subresources.
        OtherResource = "other_resource",
        /// An HPA that scales something else than a Deployment.
        OtherScaleTarget = "other_scale_target",
        /// `get`, `list`, `watch`.
        Read = "read",
        /// A write to `/status`, which carries a possibly stale spec.
        StatusWrite = "status_write",
        /// `status.code` says that nothing was stored.
        FailedCall = "failed_call",
        /// A dry run: nothing was stored.
        DryRun = "dry_run",
        /// A dry run that `pedwatch canary` made.
        Canary = "canary",
        /// A PUT that came back with the `resourceVersion` it was sent with: nothing was stored.
        NotStored = "not_stored",
        /// A patch of something else, and no response that says what the number is.
        ReplicasNotTouched = "replicas_not_touched",
        /// A `deletecollection` that found nothing.
        NothingDeleted = "nothing_deleted",
        /// A cluster's deletion was asked for; the entry that ends the operation tells whether it happened.
        OperationBegun = "operation_begun",
    }
}

impl Ignored {
    /// The reason in plain words.
    pub fn explain(self) -> &'static str {
        match self {
            Ignored::OtherLog => "a log entry without an audit payload",
            Ignored::OtherService => "an audit entry of another service than the API server's",
            Ignored::OtherResource => "neither a Deployment, nor its scale, nor a HorizontalPodAutoscaler",
            Ignored::OtherScaleTarget => "the HorizontalPodAutoscaler scales something else than a Deployment",
            Ignored::Read => "a read",
            Ignored::StatusWrite => "a status write, whose spec may be stale",
            Ignored::FailedCall => "the call failed, so nothing was stored",
            Ignored::DryRun => "a dry run, so nothing was stored",
            Ignored::Canary => "a dry run of pedwatch's own, which shows that entries of the cluster come",
            Ignored::NotStored => "the resourceVersion did not move, so nothing was stored (no change, or a dry run)",
            Ignored::ReplicasNotTouched => "the patch leaves the number alone",
            Ignored::NothingDeleted => "it found nothing to delete",
            Ignored::OperationBegun => {
                "a cluster's deletion began; the operation's last entry tells whether it happened"
            }
        }
    }
}

named! {
    /// Whether what was asked for was stored.
    pub enum Outcome {
        /// It was, unless the order of the object's writes says that it was a dry run.
        Stored = "stored",
        /// The call timed out or broke inside: it may go on and be stored.
        Uncertain = "uncertain",
        /// Nothing that is watched was written; the answer only shows the object.
        Observed = "observed",
    }
}

named! {
    /// The object after the call, as its answer shows it.
    pub enum ObjectState {
        /// It is there.
        Live = "live",
        /// It is there until the finalizers that hold it are taken away.
        Terminating = "terminating",
        /// It is gone with this call.
        Gone = "gone",
    }
}

/// What a write says about the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// This many.
    For(Value),
    /// It cannot be told, for this reason.
    Unknown(&'static str),
    /// Nothing: a removal, or an observation.
    Nothing,
}

impl Asked {
    /// The number, where it is known.
    pub fn replicas(self) -> Option<i64> {
        match self {
            Asked::For(value) => Some(value.replicas),
            Asked::Unknown(_) | Asked::Nothing => None,
        }
    }
}

/// Which piece of an entry that was too large for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split<'e> {
    /// What the pieces share.
    pub uid: &'e str,
    /// Its place among them, from 0.
    pub index: i64,
}

/// One write to a watched object.
#[derive(Debug, Clone, PartialEq)]
pub struct Write<'e> {
    /// Full name of the log.
    pub log_name: &'e str,
    /// Logging's id of the entry (of this piece, when split).
    pub insert_id: &'e str,
    /// Which piece of a split entry this is.
    pub split: Option<Split<'e>>,
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
    /// Kubernetes namespace; empty for a cluster.
    pub namespace: &'e str,
    /// The Deployment that the number is about; for an HPA its scaleTargetRef. `None` when no body names it.
    pub deployment_name: Option<&'e str>,
    /// What was written.
    pub object_kind: ObjectKind,
    /// Its name. `None` when it stands for all objects of the namespace, or no body names it.
    pub object_name: Option<&'e str>,
    /// `metadata.uid`: a re-created object has a new one.
    pub object_uid: Option<&'e str>,
    /// `metadata.creationTimestamp`: when this life of the object began, to the second.
    pub born_at: Option<DateTime<Utc>>,
    /// `metadata.resourceVersion`, a decimal number of any length: orders the writes of one object.
    pub object_version: Option<&'e str>,
    /// `metadata.generation`: counts the changes of one object's spec. A Scale has none.
    pub generation: Option<i64>,
    /// How it was written.
    pub operation: Operation,
    /// Whether it was stored.
    pub outcome: Outcome,
    /// The object afterwards; `None` where no answer shows it.
    pub object_state: Option<ObjectState>,
    /// The call, as Logging names it.
    pub method_name: &'e str,
    /// The number asked for, or why it is unknown.
    pub asked: Asked,
    /// HPA: `spec.minReplicas`.
    pub min_replicas: Option<i64>,
    /// HPA: whether its controller finds what it aims at. `None` where no body tells.
    pub effective: Option<bool>,
    /// Whether the client wrote a watched field itself (a patch of the image alone does not). `None` where this piece of
    /// a split entry does not tell; otherwise true where that cannot be told.
    pub touched: Option<bool>,
    /// Who did it.
    pub actor: Actor<'e>,
    /// Set by the caller: to be shown, never to decide by.
    pub user_agent: Option<&'e str>,
    /// Address the call came from.
    pub caller_ip: Option<&'e str>,
}

/// Most memory that the rows of one message may take, which each carry the texts that the message has once. The longest
/// list that one entry can hold stays below it, and a service with 512 MiB has room for one of them beside its work.
pub const ROWS_MAX_BYTES: usize = 64 << 20;

impl Write<'_> {
    /// About how much memory its row takes: a fixed part, and copies of its texts.
    pub fn row_bytes(&self) -> usize {
        // The row itself, and its ids and small texts, each in an allocation of its own.
        const FIXED: usize = 1_536;
        let Write { log_name, insert_id, cluster_name, namespace, method_name, actor, .. } = self;
        let texts = [*log_name, *insert_id, *cluster_name, *namespace, *method_name, actor.name];
        let more = [self.project_id, self.location, actor.on_behalf_of, self.user_agent, self.caller_ip];
        FIXED + texts.into_iter().chain(more.into_iter().flatten()).map(str::len).sum::<usize>()
    }

    /// Whether the object is gone with this write.
    pub fn ends(&self) -> bool {
        self.object_state == Some(ObjectState::Gone)
    }

    /// Whether it may have removed something, and nothing tells what or whether.
    pub fn removes_unknown(&self) -> bool {
        self.operation.removes() && self.object_state.is_none()
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
    /// `timestamp` or `receiveTimestamp` is no time, or one at which nothing was logged.
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
    #[error("{place} is {value}; expected a whole number from 0 to {max}", max = i32::MAX)]
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

named! {
    /// The names of [`DecodeError`]'s kinds in reports, metrics and the quarantine.
    enum Reason {
        /// [`DecodeError::NotJson`].
        NotJson = "not_json",
        /// [`DecodeError::NotALogEntry`].
        NotALogEntry = "not_a_log_entry",
        /// [`DecodeError::UnreadablePayload`].
        UnreadablePayload = "unreadable_payload",
        /// [`DecodeError::Form`].
        Form = "other_form",
        /// [`DecodeError::NotBase64`].
        NotBase64 = "not_base64",
        /// [`DecodeError::BadTime`].
        BadTime = "bad_time",
        /// [`DecodeError::Malformed`].
        Malformed = "malformed_number",
        /// [`DecodeError::TooLarge`].
        TooLarge = "too_large",
    }
}

impl DecodeError {
    /// One of [`DecodeError::reason`], or `other`: metrics have bounded labels.
    pub fn reason_of(text: &str) -> &'static str {
        Reason::from_name(text).map_or("other", Named::as_str)
    }

    /// The name used in reports, metrics and the quarantine.
    pub fn reason(&self) -> &'static str {
        let reason = match self {
            DecodeError::NotJson(_) => Reason::NotJson,
            DecodeError::NotALogEntry { .. } => Reason::NotALogEntry,
            DecodeError::UnreadablePayload { .. } => Reason::UnreadablePayload,
            DecodeError::Form { .. } => Reason::Form,
            DecodeError::NotBase64(_) => Reason::NotBase64,
            DecodeError::BadTime { .. } => Reason::BadTime,
            DecodeError::Malformed { .. } => Reason::Malformed,
            DecodeError::TooLarge { .. } => Reason::TooLarge,
        };
        reason.as_str()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::For(value) => write!(f, "{} from {}", value.replicas, value.source.as_str()),
            Asked::Unknown(why) => write!(f, "unknown: {why}"),
            Asked::Nothing => f.write_str("nothing"),
        }
    }
}
