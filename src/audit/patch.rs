//! What a JSON Patch (RFC 6902) does to the watched fields, told without the object that it changes.
//!
//! Only where each watched field's value lies in the input is kept. So nothing is built, copied or nested, whatever the
//! operations say, and a patch costs no more than reading it. What only the object tells is unknown.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::body::{Spec, TargetRef};
use super::json::{Lenient, Maybe, Number, Text, lenient};

/// The operations so far.
#[derive(Debug, Default)]
pub(super) struct Patch<'a> {
    fields: Fields<'a>,
    /// One of them is no operation, or one that no API server carries out.
    is_unreadable: bool,
}

/// What became of each watched field of `spec`.
#[derive(Debug, Default)]
struct Fields<'a> {
    replicas: Field<'a>,
    min_replicas: Field<'a>,
    max_replicas: Field<'a>,
    scale_target_ref: Field<'a>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Field<'a> {
    /// No operation led to it.
    #[default]
    Untouched,
    /// It was written, and this is its value.
    Set(&'a RawValue),
    /// It was taken away.
    Removed,
    /// It was written, and only the object tells with what.
    Unknown,
}

impl<'a> Fields<'a> {
    fn each(&mut self) -> [(&'static str, &mut Field<'a>); 4] {
        [
            ("replicas", &mut self.replicas),
            ("minReplicas", &mut self.min_replicas),
            ("maxReplicas", &mut self.max_replicas),
            ("scaleTargetRef", &mut self.scale_target_ref),
        ]
    }

    fn named(&mut self, wanted: &str) -> Option<&mut Field<'a>> {
        self.each().into_iter().find(|(name, _)| *name == wanted).map(|(_, field)| field)
    }

    fn set_all(&mut self, to: Field<'a>) {
        self.each().into_iter().for_each(|(_, field)| *field = to);
    }
}

/// One operation as it is written.
#[derive(Debug, Default)]
struct Operation<'a> {
    op: Text<'a>,
    path: Text<'a>,
    from: Text<'a>,
    value: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum OperationKey {
    Op,
    Path,
    From,
    Value,
    #[serde(other)]
    Other,
}

impl<'de> Lenient<'de> for Operation<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut operation = Operation::default();
        while let Some(key) = map.next_key()? {
            match key {
                OperationKey::Op => operation.op = map.next_value()?,
                OperationKey::Path => operation.path = map.next_value()?,
                OperationKey::From => operation.from = map.next_value()?,
                OperationKey::Value => operation.value = Some(map.next_value::<&'de RawValue>()?),
                OperationKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(operation)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Operation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Operation<'de>, D>(deserializer)
    }
}

/// What a JSON Pointer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'p> {
    Object,
    Spec,
    /// A member of `spec`.
    Member(&'p str),
    /// Something inside a member of `spec`.
    Inside(&'p str),
    Elsewhere,
}

impl<'p> Place<'p> {
    /// `None` when it is no pointer. No watched name has a character that a pointer escapes.
    fn of(pointer: &'p Text<'_>) -> Option<Self> {
        let pointer = pointer.get_even_empty()?;
        if pointer.is_empty() {
            return Some(Place::Object);
        }
        let mut parts = pointer.strip_prefix('/')?.splitn(3, '/');
        Some(match (parts.next(), parts.next(), parts.next()) {
            (Some("spec"), None, _) => Place::Spec,
            (Some("spec"), Some(member), None) => Place::Member(member),
            (Some("spec"), Some(member), Some(_)) => Place::Inside(member),
            _ => Place::Elsewhere,
        })
    }
}

impl<'a> Patch<'a> {
    /// Carries out the next operation.
    fn apply(&mut self, operation: &Operation<'a>) {
        if self.try_apply(operation).is_none() {
            self.is_unreadable = true;
        }
    }

    fn try_apply(&mut self, operation: &Operation<'a>) -> Option<()> {
        let place = Place::of(&operation.path)?;
        match operation.op.get()? {
            // The call succeeded, hence it held.
            "test" => Some(()),
            "add" | "replace" => self.write(place, Field::Set(operation.value?)),
            "remove" => self.write(place, Field::Removed),
            "copy" => {
                let value = self.read(Place::of(&operation.from)?);
                self.write(place, value)
            }
            "move" => {
                let from = Place::of(&operation.from)?;
                let value = self.read(from);
                // What the object makes of a field that was moved away is not guessed at.
                self.write(from, Field::Unknown)?;
                self.write(place, value)
            }
            _ => None,
        }
    }

    /// What an operation finds there.
    fn read(&mut self, place: Place<'_>) -> Field<'a> {
        let found = match place {
            Place::Member(name) => self.fields.named(name).map(|field| *field),
            _ => None,
        };
        found.filter(|field| matches!(field, Field::Set(_))).unwrap_or(Field::Unknown)
    }

    /// `None` when the object cannot hold that there.
    fn write(&mut self, place: Place<'_>, value: Field<'a>) -> Option<()> {
        match (place, value) {
            (Place::Elsewhere, _) => {}
            (Place::Member(name), value) => {
                self.fields.named(name).into_iter().for_each(|field| *field = value);
            }
            (Place::Inside(name), _) => self.fields.named(name).into_iter().for_each(|field| *field = Field::Unknown),
            (Place::Spec, Field::Set(spec)) => {
                self.fields = serde_json::from_str::<Maybe<Fields<'a>>>(spec.get()).ok()?.0?
            }
            (Place::Object, Field::Set(object)) => {
                self.fields = serde_json::from_str::<Maybe<Object<'a>>>(object.get()).ok()?.0?.0?
            }
            (Place::Spec | Place::Object, _) => self.fields.set_all(Field::Unknown),
        }
        Some(())
    }

    /// The `spec` of the merge patch that does the same to the watched fields: absent means untouched, `null` deleted.
    /// `None` when that cannot be told without the object.
    pub(super) fn spec(&self) -> Option<Spec<'a>> {
        if self.is_unreadable {
            return None;
        }
        Some(Spec {
            replicas: number(self.fields.replicas)?,
            min_replicas: number(self.fields.min_replicas)?,
            max_replicas: number(self.fields.max_replicas)?,
            scale_target_ref: Maybe(match self.fields.scale_target_ref {
                Field::Untouched | Field::Removed => None,
                Field::Set(target) => serde_json::from_str::<Maybe<TargetRef<'a>>>(target.get()).ok()?.0,
                Field::Unknown => Some(TargetRef::default()),
            }),
            ..Spec::default()
        })
    }
}

fn number(field: Field<'_>) -> Option<Number<'_>> {
    match field {
        Field::Untouched => Some(Number::Absent),
        Field::Removed => Some(Number::Null),
        Field::Set(value) => serde_json::from_str(value.get()).ok(),
        Field::Unknown => None,
    }
}

/// The watched fields of a whole `spec`: what it leaves out is not there.
impl<'de> Lenient<'de> for Fields<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut fields = Fields::default();
        fields.set_all(Field::Removed);
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            key.get().and_then(|name| fields.named(name)).into_iter().for_each(|field| *field = Field::Set(value));
        }
        Ok(fields)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Fields<'de>, D>(deserializer)
    }
}

/// A whole object, as far as its `spec`.
#[derive(Debug, Default)]
struct Object<'a>(Option<Fields<'a>>);

impl<'de> Lenient<'de> for Object<'de> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut object = Object::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match key.get() {
                Some("spec") => object.0 = map.next_value::<Maybe<Fields<'de>>>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Object<'de>, D>(deserializer)
    }
}

/// What an array says, taken as a JSON Patch; `None` where there is nothing in it, or no array at all.
#[derive(Debug, Default)]
pub(super) struct Operations<'a>(pub(super) Option<Patch<'a>>);

impl<'a> Operations<'a> {
    /// Those of an array as it lies there.
    pub(super) fn of(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }
}

impl<'de> Lenient<'de> for Operations<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut patch = None;
        while let Some(operation) = seq.next_element::<Operation<'de>>()? {
            patch.get_or_insert_with(Patch::default).apply(&operation);
        }
        Ok(Operations(patch))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Operations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Operations<'de>, D>(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The watched numbers and whether the target is touched, as short as can be: `replicas=6 max=null`.
    fn spec_of(patch: &str) -> Option<String> {
        let Operations(patch) = serde_json::from_str(patch).expect("an array");
        let spec = patch?.spec()?;
        let numbers = [("replicas", &spec.replicas), ("min", &spec.min_replicas), ("max", &spec.max_replicas)];
        let shown = numbers.into_iter().filter_map(|(name, number)| match number {
            Number::Absent => None,
            Number::Null => Some(format!("{name}=null")),
            Number::Whole(whole) => Some(format!("{name}={whole}")),
            Number::Bad(text) => Some(format!("{name}={text:?}")),
        });
        let target = spec.scale_target_ref.0.as_ref().map(|_| "target".to_owned());
        Some(shown.chain(target).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_json_patch_becomes_the_merge_patch_that_does_the_same() {
        for (patch, expected) in [
            (r#"[{"op":"replace","path":"/spec/replicas","value":6}]"#, "replicas=6"),
            (
                r#"[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"add","path":"/spec/replicas","value":2}]"#,
                "replicas=2",
            ),
            (
                r#"[{"op":"add","path":"/spec/replicas","value":9},{"op":"replace","path":"/spec/replicas","value":4}]"#,
                "replicas=4",
            ),
            (r#"[{"op":"remove","path":"/spec/replicas"}]"#, "replicas=null"),
            (r#"[{"op":"add","path":"/spec/replicas","value":null}]"#, "replicas=null"),
            (r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"x"}]"#, ""),
            (r#"[{"op":"copy","from":"/spec/replicas","path":"/metadata/annotations/before"}]"#, ""),
            (r#"[{"op":"replace","path":"/spec/replicasX","value":6}]"#, ""),
            (r#"[{"op":"replace","path":"/status/spec/replicas","value":6}]"#, ""),
            (r#"[{"op":"test","path":"/spec/replicas","value":3}]"#, ""),
            (r#"[{"path":"\/spec\/\u0072eplicas","value":6.0,"op":"replace","more":[{}]}]"#, "replicas=6"),
            // A whole spec, and a whole object: what they leave out is taken away.
            (r#"[{"op":"replace","path":"/spec","value":{"maxReplicas":9,"x":[]}}]"#, "replicas=null min=null max=9"),
            (
                r#"[{"op":"add","path":"","value":{"spec":{"replicas":3,"scaleTargetRef":{}}}}]"#,
                "replicas=3 min=null max=null target",
            ),
            // What is known is known wherever it is copied to, and after what was not known.
            (
                r#"[{"op":"add","path":"/spec/minReplicas","value":7},{"op":"copy","from":"/spec/minReplicas","path":"/spec/maxReplicas"}]"#,
                "min=7 max=7",
            ),
            (
                r#"[{"op":"copy","from":"/status/replicas","path":"/spec/replicas"},{"op":"replace","path":"/spec/replicas","value":4}]"#,
                "replicas=4",
            ),
            (
                r#"[{"op":"replace","path":"/spec/scaleTargetRef/name","value":"x"},{"op":"add","path":"/spec/maxReplicas","value":5}]"#,
                "max=5 target",
            ),
        ] {
            assert_eq!(spec_of(patch).as_deref(), Some(expected), "{patch}");
        }
    }

    #[test]
    fn a_json_patch_that_needs_the_object_is_not_guessed_at() {
        for patch in [
            r#"[{"op":"copy","from":"/status/replicas","path":"/spec/replicas"}]"#,
            r#"[{"op":"copy","from":"/spec/minReplicas","path":"/spec/maxReplicas"}]"#,
            r#"[{"op":"copy","from":"/status","path":"/spec"}]"#,
            r#"[{"op":"move","from":"/spec/replicas","path":"/metadata/annotations/before"}]"#,
            r#"[{"op":"move","from":"/spec","path":"/status/spec"}]"#,
            r#"[{"op":"move","from":"","path":"/status"}]"#,
            r#"[{"op":"add","path":"/spec/replicas/deeper","value":1}]"#,
            r#"[{"op":"remove","path":"/spec"}]"#,
            r#"[{"op":"replace","path":"/spec","value":[]}]"#,
            r#"[{"op":"replace","path":"","value":{}}]"#,
            r#"[{"op":"frobnicate","path":"/spec/replicas"}]"#,
            r#"[{"op":"add","path":"/spec/replicas"}]"#,
            r#"[{"op":"add","path":"spec/replicas","value":1}]"#,
            r#"[{"op":"add","value":1}]"#,
            r#"[1, 2]"#,
            r#"[]"#,
        ] {
            assert_eq!(spec_of(patch), None, "{patch}");
        }
    }
}
