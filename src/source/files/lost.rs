//! What is broken: where the next document begins in it, and what of it can be read.

use memchr::memchr_iter;
use serde::de::IgnoredAny;

use super::kind;
use crate::audit::forms;

/// Whether something can be read here: an object that holds something, or a text of one. By its brackets alone, noise may
/// seem to be one.
pub(super) fn is_readable(document: &[u8]) -> bool {
    let is_object = |text: &[u8]| kind::first_key(text).is_some() && serde_json::from_slice::<IgnoredAny>(text).is_ok();
    is_object(document) || serde_json::from_slice::<String>(document).is_ok_and(|text| is_object(text.as_bytes()))
}

/// Whether what seems whole by its brackets is some documents, the first of them broken. Only what seems to hold another
/// one is worth the parsing that tells it from one in which objects are alike.
pub(super) fn is_of_several(document: &[u8], key: &[u8]) -> bool {
    begins_inside(document, key).next().is_some() && serde_json::from_slice::<IgnoredAny>(document).is_err()
}

/// Longest entry that Logging takes is 512 KiB: what goes on for longer is no part of one.
pub(super) const ENTRY_MAX_BYTES: usize = 1 << 20;

/// Where the next document begins in a stretch that is broken, and so many bytes long; what is shown goes on behind it. What an
/// entry says may hold objects that look like entries, and are none: so what stands behind the next one has to tell that it
/// is a neighbour, and not a part.
pub(super) fn next_document(shown: &[u8], bytes: usize, key: &[u8]) -> Option<usize> {
    let mut refused = 0;
    begins_inside(shown.get(..bytes).unwrap_or(shown), key).find(|&at| {
        if at < refused {
            return false;
        }
        let before = shown.get(..at).unwrap_or_default();
        // JSON has neither zeros nor one object right behind another.
        if before.last() == Some(&0) || before.trim_ascii_end().ends_with(b"}") {
            return true;
        }
        let (is_neighbour, end) = follow_neighbours(shown, at, key);
        refused = end;
        is_neighbour
    })
}

/// Follows whole documents from here on, each behind a comma, to what ends them: whether that is what ends the array of a file
/// or a page, and how far it was followed.
fn follow_neighbours(shown: &[u8], at: usize, key: &[u8]) -> (bool, usize) {
    let mut end = at;
    while end - at <= ENTRY_MAX_BYTES {
        let Some(bytes) = first_value(shown.get(end..).unwrap_or_default()) else { return (false, end + 1) };
        end += bytes;
        let next = match shown.get(end..).unwrap_or_default().trim_ascii_start().split_first() {
            Some((b',', next)) => next.trim_ascii_start(),
            Some((b']', rest)) => return (ends_around(rest), end),
            _ => return (ends_a_line(shown, at, end), end),
        };
        match kind::first_key(next) {
            _ if next.is_empty() => return (true, end),
            Some(found) if found == key || forms::ENTRY_KEYS.contains(&found) => end = shown.len() - next.len(),
            _ => return (false, end),
        }
    }
    (true, end)
}

/// Whether the array that has ended is all that was open, or stands in an object that ends behind it, as in a page.
fn ends_around(rest: &[u8]) -> bool {
    let is_all = |rest: &[u8]| !matches!(rest.trim_ascii_start().first(), Some(b'}' | b']' | b',' | b':'));
    let page = || [b"{\"\":0", rest.trim_ascii_start()].concat();
    let ends_a_page = |page: &[u8]| first_value(page).is_some_and(|end| is_all(page.get(end..).unwrap_or_default()));
    is_all(rest) || ends_a_page(&page())
}

/// Whether a document has a line to itself, but for what somebody wrote before it.
fn ends_a_line(shown: &[u8], at: usize, end: usize) -> bool {
    let before = shown.get(..at).unwrap_or_default().trim_ascii_end().last();
    let behind = shown.get(end..).unwrap_or_default().iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
    matches!(behind, None | Some(b'\n')) && !matches!(before, Some(b',' | b'[' | b':' | b'{'))
}

/// Whether what stands first here is inside of a document whose beginning is cut off: behind it, and behind what the list has
/// besides, something goes on that only an object has.
pub(super) fn is_inside(shown: &[u8]) -> bool {
    let mut rest = shown;
    let mut is_listed = false;
    while let Some(bytes) = first_value(rest) {
        let behind = rest.get(bytes..).unwrap_or_default().trim_ascii_start();
        let next = match behind.strip_prefix(b"]") {
            Some(behind) if ends_around(behind) => return false,
            Some(behind) => {
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b']';
                behind.iter().position(|byte| !is_end(byte)).and_then(|at| behind.get(at..)).unwrap_or_default()
            }
            None => behind,
        };
        is_listed |= next.len() < behind.len();
        match next.split_first() {
            Some((b',', next)) => (rest, is_listed) = (next, true),
            Some((b'}', _)) => return next.len() < behind.len(),
            Some((b':', _)) => return is_listed,
            _ => return false,
        }
    }
    false
}

/// How long the JSON value is that stands first in this text.
pub(super) fn first_value(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// Where documents seem to begin inside of what begins as one: behind zeros, or where a member of an array or a line begins
/// with the same key as the last one, or with one that log entries begin with.
fn begins_inside(lost: &[u8], key: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'{', lost).skip_while(|at| *at == 0).filter(move |&at| {
        let Some(found) = lost.get(at..).and_then(kind::first_key) else { return false };
        let before = lost.get(..at).unwrap_or_default();
        match before.trim_ascii_end().last() {
            _ if before.last() == Some(&0) => true,
            // A value, or what somebody wrote before each line.
            Some(b':') if !begins_a_line(before) => false,
            Some(b',' | b'}') if found == key => true,
            _ => forms::ENTRY_KEYS.contains(&found),
        }
    })
}

fn begins_a_line(before: &[u8]) -> bool {
    before.iter().rfind(|byte| !matches!(byte, b' ' | b'\t')).is_none_or(|byte| *byte == b'\n')
}

/// A document without what stands between it and the next one.
pub(super) fn bare(document: &[u8]) -> &[u8] {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']' | 0);
    let end = document.iter().rposition(|byte| !is_between(byte)).map_or(0, |last| last + 1);
    let bare = document.get(..end).unwrap_or_default();
    if bare.ends_with(b"}") { bare } else { document.trim_ascii_end() }
}
