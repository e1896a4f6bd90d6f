//! A month as one page: what happened, what it costs and what was raised, fetched and handed to the pure room.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::bill::{BillError, Item, MonthBill, Period, amount, drafted};
use crate::names::Named;
use crate::notify::template::Language;
use crate::report::{Alert, Frame, PageFault, Subject, page};
use crate::store::Store;
use crate::store::query::bills::{Counted, counted};
use crate::store::query::story::{Story, Told};
use crate::store::query::{self, WantedAlerts};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no bill.
    #[error(transparent)]
    Bill(#[from] BillError),
    /// A fault of ours.
    #[error(transparent)]
    Page(#[from] PageFault),
}

impl From<crate::store::StoreError> for ReportError {
    fn from(error: crate::store::StoreError) -> Self {
        ReportError::Bill(error.into())
    }
}

/// What a Deployment is called everywhere: project, location, cluster, namespace and name.
type Names = [String; 5];

/// What a page is made of besides the bill.
struct Found {
    story: Story,
    alerts: HashMap<Names, Vec<Alert>>,
    actual: HashMap<Names, Vec<(DateTime<Utc>, i64)>>,
}

/// Makes the page of a month. Nothing is written.
///
/// # Errors
/// [`ReportError`] when there is no bill, or the store cannot be read.
pub async fn report(
    store: &dyn Store,
    period: Period,
    owner: Option<&str>,
    language: Language,
    platform_max: i64,
) -> Result<String, ReportError> {
    let span = (period.from, period.known_until());
    let story = period.story(store, &[]).await?;
    let found = Found { alerts: alerts(store, span).await?, actual: actual(store, span).await?, story };
    let (bill, _) = drafted(store, period, &found.story, false, platform_max).await?;
    let Period { month, from, until, ref price, now, .. } = bill.period;
    let known_until = bill.period.known_until();
    let frame = Frame { month, from, known_until, until, price, now, owner, closed_at: bill.closed_at, language };
    Ok(page(&frame, subjects(&bill, &found, owner))?)
}

fn names(told: &Told<'_>) -> Names {
    let place = told.place;
    let parts = [place.project_id, place.location].map(Option::unwrap_or_default);
    [parts[0], parts[1], place.cluster_name, place.namespace, place.deployment_name].map(str::to_owned)
}

/// Each Deployment of the bill. One of which nothing is known any more, but what was charged, has no story.
fn subjects<'s>(bill: &MonthBill, found: &'s Found, owner: Option<&str>) -> Vec<Subject<'s>> {
    let items: HashMap<Names, &Item> =
        bill.items.iter().map(|item| (item.bill.place().map(str::to_owned), item)).collect();
    let told = found.story.deployments().filter_map(|told| {
        let names = names(&told);
        let item = items.get(&names)?;
        if owner.is_some_and(|owner| item.owner() != Some(owner)) {
            return None;
        }
        Some(Subject {
            cluster: told.place.cluster_name,
            name: format!("{}/{}", told.place.namespace, told.place.deployment_name),
            owner: item.owner().map(str::to_owned),
            line: bill.period.line(&told),
            fee: amount(item.charged_micros()),
            state: item.state().as_str(),
            versions: told.versions,
            alerts: found.alerts.get(&names).cloned().unwrap_or_default(),
            actual: found.actual.get(&names).cloned().unwrap_or_default(),
            timeline: told.timeline,
        })
    });
    told.collect()
}

async fn alerts(
    store: &dyn Store,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<HashMap<Names, Vec<Alert>>, ReportError> {
    let wanted = WantedAlerts { since: Some(from), until: Some(until), ..WantedAlerts::default() };
    let mut alerts: HashMap<Names, Vec<Alert>> = HashMap::new();
    for row in query::alerts(store, &wanted, usize::MAX).await? {
        let Some(deployment) = row.deployment_name else { continue };
        let text = |part: Option<String>| part.unwrap_or_default();
        let names = [text(row.project_id), text(row.location), row.cluster_name, row.namespace, deployment];
        let actor = text(row.actor);
        let alert = Alert { at: row.alert_time, severity: row.severity, message: text(row.message), actor };
        alerts.entry(names).or_default().push(alert);
    }
    Ok(alerts)
}

async fn actual(
    store: &dyn Store,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<HashMap<Names, Vec<(DateTime<Utc>, i64)>>, ReportError> {
    let mut actual: HashMap<Names, Vec<(DateTime<Utc>, i64)>> = HashMap::new();
    for row in counted(store, span).await? {
        let Counted { timestamp, project_id, location, cluster_name, namespace, deployment_name, actual_replicas } =
            row;
        let names =
            [project_id.unwrap_or_default(), location.unwrap_or_default(), cluster_name, namespace, deployment_name];
        actual.entry(names).or_default().push((timestamp, actual_replicas));
    }
    Ok(actual)
}
