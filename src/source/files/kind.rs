//! What a file looks like, by how its text begins.

use crate::audit::DecodeError;
use crate::audit::forms;

/// How a file is cut into documents.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Every line is a document, whatever it holds.
    Lines,
    /// Documents end where their brackets close; they may be the members of an array.
    Nested,
    /// Documents end before the next line `---`.
    Yaml,
    /// Nothing in it can be read: one document, refused.
    Other(DecodeError),
}

/// Tells a file's kind by its beginning. A file that is named after lines is cut into lines, if its first is JSON.
pub(super) fn of(head: &[u8], named_lines: bool) -> Kind {
    let text = head.trim_ascii_start();
    match text.first() {
        None => Kind::Lines,
        Some(b'{') if named_lines => Kind::Lines,
        Some(b'{') => object_or_lines(text),
        Some(b'[') if named_lines => Kind::Lines,
        Some(b'[') if begins_an_array(text) => Kind::Nested,
        Some(b'"') => Kind::Lines,
        _ => no_json(head),
    }
}

/// Tells NDJSON from one document over many lines.
fn object_or_lines(text: &[u8]) -> Kind {
    let Some(end) = memchr::memchr(b'\n', text) else { return Kind::Nested };
    let (first, rest) = text.split_at(end);
    // A broken first line must not swallow the others: no formatter puts an inner brace at the start of a line.
    let next_is_a_document = rest.iter().find(|byte| !matches!(byte, b'\n' | b'\r')) == Some(&b'{');
    let is_whole = super::cut::Scanner::default().end_in(first).is_some();
    if is_whole || next_is_a_document { Kind::Lines } else { Kind::Nested }
}

/// A bracket also begins the lines of many logs: `[2026-11-20 09:00:04] …`.
fn begins_an_array(text: &[u8]) -> bool {
    let inner = text.get(1..).unwrap_or_default().trim_ascii_start();
    match inner.first() {
        None | Some(b'{' | b'[' | b']' | b'"') => true,
        _ => {
            let end = inner.iter().position(|byte| matches!(byte, b',' | b']' | b'\n')).unwrap_or(inner.len());
            inner.get(..end).is_some_and(|value| serde_json::from_slice::<serde_json::Value>(value).is_ok())
        }
    }
}

fn no_json(head: &[u8]) -> Kind {
    if let Some(name) = magic(head) {
        return other(name);
    }
    let Ok(text) = std::str::from_utf8(whole_characters(head)) else {
        return text_or_lines(head, "text in an encoding that is not UTF-8");
    };
    if forms::begins_yaml(text) {
        return Kind::Yaml;
    }
    text_or_lines(head, looks_like(text))
}

/// One broken line among others costs only itself; but where no line at all is JSON, they are no log entries.
fn text_or_lines(head: &[u8], name: &'static str) -> Kind {
    let lines = || head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let is_json =
        |line: &[u8]| line.starts_with(b"{\"") || line.starts_with(b"[{") || line.starts_with(b"\"{") || line == b"{";
    let is_a_word = name == TEXT && lines().nth(1).is_none();
    if is_a_word || lines().any(is_json) { Kind::Lines } else { other(name) }
}

fn other(name: &str) -> Kind {
    Kind::Other(DecodeError::Form { form: name.to_owned(), remedy: forms::REMEDY })
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

fn magic(head: &[u8]) -> Option<&'static str> {
    let known = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
    // No text has a zero character.
    let is_binary = || memchr::memchr(0, head).is_some();
    known.or_else(|| is_tar.then_some("a tar archive")).or_else(|| is_binary().then_some("a binary file"))
}

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

/// Whether a document that begins like this is refused with all others of its kind in the file.
pub(super) fn refused_once(head: &[u8]) -> Option<DecodeError> {
    forms::begins_a_kubernetes_event(head).then(forms::kubernetes_event)
}

/// Whether a line of YAML begins the next document.
pub(super) fn divides_yaml(line: &[u8]) -> bool {
    line.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}
