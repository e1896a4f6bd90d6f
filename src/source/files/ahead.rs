//! Reading ahead: what is packed is unpacked on a thread of its own, while what came before is cut.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Handed over at once, at most: enough that handing over costs nothing.
const BLOCK_BYTES: usize = 256 << 10;

/// Blocks that wait to be taken; with the one that is being filled and the one that is read, a megabyte.
const BLOCKS: usize = 2;

/// What another thread reads. That ends with its input, or when nobody takes more.
pub(super) struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: io::Cursor<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// # Errors
    /// When there can be no thread.
    pub(super) fn of(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let (filled, blocks) = sync_channel(BLOCKS);
        let thread = std::thread::Builder::new().name("unpack".to_owned()).spawn(move || fill(input, &filled))?;
        Ok(Ahead { blocks, block: io::Cursor::default(), thread: Some(thread) })
    }
}

/// Hands over what comes as soon as it does, for an input may be a pipe.
fn fill(mut input: impl Read, filled: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        let block = match input.read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map(|read| buffer.get(..read).unwrap_or_default().to_vec()),
        };
        let has_failed = block.is_err();
        if filled.send(block).is_err() || has_failed {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.blocks.recv() {
                Ok(block) => self.block = io::Cursor::new(block?),
                Err(_) => return self.end(),
            }
        }
    }
}

impl Ahead {
    /// Nothing comes any more. What ended by a panic is no end of the input.
    fn end(&mut self) -> io::Result<usize> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the thread that unpacks it stopped")),
            _ => Ok(0),
        }
    }
}
