//! Registering and retiring PEDs: the versions are appended, and then held against the writes that are there. What somebody was
//! killed over is mended by whoever comes next.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::again::judge_again;
use crate::ped::retirement::{Retired, Retirement};
use crate::ped::version::{Addition, Registration, Version};
use crate::policy::Policy;
use crate::store::row::AlertLog;
use crate::store::{self, RetireError, Store, StoreError};

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registered {
    /// What each PED added, in their order.
    pub additions: Vec<Addition>,
    /// What stands by the versions now, and was not raised.
    pub raised: Vec<AlertLog>,
}

/// Registers PEDs, and raises what their versions make stand: one question, however many they are.
///
/// The watermark stays where it is. It says how far *all* limits have been held against the writes, and this looks only
/// into the namespaces of these. Where it stops in between, the next reading of limits finds the versions registered.
///
/// # Errors
/// [`StoreError`] when some of it may not be stored; registering it again is safe.
pub async fn register(
    store: &dyn Store,
    policy: &Policy,
    registrations: Vec<Registration>,
    now: DateTime<Utc>,
) -> Result<Registered, StoreError> {
    let additions = store::register(store, registrations).await?;
    let raised = judge_by(store, policy, additions.iter().flat_map(Addition::versions), now).await?;
    Ok(Registered { additions, raised })
}

/// Retires a PED, and raises what stands without it: what came of it, and what was raised.
///
/// # Errors
/// [`RetireError`] when there is none, or some of it may not be stored; retiring it again is safe.
pub async fn retire(
    store: &dyn Store,
    policy: &Policy,
    retirement: &Retirement,
) -> Result<(Retired, Vec<AlertLog>), RetireError> {
    let retired = store::retire(store, retirement).await?;
    let raised = judge_by(store, policy, retired.versions.iter(), retirement.now).await?;
    Ok((retired, raised))
}

/// Appends to the store what is registered and never came there, and raises what stands by it: the versions, and the alerts.
///
/// # Errors
/// [`StoreError`] when some of it may not be there yet; doing it again is safe.
pub async fn mend(
    store: &dyn Store,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<(Vec<Version>, Vec<AlertLog>), StoreError> {
    let mended = store.mend(now).await?;
    let raised = judge_by(store, policy, mended.iter(), now).await?;
    Ok((mended, raised))
}

/// Raises what stands in the namespaces of these versions, and was not raised.
async fn judge_by(
    store: &dyn Store,
    policy: &Policy,
    versions: impl Iterator<Item = &Version>,
    now: DateTime<Utc>,
) -> Result<Vec<AlertLog>, StoreError> {
    let (mut namespaces, mut since) = (BTreeSet::new(), None);
    for version in versions {
        namespaces.insert(version.subject.namespace.clone());
        since = Some(since.map_or(version.effective_at, |since: DateTime<Utc>| since.min(version.effective_at)));
    }
    match namespaces.is_empty() {
        true => Ok(Vec::new()),
        false => judge_again(store, policy, &namespaces, since, now).await,
    }
}
