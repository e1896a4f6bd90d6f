//! Where facts and versions are kept: [`Store`] and [`Registry`] are the seams with more than one implementation; all of
//! one seam pass the same tests.
//!
//! What is kept is append-only and carries deterministic ids, so appending it twice changes nothing. Whatever depends on
//! order is a view.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc::Sender;

use crate::notify::ledger::{Change, FileId, LedgerError};
use crate::ped::limits::Claim;
use crate::ped::retirement::{Retired, Retirement};
use crate::ped::version::{Addition, Registration, Version, additions};
use crate::ped::{Clusters, Deployment, Subject};
use query::{Query, Rows};
use reach::late_marks;
use row::{ClaimRow, DeploymentConfig, Record};

pub mod batch;
pub mod bigquery;
pub mod firestore;
pub mod query;
pub mod reach;
pub mod row;
pub mod schema;
pub mod sqlite;

/// What became of one appended row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, by this append or by an earlier one.
    Stored,
    /// The store will not take it, for this reason. Its neighbours are stored.
    Refused(String),
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may work later: the message is to be redelivered.
    #[error("the store cannot be used now, it may work later: {0}")]
    Transient(String),
    /// A table or a grant is missing. It takes a person, unless it is on its way already.
    #[error("the store does not work: {0}")]
    Missing(String),
    /// It will not work without a person.
    #[error("the store does not work: {0}")]
    Permanent(String),
}

/// What became of rows, and of what follows from steps, each in their order.
pub type Written = (Vec<Appended>, Vec<Result<(), LedgerError>>);

/// A place for facts. Verdicts are derived in it, so it holds the versions too.
#[async_trait]
pub trait Store: Registry {
    /// Appends rows, and returns only when they are durable. One outcome for each row, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when some of them may not be stored; appending them all again is safe.
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError>;

    /// Appends rows, and writes what follows from steps, in one transaction: for a store that is the ledger too
    /// ([`Store::file`]). A change that comes too late, because its documents are others by now, is left out by itself.
    ///
    /// # Errors
    /// As [`Store::append`]; then nothing was written, or all of it.
    async fn append_with(&self, _: Arc<[Record]>, _: Vec<Change>) -> Result<Written, StoreError> {
        Err(StoreError::Permanent("this store keeps no ledger".to_owned()))
    }

    /// The file that it is in, where it is in one of a file system: a ledger in the same one is the same database.
    fn file(&self) -> Option<FileId> {
        None
    }

    /// Where versions are kept, if not in the store itself. Each of them comes into `deployment_config` as well, a moment later:
    /// whoever judges by that table has to know that it may lack the newest. Such a registry is asked by key, for each message.
    fn registry(&self) -> Option<&dyn Registry> {
        None
    }

    /// How many appends under way at once it gains from.
    fn appends_at_once(&self) -> usize;

    /// Whether each question costs money, so that those who can wait ask together.
    fn bills_questions(&self) -> bool {
        false
    }

    /// The earliest time of a row that it takes: any, as a rule.
    fn takes_from(&self, _now: DateTime<Utc>) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    /// Events from before may have expired; `None` where none ever does.
    fn keeps_events_from(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// Checks that the tables are what this binary needs, before it begins to write for long.
    ///
    /// # Errors
    /// [`StoreError`] with what is missing, and how to make it.
    async fn check(&self) -> Result<(), StoreError>;

    /// Answers a question. The questions there are stand in [`query`].
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be answered.
    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError>;

    /// Answers a question of any length: sends its rows on in pages of so many, each when the one before
    /// is taken. Ends early, and well, when nobody takes them any more. Who takes them may ask
    /// something else meanwhile, but of a store that passes.
    ///
    /// # Errors
    /// As [`Store::fetch`]; what was sent before stays as it is.
    async fn fetch_pages(&self, query: &Query, _page_rows: usize, pages: Sender<Rows>) -> Result<(), StoreError> {
        let whole = self.fetch(query).await?;
        // Nobody there is nobody to tell.
        let _ = pages.send(whole).await;
        Ok(())
    }

    /// Whether it answers, and has the table that messages go to.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    async fn ping(&self) -> Result<(), StoreError> {
        self.fetch(&query::nothing()).await.map(drop)
    }
}

/// What is to be appended to the versions of some Deployments, given those that there are.
pub type Revision<'r> = dyn FnMut(&[Deployment], Vec<Version>) -> Vec<Version> + Send + 'r;

/// A place for the versions of PEDs.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Appends versions, and returns only when they are durable.
    ///
    /// # Errors
    /// [`StoreError`] when some of them may not be stored; appending them all again is safe.
    async fn append_versions(&self, versions: &[Version]) -> Result<(), StoreError>;

    /// Reads the versions of some Deployments, or all, in no particular order.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    async fn versions(&self, of: Option<&[Deployment]>) -> Result<Vec<Version>, StoreError>;

    /// As [`Registry::versions`], only what the limits depend on: it is read again and again.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    async fn claims(&self, of: Option<&[Deployment]>) -> Result<Vec<Claim>, StoreError>;

    /// Appends what a revision makes of the versions that are there. It may be asked for some of the Deployments at a time, and
    /// for the same ones again; its last word on each counts.
    ///
    /// # Errors
    /// As [`Registry::append_versions`], and when the versions cannot be read.
    async fn revise(&self, of: &[Deployment], revision: &mut Revision<'_>) -> Result<(), StoreError>;

    /// Whether nobody's versions come between what a revision is given and what it adds.
    fn is_serial(&self) -> bool;

    /// Appends to `deployment_config` what is registered and never came there, because somebody was killed in between; returns
    /// it.
    ///
    /// # Errors
    /// [`StoreError`] when some of it may not be there yet; doing it again is safe.
    async fn mend(&self, now: DateTime<Utc>) -> Result<Vec<Version>, StoreError>;

    /// Registers what is in `deployment_config` alone: from before the registry was one of its own, or by somebody who does not
    /// know of it. How many versions that were.
    ///
    /// # Errors
    /// [`StoreError`] when some of it may not be registered yet; doing it again is safe.
    async fn adopt(&self) -> Result<usize, StoreError>;
}

/// Every store holds the versions in one more of its tables, unless it says where else they are.
#[async_trait]
impl<S: Store> Registry for S {
    async fn append_versions(&self, versions: &[Version]) -> Result<(), StoreError> {
        let now = versions.iter().map(|version| version.registered_at).max().unwrap_or_default();
        match self.registry() {
            Some(registry) => registry.append_versions(versions).await,
            None => append_rows(self, versions, now).await,
        }
    }

    async fn versions(&self, of: Option<&[Deployment]>) -> Result<Vec<Version>, StoreError> {
        if let Some(registry) = self.registry() {
            return registry.versions(of).await;
        }
        let found: Vec<DeploymentConfig> = self.fetch(&query::versions(of)).await?.read();
        let versions = found.into_iter().map(Version::from);
        Ok(only(of, versions.collect(), |version: &Version| &version.subject))
    }

    async fn claims(&self, of: Option<&[Deployment]>) -> Result<Vec<Claim>, StoreError> {
        if let Some(registry) = self.registry() {
            return registry.claims(of).await;
        }
        let found: Vec<ClaimRow> = self.fetch(&query::claims(of)).await?.read();
        let claims = found.into_iter().map(Claim::from);
        Ok(only(of, claims.collect(), |claim: &Claim| &claim.subject))
    }

    async fn revise(&self, of: &[Deployment], revision: &mut Revision<'_>) -> Result<(), StoreError> {
        if let Some(registry) = self.registry() {
            return registry.revise(of, revision).await;
        }
        let added = revision(of, self.versions(Some(of)).await?);
        if added.is_empty() { Ok(()) } else { self.append_versions(&added).await }
    }

    fn is_serial(&self) -> bool {
        self.registry().is_some_and(Registry::is_serial)
    }

    async fn mend(&self, now: DateTime<Utc>) -> Result<Vec<Version>, StoreError> {
        match self.registry() {
            Some(registry) => registry.mend(now).await,
            None => Ok(Vec::new()),
        }
    }

    async fn adopt(&self) -> Result<usize, StoreError> {
        match self.registry() {
            Some(registry) => registry.adopt().await,
            None => Ok(0),
        }
    }
}

/// Appends versions to `deployment_config` at a time, with the marks of days that they come late for.
async fn append_rows(store: &dyn Store, versions: &[Version], now: DateTime<Utc>) -> Result<(), StoreError> {
    let mut records: Vec<Record> = versions.iter().map(|version| Record::Version(Box::new(version.into()))).collect();
    records.extend(late_marks(&records, now));
    let outcomes = store.append(records.into()).await?;
    let refused = versions.iter().zip(&outcomes).find_map(|(version, outcome)| match outcome {
        Appended::Refused(reason) => Some((&version.subject, reason)),
        Appended::Stored => None,
    });
    refused.map_or(Ok(()), |(subject, reason)| {
        Err(StoreError::Permanent(format!("the version of {subject} is refused, others may be stored: {reason}")))
    })
}

/// Of what was found, what is about these Deployments: where many are wanted, everything is asked.
fn only<T>(of: Option<&[Deployment]>, mut found: Vec<T>, subject: impl Fn(&T) -> &Subject) -> Vec<T> {
    if let Some(wanted) = of {
        let wanted: HashSet<(&str, &str)> = wanted.iter().map(|(namespace, name)| (&**namespace, &**name)).collect();
        found.retain(|one| {
            let Subject { namespace, deployment, .. } = subject(one);
            wanted.contains(&(&**namespace, &**deployment))
        });
    }
    found
}

/// Registers PEDs: appends what each of them adds to the versions that are there, and returns it. Who registers at the
/// same time is not lost, and waited for only where the registry is serial: there the one who comes last stands behind.
///
/// # Errors
/// [`StoreError`] when some of it may not be stored; registering it again is safe.
pub async fn register(registry: &dyn Registry, registrations: Vec<Registration>) -> Result<Vec<Addition>, StoreError> {
    let deployments: BTreeSet<Deployment> = registrations.iter().map(|one| one.ped.subject.deployment()).collect();
    let deployments: Vec<Deployment> = deployments.into_iter().collect();
    let mut made = vec![Addition::default(); registrations.len()];
    if deployments.is_empty() {
        return Ok(made);
    }
    let is_serial = registry.is_serial();
    let mut revision = |of: &[Deployment], known: Vec<Version>| {
        let of: HashSet<&Deployment> = of.iter().collect();
        let is_wanted = |one: &Registration| of.contains(&one.ped.subject.deployment());
        let wanted = registrations.iter().enumerate().filter(|(_, one)| is_wanted(one));
        let placed = |one: &Registration| if is_serial { one.clone().behind(&known) } else { one.clone() };
        let (numbers, wanted): (Vec<usize>, Vec<Registration>) = wanted.map(|(at, one)| (at, placed(one))).unzip();
        let added = additions(&wanted, known);
        let versions = added.iter().flat_map(Addition::versions).cloned().collect();
        for (number, addition) in numbers.into_iter().zip(added) {
            if let Some(made) = made.get_mut(number) {
                *made = addition;
            }
        }
        versions
    };
    registry.revise(&deployments, &mut revision).await?;
    Ok(made)
}

/// Why a PED is not retired.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RetireError {
    /// There is none in that scope.
    #[error("nothing is registered in that scope")]
    NotRegistered {
        /// The scopes in which the Deployment has one.
        elsewhere: BTreeSet<Clusters>,
    },
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Retires a PED: appends what ends it.
///
/// # Errors
/// [`RetireError`] when there is none, or some of it may not be stored; retiring it again is safe.
pub async fn retire(registry: &dyn Registry, retirement: &Retirement) -> Result<Retired, RetireError> {
    let subject = &retirement.subject;
    let mut made = Ok(Retired::default());
    let mut revision = |_: &[Deployment], known: Vec<Version>| {
        let (known, others): (Vec<Version>, Vec<Version>) =
            known.into_iter().partition(|version| version.subject == *subject);
        let elsewhere = || others.into_iter().map(|version| version.subject.clusters).collect();
        made = match known.is_empty() {
            true => Err(RetireError::NotRegistered { elsewhere: elsewhere() }),
            false => Ok(retirement.apply(&known)),
        };
        made.as_ref().map(|retired| retired.versions.clone()).unwrap_or_default()
    };
    registry.revise(&[subject.deployment()], &mut revision).await?;
    made
}
