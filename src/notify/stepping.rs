//! One step of incidents: read, step, write, and again where somebody else was faster.

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ledger::{Change, Ledger, LedgerError, Put, Stored};
use super::notice::{Addressed, Notice};
use crate::audit::ObjectKind;
use crate::incident::{Context, Deployment, Document, Ended, Hpa, Input, Kind, Settings, Sighting, Silence, Step};
use crate::ped::limits::Limit;
use crate::policy::Policy;

/// How often a step is tried while others change the same documents; each of them gets on.
const MAX_ATTEMPTS: u32 = 50;

/// How long one that is due, and does not move, is left alone.
const LATER: Duration = Duration::hours(1);

/// Documents that are read at once of what ended or is due.
const PAGE: u32 = 100;

/// What a step goes by besides the documents, and whom it is told.
#[async_trait]
pub trait Surroundings: Send + Sync {
    /// The present.
    fn now(&self) -> DateTime<Utc>;

    /// The rules, with their severities.
    fn policy(&self) -> &Policy;

    /// How long things are waited for.
    fn settings(&self) -> &Settings;

    /// The limit in force now, as far as it is known.
    fn limit(&self, deployment: &Deployment) -> Option<Limit>;

    /// The limit in force now, read again where it may be another. It is asked for only where something would be told.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    async fn limit_anew(&self, deployment: &Deployment) -> Result<Option<Limit>, LedgerError>;

    /// The silences in force now that match a Deployment. They are asked for only where something would be told.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be read.
    async fn silences(&self, deployment: &Deployment) -> Result<Vec<Silence>, LedgerError>;

    /// Whom a step is told, where, and in which words.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be found out.
    async fn addressed(&self, deployment: &Deployment, step: &Step) -> Result<Vec<Addressed>, LedgerError>;
}

/// Takes in what comes, and writes what follows: documents and notices, in one transaction. Taking the same in again writes
/// nothing that is told. It keeps nothing itself, so whoever waits for it may go away.
#[derive(Clone, Copy)]
pub struct Stepper<'s> {
    /// Where documents and notices are.
    pub ledger: &'s dyn Ledger,
    /// What a step goes by.
    pub around: &'s dyn Surroundings,
}

/// When all objects of a kind in a namespace ended, or a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    at: DateTime<Utc>,
}

impl Stepper<'_> {
    /// Steps one Deployment.
    ///
    /// # Errors
    /// [`LedgerError`] when it may not be written; doing it again is safe.
    pub async fn step(&self, deployment: &Deployment, input: &Input) -> Result<Vec<Step>, LedgerError> {
        let mut attempts = Attempts::default();
        loop {
            let done = self.try_step(deployment, input).await;
            if !attempts.go_on(&done).await {
                return done;
            }
        }
    }

    async fn try_step(&self, deployment: &Deployment, input: &Input) -> Result<Vec<Step>, LedgerError> {
        let mut draft = Draft::default();
        self.draft(&mut draft, deployment, input).await?;
        self.commit(draft).await
    }

    /// Takes in an entry about an HPA, which is named as a Deployment is: steps the one that it aims at, and the one that it
    /// turned away from.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub async fn step_hpa(&self, hpa: &Deployment, sighting: &Sighting) -> Result<Vec<Step>, LedgerError> {
        let mut attempts = Attempts::default();
        loop {
            let done = self.try_step_hpa(hpa, sighting).await;
            if !attempts.go_on(&done).await {
                return done;
            }
        }
    }

    async fn try_step_hpa(&self, hpa: &Deployment, sighting: &Sighting) -> Result<Vec<Step>, LedgerError> {
        let key = hpa.hpa_key();
        let stored = self.ledger.documents(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let before: Hpa = stored.as_ref().map_or_else(|| Ok(Hpa::default()), read)?;
        let mut after = before.clone();
        let turn = after.see(sighting);
        let mut draft = Draft::default();
        if after != before {
            let revision = stored.map(|stored| stored.revision);
            draft.change.documents.push(Put { key, revision, due_at: None, open_in: Vec::new(), body: json(&after)? });
        }
        let left = turn.from.map(|name| (name, None));
        for (name, standing) in left.into_iter().chain(turn.to) {
            let standing = standing.map(Box::new);
            let input = Input::Hpa { name: hpa.name.clone(), standing, by: sighting.clone() };
            self.draft(&mut draft, &hpa.beside(&name), &input).await?;
        }
        self.commit(draft).await
    }

    /// Takes in that all objects of a kind ended in a namespace, or a cluster with everything in it: steps what is open there.
    /// `inside` is a Deployment of any name in it.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub async fn end(
        &self,
        inside: &Deployment,
        kind: ObjectKind,
        at: DateTime<Utc>,
    ) -> Result<Vec<Step>, LedgerError> {
        let mut attempts = Attempts::default();
        loop {
            let done = self.try_end(inside, kind, at).await;
            if !attempts.go_on(&done).await {
                break done?;
            }
        }
        let [cluster, namespace] = inside.places();
        let place = if kind == ObjectKind::Cluster { cluster } else { namespace };
        self.in_place(&place, &Input::Timer).await
    }

    async fn try_end(&self, inside: &Deployment, kind: ObjectKind, at: DateTime<Utc>) -> Result<(), LedgerError> {
        let key = inside.end_key(kind);
        let stored = self.ledger.documents(std::slice::from_ref(&key)).await?.into_iter().flatten().next();
        let known: Option<End> = stored.as_ref().map(read).transpose()?;
        if known.is_some_and(|known| known.at >= at) {
            return Ok(());
        }
        let revision = stored.map(|stored| stored.revision);
        let put = Put { key, revision, due_at: None, open_in: Vec::new(), body: json(&End { at })? };
        self.ledger.commit(&Change { documents: vec![put], ..Change::default() }).await
    }

    /// Steps the documents that are found in a place; see [`Deployment::found_in`].
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub async fn in_place(&self, place: &str, input: &Input) -> Result<Vec<Step>, LedgerError> {
        let (mut steps, mut after) = (Vec::new(), None);
        loop {
            let page = self.ledger.open_documents(place, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(steps) };
            after = Some(last.key.clone());
            for stored in &page {
                let document: Document = read(stored)?;
                steps.extend(self.step(&document.deployment, input).await?);
            }
        }
    }

    /// Steps the documents of which something is due, a page of them.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub async fn due(&self) -> Result<Vec<Step>, LedgerError> {
        let mut steps = Vec::new();
        let mut failed = None;
        // Beside each other: those that wait for limits to be read wait for one reading. One that fails holds up no other.
        let mut stepped = FuturesUnordered::new();
        for stored in self.ledger.due_documents(self.around.now(), PAGE).await? {
            stepped.push(self.step_due(stored));
        }
        while let Some(done) = stepped.next().await {
            match done {
                Ok(stepped) => steps.extend(stepped),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(steps), Err)
    }

    async fn step_due(&self, stored: Stored) -> Result<Vec<Step>, LedgerError> {
        let document: Document = read(&stored)?;
        let input = if document.is_behind() { Input::Sweep } else { Input::Timer };
        self.step(&document.deployment, &input).await
    }

    /// Reads a Deployment's document, with the ends of what it is in, and adds what follows from a step of it.
    async fn draft(&self, draft: &mut Draft, deployment: &Deployment, input: &Input) -> Result<(), LedgerError> {
        let kinds = [ObjectKind::Cluster, ObjectKind::Deployment, ObjectKind::HorizontalPodAutoscaler];
        let ends = kinds.map(|kind| deployment.end_key(kind));
        let keys: Vec<String> = [deployment.key()].into_iter().chain(ends).collect();
        let mut found = self.ledger.documents(&keys).await?.into_iter();
        let stored = found.next().flatten();
        let mut end = || found.next().flatten().map(|stored| read::<End>(&stored)).transpose();
        let (cluster, deployments, hpas) = (end()?, end()?, end()?);
        let last = |own: Option<End>| cluster.into_iter().chain(own).map(|end| end.at).max();
        let ended = Ended { deployments: last(deployments), hpas: last(hpas) };
        let before = stored.as_ref().map_or_else(|| Ok(Document::new(deployment.clone())), read)?;
        let (document, steps) = self.stepped(&before, input, ended).await?;
        let (settings, now) = (self.around.settings(), self.around.now());
        // Due, and yet nothing moves: its rule was switched off. It makes way for others that are due.
        let is_stuck = document == before && document.due_at(settings, now).is_some_and(|due_at| due_at <= now);
        if document != before || is_stuck && stored.is_some() && *input == Input::Timer {
            let revision = stored.map(|stored| stored.revision);
            let mut put = put(&document, revision, settings, now)?;
            put.due_at = if is_stuck { Some(now + LATER) } else { put.due_at };
            draft.change.documents.push(put);
        }
        for step in &steps {
            let addressed = self.around.addressed(deployment, step).await?.into_iter();
            let now = self.around.now();
            draft.change.notices.extend(addressed.map(|to| Notice::addressed(step, deployment, to, now)));
        }
        draft.steps.extend(steps);
        Ok(())
    }

    /// A document after a step, and what is to be told. Nobody is told anything by a limit that may be stale, or under a
    /// silence: both are asked for where something would be told, or a silence may let something go. What a limit makes
    /// that was not known yet is told when it is.
    async fn stepped(
        &self,
        before: &Document,
        input: &Input,
        ended: Ended,
    ) -> Result<(Document, Vec<Step>), LedgerError> {
        let (policy, settings, now) = (self.around.policy(), self.around.settings(), self.around.now());
        let under = |limit: Option<Limit>, silences: &[Silence]| {
            let context = Context { now, limit: limit.as_ref(), policy, settings, silences, ended };
            let mut document = before.clone();
            let steps = document.step(input, &context);
            (document, steps)
        };
        let stepped = under(self.around.limit(&before.deployment), &[]);
        if stepped.1.is_empty() && !before.is_held_back() {
            return Ok(stepped);
        }
        let limit = self.around.limit_anew(&before.deployment).await?;
        Ok(under(limit, &self.around.silences(&before.deployment).await?))
    }

    async fn commit(&self, Draft { mut change, steps }: Draft) -> Result<Vec<Step>, LedgerError> {
        let is_over = |step: &&Step| step.kind == Kind::Recovered && step.silenced_by.is_none();
        change.over.extend(steps.iter().filter(is_over).map(|step| step.incident_id.clone()));
        if change != Change::default() {
            self.ledger.commit(&change).await?;
        }
        Ok(steps)
    }
}

/// What follows from some steps, before it is written.
#[derive(Default)]
struct Draft {
    change: Change,
    steps: Vec<Step>,
}

/// A document as it is to be kept.
pub(super) fn put(
    document: &Document,
    revision: Option<String>,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Result<Put, LedgerError> {
    let is_open = !document.incidents().is_empty();
    Ok(Put {
        key: document.deployment.key(),
        revision,
        due_at: document.due_at(settings, now),
        open_in: document.deployment.found_in(is_open),
        body: json(document)?,
    })
}

/// How often something was tried.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Whether it is to be tried again, because somebody else was faster.
    async fn go_on<T>(&mut self, done: &Result<T, LedgerError>) -> bool {
        self.0 += 1;
        let again = matches!(done, Err(LedgerError::Conflict)) && self.0 < MAX_ATTEMPTS;
        if again {
            tokio::task::yield_now().await;
        }
        again
    }
}

pub(super) fn read<T: DeserializeOwned>(stored: &Stored) -> Result<T, LedgerError> {
    let refuse = |error| LedgerError::Permanent(format!("the document {} cannot be read: {error}", stored.key));
    serde_json::from_str(&stored.body).map_err(refuse)
}

fn json<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|error| LedgerError::Permanent(error.to_string()))
}
