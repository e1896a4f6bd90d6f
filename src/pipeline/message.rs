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
pub struct Message<'m> {
    raw: &'m [u8],
    outer: Result<Entry<'m>, DecodeError>,
    pushed: Option<Result<Vec<u8>, DecodeError>>,
    form: Option<Result<Form, DecodeError>>,
}

impl<'m> Message<'m> {
    /// Takes it out of its wrapping.
    pub fn open(raw: &'m [u8]) -> Self {
        let outer = Entry::parse(raw);
        let pushed = outer.as_ref().ok().and_then(|entry| entry.pushed().transpose());
        let form = match (&outer, &pushed) {
            (Ok(entry), None) if entry.is_plain() => None,
            (_, None) => forms::canonical(raw).transpose(),
            (_, Some(Ok(pushed))) if Entry::parse(pushed).is_ok_and(|entry| entry.is_plain()) => None,
            (_, Some(Ok(pushed))) => forms::canonical(pushed).transpose(),
            (_, Some(Err(_))) => None,
        };
        Message { raw, outer, pushed, form }
    }

    /// The documents in it, where it holds several (a page, YAML): each is a message of its own.
    pub fn several(&self) -> Option<&[Vec<u8>]> {
        match &self.form {
            Some(Ok(Form::Several(documents))) => Some(documents),
            _ => None,
        }
    }

    /// The entry inside a push body or another form; `None` when the message is the entry itself.
    pub fn inner(&self) -> Option<Result<Entry<'_>, DecodeError>> {
        match (&self.form, &self.pushed) {
            (Some(Ok(Form::Entry(canonical))), _) => Some(Entry::parse(canonical)),
            (Some(Ok(Form::Several(_))), _) => Some(Err(wrapped_too_often())),
            (Some(Err(error)), _) => Some(Err(error.clone())),
            (None, Some(pushed)) => Some(Entry::parse(pushed.as_ref().map_err(Clone::clone).ok()?)),
            (None, None) => None,
        }
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
            publish_time: outer.ok().and_then(Entry::publish_time).and_then(time::read),
        };
        let published = match &self.pushed {
            Some(Ok(pushed)) => Envelope { data: pushed, ..wrapped },
            Some(Err(error)) => return (wrapped, Err(error.clone())),
            None => wrapped,
        };
        match inner {
            Some(Ok(entry)) => (Envelope { insert_id: entry.insert_id(), ..published }, decode(entry)),
            Some(Err(error)) => (published, Err(error.clone())),
            None => match outer {
                Ok(entry) => (published, decode(entry)),
                Err(error) => (published, Err(error.clone())),
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
        let inner = message.inner();
        let documents = message.several().filter(|_| wrappings > 0);
        if let Some(documents) = documents
            && self.takes(documents.len() * DOCUMENT_BYTES)
        {
            let around = message.read(&None).0.within(around);
            return documents.iter().for_each(|document| self.open(document, around, wrappings - 1));
        }
        let (envelope, decoded) = message.read(&inner);
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
