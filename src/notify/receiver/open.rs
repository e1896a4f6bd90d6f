//! Opens the receivers of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use super::Receiver;
use super::alertmanager::Alertmanager;
use super::email::{Email, Server};
use super::google_chat::GoogleChat;
use super::pagerduty::PagerDuty;
use super::pubsub::PubSub;
use super::slack::Slack;
use super::slack_webhook::SlackWebhook;
use super::webhook::{Secret, Webhook};
use crate::notify::channel::{Channels, Fault, NotifyConfig, Way};
use crate::notify::sealed::Sealed;

impl Channels {
    /// Opens all: reads secrets and templates. Nothing is sent.
    ///
    /// # Errors
    /// Everything that is wrong, each with the key that it is about.
    pub fn open(config: &NotifyConfig) -> Result<Self, Vec<String>> {
        Self::each(config, |receiver| receiver.way.receiver())
    }
}

impl Way {
    /// What sends there.
    fn receiver(&self) -> Result<Arc<dyn Receiver>, Fault> {
        Ok(match self {
            Way::Email { from, to, .. } => {
                Arc::new(Email::new(&self.server()?, from.clone(), to.clone()).map_err(|why| ("ca_file", why))?)
            }
            Way::Alertmanager { url } => Arc::new(Alertmanager::new(url).map_err(|why| ("url", why))?),
            Way::GoogleChat { url } => {
                Arc::new(url.open().and_then(|url| GoogleChat::new(&url)).map_err(|why| ("webhook_url", why))?)
            }
            Way::PagerDuty { endpoint, routing_key } => {
                let key = routing_key.open().map_err(|why| ("routing_key", why))?;
                Arc::new(PagerDuty::new(endpoint.as_deref(), key).map_err(|why| ("endpoint", why))?)
            }
            Way::PubSub { endpoint, topic, anonymous } => {
                Arc::new(PubSub::new(endpoint.as_deref(), topic, *anonymous).map_err(|why| ("topic", why))?)
            }
            Way::Slack { endpoint, token, channel } => {
                let token = token.open().map_err(|why| ("token", why))?;
                Arc::new(Slack::new(endpoint.as_deref(), token, channel.clone()).map_err(|why| ("endpoint", why))?)
            }
            Way::SlackWebhook { url } => {
                Arc::new(url.open().and_then(SlackWebhook::new).map_err(|why| ("webhook_url", why))?)
            }
            Way::Webhook { url, secret } => {
                let secret = secret.open().and_then(|text| Secret::read(&text)).map_err(|why| ("secret", why))?;
                Arc::new(Webhook::new(url.clone(), secret).map_err(|why| ("url", why))?)
            }
        })
    }

    /// The mail server of a receiver by mail.
    fn server(&self) -> Result<Server, (&'static str, String)> {
        let Way::Email { host, port, security, ca_file, login, .. } = self else {
            return Err(("kind", "expected email".to_owned()));
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| ("ca_file", format!("cannot read {}: {error}", path.display())))
        };
        let open = |(user, password): &(String, Sealed)| {
            password.open().map(|password| (user.clone(), password)).map_err(|why| ("password", why))
        };
        Ok(Server {
            host: host.clone(),
            port: *port,
            security: *security,
            login: login.as_ref().map(open).transpose()?,
            authorities: ca_file.as_ref().map(read).transpose()?,
        })
    }
}
