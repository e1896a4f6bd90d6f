//! Cuts a stream into documents: which these are is told by the bytes alone, document for document, wherever reads end.
//!
//! A document that is broken is handed on as it lies there, up to where the next one begins (see [`super::scan`]), so that
//! it costs only itself. Where brackets and lines tell nothing, as in an array on one line, documents are recognised by how
//! they begin: alike, or as log entries do.

use std::io::{self, Read};

use memchr::{memchr_iter, memrchr};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::kind;
use super::lost::{ENTRY_MAX_BYTES, bare, first_value, is_inside, is_of_several, is_readable, next_document};
use super::scan::{Found, Scan};
use super::window::Window;
use super::{CHUNK_BYTES, CHUNK_DOCUMENTS, EXCERPT_BYTES};
use crate::audit::{DecodeError, forms};
use crate::pipeline::chunk::{Chunk, DOCUMENT_MAX_BYTES, Span};

/// How much of a text is looked at to tell whether it is YAML of log entries, and how far from the left documents begin.
const TEXT_HEAD_BYTES: usize = 64 << 10;

/// How much of a document is looked at before it is cut: where a page's array begins, and what names an event of the
/// API server's own audit log, are in its first members.
const DOCUMENT_HEAD_BYTES: usize = 1 << 10;

/// How much is looked at behind a document: what follows a comma there may stand on another line, indented.
const BEHIND_BYTES: usize = 256;

/// Longest rest of a page behind its array. There is a token in it.
const PAGE_REST_BYTES: usize = 4 << 10;

/// Cuts a stream into documents.
pub(super) struct Documents<R> {
    input: Window<R>,
    line: u64,
    size_bytes: u64,
    /// How much of the present line is passed, and where its first character stood.
    column: usize,
    first_column: Option<usize>,
    /// Arrays that are open around the documents.
    arrays: usize,
    /// An array ended that had not begun.
    ended_unbegun: bool,
    /// Inside the array of a page, whose members are the documents.
    in_page: bool,
    /// How far from the left the last document began.
    margin: Option<usize>,
    /// The first key of the last document.
    key: Vec<u8>,
    /// How long the stretch is that is broken, in which documents may lie.
    lost: Option<usize>,
    is_yaml: bool,
    /// A refused document stands for all others of its kind, and was handed on.
    refused: bool,
    file: File,
}

/// What is known of the file as a whole.
#[derive(Default)]
struct File {
    /// How it begins, and on which line.
    beginning: Vec<u8>,
    line: u64,
    /// What it is in all, as far as nothing in it could be read: others may begin alike.
    all: Fingerprint,
    /// It holds a document that is whole, so that what is broken in it is broken by itself.
    is_readable: bool,
    /// Nothing in it could be read so far, which is still to be handed on.
    is_refused: bool,
    /// It holds what is no JSON, and more than a word of it.
    holds_text: bool,
    /// It holds something that is broken.
    holds_broken: bool,
}

/// What tells one stretch of bytes from others that begin alike.
#[derive(Default)]
struct Fingerprint {
    size_bytes: u64,
    digest: Sha256,
}

impl Fingerprint {
    fn add(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }

    /// As text behind what is shown of the stretch.
    fn text(self) -> String {
        format!(" … {} bytes in all, SHA-256 {}", self.size_bytes, hex::encode(self.digest.finalize()))
    }
}

/// How far a document goes.
enum Extent {
    Whole(usize),
    Broken(usize),
    /// Longer than any document may be.
    Long,
}

impl<R: Read> Documents<R> {
    pub(super) fn new(input: Window<R>) -> Self {
        Documents {
            input,
            line: 1,
            size_bytes: 0,
            column: 0,
            first_column: None,
            arrays: 0,
            ended_unbegun: false,
            in_page: false,
            margin: None,
            key: Vec::new(),
            lost: None,
            is_yaml: false,
            refused: false,
            file: File::default(),
        }
    }

    /// Why the stream ended before its end; once.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.input.failure()
    }

    /// Fills a chunk with the next documents; false when there are no more. A file in which nothing can be read is one
    /// document, refused; that it is one is told by a chunk of it, or by its end.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> bool {
        let mut is_more = true;
        while is_more && chunk.bytes.len() < CHUNK_BYTES && chunk.documents.len() < CHUNK_DOCUMENTS {
            is_more = self.next_into(chunk);
        }
        let File { is_readable, is_refused, holds_text, holds_broken, .. } = self.file;
        let is_nothing = is_refused || holds_text || holds_broken && chunk.documents.len() > 1;
        if !is_readable && is_nothing && !chunk.documents.is_empty() {
            self.file.is_refused = true;
            chunk.documents.clear();
            chunk.bytes.clear();
        }
        if self.file.is_refused && (is_readable || !is_more) {
            self.hand_on_file(chunk);
        }
        is_more
    }

    /// Hands on how the file begins, for all of it that could not be read; once, when that is known.
    fn hand_on_file(&mut self, chunk: &mut Chunk) {
        let File { beginning, line, all, .. } = &mut self.file;
        let all = std::mem::take(all);
        chunk.bytes.extend_from_slice(beginning.trim_ascii_end());
        if all.size_bytes > beginning.len() as u64 {
            chunk.bytes.extend_from_slice(all.text().as_bytes());
        }
        let refused = Some(kind::archive(beginning).unwrap_or_else(|| kind::of_nothing(beginning)));
        chunk.documents.push(Span { end: chunk.bytes.len(), line: *line, too_large: None, refused });
        self.file.is_refused = false;
    }

    /// Appends what comes next to the chunk, if it is a document; false at the end.
    fn next_into(&mut self, chunk: &mut Chunk) -> bool {
        if let Some(bytes) = self.lost.take() {
            self.cut_lost(bytes, chunk);
            return true;
        }
        if !self.skip() {
            self.hand_on_open(chunk);
            return false;
        }
        if self.file.line == 0 {
            let beginning = self.input.head(EXCERPT_BYTES).to_vec();
            self.file = File { beginning, line: self.line, ..File::default() };
            if kind::archive(&self.file.beginning).is_some() {
                self.pass_all();
                self.file.is_refused = true;
                return false;
            }
        }
        let is_member = self.is_member();
        let head = self.input.head(DOCUMENT_HEAD_BYTES);
        match head.first() {
            Some(b'{') if kind::begins_object(head) != Some(false) => self.object(chunk),
            Some(b'"') => self.json(None, chunk),
            Some(0) => self.hole(chunk),
            _ => match kind::scalar(head).filter(|_| is_member) {
                // Client libraries dump `[entries, null, page]`.
                Some(bytes) if head.starts_with(b"null") => self.pass(bytes),
                Some(bytes) => self.hand_on(bytes, None, chunk),
                None => self.text(chunk),
            },
        }
        true
    }

    fn is_member(&self) -> bool {
        self.arrays > 0 || self.in_page
    }

    /// Skips what is between documents: space, and the commas and brackets of arrays around them. False at the end.
    fn skip(&mut self) -> bool {
        loop {
            let shown = self.input.peek(1);
            let skip = shown.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b',');
            match skip.and_then(|at| shown.get(at)).copied() {
                None if shown.is_empty() => return false,
                None => {
                    let all = shown.len();
                    self.pass(all);
                }
                Some(bracket) => {
                    self.pass(skip.unwrap_or_default());
                    match bracket {
                        b'[' if kind::begins_an_array(self.input.head(BEHIND_BYTES)) => {
                            self.pass(1);
                            self.arrays += 1;
                        }
                        b']' if self.in_page => self.leave_page(),
                        b']' => {
                            self.pass(1);
                            self.ended_unbegun |= self.arrays == 0;
                            self.arrays = self.arrays.saturating_sub(1);
                        }
                        // The mark with which some begin a text, also in the middle of several.
                        0xef if self.input.head(3) == b"\xef\xbb\xbf" => self.pass(3),
                        _ => return true,
                    }
                }
            }
        }
    }

    /// Hands on the brackets that have no counterpart: the file was cut between two documents. Where something else is
    /// broken, they are a part of that.
    fn hand_on_open(&mut self, chunk: &mut Chunk) {
        let open = self.arrays + usize::from(self.in_page);
        if self.file.holds_broken || open == 0 && !self.ended_unbegun {
            return;
        }
        let brackets = if self.ended_unbegun { "]".to_owned() } else { "[".repeat(open.min(EXCERPT_BYTES)) };
        chunk.bytes.extend_from_slice(format!("{brackets} … {} bytes in all", self.size_bytes).as_bytes());
        let refused = Some(kind::cut_array(self.ended_unbegun));
        chunk.documents.push(Span { end: chunk.bytes.len(), line: self.line, too_large: None, refused });
    }

    /// Passes over what a page has behind its array.
    fn leave_page(&mut self) {
        self.pass(1);
        self.in_page = false;
        let rest = self.input.head(PAGE_REST_BYTES);
        let behind = rest.trim_ascii_start();
        let is_rest = match behind.split_first() {
            Some((b',', members)) => members.trim_ascii_start().starts_with(b"\""),
            first => matches!(first, Some((b'}', _))),
        };
        if is_rest && let Found::Whole(end) = Scan::inside().run(rest, true) {
            let object = [b"{\"\":0", rest.get(..end).unwrap_or_default()].concat();
            if serde_json::from_slice::<IgnoredAny>(&object).is_ok() {
                self.pass(end);
            }
        }
    }

    fn object(&mut self, chunk: &mut Chunk) {
        let head = self.input.head(DOCUMENT_HEAD_BYTES);
        // No entry begins like a page, but a broken page may leave its array open.
        if let Some(array) = forms::begins_a_page(head).filter(|_| !self.in_page || self.first_column.is_none()) {
            if self.page_begins_inside() {
                return self.rest(self.column, chunk);
            }
            self.pass(array);
            self.in_page = true;
            return;
        }
        let refused = forms::begins_a_kubernetes_event(head).then(forms::kubernetes_event);
        self.json(refused, chunk);
    }

    /// Hands on the object or string that begins here.
    fn json(&mut self, refused: Option<DecodeError>, chunk: &mut Chunk) {
        // Behind a bracket or a comma on the same line, the line's own margin counts.
        let margin = self.first_column.map_or(self.column, |column| column + 1);
        self.margin = Some(margin);
        self.key.clear();
        self.key.extend(kind::first_key(self.input.head(DOCUMENT_HEAD_BYTES)).unwrap_or_default());
        match self.extent(Scan::json(margin)) {
            Extent::Whole(bytes) if is_of_several(self.input.head(bytes), &self.key) => self.lose(bytes),
            Extent::Whole(bytes) if self.begins_inside(bytes) => self.rest(margin, chunk),
            Extent::Whole(bytes) => {
                self.file.is_readable = self.file.is_readable || is_readable(self.input.head(bytes));
                match refused.is_some() && std::mem::replace(&mut self.refused, true) {
                    true => self.pass(bytes),
                    false => self.hand_on(bytes, refused, chunk),
                }
            }
            Extent::Broken(bytes) => self.lose(bytes),
            Extent::Long => {
                let shown = self.input.head(DOCUMENT_MAX_BYTES);
                match next_document(shown, DOCUMENT_MAX_BYTES, &self.key) {
                    Some(_) => self.lose(DOCUMENT_MAX_BYTES),
                    None => self.hand_on_long(Scan::json(margin), chunk),
                }
            }
        }
    }

    /// Whether the first document of a file, so many bytes long, is a part of another, whose beginning is cut off. Behind
    /// the bracket of an array, what is broken may as well be a later member.
    fn begins_inside(&mut self, bytes: usize) -> bool {
        if self.file.is_readable || self.in_page {
            return false;
        }
        let is_member = self.arrays > 0;
        let shown = self.input.head(bytes + ENTRY_MAX_BYTES);
        let behind = shown.get(bytes..).unwrap_or_default().trim_ascii_start();
        (!is_member || behind.starts_with(b"]")) && is_inside(shown)
    }

    /// The same for what seems to be a page: behind it, the next member tells it, or nothing does.
    fn page_begins_inside(&mut self) -> bool {
        let shown = self.input.head(ENTRY_MAX_BYTES);
        let behind = first_value(shown).and_then(|end| shown.get(end..)).unwrap_or_default().trim_ascii_start();
        let is_key = behind.strip_prefix(b",").is_some_and(|next| next.trim_ascii_start().starts_with(b"\""));
        is_key && self.begins_inside(0)
    }

    /// Hands on the rest of a document whose beginning is cut off, up to the next one.
    fn rest(&mut self, margin: usize, chunk: &mut Chunk) {
        // What is inside of a document stands right of it, where it is indented.
        let bytes = match self.extent(Scan::text(margin.saturating_sub(1), false)) {
            Extent::Whole(bytes) | Extent::Broken(bytes) => bytes,
            Extent::Long => DOCUMENT_MAX_BYTES,
        };
        let next = next_document(self.input.head(bytes + ENTRY_MAX_BYTES), bytes, &self.key);
        self.file.holds_broken = true;
        self.hand_on(next.unwrap_or(bytes), Some(kind::rest()), chunk);
    }

    /// Hands on what is not JSON, up to where JSON begins; YAML of log entries document by document.
    fn text(&mut self, chunk: &mut Chunk) {
        let head = self.input.head(TEXT_HEAD_BYTES);
        self.is_yaml |= kind::begins_yaml(head);
        let margin = *self.margin.get_or_insert_with(|| kind::margin(head));
        let scan = || Scan::text(if self.is_yaml { 0 } else { margin }, self.is_yaml);
        let (scan, long) = (scan(), scan());
        match self.extent(scan) {
            Extent::Whole(bytes) | Extent::Broken(bytes) if self.is_yaml => {
                self.file.is_readable = true;
                self.hand_on(bytes, None, chunk);
            }
            Extent::Whole(bytes) | Extent::Broken(bytes) => {
                self.file.holds_text |= !kind::is_a_word(self.input.head(bytes.min(EXCERPT_BYTES)));
                self.lose(bytes);
            }
            Extent::Long => {
                self.file.holds_text = true;
                let shown = self.input.head(DOCUMENT_MAX_BYTES);
                match next_document(shown, DOCUMENT_MAX_BYTES, &self.key).is_some() && !self.is_yaml {
                    true => self.lose(DOCUMENT_MAX_BYTES),
                    false => self.hand_on_long(long, chunk),
                }
            }
        }
    }

    /// Hands on zeros, which a crash or a log that is emptied under its writer leaves, as one document.
    fn hole(&mut self, chunk: &mut Chunk) {
        let (line, mut size_bytes) = (self.line, 0);
        loop {
            let shown = self.input.peek(1);
            let zeros = shown.iter().position(|byte| *byte != 0).unwrap_or(shown.len());
            if zeros == 0 {
                break;
            }
            size_bytes += zeros;
            self.pass(zeros);
        }
        chunk.bytes.resize(chunk.bytes.len() + size_bytes.min(EXCERPT_BYTES), 0);
        self.file.holds_broken = true;
        let refused = (size_bytes > EXCERPT_BYTES).then(|| kind::hole(size_bytes));
        if refused.is_some() {
            chunk.bytes.extend_from_slice(format!(" … {size_bytes} bytes in all").as_bytes());
        }
        chunk.documents.push(Span { end: chunk.bytes.len(), line, too_large: None, refused });
    }

    /// How far what begins here goes.
    fn extent(&mut self, mut scan: Scan) -> Extent {
        let mut seen = 0;
        loop {
            let shown = self.input.peek(seen + 1);
            let is_all = shown.len() <= seen;
            let found = scan.run(shown, is_all);
            seen = shown.len();
            match found {
                Found::More if is_all && seen <= DOCUMENT_MAX_BYTES => return Extent::Broken(seen),
                Found::More if seen <= DOCUMENT_MAX_BYTES => {}
                Found::Whole(end) | Found::Next(end) if end > DOCUMENT_MAX_BYTES => return Extent::Long,
                Found::More => return Extent::Long,
                Found::Next(end) => return Extent::Broken(end),
                Found::Whole(end) if self.may_end(end) => return Extent::Whole(end),
                Found::Whole(end) => {
                    let shown = self.input.peek(seen);
                    scan.lose(end, shown);
                    seen = shown.len().saturating_sub(1).max(end);
                }
            }
        }
    }

    /// Whether a document may end here. One that is broken may seem to, with its rest behind it; in an array, what stands
    /// behind a comma may as well be left of the next one.
    fn may_end(&mut self, end: usize) -> bool {
        let is_member = self.is_member();
        let shown = self.input.head(end + BEHIND_BYTES);
        let is_object = shown.starts_with(b"{");
        let behind = shown.get(end..).unwrap_or_default();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0);
        let rest = behind.iter().position(|byte| !is_space(byte)).and_then(|at| behind.get(at..)).unwrap_or_default();
        match rest.split_first() {
            None | Some((b'\n' | b']' | b'[', _)) => true,
            Some((b'{', _)) => kind::begins_object(rest) != Some(false),
            Some((b',', _)) if is_object && is_member => true,
            Some((b',', next)) => match next.trim_ascii_start() {
                [b'"', next @ ..] => next.starts_with(b"{"),
                [b'}' | b':', ..] => false,
                _ => true,
            },
            Some((behind, _)) => is_object && !is_member && !matches!(behind, b'"' | b'}' | b':'),
        }
    }

    fn lose(&mut self, bytes: usize) {
        self.file.holds_broken = true;
        self.lost = Some(bytes);
    }

    /// Hands on what stands before the next document in a stretch that is broken.
    fn cut_lost(&mut self, bytes: usize, chunk: &mut Chunk) {
        let shown = self.input.head(bytes + ENTRY_MAX_BYTES);
        let key = kind::first_key(shown).unwrap_or(&self.key);
        let Some(at) = next_document(shown, bytes, key) else { return self.hand_on(bytes, None, chunk) };
        let piece = shown.get(..at).unwrap_or_default();
        // What is whole ends where its brackets do, and what is left behind it is a piece of its own.
        let end = match Scan::json(0).run(piece, true) {
            Found::Whole(end) if end < bare(piece).len() && piece.get(..end).is_some_and(is_readable) => end,
            _ => at,
        };
        let is_proof = || piece.get(..end).is_some_and(|piece| is_readable(bare(piece)));
        self.file.is_readable = self.file.is_readable || is_proof();
        self.hand_on(end, None, chunk);
        self.lost = Some(at - end).filter(|&left| left > 0);
    }

    /// Appends this much as a document.
    fn hand_on(&mut self, bytes: usize, refused: Option<DecodeError>, chunk: &mut Chunk) {
        let shown = self.input.head(bytes);
        let bytes = shown.len();
        chunk.bytes.extend_from_slice(bare(shown));
        chunk.documents.push(Span { end: chunk.bytes.len(), line: self.line, too_large: None, refused });
        self.pass(bytes);
    }

    /// Appends how a document begins that is longer than any may be, and what tells it from others that begin alike.
    fn hand_on_long(&mut self, mut scan: Scan, chunk: &mut Chunk) {
        let line = self.line;
        chunk.bytes.extend_from_slice(self.input.head(EXCERPT_BYTES));
        let (mut all, mut seen) = (Fingerprint::default(), 0);
        loop {
            let shown = self.input.peek(seen + 1);
            let is_all = shown.len() <= seen;
            let (bytes, is_end) = match scan.run(shown, is_all) {
                Found::Whole(end) | Found::Next(end) => (end, true),
                Found::More if is_all => (shown.len(), true),
                Found::More => (scan.pass(), false),
            };
            all.add(shown.get(..bytes).unwrap_or_default());
            seen = shown.len() - bytes;
            self.pass(bytes);
            if is_end {
                break;
            }
        }
        // A line counts with its end.
        if self.input.head(1) == b"\n" {
            all.size_bytes += 1;
            self.pass(1);
        }
        let too_large = Some(all.size_bytes);
        chunk.bytes.extend_from_slice(all.text().as_bytes());
        chunk.documents.push(Span { end: chunk.bytes.len(), line, too_large, refused: None });
    }

    /// Passes over all there is.
    fn pass_all(&mut self) {
        loop {
            let shown = self.input.peek(1).len();
            if shown == 0 {
                return;
            }
            self.pass(shown);
        }
    }

    fn pass(&mut self, bytes: usize) {
        let passed = self.input.head(bytes);
        if !self.file.is_readable && self.file.line > 0 {
            self.file.all.add(passed);
        }
        self.size_bytes += passed.len() as u64;
        self.line += memchr_iter(b'\n', passed).count() as u64;
        let on_this_line = match memrchr(b'\n', passed) {
            Some(end) => {
                (self.column, self.first_column) = (0, None);
                passed.get(end + 1..).unwrap_or_default()
            }
            None => passed,
        };
        if self.first_column.is_none() {
            let first = on_this_line.iter().position(|byte| !byte.is_ascii_whitespace());
            self.first_column = first.map(|at| self.column + at);
        }
        self.column += on_this_line.len();
        self.input.consume(bytes);
    }
}
