//! The documents of a PED file, loaded one at a time and within bounds: what somebody sends for review is anything at all.

use std::collections::BTreeMap;

use saphyr::{MarkedYaml, YamlLoader};
use saphyr_parser::{Event, Marker, Parser, ScanError, SpannedEventReceiver, StrInput};

use super::Place;

/// Longest document, with everything that its aliases stand for. A PED has some hundred bytes; Kubernetes itself takes no
/// object above 1.5 MiB.
const DOCUMENT_MAX_BYTES: usize = 1 << 20;

/// What a node counts besides its text, so that a document of nothing but brackets is bounded too.
const NODE_BYTES: usize = 16;

/// How much is quoted of a key.
const KEY_CHARS: usize = 64;

/// Deepest nesting: a volume of Kubernetes, which is the deepest that a PED holds, has five levels.
const DEPTH_MAX: usize = 64;

/// Why a document cannot be loaded, nor what is behind it.
pub(super) struct Unreadable {
    pub(super) place: Place,
    /// What it is and what would be right.
    pub(super) message: String,
}

impl From<&ScanError> for Unreadable {
    fn from(error: &ScanError) -> Self {
        Unreadable { place: at(error.marker()), message: format!("is not YAML: {}", error.info()) }
    }
}

/// The place that a marker marks; it counts columns from 0.
pub(super) fn at(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// Reads documents one by one; ends behind the first that cannot be loaded.
pub(super) struct Documents<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    is_done: bool,
}

impl<'t> Documents<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Documents { text, parser: Parser::new_from_str(text), is_done: false }
    }

    /// The next one; `None` at the end.
    fn load(&mut self) -> Result<Option<MarkedYaml<'t>>, Unreadable> {
        let mut loader = YamlLoader::default();
        let mut size = Size::default();
        for event in self.parser.by_ref() {
            let (event, span) = event.map_err(|error| Unreadable::from(&error))?;
            let place = at(&span.start);
            size.add(&event).map_err(|message| Unreadable { place, message })?;
            let is_end = event == Event::DocumentEnd;
            loader.on_event(event, span);
            if let Some(error) = loader.error() {
                return Err(self.refused(error));
            }
            if is_end {
                return Ok(loader.into_documents().pop());
            }
        }
        Ok(None)
    }
}

impl Documents<'_> {
    /// What the loader itself refuses is a key that its mapping has already; it does not say which.
    fn refused(&self, error: &ScanError) -> Unreadable {
        let unreadable = Unreadable::from(error);
        let line = self.text.lines().nth(unreadable.place.line - 1).unwrap_or_default();
        let is_of_a_name = |c: &char| c.is_ascii_alphanumeric() || "-_./".contains(*c);
        let key: String = line.chars().skip(error.marker().col()).take_while(is_of_a_name).take(KEY_CHARS).collect();
        match key.is_empty() {
            true => unreadable,
            false => Unreadable { message: format!("has the key {key} twice; expected once"), ..unreadable },
        }
    }
}

impl<'t> Iterator for Documents<'t> {
    type Item = Result<MarkedYaml<'t>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let loaded = self.load();
        self.is_done = !matches!(loaded, Ok(Some(_)));
        loaded.transpose()
    }
}

/// How large and how deep a document is so far.
#[derive(Default)]
struct Size {
    bytes: usize,
    /// The collections that are open: anchor, and the size before them.
    open: Vec<(usize, usize)>,
    /// What an alias of each anchor stands for.
    anchors: BTreeMap<usize, usize>,
}

impl Size {
    fn add(&mut self, event: &Event<'_>) -> Result<(), String> {
        let before = self.bytes;
        match event {
            Event::Scalar(text, _, anchor, _) => {
                self.bytes += NODE_BYTES + text.len();
                self.anchors.insert(*anchor, self.bytes - before);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.bytes += NODE_BYTES;
                self.open.push((*anchor, before));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = self.open.pop() {
                    self.anchors.insert(anchor, self.bytes - before);
                }
            }
            Event::Alias(anchor) => self.bytes += self.anchors.get(anchor).copied().unwrap_or(NODE_BYTES),
            _ => {}
        }
        if self.open.len() > DEPTH_MAX {
            return Err(format!("is nested too deeply; expected at most {DEPTH_MAX} levels"));
        }
        if self.bytes > DOCUMENT_MAX_BYTES {
            return Err(format!(
                "is in a document too large; expected at most {DOCUMENT_MAX_BYTES} bytes, aliases included"
            ));
        }
        Ok(())
    }
}
