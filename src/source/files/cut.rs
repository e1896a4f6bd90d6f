//! Cuts a stream into documents.

use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memchr2};

use super::EXCERPT_BYTES;
use super::kind::{self, Kind};
use super::window::Window;
use crate::audit::DecodeError;
use crate::audit::forms;
use crate::pipeline::chunk::{Chunk, DOCUMENT_MAX_BYTES, Span};

/// How much of a file its kind is told by: some entries, and many lines of anything else.
const FILE_HEAD_BYTES: usize = 64 << 10;

/// How much of a document is looked at before it is cut: where a page's array begins, and what names an event of the
/// API server's own audit log, are in its first members.
const DOCUMENT_HEAD_BYTES: usize = 1 << 10;

/// Cuts a stream into documents.
pub(super) struct Documents<R> {
    input: Window<R>,
    kind: Kind,
    line: u64,
    /// Inside the array of a page, whose members are the documents.
    in_page: bool,
    /// A refused document stands for all others of its kind, and was handed on.
    refused: bool,
}

impl<R: Read> Documents<R> {
    pub(super) fn new(mut input: Window<R>, named_lines: bool) -> io::Result<Self> {
        if input.head(3)?.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        let kind = kind::of(input.head(FILE_HEAD_BYTES)?, named_lines);
        Ok(Documents { input, kind, line: 1, in_page: false, refused: false })
    }

    /// Appends the next document to the chunk; false at the end.
    pub(super) fn next_into(&mut self, chunk: &mut Chunk) -> io::Result<bool> {
        while self.skip_to_document()? {
            let start = chunk.bytes.len();
            match &self.kind {
                Kind::Other(_) if self.refused => return Ok(false),
                Kind::Other(error) => {
                    let error = error.clone();
                    self.refuse_file(chunk, error)?;
                    return Ok(true);
                }
                Kind::Yaml => {
                    self.take(chunk, None)?;
                    return Ok(true);
                }
                Kind::Lines | Kind::Nested => {}
            }
            let head = self.input.head(DOCUMENT_HEAD_BYTES)?;
            if let Some(array) = forms::begins_a_page(head).filter(|_| !self.in_page) {
                self.pass(array)?;
                self.in_page = true;
                continue;
            }
            let refused = kind::refused_once(head);
            let is_first = refused.is_none() || !std::mem::replace(&mut self.refused, true);
            self.take(chunk, refused)?;
            // Client libraries dump `[entries, null, page]`.
            let is_null = self.kind == Kind::Nested && chunk.bytes.get(start..) == Some(b"null");
            if is_first && !is_null {
                return Ok(true);
            }
            chunk.documents.pop();
            chunk.bytes.truncate(start);
        }
        Ok(false)
    }

    /// Hands on how the file begins, for all of it.
    fn refuse_file(&mut self, chunk: &mut Chunk, error: DecodeError) -> io::Result<()> {
        chunk.bytes.extend_from_slice(self.input.head(EXCERPT_BYTES)?);
        chunk.documents.push(Span { end: chunk.bytes.len(), line: self.line, too_large: None, refused: Some(error) });
        self.refused = true;
        Ok(())
    }

    /// Appends the document that begins here.
    fn take(&mut self, chunk: &mut Chunk, refused: Option<DecodeError>) -> io::Result<()> {
        let (line, start) = (self.line, chunk.bytes.len());
        let mut end = End::new(&self.kind, self.in_page);
        let mut size = 0_u64;
        while let Some(part) = end.next_part(&mut self.input)? {
            let bytes = self.input.peek(1)?.get(..part).unwrap_or_default();
            size += part as u64;
            if size <= DOCUMENT_MAX_BYTES as u64 {
                chunk.bytes.extend_from_slice(bytes);
            }
            self.pass(part)?;
        }
        let too_large = (size > DOCUMENT_MAX_BYTES as u64).then_some(size);
        if too_large.is_some() {
            chunk.bytes.truncate(start + EXCERPT_BYTES);
        }
        while chunk.bytes.len() > start && chunk.bytes.last().is_some_and(u8::is_ascii_whitespace) {
            chunk.bytes.pop();
        }
        chunk.documents.push(Span { end: chunk.bytes.len(), line, too_large, refused });
        Ok(())
    }

    /// Skips what is between documents: space, and the brackets and commas of an array around them.
    fn skip_to_document(&mut self) -> io::Result<bool> {
        loop {
            let (is_nested, in_page) = (self.kind == Kind::Nested, self.in_page);
            let between = |byte: &u8| {
                byte.is_ascii_whitespace()
                    || in_page && *byte == b','
                    || is_nested && matches!(byte, b'[' | b']' | b',')
            };
            let shown = self.input.peek(1)?;
            if shown.is_empty() {
                return Ok(false);
            }
            let stops = |byte: &u8| !between(byte) || in_page && matches!(byte, b'[' | b']');
            let skip = shown.iter().position(stops).unwrap_or(shown.len());
            let stop = shown.get(skip).copied();
            self.pass(skip)?;
            match stop {
                Some(b']') if in_page => self.leave_page()?,
                Some(_) => return Ok(true),
                None => {}
            }
        }
    }

    /// Passes over what a page has behind its array.
    fn leave_page(&mut self) -> io::Result<()> {
        self.pass(1)?;
        self.in_page = false;
        let mut end = End::Brackets { scanner: Scanner { depth: 1, ..Scanner::default() }, is_done: false };
        while let Some(part) = end.next_part(&mut self.input)? {
            self.pass(part)?;
        }
        Ok(())
    }

    fn pass(&mut self, bytes: usize) -> io::Result<()> {
        let passed = self.input.peek(1)?.get(..bytes).unwrap_or_default();
        self.line += memchr_iter(b'\n', passed).count() as u64;
        self.input.consume(bytes);
        Ok(())
    }
}

/// Looks for the end of a document, part by part.
enum End {
    Line {
        is_done: bool,
    },
    Brackets {
        scanner: Scanner,
        is_done: bool,
    },
    /// The line `---`, which belongs to the next one.
    Divider {
        lines: u64,
    },
}

impl End {
    fn new(kind: &Kind, in_page: bool) -> Self {
        match kind {
            Kind::Lines if !in_page => End::Line { is_done: false },
            Kind::Yaml => End::Divider { lines: 0 },
            _ => End::Brackets { scanner: Scanner::default(), is_done: false },
        }
    }

    /// How much of what is shown still belongs to the document; `None` at its end.
    fn next_part(&mut self, input: &mut Window<impl Read>) -> io::Result<Option<usize>> {
        let (is_done, end): (&mut bool, _) = match self {
            End::Line { is_done: true } | End::Brackets { is_done: true, .. } => return Ok(None),
            End::Line { is_done } => (is_done, memchr(b'\n', input.peek(1)?).map(|at| at + 1)),
            End::Brackets { scanner, is_done } => (is_done, scanner.end_in(input.peek(1)?)),
            End::Divider { lines } => return Self::next_line(lines, input),
        };
        *is_done = end.is_some();
        let shown = input.peek(1)?.len();
        Ok(Some(end.unwrap_or(shown)).filter(|&part| part > 0))
    }

    /// A line of YAML, or as much of a longer one as is shown.
    fn next_line(lines: &mut u64, input: &mut Window<impl Read>) -> io::Result<Option<usize>> {
        let shown = input.peek(4)?;
        if shown.is_empty() || *lines > 0 && kind::divides_yaml(shown.get(..4).unwrap_or(shown)) {
            return Ok(None);
        }
        *lines += 1;
        Ok(Some(memchr(b'\n', shown).map_or(shown.len(), |at| at + 1)))
    }
}

/// Follows brackets and strings until the outermost bracket closes.
#[derive(Default)]
pub(super) struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// Where the document ends in this part of it (just behind its last byte), if it does.
    pub(super) fn end_in(&mut self, part: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = part.get(at) {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                // Strings are most of a document, so they are skipped a register at a time.
                at += memchr2(b'"', b'\\', part.get(at..)?)?;
                self.in_string = part.get(at) != Some(&b'"');
                self.escaped = self.in_string;
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    // Something that is neither object nor array ends at its line, or with the array around it.
                    b'\n' | b',' | b']' if self.depth == 0 => return Some(at.max(1)),
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::chunk::Document;

    struct Short<'t>(&'t [u8]);

    impl Read for Short<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let short = buffer.len().min(7);
            self.0.read(&mut buffer[..short])
        }
    }

    fn documents(text: &[u8]) -> Vec<(u64, String)> {
        // Short reads: a document must not depend on where they end.
        let mut documents = Documents::new(Window::new(Short(text)), false).expect("readable");
        let mut chunk = Chunk::new("x".into());
        while documents.next_into(&mut chunk).expect("readable") {}
        let text = |document: Document<'_>| String::from_utf8_lossy(document.bytes).into_owned();
        chunk.documents().map(|document| (document.line, text(document))).collect()
    }

    #[test]
    fn every_form_is_cut_into_its_documents() {
        let two = [(1, r#"{"a":"}\"{"}"#.to_owned()), (2, r#"{"b":[]}"#.to_owned())];
        assert_eq!(documents(b"{\"a\":\"}\\\"{\"}\r\n{\"b\":[]}\n"), two);
        assert_eq!(documents(b"\xef\xbb\xbf[{\"a\":\"}\\\"{\"},\n{\"b\":[]}]"), two);
        assert_eq!(documents(b"{\n \"a\": {}\n}\n{\n}"), [(1, "{\n \"a\": {}\n}".to_owned()), (4, "{\n}".to_owned())]);
        assert_eq!(documents(b" \n\n"), []);
        assert_eq!(documents(b"[1, 2]").len(), 2);
    }

    #[test]
    fn a_broken_line_costs_only_itself() {
        assert_eq!(documents(b"{\"a\":\n{\"b\":1}\n{\"c\":").len(), 3);
        assert_eq!(documents(b"oops\n{\"b\":1}\n"), [(1, "oops".to_owned()), (2, "{\"b\":1}".to_owned())]);
        assert_eq!(documents(b"[{\"a\":1},{\"b\":"), [(1, "{\"a\":1}".to_owned()), (1, "{\"b\":".to_owned())]);
    }
}
