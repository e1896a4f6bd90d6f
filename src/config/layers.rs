//! The layers that a configuration is made of: defaults, the file, the platform's own variables, ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::DeTable;
use toml::{Table, Value};

use super::raw::{Faults, Raw, SECRETS, named_sections};
use super::{ConfigError, ENV_PREFIX};
use crate::telemetry::redact;

/// Every key, dotted, in alphabetical order.
pub fn keys() -> Vec<String> {
    flatten(&defaults()).into_keys().collect()
}

/// The variable that overrides a key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").replace('-', "_").to_uppercase())
}

pub(super) fn defaults() -> Table {
    // A struct of plain values always serializes; were it not so, every key would be unknown, and every test fail.
    Table::try_from(Raw::default()).unwrap_or_default()
}

/// The line of each key in a file, and of each section, from 1.
pub(super) type Lines = BTreeMap<String, usize>;

/// What a file says.
#[derive(Default)]
pub(super) struct Given {
    /// The values by their keys.
    pub(super) values: BTreeMap<String, Value>,
    /// Where they stand.
    pub(super) lines: Lines,
    /// The keys whose values do not fit.
    pub(super) misfits: BTreeSet<String>,
}

/// What a file says. Values that do not fit are left out, each with its fault.
///
/// # Errors
/// [`ConfigError`] when it cannot be read, or is not TOML.
pub(super) fn read_file(path: &Path, faults: &mut Faults) -> Result<Given, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let refuse = |message: String| ConfigError::Toml { path: path.to_owned(), message };
    let table: Table = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    let places = DeTable::parse(&text).map_err(|error| refuse(error.to_string()))?;
    let line = |key: &str| {
        let at = start(places.get_ref(), key).unwrap_or(0);
        text.get(..at).unwrap_or_default().matches('\n').count() + 1
    };
    let mut values = flatten(&table);
    let sections = values.keys().flat_map(|key| key.match_indices('.').map(|(at, _)| &key[..at]));
    let lines: Lines =
        sections.chain(values.keys().map(String::as_str)).map(|key| (key.to_owned(), line(key))).collect();
    let mut misfits = BTreeSet::new();
    values.retain(|key, value| {
        let found = misfits_of(key, value);
        faults.0.extend(found.iter().map(|(key, why)| ConfigError::File {
            path: path.to_owned(),
            line: line(key),
            message: format!("{key}: {why}"),
        }));
        if !found.is_empty() {
            misfits.insert(key.clone());
        }
        // A section without any key says nothing, unless it has a name.
        found.is_empty() && (!value.is_table() || is_named_section(key))
    });
    Ok(Given { values, lines, misfits })
}

/// The keys that do not fit, and why: of a list of tables, such as `[[routes]]`, each by itself.
fn misfits_of(key: &str, value: &Value) -> Vec<(String, String)> {
    let Some(why) = misfit(key, value) else { return Vec::new() };
    let tables = value.as_array().into_iter().flatten().enumerate().filter_map(|(at, one)| Some((at, one.as_table()?)));
    let keys = tables.flat_map(|(at, table)| table.iter().map(move |(name, value)| (at, name, value)));
    let found = keys.filter_map(|(at, name, value)| {
        let alone = Table::from_iter([(name.clone(), value.clone())]);
        Some((format!("{key}[{at}].{name}"), misfit(key, &Value::Array(vec![alone.into()]))?))
    });
    let found: Vec<(String, String)> = found.collect();
    if found.is_empty() { vec![(key.to_owned(), why)] } else { found }
}

/// Whether a key is that of a whole section with a name, such as `clusters.prod_1`.
fn is_named_section(key: &str) -> bool {
    let is_known = |section: &str| named_sections().iter().any(|(known, _)| *known == section);
    key.split_once('.').is_some_and(|(section, name)| is_known(section) && !name.contains('.'))
}

/// Gives each section that has a name the keys that it leaves out, and tells which keys they have in all.
pub(super) fn complete(table: &mut Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (section, defaults) in named_sections() {
        let Some(Value::Table(named)) = table.get_mut(section) else { continue };
        for (name, of_it) in named.iter_mut() {
            let Value::Table(of_it) = of_it else { continue };
            for (key, value) in &defaults {
                of_it.entry(key).or_insert_with(|| value.clone());
                keys.push(format!("{section}.{name}.{key}"));
            }
        }
    }
    keys
}

/// The key that a variable names, and what it is by default.
fn named_by(variable: &str) -> Option<(String, Value)> {
    let known = flatten(&defaults()).into_iter().find(|(key, _)| env_name(key) == variable);
    known.or_else(|| {
        let path = variable.strip_prefix(ENV_PREFIX)?.to_lowercase();
        let (section, path) = path.split_once("__")?;
        let (name, _) = path.split_once("__")?;
        let (section, defaults) = named_sections().into_iter().find(|(known, _)| *known == section)?;
        let mut keys = defaults.into_iter().map(|(key, value)| (format!("{section}.{name}.{key}"), value));
        keys.find(|(key, _)| env_name(key) == variable)
    })
}

/// Why a value is not one of this key; by itself, so that each has its own fault.
fn misfit(key: &str, value: &Value) -> Option<String> {
    let mut alone = Table::new();
    set(&mut alone, key, value.clone());
    alone.try_into::<Raw>().err().map(|error| in_words(error.message()))
}

/// What serde expects, as people call it.
fn in_words(message: &str) -> String {
    let known = [("i64", "a whole number"), ("a boolean", "true or false"), ("a sequence", "a list")];
    let named = known.iter().find_map(|(name, words)| {
        let before = message.trim_end().strip_suffix(name)?.strip_suffix("expected ")?;
        Some(format!("{before}expected {words}"))
    });
    named.unwrap_or_else(|| message.to_owned())
}

/// Where a key stands in a file, in bytes from its beginning: its last part, as far as that is there.
fn start(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let (first, at) = match first.strip_suffix(']').and_then(|first| first.split_once('[')) {
        Some((first, at)) => (first, at.parse::<usize>().ok()),
        None => (first, None),
    };
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    let value = match at {
        Some(at) => value.get_ref().as_array()?.get(at)?,
        None => value,
    };
    let inner = rest.and_then(|rest| start(value.get_ref().as_table()?, rest));
    inner.or(Some(name.span().start))
}

/// Keys of older releases that do nothing any more.
const RETIRED: [&str; 1] = ["consumer.batch_wait_ms"];

/// Whether a variable is meant for a key: nearly all have a section, and two underscores behind it.
pub(super) fn may_be_a_key(variable: &str) -> bool {
    let is_in_a_section = |name: &str| name.contains("__");
    let is_known = || keys().iter().any(|key| env_name(key) == variable);
    variable.strip_prefix(ENV_PREFIX).is_some_and(|name| is_in_a_section(name) || is_known())
        && !RETIRED.iter().any(|key| env_name(key) == variable)
}

/// The value of a key as TOML, without secrets.
pub(super) fn shown(key: &str, value: &Value) -> String {
    let is_secret = key.starts_with("receivers.") && SECRETS.iter().any(|name| key.rsplit('.').next() == Some(name));
    match value {
        Value::String(text) if is_secret && !text.is_empty() => "(hidden)".to_owned(),
        Value::String(text) => {
            Value::String(if text.contains("://") { redact::url(text) } else { text.clone() }).to_string()
        }
        value => value.to_string(),
    }
}

/// Sets the key that a variable names to what it says, and checks that it still fits.
pub(super) fn override_from(variable: &str, text: &str, table: &mut Table) -> Result<String, ConfigError> {
    let refuse = |message: String| ConfigError::Environment { variable: variable.to_owned(), message };
    // What the file names by itself, such as a price by its date, has a variable too.
    let of_the_file = flatten(table).into_iter().find(|(key, _)| env_name(key) == variable);
    let (key, default) = of_the_file
        .or_else(|| named_by(variable))
        .ok_or_else(|| refuse("no such key; `pedwatch config check` lists the variables there are".to_owned()))?;
    let value = match default {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number")),
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} is neither true nor false"))
        }
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()))
        }
        _ => Ok(Value::from(text)),
    }
    .map_err(refuse)?;
    misfit(&key, &value).map_or(Ok(()), |why| Err(refuse(why)))?;
    set(table, &key, value);
    Ok(key)
}

/// Dotted keys and their values; tables are what is between the dots, unless they are empty.
pub(super) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                flat.extend(flatten(inner).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
    flat
}

pub(super) fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            if let Value::Table(inner) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                set(inner, rest, value);
            }
        }
    }
}

/// What a variable of the platform says: those by which emulators are known to other clients, and Cloud Run's `PORT`.
pub(super) fn platform(variable: &str, text: &str) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let url = || Value::from(if text.contains("://") { text.to_owned() } else { format!("http://{text}") });
    Ok(match variable {
        "BIGQUERY_EMULATOR_HOST" => vec![("bigquery.endpoint", url()), ("bigquery.anonymous", true.into())],
        "PUBSUB_EMULATOR_HOST" => vec![("pull.endpoint", url()), ("pull.anonymous", true.into())],
        "FIRESTORE_EMULATOR_HOST" => vec![("firestore.endpoint", url()), ("firestore.anonymous", true.into())],
        "STORAGE_EMULATOR_HOST" => vec![("storage.endpoint", url()), ("storage.anonymous", true.into())],
        "PORT" => {
            let refuse = |_| ConfigError::Environment {
                variable: variable.to_owned(),
                message: format!("{text:?} is not a whole number"),
            };
            vec![("push.port", Value::Integer(text.parse().map_err(refuse)?))]
        }
        _ => Vec::new(),
    })
}
