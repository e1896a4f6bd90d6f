//! One answer of `entries.list`, read while it comes: entry by entry, so that memory does not depend on how long it is.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::pipeline::chunk::DOCUMENT_MAX_BYTES;

/// Read size: large enough that taking over from the network does not show.
const READ_BYTES: usize = 64 << 10;

/// Hands on each entry of a page, as it stands there, until `take` returns false. Returns the token of the next page; there
/// may be one though the page is empty.
///
/// # Errors
/// When the answer is cut, is no page, or holds an entry longer than [`DOCUMENT_MAX_BYTES`]. What was handed on is whole.
pub(super) fn read(body: impl Read, mut take: impl FnMut(&str) -> bool) -> Result<Option<String>, serde_json::Error> {
    let room_bytes = Cell::new(DOCUMENT_MAX_BYTES);
    let bounded = Bounded { input: body, room_bytes: &room_bytes };
    let mut answer = serde_json::Deserializer::from_reader(BufReader::with_capacity(READ_BYTES, bounded));
    let page = Page {
        take: |entry: &str| {
            room_bytes.set(DOCUMENT_MAX_BYTES);
            take(entry)
        },
    };
    let token = page.deserialize(&mut answer)?;
    answer.end()?;
    Ok(token.filter(|token| !token.is_empty()))
}

/// An input of which only so much may be read between two entries.
struct Bounded<'c, R> {
    input: R,
    room_bytes: &'c Cell<usize>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let left = self.room_bytes.get().checked_sub(read);
        let too_long = || io::Error::other(format!("an entry is longer than {DOCUMENT_MAX_BYTES} bytes"));
        self.room_bytes.set(left.ok_or_else(too_long)?);
        Ok(read)
    }
}

struct Page<F> {
    take: F,
}

impl<'de, F: FnMut(&str) -> bool> DeserializeSeed<'de> for Page<F> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, answer: D) -> Result<Self::Value, D::Error> {
        answer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str) -> bool> Visitor<'de> for Page<F> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of entries")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut token = None;
        while let Some(key) = members.next_key::<String>()? {
            match key.as_str() {
                "entries" => members.next_value_seed(Entries { take: &mut self.take })?,
                "nextPageToken" => token = members.next_value()?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(token)
    }
}

struct Entries<'t, F> {
    take: &'t mut F,
}

impl<'de, F: FnMut(&str) -> bool> DeserializeSeed<'de> for Entries<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, entries: D) -> Result<(), D::Error> {
        entries.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&str) -> bool> Visitor<'de> for Entries<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Box<RawValue>>()? {
            if !(self.take)(entry.get()) {
                return Err(A::Error::custom("nobody takes more"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(body: &str) -> (Vec<String>, Result<Option<String>, String>) {
        let mut entries = Vec::new();
        let read = read(body.as_bytes(), |entry| {
            entries.push(entry.to_owned());
            true
        });
        (entries, read.map_err(|error| error.to_string()))
    }

    #[test]
    fn a_page_is_its_entries_and_the_token_of_the_next() {
        let entry = r#"{"insertId":"a","protoPayload":{"x":[{},"]}"]}}"#;
        let token = Ok(Some("t".to_owned()));
        assert_eq!(entries(&format!(r#"{{"entries":[{entry},{{}}],"nextPageToken":"t"}}"#)).0, [entry, "{}"]);
        assert_eq!(entries(&format!(r#"{{"nextPageToken":"t","new":{{}},"entries":[{entry}]}}"#)).1, token);
        assert_eq!(entries(r#"{"nextPageToken":"t"}"#), (vec![], token));
        for last in ["{}", r#"{"entries":[]}"#, r#"{"nextPageToken":""}"#] {
            assert_eq!(entries(last), (vec![], Ok(None)), "{last}");
        }
    }

    #[test]
    fn a_page_that_is_cut_or_none_hands_on_only_what_is_whole() {
        let page = r#"{"entries":[{"a":1},{"b":2}],"nextPageToken":"t"}"#;
        for cut in 0..page.len() {
            let (entries, read) = entries(&page[..cut]);
            assert!(read.is_err() && entries.iter().all(|entry| page.contains(entry.as_str())), "{cut}: {entries:?}");
        }
        for none in ["<html>", "[]", r#"{"entries":null}"#, r#"{"entries":[]} {}"#] {
            assert!(entries(none).1.is_err(), "{none}");
        }
    }

    #[test]
    fn a_page_may_be_long_and_an_entry_may_not() {
        let entry = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
        let (found, read) = entries(&format!("{{\"entries\":[{}]}}", [entry.as_str(); 5].join(",")));
        assert_eq!((found.len(), read), (5, Ok(None)));
        let (found, read) = entries(&format!("{{\"entries\":[{{\"a\":\"{}\"}}]}}", "x".repeat(17 << 20)));
        assert!(found.is_empty() && read.is_err_and(|error| error.contains("longer than 16777216 bytes")));
    }
}
