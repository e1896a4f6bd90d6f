//! What `gcloud logging read` prints by default: YAML, a document for each entry.
//!
//! It is read by its events, so that nothing is nested, expanded or rounded: an alias is refused, and a scalar is what
//! `gcloud` had before it printed it. A plain scalar is a number only in the way in which JSON writes whole numbers,
//! because `gcloud` quotes texts that look like one; everything else that YAML might take for a number stays a text,
//! which the decoder reads just the same.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{DEPTH_MAX, SEVERAL_MAX, YAML_MAX_BYTES, members};
use crate::audit::DecodeError;

/// Names at the left margin by which log entries are recognised, folded.
const NAMES: [&str; 4] = ["insertid", "logname", "protopayload", "protopayloadauditlog"];

/// Whether a text that begins like this is YAML that holds log entries.
pub(super) fn is_of_entries(head: &str) -> bool {
    head.lines().any(|line| {
        let (name, rest) = line.strip_prefix("- ").unwrap_or(line).split_once(':').unwrap_or_default();
        let bare = name.trim_matches(['"', '\'']);
        // A line of JSON that is broken or not indented is no YAML.
        let is_json = name.len() - bare.len() == 1 || name != bare && rest.trim_end().ends_with(',');
        let name = members::fold(bare);
        NAMES.contains(&name.as_str()) && !is_json && (rest.is_empty() || rest.starts_with([' ', '\t']))
    })
}

/// Each document as JSON.
pub(super) fn documents(text: &str) -> Result<Vec<Vec<u8>>, DecodeError> {
    if text.len() > YAML_MAX_BYTES {
        let size_bytes = text.len() as u64;
        return Err(DecodeError::TooLarge { size_bytes, limit_bytes: YAML_MAX_BYTES });
    }
    let mut documents = Vec::new();
    let mut writer = Writer::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| unreadable(error.marker().line(), error.info()))?;
        if event == Event::DocumentEnd {
            if documents.len() == SEVERAL_MAX {
                return Err(super::too_many(SEVERAL_MAX + 1));
            }
            documents.push(std::mem::take(&mut writer).json.into_bytes());
        } else {
            writer.write(event).map_err(|why| unreadable(span.start.line(), why))?;
        }
    }
    Ok(documents)
}

fn unreadable(line: usize, why: &str) -> DecodeError {
    DecodeError::Form { form: format!("YAML that cannot be read: line {line}: {why}"), remedy: super::REMEDY }
}

/// Writes JSON, event by event.
#[derive(Default)]
struct Writer {
    json: String,
    open: Vec<Open>,
}

/// A collection that is being written, and how many nodes of it are.
enum Open {
    Sequence(usize),
    /// Keys and values count alike.
    Mapping(usize),
}

impl Writer {
    fn write(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == "str")) {
                    return Err("it has a tag");
                }
                let is_key = matches!(self.open.last(), Some(Open::Mapping(nodes)) if nodes % 2 == 0);
                let json = match style {
                    ScalarStyle::Plain if !is_key => plain(&text),
                    _ => members::quoted(&text),
                };
                self.begin_node(true)?;
                self.json.push_str(&json);
            }
            Event::SequenceStart(_, None) => self.begin('[', Open::Sequence(0))?,
            Event::MappingStart(_, None) => self.begin('{', Open::Mapping(0))?,
            Event::SequenceStart(..) | Event::MappingStart(..) => return Err("it has a tag"),
            Event::SequenceEnd | Event::MappingEnd => {
                let bracket = if matches!(self.open.pop(), Some(Open::Sequence(_))) { ']' } else { '}' };
                self.json.push(bracket);
            }
            // Aliases make a few lines grow without bound, and no log entry has any.
            Event::Alias(_) => return Err("it has an alias"),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, bracket: char, collection: Open) -> Result<(), &'static str> {
        self.begin_node(false)?;
        if self.open.len() >= DEPTH_MAX {
            return Err("it is nested too deeply");
        }
        self.json.push(bracket);
        self.open.push(collection);
        Ok(())
    }

    /// Writes what is between this node and the one before it.
    fn begin_node(&mut self, is_scalar: bool) -> Result<(), &'static str> {
        match self.open.last_mut() {
            Some(Open::Mapping(nodes)) if *nodes % 2 == 0 && !is_scalar => return Err("a key is not a text"),
            Some(Open::Mapping(nodes)) => {
                match *nodes {
                    0 => {}
                    nodes if nodes % 2 == 0 => self.json.push(','),
                    _ => self.json.push(':'),
                }
                *nodes += 1;
            }
            Some(Open::Sequence(nodes)) => {
                if *nodes > 0 {
                    self.json.push(',');
                }
                *nodes += 1;
            }
            None => {}
        }
        Ok(())
    }
}

/// A plain scalar. Numbers beyond 18 digits stay texts, so that none is rounded.
fn plain(text: &str) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=18).contains(&digits.len())
        && (digits == "0" || !digits.starts_with('0'));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => "null".to_owned(),
        "true" | "True" | "TRUE" => "true".to_owned(),
        "false" | "False" | "FALSE" => "false".to_owned(),
        _ if is_whole => text.to_owned(),
        _ => members::quoted(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<String>, String> {
        let documents = documents(yaml).map_err(|error| error.to_string())?;
        Ok(documents.into_iter().map(|json| String::from_utf8(json).expect("JSON is UTF-8")).collect())
    }

    #[test]
    fn scalars_are_what_gcloud_had() {
        let yaml = "---\ninsertId: 12e4\n'@type': x\nn: 6\nq: '6'\nf: 3.5\nl: |-\n  a\n  b\nnone: null\n# why\nlist:\n- true\n- {}\n- []\n";
        let json =
            r#"{"insertId":"12e4","@type":"x","n":6,"q":"6","f":"3.5","l":"a\nb","none":null,"list":[true,{},[]]}"#;
        assert_eq!(read(yaml), Ok(vec![json.to_owned()]));
    }

    #[test]
    fn each_document_is_one() {
        assert_eq!(read("---\na: 1\n---\r\na: 2\r\n...\n"), Ok(vec!["{\"a\":1}".to_owned(), "{\"a\":2}".to_owned()]));
    }

    #[test]
    fn what_could_grow_or_be_misread_is_refused_with_its_line() {
        for (yaml, why) in [
            ("a: &x [1]\nb: *x\n", "line 2: it has an alias"),
            ("a: !!binary aGk=\n", "it has a tag"),
            ("? [1]\n: 2\n", "a key is not a text"),
            ("a: [\n", "line"),
        ] {
            let error = read(yaml).expect_err(yaml);
            assert!(error.contains(why), "{yaml:?}: {error}");
        }
        let deep = format!("a: {}", "[".repeat(200));
        assert!(read(&deep).expect_err("deep").contains("nested too deeply"));
    }

    #[test]
    fn only_yaml_of_entries_is_taken() {
        assert!(is_of_entries("---\nlabels: {}\ninsertId: x\n"));
        assert!(is_of_entries("- logName: x\n"));
        assert!(!is_of_entries("apiVersion: v1\nkind: Pod\n"));
        assert!(!is_of_entries("the logName: x\n"));
        assert!(!is_of_entries("insertId,logName\n"));
    }
}
