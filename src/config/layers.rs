//! The layers that a configuration is made of: defaults, the file, the platform's own variables, ours.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::raw::Raw;
use super::{ConfigError, ENV_PREFIX};
use crate::telemetry::redact;

/// Every key, dotted, in alphabetical order.
pub fn keys() -> Vec<String> {
    flatten(&defaults()).into_keys().collect()
}

/// The variable that overrides a key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

pub(super) fn defaults() -> Table {
    // A struct of plain values always serializes; were it not so, every key would be unknown, and every test fail.
    Table::try_from(Raw::default()).unwrap_or_default()
}

/// Parses the file strictly on its own first, because only then can an error point at its line.
pub(super) fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let refuse = |error: toml::de::Error| ConfigError::File { path: path.to_owned(), message: error.to_string() };
    toml::from_str::<Raw>(&text).map_err(refuse)?;
    toml::from_str(&text).map_err(refuse)
}

/// Keys of older releases that do nothing any more.
const RETIRED: [&str; 1] = ["consumer.batch_wait_ms"];

/// Whether a variable is meant for a key: each has a section, and two underscores behind it.
pub(super) fn may_be_a_key(variable: &str) -> bool {
    variable.strip_prefix(ENV_PREFIX).is_some_and(|name| name.contains("__"))
        && !RETIRED.iter().any(|key| env_name(key) == variable)
}

/// A value as TOML, without secrets.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            Value::String(if text.contains("://") { redact::url(text) } else { text.clone() }).to_string()
        }
        value => value.to_string(),
    }
}

/// Sets the key that a variable names to what it says, and checks that it still fits.
pub(super) fn override_from(variable: &str, text: &str, table: &mut Table) -> Result<String, ConfigError> {
    let refuse = |message: String| ConfigError::Environment { variable: variable.to_owned(), message };
    let key = keys()
        .into_iter()
        .find(|key| env_name(key) == variable)
        .ok_or_else(|| refuse("no such key; `pedwatch config check` lists the variables there are".to_owned()))?;
    let value = match flatten(table).get(&key) {
        Some(Value::Integer(_)) => {
            text.parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number"))
        }
        Some(Value::Boolean(_)) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} is neither true nor false"))
        }
        Some(Value::Array(_)) => {
            Ok(Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()))
        }
        _ => Ok(Value::from(text)),
    }
    .map_err(refuse)?;
    set(table, &key, value);
    table.clone().try_into::<Raw>().map_err(|error| refuse(error.message().to_owned()))?;
    Ok(key)
}

/// Dotted keys and their values; tables are what is between the dots.
pub(super) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
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
