//! A protobuf `Struct` as some client libraries dump it, `{"fields": {"replicas": {"numberValue": 6}}}`, becomes the
//! object that it stands for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{fold, quoted};

/// The object that a `Struct` stands for, as JSON; `None` when this is not a `Struct`. It is written while it is read: no
/// tree is built. The nesting is that of the JSON, which serde_json bounds (128).
pub(super) fn plain(raw: &RawValue) -> Option<String> {
    // Kubernetes' objects have no such member, so nothing else is read twice.
    if !raw.get().contains("\"fields\"") {
        return None;
    }
    let mut json = String::new();
    let reader = &mut serde_json::Deserializer::from_str(raw.get());
    Node { kind: Kind::Struct, before: "", json: &mut json }.deserialize(reader).ok()?;
    Some(json)
}

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `{"fields": …}` and nothing else.
    Struct,
    /// Values by their names.
    Fields,
    /// `{"values": …}` and nothing else.
    List,
    /// Values one after the other.
    Values,
    /// Exactly one of the six kinds, and perhaps the name of it beside.
    Value,
}

/// Something that is written as it is read, behind what stands before it.
struct Node<'o> {
    kind: Kind,
    before: &'static str,
    json: &'o mut String,
}

impl Node<'_> {
    fn inner(&mut self, kind: Kind) -> Node<'_> {
        Node { kind, before: "", json: self.json }
    }

    fn fields<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.json.push('{');
        let mut before = "";
        while let Some(name) = map.next_key::<String>()? {
            self.json.push_str(before);
            self.json.push_str(&quoted(&name));
            self.json.push(':');
            map.next_value_seed(self.inner(Kind::Value))?;
            before = ",";
        }
        self.json.push('}');
        Ok(())
    }

    fn scalar<'de, A: MapAccess<'de>>(self, map: &mut A, is_one: fn(&str) -> bool) -> Result<(), A::Error> {
        let raw: &'de RawValue = map.next_value()?;
        if !is_one(raw.get()) {
            return Err(no_struct());
        }
        self.json.push_str(raw.get());
        Ok(())
    }

    /// The one value of the kind that is called like this.
    fn value<'de, A: MapAccess<'de>>(mut self, kind: &str, map: &mut A) -> Result<(), A::Error> {
        match fold(kind).as_str() {
            "nullvalue" => {
                map.next_value::<IgnoredAny>()?;
                self.json.push_str("null");
                Ok(())
            }
            "numbervalue" => self.scalar(map, |json| json.starts_with(|c: char| c == '-' || c.is_ascii_digit())),
            "stringvalue" => self.scalar(map, |json| json.starts_with('"')),
            "boolvalue" => self.scalar(map, |json| matches!(json, "true" | "false")),
            "structvalue" => map.next_value_seed(self.inner(Kind::Struct)),
            "listvalue" => map.next_value_seed(self.inner(Kind::List)),
            _ => Err(no_struct()),
        }
    }
}

fn no_struct<E: Error>() -> E {
    E::custom("no Struct")
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.kind {
            Kind::Values => deserializer.deserialize_seq(self),
            Kind::Struct | Kind::Fields | Kind::List | Kind::Value => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Struct")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.json.push('[');
        let mut before = "";
        while seq.next_element_seed(Node { kind: Kind::Value, before, json: self.json })?.is_some() {
            before = ",";
        }
        self.json.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.json.push_str(self.before);
        if matches!(self.kind, Kind::Fields) {
            return self.fields(map);
        }
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            match (self.kind, name.as_str()) {
                (Kind::Value, "kind") => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ if found => return Err(no_struct()),
                (Kind::Struct, "fields") => map.next_value_seed(self.inner(Kind::Fields))?,
                (Kind::List, "values") => map.next_value_seed(self.inner(Kind::Values))?,
                (Kind::Value, kind) => self.inner(Kind::Value).value(kind, &mut map)?,
                _ => return Err(no_struct()),
            }
            found = true;
        }
        if found { Ok(()) } else { Err(no_struct()) }
    }
}
