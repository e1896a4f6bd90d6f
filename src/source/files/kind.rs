//! What a file looks like, by how its text begins.

use crate::audit::DecodeError;
use crate::audit::forms;

/// Whether an array of documents begins here. A bracket also begins the lines of many logs: `[2026-11-20 09:00:04] …`.
pub(super) fn begins_an_array(head: &[u8]) -> bool {
    let inner = head.get(1..).unwrap_or_default().trim_ascii_start();
    match inner.first() {
        None | Some(b'{' | b'[' | b']' | b'"') => true,
        _ => scalar(inner).is_some(),
    }
}

/// How long the number or word is that stands here as a value of its own.
pub(super) fn scalar(head: &[u8]) -> Option<usize> {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']');
    let (value, behind) = head.split_at(head.iter().position(is_end).unwrap_or(head.len()));
    let is_followed =
        matches!(behind.trim_ascii_start().first(), None | Some(b',' | b']')) || behind.starts_with(b"\n");
    let is_value = || serde_json::from_slice::<serde_json::Value>(value).is_ok();
    (is_followed && !value.is_empty() && is_value()).then_some(value.len())
}

/// Whether an object begins with the brace here; `None` where too little is shown to tell. A brace is followed by a key in
/// JSON, and by anything in other text.
pub(super) fn begins_object(head: &[u8]) -> Option<bool> {
    let inner = head.strip_prefix(b"{")?.trim_ascii_start();
    inner.first().map(|byte| matches!(byte, b'"' | b'}'))
}

/// The first key of the object here.
pub(super) fn first_key(head: &[u8]) -> Option<&[u8]> {
    let key = head.strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"")?;
    let key = key.get(..KEY_BYTES).unwrap_or(key);
    key.get(..memchr::memchr(b'"', key)?)
}

/// Longest first key by which documents are told to begin alike. Those of log entries have up to 21 characters.
const KEY_BYTES: usize = 64;

/// Whether the text that begins here is YAML of log entries. Where JSON goes on below it, only the lines before it count.
pub(super) fn begins_yaml(head: &[u8]) -> bool {
    let lines = || head.split_inclusive(|&byte| byte == b'\n');
    let text: usize = lines().take_while(|line| !matches!(line.first(), Some(b'{' | b'[' | 0))).map(<[u8]>::len).sum();
    let text = whole_characters(head.get(..text).unwrap_or_default());
    std::str::from_utf8(text).is_ok_and(forms::begins_yaml)
}

/// How far from the left the documents of a file begin, of which only the rest of one is at its beginning: as far as the
/// leftmost brace that begins a line. Anywhere, where none does.
pub(super) fn margin(head: &[u8]) -> usize {
    let indent = |line: &[u8]| line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    lines.filter(|line| line.trim_ascii_start().starts_with(b"{")).map(indent).min().unwrap_or(usize::MAX)
}

/// Why a file that begins with this is refused unread: what some documents in an archive look like is none of ours.
pub(super) fn archive(head: &[u8]) -> Option<DecodeError> {
    let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    known.or_else(|| is_tar.then_some("a tar archive")).map(form)
}

/// Why a file is refused in which nothing could be read, by how it begins.
pub(super) fn of_nothing(head: &[u8]) -> DecodeError {
    // No text has a zero character.
    if memchr::memchr(0, head).is_some() {
        return form("a binary file");
    }
    form(std::str::from_utf8(whole_characters(head)).map_or("text in an encoding that is not UTF-8", looks_like))
}

/// Whether text that is not JSON is nothing that has a name: one line, such as is left of a document.
pub(super) fn is_a_word(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    std::str::from_utf8(text).is_ok_and(|text| looks_like(text) == TEXT) && lines.nth(1).is_none()
}

/// Why zeros are refused. A crash, or a log that was emptied under its writer, leaves them.
pub(super) fn hole(size_bytes: usize) -> DecodeError {
    form(&format!("a hole of {size_bytes} zero bytes"))
}

/// Why the end of a document is refused that seems to be one itself.
pub(super) fn rest() -> DecodeError {
    form("the end of a document whose beginning is cut off")
}

/// Why brackets are refused that have no counterpart.
pub(super) fn cut_array(ended_unbegun: bool) -> DecodeError {
    form(if ended_unbegun { "the end of an array whose beginning is cut off" } else { "an array whose end is cut off" })
}

fn form(name: &str) -> DecodeError {
    DecodeError::Form { form: name.to_owned(), remedy: forms::REMEDY }
}

/// What nothing more can be told of.
const TEXT: &str = "text that is not JSON";

/// What some begin with that is no text, or text that only looks like lines.
const MAGIC: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"%PDF-", "a PDF"),
    (b"BZh", "a file that bzip2 compressed"),
    (b"\xfd7zXZ\0", "a file that xz compressed"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x04\x22\x4d\x18", "a file that lz4 compressed"),
    (b"\xff\x06\0\0sNaPpY", "a file that Snappy compressed"),
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "a picture"),
    (b"\x7fELF", "a program"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\xff\xfe\0\0", "text in UTF-32"),
    (b"\0\0\xfe\xff", "text in UTF-32"),
];

/// The beginning without a last character that is cut off inside.
fn whole_characters(head: &[u8]) -> &[u8] {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => head.get(..error.valid_up_to()).unwrap_or_default(),
        _ => head,
    }
}

fn looks_like(text: &str) -> &'static str {
    let start: String = text.trim_start().chars().take(256).collect::<String>().to_ascii_lowercase();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let fields = |line: Option<&str>, separator| line.map_or(0, |line| line.matches(separator).count());
    let (first, second) = (lines.next(), lines.next());
    let is_table = |separator| fields(first, separator) > 0 && fields(second, separator) >= fields(first, separator);
    if start.starts_with("<!doctype html") || start.contains("<html") {
        "an HTML page"
    } else if start.starts_with("{\"") || start.starts_with("[{") {
        "JSON of which no document is whole"
    } else if start.starts_with('<') {
        "XML"
    } else if start.starts_with("---") || start.starts_with("apiversion:") || start.starts_with("kind:") {
        "YAML that holds no log entries"
    } else if is_table(',') {
        "CSV"
    } else if is_table('\t') {
        "a table with tabs"
    } else {
        TEXT
    }
}

/// Whether a line of YAML begins the next document.
pub(super) fn divides_yaml(line: &[u8]) -> bool {
    line.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}
