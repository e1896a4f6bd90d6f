//! A message without what it was wrapped in: opened once, decoded once.

use chrono::{DateTime, Utc};

use crate::audit::{DecodeError, Decoded, Entry, decode};

/// What is known of a message besides what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Envelope<'m> {
    /// What was published. The same for each delivery, which a push body is not.
    pub data: &'m [u8],
    /// Logging's id of the entry.
    pub insert_id: Option<&'m str>,
    /// Pub/Sub's id of the message.
    pub message_id: Option<&'m str>,
    /// When Pub/Sub took the message.
    pub publish_time: Option<DateTime<Utc>>,
}

/// A `LogEntry`, or a Pub/Sub push body around one.
#[derive(Debug)]
pub struct Message<'m> {
    raw: &'m [u8],
    outer: Result<Entry<'m>, DecodeError>,
    pushed: Option<Result<Vec<u8>, DecodeError>>,
}

impl<'m> Message<'m> {
    /// Takes it out of its wrapping.
    pub fn open(raw: &'m [u8]) -> Self {
        let outer = Entry::parse(raw);
        let pushed = outer.as_ref().ok().and_then(|entry| entry.pushed().transpose());
        Message { raw, outer, pushed }
    }

    /// The entry inside a push body; `None` when the message is the entry itself.
    pub fn inner(&self) -> Option<Result<Entry<'_>, DecodeError>> {
        self.pushed.as_ref().map(|pushed| Entry::parse(pushed.as_ref().map_err(Clone::clone)?))
    }

    /// What it says, and what the wrapping says of it. `inner` is its own [`Message::inner`], which the answer borrows.
    pub fn read<'e>(
        &'e self,
        inner: &'e Option<Result<Entry<'e>, DecodeError>>,
    ) -> (Envelope<'e>, Result<Decoded<'e>, DecodeError>) {
        let outer = self.outer.as_ref();
        let wrapped = Envelope {
            data: self.raw,
            insert_id: outer.ok().and_then(Entry::insert_id),
            message_id: outer.ok().and_then(Entry::message_id),
            publish_time: outer.ok().and_then(Entry::publish_time).and_then(time),
        };
        match (&self.pushed, inner) {
            (Some(Ok(pushed)), Some(Ok(entry))) => {
                (Envelope { data: pushed, insert_id: entry.insert_id(), ..wrapped }, decode(entry))
            }
            (Some(Ok(pushed)), Some(Err(error))) => (Envelope { data: pushed, ..wrapped }, Err(error.clone())),
            (Some(Err(error)), _) => (wrapped, Err(error.clone())),
            _ => match outer {
                Ok(entry) => (wrapped, decode(entry)),
                Err(error) => (wrapped, Err(error.clone())),
            },
        }
    }
}

/// Opens a message and hands what it says to `read`.
pub fn open<T>(raw: &[u8], read: impl FnOnce(Envelope<'_>, Result<Decoded<'_>, DecodeError>) -> T) -> T {
    let message = Message::open(raw);
    let inner = message.inner();
    let (envelope, decoded) = message.read(&inner);
    read(envelope, decoded)
}

/// A time as Pub/Sub writes it.
pub fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}
