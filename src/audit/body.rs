//! What a call sent and what it answered: `protoPayload.request` and `.response`, as they lie in the input.
//!
//! Nothing is kept of an array but what is asked of it, so that no array costs more than its text; and nothing that is
//! passed over is followed into its nesting.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::json::{Lenient, Maybe, Number, OfTexts, Scalar, Text, Texts, lenient};
use super::patch::{Operations, Patch};
use super::removal::is_of_a_policy;

/// A Kubernetes object, a Scale, a patch, a Status, a list, or nothing.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) type_url: Text<'a>,
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
    pub(super) items: Option<Items<'a>>,
    /// `DeleteOptions.dryRun`.
    pub(super) dry_run: Texts<IsFilled>,
    /// `DeleteOptions.propagationPolicy`, and what it was called before.
    pub(super) propagation_policy: Text<'a>,
    pub(super) orphan_dependents: Text<'a>,
    /// A directive of a strategic merge patch for the whole object.
    pub(super) directive: Text<'a>,
    /// It is a text, which may hold JSON of one: see [`super::forms`].
    pub(super) is_text: bool,
    /// A JSON Patch: the body itself is an array, or holds one under its only other key.
    pub(super) patch: Option<Patch<'a>>,
}

impl<'a> Body<'a> {
    /// Its kind: `kind` first, the last part of `@type` second.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.get().or_else(|| self.type_url.get()?.rsplit(['.', '/']).next())
    }

    /// Whether it is there, with its type and nothing else.
    pub(super) fn is_bare(&self) -> bool {
        self.type_url.get().is_some() && self.spec.is_none() && self.metadata.is_none() && self.patch.is_none()
    }

    /// Whether this is a `Status` instead of an object.
    pub(super) fn is_status(&self) -> bool {
        self.kind() == Some("Status")
            || self.outcome.get().is_some() && self.metadata.as_ref().is_none_or(|m| m.uid.get().is_none())
    }

    /// The metadata of the one object that this is, or that it is a Table of.
    pub(super) fn metadata(&self) -> Option<&Metadata<'a>> {
        if self.kind() != Some("Table") {
            return self.metadata.as_ref();
        }
        match self.items.as_ref()? {
            Items { members, untold: false } if members.len() == 1 => members.first(),
            _ => None,
        }
    }
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
    pub(super) creation_timestamp: Text<'a>,
    pub(super) deletion_timestamp: Text<'a>,
    pub(super) finalizers: Texts<Finalizers>,
    pub(super) labels: Maybe<ObjectLabels<'a>>,
}

/// The one label that is read.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ObjectLabels<'a> {
    #[serde(borrow, rename = "pedwatch-canary")]
    pub(super) canary: Text<'a>,
}

/// What holds an object that is being deleted.
#[derive(Debug, Default)]
pub(super) struct Finalizers {
    /// There is one.
    pub(super) any: bool,
    /// There is one besides those that a propagation policy adds and takes.
    pub(super) other: bool,
}

impl OfTexts for Finalizers {
    fn take(&mut self, finalizer: &str) {
        self.any = true;
        self.other |= !is_of_a_policy(finalizer);
    }
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
    pub(super) retained: Option<Texts<Retained>>,
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

/// Which of the watched keys are retained.
#[derive(Debug, Default)]
pub(super) struct Retained {
    pub(super) replicas: bool,
}

impl OfTexts for Retained {
    fn take(&mut self, key: &str) {
        self.replicas |= key == "replicas";
    }
}

/// Whether an array holds anything.
#[derive(Debug, Default)]
pub(super) struct IsFilled(pub(super) bool);

impl OfTexts for IsFilled {
    fn take(&mut self, _: &str) {
        self.0 = true;
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum BodyKey {
    #[serde(rename = "@type")]
    TypeUrl,
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
                BodyKey::Rows => body.items = Some(map.next_value::<Rows<'de>>()?.0),
                // The members of a list, or a JSON Patch that a Struct carries under this key.
                BodyKey::Items => {
                    let raw: &RawValue = map.next_value()?;
                    match serde_json::from_str(raw.get()) {
                        Ok(Array { is_patch: true, .. }) => body.patch = Operations::of(raw).0,
                        Ok(Array { items, .. }) => body.items = items,
                        // A name stands twice in one of them.
                        Err(_) => body.items = Some(Items { untold: true, ..Items::default() }),
                    }
                }
                // How a Struct carries an array is unknown, so any other key may hold a JSON Patch.
                BodyKey::Other => body.patch = map.next_value::<Operations<'de>>()?.0.or(body.patch),
            }
        }
        Ok(body)
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        Ok(Body { patch: Operations::from_seq(seq)?.0, ..Body::default() })
    }
}

/// Most members of a list that are told apart. One entry cannot hold more: Logging cuts it at 512 KiB, and the shortest
/// member that shows anything, `{"metadata":{}}` with its comma, has 16 bytes.
const ITEMS_MAX: usize = 512 * 1024 / 16;

/// The objects that a list or a Table names.
#[derive(Debug, Default)]
pub(super) struct Items<'a> {
    /// Each with its name.
    pub(super) members: Vec<Metadata<'a>>,
    /// There are others: without a name, or more than [`ITEMS_MAX`].
    pub(super) untold: bool,
}

impl<'a> Items<'a> {
    fn push(&mut self, metadata: Option<Metadata<'a>>) {
        match metadata.filter(|metadata| metadata.name.get().is_some()) {
            Some(metadata) if self.members.len() < ITEMS_MAX => self.members.push(metadata),
            _ => self.untold = true,
        }
    }
}

/// An array of objects, of which some may be operations of a JSON Patch.
#[derive(Debug, Default)]
struct Array<'a> {
    /// `None` when it is no array.
    items: Option<Items<'a>>,
    is_patch: bool,
}

impl<'de> Lenient<'de> for Array<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let (mut items, mut is_patch) = (Items::default(), false);
        while let Some(Maybe(member)) = seq.next_element::<Maybe<ListMember<'de>>>()? {
            let ListMember { metadata, op } = member.unwrap_or_default();
            is_patch |= op.get().is_some();
            items.push(metadata.0);
        }
        Ok(Array { items: Some(items), is_patch })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Array<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Array<'de>, D>(deserializer)
    }
}

/// A member of a list, or an operation of a JSON Patch.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ListMember<'a> {
    #[serde(borrow)]
    metadata: Maybe<Metadata<'a>>,
    op: Text<'a>,
}

/// The rows of a Table, each with the object that it is about.
#[derive(Debug, Default)]
struct Rows<'a>(Items<'a>);

impl<'de> Lenient<'de> for Rows<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Items::default();
        while let Some(Maybe(row)) = seq.next_element::<Maybe<TableRow<'de>>>()? {
            items.push(row.and_then(|row| row.object.0?.metadata.0));
        }
        Ok(Rows(items))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Rows<'de>, D>(deserializer)
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct TableRow<'a> {
    #[serde(borrow)]
    object: Maybe<ListMember<'a>>,
}
