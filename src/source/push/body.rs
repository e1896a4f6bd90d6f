//! Bodies: each within its time, and all together within the memory that there is for them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes, HttpBody};
use axum::http::StatusCode;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// Longest body: a message has up to 10 MB, which base64 makes a third longer, and attributes.
pub(super) const BODY_MAX_BYTES: usize = 16 << 20;

/// Up to here a body is small. Nearly all are: an audit entry has 2 to 20 KB. Large ones never take the memory of small
/// ones, nor the threads that these are handled on.
const SMALL_MAX_BYTES: usize = 64 << 10;

/// What a message takes while it is handled, as a multiple of its body: the body, what was in its base64 (three quarters),
/// the entry inside it in canonical form, rows with the text in them, and the request that carries these to the store.
const COST: usize = 6;

/// Memory for large messages: one of the longest at once, or several shorter ones. It is a fifth of the 512 MiB that
/// the image gets, because the allocator keeps what is freed: the peak was seen at twice the budget.
const LARGE_BYTES: usize = COST * BODY_MAX_BYTES;

/// Memory for small messages: 256 at once of the longest, `push.max_in_flight` as it stands by default.
const SMALL_BYTES: usize = 256 * COST * SMALL_MAX_BYTES;

/// How long a large body waits for memory. Then Pub/Sub keeps it: it sends again, and slower.
const WAIT: Duration = Duration::from_secs(2);

/// A body may take this long, and [`SECOND_BYTES`] of it may take a second more. Pub/Sub posts from inside Google, where
/// 16 MiB take a fraction of a second.
const GRACE: Duration = Duration::from_secs(5);
const SECOND_BYTES: usize = 1 << 20;

/// How long a refused body is heard out: a caller that is still sending it may not see the answer before it has. One that
/// sends nothing more for [`SILENCE`] waits for the answer.
const HEARD: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(300);

/// Memory is counted in these.
const UNIT_BYTES: usize = 1 << 10;

/// The memory for the bodies of all requests.
pub(super) struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body with the memory that its message may take.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

impl Body {
    /// Whether others would notice how long it takes to decode it.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.len() > SMALL_MAX_BYTES
    }
}

impl Default for Bodies {
    fn default() -> Self {
        let memory = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Bodies { small: memory(SMALL_BYTES), large: memory(LARGE_BYTES) }
    }
}

impl Bodies {
    /// Reads one to its end. No memory is held for what a caller says it will send, before it has sent more than a small
    /// body.
    ///
    /// # Errors
    /// The status to answer with: 413 when it is too long, 408 too slow, 400 cut off, 429 while there is no memory.
    pub(super) async fn read(&self, body: &mut BodyDataStream) -> Result<Body, StatusCode> {
        let announced = HttpBody::size_hint(body).exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > BODY_MAX_BYTES) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let (mut bytes, mut memory, mut begun) = (Vec::new(), None, Instant::now());
        while let Some(part) = next(body, begun, bytes.len()).await? {
            let length = bytes.len() + part.len();
            if length > BODY_MAX_BYTES {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            if memory.is_none() && length > SMALL_MAX_BYTES {
                let most = announced.unwrap_or(BODY_MAX_BYTES);
                memory = Some(wait_for_memory(&self.large, most).await?);
                bytes.reserve_exact(most - bytes.len());
                begun = Instant::now();
            }
            bytes.extend_from_slice(&part);
        }
        let memory = match memory {
            Some(memory) => given_back(memory, bytes.len()),
            None => Arc::clone(&self.small).try_acquire_many_owned(cost(bytes.len())).map_err(no_memory)?,
        };
        Ok(Body { bytes, _memory: memory })
    }
}

/// Memory for a large body. Those who wait are served in their order, so that none waits for ever.
async fn wait_for_memory(memory: &Arc<Semaphore>, length: usize) -> Result<OwnedSemaphorePermit, StatusCode> {
    let acquired = timeout(WAIT, Arc::clone(memory).acquire_many_owned(cost(length))).await;
    acquired.map_err(no_memory)?.map_err(no_memory)
}

/// The memory, less what a body that did not say its length turned out not to need.
fn given_back(mut memory: OwnedSemaphorePermit, length: usize) -> OwnedSemaphorePermit {
    let excess = memory.num_permits().saturating_sub(cost(length) as usize);
    drop(memory.split(excess));
    memory
}

fn no_memory<E>(_: E) -> StatusCode {
    StatusCode::TOO_MANY_REQUESTS
}

fn cost(length: usize) -> u32 {
    // At most COST times the longest body, or about 98,000.
    u32::try_from((COST * length).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// The next part, as long as the body comes fast enough.
async fn next(body: &mut BodyDataStream, begun: Instant, came: usize) -> Result<Option<Bytes>, StatusCode> {
    let until = begun + GRACE + Duration::from_secs((came / SECOND_BYTES) as u64);
    let part = timeout_at(until, body.next()).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    part.transpose().map_err(|_| StatusCode::BAD_REQUEST)
}

/// Hears a refused body out, and keeps nothing of it.
pub(super) async fn hear_out(body: &mut BodyDataStream) {
    let hear = async { while let Ok(Some(Ok(_))) = timeout(SILENCE, body.next()).await {} };
    // Whether it ended or not, there is nothing more to do.
    let _ = timeout(HEARD, hear).await;
}
