//! Log files: one entry, an array of entries (`gcloud logging read --format=json`), or NDJSON; each also
//! compressed (gzip, zstd) or in UTF-16; and the YAML that `gcloud` prints by default.
//!
//! A file is cut into documents without being parsed, so that one broken document costs only itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use crate::pipeline::chunk::Chunk;

pub use crate::pipeline::chunk::DOCUMENT_MAX_BYTES;

mod cut;
mod encoding;
mod kind;
mod window;

use cut::Documents;

/// How much of a longer document is kept to recognise it by.
const EXCERPT_BYTES: usize = 4 << 10;

/// A chunk is handed on at this size: some hundred entries, so that handing on costs nothing and memory stays small.
const CHUNK_BYTES: usize = 512 << 10;

/// The files behind what was named: folders are walked in order of name, and only their log files are taken (`.json`,
/// `.ndjson`, `.jsonl`, `.log`, and `.gz` or `.zst` of these).
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
    [".json", ".ndjson", ".jsonl", ".log"].iter().any(|extension| uncompressed(&name).ends_with(extension))
}

/// The size of the files in all, in bytes as they lie on the disk; standard input counts nothing.
pub fn size_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Reads files and hands on their chunks until `take` returns false.
///
/// # Errors
/// When a file cannot be read, or its compressed stream is broken; the error names it. What was handed on stays valid.
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
    let counted = Arc::new(AtomicU64::new(0));
    let text = encoding::text(Box::new(Counted { input, count: Arc::clone(&counted) }))?;
    let mut documents = Documents::new(text, lines_by_name(file))?;
    let name: Arc<str> = file.to_string_lossy().into();
    let mut advanced = 0;
    loop {
        let mut chunk = Chunk::new(Arc::clone(&name));
        while chunk.bytes.len() < CHUNK_BYTES && documents.next_into(&mut chunk)? {}
        if chunk.documents.is_empty() {
            return Ok(true);
        }
        let read = counted.load(Ordering::Relaxed);
        chunk.advance_bytes = read - advanced;
        advanced = read;
        if !take(chunk) {
            return Ok(false);
        }
    }
}

/// A file's name without how it is compressed.
fn uncompressed(name: &str) -> &str {
    [".gz", ".zst"].into_iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

fn lines_by_name(file: &Path) -> bool {
    let name = file.to_string_lossy();
    [".ndjson", ".jsonl"].iter().any(|extension| uncompressed(&name).ends_with(extension))
}

struct Counted {
    input: Box<dyn Read>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
