//! The ledger of the configuration, and whom to tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::{Access, Usage, cloud};
use crate::config::{Config, LedgerUrl};
use crate::notify::channel::Channels;
use crate::notify::ledger::Ledger;
use crate::ped::limits::Limits;
use crate::pipeline::incidents::Telling;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

/// What telling people takes, for commands that put into the ledger what others send; `None` where nobody is to be told.
pub(super) async fn open_noting(config: &Config) -> Result<Option<Arc<Telling>>> {
    open(config, Channels::for_words(&config.notify)).await
}

pub(super) async fn open(config: &Config, channels: Result<Channels, Vec<String>>) -> Result<Option<Arc<Telling>>> {
    let Some(ledger) = open_ledger(config, Access::OrNew).await? else { return Ok(None) };
    let channels = channels.map_err(refused)?;
    let (settings, give_up_after) = (config.notify.settings, config.notify.give_up_after);
    Ok(Some(Arc::new(Telling::new(ledger, channels, settings, give_up_after, config.prices.clone()))))
}

/// As [`open_noting`], for commands that make no sense without.
pub(super) async fn require_noting(config: &Config) -> Result<Arc<Telling>> {
    open_noting(config).await?.ok_or_else(no_ledger)
}

/// The ledger, for commands that make no sense without one.
pub(super) async fn require_ledger(config: &Config, access: Access) -> Result<Arc<dyn Ledger>> {
    open_ledger(config, access).await?.ok_or_else(no_ledger)
}

pub(super) fn refused(faults: Vec<String>) -> anyhow::Error {
    Usage(faults.join("\n")).into()
}

/// Steps the incidents of namespaces whose limits are others now, where somebody is to be told. It is opened before anything is
/// stored: what cannot be told is to be known first.
pub(super) async fn limits_turned(
    telling: Option<Arc<Telling>>,
    store: &dyn Store,
    config: &Config,
    namespaces: BTreeSet<String>,
    now: DateTime<Utc>,
) -> Result<()> {
    let Some(telling) = telling.filter(|_| !namespaces.is_empty()) else { return Ok(()) };
    let limits = Limits::new(store.claims(None).await?);
    let turned = telling.at(now, &config.policy, store, &limits).limits_turned(&namespaces).await;
    turned.context("it is stored, but not whom it concerns was told; `pedwatch daily` does that")
}

async fn open_ledger(config: &Config, access: Access) -> Result<Option<Arc<dyn Ledger>>> {
    let Some(url) = config.ledger.clone() else { return Ok(None) };
    Ok(Some(match url {
        LedgerUrl::Sqlite(path) => {
            if access == Access::Existing && !path.exists() {
                let path = path.display();
                return Err(Usage(format!(
                    "no ledger is in sqlite:{path}: there is no such file; expected one that serve, pull, \
                     daily, notify, ped register or ped remove made, or replay or backfill with --notify"
                ))
                .into());
            }
            let context = format!("cannot open the ledger sqlite:{}", path.display());
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await?;
            Arc::new(opened.context(context)?)
        }
        LedgerUrl::Firestore(name) => cloud::open_firestore(&name, config).await?,
    }))
}

pub(super) fn no_ledger() -> anyhow::Error {
    Usage("no ledger; expected notify.ledger in the configuration".to_owned()).into()
}
