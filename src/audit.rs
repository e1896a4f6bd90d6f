//! What one audit entry says: the write it records, or why it is not a change. Pure, borrowing, never panics.
//!
//! ```text
//! bytes ─▶ Entry::parse ─▶ decode ─▶ Decoded::Writes │ Decoded::Observed(reason, write) │ Decoded::Ignored(reason)
//!                                           │ Decoded::Canary(canary)
//! ```
//!
//! The response is believed before the request, the object's own names before the call's, and nothing is guessed:
//! a number that cannot be read is *unknown*, which is recorded, and never "no change".

mod actor;
mod body;
mod canary;
mod decode;
mod entry;
pub mod forms;
mod json;
mod method;
mod patch;
mod push_body;
mod removal;
mod replicas;
pub(crate) mod target;
mod write;

pub use actor::{Actor, ActorKind};
pub use canary::{CANARY, Canary};
pub use decode::decode;
pub use entry::Entry;
pub use method::{ObjectKind, Operation};
pub use replicas::{Source, Value};
pub use write::{Asked, DecodeError, Decoded, Ignored, ObjectState, Outcome, ROWS_MAX_BYTES, Split, Write};
