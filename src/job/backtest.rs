//! What would have been with other limits.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::backtest::Outcome;
use crate::billing::{Line, Month, Prices};
use crate::ped::version::Version;
use crate::ped::{Cluster, Deployment};
use crate::policy::Policy;
use crate::store::query::story::{Story, Told, story};
use crate::store::{Store, StoreError};

/// What is supposed.
#[derive(Debug, Clone, Default)]
pub struct Suppose {
    /// Another highest number that the platform allows.
    pub platform_max: Option<i64>,
    /// Another limit of some Deployments, whatever was in force.
    pub limits: HashMap<Deployment, i64>,
    /// Other versions in the place of all that are registered for their Deployments.
    pub versions: Vec<Version>,
}

impl Suppose {
    /// The Deployments for which something is supposed by name.
    pub fn named(&self) -> impl Iterator<Item = Deployment> {
        let versions = self.versions.iter().map(|version| version.subject.deployment());
        self.limits.keys().cloned().chain(versions).collect::<BTreeSet<Deployment>>().into_iter()
    }

    /// The Deployments that it concerns; none where it may concern any.
    fn concerned(&self) -> Vec<Deployment> {
        self.named().filter(|_| self.platform_max.is_none()).collect()
    }
}

/// One Deployment, as it was and as it would have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Google Cloud project, location and name of its cluster.
    pub cluster: [String; 3],
    /// Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub deployment_name: String,
    /// What it came to, by the versions that are registered.
    pub was: Outcome,
    /// What it would have come to.
    pub would_be: Outcome,
    /// What its months would have cost more, or less: of each month that is touched, the whole.
    pub fee_difference: Decimal,
}

impl Compared {
    /// Its cluster.
    pub fn cluster(&self) -> Cluster<'_> {
        let [project, location, name] = &self.cluster;
        Cluster { project, location, name }
    }
}

/// Holds what was asked for in [from, to) against what is supposed.
///
/// # Errors
/// [`StoreError`] when the store cannot be read. Nothing is written.
pub async fn backtest(
    store: &dyn Store,
    policy: &Policy,
    prices: &Prices,
    suppose: &Suppose,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<Compared>, StoreError> {
    let months = months(prices, from, to);
    let spans = || months.iter().filter_map(|month| prices.span(*month));
    let begin = spans().map(|span| span.0).min().map_or(from, |begin| begin.min(from));
    let end = spans().map(|span| span.1).max().map_or(to, |end| end.max(to));
    let story = story(store, &suppose.concerned(), (begin, end)).await?;
    let supposed = supposed(story.clone(), policy, suppose);
    let fees = |told: &Told<'_>| months.iter().filter_map(|month| fee(told, prices, *month)).sum::<Decimal>();
    let compare = |(was, would_be): (Told<'_>, Told<'_>)| Compared {
        cluster: [was.place.project_id, was.place.location, Some(was.place.cluster_name)]
            .map(|part| part.unwrap_or_default().to_owned()),
        namespace: was.place.namespace.to_owned(),
        deployment_name: was.place.deployment_name.to_owned(),
        was: Outcome::new(&was.timeline, from, to),
        would_be: Outcome::new(&would_be.timeline, from, to),
        fee_difference: fees(&would_be) - fees(&was),
    };
    Ok(story.deployments().zip(supposed.deployments()).map(compare).collect())
}

/// The months of a span of time that have a price.
fn months(prices: &Prices, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Month> {
    let Some(first) = prices.month_at(from) else { return Vec::new() };
    let begins_before_end = |month: &Month| prices.span(*month).is_some_and(|span| span.0 < to);
    std::iter::successors(Some(first), |month| Some(month.next())).take_while(begins_before_end).collect()
}

fn fee(told: &Told<'_>, prices: &Prices, month: Month) -> Option<Decimal> {
    let line = Line::new(&told.timeline, prices.of(month)?.1, prices.span(month)?)?;
    line.fee().map(|fee| fee.total)
}

fn supposed(story: Story, policy: &Policy, suppose: &Suppose) -> Story {
    let (least, most) = (*policy.platform.start(), suppose.platform_max.unwrap_or(*policy.platform.end()));
    let policy = Policy { platform: least..=most, ..policy.clone() };
    let other = |deployment: &Deployment, known: Vec<Version>| {
        let own = suppose.versions.iter().filter(|version| version.subject.deployment() == *deployment);
        let own: Vec<Version> = own.cloned().collect();
        let versions = if own.is_empty() { known } else { own };
        match suppose.limits.get(deployment) {
            Some(max) => versions.into_iter().filter_map(|version| with_max(version, *max)).collect(),
            None => versions,
        }
    };
    story.supposing(other, |number| policy.outside_range(number))
}

/// A version with another maximum. Exceptions from it are none any more, and what was retired stays so.
fn with_max(mut version: Version, max: i64) -> Option<Version> {
    version.terms.max_replicas = version.terms.max_replicas.map(|_| max);
    version.until.is_none().then_some(version)
}
