//! Serde building blocks for bodies whose shape nobody promised.
//!
//! An audit entry may be about any resource of any API, so a field that pedwatch reads in a Deployment may hold
//! something else entirely in another object. [`Lenient`] types therefore never fail on an unexpected type: they take
//! what fits, skip what does not, and leave the judgement to the code that knows what the entry is about.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a type makes of whichever JSON value it meets. What it does not care for is skipped and becomes the default.
pub(crate) trait Lenient<'de>: Default {
    /// Takes a string, number, boolean or null.
    fn from_scalar(_: Scalar<'de>) -> Self {
        Self::default()
    }

    /// Takes an array. Must read it to its end.
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    /// Takes an object. Must read it to its end.
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// A JSON value that is neither array nor object.
pub(crate) enum Scalar<'de> {
    Null,
    Bool(bool),
    Whole(i64),
    /// A fraction, or a number beyond 64 bits.
    Float(f64),
    Text(Cow<'de, str>),
}

/// Deserializes a [`Lenient`] type; fails only where the input is not JSON.
pub(crate) fn lenient<'de, T: Lenient<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(LenientVisitor(PhantomData))
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for LenientVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::from_scalar(Scalar::Null))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Ok(T::from_scalar(Scalar::Bool(value)))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Ok(T::from_scalar(Scalar::Whole(value)))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Ok(T::from_scalar(i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Whole)))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Ok(T::from_scalar(whole_from_float(value).map_or(Scalar::Float(value), Scalar::Whole)))
    }
    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<T, E> {
        Ok(T::from_scalar(Scalar::Text(value.into())))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        Ok(T::from_scalar(Scalar::Text(value.to_owned().into())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}

fn whole_from_float(float: f64) -> Option<i64> {
    // 2^53: above it a float no longer tells neighbouring integers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

/// A string, borrowed from the input where it has no escapes. A whole number counts as its digits, a boolean as its name.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text, unless it is missing or empty.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The text, unless it is missing.
    pub(crate) fn get_even_empty(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de> Lenient<'de> for Text<'de> {
    fn from_scalar(scalar: Scalar<'de>) -> Self {
        Text(match scalar {
            Scalar::Text(text) => Some(text),
            Scalar::Whole(whole) => Some(whole.to_string().into()),
            Scalar::Bool(value) => Some(if value { "true" } else { "false" }.into()),
            Scalar::Null | Scalar::Float(_) => None,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Text<'de>, D>(deserializer)
    }
}

/// A number as Logging writes it: an integer, an integral float or a numeric string.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Number<'a> {
    /// No such key.
    #[default]
    Absent,
    /// An explicit `null`, which in a merge patch means "delete".
    Null,
    /// A whole number, whichever way it was written.
    Whole(i64),
    /// Anything else, kept for the error message.
    Bad(Cow<'a, str>),
}

impl Number<'_> {
    /// The whole number, if it is one.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Number::Whole(whole) => Some(*whole),
            _ => None,
        }
    }

    /// The whole number, if it is one that Kubernetes counts with: an int32 that is not negative. So nothing that is
    /// calculated from it overflows, here or in SQL.
    pub(crate) fn counting(&self) -> Option<i64> {
        self.whole().filter(|whole| (0..=i64::from(i32::MAX)).contains(whole))
    }
}

impl<'de> Lenient<'de> for Number<'de> {
    fn from_scalar(scalar: Scalar<'de>) -> Self {
        match scalar {
            Scalar::Null => Number::Null,
            Scalar::Whole(whole) => Number::Whole(whole),
            Scalar::Bool(value) => Number::Bad(value.to_string().into()),
            Scalar::Float(value) => Number::Bad(value.to_string().into()),
            Scalar::Text(text) => text
                .parse()
                .ok()
                .or_else(|| text.parse().ok().and_then(whole_from_float))
                .map_or(Number::Bad(text), Number::Whole),
        }
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        Skipped::from_seq(seq).map(|Skipped| Number::Bad("an array".into()))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Skipped::from_map(map).map(|Skipped| Number::Bad("an object".into()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::<Number<'de>, D>(deserializer)
    }
}

/// Takes nothing: the trait's own skipping, for types that replace only what comes of it.
#[derive(Default)]
struct Skipped;

impl Lenient<'_> for Skipped {}

/// What the texts of an array come to, one after the other: none of them is kept.
pub(crate) trait OfTexts: Default {
    /// Takes the next one. Empty ones are passed over.
    fn take(&mut self, text: &str);
}

/// The texts of an array; anything but an array has none.
#[derive(Debug, Default)]
pub(crate) struct Texts<T>(pub(crate) T);

impl<'de, T: OfTexts> Lenient<'de> for Texts<T> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut texts = T::default();
        while let Some(member) = seq.next_element::<Text<'de>>()? {
            member.get().into_iter().for_each(|text| texts.take(text));
        }
        Ok(Texts(texts))
    }
}

impl<'de, T: OfTexts> Deserialize<'de> for Texts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

/// An object read as `T`; `None` for any other type.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for Maybe<T> {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Maybe(Some(object)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

/// A member that is an object, where one is there at all.
#[derive(Debug, Default)]
pub(crate) enum Member<T> {
    /// There is no such key, or it is `null`.
    #[default]
    Absent,
    /// An object.
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
