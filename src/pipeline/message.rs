//! A message without what it was wrapped in.

use chrono::{DateTime, Utc};

use crate::audit::forms::{self, Form};
use crate::audit::{DecodeError, Decoded, Entry, ROWS_MAX_BYTES, Write, decode};
use crate::time;

/// How often entries may be wrapped: a page, of push bodies, around a text, around an entry.
const WRAPPINGS_MAX: usize = 4;

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

impl<'m> Envelope<'m> {
    /// With what is known of the delivery only from around it.
    fn within(self, around: Envelope<'m>) -> Self {
        Envelope {
            message_id: self.message_id.or(around.message_id),
            publish_time: self.publish_time.or(around.publish_time),
            ..self
        }
    }
}

/// A `LogEntry`, a Pub/Sub push body around one, or any of [`forms`].
#[derive(Debug)]
struct Message<'m> {
    raw: &'m [u8],
    outer: Result<Entry<'m>, DecodeError>,
    pushed: Option<Result<Vec<u8>, DecodeError>>,
}

impl<'m> Message<'m> {
    /// Takes it out of a push body.
    fn open(raw: &'m [u8]) -> Self {
        let outer = Entry::parse(raw);
        let pushed = outer.as_ref().ok().and_then(|entry| entry.pushed().transpose());
        Message { raw, outer, pushed }
    }

    /// The entry inside a push body.
    fn pushed(&self) -> Option<Result<Entry<'_>, DecodeError>> {
        Some(Entry::parse(self.pushed.as_ref()?.as_ref().ok()?))
    }

    /// The message in its canonical form, where it has another. `pushed` is its own [`Message::pushed`].
    fn canonical(&self, pushed: Option<&Result<Entry<'_>, DecodeError>>) -> Option<Result<Form, DecodeError>> {
        let is_plain = |entry: &Result<Entry<'_>, DecodeError>| entry.as_ref().is_ok_and(Entry::is_plain);
        match &self.pushed {
            None if is_plain(&self.outer) => None,
            None => forms::canonical(self.raw).transpose(),
            Some(Err(_)) => None,
            Some(Ok(_)) if pushed.is_some_and(is_plain) => None,
            Some(Ok(pushed)) => forms::canonical(pushed).transpose(),
        }
    }

    /// What the wrapping says.
    fn envelope(&self) -> Envelope<'_> {
        let outer = self.outer.as_ref().ok();
        Envelope {
            data: self.pushed.as_ref().and_then(|pushed| pushed.as_ref().ok()).map_or(self.raw, Vec::as_slice),
            insert_id: outer.and_then(Entry::insert_id),
            message_id: outer.and_then(Entry::message_id),
            publish_time: outer.and_then(Entry::publish_time).and_then(time::read),
        }
    }

    /// What it says, and what the wrapping says of it. `inner` is the entry inside of it, where it is not the entry itself.
    fn read<'e>(
        &'e self,
        inner: Option<&'e Result<Entry<'e>, DecodeError>>,
    ) -> (Envelope<'e>, Result<Decoded<'e>, DecodeError>) {
        let wrapped = self.envelope();
        match (&self.pushed, inner) {
            (Some(Err(error)), _) | (_, Some(Err(error))) => (wrapped, Err(error.clone())),
            (_, Some(Ok(entry))) => (Envelope { insert_id: entry.insert_id(), ..wrapped }, decode(entry)),
            (_, None) => match &self.outer {
                Ok(entry) => (wrapped, decode(entry)),
                Err(error) => (wrapped, Err(error.clone())),
            },
        }
    }
}

fn wrapped_too_often() -> DecodeError {
    let form = format!("wrapped more than {WRAPPINGS_MAX} times");
    DecodeError::Form { form, remedy: "a LogEntry, or a Pub/Sub message around one" }
}

fn too_much() -> DecodeError {
    DecodeError::Form {
        form: "more than one message may hold".to_owned(),
        remedy: "fewer entries in one, or one a line",
    }
}

/// Opens a message and hands what it says to `read`: once, or for one that holds several documents once for each.
/// `around` is what is known of it besides, where it does not say so itself.
pub fn open(raw: &[u8], around: Envelope<'_>, read: impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>)) {
    let mut opening = Opening { room_bytes: ROWS_MAX_BYTES, read };
    opening.open(raw, around, WRAPPINGS_MAX);
}

struct Opening<R> {
    /// What is left for the rows of the whole message: a few letters may be a document, or a listed object.
    room_bytes: usize,
    read: R,
}

impl<R: FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>)> Opening<R> {
    fn open(&mut self, raw: &[u8], around: Envelope<'_>, wrappings: usize) {
        let message = Message::open(raw);
        let pushed = message.pushed();
        let form = message.canonical(pushed.as_ref());
        // The documents in it, where it holds several (a page, YAML): each is a message of its own.
        let documents = match &form {
            Some(Ok(Form::Several(documents))) if wrappings > 0 => Some(documents),
            _ => None,
        };
        if let Some(documents) = documents
            && self.takes(documents.len() * DOCUMENT_BYTES)
        {
            let around = message.envelope().within(around);
            return documents.iter().for_each(|document| self.open(document, around, wrappings - 1));
        }
        let inner = match &form {
            None => pushed,
            Some(Ok(Form::Entry(canonical))) => Some(Entry::parse(canonical)),
            Some(Ok(Form::Several(_))) => Some(Err(wrapped_too_often())),
            Some(Err(error)) => Some(Err(error.clone())),
        };
        let (envelope, decoded) = message.read(inner.as_ref());
        let decoded = match decoded {
            Ok(Decoded::Writes(writes)) if !self.takes(rows_bytes(&writes)) => Err(too_much()),
            _ if documents.is_some() => Err(too_much()),
            decoded => decoded,
        };
        (self.read)(envelope.within(around), decoded);
    }

    /// Takes room for rows, if there is so much.
    fn takes(&mut self, bytes: usize) -> bool {
        let left = self.room_bytes.checked_sub(bytes);
        self.room_bytes = left.unwrap_or(self.room_bytes);
        left.is_some()
    }
}

/// What comes of a document that says nothing: a row of the quarantine.
const DOCUMENT_BYTES: usize = 1 << 10;

/// What the rows of an entry take besides what lies in the entry itself.
fn rows_bytes(writes: &[Write<'_>]) -> usize {
    writes.iter().skip(1).map(Write::row_bytes).sum()
}
