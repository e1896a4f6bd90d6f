//! Configuration: one TOML file and the environment, parsed raw and converted once into a valid [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::policy::{AlertType, Policy, Routes, Severities, Severity};

/// The commented example: all keys, at their defaults.
pub const EXAMPLE: &str = include_str!("config.example.toml");

/// Prefix of the variables that override keys.
pub const ENV_PREFIX: &str = "PEDWATCH_";

/// Names the configuration file; not itself a key.
pub const ENV_CONFIG: &str = "PEDWATCH_CONFIG";

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What judging goes by.
    pub policy: Policy,
    /// Where facts are kept, if the configuration says it.
    pub store: Option<StoreUrl>,
    /// Each key with its value (as TOML) and where that came from, for `config check`.
    pub origins: BTreeMap<String, (String, Origin)>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Neither the file nor the environment says anything else.
    Default,
    /// The configuration file.
    File,
    /// This variable.
    Environment(String),
}

/// A place for facts. The in-memory store is a choice of `replay`'s own, and never a fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite database file, made if need be.
    Sqlite(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(path.into())),
            _ => Err(format!("{url:?} is not a store; it would be sqlite:FILE")),
        }
    }
}

/// Why a configuration is refused. The message names the key, the value and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or a type that does not exist.
    #[error("in {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// With the line and a picture of it.
        message: String,
    },
    /// A variable that is no key, or whose value does not fit.
    #[error("in the environment, {variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong.
        message: String,
    },
    /// A value that fits its type, but not its meaning.
    #[error("{key} is {value}; {wanted}")]
    Invalid {
        /// The key, dotted.
        key: &'static str,
        /// What it is.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    platform: RawPlatform,
    actors: RawActors,
    rules: RawRules,
    store: RawStore,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPlatform {
    min_replicas: i64,
    max_replicas: i64,
    allow_zero: bool,
}

impl Default for RawPlatform {
    fn default() -> Self {
        RawPlatform { min_replicas: 2, max_replicas: 8, allow_zero: true }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawActors {
    pipeline: Vec<String>,
    autoscaler: Vec<String>,
    controller: Vec<String>,
}

impl Default for RawActors {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        RawActors {
            pipeline: Vec::new(),
            autoscaler: owned(&["system:serviceaccount:kube-system:horizontal-pod-autoscaler"]),
            controller: owned(&[
                "system:serviceaccount:kube-system:*",
                "system:kube-controller-manager",
                "system:addon-manager",
                "system:node:*",
                "*@container-engine-robot.iam.gserviceaccount.com",
            ]),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRules {
    over_limit: RawRule,
    outside_platform_range: RawRule,
    unregistered: RawRule,
    bypass: RawRule,
    over_initial: RawRule,
    unknown_value: RawRule,
}

impl Default for RawRules {
    fn default() -> Self {
        let on = |severity| RawRule { enabled: Some(true), severity: Some(severity) };
        RawRules {
            over_limit: on(Severity::Critical),
            outside_platform_range: on(Severity::Warning),
            unregistered: on(Severity::Warning),
            bypass: on(Severity::Info),
            over_initial: on(Severity::Info),
            unknown_value: on(Severity::Warning),
        }
    }
}

impl RawRules {
    fn severity_of(&self, alert_type: AlertType) -> Option<Severity> {
        let rule = match alert_type {
            AlertType::OverLimit => &self.over_limit,
            AlertType::OutsidePlatformRange => &self.outside_platform_range,
            AlertType::Unregistered => &self.unregistered,
            AlertType::Bypass => &self.bypass,
            AlertType::OverInitial => &self.over_initial,
            AlertType::UnknownValue => &self.unknown_value,
        };
        rule.severity.filter(|_| rule.enabled == Some(true))
    }
}

/// Optional, because a rule in the file may give one of its keys; laid over the defaults, both are there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRule {
    enabled: Option<bool>,
    severity: Option<Severity>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawStore {
    url: String,
}

impl Config {
    /// Reads the file, if one is given, and lays the variables over it.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut origins = BTreeMap::new();
        let mut table = defaults();
        for key in keys() {
            origins.insert(key, Origin::Default);
        }
        if let Some(path) = file {
            let given = read_file(path)?;
            for (key, value) in flatten(&given) {
                set(&mut table, &key, value);
                origins.insert(key, Origin::File);
            }
        }
        for (variable, text) in env.into_iter().filter(|(variable, _)| variable.starts_with(ENV_PREFIX)) {
            if variable == ENV_CONFIG {
                continue;
            }
            let key = override_from(&variable, &text, &mut table)?;
            origins.insert(key, Origin::Environment(variable));
        }
        let values = flatten(&table);
        let origins = origins
            .into_iter()
            .map(|(key, origin)| {
                let value = values.get(&key).map_or_else(String::new, Value::to_string);
                (key, (value, origin))
            })
            .collect();
        let raw: Raw = table.try_into().map_err(|error: toml::de::Error| ConfigError::File {
            path: file.unwrap_or(Path::new("the defaults")).to_owned(),
            message: error.to_string(),
        })?;
        raw.validate(origins)
    }
}

impl Raw {
    fn validate(self, origins: BTreeMap<String, (String, Origin)>) -> Result<Config, ConfigError> {
        let RawPlatform { min_replicas, max_replicas, allow_zero } = self.platform;
        if min_replicas < 0 {
            let wanted = "it would be 0 or more".to_owned();
            return Err(ConfigError::Invalid { key: "platform.min_replicas", value: min_replicas.to_string(), wanted });
        }
        if max_replicas < min_replicas || max_replicas > i64::from(i32::MAX) {
            let wanted = format!("it would be from {min_replicas} (platform.min_replicas) to {}", i32::MAX);
            return Err(ConfigError::Invalid { key: "platform.max_replicas", value: max_replicas.to_string(), wanted });
        }
        let store = match self.store.url.as_str() {
            "" => None,
            url => Some(url.parse().map_err(|_| ConfigError::Invalid {
                key: "store.url",
                value: format!("{url:?}"),
                wanted: "it would be \"sqlite:FILE\"".to_owned(),
            })?),
        };
        let policy = Policy {
            platform: min_replicas..=max_replicas,
            allow_zero,
            severity: Severities::from_fn(|alert_type| self.rules.severity_of(alert_type)),
            routes: Routes::new(&self.actors.pipeline, &self.actors.autoscaler, &self.actors.controller),
        };
        Ok(Config { policy, store, origins })
    }
}

/// Every key, dotted, in alphabetical order.
pub fn keys() -> Vec<String> {
    flatten(&defaults()).into_keys().collect()
}

/// The variable that overrides a key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn defaults() -> Table {
    // A struct of plain values always serializes; were it not so, every key would be unknown, and every test fail.
    Table::try_from(Raw::default()).unwrap_or_default()
}

/// Parses the file strictly on its own first, because only then can an error point at its line.
fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let refuse = |error: toml::de::Error| ConfigError::File { path: path.to_owned(), message: error.to_string() };
    toml::from_str::<Raw>(&text).map_err(refuse)?;
    toml::from_str(&text).map_err(refuse)
}

/// Sets the key that a variable names to what it says, and checks that it still fits.
fn override_from(variable: &str, text: &str, table: &mut Table) -> Result<String, ConfigError> {
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
fn flatten(table: &Table) -> BTreeMap<String, Value> {
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

fn set(table: &mut Table, key: &str, value: Value) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), toml).expect("written");
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Config::load(Some(file.path()), env).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_says_the_defaults_and_every_key() {
        let example: Table = toml::from_str(EXAMPLE).expect("valid TOML");
        assert_eq!(flatten(&example), flatten(&defaults()));
    }

    #[test]
    fn each_key_can_be_overridden_by_the_environment() {
        for key in keys() {
            let value = match flatten(&defaults()).get(&key) {
                Some(Value::Integer(_)) => "5",
                Some(Value::Boolean(_)) => "false",
                Some(Value::Array(_)) => "a@example.com, b*",
                _ if key == "store.url" => "sqlite:x.db",
                _ => "info",
            };
            let variable = env_name(&key);
            let config = load("", &[(&variable, value)]).expect("a valid value");
            assert_eq!(config.origins.get(&key).map(|(_, origin)| origin), Some(&Origin::Environment(variable)));
        }
    }

    #[test]
    fn a_rule_may_give_one_of_its_keys() {
        let config =
            load("[rules.bypass]\nseverity = \"warning\"\n", &[("PEDWATCH_RULES__OVER_LIMIT__ENABLED", "false")]);
        let severity = config.expect("valid").policy.severity;
        assert_eq!(severity.get(AlertType::Bypass), Some(Severity::Warning));
        assert_eq!(severity.get(AlertType::OverLimit), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (toml, env, parts) in [
            ("[platform]\nmax_replica = 3", &[][..], &["line 2", "max_replica", "min_replicas"][..]),
            ("[platform]\nmax_replicas = \"3\"", &[], &["line 2", "i64"]),
            ("[rules.bypass]\nseverity = \"loud\"", &[], &["line 2", "loud", "warning"]),
            ("[platform]\nmax_replicas = 1", &[], &["platform.max_replicas is 1", "from 2"]),
            ("[platform]\nmin_replicas = -1", &[], &["platform.min_replicas is -1", "0 or more"]),
            ("[store]\nurl = \"mysql:x\"", &[], &["store.url", "mysql:x", "sqlite:FILE"]),
            ("", &[("PEDWATCH_PLATFORM__MAX", "3")], &["PEDWATCH_PLATFORM__MAX", "no such key"]),
            ("", &[("PEDWATCH_PLATFORM__MAX_REPLICAS", "many")], &["MAX_REPLICAS", "\"many\" is not a whole number"]),
            ("", &[("PEDWATCH_RULES__BYPASS__SEVERITY", "loud")], &["SEVERITY", "loud", "critical"]),
        ] {
            let message = load(toml, env).expect_err(toml);
            for part in parts {
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
        }
    }
}
