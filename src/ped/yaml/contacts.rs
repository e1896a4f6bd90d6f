//! `metadata.notify`: where the team hears of its Deployment.

use saphyr::YamlData;

use super::{Node, Reader, Section, place_of, scalar_text};
use crate::ped::contacts::{Contacts, EMAILS_MAX, is_email, is_slack_id};

const KEY: &str = "metadata.notify";

impl Reader<'_> {
    /// What is wrong is told, and left out.
    pub(super) fn contacts(&mut self, section: &mut Section<'_, '_>) -> Contacts {
        let found = section.take("notify").and_then(|node| self.section(KEY, node));
        let Some(mut notify) = found else { return Contacts::default() };
        let slack = notify.take("slack").and_then(|node| {
            let wanted = "a channel's id such as C0123456789, which Slack shows at the end of the channel's details";
            self.address(&format!("{KEY}.slack"), node, is_slack_id, wanted)
        });
        let email = notify.take("email").map(|node| self.emails(node)).unwrap_or_default();
        self.nothing_else(notify, &["slack", "email"]);
        Contacts { slack, email }
    }

    /// One address, or a list of them.
    fn emails(&mut self, node: &Node<'_>) -> Vec<String> {
        let key = format!("{KEY}.email");
        let wanted = "an address such as team@example.com";
        let YamlData::Sequence(nodes) = &node.data else {
            return self.address(&key, node, is_email, wanted).into_iter().collect();
        };
        if nodes.is_empty() || nodes.len() > EMAILS_MAX {
            self.fault(
                place_of(node),
                &*key,
                format!("has {}; expected from 1 to {EMAILS_MAX} addresses", nodes.len()),
            );
            return Vec::new();
        }
        let address = |(index, node)| self.address(&format!("{key}[{index}]"), node, is_email, wanted);
        nodes.iter().enumerate().filter_map(address).collect()
    }

    fn address(&mut self, key: &str, node: &Node<'_>, is_one: fn(&str) -> bool, wanted: &str) -> Option<String> {
        let text = scalar_text(node).filter(|text| is_one(text));
        if text.is_none() {
            self.fault(place_of(node), key, format!("is {}; expected {wanted}", self.shown(node)));
        }
        text
    }
}
