//! Incidents follow from what is recorded: state and notices lie in the ledger before anything is answered for, and are
//! sent behind that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use tokio::sync::watch;

use crate::audit::{ObjectKind, ObjectState, Operation, Outcome, Write};
use crate::billing::Prices;
use crate::incident::{Deployment, Input, Place, Says, Settings, Sighting, Silence, State, Step};
use crate::notify::channel::Channels;
use crate::notify::ledger::{Ledger, LedgerError};
use crate::notify::matcher::{About, Field};
use crate::notify::message::{Besides, Message};
use crate::notify::notice::Addressed;
use crate::notify::silence;
use crate::notify::stepping::{Stepper, Surroundings};
use crate::ped::limits::{Limit, Limits};
use crate::ped::version::Version;
use crate::ped::{self, Cluster, Subject};
use crate::policy::Policy;
use crate::store::row::ReplicaEvent;
use crate::store::{Store, StoreError};

/// What one write shows, as incidents look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The object, which is named as a Deployment is.
    object: Deployment,
    shows: Shows,
}

#[derive(Debug, Clone, PartialEq)]
enum Shows {
    /// Something of a Deployment.
    Own(Sighting),
    /// Something of an HPA.
    Hpa(Sighting),
    /// All objects of a kind ended there.
    End(ObjectKind, DateTime<Utc>),
}

impl Seen {
    /// What a write shows; `None` where it says nothing by itself, or concerns nobody.
    pub(super) fn of(write: &Write<'_>, event: &ReplicaEvent) -> Option<Self> {
        if event.in_scope == Some(false) {
            return None;
        }
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let object = Deployment {
            project: owned(write.project_id),
            location: owned(write.location),
            cluster: write.cluster_name.to_owned(),
            namespace: write.namespace.to_owned(),
            name: owned(write.object_name),
        };
        // As the view `ends` has it.
        let is_end = write.outcome == Outcome::Stored && write.ends();
        let is_of_all = write.operation == Operation::DeleteCollection && write.object_name.is_none();
        let sighting = || {
            let write_id = event.write_id.as_deref().unwrap_or(&event.event_id);
            Sighting::of(write, &event.event_id, write_id, event.route)
        };
        let shows = match write.object_kind {
            kind if is_end && (is_of_all || kind == ObjectKind::Cluster) => Shows::End(kind, write.event_time),
            ObjectKind::Deployment if write.object_name.is_some() => Shows::Own(sighting()?),
            ObjectKind::HorizontalPodAutoscaler if write.object_name.is_some() => Shows::Hpa(sighting()?),
            _ => return None,
        };
        Some(Seen { object, shows })
    }
}

impl Seen {
    /// What a snapshot taught of an object; `None` where it concerns nobody.
    pub fn taught(event: &ReplicaEvent) -> Option<Self> {
        if event.in_scope == Some(false) {
            return None;
        }
        let owned = |text: &Option<String>| text.clone().unwrap_or_default();
        let object = Deployment {
            project: owned(&event.project_id),
            location: owned(&event.location),
            cluster: event.cluster_name.clone(),
            namespace: event.namespace.clone(),
            name: owned(&event.object_name),
        };
        let is_gone = event.object_state == Some(ObjectState::Gone);
        let is_of_hpa = event.object_kind == ObjectKind::HorizontalPodAutoscaler;
        let place = Place {
            version: event.object_version.clone(),
            generation: event.generation,
            time: event.event_time,
            insert_id: event.insert_id.clone(),
            event_id: event.event_id.clone(),
        };
        let state = State {
            place,
            says: if is_gone { Says::Gone } else { event.replicas.map_or(Says::Unknown, Says::Number) },
            target: event.deployment_name.clone().filter(|_| is_of_hpa),
            counts: true,
            touched: false,
            creates: false,
            write_id: event.event_id.clone(),
            actor: event.actor.clone(),
            on_behalf_of: None,
            route: event.route,
        };
        let sighting = Sighting { uid: event.object_uid.clone(), born_at: event.born_at, shows: !is_gone, state };
        Some(Seen { object, shows: if is_of_hpa { Shows::Hpa(sighting) } else { Shows::Own(sighting) } })
    }
}

/// What telling people takes: the ledger, and whom to tell.
pub struct Telling {
    /// Where documents and notices are.
    pub ledger: Arc<dyn Ledger>,
    /// Whom to tell.
    pub channels: Channels,
    /// How long things are waited for.
    pub settings: Settings,
    /// How long after it was made a notice fails that cannot be sent.
    pub give_up_after: Duration,
    news: watch::Sender<u64>,
    /// What things cost.
    pub(super) prices: Prices,
    /// Until then nobody asks what something costs: it took too long.
    pub(super) costs_nothing_until: Mutex<DateTime<Utc>>,
    /// The last digests of a day that were seen to be made, by receiver: nobody asks for these again.
    pub(super) digested: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

impl Telling {
    /// Takes what there is.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        channels: Channels,
        settings: Settings,
        give_up_after: Duration,
        prices: Prices,
    ) -> Self {
        let (news, digested, costs_nothing_until) = (watch::Sender::default(), Mutex::default(), Mutex::default());
        Telling { ledger, channels, settings, give_up_after, news, prices, costs_nothing_until, digested }
    }

    /// Changes whenever there is something to send.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// As of a moment, by these limits.
    pub fn at<'t>(
        &'t self,
        now: DateTime<Utc>,
        policy: &'t Policy,
        store: &'t dyn Store,
        limits: &'t (dyn LimitsNow + 't),
    ) -> Present<'t> {
        Present { telling: self, ledger: &*self.ledger, now, policy, store, limits }
    }

    /// Whether the store is the ledger too.
    pub fn is_in(&self, store: &dyn Store) -> bool {
        store.file().is_some_and(|file| self.ledger.file() == Some(file))
    }
}

/// The limits as they are known.
#[async_trait]
pub trait LimitsNow: Send + Sync {
    /// Looks at them. They are held for no longer.
    fn look(&self, find: &mut dyn FnMut(&Limits));

    /// Reads those of a Deployment again, unless they have just been read.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    async fn read_again(&self, _deployment: &ped::Deployment) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stores what a step is about, where that is not stored yet.
    ///
    /// # Errors
    /// [`StoreError`] when it may not be stored.
    async fn store_first(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl LimitsNow for Limits {
    fn look(&self, find: &mut dyn FnMut(&Limits)) {
        find(self);
    }
}

/// What steps go by at a moment.
#[derive(Clone, Copy)]
pub struct Present<'t> {
    pub(super) telling: &'t Telling,
    /// Where steps are written.
    ledger: &'t dyn Ledger,
    pub(super) now: DateTime<Utc>,
    policy: &'t Policy,
    pub(super) store: &'t dyn Store,
    limits: &'t (dyn LimitsNow + 't),
}

impl<'t> Present<'t> {
    /// The same, with steps written by another way to the same ledger.
    pub fn by_way_of(self, ledger: &'t dyn Ledger) -> Self {
        Present { ledger, ..self }
    }
}

impl Present<'_> {
    /// Takes in what a message shows. Taking it in again tells nobody anything.
    ///
    /// # Errors
    /// [`LedgerError`] when some of it may not be kept; doing it again is safe.
    pub async fn see(&self, seen: &[Seen]) -> Result<(), LedgerError> {
        for Seen { object, shows } in seen {
            let stepper = self.stepper();
            let steps = match shows {
                Shows::Own(sighting) => stepper.step(object, &Input::Own(sighting.clone())).await?,
                Shows::Hpa(sighting) => stepper.step_hpa(object, sighting).await?,
                Shows::End(kind, at) => stepper.end(object, *kind, *at).await?,
            };
            self.wake(&steps);
        }
        Ok(())
    }

    /// The limits of these namespaces are others, or may be.
    ///
    /// # Errors
    /// As [`Present::see`].
    pub async fn limits_turned(&self, namespaces: &BTreeSet<String>) -> Result<(), LedgerError> {
        for namespace in namespaces {
            let place = Deployment::named_namespace(namespace);
            self.wake(&self.stepper().in_place(&place, &Input::Limits).await?);
        }
        Ok(())
    }

    /// Looks at what lies still in these namespaces: what holds is told, however old it is.
    ///
    /// # Errors
    /// As [`Present::see`].
    pub async fn sweep(&self, namespaces: &BTreeSet<String>) -> Result<(), LedgerError> {
        for namespace in namespaces {
            let place = Deployment::named_namespace(namespace);
            self.wake(&self.stepper().in_place(&place, &Input::Sweep).await?);
        }
        Ok(())
    }

    /// Steps what is due, and tells what is open under a silence that has ended.
    ///
    /// # Errors
    /// As [`Present::see`].
    pub async fn due(&self) -> Result<(), LedgerError> {
        self.wake(&self.stepper().due().await?);
        let over = self.silences_over().await;
        // Neither waits for the other.
        over.and(self.digests().await)
    }

    async fn silences_over(&self) -> Result<(), LedgerError> {
        let over = silence::over(&*self.telling.ledger, self.now).await?;
        if over.is_empty() {
            return Ok(());
        }
        self.wake(&self.stepper().in_place(&Deployment::open_anywhere(), &Input::Timer).await?);
        for silence in over {
            silence::forget(&*self.telling.ledger, &silence.silence_id).await?;
        }
        Ok(())
    }

    /// The version of its PED by which a Deployment is judged now.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn version(&self, deployment: &Deployment) -> Result<Option<Version>, StoreError> {
        let Some(limit) = self.limit(deployment) else { return Ok(None) };
        let of = [(deployment.namespace.clone(), deployment.name.clone())];
        Ok(self.store.versions(Some(&of)).await?.into_iter().find(|version| version.id == limit.limit_id))
    }

    /// The limit of a Deployment that is in force now, as far as it is known.
    pub(super) fn limit_id(&self, deployment: &Deployment) -> Option<String> {
        self.limit(deployment).map(|limit| limit.limit_id)
    }

    fn stepper(&self) -> Stepper<'_> {
        Stepper { ledger: self.ledger, around: self }
    }

    fn wake(&self, steps: &[Step]) {
        if !steps.is_empty() {
            self.wake_senders();
        }
    }

    /// There is something to send.
    pub(super) fn wake_senders(&self) {
        self.telling.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[async_trait]
impl Surroundings for Present<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn policy(&self) -> &Policy {
        self.policy
    }

    fn settings(&self) -> &Settings {
        &self.telling.settings
    }

    fn limit(&self, deployment: &Deployment) -> Option<Limit> {
        let Deployment { project, location, cluster, namespace, name } = deployment;
        let cluster = Cluster { project, location, name: cluster };
        let mut found = None;
        self.limits.look(&mut |limits| found = limits.at(cluster, namespace, name, self.now).cloned());
        found
    }

    async fn limit_anew(&self, deployment: &Deployment) -> Result<Option<Limit>, LedgerError> {
        let named = (deployment.namespace.clone(), deployment.name.clone());
        self.limits.read_again(&named).await.map_err(ledger_error)?;
        Ok(self.limit(deployment))
    }

    async fn silences(&self, deployment: &Deployment) -> Result<Vec<Silence>, LedgerError> {
        let standing = silence::standing(&*self.telling.ledger, self.now).await?;
        let in_force: Vec<_> = standing.into_iter().filter(|silence| silence.is_in_force(self.now)).collect();
        let mut matchers = in_force.iter().flat_map(|silence| &silence.matchers);
        let version = match matchers.any(|matcher| matcher.field == Field::Owner) {
            true => self.version(deployment).await.map_err(ledger_error)?,
            false => None,
        };
        let owner = version.as_ref().map(|version| version.terms.owner.as_str());
        let severity = &self.policy.severity;
        Ok(in_force.iter().filter_map(|silence| silence.for_deployment(deployment, owner, severity)).collect())
    }

    async fn addressed(&self, deployment: &Deployment, step: &Step) -> Result<Vec<Addressed>, LedgerError> {
        let version = self.version(deployment).await.map_err(ledger_error)?;
        let terms = version.as_ref().map(|version| &version.terms);
        let owner = terms.map(|terms| terms.owner.clone());
        let contacts = terms.map(|terms| terms.notify.clone()).unwrap_or_default();
        let about = About { rule: step.rule, severity: step.severity, deployment, owner: owner.as_deref() };
        let source = version.as_ref().and_then(|version| version.source.clone());
        let hears = self.telling.channels.is_told(&about, &contacts, step.kind);
        let cost = match hears {
            true => {
                // It is a question about what is stored.
                self.limits.store_first().await.map_err(ledger_error)?;
                self.cost(deployment, step).await
            }
            false => None,
        };
        let besides = Besides { owner: owner.clone(), source, cost };
        let message = Message::new(step, deployment, besides, self.now);
        Ok(self.telling.channels.addressed(&about, &contacts, &message))
    }
}

/// The scopes of limits are namespaces of whichever cluster.
pub fn namespaces_of<'s>(subjects: impl IntoIterator<Item = &'s Subject>) -> BTreeSet<String> {
    subjects.into_iter().map(|subject| subject.namespace.clone()).collect()
}

pub(super) fn ledger_error(error: StoreError) -> LedgerError {
    match error {
        StoreError::Transient(why) => LedgerError::Transient(why),
        StoreError::Missing(why) | StoreError::Permanent(why) => LedgerError::Permanent(why),
    }
}

/// A ledger that does not work is as a store that does not: what is to be told waits with the message.
impl From<LedgerError> for StoreError {
    fn from(error: LedgerError) -> Self {
        let why = format!("the ledger: {error}");
        match error {
            LedgerError::Conflict | LedgerError::Transient(_) => StoreError::Transient(why),
            LedgerError::Permanent(_) => StoreError::Permanent(why),
        }
    }
}
