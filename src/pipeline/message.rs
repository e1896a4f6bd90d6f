//! A message without what it was wrapped in.

use chrono::{DateTime, Utc};

use crate::audit::forms::{self, Form};
use crate::audit::{DecodeError, Decoded, Entry, decode};

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
            publish_time: outer.ok().and_then(Entry::publish_time).and_then(time),
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

/// Opens a message and hands what it says to `read`: once, or for one that holds several documents once for each.
/// `around` is what is known of it besides, where it does not say so itself.
pub fn open(raw: &[u8], around: Envelope<'_>, mut read: impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>)) {
    open_wrapped(raw, around, WRAPPINGS_MAX, &mut read);
}

fn open_wrapped(
    raw: &[u8],
    around: Envelope<'_>,
    wrappings: usize,
    read: &mut impl FnMut(Envelope<'_>, Result<Decoded<'_>, DecodeError>),
) {
    let message = Message::open(raw);
    let inner = message.inner();
    if let Some(documents) = message.several().filter(|_| wrappings > 0) {
        let around = message.read(&None).0.within(around);
        return documents.iter().for_each(|document| open_wrapped(document, around, wrappings - 1, read));
    }
    let (envelope, decoded) = message.read(&inner);
    read(envelope.within(around), decoded);
}

/// A time as Pub/Sub writes it.
pub fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}
