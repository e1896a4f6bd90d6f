//! Registering PEDs: the versions are appended, and then held against the writes that are there.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::again::judge_again;
use crate::ped::version::{Registration, Version};
use crate::policy::Policy;
use crate::store::row::AlertLog;
use crate::store::{self, Store, StoreError};

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registered {
    /// What each PED added, in their order; `None` where there was nothing to register.
    pub versions: Vec<Option<Version>>,
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
    let versions = store::register(store, registrations).await?;
    let namespaces: BTreeSet<String> =
        versions.iter().flatten().map(|version| version.subject.namespace.clone()).collect();
    let raised = match namespaces.is_empty() {
        true => Vec::new(),
        false => judge_again(store, policy, &namespaces, now).await?,
    };
    Ok(Registered { versions, raised })
}
