//! What a reader of files hands on: some documents of one file, cut but not parsed.

use std::sync::Arc;

use crate::audit::DecodeError;

/// Longest document that is read whole: above any message that Pub/Sub carries (10 MB) or entry that Logging keeps.
pub const DOCUMENT_MAX_BYTES: usize = 16 << 20;

/// Some documents of one file, in order.
#[derive(Debug)]
pub struct Chunk {
    /// The file, as it was named; `-` for standard input.
    pub file: Arc<str>,
    /// How far this chunk advances in the file, in bytes as they lie on the disk.
    pub advance_bytes: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) documents: Vec<Span>,
}

/// Where a document of a chunk ends, and what is known of it.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) end: usize,
    pub(crate) line: u64,
    pub(crate) too_large: Option<u64>,
    pub(crate) refused: Option<DecodeError>,
}

/// One document of a chunk.
#[derive(Debug)]
pub struct Document<'c> {
    /// Its bytes; for one that is too large only how it begins.
    pub bytes: &'c [u8],
    /// The line it begins on, from 1.
    pub line: u64,
    /// How long it is, if it is longer than [`DOCUMENT_MAX_BYTES`].
    pub too_large: Option<u64>,
    refused: Option<&'c DecodeError>,
}

impl Document<'_> {
    /// Why it cannot even be given to the decoder.
    pub fn fault(&self) -> Option<DecodeError> {
        let refused = self.refused.cloned();
        refused
            .or(self.too_large.map(|size_bytes| DecodeError::TooLarge { size_bytes, limit_bytes: DOCUMENT_MAX_BYTES }))
    }
}

impl Chunk {
    /// An empty one.
    pub(crate) fn new(file: Arc<str>) -> Self {
        Chunk { file, advance_bytes: 0, bytes: Vec::new(), documents: Vec::new() }
    }

    /// Its documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        let mut start = 0;
        self.documents.iter().map(move |span| {
            let bytes = self.bytes.get(start..span.end).unwrap_or_default();
            start = span.end;
            Document { bytes, line: span.line, too_large: span.too_large, refused: span.refused.as_ref() }
        })
    }
}
