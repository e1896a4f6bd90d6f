//! `spec.exceptions` of a PED file.

use chrono::{DateTime, SubsecRound, Utc};
use saphyr::YamlData;

use super::{Node, Reader, Section, place_of, scalar_text};
use crate::id;
use crate::ped::{Exception, Place};
use crate::time;

const KEY: &str = "spec.exceptions";

/// Most exceptions of one PED: nearly two for each week of a year. Every reading of limits cuts time at each of them.
const EXCEPTIONS_MAX: usize = 100;

impl Reader<'_> {
    /// In the order of their times; where one is missing, there is a fault. `min` is `spec.minReplicas`.
    pub(super) fn exceptions(&mut self, node: &Node<'_>, min: Option<i64>) -> Vec<Exception> {
        let YamlData::Sequence(items) = &node.data else {
            let message = format!("is {}; expected a list of exceptions", self.shown(node));
            self.fault(place_of(node), KEY, message);
            return Vec::new();
        };
        if items.len() > EXCEPTIONS_MAX {
            let message = format!("has {} exceptions; expected at most {EXCEPTIONS_MAX}", items.len());
            self.fault(place_of(node), KEY, message);
            return Vec::new();
        }
        let mut read: Vec<(Exception, String, Place)> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let key = format!("{KEY}[{index}]");
            if let Some(exception) = self.exception(&key, item, min) {
                read.push((exception, key, place_of(item)));
            }
        }
        read.sort_by_key(|(exception, ..)| exception.from);
        self.no_overlap(&read);
        read.into_iter().map(|(exception, ..)| exception).collect()
    }

    /// `None` only with a fault.
    fn exception(&mut self, key: &str, node: &Node<'_>, min: Option<i64>) -> Option<Exception> {
        let mut section = self.section(key, node)?;
        let max = self.required(&mut section, "maxReplicas", "the most replicas wanted meanwhile");
        let max = max.and_then(|node| Some((node, self.replicas(&format!("{key}.maxReplicas"), node)?)));
        if let (Some(min), Some((node, max))) = (min, max)
            && max < min
        {
            let message = format!("is {max}, below spec.minReplicas ({min}); expected at least that");
            self.fault(place_of(node), format!("{key}.maxReplicas"), message);
        }
        let from = self.time(&mut section, "from", "the time at which it begins");
        let until = self.time(&mut section, "until", "the time at which it ends");
        if let (Some((_, from)), Some((place, until))) = (from, until)
            && until <= from
        {
            let message = format!("is {}, not after from ({}); expected a later time", id::time(until), id::time(from));
            self.fault(place, format!("{key}.until"), message);
            return None;
        }
        let reason = self.required(&mut section, "reason", "why");
        let reason = reason.and_then(|node| self.text(&format!("{key}.reason"), node, "why, such as a sales week"));
        self.nothing_else(section, &["maxReplicas", "from", "until", "reason"]);
        Some(Exception { from: from?.1, until: until?.1, max_replicas: max?.1, reason: reason? })
    }

    /// A time and its place; `None` only with a fault.
    fn time(&mut self, section: &mut Section<'_, '_>, name: &str, wanted: &str) -> Option<(Place, DateTime<Utc>)> {
        let node = self.required(section, name, wanted)?;
        match time::read_effect(&scalar_text(node).unwrap_or_default()) {
            // What every store keeps, so that an exception read back is the one that was written.
            Ok(time) => Some((place_of(node), time.trunc_subsecs(6))),
            Err(wrong) => {
                let shown = self.shown(node);
                self.fault(place_of(node), section.path(name), format!("is {shown}, which {wrong}"));
                None
            }
        }
    }

    /// Given in the order of their times, each with its key and place.
    fn no_overlap(&mut self, exceptions: &[(Exception, String, Place)]) {
        let mut longest: Option<&(Exception, String, Place)> = None;
        for one in exceptions {
            let (exception, key, place) = one;
            if let Some((other, other_key, _)) = longest.filter(|(other, ..)| exception.from < other.until) {
                let message = format!(
                    "begins at {}, before {other_key} ends ({}); expected exceptions that do not overlap",
                    id::time(exception.from),
                    id::time(other.until)
                );
                self.fault(*place, key.as_str(), message);
            }
            if longest.is_none_or(|(other, ..)| other.until < exception.until) {
                longest = Some(one);
            }
        }
    }
}
