//! Log files: one entry, an array of entries (`gcloud logging read --format=json`), or NDJSON; each also gzipped.
//!
//! A file is cut into documents without being parsed, so that one broken document costs only itself.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use memchr::{memchr, memchr_iter, memchr2};

use crate::audit::DecodeError;

/// Longest document that is read whole: above any message that Pub/Sub carries (10 MB) or entry that Logging keeps.
pub const DOCUMENT_MAX_BYTES: usize = 16 << 20;

/// How much of a longer document is kept to recognise it by.
const EXCERPT_BYTES: usize = 4 << 10;

/// A chunk is handed on at this size: some hundred entries, so that handing on costs nothing and memory stays small.
const CHUNK_BYTES: usize = 512 << 10;

/// Read size: large enough that system calls do not show.
const BUFFER_BYTES: usize = 256 << 10;

/// Some documents of one file, in order.
#[derive(Debug)]
pub struct Chunk {
    /// The file, as it was named; `-` for standard input.
    pub file: Arc<str>,
    /// How far this chunk advances in the file, in bytes as they lie on the disk.
    pub advance_bytes: u64,
    bytes: Vec<u8>,
    documents: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    end: usize,
    line: u64,
    too_large: Option<u64>,
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
}

impl Document<'_> {
    /// Why it cannot even be given to the decoder.
    pub fn fault(&self) -> Option<DecodeError> {
        self.too_large.map(|size_bytes| DecodeError::TooLarge { size_bytes, limit_bytes: DOCUMENT_MAX_BYTES })
    }
}

impl Chunk {
    /// Its documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        let mut start = 0;
        self.documents.iter().map(move |span| {
            let bytes = self.bytes.get(start..span.end).unwrap_or_default();
            start = span.end;
            Document { bytes, line: span.line, too_large: span.too_large }
        })
    }
}

/// The files behind what was named: folders are walked in order of name, and only their log files are taken (`.json`,
/// `.ndjson`, `.jsonl`, `.log`, and `.gz` of these).
///
/// # Errors
/// When something named is not there.
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            files.push(input.clone());
            continue;
        }
        let metadata = std::fs::metadata(input).with_context(|| format!("cannot read {}", input.display()))?;
        if metadata.is_dir() { walk(input, &mut files)? } else { files.push(input.clone()) }
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read {}", folder.display());
    let mut entries =
        std::fs::read_dir(folder).with_context(context)?.collect::<io::Result<Vec<_>>>().with_context(context)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            walk(&path, files)?;
        } else if is_log(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".json", ".ndjson", ".jsonl", ".log"].iter().any(|extension| name.ends_with(extension))
}

/// The size of the files in all, in bytes as they lie on the disk; standard input counts nothing.
pub fn size_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Reads files and hands on their chunks until `take` returns false.
///
/// # Errors
/// When a file cannot be read, or its gzip stream is broken; the error names it. What was handed on stays valid.
pub fn read(files: &[PathBuf], mut take: impl FnMut(Chunk) -> bool) -> Result<()> {
    for file in files {
        let context = || format!("failed to read {}", file.display());
        let input: Box<dyn Read> = match file.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(file).with_context(context)?),
        };
        if !read_one(file, input, &mut take).with_context(context)? {
            break;
        }
    }
    Ok(())
}

fn read_one(file: &Path, input: Box<dyn Read>, take: &mut impl FnMut(Chunk) -> bool) -> io::Result<bool> {
    let counted = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, Counted { input, count: Arc::clone(&counted) });
    let gzipped = raw.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(raw)) } else { Box::new(raw) };
    let mut documents = Documents::new(BufReader::with_capacity(BUFFER_BYTES, plain), lines_by_name(file))?;
    let name: Arc<str> = file.to_string_lossy().into();
    let mut advanced = 0;
    loop {
        let mut chunk = Chunk { file: Arc::clone(&name), advance_bytes: 0, bytes: Vec::new(), documents: Vec::new() };
        while chunk.bytes.len() < CHUNK_BYTES && documents.next_into(&mut chunk)? {}
        if chunk.documents.is_empty() {
            return Ok(true);
        }
        let read = counted.load(std::sync::atomic::Ordering::Relaxed);
        chunk.advance_bytes = read - advanced;
        advanced = read;
        if !take(chunk) {
            return Ok(false);
        }
    }
}

fn lines_by_name(file: &Path) -> bool {
    let name = file.to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with(".ndjson") || name.ends_with(".jsonl")
}

struct Counted {
    input: Box<dyn Read>,
    count: Arc<std::sync::atomic::AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Every line is a document, whatever it holds.
    Lines,
    /// Documents end where their brackets close; they may be the members of an array.
    Nested,
}

/// Cuts a stream into documents.
struct Documents<R> {
    input: R,
    form: Form,
    line: u64,
}

impl<R: BufRead> Documents<R> {
    fn new(mut input: R, lines: bool) -> io::Result<Self> {
        let head = input.fill_buf()?;
        let byte_order_mark = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let form = if lines { Form::Lines } else { form_of(head.get(byte_order_mark..).unwrap_or_default()) };
        input.consume(byte_order_mark);
        Ok(Documents { input, form, line: 1 })
    }

    /// Appends the next document to the chunk; false at the end.
    fn next_into(&mut self, chunk: &mut Chunk) -> io::Result<bool> {
        if !self.skip_to_document()? {
            return Ok(false);
        }
        let (line, start) = (self.line, chunk.bytes.len());
        let mut scanner = Scanner::default();
        let mut size = 0_u64;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = match self.form {
                Form::Lines => memchr(b'\n', buffer).map(|at| at + 1),
                Form::Nested => scanner.end_in(buffer),
            };
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            size += part.len() as u64;
            if size <= DOCUMENT_MAX_BYTES as u64 {
                chunk.bytes.extend_from_slice(part);
            }
            self.line += memchr_iter(b'\n', part).count() as u64;
            let used = part.len();
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        let too_large = (size > DOCUMENT_MAX_BYTES as u64).then_some(size);
        if too_large.is_some() {
            chunk.bytes.truncate(start + EXCERPT_BYTES);
        }
        while chunk.bytes.len() > start && chunk.bytes.last().is_some_and(u8::is_ascii_whitespace) {
            chunk.bytes.pop();
        }
        chunk.documents.push(Span { end: chunk.bytes.len(), line, too_large });
        Ok(true)
    }

    /// Skips what is between documents: space, and the brackets and commas of an array around them.
    fn skip_to_document(&mut self) -> io::Result<bool> {
        loop {
            let form = self.form;
            let between =
                |byte: &u8| byte.is_ascii_whitespace() || form == Form::Nested && matches!(byte, b'[' | b']' | b',');
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let skip = buffer.iter().position(|byte| !between(byte)).unwrap_or(buffer.len());
            self.line += memchr_iter(b'\n', buffer.get(..skip).unwrap_or_default()).count() as u64;
            let found = skip < buffer.len();
            self.input.consume(skip);
            if found {
                return Ok(true);
            }
        }
    }
}

/// Tells NDJSON from one document over many lines, by how the file begins.
fn form_of(head: &[u8]) -> Form {
    let head = head.trim_ascii_start();
    match head.first() {
        Some(b'[') => return Form::Nested,
        Some(b'{') => {}
        _ => return Form::Lines,
    }
    let Some(end) = memchr(b'\n', head) else { return Form::Nested };
    let (first, rest) = head.split_at(end);
    // A broken first line must not swallow the others: no formatter puts an inner brace at the start of a line.
    let next_is_a_document = rest.iter().find(|byte| !matches!(byte, b'\n' | b'\r')) == Some(&b'{');
    if Scanner::default().end_in(first).is_some() || next_is_a_document { Form::Lines } else { Form::Nested }
}

/// Follows brackets and strings until the outermost bracket closes.
#[derive(Default)]
struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// Where the document ends in this part of it (just behind its last byte), if it does.
    fn end_in(&mut self, part: &[u8]) -> Option<usize> {
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

    fn documents(text: &[u8]) -> Vec<(u64, String)> {
        // A tiny buffer: a document must not depend on where reads end.
        let mut documents = Documents::new(BufReader::with_capacity(64, text), false).expect("readable");
        let mut chunk = Chunk { file: "x".into(), advance_bytes: 0, bytes: Vec::new(), documents: Vec::new() };
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
