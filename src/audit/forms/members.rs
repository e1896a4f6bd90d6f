//! A JSON object as it lies there: its values stay text, so that no number is rounded and no nesting is followed.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::SEVERAL_MAX;
use crate::audit::DecodeError;

/// Most members that an object may have: an entry has some twenty, a table a column for each, and an entry's labels are
/// at most 64. Each costs many times what its few letters do.
const MEMBERS_MAX: usize = 1_000;

/// The members of an object, in order.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// Reads an object. `None` when this is something else, or has more than [`MEMBERS_MAX`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Reads an object, or a text that holds one: JSON columns of a query come as texts.
    pub(super) fn of(raw: &RawValue) -> Option<Self> {
        match text(raw) {
            Some(inner) => Members::parse(&inner),
            None => Members::parse(raw.get()),
        }
    }

    /// A member by its name as it is written.
    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.iter().find(|(key, _)| *key == name).map(|(_, raw)| raw)
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// A member by its name in lower case and without underscores, as [`fold`] makes it.
    pub(super) fn folded(&self, name: &str) -> Option<&RawValue> {
        self.iter().find(|(key, _)| fold(key) == name).map(|(_, raw)| raw)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, raw)| (key.as_str(), &**raw))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// The members of an array as they lie there: the first [`SEVERAL_MAX`], and how many there are.
#[derive(Debug, Default)]
pub(super) struct Array<'a> {
    pub(super) first: Vec<&'a RawValue>,
    pub(super) count: usize,
}

impl<'a> Array<'a> {
    /// Reads an array. `None` when this is something else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Array<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ArrayVisitor)
    }
}

struct ArrayVisitor;

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Array<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Array<'de>, A::Error> {
        let mut array = Array::default();
        while let Some(member) = seq.next_element()? {
            array.count += 1;
            if array.count <= SEVERAL_MAX {
                array.first.push(member);
            }
        }
        Ok(array)
    }
}

/// The text that a JSON value is.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Whether a value is there in name only.
pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// A name without what tells `methodName`, `method_name` and `methodname` apart.
pub(super) fn fold(name: &str) -> String {
    name.chars().filter(|&c| c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// JSON of an object with these members, whose values are JSON. Of two with one name the first stays: the parser
/// refuses an object in which a name stands twice.
pub(super) fn json<'m>(members: impl IntoIterator<Item = (&'m str, &'m str)>) -> String {
    let mut json = String::from("{");
    let mut seen = BTreeSet::new();
    for (name, value) in members {
        if !seen.insert(name) {
            continue;
        }
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quoted(name));
        json.push(':');
        json.push_str(value);
    }
    json.push('}');
    json
}

/// JSON of an object under other names: of the members that are in `names`, those of which `value` makes something.
pub(super) fn object(
    members: &Members,
    names: &[(&str, &'static str)],
    value: impl Fn(&str, &RawValue) -> Result<Option<String>, DecodeError>,
) -> Result<String, DecodeError> {
    let mut pairs = Vec::new();
    for (name, raw) in members.iter() {
        let folded = fold(name);
        let Some((_, name)) = names.iter().find(|(known, _)| *known == folded) else { continue };
        if let Some(value) = value(name, raw)?.filter(|value| value != "null") {
            pairs.push((*name, value));
        }
    }
    Ok(json(pairs.iter().map(|(name, value)| (*name, value.as_str()))))
}

/// JSON of a text.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The members that an object begins with, as far as this much of it shows: key, and what is from its value on. Texts
/// and scalars are passed; behind an array or an object nothing more is looked for.
pub(super) fn beginning(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head.trim_ascii_start().strip_prefix(b"{");
    std::iter::from_fn(move || {
        let (key, behind) = string(rest?.trim_ascii_start())?;
        let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let behind_value = match value.first()? {
            b'"' => string(value).map(|(_, behind)| behind),
            b'{' | b'[' => None,
            _ => value.iter().position(|byte| matches!(byte, b',' | b'}')).and_then(|end| value.get(end..)),
        };
        rest = behind_value.and_then(|behind| behind.trim_ascii_start().strip_prefix(b","));
        Some((key, value))
    })
}

/// A string at the start of this, without its quotes, and what is behind it.
fn string(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = head.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body.get(at) == Some(&b'"') {
            return Some((body.get(..at)?, body.get(at + 1..)?));
        }
        at += 2;
    }
}
