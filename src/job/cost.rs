//! What changes add to the bills of their months: derived when it is asked for, and stored nowhere.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::billing::cost::{Costs, of_writes};
use crate::billing::{Month, Prices};
use crate::ped::Deployment;
use crate::store::query::story::story;
use crate::store::row::{Change, RaisedAlert};
use crate::store::{Store, StoreError};

/// An entry, and which Deployment it changed when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Changed {
    /// The entry.
    pub event_id: String,
    /// Namespace and name of the Deployment.
    pub deployment: Deployment,
    /// When it was written.
    pub at: DateTime<Utc>,
}

impl Changed {
    /// What a change is about; `None` where that is no Deployment that is known.
    pub fn by_change(change: &Change) -> Option<Self> {
        let deployment = (change.namespace.clone(), change.deployment_name.clone()?);
        Some(Changed { event_id: change.event_id.clone(), deployment, at: change.event_time })
    }

    /// What caused an alert.
    pub fn by_alert(alert: &RaisedAlert) -> Option<Self> {
        let deployment = (alert.namespace.clone(), alert.deployment_name.clone()?);
        Some(Changed { event_id: alert.event_id.clone()?, deployment, at: alert.alert_time })
    }
}

/// What changes add to the fees of their months.
#[derive(Debug, Clone, Default)]
pub struct Added(HashMap<(String, Deployment, Month), Costs>);

impl Added {
    /// What one adds, by each basis: nothing, where it lifts no fee.
    pub fn by(&self, changed: &Changed, prices: &Prices) -> Costs {
        let key = |month| (changed.event_id.clone(), changed.deployment.clone(), month);
        prices.month_at(changed.at).and_then(|month| self.0.get(&key(month))).copied().unwrap_or_default()
    }
}

/// Computes what changes add, each to its own month.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn added(store: &dyn Store, prices: &Prices, changed: &[Changed]) -> Result<Added, StoreError> {
    let months: BTreeSet<(Deployment, Month)> =
        changed.iter().filter_map(|one| Some((one.deployment.clone(), prices.month_at(one.at)?))).collect();
    let spans: Vec<_> = months.iter().filter_map(|(_, month)| prices.span(*month)).collect();
    let whole = spans.iter().map(|span| span.0).min().zip(spans.iter().map(|span| span.1).max());
    let Some(whole) = whole else { return Ok(Added::default()) };
    let deployments: BTreeSet<&Deployment> = months.iter().map(|(deployment, _)| deployment).collect();
    let deployments: Vec<Deployment> = deployments.into_iter().cloned().collect();
    let story = story(store, &deployments, whole).await?;
    let mut added = Added::default();
    for told in story.deployments() {
        let deployment = (told.place.namespace.to_owned(), told.place.deployment_name.to_owned());
        let first = (deployment.clone(), Month::of(chrono::NaiveDate::MIN));
        let own = months.range(first..).take_while(|(other, _)| *other == deployment);
        for (_, month) in own {
            let Some(((_, price), span)) = prices.of(*month).zip(prices.span(*month)) else { continue };
            let costs = of_writes(&told.timeline, price, span).into_iter();
            added.0.extend(costs.map(|(event, costs)| ((event, deployment.clone(), *month), costs)));
        }
    }
    Ok(added)
}
