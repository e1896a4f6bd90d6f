//! `[notify]`, `[receivers.NAME]`, `[[routes]]`, `[firestore]`: who is told of what, and where that is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{NaiveTime, TimeDelta};
use chrono_tz::Tz;
use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::check::Faults;
use crate::config::{ConfigError, LEDGER_URL, LedgerUrl, Origin, env_name};
use crate::incident::Settings;
use crate::names::Named;
use crate::notify::channel::{NotifyConfig, ReceiverConfig, ReceiverKind, Security, Way, check_topic};
use crate::notify::digest::NOTICES_MAX;
use crate::notify::matcher::Field;
use crate::notify::route::{RouteDraft, Routes};
use crate::notify::sealed::Sealed;
use crate::notify::template::Language;
use crate::ped::contacts::is_slack_id;
use crate::store::firestore::FirestoreConfig;
use crate::telemetry::redact;

/// Keys of receivers that hold a secret: never in the file of the configuration, and never shown. Each has one with `_file`
/// behind it, which names a file that holds the secret.
pub(in crate::config) const SECRETS: [&str; 5] = ["webhook_url", "secret", "password", "token", "routing_key"];

/// Stands for the addresses that a PED names.
const TEAM: &str = "team";

/// How long a call of Firestore may take.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNotify {
    ledger: String,
    language: String,
    timezone: String,
    unrouted: RawUnrouted,
    hold_seconds: i64,
    flap_seconds: i64,
    suppress_seconds: i64,
    repeat_seconds: i64,
    max_age_seconds: i64,
    give_up_seconds: i64,
    digest_above: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawUnrouted {
    Refuse,
    Ignore,
}

impl Default for RawNotify {
    fn default() -> Self {
        RawNotify {
            ledger: "off".to_owned(),
            language: Language::English.to_string(),
            timezone: "UTC".to_owned(),
            unrouted: RawUnrouted::Refuse,
            hold_seconds: 0,
            flap_seconds: 600,
            suppress_seconds: 86_400,
            repeat_seconds: 86_400,
            max_age_seconds: 86_400,
            give_up_seconds: 86_400,
            digest_above: 20,
        }
    }
}

/// Whom a route tells, and of what.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRoute {
    rule: Vec<String>,
    severity: Vec<String>,
    project: Vec<String>,
    cluster: Vec<String>,
    namespace: Vec<String>,
    deployment: Vec<String>,
    owner: Vec<String>,
    receivers: Vec<String>,
    #[serde(rename = "continue")]
    goes_on: bool,
}

impl RawRoute {
    fn draft(self) -> RouteDraft {
        let matchers = vec![
            (Field::Rule, self.rule),
            (Field::Severity, self.severity),
            (Field::Project, self.project),
            (Field::Cluster, self.cluster),
            (Field::Namespace, self.namespace),
            (Field::Deployment, self.deployment),
            (Field::Owner, self.owner),
        ];
        RouteDraft { matchers, receivers: self.receivers, goes_on: self.goes_on }
    }
}

impl RawNotify {
    /// Where the ledger is; `None` where nobody is told.
    pub(super) fn ledger(&self, faults: &mut Faults) -> Option<LedgerUrl> {
        match self.ledger.parse() {
            _ if self.ledger == "off" => None,
            Ok(url) => Some(url),
            Err(_) => {
                let wanted = format!("expected \"off\", or {LEDGER_URL}");
                faults.add("notify.ledger", format!("{:?}", redact::url(&self.ledger)), wanted);
                None
            }
        }
    }

    pub(super) fn validate(
        self,
        receivers: Vec<ReceiverConfig>,
        routes: Vec<RawRoute>,
        faults: &mut Faults,
    ) -> NotifyConfig {
        let language = self.language.parse().unwrap_or_else(|error| {
            faults.add("notify.language", format!("{:?}", self.language), format!("{error}"));
            Language::English
        });
        let timezone: Tz = self.timezone.parse().unwrap_or_else(|_| {
            let wanted = "expected a time zone such as \"Europe/Berlin\"".to_owned();
            faults.add("notify.timezone", format!("{:?}", self.timezone), wanted);
            Tz::UTC
        });
        let mut seconds = |key: &str, value: i64, least: u32, most: u32| {
            TimeDelta::seconds(faults.within(&format!("notify.{key}"), value, least..=most).into())
        };
        const YEAR: u32 = 366 * 86_400;
        let hold = seconds("hold_seconds", self.hold_seconds, 0, 86_400);
        let flap = seconds("flap_seconds", self.flap_seconds, 0, 86_400);
        let suppress = seconds("suppress_seconds", self.suppress_seconds, 0, YEAR);
        let repeat = seconds("repeat_seconds", self.repeat_seconds, 0, YEAR);
        let max_age = seconds("max_age_seconds", self.max_age_seconds, 60, 10 * YEAR);
        let give_up_after = seconds("give_up_seconds", self.give_up_seconds, 60, 30 * 86_400);
        let repeat_every = Some(repeat).filter(|repeat| !repeat.is_zero());
        let settings = Settings { hold, flap, suppress, repeat_every, max_age };
        let ignores = self.unrouted == RawUnrouted::Ignore || self.ledger == "off" && routes.is_empty();
        let known: BTreeSet<&str> = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        let drafts: Vec<RouteDraft> = routes.into_iter().map(RawRoute::draft).collect();
        let routes = Routes::new(&drafts, &known, ignores).unwrap_or_else(|wrong| {
            faults.0.extend(wrong.into_iter().map(ConfigError::Routes));
            Routes::default()
        });
        let digest_above = faults.within("notify.digest_above", self.digest_above, 0..=NOTICES_MAX - 1) as usize;
        NotifyConfig { language, timezone, settings, give_up_after, digest_above, receivers, routes }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawReceiver {
    kind: String,
    recovered: bool,
    fallback: String,
    digest_at: String,
    template: String,
    url: String,
    endpoint: String,
    topic: String,
    anonymous: bool,
    channel: String,
    token: String,
    token_file: String,
    routing_key: String,
    routing_key_file: String,
    webhook_url: String,
    webhook_url_file: String,
    secret: String,
    secret_file: String,
    host: String,
    port: i64,
    security: String,
    ca_file: String,
    username: String,
    password: String,
    password_file: String,
    from: String,
    to: Vec<String>,
}

impl Default for RawReceiver {
    fn default() -> Self {
        RawReceiver {
            kind: String::new(),
            recovered: true,
            fallback: String::new(),
            digest_at: String::new(),
            template: String::new(),
            url: String::new(),
            endpoint: String::new(),
            topic: String::new(),
            anonymous: false,
            channel: String::new(),
            token: String::new(),
            token_file: String::new(),
            routing_key: String::new(),
            routing_key_file: String::new(),
            webhook_url: String::new(),
            webhook_url_file: String::new(),
            secret: String::new(),
            secret_file: String::new(),
            host: String::new(),
            port: 587,
            security: Security::StartTls.to_string(),
            ca_file: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            from: String::new(),
            to: Vec::new(),
        }
    }
}

/// The keys by which each kind is reached, which the others do not have.
fn keys_of(kind: ReceiverKind) -> &'static [&'static str] {
    match kind {
        ReceiverKind::Alertmanager => &["url", "template"],
        ReceiverKind::GoogleChat => &["webhook_url", "webhook_url_file", "template"],
        ReceiverKind::PagerDuty => &["endpoint", "routing_key", "routing_key_file", "template"],
        ReceiverKind::PubSub => &["endpoint", "topic", "anonymous"],
        ReceiverKind::Slack => &["endpoint", "channel", "token", "token_file", "template"],
        ReceiverKind::Email => {
            &["host", "port", "security", "ca_file", "username", "password", "password_file", "from", "to", "template"]
        }
        ReceiverKind::SlackWebhook => &["webhook_url", "webhook_url_file", "template"],
        ReceiverKind::Webhook => &["url", "secret", "secret_file"],
    }
}

/// The receivers, in the order of their names.
pub(super) fn receivers(
    raw: BTreeMap<String, RawReceiver>,
    origins: &BTreeMap<String, (String, Origin)>,
    faults: &mut Faults,
) -> Vec<ReceiverConfig> {
    let names: BTreeSet<String> = raw.keys().cloned().collect();
    let receivers: Vec<ReceiverConfig> =
        raw.into_iter().filter_map(|(name, raw)| Reading { name, raw, origins, faults }.receiver()).collect();
    for ReceiverConfig { name, fallback, .. } in &receivers {
        let Some(fallback) = fallback else { continue };
        let key = format!("receivers.{name}.fallback");
        if !names.contains(fallback) {
            let known: Vec<&str> = names.iter().map(String::as_str).filter(|known| known != name).collect();
            faults.add(key, format!("{fallback:?}"), format!("expected one of {}", known.join(", ")));
        } else if leads_back(name, &receivers) {
            faults.add(
                key,
                format!("{fallback:?}"),
                "expected one whose own fallbacks do not lead back here".to_owned(),
            );
        }
    }
    receivers
}

/// Whether a receiver stands in for itself, by way of others.
fn leads_back(name: &str, receivers: &[ReceiverConfig]) -> bool {
    let fallback =
        |name: &&str| receivers.iter().find(|one| one.name == **name).and_then(|one| one.fallback.as_deref());
    std::iter::successors(Some(name), fallback).skip(1).take(receivers.len()).any(|next| next == name)
}

/// One receiver, while it is read.
struct Reading<'r> {
    name: String,
    raw: RawReceiver,
    origins: &'r BTreeMap<String, (String, Origin)>,
    faults: &'r mut Faults,
}

impl Reading<'_> {
    fn key(&self, key: &str) -> String {
        format!("receivers.{}.{key}", self.name)
    }

    fn receiver(mut self) -> Option<ReceiverConfig> {
        self.faults.handle("receivers", &self.name);
        let kind = match self.raw.kind.parse::<ReceiverKind>() {
            Ok(kind) => kind,
            Err(_) => {
                let known: Vec<&str> = ReceiverKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let wanted = format!("expected one of {}", known.join(", "));
                self.faults.add(self.key("kind"), format!("{:?}", self.raw.kind), wanted);
                return None;
            }
        };
        self.only_its_own(kind);
        let way = match kind {
            ReceiverKind::Alertmanager => Way::Alertmanager { url: self.url() },
            ReceiverKind::GoogleChat => Way::GoogleChat { url: self.secret("webhook_url")? },
            ReceiverKind::PagerDuty => {
                Way::PagerDuty { endpoint: self.endpoint(), routing_key: self.secret("routing_key")? }
            }
            ReceiverKind::PubSub => {
                let anonymous = self.raw.anonymous;
                Way::PubSub { endpoint: self.endpoint(), topic: self.topic(), anonymous }
            }
            ReceiverKind::Slack => self.slack()?,
            ReceiverKind::Email => self.email()?,
            ReceiverKind::SlackWebhook => Way::SlackWebhook { url: self.secret("webhook_url")? },
            ReceiverKind::Webhook => Way::Webhook { url: self.url(), secret: self.secret("secret")? },
        };
        let digest_at = self.digest_at(&way);
        let template = Some(self.raw.template).filter(|path| !path.is_empty()).map(PathBuf::from);
        let fallback = Some(self.raw.fallback).filter(|name| !name.is_empty());
        Some(ReceiverConfig { name: self.name, way, template, recovered: self.raw.recovered, fallback, digest_at })
    }

    /// The time of the day for a digest, which only people read.
    fn digest_at(&mut self, way: &Way) -> Option<NaiveTime> {
        let (key, text) = (self.key("digest_at"), self.text("digest_at"));
        if text.is_empty() {
            return None;
        }
        if !way.is_read_by_people() {
            let wanted = "expected it only where people read: email, google_chat, slack or slack_webhook".to_owned();
            self.faults.add(key, format!("{text:?}"), wanted);
            return None;
        }
        let at = NaiveTime::parse_from_str(&text, "%H:%M").ok();
        if at.is_none() {
            self.faults.add(key, format!("{text:?}"), "expected a time such as \"08:30\"".to_owned());
        }
        at
    }

    /// The keys by their names, as they are written.
    fn table(&self) -> Table {
        Table::try_from(&self.raw).unwrap_or_default()
    }

    fn text(&self, key: &str) -> String {
        self.table().get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn only_its_own(&mut self, kind: ReceiverKind) {
        let usual = Table::try_from(RawReceiver::default()).unwrap_or_default();
        let is_common = |key: &str| matches!(key, "kind" | "recovered" | "fallback" | "digest_at");
        let is_own = |key: &str| is_common(key) || keys_of(kind).contains(&key);
        for (key, value) in self.table() {
            if is_own(&key) || usual.get(&key) == Some(&value) {
                continue;
            }
            let kinds = ReceiverKind::ALL.iter().filter(|kind| keys_of(**kind).contains(&key.as_str()));
            let of: Vec<String> = kinds.map(|kind| format!("{:?}", kind.as_str())).collect();
            let wanted = format!("expected it only with kind = {}", of.join(" or "));
            self.faults.add(self.key(&key), "given".to_owned(), wanted);
        }
    }

    fn endpoint(&mut self) -> Option<String> {
        let (key, endpoint) = (self.key("endpoint"), self.text("endpoint"));
        self.faults.url(&key, endpoint)
    }

    fn topic(&mut self) -> String {
        let topic = self.text("topic");
        if let Err(wanted) = check_topic(&topic) {
            self.faults.add(self.key("topic"), format!("{topic:?}"), wanted);
        }
        topic
    }

    fn slack(&mut self) -> Option<Way> {
        let channel = Some(self.text("channel")).filter(|channel| channel != TEAM);
        if let Some(channel) = channel.as_ref().filter(|channel| !is_slack_id(channel)) {
            let wanted =
                format!("expected a channel's id such as \"C0123456789\", or {TEAM:?} for the one that a PED names");
            self.faults.add(self.key("channel"), format!("{channel:?}"), wanted);
        }
        Some(Way::Slack { endpoint: self.endpoint(), token: self.secret("token")?, channel })
    }

    fn email(&mut self) -> Option<Way> {
        let host = self.text("host");
        if host.is_empty() {
            self.faults.add(self.key("host"), "\"\"".to_owned(), "expected a mail server's name".to_owned());
        }
        let port = self.faults.port(&self.key("port"), self.raw.port);
        let security = self.raw.security.parse().unwrap_or_else(|error| {
            self.faults.add(self.key("security"), format!("{:?}", self.raw.security), format!("{error}"));
            Security::StartTls
        });
        let from = self.mailbox("from", &self.raw.from.clone());
        if self.raw.to.is_empty() {
            let wanted = format!("expected addresses, or {TEAM:?} for those that a PED names");
            self.faults.add(self.key("to"), "empty".to_owned(), wanted);
        }
        let (team, to): (Vec<String>, Vec<String>) = self.raw.to.iter().cloned().partition(|to| to == TEAM);
        let to: Vec<Option<Mailbox>> = to.iter().map(|to| self.mailbox("to", to)).collect();
        let username = self.text("username");
        let login = match username.is_empty() {
            true => None,
            false => Some((username, self.secret("password")?)),
        };
        let ca_file = Some(self.text("ca_file")).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Way::Email {
            host,
            port,
            security,
            ca_file,
            login,
            from: from?,
            to: to.into_iter().collect::<Option<_>>()?,
            to_team: !team.is_empty(),
        })
    }

    fn mailbox(&mut self, key: &str, text: &str) -> Option<Mailbox> {
        let mailbox = text.parse().ok();
        if mailbox.is_none() {
            let wanted = "expected an address such as \"Platform <platform@example.com>\"".to_owned();
            self.faults.add(self.key(key), format!("{text:?}"), wanted);
        }
        mailbox
    }

    /// A secret of the environment or a file. Where a fault is told, it is not shown.
    fn secret(&mut self, name: &str) -> Option<Sealed> {
        let (key, file_key) = (self.key(name), self.key(&format!("{name}_file")));
        let (given, file) = (self.text(name), self.text(&format!("{name}_file")));
        let from_file = matches!(self.origins.get(&key), Some((_, Origin::File)));
        let wanted = format!("expected {file_key}, or the variable {}", env_name(&key));
        match (given.is_empty(), file.is_empty()) {
            (false, _) if from_file => {
                self.faults.add(key, "in the file of the configuration".to_owned(), wanted);
                None
            }
            (false, true) => Some(Sealed::Given(given)),
            (true, false) => Some(Sealed::File(file.into())),
            (false, false) => {
                self.faults.add(key, "given twice".to_owned(), wanted);
                None
            }
            (true, true) => {
                self.faults.add(key, "not given".to_owned(), wanted);
                None
            }
        }
    }

    fn url(&mut self) -> String {
        let url = self.text("url");
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let wanted = "expected a URL such as \"https://hooks.example.com/pedwatch\"".to_owned();
            self.faults.add(self.key("url"), format!("{:?}", redact::url(&url)), wanted);
        }
        url
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFirestore {
    endpoint: String,
    anonymous: bool,
}

impl RawFirestore {
    pub(super) fn validate(self, faults: &mut Faults) -> FirestoreConfig {
        let endpoint = faults.url("firestore.endpoint", self.endpoint);
        FirestoreConfig { endpoint, anonymous: self.anonymous, deadline: DEADLINE }
    }
}
