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
    /// It has keys at its margin, so that a brace there tells nothing by itself.
    is_flat: bool,
    /// No brackets are followed any more: only another document's beginning is looked for.
    is_lost: bool,
    /// The document's first key, once it is lost.
    key: Option<Vec<u8>>,
    /// Lines `---` divide documents.
    is_yaml: bool,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
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
        self.key = kind::first_key(shown).map(<[u8]>::to_vec);
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
        while let Some(&byte) = shown.get(self.at) {
            if self.in_string {
                if !self.escaped {
                    // Strings are most of a document, so they are skipped a register at a time.
                    let rest = shown.get(self.at..).unwrap_or_default();
                    let Some(skip) = memchr3(b'"', b'\\', b'\n', rest) else {
                        self.at = shown.len();
                        return Some(Found::More);
                    };
                    self.at += skip;
                }
                match shown.get(self.at) {
                    Some(b'\n') => {
                        self.lose(self.at, shown);
                        return None;
                    }
                    Some(b'"') if !self.escaped => self.in_string = false,
                    Some(byte) => self.escaped = *byte == b'\\' && !self.escaped,
                    None => {}
                }
                if !self.in_string && self.depth == 0 {
                    return Some(Found::Whole(self.at + 1));
                }
            } else {
                match byte {
                    b'"' => {
                        self.is_flat |= self.is_margin && self.indent(shown) <= self.margin;
                        (self.in_string, self.is_margin) = (true, false);
                    }
                    b'{' | b'[' => {
                        if self.is_margin && self.begins_another(shown) {
                            return Some(Found::Next(self.line));
                        }
                        self.is_margin = false;
                        self.depth += 1;
                    }
                    b'}' | b']' => {
                        self.is_margin = false;
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(Found::Whole(self.at + 1));
                        }
                    }
                    b'\n' => (self.line, self.is_margin) = (self.at + 1, true),
                    b' ' | b'\t' | b'\r' | b',' | 0 => {}
                    _ => self.is_margin = false,
                }
            }
            self.at += 1;
        }
        Some(Found::More)
    }

    fn indent(&self, shown: &[u8]) -> usize {
        let line = shown.get(self.line..self.at).unwrap_or_default();
        line.iter().take_while(|&&byte| is_blank(byte)).count()
    }

    /// Whether the bracket here is another document's, and not a value inside this one.
    fn begins_another(&self, shown: &[u8]) -> bool {
        let before = || shown.get(..self.at).unwrap_or_default().trim_ascii_end().last();
        self.indent(shown) <= self.margin && !(self.is_flat && matches!(before(), Some(b':' | b',' | b'[')))
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
    fn begins_document(&self, line: &[u8]) -> Option<bool> {
        if self.is_yaml && line.first()? == &b'-' {
            return (line.len() > 3 || !line.iter().all(|byte| *byte == b'-')).then(|| kind::divides_yaml(line));
        }
        let start = line.iter().position(|&byte| !is_blank(byte) && byte != b',' && byte != 0)?;
        let rest = line.get(start..)?;
        let is_outside = || line.iter().take_while(|&&byte| is_blank(byte)).count() <= self.margin;
        match rest.first()? {
            b'{' if is_outside() => match (self.is_flat, &self.key) {
                (true, Some(key)) => Some(kind::first_key(rest) == Some(key)),
                _ => kind::begins_object(rest),
            },
            b'[' if is_outside() => {
                let inner = rest.get(1..)?.trim_ascii_start().first()?;
                Some(matches!(inner, b'{' | b'['))
            }
            b'"' if is_outside() => Some(rest.get(1)? == &b'{'),
            // A hole is no part of what stands before it.
            b'\n' => Some(line.first() == Some(&0)),
            _ => Some(false),
        }
    }
}
