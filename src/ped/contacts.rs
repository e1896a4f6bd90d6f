//! Where a team hears of its Deployment: what a PED says in `metadata.notify`.

use serde::{Deserialize, Serialize};

/// Addresses of a team. Who is told there, and of what, is for the platform's routes to say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Contacts {
    /// A channel of Slack, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    /// Addresses of mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<String>,
}

/// Most addresses of mail: who needs more has a mailing list.
pub(super) const EMAILS_MAX: usize = 10;

/// Longest address of mail, and of what stands before its `@`: <https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1>.
const EMAIL_MAX_BYTES: usize = 254;
const LOCAL_MAX_BYTES: usize = 64;

/// Longest part of a domain between two points: <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>.
const LABEL_MAX_BYTES: usize = 63;

/// How long Slack's ids are, with room for longer ones: today's have 9 to 11 characters.
const SLACK_ID_CHARS: std::ops::RangeInclusive<usize> = 9..=21;

impl Contacts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Contacts::default()
    }
}

/// Whether a text is the id of a channel, or of a person, that a message of Slack can go to. A name is none: it may be given
/// to another channel.
pub fn is_slack_id(text: &str) -> bool {
    SLACK_ID_CHARS.contains(&text.len())
        && text.starts_with(['C', 'D', 'G', 'U'])
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Whether a text is an address of mail as every server takes it: no quotes, no comments, no name beside it.
pub fn is_email(text: &str) -> bool {
    let is_atom = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c))
    };
    let is_label = |part: &str| {
        (1..=LABEL_MAX_BYTES).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= EMAIL_MAX_BYTES
        && local.len() <= LOCAL_MAX_BYTES
        && local.split('.').all(is_atom)
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_every_server_takes() {
        let (long, label) = ("x".repeat(LOCAL_MAX_BYTES), "y".repeat(LABEL_MAX_BYTES));
        for good in ["team@example.com", "a.b+c@x-1.example.com", &format!("{long}@{label}.com")] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "team",
            "team@example",
            "@example.com",
            "a@b@example.com",
            ".a@example.com",
            "a..b@example.com",
            "a@-x.com",
            "a@x..com",
            "a b@example.com",
            "Team <team@example.com>",
            "a@example.com\r\nBcc: b@example.com",
            "téam@example.com",
            &format!("{long}x@example.com"),
            &format!("a@{label}y.com"),
        ] {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["C0123456789", "G01234567", "U0123456789"] {
            assert!(is_slack_id(good), "{good}");
        }
        for bad in ["", "C012", "#payments", "c0123456789", "X0123456789", "C0123456789<!here>"] {
            assert!(!is_slack_id(bad), "{bad}");
        }
    }
}
