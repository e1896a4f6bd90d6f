//! A reader that shows what comes next, as far ahead as is asked, wherever the reads below it end.

use std::io::{self, ErrorKind, Read};

use crate::pipeline::chunk::DOCUMENT_MAX_BYTES;

/// Read size: large enough that system calls do not show.
const READ_BYTES: usize = 256 << 10;

/// Like a `BufReader`, whose `fill_buf` promises no more than one byte. An input that breaks ends there: what came before
/// is shown, and [`Window::failure`] tells why no more came.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    failure: Option<io::Error>,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Window { input, buffer: vec![0; READ_BYTES], start: 0, end: 0, ended: false, failure: None }
    }

    /// What comes next: at least this much, unless the input ends before.
    pub(super) fn peek(&mut self, least: usize) -> &[u8] {
        while self.end - self.start < least && !self.ended {
            self.make_room(least);
            match self.input.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => (self.ended, self.failure) = (true, Some(error)),
            }
        }
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The next bytes, exactly as many unless the input ends before: what is told by them does not depend on the reads.
    pub(super) fn head(&mut self, bytes: usize) -> &[u8] {
        let shown = self.peek(bytes);
        shown.get(..bytes).unwrap_or(shown)
    }

    /// Why the input ended before its end; once.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn make_room(&mut self, least: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + least > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if least > self.buffer.len() {
            // Twice as much each time, so that a long document is not copied for every read of it.
            let twice = (2 * self.buffer.len()).min(DOCUMENT_MAX_BYTES + READ_BYTES);
            self.buffer.resize(least.max(twice), 0);
        }
    }

    /// Passes over this much of what was shown.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

impl<R: Read> Read for Window<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shown = self.peek(1);
        let read = shown.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..read), shown.get(..read)) {
            to.copy_from_slice(from);
        }
        self.consume(read);
        match self.failure.take_if(|_| read == 0 && !buffer.is_empty()) {
            Some(error) => Err(error),
            None => Ok(read),
        }
    }
}
