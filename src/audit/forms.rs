//! The other forms in which people have the same entries: rows of BigQuery and of Log Analytics, pages of the REST
//! API, what client libraries dump, and the YAML that `gcloud` prints by default.
//!
//! ```text
//! bytes ─▶ canonical ─▶ Form::Entry(one LogEntry, as Logging writes it) │ Form::Several(documents) │ None: not known
//! ```
//!
//! Each is read where nothing has to be guessed, and becomes the bytes of a `LogEntry`, which the one decoder then
//! reads: so an entry has the same identity whichever way it came. Bodies are carried over as they lie there, byte by
//! byte. A form that lacks what identifies an entry is refused, with its name and what to give instead.
//!
//! Only what the decoder could not make an audit entry of comes here, so none of this has to be fast; but nothing may
//! be slow without bound: nesting is read without recursion, or up to a limit, and so is how many documents one may hold.

mod entry;
mod members;
mod structs;
mod time;
mod yaml;

use super::DecodeError;
use members::{Array, Members};

/// Most documents that one document may hold. A page of `entries.list` has 1,000 entries at most.
const SEVERAL_MAX: usize = 10_000;

/// Deepest nesting of YAML. Kubernetes' objects stay below 30; serde_json gives up at 128.
const DEPTH_MAX: usize = 100;

/// Longest YAML that is read. A LogEntry has at most 512 KiB, which indentation may make a few times longer.
const YAML_MAX_BYTES: usize = 4 << 20;

/// What to give instead of something that cannot be read.
pub const REMEDY: &str = "log entries as JSON, as gcloud logging read --format=json prints them";

/// What another form came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One `LogEntry`, as Logging writes it.
    Entry(Vec<u8>),
    /// Documents to be read each on its own, in whichever form they are.
    Several(Vec<Vec<u8>>),
}

/// Reads a document that is not a `LogEntry` with an audit payload. `None` when no form is recognised.
///
/// # Errors
/// [`DecodeError`] when the form is recognised and cannot be read.
pub fn canonical(bytes: &[u8]) -> Result<Option<Form>, DecodeError> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(None) };
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    match text.as_bytes().first() {
        Some(b'{') => object(text),
        Some(b'[') => Array::parse(text).map(|documents| several(&documents)).transpose(),
        // What `jq` prints of a text that holds an entry, without its `-r`.
        Some(b'"') => Ok(serde_json::from_str::<String>(text)
            .ok()
            .filter(|inner| inner.trim_ascii_start().starts_with('{'))
            .map(|inner| Form::Several(vec![inner.into_bytes()]))),
        _ if yaml::is_of_entries(text) => yaml::documents(text).map(|documents| Some(Form::Several(documents))),
        _ => Ok(None),
    }
}

fn object(text: &str) -> Result<Option<Form>, DecodeError> {
    let Some(members) = Members::parse(text) else { return Ok(None) };
    let starts = |name: &str, with: &str| members.text(name).is_some_and(|value| value.starts_with(with));
    if starts("apiVersion", "audit.k8s.io/") {
        return Err(kubernetes_event());
    }
    if starts("kind", "bigquery#") {
        return Err(DecodeError::Form {
            form: "a raw answer of BigQuery's REST API, whose rows have no names".to_owned(),
            remedy: "rows as bq query --format=json or bq extract write them",
        });
    }
    if members.get("logName").is_none() {
        for page in PAGES {
            if let Some(documents) = members.get(page).and_then(|raw| Array::parse(raw.get())) {
                return several(&documents).map(Some);
            }
        }
    }
    Ok(entry::entry(&members)?.map(|entry| Form::Entry(entry.into_bytes())))
}

/// The arrays of a page: of Logging's `entries.list`, and of Pub/Sub's `subscriptions.pull`.
pub const PAGES: [&str; 2] = ["entries", "receivedMessages"];

fn several(documents: &Array<'_>) -> Result<Form, DecodeError> {
    if documents.count > SEVERAL_MAX {
        return Err(too_many(documents.count));
    }
    // Client libraries dump `[entries, null, page]`.
    let documents = documents.first.iter().filter(|document| document.get() != "null");
    Ok(Form::Several(documents.map(|document| document.get().as_bytes().to_vec()).collect()))
}

fn too_many(documents: usize) -> DecodeError {
    DecodeError::Form {
        form: format!("{documents} entries in one document"),
        remedy: "at most 10000 entries in one, or one a line",
    }
}

/// Why an event of the API server's own audit log is refused, whether it is alone or in an `EventList`.
pub fn kubernetes_event() -> DecodeError {
    DecodeError::Form {
        form: "a Kubernetes audit event (audit.k8s.io), which names neither project, location nor cluster".to_owned(),
        remedy: "the same calls as Cloud Logging has them: gcloud logging read --format=json",
    }
}

/// Whether an object that begins like this is an event of the API server's own audit log: without reading all of it.
pub fn begins_a_kubernetes_event(head: &[u8]) -> bool {
    // Almost no entry has these letters anywhere, so it costs one search.
    memchr::memmem::find(head, b"audit.k8s.io/v").is_some()
        && members::beginning(head).any(|(key, value)| key == b"apiVersion" && value.starts_with(b"\"audit.k8s.io/v"))
}

/// Keys that log entries begin with, and hardly anything inside one.
pub const ENTRY_KEYS: [&[u8]; 7] =
    [b"insertId", b"insert_id", b"logName", b"log_name", b"protoPayload", b"proto_payload", b"protopayload_auditlog"];

/// Where the array of a page begins (just behind its bracket), in an object that begins like this. An array of log entries
/// is one under whichever name.
pub fn begins_a_page(head: &[u8]) -> Option<usize> {
    let (key, array) = members::beginning(head)
        .take_while(|(key, _)| !matches!(*key, b"logName" | b"insertId" | b"protoPayload"))
        .find(|(_, value)| value.starts_with(b"["))?;
    let members = array.get(1..).unwrap_or_default();
    let holds_entries = || members::beginning(members).next().is_some_and(|(key, _)| ENTRY_KEYS.contains(&key));
    let is_page = PAGES.iter().any(|page| page.as_bytes() == key) || holds_entries();
    is_page.then(|| head.len() - members.len())
}

/// Whether a text that begins like this is YAML that holds log entries.
pub fn begins_yaml(head: &str) -> bool {
    yaml::is_of_entries(head)
}
