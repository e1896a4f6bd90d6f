//! Finds the end of a document without parsing it, and after a broken one where the next begins.
//!
//! JSON has no end of line inside a string, so each line tells anew that no string is open. What stays open is brackets:
//! who writes lines begins each document at the margin, and who indents writes nothing inside a document that far left.
//! So a brace at the document's own margin, or left of it, begins the next one, and the one that was open is broken.

use memchr::{memchr, memchr3};

use super::kind;

/// How much of a line is looked at to tell whether a document begins on it: any indentation that somebody reads.
const LINE_HEAD_BYTES: usize = 4 << 10;

/// What a scan came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet: more has to be shown.
    More,
    /// The document is whole, and ends here.
    Whole(usize),
    /// It is broken, or no JSON at all, and what may be the next one begins here.
    Next(usize),
}

/// A scan of what begins with the first byte shown.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: usize,
    /// Where the present line begins.
    line: usize,
    /// Nothing but space, commas and zeros stands before `at` on this line.
    is_margin: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// How far from the left the document begins.
    margin: usize,
    /// How far from the left a key of it stands that is at its margin: a brace there tells nothing by itself.
    key: Option<usize>,
    /// No brackets are followed any more: only another document's beginning is looked for.
    is_lost: bool,
    /// Lines `---` divide documents.
    is_yaml: bool,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|&&byte| is_blank(byte)).count()
}

impl Scan {
    /// Of a JSON object or string that begins so far from the left.
    pub(super) fn json(margin: usize) -> Self {
        Scan { margin, ..Scan::default() }
    }

    /// Of the rest of an object that is open already.
    pub(super) fn inside() -> Self {
        Scan { depth: 1, ..Scan::default() }
    }

    /// Of anything else, to where a document begins no further from the left than this.
    pub(super) fn text(margin: usize, is_yaml: bool) -> Self {
        Scan { margin, is_yaml, is_lost: true, ..Scan::default() }
    }

    /// Gives up the document: from here on only the next one is looked for.
    pub(super) fn lose(&mut self, at: usize, shown: &[u8]) {
        (self.at, self.is_lost, self.is_margin) = (at, true, false);
        // What began with a text was a key.
        self.key = self.key.or((shown.first() == Some(&b'"')).then_some(self.margin));
    }

    /// Forgets what is not needed any more, and tells how much that is: what is shown next begins behind it.
    pub(super) fn pass(&mut self) -> usize {
        let passed = if self.is_margin && self.at - self.line <= LINE_HEAD_BYTES { self.line } else { self.at };
        self.is_margin &= passed == self.line;
        (self.at, self.line) = (self.at - passed, self.line.saturating_sub(passed));
        passed
    }

    /// Goes on through what is shown; `is_all` when nothing comes behind it.
    pub(super) fn run(&mut self, shown: &[u8], is_all: bool) -> Found {
        if !self.is_lost
            && let Some(found) = self.follow(shown)
        {
            return found;
        }
        self.search(shown, is_all)
    }

    /// Follows strings and brackets until the outermost closes. `None` once the document is lost.
    fn follow(&mut self, shown: &[u8]) -> Option<Found> {
        while self.at < shown.len() {
            let found = if self.in_string { self.follow_string(shown) } else { self.follow_brackets(shown) };
            if found.is_some() || self.is_lost {
                return found;
            }
        }
        Some(Found::More)
    }

    /// Goes on behind what may end a string. An end of line loses the document.
    fn follow_string(&mut self, shown: &[u8]) -> Option<Found> {
        let rest = shown.get(self.at..).unwrap_or_default();
        // Strings are most of a document, so they are skipped a register at a time.
        let skip = if self.escaped { Some(0) } else { memchr3(b'"', b'\\', b'\n', rest) };
        self.at += skip.unwrap_or(rest.len());
        let byte = *shown.get(self.at)?;
        if byte == b'\n' {
            self.lose(self.at, shown);
            return None;
        }
        self.in_string = byte != b'"' || self.escaped;
        self.escaped = byte == b'\\' && !self.escaped;
        self.at += 1;
        (!self.in_string && self.depth == 0).then_some(Found::Whole(self.at))
    }

    /// Goes on behind one character outside of strings.
    fn follow_brackets(&mut self, shown: &[u8]) -> Option<Found> {
        let byte = *shown.get(self.at)?;
        match byte {
            b'"' => {
                if self.is_margin {
                    self.see_key(self.indent(shown));
                }
                self.in_string = true;
            }
            b'{' | b'[' if self.is_margin && self.begins_another(shown) => return Some(Found::Next(self.line)),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'\n' => self.line = self.at + 1,
            _ => {}
        }
        self.is_margin = byte == b'\n' || self.is_margin && (is_blank(byte) || matches!(byte, b',' | 0));
        self.at += 1;
        (matches!(byte, b'}' | b']') && self.depth == 0).then_some(Found::Whole(self.at))
    }

    fn indent(&self, shown: &[u8]) -> usize {
        indent(shown.get(self.line..self.at).unwrap_or_default())
    }

    /// Whether the bracket here is another document's, and not a value inside this one.
    fn begins_another(&self, shown: &[u8]) -> bool {
        self.indent(shown) <= self.margin && !(self.key.is_some() && self.is_behind_member(shown))
    }

    fn see_key(&mut self, indent: usize) {
        if indent <= self.margin {
            self.key = self.key.max(Some(indent));
        }
    }

    /// Whether what stands before here goes on: with a member of a list, or the value of a key.
    fn is_behind_member(&self, shown: &[u8]) -> bool {
        let before = shown.get(..self.at).unwrap_or_default().trim_ascii_end().last();
        matches!(before, Some(b':' | b',' | b'['))
    }

    fn search(&mut self, shown: &[u8], is_all: bool) -> Found {
        loop {
            if !self.is_margin {
                let rest = shown.get(self.at..).unwrap_or_default();
                let Some(end) = memchr(b'\n', rest) else {
                    self.at = shown.len();
                    return Found::More;
                };
                self.at += end + 1;
                (self.line, self.is_margin) = (self.at, true);
            }
            let line = shown.get(self.line..).unwrap_or_default();
            let head = line.get(..LINE_HEAD_BYTES).unwrap_or(line);
            match self.begins_document(head) {
                // Without indentation, lines alone do not tell a member of the document's lists from the next document.
                Some(true) if self.key >= Some(indent(head)) && self.is_behind_member(shown) => self.is_margin = false,
                Some(true) => return Found::Next(self.line),
                None if !is_all && head.len() < LINE_HEAD_BYTES => return Found::More,
                Some(false) | None => self.is_margin = false,
            }
            if self.line >= shown.len() {
                return Found::More;
            }
        }
    }

    /// Whether a line begins a document; `None` where too little of it is shown to tell.
    fn begins_document(&mut self, line: &[u8]) -> Option<bool> {
        if self.is_yaml && line.first()? == &b'-' {
            return (line.len() > 3 || !line.iter().all(|byte| *byte == b'-')).then(|| kind::divides_yaml(line));
        }
        let start = line.iter().position(|&byte| !is_blank(byte) && byte != b',' && byte != 0)?;
        let rest = line.get(start..)?;
        let is_outside = || indent(line) <= self.margin;
        match rest.first()? {
            b'{' if is_outside() => {
                let next = memchr(b'\n', rest).and_then(|end| rest.get(end + 1..)).unwrap_or_default();
                if next.trim_ascii_start().starts_with(b"\"") {
                    self.see_key(indent(next));
                }
                kind::begins_object(rest)
            }
            b'[' if is_outside() => {
                let inner = rest.get(1..)?.trim_ascii_start().first()?;
                Some(matches!(inner, b'{' | b'['))
            }
            b'"' if is_outside() => {
                let is_text = rest.get(1)? == &b'{';
                if !is_text {
                    self.see_key(indent(line));
                }
                Some(is_text)
            }
            // A hole is no part of what stands before it.
            b'\n' => Some(line.first() == Some(&0)),
            _ => Some(false),
        }
    }
}
