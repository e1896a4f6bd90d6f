//! Memory for the rows of messages that are being handled. A message of a few kilobytes may list thousands of objects, so
//! what it takes is known only when it has been assessed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Up to here the rows of a message are small. Nearly all are: one event and an alert.
const SMALL_MAX_BYTES: usize = 64 << 10;

/// For small ones: thousands of messages at once.
const SMALL_BYTES: usize = 16 << 20;

/// For large ones: the most that one message may make ([`crate::audit::ROWS_MAX_BYTES`]). They are in memory twice until
/// they are durable, and an append makes JSON of them; a service with 512 MiB has room for it.
const LARGE_BYTES: usize = 64 << 20;

/// Memory is counted in these.
const UNIT_BYTES: usize = 1 << 10;

/// What there is for the rows of all messages. Large ones never take the room of small ones.
#[derive(Debug)]
pub(super) struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Room { small: room(SMALL_BYTES), large: room(LARGE_BYTES) }
    }
}

impl Room {
    /// Room for so many bytes of rows, if there is some now.
    pub(super) fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let (room, units) = self.of(bytes);
        Arc::clone(room).try_acquire_many_owned(units).ok()
    }

    /// Waits for it, behind those who came before. Who waits should hold no rows meanwhile. `None` never comes: nobody
    /// closes it.
    pub(super) async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let (room, units) = self.of(bytes);
        Arc::clone(room).acquire_many_owned(units).await.ok()
    }

    /// What needs more than there is takes all of it.
    fn of(&self, bytes: usize) -> (&Arc<Semaphore>, u32) {
        let (room, most) =
            if bytes <= SMALL_MAX_BYTES { (&self.small, SMALL_BYTES) } else { (&self.large, LARGE_BYTES) };
        let units = bytes.min(most).div_ceil(UNIT_BYTES);
        (room, u32::try_from(units).unwrap_or(u32::MAX))
    }
}
