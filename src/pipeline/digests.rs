//! The digest of a day: for each receiver that gets one, what is open of what it hears of, and what was no message of its own.
//!
//! Whoever steps what is due makes it, once: its notice has the same id whoever does. One that says nothing is kept too, so
//! that what comes later that day is no digest of the morning.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use chrono::{DateTime, Utc};

use super::incidents::{Present, ledger_error};
use crate::id;
use crate::incident::{Deployment, Document, Incident, Kind, Reason};
use crate::notify::channel::Channel;
use crate::notify::digest::{self, Digest, Line};
use crate::notify::ledger::{LedgerError, Wanted};
use crate::notify::matcher::About;
use crate::notify::notice::{Notice, State};
use crate::notify::open;
use crate::ped::version::Version;

/// Notices that wait for digests, of all receivers: more are told by the next one.
const COLLECTED_MAX: u32 = 10_000;

/// Of them, those that one digest stands for: its commit changes each.
const GATHERED_MAX: usize = 500;

/// What a digest tells: what is open, and what was collected.
#[derive(Default)]
struct Told {
    open: Vec<Line>,
    collected: Vec<Notice>,
}

impl Present<'_> {
    /// Makes the digests that are due and were not made yet.
    ///
    /// # Errors
    /// [`LedgerError`], the first, when one may not be kept: the others are made, and it is tried again at the next time.
    pub(super) async fn digests(&self) -> Result<(), LedgerError> {
        let mut made = Ok(());
        for (channel, due) in self.telling.channels.digests_due(self.now) {
            if self.digested(&channel.name) < Some(due) {
                let one = self.digest(channel, due).await;
                if one.is_ok() {
                    let mut digested = self.telling.digested.lock().unwrap_or_else(PoisonError::into_inner);
                    digested.insert(channel.name.clone(), due);
                }
                made = made.and(one);
            }
        }
        made
    }

    fn digested(&self, receiver: &str) -> Option<DateTime<Utc>> {
        self.telling.digested.lock().unwrap_or_else(PoisonError::into_inner).get(receiver).copied()
    }

    async fn digest(&self, channel: &Channel, due: DateTime<Utc>) -> Result<(), LedgerError> {
        let ledger = &*self.telling.ledger;
        let day = id::time(due);
        let mark = id::id(&["daily", &channel.name, &day]);
        if !ledger.notices(Wanted::Notice(&mark), 1).await?.is_empty() {
            return Ok(());
        }
        let mut told = self.open_for(channel).await?;
        for notice in ledger.notices(Wanted::State(State::Collected), COLLECTED_MAX).await? {
            if notice.receiver == channel.name {
                told.entry(notice.content.to.clone()).or_default().collected.push(notice);
            }
        }
        // Those for teams first: with what everybody has, it is done.
        told.entry(Vec::new()).or_default();
        for (to, Told { open, mut collected }) in told.into_iter().rev() {
            // What is too much for one is in more, before it.
            while collected.len() > GATHERED_MAX {
                let part = Told { open: Vec::new(), collected: collected.split_off(collected.len() - GATHERED_MAX) };
                let ids: Vec<&str> = part.collected.iter().map(|notice| notice.notification_id.as_str()).collect();
                let id = id::id(&["daily", &channel.name, &day, &ids.join(",")]);
                self.tell_daily(channel, to.clone(), part, id).await?;
            }
            let id = if to.is_empty() { mark.clone() } else { id::id(&["daily", &channel.name, &day, &to.join(",")]) };
            self.tell_daily(channel, to, Told { open, collected }, id).await?;
        }
        self.wake_senders();
        Ok(())
    }

    async fn tell_daily(&self, channel: &Channel, to: Vec<String>, told: Told, id: String) -> Result<(), LedgerError> {
        let Told { open, collected } = told;
        let lines = open.into_iter().chain(collected.iter().map(|notice| Line::from(&notice.content)));
        let digest = Digest::new(Reason::Daily, lines.collect(), self.now);
        let addressed = self.telling.channels.digest(channel, to, &digest);
        self.telling.ledger.gather(&digest::notice(addressed, &digest, id, self.now), &collected).await
    }

    /// What was told of what is open and goes to a channel, by whom it goes to.
    async fn open_for(&self, channel: &Channel) -> Result<BTreeMap<Vec<String>, Told>, LedgerError> {
        let documents = open::documents(&*self.telling.ledger).await?;
        let versions = self.versions(&documents).await?;
        let mut told: BTreeMap<Vec<String>, Told> = BTreeMap::new();
        for document in &documents {
            let version = self.limit_id(&document.deployment).and_then(|limit| versions.get(&limit));
            for incident in document.incidents().iter().filter(|incident| incident.told.is_some()) {
                if let Some(to) = self.hears(channel, &document.deployment, incident, version) {
                    told.entry(to).or_default().open.push(line(&document.deployment, incident));
                }
            }
        }
        Ok(told)
    }

    /// The versions that concern these, by their ids.
    async fn versions(&self, documents: &[Document]) -> Result<BTreeMap<String, Version>, LedgerError> {
        let named = |document: &Document| (document.deployment.namespace.clone(), document.deployment.name.clone());
        let of: Vec<(String, String)> = documents.iter().map(named).collect();
        if of.is_empty() {
            return Ok(BTreeMap::new());
        }
        let versions = self.store.versions(Some(&of)).await.map_err(ledger_error)?;
        Ok(versions.into_iter().map(|version| (version.id.clone(), version)).collect())
    }

    /// Where a channel hears of an incident; `None` where it does not.
    fn hears(
        &self,
        channel: &Channel,
        deployment: &Deployment,
        incident: &Incident,
        version: Option<&Version>,
    ) -> Option<Vec<String>> {
        let terms = version.map(|version| &version.terms);
        let owner = terms.map(|terms| terms.owner.as_str());
        let contacts = terms.map(|terms| terms.notify.clone()).unwrap_or_default();
        let about = About { rule: incident.rule, severity: incident.severity, deployment, owner };
        let channels = &self.telling.channels;
        let mut reached =
            channels.routes().receivers(&about).into_iter().filter_map(|name| channels.reached(name, &contacts));
        reached.find(|(reached, _)| reached.name == channel.name).map(|(_, to)| to)
    }
}

fn line(deployment: &Deployment, incident: &Incident) -> Line {
    Line {
        kind: Kind::Repeated,
        rule: incident.rule,
        severity: incident.severity,
        cluster: deployment.cluster.clone(),
        namespace: deployment.namespace.clone(),
        deployment: deployment.name.clone(),
        value: incident.value,
        limit: incident.limit,
        began_at: id::time(incident.began_at),
        ended_at: None,
    }
}
