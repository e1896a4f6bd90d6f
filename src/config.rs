//! Configuration: one TOML file and the environment, parsed raw and converted once into a valid [`Config`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::policy::{AlertType, Policy, Routes, Severities, Severity};
use crate::store::bigquery::{BigQueryConfig, DatasetName};

/// The commented example: all keys, at their defaults.
pub const EXAMPLE: &str = include_str!("config.example.toml");

/// Prefix of the variables that override keys.
pub const ENV_PREFIX: &str = "PEDWATCH_";

/// Names the configuration file; not itself a key.
pub const ENV_CONFIG: &str = "PEDWATCH_CONFIG";

/// BigQuery's own name for an emulator's `HOST:PORT`, as its other clients know it. It stands for `bigquery.endpoint` and
/// `bigquery.anonymous`.
pub const ENV_EMULATOR: &str = "BIGQUERY_EMULATOR_HOST";

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What judging goes by.
    pub policy: Policy,
    /// Where facts are kept, if the configuration says it.
    pub store: Option<StoreUrl>,
    /// How BigQuery is reached.
    pub bigquery: BigQueryConfig,
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
    /// A BigQuery dataset.
    BigQuery(DatasetName),
}

/// What a store's URL looks like, for help and errors.
pub const STORE_URL: &str = "sqlite:FILE|bigquery:PROJECT.DATASET";

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(path.into())),
            Some(("bigquery", name)) => Ok(StoreUrl::BigQuery(name.parse()?)),
            _ => Err(format!("{url:?} is not a store; it would be sqlite:FILE or bigquery:PROJECT.DATASET")),
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
    bigquery: RawBigQuery,
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

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawBigQuery {
    endpoint: String,
    anonymous: bool,
    location: String,
    deadline_seconds: i64,
    requests_in_flight: i64,
    partition_expiration_days: i64,
}

impl Default for RawBigQuery {
    fn default() -> Self {
        RawBigQuery {
            endpoint: String::new(),
            anonymous: false,
            location: String::new(),
            deadline_seconds: 30,
            requests_in_flight: 8,
            partition_expiration_days: 0,
        }
    }
}

impl RawBigQuery {
    fn validate(self) -> Result<BigQueryConfig, ConfigError> {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let endpoint = given(self.endpoint);
        if let Some(url) = endpoint.as_deref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(ConfigError::Invalid {
                key: "bigquery.endpoint",
                value: format!("{url:?}"),
                wanted: "it would be a URL such as \"http://127.0.0.1:9050\", or empty for Google's".to_owned(),
            });
        }
        // 600 s is the longest that Pub/Sub waits for an acknowledgement.
        let deadline = within("bigquery.deadline_seconds", self.deadline_seconds, 1..=600)?;
        // Each request of 500 rows may take some MB; more would only queue at BigQuery's own quota.
        let requests = within("bigquery.requests_in_flight", self.requests_in_flight, 1..=64)?;
        // Partitions are days, and a table has at most 10,000 of them.
        let days = within("bigquery.partition_expiration_days", self.partition_expiration_days, 0..=10_000)?;
        Ok(BigQueryConfig {
            endpoint,
            anonymous: self.anonymous,
            location: given(self.location),
            deadline: Duration::from_secs(deadline.into()),
            requests_in_flight: requests as usize,
            partition_expiration_days: Some(days).filter(|&days| days > 0),
        })
    }
}

/// A number inside the range that the message names.
fn within(key: &'static str, value: i64, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    u32::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| ConfigError::Invalid {
        key,
        value: value.to_string(),
        wanted: format!("it would be from {} to {}", range.start(), range.end()),
    })
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
        let ours = |variable: &str| variable.starts_with(ENV_PREFIX) && variable != ENV_CONFIG;
        let env: BTreeMap<String, String> = env.into_iter().collect();
        if let Some(host) = env.get(ENV_EMULATOR).filter(|host| !host.is_empty()) {
            let url = if host.contains("://") { host.clone() } else { format!("http://{host}") };
            for (key, value) in [("bigquery.endpoint", Value::from(url)), ("bigquery.anonymous", Value::from(true))] {
                set(&mut table, key, value);
                origins.insert(key.to_owned(), Origin::Environment(ENV_EMULATOR.to_owned()));
            }
        }
        for (variable, text) in env.into_iter().filter(|(variable, _)| ours(variable)) {
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
                wanted: "it would be \"sqlite:FILE\" or \"bigquery:PROJECT.DATASET\"".to_owned(),
            })?),
        };
        let bigquery = self.bigquery.validate()?;
        let policy = Policy {
            platform: min_replicas..=max_replicas,
            allow_zero,
            severity: Severities::from_fn(|alert_type| self.rules.severity_of(alert_type)),
            routes: Routes::new(&self.actors.pipeline, &self.actors.autoscaler, &self.actors.controller),
        };
        Ok(Config { policy, store, bigquery, origins })
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
                _ if key == "bigquery.endpoint" => "http://127.0.0.1:9050",
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
    fn the_emulator_s_own_variable_is_heard() {
        let bigquery = load("", &[("BIGQUERY_EMULATOR_HOST", "127.0.0.1:9050")]).expect("valid").bigquery;
        assert_eq!((bigquery.endpoint.as_deref(), bigquery.anonymous), (Some("http://127.0.0.1:9050"), true));
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
            ("[store]\nurl = \"bigquery:x\"", &[], &["store.url", "bigquery:x", "bigquery:PROJECT.DATASET"]),
            ("[bigquery]\nendpoint = \"localhost\"", &[], &["bigquery.endpoint", "http://127.0.0.1:9050"]),
            ("[bigquery]\ndeadline_seconds = 0", &[], &["bigquery.deadline_seconds is 0", "from 1 to 600"]),
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
