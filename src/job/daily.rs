//! Closing days: what the order says of them is stored, with what later questions have to know of them, so that no question
//! reads the history; and since when what was left is to be looked for. Doing it again, or twice at once, changes nothing; what was
//! stored by half is not found by its mark.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Days, Duration, NaiveDate, NaiveTime, SubsecRound, Utc};

use crate::audit::ObjectKind;
use crate::id;
use crate::ped::version::Version;
use crate::ped::{Cluster, Deployment};
use crate::store::query::days::{self, timeline};
use crate::store::query::{self, reality};
use crate::store::reach::{Closing, Closings, day};
use crate::store::row::{CarriedWrite, ClosedChange, ObjectDay, Place, Record, Watermark};
use crate::store::{Appended, Store, StoreError};

/// Rows for one append.
const APPEND_ROWS: usize = 4_096;

/// A day is over so long after midnight: entries take their time.
const AFTER_MIDNIGHT: Duration = Duration::minutes(15);

/// How far back alerts are looked for that nobody raised, at most: what closed days carry with them reaches as far.
const LOOKED_BACK: Duration = Duration::days(35);

/// How the watermark of looking for them begins, before what could be raised.
const LOOKED: &str = "unraised/";

/// What closing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The closing, which may cover days that were closed before.
    pub closing: Closing,
    /// Changes in it.
    pub changes: usize,
    /// Days of objects in it.
    pub object_days: usize,
    /// Whether it says what was stored already.
    pub is_known: bool,
}

/// Since when alerts are looked for that nobody raised: for a day before this was done last, and since the earliest day that
/// something has come late for since then. `by` says what could be raised and told: what was done by something else does not count.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn look_since(store: &dyn Store, by: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, StoreError> {
    let at_most = now - LOOKED_BACK;
    let Some(mark) = query::watermark(store, &format!("{LOOKED}{by}")).await? else { return Ok(at_most) };
    // Whoever looked may have had another clock.
    let through = mark.through.min(now);
    let late = days::closings(store).await?.late_since(through);
    let since = day(through) - Duration::days(1);
    Ok(late.map_or(since, |late| late.min(since)).max(at_most))
}

/// Remembers that what stood by then has been raised, and whom it concerns was told.
///
/// # Errors
/// [`StoreError`] when that may not be stored; then it is looked for again.
pub async fn have_looked(store: &dyn Store, by: &str, through: DateTime<Utc>) -> Result<(), StoreError> {
    let name = format!("{LOOKED}{by}");
    append(store, vec![Record::Watermark(Watermark { name, through, at: through })]).await
}

/// Which days are to be closed: those of a range, or what is over and not closed yet; earliest first.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn due(
    store: &dyn Store,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    now: DateTime<Utc>,
) -> Result<Vec<NaiveDate>, StoreError> {
    let over = day(now - AFTER_MIDNIGHT).date_naive();
    let closed = days::closings(store).await?.chain(DateTime::<Utc>::MAX_UTC, &BTreeSet::new());
    let begin = match (from, closed.first()) {
        (None, Some(closing)) => closing.through.date_naive(),
        // A question that reads a column of all that there is.
        (from, _) => match days::first_event(store).await?.map(|first| first.date_naive()) {
            Some(first) => from.map_or(first, |from| from.max(first)),
            None => return Ok(Vec::new()),
        },
    };
    let end = to.and_then(|to| to.checked_add_days(Days::new(1))).map_or(over, |to| to.min(over));
    Ok(begin.iter_days().take_while(|date| *date < end).collect())
}

/// Closes a day, on what is closed already. Where that turns out otherwise, it is closed again with it. Days that are closed
/// one after the other have the same `now`.
///
/// # Errors
/// [`StoreError`] when it cannot be read, or may not be stored; closing it again is safe.
pub async fn close_day(store: &dyn Store, date: NaiveDate, now: DateTime<Utc>) -> Result<Closed, StoreError> {
    let end = date.checked_add_days(Days::new(1)).unwrap_or(date);
    close(store, end.and_time(NaiveTime::MIN).and_utc(), now).await
}

/// Closes the time up to an instant.
///
/// # Errors
/// As [`close_day`].
pub async fn close(store: &dyn Store, through: DateTime<Utc>, now: DateTime<Utc>) -> Result<Closed, StoreError> {
    let closings = days::closings(store).await?;
    // As stores keep it.
    let now = now.trunc_subsecs(6);
    let mut end = through - Duration::microseconds(1);
    loop {
        let chain = closings.ground(end, now);
        let from = chain.first().map(|closing| closing.through);
        let is_frozen = chain.first().is_some_and(|closing| closings.is_frozen(closing));
        let reach = closings.reach_of(chain).until(through);
        match (from, days::disagreement(store, &reach).await?) {
            // From then on it is another story.
            (Some(from), Some(earliest)) if !is_frozen => end = earliest.min(from - Duration::microseconds(1)),
            _ => {
                let story = Story::read(store, &reach, from, through).await?;
                return story.store(store, &closings, now).await;
            }
        }
    }
}

/// What a closing stores.
struct Story {
    from: Option<DateTime<Utc>>,
    through: DateTime<Utc>,
    changes: Vec<ClosedChange>,
    carried: Vec<CarriedWrite>,
    days: Vec<ObjectDay>,
}

impl Story {
    async fn read(
        store: &dyn Store,
        reach: &crate::store::reach::Reach,
        from: Option<DateTime<Utc>>,
        through: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let told = days::changes(store, reach).await?;
        let carried = days::carried(store, reach, through).await?;
        let versions = versions(store, &told).await?;
        let mut days = object_days(&told, &versions, from, through);
        count_what_ran(store, &mut days, through).await?;
        let is_new = |change: &ClosedChange| from.is_none_or(|from| change.effective_time >= from);
        Ok(Story { from, through, changes: told.into_iter().filter(is_new).collect(), carried, days })
    }

    /// Its identity: that of what it says, so that telling it again adds nothing.
    fn id(&self) -> String {
        let Story { from, through, changes, carried, days } = self;
        let mut said: Vec<String> = changes.iter().map(|row| format!("{row:?}")).collect();
        said.extend(carried.iter().map(|row| format!("{row:?}")));
        said.extend(days.iter().map(|row| format!("{row:?}")));
        said.sort();
        said.push(format!("{from:?} {through}"));
        id::id(&said.iter().map(String::as_str).collect::<Vec<_>>())
    }

    async fn store(self, store: &dyn Store, closings: &Closings, now: DateTime<Utc>) -> Result<Closed, StoreError> {
        let closing = Closing { id: self.id(), from: self.from, through: self.through, at: now };
        let (changes, object_days) = (self.changes.len(), self.days.len());
        let is_known = closings.knows(&closing.id);
        if !is_known {
            for records in self.records(&closing.id).chunks(APPEND_ROWS) {
                append(store, records.to_vec()).await?;
            }
        }
        // Last: who finds it finds all.
        append(store, vec![Record::Watermark(closing.mark())]).await?;
        Ok(Closed { closing, changes, object_days, is_known })
    }

    fn records(self, closing: &str) -> Vec<Record> {
        let changes = self.changes.into_iter().map(|row| Record::Closed(Box::new(row.in_closing(closing))));
        let carried = self.carried.into_iter().map(|row| Record::Carried(Box::new(row.in_closing(closing))));
        let days = self.days.into_iter().map(|row| Record::Day(Box::new(row.in_closing(closing))));
        changes.chain(carried).chain(days).collect()
    }
}

async fn append(store: &dyn Store, records: Vec<Record>) -> Result<(), StoreError> {
    let outcomes = store.append(records.into()).await?;
    let refused = outcomes.iter().find_map(|outcome| match outcome {
        Appended::Stored => None,
        Appended::Refused(reason) => Some(StoreError::Permanent(format!("it refuses a row of a closed day: {reason}"))),
    });
    refused.map_or(Ok(()), Err)
}

/// The versions of the Deployments that changes are about.
async fn versions(store: &dyn Store, told: &[ClosedChange]) -> Result<HashMap<Deployment, Vec<Version>>, StoreError> {
    let deployment = |change: &ClosedChange| Some((change.namespace.clone(), change.deployment_name.clone()?));
    let deployments: BTreeSet<Deployment> = told.iter().filter_map(deployment).collect();
    let deployments: Vec<Deployment> = deployments.into_iter().collect();
    let mut versions: HashMap<Deployment, Vec<Version>> = HashMap::new();
    if !deployments.is_empty() {
        for version in store.versions(Some(&deployments)).await? {
            let subject = &version.subject;
            versions.entry((subject.namespace.clone(), subject.deployment.clone())).or_default().push(version);
        }
    }
    Ok(versions)
}

/// What each object came to on each whole day of a span.
fn object_days(
    told: &[ClosedChange],
    versions: &HashMap<Deployment, Vec<Version>>,
    from: Option<DateTime<Utc>>,
    through: DateTime<Utc>,
) -> Vec<ObjectDay> {
    // A call that timed out counts on its own day, and what it asked for takes effect when that is shown.
    let asked_at = |change: &ClosedChange| change.event_time.min(change.effective_time);
    let Some(first) = from.or_else(|| told.iter().map(asked_at).min()) else { return Vec::new() };
    let dates: Vec<NaiveDate> =
        day(first).date_naive().iter_days().take_while(|date| *date < through.date_naive()).collect();
    let mut deployments: BTreeMap<(&str, &str, &str), Vec<&ClosedChange>> = BTreeMap::new();
    for change in told {
        let Some(name) = &change.deployment_name else { continue };
        deployments.entry((&change.cluster_id, &change.namespace, name)).or_default().push(change);
    }
    let none = Vec::new();
    let mut rows = Vec::new();
    for ((cluster_id, namespace, deployment), changes) in deployments {
        let Some(place) = changes.first().map(|change| place(change, cluster_id, namespace, deployment)) else {
            continue;
        };
        let versions = versions.get(&(namespace.to_owned(), deployment.to_owned())).unwrap_or(&none);
        let timeline = timeline(place, &changes, versions, through);
        let days = dates.iter().flat_map(|date| timeline.objects().map(|object| timeline.day(object, *date)));
        rows.extend(days.filter_map(|day| ObjectDay::new(&day, place)));
    }
    rows
}

/// Adds the most replicas that a snapshot saw of each Deployment on each day.
async fn count_what_ran(store: &dyn Store, days: &mut [ObjectDay], through: DateTime<Utc>) -> Result<(), StoreError> {
    let Some(first) = days.iter().map(|row| row.date).min() else { return Ok(()) };
    let mut highest: HashMap<(String, String, String, NaiveDate), i64> = HashMap::new();
    let span = (first.and_time(NaiveTime::MIN).and_utc(), through);
    for seen in reality::actual(store, span).await? {
        let (project, location) = (seen.project_id.unwrap_or_default(), seen.location.unwrap_or_default());
        let cluster = Cluster { project: &project, location: &location, name: &seen.cluster_name }.to_string();
        let known = highest.entry((cluster, seen.namespace, seen.deployment_name, seen.date)).or_default();
        *known = seen.actual_replicas.max(*known);
    }
    for row in days.iter_mut().filter(|row| row.object_kind == ObjectKind::Deployment) {
        let key = (row.cluster_id.clone(), row.namespace.clone(), row.deployment_name.clone(), row.date);
        row.highest_actual = highest.get(&key).copied();
    }
    Ok(())
}

fn place<'p>(change: &'p ClosedChange, cluster_id: &'p str, namespace: &'p str, deployment_name: &'p str) -> Place<'p> {
    let ClosedChange { project_id, location, cluster_name, .. } = change;
    let (project_id, location) = (project_id.as_deref(), location.as_deref());
    Place { project_id, location, cluster_name, cluster_id, namespace, deployment_name }
}
