//! Channels: the receivers of the configuration, each with its words, and the routes that lead to them.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Duration, NaiveTime, Utc};
use chrono_tz::Tz;
use lettre::message::Mailbox;

use super::digest::{self, Digest, Fallback};
use super::ledger::Ledger;
use super::matcher::About;
use super::message::Message;
use super::notice::{Addressed, Notice, Outcome, Patience};
use super::receiver::Receiver;
use super::route::Routes;
use super::sealed::Sealed;
use super::sender::Sender;
use super::template::{Form, Language, TemplateFault, Templates};
use crate::incident::{Kind, Settings};
use crate::names::named;
use crate::ped::contacts::Contacts;

named! {
    /// How the connection is kept secret.
    pub enum Security {
        /// STARTTLS, or nothing is sent.
        StartTls = "starttls",
        /// TLS from the beginning.
        Tls = "tls",
        /// Not at all: a relay on this machine.
        None = "none",
    }
}

named! {
    /// The kinds of receivers.
    pub enum ReceiverKind {
        /// Prometheus' Alertmanager.
        Alertmanager = "alertmanager",
        /// Addresses, by mail.
        Email = "email",
        /// A space of Google Chat, by an incoming webhook.
        GoogleChat = "google_chat",
        /// A service of PagerDuty.
        PagerDuty = "pagerduty",
        /// A topic of Pub/Sub.
        PubSub = "pubsub",
        /// A channel of Slack, by a bot.
        Slack = "slack",
        /// A channel of Slack, by an incoming webhook.
        SlackWebhook = "slack_webhook",
        /// Any HTTP server, by a signed POST.
        Webhook = "webhook",
    }
}

/// How people are told.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    /// The language of the built-in words.
    pub language: Language,
    /// The zone of the times in them.
    pub timezone: Tz,
    /// How long things are waited for.
    pub settings: Settings,
    /// How long after it was made a notice fails that cannot be sent.
    pub give_up_after: Duration,
    /// More notices than so many that are due at once for people are one digest; 0: never.
    pub digest_above: usize,
    /// By their names.
    pub receivers: Vec<ReceiverConfig>,
    /// Who is told of what.
    pub routes: Routes,
}

/// One receiver.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// What it is called here.
    pub name: String,
    /// Where it is, and what lets us in.
    pub way: Way,
    /// A file of other words than the built-in ones.
    pub template: Option<PathBuf>,
    /// Whether it is told what is over.
    pub recovered: bool,
    /// The receiver that is told instead, where this one has nobody to tell, or what it was to be told has failed.
    pub fallback: Option<String>,
    /// At what time of the day it gets a digest.
    pub digest_at: Option<NaiveTime>,
}

/// Checks how a topic is named: <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>.
///
/// # Errors
/// What would be right.
pub fn check_topic(text: &str) -> Result<String, String> {
    let is_project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '%');
    let is_topic = |project: &str, name: &str| {
        !project.is_empty()
            && project.chars().all(is_project)
            && (3..=255).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(is_name)
    };
    match text.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "topics", name] if is_topic(project, name) => Ok(text.to_owned()),
        _ => Err(format!(
            "expected {TOPIC_FORM:?} with a name of 3 to 255 characters, such as \"projects/acme-prod/topics/pedwatch-notices\""
        )),
    }
}

/// How a topic is named.
pub const TOPIC_FORM: &str = "projects/PROJECT/topics/NAME";

/// Where a receiver is, and what lets us in.
#[derive(Debug, Clone)]
pub enum Way {
    /// See [`ReceiverKind::Alertmanager`].
    Alertmanager {
        /// Where it is.
        url: String,
    },
    /// See [`ReceiverKind::GoogleChat`].
    GoogleChat {
        /// Its URL lets us in.
        url: Sealed,
    },
    /// See [`ReceiverKind::PagerDuty`].
    PagerDuty {
        /// Another server than PagerDuty's.
        endpoint: Option<String>,
        /// The integration's key.
        routing_key: Sealed,
    },
    /// See [`ReceiverKind::PubSub`].
    PubSub {
        /// Another server than Google's.
        endpoint: Option<String>,
        /// The topic's whole name.
        topic: String,
        /// Sends no credentials: for an emulator.
        anonymous: bool,
    },
    /// See [`ReceiverKind::Slack`].
    Slack {
        /// Another server than Slack's.
        endpoint: Option<String>,
        /// The bot's token.
        token: Sealed,
        /// The channel's id; `None` for the one that the PED names.
        channel: Option<String>,
    },
    /// See [`ReceiverKind::Email`].
    Email {
        /// The mail server's name.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is kept secret.
        security: Security,
        /// Certificates that it may be trusted by, in PEM.
        ca_file: Option<PathBuf>,
        /// A user, and their password.
        login: Option<(String, Sealed)>,
        /// Who writes.
        from: Mailbox,
        /// To whom.
        to: Vec<Mailbox>,
        /// And to those that the PED names.
        to_team: bool,
    },
    /// See [`ReceiverKind::SlackWebhook`].
    SlackWebhook {
        /// Its URL lets us in.
        url: Sealed,
    },
    /// See [`ReceiverKind::Webhook`].
    Webhook {
        /// Where it is.
        url: String,
        /// What is signed with.
        secret: Sealed,
    },
}

/// How long an attempt is its owner's: longer than any takes.
const LEASE: Duration = Duration::seconds(30);

/// Slack takes one message a second, as Chat does: <https://docs.slack.dev/apis/web-api/rate-limits>.
const PACE: std::time::Duration = std::time::Duration::from_secs(1);

/// A key, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

/// One receiver that can be sent to.
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How long to wait between two messages.
    pub pace: std::time::Duration,
    /// See [`ReceiverConfig::fallback`].
    pub fallback: Option<String>,
    receiver: Arc<dyn Receiver>,
    words: Words,
    recovered: bool,
    reaches: Reaches,
    digest_at: Option<NaiveTime>,
    /// Whether people read it as it is, and many messages at once are a burden.
    is_read_by_people: bool,
}

/// Whom a channel reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaches {
    /// Those that the configuration names.
    Named,
    /// The channel of Slack that the PED names.
    TeamSlack,
    /// The addresses of mail that the PED names.
    TeamEmail,
    /// Those, besides some that the configuration names.
    NamedAndTeamEmail,
}

impl Reaches {
    /// Where the team is told; `None` where nobody would be.
    fn to(self, contacts: &Contacts) -> Option<Vec<String>> {
        match self {
            Reaches::Named => Some(Vec::new()),
            Reaches::TeamSlack => contacts.slack.clone().map(|channel| vec![channel]),
            Reaches::TeamEmail => Some(contacts.email.clone()).filter(|to| !to.is_empty()),
            Reaches::NamedAndTeamEmail => Some(contacts.email.clone()),
        }
    }
}

/// How a message reads.
enum Words {
    /// All of it, as JSON.
    Json,
    /// By a template; where that fails on a value, by the built-in one.
    Text { form: Form, templates: Box<Templates>, built_in: Box<Templates> },
}

/// All channels, and the routes to them.
pub struct Channels {
    /// See [`NotifyConfig::digest_above`].
    pub digest_above: usize,
    timezone: Tz,
    channels: Vec<Channel>,
    routes: Routes,
}

impl Channels {
    /// For those who put notices into the ledger and send none: they need no secrets.
    ///
    /// # Errors
    /// As [`Channels::open`], of templates.
    pub fn for_words(config: &NotifyConfig) -> Result<Self, Vec<String>> {
        Self::each(config, |_| Ok(Arc::new(Elsewhere)))
    }

    pub(super) fn each(
        config: &NotifyConfig,
        receiver: impl Fn(&ReceiverConfig) -> Result<Arc<dyn Receiver>, Fault>,
    ) -> Result<Self, Vec<String>> {
        let (mut channels, mut faults) = (Vec::new(), Vec::new());
        let open = |named: &ReceiverConfig| Channel::open(named, receiver(named)?, config);
        for receiver in &config.receivers {
            match open(receiver) {
                Ok(channel) => channels.push(channel),
                Err((key, why)) => faults.push(format!("receivers.{}.{key}: {why}", receiver.name)),
            }
        }
        let NotifyConfig { digest_above, timezone, routes, .. } = config;
        let channels = Channels { digest_above: *digest_above, timezone: *timezone, channels, routes: routes.clone() };
        if faults.is_empty() { Ok(channels) } else { Err(faults) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter()
    }

    /// Who is told of what.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The one of a name.
    pub fn named(&self, name: &str) -> Option<&Channel> {
        self.iter().find(|channel| channel.name == name)
    }

    /// Whether somebody is told something now: then it is worth to find out more.
    pub fn is_told(&self, about: &About<'_>, contacts: &Contacts, kind: Kind) -> bool {
        let names = self.routes.receivers(about);
        kind != Kind::Digest && names.into_iter().any(|name| self.reached(name, contacts).is_some())
    }

    /// Whom something is told, where, and in which words. What is a line in a digest is collected for those who get one.
    pub fn addressed(&self, about: &About<'_>, contacts: &Contacts, message: &Message) -> Vec<Addressed> {
        let hears = |channel: &Channel| match message.kind {
            Kind::Digest => channel.digest_at.is_some(),
            Kind::Recovered => channel.recovered,
            _ => true,
        };
        let mut addressed: Vec<Addressed> = Vec::new();
        for name in self.routes.receivers(about) {
            let Some((channel, to)) = self.reached(name, contacts).filter(|(channel, _)| hears(channel)) else {
                continue;
            };
            if addressed.iter().all(|known| known.receiver != channel.name) {
                let instead = self.instead(channel, contacts, &|channel| channel.say(message));
                addressed.push(Addressed { receiver: channel.name.clone(), to, body: channel.say(message), instead });
            }
        }
        let names: Vec<String> = addressed.iter().map(|addressed| addressed.receiver.clone()).collect();
        // Who is told anyway stands in for nobody.
        for addressed in &mut addressed {
            while let Some(next) = addressed.instead.take_if(|instead| names.contains(&instead.receiver)) {
                addressed.instead = next.instead;
            }
        }
        addressed
    }

    /// Who is told should a channel not be, with who is told should that one not be.
    fn instead(
        &self,
        channel: &Channel,
        contacts: &Contacts,
        say: &dyn Fn(&Channel) -> String,
    ) -> Option<Box<Addressed>> {
        let (next, to) = self.reached(channel.fallback.as_deref()?, contacts)?;
        let instead = self.instead(next, contacts, say);
        Some(Box::new(Addressed { receiver: next.name.clone(), to, body: say(next), instead }))
    }

    /// A digest, as a channel is told it.
    pub fn digest(&self, channel: &Channel, to: Vec<String>, digest: &Digest) -> Addressed {
        let instead = self.instead(channel, &Contacts::default(), &|channel| channel.say_digest(digest));
        Addressed { receiver: channel.name.clone(), to, body: channel.say_digest(digest), instead }
    }

    /// A digest of what has a fallback of its own: these are told it, one instead of the other.
    pub fn digest_instead(&self, fallbacks: &[Fallback], digest: &Digest) -> Option<Box<Addressed>> {
        fallbacks.iter().rev().fold(None, |instead, Fallback { receiver, to }| {
            let Some(channel) = self.named(receiver) else { return instead };
            let (receiver, to) = (receiver.clone(), to.clone());
            Some(Box::new(Addressed { receiver, to, body: channel.say_digest(digest), instead }))
        })
    }

    /// The channels whose digest of a day is due, with the time for which it is.
    pub fn digests_due(&self, now: DateTime<Utc>) -> impl Iterator<Item = (&Channel, DateTime<Utc>)> {
        let due = move |at| digest::last_due(at, self.timezone, now);
        self.iter().filter_map(move |channel| Some((channel, due(channel.digest_at?)?)))
    }

    /// The receiver of a name, or the one that stands in where it has nobody to tell; and where the team is told by it.
    pub fn reached(&self, name: &str, contacts: &Contacts) -> Option<(&Channel, Vec<String>)> {
        // No fallback leads back: the configuration is refused where one would.
        let next = |channel: &&Channel| channel.fallback.as_deref().and_then(|name| self.named(name));
        std::iter::successors(self.named(name), next).find_map(|channel| Some((channel, channel.reaches.to(contacts)?)))
    }
}

impl Channel {
    fn open(named: &ReceiverConfig, receiver: Arc<dyn Receiver>, config: &NotifyConfig) -> Result<Self, Fault> {
        let words = match named.way {
            Way::PubSub { .. } | Way::Webhook { .. } => Words::Json,
            Way::Slack { .. } | Way::SlackWebhook { .. } => Words::text(Form::Slack, named, config)?,
            _ => Words::text(Form::Text, named, config)?,
        };
        let pace = match named.way {
            Way::GoogleChat { .. } | Way::Slack { .. } | Way::SlackWebhook { .. } => PACE,
            _ => std::time::Duration::ZERO,
        };
        let reaches = match &named.way {
            Way::Slack { channel: None, .. } => Reaches::TeamSlack,
            Way::Email { to, to_team: true, .. } if to.is_empty() => Reaches::TeamEmail,
            Way::Email { to_team: true, .. } => Reaches::NamedAndTeamEmail,
            _ => Reaches::Named,
        };
        let (name, fallback, recovered) = (named.name.clone(), named.fallback.clone(), named.recovered);
        let is_read_by_people = named.way.is_read_by_people();
        let digest_at = named.digest_at;
        Ok(Channel { name, pace, fallback, receiver, words, recovered, reaches, digest_at, is_read_by_people })
    }

    /// The body of a message, in the receiver's own form.
    pub fn say(&self, message: &Message) -> String {
        match &self.words {
            // Names, numbers and times: this cannot fail.
            Words::Json => serde_json::to_string(message).unwrap_or_default(),
            Words::Text { form, templates, built_in } => templates.render(*form, message).unwrap_or_else(|fault| {
                tracing::error!(receiver = self.name, %fault, "a template cannot tell a message; the built-in one does");
                built_in.render(*form, message).unwrap_or_default()
            }),
        }
    }

    /// The body of a digest.
    pub fn say_digest(&self, digest: &Digest) -> String {
        match &self.words {
            // As above.
            Words::Json => serde_json::to_string(digest).unwrap_or_default(),
            Words::Text { form, built_in, .. } => built_in.render_digest(*form, digest).unwrap_or_default(),
        }
    }

    /// Whether many messages at once are one digest for it: what programs read, they read one by one.
    pub fn is_read_by_people(&self) -> bool {
        self.is_read_by_people
    }

    /// Who sends to it, under a name that nobody else has who lives at once.
    pub fn sender(&self, ledger: &Arc<dyn Ledger>, owner: &str, give_up_after: Duration) -> Sender {
        Sender {
            ledger: Arc::clone(ledger),
            name: self.name.clone(),
            receiver: Arc::clone(&self.receiver),
            owner: owner.to_owned(),
            patience: Patience { lease: LEASE, give_up_after },
        }
    }

    /// Whether it tells whom the PED names, and nobody else.
    pub fn needs_contacts(&self) -> bool {
        self.reaches.to(&Contacts::default()).is_none()
    }

    /// What it is sent with, without a ledger.
    pub fn receiver(&self) -> &dyn Receiver {
        &*self.receiver
    }
}

impl Way {
    /// See [`Channel::is_read_by_people`].
    pub fn is_read_by_people(&self) -> bool {
        match self {
            Way::Email { .. } | Way::GoogleChat { .. } | Way::Slack { .. } | Way::SlackWebhook { .. } => true,
            Way::Alertmanager { .. } | Way::PagerDuty { .. } | Way::PubSub { .. } | Way::Webhook { .. } => false,
        }
    }
}

/// Who sends is another process.
struct Elsewhere;

#[async_trait]
impl Receiver for Elsewhere {
    async fn send(&self, _: &Notice, _: &[Notice], _: DateTime<Utc>) -> Outcome {
        Outcome::Later { why: "it is sent elsewhere".to_owned(), after: None, unsure: false }
    }
}

impl Words {
    fn text(form: Form, receiver: &ReceiverConfig, config: &NotifyConfig) -> Result<Self, (&'static str, String)> {
        let new = || Templates::new(config.language, config.timezone);
        let refuse = |fault: TemplateFault| ("template", fault.to_string());
        let (mut templates, built_in) = (new().map_err(refuse)?, new().map_err(refuse)?);
        if let Some(path) = &receiver.template {
            let refuse = |why: String| ("template", why);
            let source = std::fs::read_to_string(path);
            let source = source.map_err(|error| refuse(format!("cannot read {}: {error}", path.display())))?;
            let tried = templates.replace(form, &source).and_then(|()| templates.render(form, &Message::sample()));
            tried.map_err(|fault| refuse(format!("{}:{}: {}", path.display(), fault.line, fault.message)))?;
        }
        Ok(Words::Text { form, templates: Box::new(templates), built_in: Box::new(built_in) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_with_its_project() {
        for good in ["projects/acme-prod/topics/pedwatch-notices", "projects/example.com:acme/topics/a.b"] {
            assert_eq!(check_topic(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "pedwatch",
            "projects/acme-prod/subscriptions/pedwatch",
            "projects//topics/pedwatch",
            "projects/a/topics/1ab",
        ] {
            assert!(check_topic(bad).expect_err(bad).starts_with("expected \"projects/PROJECT/topics/NAME\""));
        }
    }
}
