//! One macro for the names of an enum: what tables, reports and the configuration call its values.

use std::fmt;

/// An enum whose values have names.
pub trait Named: Copy + Eq + 'static {
    /// All of them, in the order in which they are listed.
    const ALL: &'static [Self];

    /// The name used in tables, reports and the configuration.
    fn as_str(self) -> &'static str;

    /// The value of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == name)
    }
}

/// A name that none of an enum's values has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// What was given.
    pub name: String,
    /// What there is.
    pub known: Vec<&'static str>,
}

impl UnknownName {
    pub(crate) fn of<T: Named>(name: &str) -> Self {
        UnknownName { name: name.to_owned(), known: T::ALL.iter().map(|value| value.as_str()).collect() }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not known; expected one of {}", self.name, self.known.join(", "))
    }
}

impl std::error::Error for UnknownName {}

/// An enum with names as documents hold it, for `#[serde(with = "crate::names::text")]`.
pub(crate) mod text {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use super::{Named, UnknownName};

    pub(crate) fn serialize<T: Named, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.as_str())
    }

    pub(crate) fn deserialize<'de, T: Named, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let name = String::deserialize(deserializer)?;
        T::from_name(&name).ok_or_else(|| D::Error::custom(UnknownName::of::<T>(&name)))
    }
}

/// Declares an enum with a name for each value: [`Named`], `Display` and `FromStr`.
macro_rules! named {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility enum $name { $($(#[$value_meta])* $value,)+ }

        impl $crate::names::Named for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)+];
            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad($crate::names::Named::as_str(*self))
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::names::UnknownName;
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                $crate::names::Named::from_name(name).ok_or_else(|| $crate::names::UnknownName::of::<Self>(name))
            }
        }
    };
}

pub(crate) use named;
