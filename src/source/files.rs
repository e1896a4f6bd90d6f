//! Log files: one entry, an array of entries (`gcloud logging read --format=json`), or NDJSON; each also
//! compressed (gzip, zstd) or in UTF-16; and the YAML that `gcloud` prints by default.
//!
//! A file is cut into documents without being parsed, so that one broken document costs only itself:
//!
//! ```text
//! bytes ─▶ encoding ─▶ cut::Documents ─▶ Chunk
//!          unpacked     │ scan: where does what begins here end, and the next begin?
//!          (ahead),     └ kind: what is it, by how it begins?
//!          transcoded
//! ```

use std::collections::BTreeMap;
use std::fs::{File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Error, Result, bail};

use crate::pipeline::chunk::Chunk;

mod ahead;
mod cut;
mod encoding;
mod kind;
mod lost;
mod scan;
#[cfg(test)]
mod tests;
mod window;

use cut::Documents;

/// How much of a longer document is kept to recognise it by.
const EXCERPT_BYTES: usize = 4 << 10;

/// A chunk is handed on at this size: some hundred entries, so that handing on costs nothing and memory stays small.
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// And with this many documents, each of which may become a row of about a kilobyte: as much as the chunk itself.
pub(super) const CHUNK_DOCUMENTS: usize = 512;

/// The log files behind what was named: as [`expand_to`]; in folders `.json`, `.ndjson`, `.jsonl`, `.log`, and `.gz` or
/// `.zst` of these.
///
/// # Errors
/// When nothing that was named is there.
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    expand_to(inputs, is_log)
}

/// The files behind what was named: folders are walked in order of name, and only what is wanted of them is taken. What is
/// named may be a pipe; in folders only regular files are taken, and links to such, because a folder that is mounted from a
/// ConfigMap holds links to files in a hidden one. What cannot be looked at is taken as it is, so that reading it tells why.
///
/// # Errors
/// When nothing that was named is there.
pub fn expand_to(inputs: &[PathBuf], is_wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut missing = None;
    let mut found = 0;
    for input in inputs {
        match std::fs::metadata(input).with_context(|| format!("cannot read {}", input.display())) {
            _ if is_stdin(input) => files.push(input.clone()),
            Ok(metadata) if metadata.is_dir() => walk(input, is_wanted, &mut files),
            Ok(_) => files.push(input.clone()),
            Err(error) => {
                files.push(input.clone());
                missing = missing.or(Some(error));
                continue;
            }
        }
        found += 1;
    }
    match missing {
        Some(error) if found == 0 => Err(error),
        _ => Ok(files),
    }
}

/// Whether a name stands for standard input.
pub fn is_stdin(input: &Path) -> bool {
    input.as_os_str() == "-"
}

fn walk(folder: &Path, is_wanted: fn(&Path) -> bool, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).and_then(|entries| {
        let entry =
            |entry: io::Result<std::fs::DirEntry>| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
        entries.map(entry).collect::<io::Result<Vec<_>>>()
    });
    let Ok(mut entries) = entries else { return files.push(folder.to_owned()) };
    entries.sort_by(|(one, _), (other, _)| one.file_name().cmp(&other.file_name()));
    for (path, file_type) in entries {
        // What is hidden is version control's or an editor's, or what the links of a mounted ConfigMap lead to.
        if is_hidden(&path) {
            continue;
        }
        // Links to folders are not followed: they may lead in circles.
        if file_type.is_dir() {
            walk(&path, is_wanted, files);
        } else if is_wanted(&path) && is_regular(&path, file_type) {
            files.push(path);
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether something in a folder is a regular file, or a link to one. Whatever else it is may have no end, or never begin.
fn is_regular(path: &Path, file_type: FileType) -> bool {
    let is_file = file_type.is_file()
        || file_type.is_symlink() && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        tracing::warn!(path = %path.display(), "skipped: it is no regular file");
    }
    is_file
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst"].into_iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(&name);
    [".json", ".ndjson", ".jsonl", ".log"].iter().any(|extension| name.ends_with(extension))
}

/// The size of the files in all, in bytes as they lie on the disk; standard input counts nothing.
pub fn size_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Reads files one after the other, and hands on their chunks until `take` returns false. A file that cannot be read, or
/// breaks off, costs only what cannot be had of it.
///
/// # Errors
/// When some of them could not be read to their end; the error names each. What was handed on stays valid.
pub fn read(files: &[PathBuf], mut take: impl FnMut(Chunk) -> bool) -> Result<()> {
    let mut failures = Vec::new();
    for file in files {
        match read_named(file, &mut take) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => failures.push(error),
        }
    }
    told(failures.iter())
}

/// As [`read`], several files side by side, so that their chunks come in no order.
///
/// # Errors
/// As [`read`].
pub fn read_side_by_side(files: &[PathBuf], take: &(impl Fn(Chunk) -> bool + Sync + ?Sized)) -> Result<()> {
    let left = Mutex::new(files.iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failures = Mutex::new(BTreeMap::new());
    let read = || {
        while let Some((number, file)) = next() {
            match read_named(file, &mut |chunk| take(chunk)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).insert(number, error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..files.len().min(READERS) {
            scope.spawn(read);
        }
        read();
    });
    told(failures.into_inner().unwrap_or_else(PoisonError::into_inner).values())
}

/// Files that are read side by side, at most: each may hold twice the longest document, and cutting takes a fraction of what
/// decoding takes.
const READERS: usize = 4;

fn read_named(file: &Path, take: &mut impl FnMut(Chunk) -> bool) -> Result<bool> {
    open(file)
        .and_then(|input| read_one(file, input, take))
        .with_context(|| format!("failed to read {}", file.display()))
}

/// The failures as one.
fn told<'e>(failures: impl ExactSizeIterator<Item = &'e Error>) -> Result<()> {
    if failures.len() == 0 {
        return Ok(());
    }
    let more = failures.len().saturating_sub(FAILURES_TOLD);
    let told = failures.take(FAILURES_TOLD).map(|error| format!("{error:#}")).collect::<Vec<_>>().join("\n");
    match more {
        0 => bail!("{told}"),
        more => bail!("{told}\nand {more} more"),
    }
}

/// As many as a person reads before they look at the folder itself.
const FAILURES_TOLD: usize = 20;

/// The text of one file: unpacked, and as UTF-8 whatever it was.
///
/// # Errors
/// When it cannot be opened.
pub fn text(file: &Path) -> io::Result<impl Read + use<>> {
    encoding::text(open(file)?)
}

fn open(file: &Path) -> io::Result<Box<dyn Read + Send>> {
    if is_stdin(file) {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(file)?))
}

fn read_one(file: &Path, input: Box<dyn Read + Send>, take: &mut impl FnMut(Chunk) -> bool) -> io::Result<bool> {
    let counted = Arc::new(AtomicU64::new(0));
    let text = encoding::text(Box::new(Counted { input, count: Arc::clone(&counted) }))?;
    let mut documents = Documents::new(text);
    let name: Arc<str> = file.to_string_lossy().into();
    let mut advanced = 0;
    loop {
        let mut chunk = Chunk::new(Arc::clone(&name));
        let is_more = documents.fill(&mut chunk);
        if !chunk.documents.is_empty() {
            let read = counted.load(Ordering::Relaxed);
            chunk.advance_bytes = read - advanced;
            advanced = read;
            if !take(chunk) {
                return Ok(false);
            }
        }
        if !is_more {
            return documents.failure().map_or(Ok(true), Err);
        }
    }
}

struct Counted {
    input: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
