//! Configuration: one TOML file and the environment, parsed raw and converted once into a valid [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::billing::Prices;
use crate::bucket::StorageConfig;
use crate::cluster::{CanaryConfig, ClusterConfig, GkeConfig, SnapshotConfig};
use crate::notify::channel::NotifyConfig;
use crate::policy::Policy;
use crate::source::logging::LoggingConfig;
use crate::source::pull::PullConfig;
use crate::source::push::PushConfig;
use crate::store::batch::Batching;
use crate::store::bigquery::BigQueryConfig;
use crate::store::firestore::FirestoreConfig;
use crate::telemetry::LogFormat;
use crate::timeline::reality::Thresholds;
use layers::{Given, Lines, defaults, flatten, override_from, read_file, set};
use raw::{Faults, Raw};

mod layers;
mod place;
mod raw;
mod refused;
mod schema;

pub use layers::{env_name, keys};
pub use place::{LEDGER_URL, LedgerUrl, REGISTRY_URL, RegistryUrl, STORE_URL, StoreUrl};
pub use refused::{ConfigError, Refused};
pub use schema::schema;

/// The commented example: all keys, at their defaults.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Prefix of the variables that override keys.
pub const ENV_PREFIX: &str = "PEDWATCH_";

/// What Cloud Run's services, jobs and worker pools set: <https://cloud.google.com/run/docs/container-contract#env-vars>.
const CLOUD_RUN: [&str; 3] = ["K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"];

/// Names the configuration file; not itself a key.
pub const ENV_CONFIG: &str = "PEDWATCH_CONFIG";

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What judging goes by.
    pub policy: Policy,
    /// What the daily comparison goes by.
    pub thresholds: Thresholds,
    /// Where facts are kept, if the configuration says it.
    pub store: Option<StoreUrl>,
    /// Where the versions of PEDs are kept; `None` where that is the store.
    pub registry: Option<RegistryUrl>,
    /// How BigQuery is reached.
    pub bigquery: BigQueryConfig,
    /// How messages are handled, from wherever they come.
    pub consumer: ConsumerConfig,
    /// How messages are pushed to us.
    pub push: PushConfig,
    /// How messages are pulled.
    pub pull: PullConfig,
    /// How Cloud Logging is read.
    pub backfill: LoggingConfig,
    /// What Deployments cost.
    pub prices: Prices,
    /// How Cloud Storage is reached.
    pub storage: StorageConfig,
    /// The clusters that are looked into, by their handles.
    pub clusters: Vec<ClusterConfig>,
    /// Where Google's servers for clusters are.
    pub gke: GkeConfig,
    /// How snapshots are taken.
    pub snapshot: SnapshotConfig,
    /// How it is seen that entries of clusters come.
    pub canary: CanaryConfig,
    /// Where what is to be told is kept; `None` where nobody is told.
    pub ledger: Option<LedgerUrl>,
    /// How people are told.
    pub notify: NotifyConfig,
    /// How Firestore is reached.
    pub firestore: FirestoreConfig,
    /// How logs are written.
    pub log_format: LogFormat,
    /// The file that it was read from, if any.
    pub file: Option<PathBuf>,
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
    /// How long a start waits for a table, a subscription or a grant that may be on its way.
    pub start_wait: Duration,
    /// Port of `/metrics`, `/livez` and `/readyz`.
    pub metrics_port: u16,
}

impl Config {
    /// Reads the file, if one is given, and lays the variables over it.
    ///
    /// # Errors
    /// [`Refused`], with everything that is wrong.
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refused> {
        let mut faults = Faults::default();
        let mut origins = BTreeMap::new();
        let mut table = defaults();
        for key in keys() {
            origins.insert(key, Origin::Default);
        }
        let (mut lines, mut misfits) = (Lines::new(), BTreeSet::new());
        if let Some(path) = file {
            let given = read_file(path, &mut faults).unwrap_or_else(|fault| {
                faults.0.push(fault);
                Given::default()
            });
            (lines, misfits) = (given.lines, given.misfits);
            for (key, value) in given.values {
                set(&mut table, &key, value);
                origins.insert(key, Origin::File);
            }
        }
        let ours = |variable: &str| variable.starts_with(ENV_PREFIX) && variable != ENV_CONFIG;
        let env: BTreeMap<String, String> = env.into_iter().collect();
        let is_on_cloud_run = CLOUD_RUN.iter().any(|variable| env.contains_key(*variable));
        for (variable, text) in env.iter().filter(|(_, text)| !text.is_empty()) {
            match layers::platform(variable, text) {
                Err(fault) => faults.0.push(fault),
                Ok(values) => {
                    for (key, value) in values {
                        set(&mut table, key, value);
                        origins.insert(key.to_owned(), Origin::Environment(variable.clone()));
                    }
                }
            }
        }
        let (ours, ignored): (Vec<_>, Vec<_>) = env
            .into_iter()
            .filter(|(variable, _)| ours(variable))
            .partition(|(variable, _)| layers::may_be_a_key(variable));
        for (variable, text) in ours {
            match override_from(&variable, &text, &mut table) {
                Err(fault) => faults.0.push(fault),
                Ok(key) => {
                    origins.insert(key, Origin::Environment(variable));
                }
            }
        }
        for key in layers::complete(&mut table) {
            origins.entry(key).or_insert(Origin::Default);
        }
        let values = flatten(&table);
        let origins = origins
            .into_iter()
            .map(|(key, origin)| {
                let value = values.get(&key).map_or_else(String::new, |value| layers::shown(&key, value));
                (key, (value, origin))
            })
            .collect();
        // What does not fit was left out above.
        let raw: Raw = table.try_into().unwrap_or_else(|error: toml::de::Error| {
            faults.0.push(ConfigError::Toml {
                path: file.unwrap_or(Path::new("the defaults")).to_owned(),
                message: error.to_string(),
            });
            Raw::default()
        });
        let ignored = ignored.into_iter().map(|(variable, _)| variable).collect();
        let file = file.map(Path::to_owned);
        let config = Config { ignored, file, ..raw.validate(origins, &mut faults) };
        if let Some(url @ LedgerUrl::Sqlite(_)) = config.ledger.as_ref().filter(|_| is_on_cloud_run) {
            let wanted = "expected firestore:PROJECT/DATABASE: Cloud Run keeps no file when an instance ends";
            faults.add("notify.ledger", format!("{:?}", url.to_string()), wanted.to_owned());
        }
        // Where a value does not even fit, its default stands in, with which nothing is wrong.
        let does_not_fit = |fault: &ConfigError| match fault {
            ConfigError::Invalid { key, .. } => misfits.contains(key),
            ConfigError::Routes(_) => misfits.contains("routes"),
            _ => false,
        };
        faults.0.retain(|fault| !does_not_fit(fault));
        let origin = |key: &str| config.origins.get(key).map(|(_, origin)| origin.clone());
        let place = |fault: ConfigError| fault.placed(config.file.as_deref(), &lines, origin);
        let mut faults: Vec<ConfigError> = faults.0.into_iter().map(place).collect();
        faults.sort_by(|left, right| left.order().cmp(&right.order()));
        match faults.as_slice() {
            [] => Ok(config),
            _ => Err(Refused { faults, log_format: config.log_format }),
        }
    }
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::cluster::Access;
    use crate::names::Named;
    use crate::notify::channel::ReceiverKind;
    use crate::ped::Cluster;
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
                Some(Value::Integer(_)) if key.ends_with(".places") => "0",
                Some(Value::Integer(_)) if key.starts_with("notify.") => "60",
                Some(Value::Integer(_)) => "5",
                Some(Value::Boolean(_)) => "false",
                Some(Value::Array(_)) => "a@example.com, b*",
                _ if key == "store.url" => "sqlite:x.db",
                _ if key == "registry" => "firestore:acme-prod/(default)",
                _ if key.ends_with("endpoint") || key == "push.certs_url" => "http://127.0.0.1:9050",
                _ if key == "pull.subscription" => "projects/acme-prod/subscriptions/pedwatch",
                _ if key == "push.auth" => "platform",
                _ if key == "push.service_account" => "push@acme-prod.iam.gserviceaccount.com",
                _ if key.ends_with(".currency") => "EUR",
                _ if key.ends_with(".timezone") => "Asia/Shanghai",
                _ if key.ends_with(".basis") => "highest",
                _ if key.ends_with(".rounding") => "half_even",
                _ if key == "notify.ledger" => "off",
                _ if key == "notify.language" => "zh",
                _ if key == "notify.unrouted" => "ignore",
                _ if key.starts_with("billing.prices.") => "19.5",
                _ if key == "log.format" => "json",
                _ => "info",
            };
            let variable = env_name(&key);
            let config = load("", &[(&variable, value)]).expect("a valid value");
            assert_eq!(config.origins.get(&key).map(|(_, origin)| origin), Some(&Origin::Environment(variable)));
        }
    }

    const CLUSTER: &str =
        "[clusters.prod_1]\nproject = \"acme-prod\"\nlocation = \"europe-west1\"\nname = \"prod-1\"\n";

    #[test]
    fn a_cluster_is_named_by_the_file_or_the_environment() {
        let clusters = load(CLUSTER, &[]).expect("valid").clusters;
        let [cluster] = clusters.as_slice() else { panic!("one cluster: {clusters:?}") };
        assert_eq!(cluster.cluster().to_string(), "projects/acme-prod/locations/europe-west1/clusters/prod-1");
        assert_eq!((cluster.handle.as_str(), &cluster.access), ("prod_1", &Access::Dns));
        let env = [
            ("PEDWATCH_CLUSTERS__PROD_1__ACCESS", "kubeconfig"),
            ("PEDWATCH_CLUSTERS__PROD_1__CONTEXT", "gke"),
            ("PEDWATCH_CLUSTERS__PROD_1__NAMESPACES", "payments*, !payments-dev"),
            ("PEDWATCH_CLUSTERS__EU__PROJECT", "acme-prod"),
            ("PEDWATCH_CLUSTERS__EU__LOCATION", "europe-west4-b"),
            ("PEDWATCH_CLUSTERS__EU__NAME", "prod-1"),
            ("PEDWATCH_CLUSTERS__EU__ACCESS", "endpoint"),
            ("PEDWATCH_CLUSTERS__EU__PRIVATE_ENDPOINT", "true"),
        ];
        let config = load(CLUSTER, &env).expect("valid");
        let [eu, prod] = config.clusters.as_slice() else { panic!("two clusters: {:?}", config.clusters) };
        assert_eq!(eu.access, Access::Endpoint { private: true });
        assert_eq!(prod.access, Access::Kubeconfig { file: None, context: Some("gke".to_owned()) });
        assert!(!prod.namespaces.hold("payments-dev") && prod.namespaces.hold("payments"));
        let origin = |key: &str| config.origins.get(key).map(|(value, origin)| (value.as_str(), origin.clone()));
        assert_eq!(origin("clusters.prod_1.name"), Some(("\"prod-1\"", Origin::File)));
        assert_eq!(origin("clusters.prod_1.kubeconfig"), Some(("\"\"", Origin::Default)));
        assert!(matches!(origin("clusters.eu.name"), Some((_, Origin::Environment(_)))));
    }

    #[test]
    fn what_is_wrong_with_a_cluster_is_told_with_its_name() {
        let twice = CLUSTER.replace("prod_1", "again");
        let wrong = "[clusters.prod-2]\nproject = \"acme/prod\"\naccess = \"dns\"\nprivate_endpoint = true\n\
                     kubeconfig = \"x\"\nmembership = \"prod-2\"\nnamespaces = [\"!\"]\n\n[clusters.empty]\n\n\
                     [clusters.a]\naccess = \"ssh\"\nport = 3\n";
        let env = [("PEDWATCH_CLUSTERS__A__PORT", "3"), ("PEDWATCH_CLUSTERS__A__PRIVATE_ENDPOINT", "maybe")];
        let said = load(&format!("{CLUSTER}{twice}{wrong}"), &env).expect_err("wrong");
        for fault in [
            "line 20: clusters.a.access: unknown variant `ssh`",
            "line 21: clusters.a.port: unknown field",
            "PEDWATCH_CLUSTERS__A__PORT: no such key",
            "PEDWATCH_CLUSTERS__A__PRIVATE_ENDPOINT: \"maybe\" is neither true nor false",
            "clusters.prod-2 is \"prod-2\"; expected a name of lower-case letters",
            "clusters.prod-2.project is \"acme/prod\"",
            "clusters.prod-2.location is \"\"",
            "clusters.prod-2.private_endpoint is true; expected it only with access = \"endpoint\"",
            "clusters.prod-2.kubeconfig is \"x\"; expected it only with access = \"kubeconfig\"",
            "clusters.prod-2.membership is \"prod-2\"; expected it only with access = \"connect_gateway\"",
            "clusters.prod-2.namespaces is \"!\"",
            "clusters.empty.project is \"\"",
            "clusters.prod_1 is projects/acme-prod/locations/europe-west1/clusters/prod-1; expected another cluster than \
             clusters.again",
        ] {
            assert!(said.lines().any(|line| line.contains(fault)), "{fault:?} is not in\n{said}");
        }
    }

    /// Elsewhere a Deployment of that name is as any other.
    #[test]
    fn the_canarys_object_is_out_of_scope_only_where_it_is_said_where_it_is() {
        let cluster = Cluster { project: "acme-prod", location: "europe-west1", name: "prod-1" };
        let holds = |toml: &str, env: &[(&str, &str)], namespace: &str| {
            let config = load(toml, env).expect("valid");
            config.policy.scope.holds_object(cluster, namespace, Some("pedwatch-canary"))
        };
        assert!(holds("", &[], "pedwatch-canary"));
        assert!(holds("[canary]\nwait_seconds = 60\n", &[], "pedwatch-canary"));
        assert!(!holds("[canary]\nnamespace = \"pedwatch-canary\"\n", &[], "pedwatch-canary"));
        assert!(!holds("", &[("PEDWATCH_CANARY__NAMESPACE", "platform")], "platform"));
        assert!(holds("", &[("PEDWATCH_CANARY__NAMESPACE", "platform")], "pedwatch-canary"));
    }

    /// Its section of a cluster is a comment, because there is none by default.
    #[test]
    fn the_example_of_a_cluster_has_every_key() {
        let begin = EXAMPLE.find("# [clusters.").expect("an example");
        let lines = EXAMPLE.get(begin..).expect("the rest").lines().take_while(|line| line.starts_with("# "));
        let section: String = lines.filter_map(|line| Some(format!("{}\n", line.strip_prefix("# ")?))).collect();
        let config = load(&section, &[]).expect("valid");
        let given: Table = toml::from_str(&section).expect("TOML");
        let keys = flatten(&given);
        for key in config.origins.keys().filter(|key| key.starts_with("clusters.")) {
            assert!(
                keys.contains_key(key) || section.contains(&format!("# {}", key.rsplit('.').next().expect("a key"))),
                "{key}"
            );
        }
    }

    /// Its receivers and routes are comments too.
    #[test]
    fn the_example_of_receivers_has_every_kind_and_every_key() {
        let begin = EXAMPLE.find("# [receivers.").expect("an example");
        let end = EXAMPLE.find("[firestore]").expect("the next section");
        let lines = EXAMPLE.get(begin..end).expect("the section").lines().filter_map(|line| line.strip_prefix("# "));
        let is_toml = |line: &&str| line.starts_with('[') || line.contains(" = ") && !line.contains("says");
        let section: String = lines.filter(is_toml).map(|line| format!("{line}\n")).collect();
        let config = load(&section, &[]).expect("valid");
        let kinds = section.matches("kind = ").count();
        assert_eq!((config.notify.receivers.len(), kinds), (ReceiverKind::ALL.len(), kinds));
        let is_ours = |key: &&String| key.starts_with("receivers.");
        for key in config.origins.keys().filter(is_ours).filter_map(|key| key.rsplit('.').next()) {
            let is_secret = raw::SECRETS.contains(&key);
            assert!(is_secret || key == "endpoint" || section.contains(&format!("{key} = ")), "{key}");
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
    fn everything_that_is_wrong_is_told_at_once() {
        let toml = "[platform]\nmax_replica = 3\nmin_replicas = \"2\"\n\n[platfrm]\n\n[push]\nport = 0\nmax_in_flight = 0\n\
                    certs_url = \"x\"\n\n[rules]\nbypass = { severity = \"loud\", enable = true }\n[store]\nurl = \"mysql:x\"\n";
        let env = [
            ("PEDWATCH_PULL__LEASE_SECONDS", "1"),
            ("PEDWATCH_PULL__SUBSCRIPTION", "pedwatch"),
            ("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", "soon"),
            ("PEDWATCH_NO__KEY", "1"),
            ("PORT", "http"),
        ];
        let said = load(toml, &env).expect_err("wrong");
        let faults = [
            "line 2: platform.max_replica: unknown field",
            "line 3: platform.min_replicas: invalid type: string \"2\"",
            "line 5: platfrm: unknown field",
            "line 13: rules.bypass.enable: unknown field",
            "line 13: rules.bypass.severity: \"loud\" is not known",
            "PORT: \"http\" is not a whole number",
            "PEDWATCH_BIGQUERY__DEADLINE_SECONDS: \"soon\" is not a whole number",
            "PEDWATCH_NO__KEY: no such key",
            "store.url is \"mysql:x\"",
            "push.certs_url is \"x\"",
            "push.max_in_flight is 0",
            "push.port is 0",
            "pull.subscription is \"pedwatch\"",
            "pull.lease_seconds is 1",
        ];
        for fault in faults {
            assert!(said.lines().any(|line| line.contains(fault)), "{fault:?} is not in\n{said}");
        }
        assert_eq!(said.lines().count(), faults.len(), "{said}");
        let lines =
            said.lines().filter_map(|line| line.split_once(": line ")?.1.split(':').next()?.parse::<u32>().ok());
        let lines: Vec<u32> = lines.collect();
        assert_eq!(lines, [2, 3, 5, 8, 9, 10, 13, 13, 15], "in the order of the file: {said}");
        assert!(said.contains("in the environment, PEDWATCH_PULL__LEASE_SECONDS: pull.lease_seconds is 1"), "{said}");
        assert!(load("[platform]\n\n[push]\n", &[]).is_ok(), "sections without keys");
    }

    #[test]
    fn each_fault_has_its_place_and_brings_no_other() {
        let toml = "[notify]\nledger = \"sqlite:x.db\"\n[[routes]]\nsevrity = [\"critical\"]\nreceivers = []\n\n[[routes]]\n\
                    severity = \"critical\"\nfoo = 1\n[clusters.p2]\nproject = \"acme-prod\"\nname = \"p2\"\n[platform]\n\
                    max_replicas = \"eight\"\nmin_replicas = 9\n";
        let said = load(toml, &[]).expect_err("wrong");
        let lines: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once(": line ")?.1)).collect();
        let expected = [
            "4: routes[0].sevrity: unknown field",
            "8: routes[1].severity: invalid type: string \"critical\", expected a list",
            "9: routes[1].foo: unknown field",
            "10: clusters.p2.location is \"\"; expected",
            "14: platform.max_replicas: invalid type: string \"eight\", expected a whole number",
        ];
        assert_eq!(lines.len(), expected.len(), "{said}");
        assert_eq!(said.lines().count(), expected.len(), "{said}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}, not {expected}");
        }
    }

    #[test]
    fn a_price_holds_from_its_date_and_keeps_what_it_does_not_say() {
        let toml = "[billing.prices.2026-07-01]\nbase = 200\n[billing.prices.2027-01-01]\ncpu = \"19.5\"\n";
        let env =
            [("PEDWATCH_BILLING__PRICES__2000_01_01__GB", "21"), ("PEDWATCH_BILLING__PRICES__2026_07_01__BASE", "210")];
        let prices = load(toml, &env).expect("valid").prices;
        let told = |month: &str| {
            let (from, price) = prices.of(month.parse().expect("a month")).expect("a price");
            format!("{from}: {} {} {} {}", price.base, price.cpu, price.gb, price.currency)
        };
        assert_eq!(told("2026-06"), "2000-01-01: 180 19 21 USD");
        assert_eq!(told("2026-07"), "2026-07-01: 210 19 21 USD");
        assert_eq!(told("2027-02"), "2027-01-01: 210 19.5 21 USD");
    }

    #[test]
    fn all_that_is_wrong_with_prices_is_told_at_once() {
        let toml = "[billing.prices.2026-07-01]\nbase = 19.5\ncpu = \"-1\"\ngb = \"many\"\ndivisor = 0\nbasis = \"most\"\n\
                    currency = \"euro\"\nplaces = 9\nrounding = \"up\"\ntimezone = \"Mars/Base\"\n[billing.prices.july]\nbase = 1\n";
        let said = load(toml, &[]).expect_err("wrong");
        let faults = [
            "line 2: billing.prices.2026-07-01.base: expected a whole number, or a decimal in quotes such as \"19.5\"",
            "billing.prices.2026-07-01.cpu is -1; expected from 0",
            "billing.prices.2026-07-01.gb is \"many\"; expected a decimal",
            "billing.prices.2026-07-01.divisor is 0; expected more than 0",
            "billing.prices.2026-07-01.basis is \"most\"; expected one of \"limit\", \"requested\", \"highest\"",
            "billing.prices.2026-07-01.currency is \"euro\"; expected three letters",
            "billing.prices.2026-07-01.places is 9; expected from 0 to 4",
            "billing.prices.2026-07-01.rounding is \"up\"; expected one of \"half_up\", \"half_even\"",
            "billing.prices.2026-07-01.timezone is \"Mars/Base\"; expected a zone",
            "billing.prices.july is no date; expected one like 2000-01-01",
        ];
        for fault in faults {
            assert!(said.lines().any(|line| line.contains(fault)), "{fault:?} is not in\n{said}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (toml, env, parts) in [
            ("[platform]\nmax_replica = 3", &[][..], &["line 2", "max_replica", "min_replicas"][..]),
            ("[platform]\nmax_replicas = \"3\"", &[], &["line 2", "expected a whole number"]),
            ("[rules.bypass]\nseverity = \"loud\"", &[], &["line 2", "loud", "warning"]),
            ("[platform]\nmax_replicas = 1", &[], &["platform.max_replicas is 1", "from 2"]),
            ("[platform]\nmin_replicas = -1", &[], &["platform.min_replicas is -1", "0 or more"]),
            ("[store]\nurl = \"mysql:x\"", &[], &["store.url", "mysql:x", "sqlite:FILE"]),
            ("[store]\nurl = \"bigquery:x\"", &[], &["store.url", "bigquery:x", "bigquery:PROJECT.DATASET"]),
            (
                "registry = \"sqlite:x\"",
                &[],
                &["registry is \"sqlite:x\"", "firestore:PROJECT/DATABASE", "the store itself"],
            ),
            ("registry = \"firestore:x\"", &[], &["registry is \"firestore:x\"", "firestore:PROJECT/DATABASE"]),
            ("", &[("PEDWATCH_REGISTRY", "x")], &["registry is \"x\"", "firestore:PROJECT/DATABASE"]),
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
