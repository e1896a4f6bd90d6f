//! Configuration: one TOML file and the environment, parsed raw and converted once into a valid [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::policy::Policy;
use crate::source::pull::PullConfig;
use crate::source::push::PushConfig;
use crate::store::batch::Batching;
use crate::store::bigquery::{BigQueryConfig, DatasetName};
use crate::telemetry::{LogFormat, redact};
use layers::{defaults, flatten, override_from, read_file, set};
use raw::Raw;

mod layers;
mod raw;

pub use layers::{env_name, keys};

/// The commented example: all keys, at their defaults.
pub const EXAMPLE: &str = include_str!("config/example.toml");

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
    /// How BigQuery is reached.
    pub bigquery: BigQueryConfig,
    /// How messages are handled, from wherever they come.
    pub consumer: ConsumerConfig,
    /// How messages are pushed to us.
    pub push: PushConfig,
    /// How messages are pulled.
    pub pull: PullConfig,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Each key with its value (as TOML, without secrets) and where that came from, for `config check`.
    pub origins: BTreeMap<String, (String, Origin)>,
    /// Variables that begin as ours do and name no key. Kubernetes makes such for a Service that is named `pedwatch`.
    pub ignored: Vec<String>,
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

/// How messages are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// When a batch of rows is written.
    pub batching: Batching,
    /// Nobody judges by limits that were read longer ago.
    pub limits_refresh: Duration,
    /// Port of `/metrics`, `/livez` and `/readyz`.
    pub metrics_port: u16,
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
            // SQLite's own names for memory and for URIs: what is recorded there would be gone.
            Some(("sqlite", name)) if name.starts_with(':') || name.starts_with("file:") => {
                Err(format!("{:?} names no file; expected sqlite:FILE", redact::url(url)))
            }
            Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(path.into())),
            Some(("bigquery", name)) => Ok(StoreUrl::BigQuery(name.parse()?)),
            _ => {
                Err(format!("{:?} is not a store; expected sqlite:FILE or bigquery:PROJECT.DATASET", redact::url(url)))
            }
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
        for (variable, text) in env.iter().filter(|(_, text)| !text.is_empty()) {
            for (key, value) in layers::platform(variable, text)? {
                set(&mut table, key, value);
                origins.insert(key.to_owned(), Origin::Environment(variable.clone()));
            }
        }
        let (ours, ignored): (Vec<_>, Vec<_>) = env
            .into_iter()
            .filter(|(variable, _)| ours(variable))
            .partition(|(variable, _)| layers::may_be_a_key(variable));
        for (variable, text) in ours {
            let key = override_from(&variable, &text, &mut table)?;
            origins.insert(key, Origin::Environment(variable));
        }
        let values = flatten(&table);
        let origins = origins
            .into_iter()
            .map(|(key, origin)| {
                let value = values.get(&key).map_or_else(String::new, layers::shown);
                (key, (value, origin))
            })
            .collect();
        let raw: Raw = table.try_into().map_err(|error: toml::de::Error| ConfigError::File {
            path: file.unwrap_or(Path::new("the defaults")).to_owned(),
            message: error.to_string(),
        })?;
        let ignored = ignored.into_iter().map(|(variable, _)| variable).collect();
        Ok(Config { ignored, ..raw.validate(origins)? })
    }
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::policy::{AlertType, Severity};

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
                Some(Value::Integer(_)) if key == "pull.lease_seconds" => "10",
                Some(Value::Integer(_)) => "5",
                Some(Value::Boolean(_)) => "false",
                Some(Value::Array(_)) => "a@example.com, b*",
                _ if key == "store.url" => "sqlite:x.db",
                _ if key.ends_with(".endpoint") || key == "push.certs_url" => "http://127.0.0.1:9050",
                _ if key == "pull.subscription" => "projects/acme-prod/subscriptions/pedwatch",
                _ if key == "push.auth" => "platform",
                _ if key == "log.format" => "json",
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
    fn the_variables_of_emulators_and_of_cloud_run_are_heard() {
        let bigquery = load("", &[("BIGQUERY_EMULATOR_HOST", "127.0.0.1:9050")]).expect("valid").bigquery;
        assert_eq!((bigquery.endpoint.as_deref(), bigquery.anonymous), (Some("http://127.0.0.1:9050"), true));
        let config = load("", &[("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085"), ("PORT", "8081")]).expect("valid");
        assert_eq!((config.pull.endpoint.as_deref(), config.pull.anonymous), (Some("http://127.0.0.1:8085"), true));
        assert_eq!(config.push.port, 8081);
        assert!(load("", &[("PORT", "http")]).expect_err("no port").contains("PORT"));
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
            ("[push]\nport = 0", &[], &["push.port is 0", "from 1 to 65535"]),
            ("[push]\nauth = \"none\"", &[], &["line 2", "none", "platform"]),
            ("[pull]\nsubscription = \"pedwatch\"", &[], &["pull.subscription", "projects/PROJECT/subscriptions/NAME"]),
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
