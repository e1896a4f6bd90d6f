//! Mail, by SMTP: text and HTML of the same words, to each address by itself.
//!
//! The Message-ID is the notice's, the same in every attempt, and all mails of an incident refer to it: they are one thread.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::message::header::{self, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::time::timeout;

use super::Receiver;
use super::http::{WITHIN, shortened};
use crate::notify::notice::{Notice, Outcome};

pub use crate::notify::channel::Security;

/// How much of a subject is kept: more is shown by nobody.
const SUBJECT_MAX_CHARS: usize = 150;

/// A mail server, and what lets us in.
#[derive(Clone)]
pub struct Server {
    /// Its name, which stands in its certificate.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept secret.
    pub security: Security,
    /// A user and their password, where it wants them.
    pub login: Option<(String, String)>,
    /// Certificates in PEM that it may be trusted by, besides those of the system.
    pub authorities: Option<Vec<u8>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}:{})", self.host, self.port)
    }
}

/// Some addresses that are told by mail.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl Email {
    /// Addresses at a server; those that a notice names come besides. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(server: &Server, from: Mailbox, to: Vec<Mailbox>) -> Result<Self, String> {
        let mut tls = TlsParameters::builder(server.host.clone());
        if let Some(pem) = &server.authorities {
            let authority = Certificate::from_pem(pem).map_err(|_| "expected certificates in PEM".to_owned())?;
            tls = tls.add_root_certificate(authority);
        }
        let tls =
            || tls.build().map_err(|error| format!("TLS cannot be set up: {}", crate::credentials::causes(&error)));
        let tls = match server.security {
            Security::StartTls => Tls::Required(tls()?),
            Security::Tls => Tls::Wrapper(tls()?),
            Security::None => Tls::None,
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host);
        let mut transport = transport.port(server.port).tls(tls).timeout(Some(WITHIN));
        if let Some((user, password)) = server.login.clone() {
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(Email { transport: transport.build(), from, to })
    }

    /// Everybody who gets a notice, each once.
    fn to(&self, notice: &Notice) -> Result<Vec<Mailbox>, lettre::address::AddressError> {
        let mut to = self.to.clone();
        for address in &notice.content.to {
            let email = address.parse()?;
            if to.iter().all(|known| known.email != email) {
                to.push(Mailbox::new(None, email));
            }
        }
        Ok(to)
    }

    fn message(&self, notice: &Notice, to: &[Mailbox]) -> Result<Message, lettre::error::Error> {
        let body = &notice.content.body;
        let subject = shortened(body.lines().next().unwrap_or_default(), SUBJECT_MAX_CHARS);
        let domain = self.from.email.domain();
        let incident = format!("<{}@{domain}>", notice.incident_id);
        let message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{}@{domain}>", notice.notification_id)))
            .in_reply_to(incident.clone())
            .references(incident)
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .header(header::MIME_VERSION_1_0);
        let message = to.iter().fold(message, |message, to| message.to(to.clone()));
        message.multipart(MultiPart::alternative_plain_html(body.clone(), html(body)))
    }
}

/// So that nobody's absence answers: <https://www.rfc-editor.org/rfc/rfc3834#section-5>.
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

#[async_trait]
impl Receiver for Email {
    async fn send(&self, notice: &Notice, _: &[Notice], _: DateTime<Utc>) -> Outcome {
        let refused = |why: String| Outcome::Refused { why: format!("no mail can be made of it: {why}") };
        let to = match self.to(notice) {
            Ok(to) if to.is_empty() => return refused("no address is named for it".to_owned()),
            Ok(to) => to,
            Err(error) => return refused(error.to_string()),
        };
        let message = match self.message(notice, &to) {
            Ok(message) => message.formatted(),
            Err(error) => return refused(error.to_string()),
        };
        let sent = timeout(WITHIN, self.send_to_each(&to, &message));
        sent.await.unwrap_or_else(|_| later(format!("no answer within {} s", WITHIN.as_secs()), true))
    }
}

impl Email {
    /// One mail to each, because a server refuses all where it refuses one: an address that is gone silences nobody else. Where
    /// it has to be tried again, those who have it get it again, under the same Message-ID.
    async fn send_to_each(&self, to: &[Mailbox], message: &[u8]) -> Outcome {
        let (mut is_sent, mut waits, mut refused) = (false, None, None);
        for to in to {
            let envelope = match Envelope::new(Some(self.from.email.clone()), vec![to.email.clone()]) {
                Ok(envelope) => envelope,
                Err(error) => {
                    refused = Some(error.to_string());
                    continue;
                }
            };
            match self.transport.send_raw(&envelope, message).await {
                Ok(_) => is_sent = true,
                Err(error) if error.is_permanent() => refused = Some(error.to_string()),
                Err(error) => {
                    let unsure = !error.is_transient() && !is_unconnected(&error);
                    waits = Some((error.to_string(), unsure || waits.is_some_and(|(_, unsure)| unsure)));
                }
            }
        }
        match (waits, refused) {
            (Some((why, unsure)), _) => later(why, unsure || is_sent),
            (None, Some(why)) if !is_sent => Outcome::Refused { why },
            (None, why) => {
                if why.is_some() {
                    // Without the server's words, which name the address.
                    tracing::warn!("a mail server refuses some of the addresses of a receiver");
                }
                Outcome::Sent { provider_ref: None }
            }
        }
    }
}

fn later(why: String, unsure: bool) -> Outcome {
    Outcome::Later { why, after: None, unsure }
}

/// Whether nothing was sent: nobody was there, or not trusted. lettre tells these from broken connections by their text alone.
fn is_unconnected(error: &lettre::transport::smtp::Error) -> bool {
    error.is_client() || error.is_tls() || error.to_string().starts_with("Connection error")
}

/// The same words as HTML: a heading, and each line by itself; what is a link can be followed.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let mut lines = escaped.lines();
    let heading = lines.next().unwrap_or_default();
    let line = |line: &str| match line.starts_with("https://") && !line.contains(' ') {
        true => format!("<p><a href=\"{line}\">{line}</a></p>\n"),
        false => format!("<p>{line}</p>\n"),
    };
    let lines: String = lines.map(line).collect();
    format!("<!DOCTYPE html>\n<html><body>\n<p><strong>{heading}</strong></p>\n{lines}</body></html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_in_html_too() {
        let html = html("a <b>&\nBy \"<script>\"\nhttps://example.com/?a=1&b=\"2\"\nhttps://example.com/ and more");
        assert!(html.contains("<strong>a &lt;b&gt;&amp;</strong>"), "{html}");
        assert!(html.contains("<p>By &quot;&lt;script&gt;&quot;</p>"), "{html}");
        let link = "https://example.com/?a=1&amp;b=&quot;2&quot;";
        assert!(html.contains(&format!("<p><a href=\"{link}\">{link}</a></p>")), "{html}");
        assert!(html.contains("<p>https://example.com/ and more</p>"), "{html}");
    }
}
