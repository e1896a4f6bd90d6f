//! What something costs this month, for whoever is told of it.
//!
//! A message can do without: where the store does not say it soon, or at all, nobody waits, and it is not asked for a while.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::timeout;

use super::incidents::Present;
use crate::billing::cost::{Costs, of_writes, of_writes_between, written};
use crate::incident::{Deployment, Kind, Step};
use crate::store::query::story::story;

/// How long a message may wait for it. It is answered for behind that, and a subscription waits for ten seconds at least.
const WITHIN: Duration = Duration::from_secs(3);

/// How long it is not asked for, where it took too long: history that is not closed by `daily` is read from its beginning.
const PAUSE: TimeDelta = TimeDelta::minutes(10);

impl Present<'_> {
    /// What is told adds to this month's fee, or has added by its end; `None` where that is nothing, or not known.
    pub(super) async fn cost(&self, deployment: &Deployment, step: &Step) -> Option<String> {
        let prices = &self.telling.prices;
        let month = prices.month_at(self.now)?;
        let ((_, price), span) = (prices.of(month)?, prices.span(month)?);
        if self.now < *self.telling.costs_nothing_until.lock().unwrap_or_else(PoisonError::into_inner) {
            return None;
        }
        let named = [(deployment.namespace.clone(), deployment.name.clone())];
        let why = match timeout(WITHIN, story(self.store, &named, span)).await {
            Ok(Ok(story)) => {
                let Deployment { project, location, cluster, .. } = deployment;
                let told = story.deployments().find(|told| {
                    let place = (told.place.project_id.unwrap_or_default(), told.place.location.unwrap_or_default());
                    (place.0, place.1, told.place.cluster_name)
                        == (project.as_str(), location.as_str(), cluster.as_str())
                })?;
                let by_write = || {
                    let set_by = &step.standing.as_ref()?.set_by;
                    of_writes(&told.timeline, price, span).remove(&set_by.place.event_id)
                };
                let costs: Option<Costs> = match step.kind {
                    Kind::Opened | Kind::Worsened | Kind::Once | Kind::Digest => by_write(),
                    Kind::Recovered | Kind::Repeated => {
                        let during = (step.began_at, step.ended_at.unwrap_or(self.now));
                        Some(of_writes_between(&told.timeline, price, span, during))
                    }
                };
                return written(price, &costs?);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", WITHIN.as_secs()),
        };
        let minutes = PAUSE.num_minutes();
        tracing::warn!(why, minutes, "what breaches cost is not known; messages do without it for a while");
        *self.telling.costs_nothing_until.lock().unwrap_or_else(PoisonError::into_inner) = self.now + PAUSE;
        None
    }
}
