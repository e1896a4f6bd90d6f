//! The configuration's JSON Schema, for editors: keys and types are those of the defaults, the words those of the commented
//! example.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::EXAMPLE;
use super::layers::defaults;
use super::raw::{SECRETS, named_sections, route};
use crate::billing::{Basis, Rounding};
use crate::names::Named;
use crate::notify::channel::{ReceiverKind, Security};
use crate::notify::template::Language;
use crate::policy::Severity;

/// The schema, of draft 2020-12. It tells keys, types and names; what else a value has to be, `pedwatch config check` says.
pub fn schema() -> Json {
    let words = words();
    let mut root = defaults();
    for (section, of_it) in named_sections() {
        root.insert(section.to_owned(), Value::Table(Table::from_iter([("*".to_owned(), Value::Table(of_it))])));
    }
    root.insert("routes".to_owned(), Value::Table(Table::from_iter([("*".to_owned(), Value::Table(route()))])));
    let Json::Object(mut schema) = section("", &root, &words) else { return Json::Null };
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "pedwatch's configuration".into());
    Json::Object(schema)
}

/// A section with its keys. `*` stands for the names of those of which there may be several.
fn section(path: &str, table: &Table, words: &BTreeMap<String, String>) -> Json {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(Value::Table(each)) = table.get("*") {
        let each = section(&below("*"), each, words);
        return match path {
            "routes" => json!({"type": "array", "items": each}),
            _ => json!({"type": "object", "additionalProperties": each}),
        };
    }
    if path == "billing.prices" {
        let each = table.values().next().and_then(Value::as_table).map(|each| section(&below("*"), each, words));
        let date = r"^\d{4}-\d{2}-\d{2}$";
        return json!({"type": "object", "additionalProperties": false, "patternProperties": {date: each}});
    }
    let properties: Map<String, Json> = table
        .iter()
        // They stand in files and variables alone.
        .filter(|(key, _)| !(path.starts_with("receivers.") && SECRETS.contains(&key.as_str())))
        .map(|(key, value)| {
            let path = below(key);
            let mut of_key = match value {
                Value::Table(table) => section(&path, table, words),
                value => plain(&path, value),
            };
            if let (Some(words), Json::Object(of_key)) = (words.get(&path), &mut of_key) {
                of_key.insert("description".to_owned(), words.as_str().into());
            }
            (key.clone(), of_key)
        })
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// A key with a value.
fn plain(path: &str, value: &Value) -> Json {
    let default = serde_json::to_value(value).unwrap_or_default();
    let mut of_key = match value {
        Value::Boolean(_) => json!({"type": "boolean"}),
        Value::Integer(_) => json!({"type": "integer"}),
        Value::Array(_) => json!({"type": "array", "items": {"type": "string"}}),
        // Money is a whole number, or text.
        _ if ["base", "cpu", "gb", "divisor"].iter().any(|key| path == format!("billing.prices.*.{key}")) => {
            json!({"type": ["string", "integer"]})
        }
        _ => match names(path) {
            names if names.is_empty() => json!({"type": "string"}),
            names => json!({"enum": names}),
        },
    };
    if let Json::Object(of_key) = &mut of_key {
        // Of what has a name, nothing is there by default.
        if !path.contains('*') || path.starts_with("billing.") {
            of_key.insert("default".to_owned(), default);
        }
    }
    of_key
}

/// The names that a key takes; none where it takes any text.
fn names(path: &str) -> Vec<&'static str> {
    fn all<T: Named>() -> Vec<&'static str> {
        T::ALL.iter().map(|value| value.as_str()).collect()
    }
    match path {
        "billing.prices.*.basis" => all::<Basis>(),
        "billing.prices.*.rounding" => all::<Rounding>(),
        "clusters.*.access" => vec!["dns", "endpoint", "connect_gateway", "in_cluster", "kubeconfig"],
        "log.format" => vec!["text", "json"],
        "notify.language" => all::<Language>(),
        "notify.unrouted" => vec!["refuse", "ignore"],
        "push.auth" => vec!["oidc", "platform"],
        "receivers.*.kind" => all::<ReceiverKind>(),
        "receivers.*.security" => all::<Security>(),
        path if path.starts_with("rules.") && path.ends_with(".severity") => all::<Severity>(),
        _ => Vec::new(),
    }
}

/// What the example says of each section and key: the comment before it or behind it. A comment before several keys is each
/// one's.
fn words() -> BTreeMap<String, String> {
    let (mut words, mut at, mut before, mut is_open) = (BTreeMap::new(), String::new(), Vec::new(), false);
    for line in EXAMPLE.lines() {
        // What may be there several times is shown as a comment.
        let shown = line.trim_start_matches(['#', ' ']);
        let (code, behind) = shown.split_once('#').map_or((shown, ""), |(code, behind)| (code, behind.trim()));
        let code = code.trim();
        let key = code.split_once(" = ").map(|(key, _)| key).filter(|key| !key.contains(' '));
        let header = code.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match (header, key) {
            (Some(header), _) => {
                at = general(header.trim_matches(['[', ']']));
                say(&mut words, at.clone(), &before, behind);
                is_open = false;
            }
            (None, Some(key)) => {
                let path = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
                say(&mut words, path, &before, behind);
                is_open = false;
            }
            (None, None) if line.is_empty() => before.clear(),
            (None, None) if line.starts_with('#') => {
                if !std::mem::replace(&mut is_open, true) {
                    before.clear();
                }
                before.push(shown);
            }
            (None, None) => {}
        }
    }
    words
}

fn say(words: &mut BTreeMap<String, String>, key: String, before: &[&str], behind: &str) {
    let said = if behind.is_empty() { before.join(" ") } else { behind.to_owned() };
    if !said.is_empty() {
        words.entry(key).or_insert(said);
    }
}

/// A section's path, with `*` in the place of a name.
fn general(header: &str) -> String {
    match header.rsplit_once('.') {
        Some((section @ ("clusters" | "receivers" | "billing.prices"), _)) => format!("{section}.*"),
        _ if header == "routes" => "routes.*".to_owned(),
        _ => header.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    /// Each object of the schema, with the path of its key.
    fn each<'s>(path: &str, schema: &'s Json, found: &mut Vec<(String, &'s Json)>) {
        found.push((path.to_owned(), schema));
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            each(&below(key), inner, found);
        }
        let named = [&schema["additionalProperties"], &schema["items"]]
            .into_iter()
            .filter(|inner| inner["properties"].is_object());
        for inner in named.chain(schema["patternProperties"].as_object().into_iter().flat_map(Map::values)) {
            each(&below("*"), inner, found);
        }
    }

    #[test]
    fn every_key_has_a_type_and_most_have_words() {
        let schema = schema();
        let mut found = Vec::new();
        each("", &schema, &mut found);
        for key in super::super::keys() {
            let key = key.replace("billing.prices.2000-01-01", "billing.prices.*");
            assert!(found.iter().any(|(path, _)| *path == key), "{key}");
        }
        // Keys of what has a name, and of rules, mostly say themselves.
        let says_itself = ["clusters", "receivers", "routes", "rules.", "billing.prices"];
        let without: Vec<&str> = found
            .iter()
            .filter(|(_, schema)| schema["properties"].is_null() && schema["description"].is_null())
            .map(|(path, _)| path.as_str())
            .filter(|path| !says_itself.iter().any(|known| path.starts_with(known)))
            .collect();
        assert_eq!(without, [] as [&str; 0]);
        let secret =
            found.iter().find(|(path, _)| SECRETS.iter().any(|secret| *path == format!("receivers.*.{secret}")));
        assert_eq!(secret, None);
    }

    /// The names that the schema takes are those that the program takes, and no other.
    #[test]
    fn the_names_of_a_key_are_those_that_the_program_takes() {
        let schema = schema();
        let mut found = Vec::new();
        each("", &schema, &mut found);
        let takes = |key: &str, name: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let (section, key) = key.rsplit_once('.').expect("a section");
            let section = section.replace("prices.*", "prices.2026-01-01").replace('*', "a");
            let kind = if key == "security" { "kind = \"email\"\n" } else { "" };
            std::fs::write(file.path(), format!("[{section}]\n{kind}{key} = \"{name}\"\n")).expect("written");
            // Something else may be missing then.
            let refused = Config::load(Some(file.path()), []).err().map(|error| error.to_string()).unwrap_or_default();
            !refused.lines().any(|line| {
                line.contains(key)
                    && line.contains(name)
                    && [" expected one of ", ", expected `"].iter().any(|words| line.contains(words))
            })
        };
        let mut keys = 0;
        for (path, schema) in found.iter().filter(|(_, schema)| schema["enum"].is_array()) {
            keys += 1;
            for name in schema["enum"].as_array().expect("names") {
                assert!(takes(path, name.as_str().expect("text")), "{path} {name}");
            }
            assert!(!takes(path, "nonesuch"), "{path} takes any name");
        }
        assert!(keys >= 20, "{keys}");
    }
}
