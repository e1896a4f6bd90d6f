//! Laws of days: whatever happened, came when and how often, and whichever days were closed when, every answer is the one
//! out of the whole history.
//!
//! `PEDWATCH_TEST_CASES` is how many histories each law tries, `PEDWATCH_TEST_SEED` where they begin; a failure tells its
//! seed, and the smallest history that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use pedwatch::audit::ObjectKind;
use pedwatch::job::daily::{close, due};
use pedwatch::ped::version::Version;
use pedwatch::ped::{Clusters, Subject, Terms};
use pedwatch::pipeline::again::judge_again;
use pedwatch::store::query::{About, Query, Rows, Value, WantedAlerts, days};
use pedwatch::store::reach::{CLOSED, Closing, Reach};
use pedwatch::store::row::{Change, ClosedChange, ObjectDay, Place, Record, Row, Standing};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Appended, Registry, Store, StoreError, query};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value as Json;

use super::history::{BEGIN, DEPLOYMENTS, Logged, Step, What, logged, step};
use crate::servers::Dataset;
use crate::support::{Killed, VIEWS, block_on, config, contents, handle, pipeline};

/// How a closing goes.
#[derive(Debug, Clone, Copy)]
enum How {
    Alone,
    /// Two of them do it at once.
    Twice,
    /// It is killed when it has appended so many rows.
    Killed(usize),
    /// Before its question of this number is answered, what arrives next arrives.
    Overtaken(usize),
}

/// What is closed.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// What `daily` would.
    Due,
    /// One day, so many before that one.
    Day(i64),
    /// Whatever is before one of the entries, or behind it.
    Entry(prop::sample::Index, bool),
}

#[derive(Debug, Clone)]
struct Night {
    minute: i64,
    which: Which,
    how: How,
}

/// What is registered.
#[derive(Debug, Clone)]
struct VersionSpec {
    deployment: usize,
    minute: i64,
    /// How many minutes it takes effect after it is registered; negative where it comes late.
    ahead: i64,
    max: Option<i64>,
    /// Of an exception, in minutes.
    lasts: Option<i64>,
    owner: usize,
}

#[derive(Debug, Clone)]
struct History {
    steps: Vec<Step>,
    versions: Vec<VersionSpec>,
}

/// Some namespaces in one store, and what is closed in it.
#[derive(Debug, Clone)]
struct World {
    histories: Vec<History>,
    nights: Vec<Night>,
    /// How long everything takes to arrive, beside its own delay.
    lag: Duration,
}

const DAYS: i64 = 7;

fn night(which: impl Strategy<Value = Which>) -> impl Strategy<Value = Night> {
    let minute = prop_oneof![2 => (1..DAYS * 24).prop_map(|hour| hour * 60 + 17), 1 => 0..DAYS * 1_440];
    let how = prop_oneof![
        4 => Just(How::Alone),
        1 => Just(How::Twice),
        2 => (0..60_usize).prop_map(How::Killed),
        2 => (0..9_usize).prop_map(How::Overtaken),
    ];
    (minute, which, how).prop_map(|(minute, which, how)| Night { minute, which, how })
}

fn version_spec() -> impl Strategy<Value = VersionSpec> {
    let ahead = prop_oneof![2 => Just(0_i64), 1 => 0..3_000_i64, 2 => -6_000..0_i64];
    let max = prop_oneof![5 => (1..9_i64).prop_map(Some), 1 => Just(None)];
    let lasts = prop_oneof![3 => Just(None), 1 => (1..4_000_i64).prop_map(Some)];
    (0..2_usize, 0..DAYS * 1_440, ahead, max, lasts, 0..2_usize).prop_map(
        |(deployment, minute, ahead, max, lasts, owner)| VersionSpec { deployment, minute, ahead, max, lasts, owner },
    )
}

fn history(steps: usize) -> impl Strategy<Value = History> {
    (prop::collection::vec(step(), 1..steps), prop::collection::vec(version_spec(), 0..4))
        .prop_map(|(steps, versions)| History { steps, versions })
}

/// Days are closed, as `daily` does it.
fn world(histories: usize, steps: usize) -> impl Strategy<Value = World> {
    let which = prop_oneof![2 => Just(Which::Due), 1 => (1..4_i64).prop_map(Which::Day)];
    (prop::collection::vec(history(steps), 1..=histories), prop::collection::vec(night(which), 1..9))
        .prop_map(|(histories, nights)| World { histories, nights, lag: Duration::zero() })
}

/// All of it comes months late, and anything is closed at any instant.
fn late_world(histories: usize, steps: usize) -> impl Strategy<Value = World> {
    let which = any::<(prop::sample::Index, bool)>().prop_map(|(index, behind)| Which::Entry(index, behind));
    (prop::collection::vec(history(steps), 1..=histories), prop::collection::vec(night(which), 1..12))
        .prop_map(|(histories, nights)| World { histories, nights, lag: Duration::days(200) })
}

impl VersionSpec {
    fn version(&self, namespace: &str, number: usize) -> Version {
        let registered_at = BEGIN + Duration::minutes(self.minute);
        let effective_at = registered_at + Duration::minutes(self.ahead);
        let cpu = ["1", "500m"][number % 2].to_owned();
        Version {
            id: format!("{namespace}-{}-{number}", DEPLOYMENTS[self.deployment]),
            subject: Subject {
                namespace: namespace.to_owned(),
                deployment: DEPLOYMENTS[self.deployment].to_owned(),
                clusters: Clusters::Any,
            },
            effective_at,
            until: self.lasts.map(|lasts| effective_at + Duration::minutes(lasts)),
            registered_at,
            terms: Terms {
                owner: ["team-a", "team-b"][self.owner].to_owned(),
                max_replicas: self.max,
                limits: BTreeMap::from([("cpu".to_owned(), cpu), ("memory".to_owned(), "1Gi".to_owned())]),
                ..Terms::default()
            },
            initial_max_replicas: 1,
            created_at: registered_at,
            change: None,
            updated_by: "test".to_owned(),
            reason: None,
            source: None,
        }
    }
}

/// Something that comes at its time.
#[derive(Debug, Clone)]
enum Coming {
    Entry(Json),
    Version(Box<Version>),
    Night(Night),
}

fn namespace(number: usize) -> String {
    format!("ns-{number}")
}

impl World {
    fn logged(&self) -> Vec<Logged> {
        let of = |(number, history): (usize, &History)| logged(&namespace(number), &history.steps);
        self.histories.iter().enumerate().flat_map(of).collect()
    }

    fn versions(&self) -> Vec<Version> {
        let of = |(number, history): (usize, &History)| {
            let versions = history.versions.iter().enumerate();
            versions.map(|(at, spec)| spec.version(&namespace(number), at)).collect::<Vec<_>>()
        };
        self.histories.iter().enumerate().flat_map(of).collect()
    }

    /// All that comes, in order.
    fn agenda(&self) -> Vec<(DateTime<Utc>, Coming)> {
        let entries = self.logged().into_iter().flat_map(|logged| {
            logged.arrives.clone().into_iter().map(move |at| (at, Coming::Entry(logged.entry.clone())))
        });
        let versions =
            self.versions().into_iter().map(|version| (version.registered_at, Coming::Version(Box::new(version))));
        let nights =
            self.nights.iter().map(|night| (BEGIN + Duration::minutes(night.minute), Coming::Night(night.clone())));
        let mut agenda: Vec<_> = entries.chain(versions).chain(nights).collect();
        agenda.sort_by_key(|(at, _)| *at);
        agenda
    }
}

/// A store that does not see what is closed: it answers out of the whole history.
struct Whole<'s>(&'s dyn Store);

#[async_trait]
impl Store for Whole<'_> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.0.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.0.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let mut found = self.0.fetch(query).await?;
        let is_closing = |value: Option<&Value>| matches!(value, Some(Value::Text(name)) if name.starts_with(CLOSED));
        if query.sql.contains("${dataset}.watermarks") {
            found.rows.retain(|row| !is_closing(row.first()));
        }
        Ok(found)
    }
}

/// A store in which something arrives before a question of this number is answered.
struct Overtaken<'s> {
    store: &'s dyn Store,
    left: AtomicUsize,
    now: DateTime<Utc>,
    arriving: tokio::sync::Mutex<Vec<Coming>>,
}

#[async_trait]
impl Store for Overtaken<'_> {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let arriving = std::mem::take(&mut *self.arriving.lock().await);
            arrive(self.store, self.now, arriving).await;
        }
        self.store.fetch(query).await
    }
}

/// Something is recorded, as `pull` or a registration would.
async fn arrive(store: &dyn Store, now: DateTime<Utc>, coming: Vec<Coming>) {
    let mut entries = Vec::new();
    for one in coming {
        match one {
            Coming::Entry(entry) => entries.push(entry.to_string()),
            Coming::Version(version) => {
                store.append_versions(std::slice::from_ref(&*version)).await.expect("appended");
                let namespaces = BTreeSet::from([version.subject.namespace.clone()]);
                let since = Some(version.effective_at);
                judge_again(store, &config().policy, &namespaces, since, now).await.expect("judged");
            }
            Coming::Night(_) => {}
        }
    }
    if !entries.is_empty() {
        handle(store, &pipeline(store).await, &entries, now).await;
    }
}

/// How often what was tried, so that no law holds because nothing was closed.
#[derive(Debug, Default)]
struct Tried {
    closings: AtomicUsize,
    days: AtomicUsize,
    answers: AtomicUsize,
    out_of_days: AtomicUsize,
}

static TRIED: Tried = Tried {
    closings: AtomicUsize::new(0),
    days: AtomicUsize::new(0),
    answers: AtomicUsize::new(0),
    out_of_days: AtomicUsize::new(0),
};

/// Where what is to be closed ends.
type Ends<'e> = &'e [DateTime<Utc>];

impl Night {
    async fn ends(&self, store: &dyn Store, logged: &[Logged], now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let end = |date: NaiveDate| date.and_time(chrono::NaiveTime::MIN).and_utc() + Duration::days(1);
        match self.which {
            Which::Due => due(store, None, None, now).await.expect("readable").into_iter().map(end).collect(),
            Which::Day(back) => vec![end((now - Duration::minutes(15) - Duration::days(back)).date_naive())],
            // What changed nothing is in no log.
            Which::Entry(..) if logged.is_empty() => Vec::new(),
            Which::Entry(at, behind) => {
                vec![at.get(logged).time + Duration::microseconds(i64::from(behind))]
            }
        }
    }

    /// What is closed, where it is known that nothing came between.
    async fn pass(
        &self,
        store: &dyn Store,
        ends: Ends<'_>,
        now: DateTime<Utc>,
        (next_at, next): (DateTime<Utc>, Vec<Coming>),
    ) -> Option<Closing> {
        match self.how {
            How::Alone => close_all(store, ends, now).await.expect("closed"),
            How::Twice => {
                let (one, other) = tokio::join!(close_all(store, ends, now), close_all(store, ends, now));
                let (one, other) = (one.expect("closed"), other.expect("closed"));
                assert_eq!(one.as_ref().map(|one| &one.id), other.as_ref().map(|other| &other.id));
                one
            }
            How::Killed(rows) => {
                let killed = Killed { store, left: AtomicUsize::new(rows) };
                // It may end before it is killed.
                let _ = close_all(&killed, ends, now).await;
                None
            }
            How::Overtaken(questions) => {
                let left = AtomicUsize::new(questions + 1);
                let overtaken = Overtaken { store, left, now: next_at, arriving: tokio::sync::Mutex::new(next) };
                close_all(&overtaken, ends, now).await.expect("closed");
                arrive(store, next_at, overtaken.arriving.into_inner()).await;
                None
            }
        }
    }
}

async fn close_all(store: &dyn Store, ends: Ends<'_>, now: DateTime<Utc>) -> Result<Option<Closing>, StoreError> {
    let mut last = None;
    for end in ends {
        last = Some(close(store, *end, now).await?.closing);
    }
    TRIED.closings.fetch_add(ends.len(), Ordering::Relaxed);
    Ok(last)
}

/// Has it happen, and tells when it was over. Behind each closing, and at the end, something is asked, if so wanted.
async fn happen(store: &dyn Store, world: &World, asks: bool) -> Result<DateTime<Utc>, TestCaseError> {
    let logged = world.logged();
    let mut agenda = world.agenda().into_iter().peekable();
    // When it happens, and how much later it is seen.
    let (mut at, mut lag) = (BEGIN, world.lag);
    while let Some((time, coming)) = agenda.next() {
        at = at.max(time);
        let Coming::Night(night) = coming else {
            let mut together = vec![coming];
            // What comes one after the other on one day comes together: each arrival is a question.
            let today = at.date_naive();
            let is_together = |(time, coming): &(DateTime<Utc>, Coming)| {
                world.lag.is_zero() && time.date_naive() == today && matches!(coming, Coming::Entry(_))
            };
            while let Some((time, coming)) = agenda.next_if(is_together) {
                at = at.max(time);
                together.push(coming);
            }
            arrive(store, at + lag, together).await;
            continue;
        };
        if !world.lag.is_zero() {
            // Else nothing is right: it may not have known what came within the hour.
            lag += Duration::hours(2);
        }
        let now = at + lag;
        let mut next = Vec::new();
        let is_next = |(_, coming): &(_, Coming)| !matches!(coming, Coming::Night(_));
        while matches!(night.how, How::Overtaken(_)) && next.len() < 3 {
            let Some((time, coming)) = agenda.next_if(is_next) else { break };
            at = at.max(time);
            next.push(coming);
        }
        let ends = night.ends(store, &logged, now).await;
        let closing = night.pass(store, &ends, now, (at + lag, next)).await;
        if !asks {
            continue;
        }
        if let Some(closing) = closing {
            if world.lag.is_zero() {
                assert_days(store, &closing).await?;
            }
            assert_again(store, &closing, now).await?;
        }
        assert_answers(store, world, at, false).await?;
    }
    if asks {
        assert_answers(store, world, at + Duration::hours(1), true).await?;
    }
    Ok(at)
}

fn same(what: &str, found: &[String], expected: &[String]) -> Result<(), TestCaseError> {
    if found == expected {
        return Ok(());
    }
    let lines = |title: &str, rows: &[String], others: &[String]| {
        let rows: String = rows.iter().filter(|row| !others.contains(row)).map(|row| format!("  {row}\n")).collect();
        format!("{title}:\n{rows}")
    };
    let difference = lines("too much", found, expected) + &lines("lacks", expected, found);
    let order = format!("found {found:#?}");
    let both =
        if found.len() == expected.len() && found.iter().all(|row| expected.contains(row)) { &order } else { "" };
    Err(TestCaseError::fail(format!("{what}\n{difference}{both}")))
}

fn about(namespace: Option<&str>) -> About {
    About { namespace: namespace.map(str::to_owned), ..About::ALL }
}

async fn changes(store: &dyn Store, namespace: Option<&str>, span: (DateTime<Utc>, DateTime<Utc>)) -> Vec<String> {
    let mut rows = Vec::new();
    let take = async |page: Vec<Change>| {
        rows.extend(page.iter().map(|row| format!("{row:?}")));
        Ok::<_, StoreError>(())
    };
    query::changes(store, &about(namespace), span, usize::MAX, take).await.expect("readable");
    rows
}

/// What would be billed of a span, and by which entries.
async fn billed(store: &dyn Store, span: (DateTime<Utc>, DateTime<Utc>)) -> Vec<String> {
    let story = query::story::story(store, &[], span).await.expect("readable");
    let mut lines = Vec::new();
    for told in story.deployments() {
        for stage in told.timeline.billed(span.0, span.1) {
            let (from, to, change) = (stage.from, stage.to, &stage.change);
            let event = change.origin.cause().map(|cause| &cause.event_id);
            let limit = stage.in_force.as_ref().map(|in_force| &in_force.limit_id);
            let place = (told.place.cluster_id, told.place.namespace, told.place.deployment_name);
            lines.push(format!("{place:?} {from} {to} {:?} {:?} {event:?} {limit:?}", change.object, change.asked));
        }
    }
    lines
}

async fn status(store: &dyn Store, at: DateTime<Utc>) -> Vec<Standing> {
    query::status(store, &about(None), at).await.expect("readable")
}

/// Every answer is the one out of the whole history.
async fn assert_answers(store: &dyn Store, world: &World, now: DateTime<Utc>, all: bool) -> Result<(), TestCaseError> {
    let whole = Whole(store);
    let closings = days::closings(store).await.expect("readable");
    TRIED.answers.fetch_add(1, Ordering::Relaxed);
    if closings.reach(DateTime::<Utc>::MAX_UTC, &BTreeSet::new()).since().is_some() {
        TRIED.out_of_days.fetch_add(1, Ordering::Relaxed);
    }
    let ever = (DateTime::UNIX_EPOCH, BEGIN + Duration::days(1_000));
    let midnight = |day: i64| BEGIN + Duration::days(day);
    let day = (now - BEGIN).num_days();
    let one = namespace(world.histories.len() - 1);
    let spans = [
        (None, ever),
        (None, (midnight(day - 1), midnight(day))),
        (Some(&*one), (midnight(day - 3), midnight(day - 1) + Duration::hours(7))),
    ];
    let some = |number: i64, of: usize| {
        if all {
            0..of
        } else {
            let at = usize::try_from(number).unwrap_or(0) % of;
            at..at + 1
        }
    };
    for (namespace, span) in &spans[some(day, spans.len())] {
        let (found, expected) = (changes(store, *namespace, *span).await, changes(&whole, *namespace, *span).await);
        same(&format!("changes of {namespace:?} in {span:?}, at {now}"), &found, &expected)?;
    }
    // As a month of its own zone would be.
    let months = [
        (midnight(day - 2) + Duration::hours(7), midnight(day) + Duration::hours(7)),
        (midnight(1) - Duration::hours(3), midnight(day)),
    ];
    for span in months.into_iter().filter(|(from, to)| from < to) {
        let (found, expected) = (billed(store, span).await, billed(&whole, span).await);
        same(&format!("the bill of {span:?}, at {now}"), &found, &expected)?;
    }
    let told = days::changes(store, &Reach::default()).await.expect("readable");
    let instants =
        [now, midnight(day) - Duration::microseconds(1), midnight(day - 2) + Duration::hours(13), midnight(day)];
    for &at in instants[some(day, 2)].iter().chain(&instants[2..][some(day / 2, 2)]) {
        let (found, expected) = (status(store, at).await, status(&whole, at).await);
        let lines = |rows: &[Standing]| rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>();
        same(&format!("status at {at}, asked at {now}"), &lines(&found), &lines(&expected))?;
        same(&format!("status at {at} by its changes"), &standing(&found), &replayed(&told, at))?;
    }
    for since in [midnight(day), midnight(day - 2)] {
        let unraised = async |store: &dyn Store| {
            let found = query::unraised(store, &BTreeSet::new(), Some(since)).await.expect("readable");
            let found = found.iter().filter(|row| row.alert_time >= since);
            let mut lines: Vec<String> = found.map(|row| format!("{row:?}")).collect();
            lines.sort();
            lines
        };
        same(&format!("unraised since {since} at {now}"), &unraised(store).await, &unraised(&whole).await)?;
    }
    if all {
        let wanted = WantedAlerts { all: true, ..WantedAlerts::default() };
        let alerts = async |store: &dyn Store| {
            let alerts = query::alerts(store, &wanted, usize::MAX).await.expect("readable");
            alerts.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>()
        };
        same(&format!("alerts at {now}"), &alerts(store).await, &alerts(&whole).await)?;
    }
    Ok(())
}

/// What stands by an answer: of each Deployment its own number, and its HPAs' highest.
fn standing(found: &[Standing]) -> Vec<String> {
    let of = |row: &Standing| {
        format!("{}/{} {:?} {:?}", row.namespace, row.deployment_name, row.replicas, row.hpa_max_replicas)
    };
    let mut lines: Vec<String> = found.iter().map(of).collect();
    lines.sort();
    lines
}

/// What stands when the ordered changes up to an instant have happened.
fn replayed(told: &[ClosedChange], at: DateTime<Utc>) -> Vec<String> {
    let mut objects: BTreeMap<&str, &ClosedChange> = BTreeMap::new();
    for change in told.iter().filter(|change| change.effective_time <= at) {
        objects.insert(&change.object_id, change);
    }
    type Numbers = (Option<i64>, Option<i64>);
    let mut standing: BTreeMap<(&str, &str), Numbers> = BTreeMap::new();
    for change in objects.values().filter(|change| !change.removes) {
        let Some(name) = &change.deployment_name else { continue };
        let (own, hpa) = standing.entry((&change.namespace, name)).or_default();
        match change.object_kind {
            ObjectKind::Deployment => *own = change.replicas,
            _ if change.effective != Some(false) => *hpa = (*hpa).max(change.replicas),
            _ => {}
        }
    }
    standing.iter().map(|((namespace, name), (own, hpa))| format!("{namespace}/{name} {own:?} {hpa:?}")).collect()
}

/// The days in a closing are folds over the whole history up to its end.
async fn assert_days(store: &dyn Store, closing: &Closing) -> Result<(), TestCaseError> {
    let closings = days::closings(store).await.expect("readable");
    let chain = closings.chain(closing.through, &BTreeSet::new());
    if chain.first().map(|last| &last.id) != Some(&closing.id) {
        return Ok(());
    }
    TRIED.days.fetch_add(1, Ordering::Relaxed);
    let told = days::changes(store, &Reach::default().until(closing.through)).await.expect("readable");
    let versions = store.versions(None).await.expect("readable");
    let mut deployments: BTreeMap<(&str, &str, &str), Vec<&ClosedChange>> = BTreeMap::new();
    for change in &told {
        let Some(name) = &change.deployment_name else { continue };
        deployments.entry((&change.cluster_id, &change.namespace, name)).or_default().push(change);
    }
    let mut expected = Vec::new();
    let Some(first) = told.iter().map(|change| change.effective_time.min(change.event_time).date_naive()).min() else {
        return Ok(());
    };
    for ((cluster_id, namespace, deployment_name), changes) in deployments {
        let ClosedChange { project_id, location, cluster_name, .. } = changes[0];
        let (project_id, location) = (project_id.as_deref(), location.as_deref());
        let place = Place { project_id, location, cluster_name, cluster_id, namespace, deployment_name };
        let own: Vec<Version> = versions
            .iter()
            .filter(|one| one.subject.namespace == namespace && one.subject.deployment == deployment_name)
            .cloned()
            .collect();
        let timeline = days::timeline(place, &changes, &own, closing.through);
        for object in timeline.objects() {
            let dates = || first.iter_days().take_while(|date| *date < closing.through.date_naive());
            let days: Vec<_> = dates().map(|date| timeline.day(object, date)).collect();
            let rows = days.iter().filter_map(|day| ObjectDay::new(day, place));
            expected.extend(rows.map(|row| format!("{row:?}")));
            // The days of some time together are that time.
            let joined = days.iter().map(|day| day.period.clone()).reduce(|one, next| one.join(next)).expect("a day");
            let from = first.and_time(chrono::NaiveTime::MIN).and_utc();
            prop_assert_eq!(
                &joined,
                &timeline.period(object, from, closing.through),
                "{} of {}",
                object.name,
                deployment_name
            );
            let highest = days.iter().filter_map(|day| day.period.highest.as_ref()).map(|high| high.number).max();
            prop_assert_eq!(highest, joined.highest.map(|high| high.number));
        }
        // The intervals of a day are the day, from the first that is known.
        let mut from = timeline.intervals().first().map(|interval| interval.from);
        for interval in timeline.intervals() {
            prop_assert_eq!(Some(interval.from), from);
            from = Some(interval.to);
        }
        prop_assert_eq!(from, Some(closing.through));
    }
    let ids: BTreeSet<&str> = chain.iter().map(|closing| &*closing.id).collect();
    let columns: Vec<String> = ObjectDay::COLUMNS.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let stored = Query::new(format!("SELECT {} FROM ${{dataset}}.object_days", columns.join(", ")), Vec::new());
    let mut stored: Vec<ObjectDay> = store.fetch(&stored).await.expect("readable").read();
    stored.retain(|row| ids.contains(&*row.closing));
    let sum = |row: &ObjectDay| {
        let judged = row.within_micros + row.over_limit_micros + row.outside_range_micros + row.unregistered_micros;
        judged + row.unknown_micros + row.absent_micros + row.not_judged_micros
    };
    for row in &stored {
        prop_assert_eq!(sum(row), 86_400_000_000, "{:?}", row);
    }
    let anywhere = |row: ObjectDay| ObjectDay { day_id: String::new(), closing: String::new(), ..row };
    let mut found: Vec<String> = stored.into_iter().map(|row| format!("{:?}", anywhere(row))).collect();
    found.sort();
    expected.sort();
    same(&format!("object_days through {}", closing.through), &found, &expected)
}

/// Closing again changes nothing.
async fn assert_again(store: &dyn Store, closing: &Closing, now: DateTime<Utc>) -> Result<(), TestCaseError> {
    let counted = async || {
        let mut counts = Vec::new();
        for table in ["closed_changes", "carried_writes", "object_days", "watermarks"] {
            counts.push(query::dump(store, table).await.expect("readable").len());
        }
        counts
    };
    let before = counted().await;
    let again = close(store, closing.through, now).await.expect("closed");
    prop_assert!(again.is_known, "{:?} instead of {:?}", again.closing, closing);
    prop_assert_eq!(before, counted().await);
    Ok(())
}

/// All that is there, in a store in which everything came in order, once, and no day was closed.
async fn assert_order(store: &dyn Store, world: &World) -> Result<(), TestCaseError> {
    let now = BEGIN + Duration::days(60);
    let twin = Sqlite::in_memory().expect("memory");
    twin.append_versions(&world.versions()).await.expect("appended");
    let mut entries = world.logged();
    entries.sort_by_key(|logged| logged.time);
    let entries: Vec<String> = entries.iter().map(|logged| logged.entry.to_string()).collect();
    handle(&twin, &pipeline(&twin).await, &entries, now).await;
    for store in [store, &twin] {
        judge_again(store, &config().policy, &BTreeSet::new(), None, now).await.expect("judged");
    }
    for ((view, found), (_, expected)) in contents(store, &VIEWS).await.iter().zip(&contents(&twin, &VIEWS).await) {
        let lines = |rows: &[Json]| rows.iter().map(Json::to_string).collect::<Vec<_>>();
        same(view, &lines(found), &lines(expected))?;
    }
    Ok(())
}

fn cases(default: u32) -> u32 {
    std::env::var("PEDWATCH_TEST_CASES").map_or(default, |cases| cases.parse().expect("a number"))
}

/// Tries a law on so many worlds: the same ones every time, unless `PEDWATCH_TEST_SEED` names others, or says `random`.
fn try_law(cases: u32, worlds: impl Strategy<Value = World>, law: impl AsyncFn(World) -> Result<(), TestCaseError>) {
    use std::hash::{BuildHasher, RandomState};
    let seed = match std::env::var("PEDWATCH_TEST_SEED").as_deref() {
        Ok("random") => RandomState::new().hash_one(()),
        Ok(seed) => seed.parse().expect("a number, or random"),
        Err(_) => 1,
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 600, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let begun = Instant::now();
    let tried = |world| {
        let done = block_on(law(world));
        // Finding the smallest takes its time.
        done.inspect_err(|failure| println!("seed {seed}: {failure}"))
    };
    if let Err(failure) = runner.run(&worlds, tried) {
        panic!("seed {seed}: {failure}");
    }
    println!("{cases} in {:?}, seed {seed}: {TRIED:?}", begun.elapsed());
}

#[test]
fn days_change_no_answer() {
    try_law(cases(3), world(4, 24), async |world| {
        let store = Sqlite::in_memory().expect("memory");
        happen(&store, &world, true).await?;
        assert_order(&store, &world).await
    });
}

#[test]
fn what_is_closed_anywhere_changes_no_answer() {
    try_law(cases(3), late_world(2, 16), async |world| {
        let store = Sqlite::in_memory().expect("memory");
        happen(&store, &world, true).await.map(drop)
    });
}

/// What is said of days that are closed, where no event is left.
#[test]
fn what_is_closed_outlives_its_events() {
    try_law(cases(3), world(4, 24), async |world| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("facts.db");
        let store = Sqlite::open(&file).expect("opened");
        let at = happen(&store, &world, false).await?;
        let last = world.logged().iter().map(|logged| logged.time).max().unwrap_or(BEGIN).max(at);
        let end = last.date_naive().and_time(chrono::NaiveTime::MIN).and_utc() + Duration::days(1);
        close(&store, end, end + Duration::hours(3)).await.expect("closed");
        let told = async || {
            let ever = (DateTime::UNIX_EPOCH, BEGIN + Duration::days(1_000));
            let mut told = changes(&store, None, ever).await;
            for hours in [0, 7, 24, 48, 96] {
                told.extend(status(&store, end - Duration::hours(hours)).await.iter().map(|row| format!("{row:?}")));
            }
            told
        };
        let before = told().await;
        let events = rusqlite::Connection::open(&file).expect("opened");
        let through = pedwatch::id::time(end);
        events.execute("DELETE FROM replica_events WHERE event_time < ?", [through]).expect("dropped");
        same("without the events", &told().await, &before)?;
        // The next day is closed on what the one before carries with it.
        close(&store, end + Duration::days(1), end + Duration::hours(27)).await.expect("closed");
        same("behind another day", &told().await, &before)
    });
}

/// The tests' server takes seconds for each question.
#[test]
fn days_change_no_answer_in_bigquery() {
    // What the law is tried on has to say something.
    let world = world(1, 14).prop_filter("entries", |world| world.logged().len() > 6);
    try_law(1, world, async |world| {
        let store = Dataset::new().await.store;
        let mut logged = world.logged();
        logged.sort_by_key(|logged| logged.time);
        let mut now = BEGIN;
        for some in logged.chunks(logged.len().div_ceil(2).max(1)) {
            let entries: Vec<String> = some.iter().map(|logged| logged.entry.to_string()).collect();
            now = some.iter().map(|logged| logged.time).fold(now, DateTime::max) + Duration::minutes(1);
            handle(&store, &pipeline(&store).await, &entries, now).await;
            now += Duration::days(2);
            let end = (now - Duration::days(1)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
            close(&store, end, now).await.expect("closed");
        }
        let whole = Whole(&store);
        let ever = (DateTime::UNIX_EPOCH, BEGIN + Duration::days(1_000));
        same("changes", &changes(&store, None, ever).await, &changes(&whole, None, ever).await)?;
        let lines = |rows: &[Standing]| rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>();
        let at = now - Duration::days(3);
        same("status", &lines(&status(&store, at).await), &lines(&status(&whole, at).await))?;
        Ok(())
    });
}

/// The law once found this: an alert whose ground a late version took away was taken for what was told of a limit that ended
/// on the same number two days later, as long as it was read at all.
#[test]
fn an_alert_without_ground_speaks_for_nothing_later() {
    block_on(async {
        let write = |after_millis, object| Step {
            after_millis,
            object,
            what: What::Write(1),
            skew_millis: 0,
            delays_seconds: vec![0],
        };
        let version = |minute, ahead, max| VersionSpec { deployment: 1, minute, ahead, max, lasts: None, owner: 0 };
        let history = History {
            steps: vec![write(0, 1), write(72_000_000, 0)],
            versions: vec![version(2_880, 0, None), version(360, -2, Some(1))],
        };
        let world = World { histories: vec![history], nights: Vec::new(), lag: Duration::days(200) };
        let store = Sqlite::in_memory().expect("memory");
        for (at, coming) in world.agenda() {
            arrive(&store, at + world.lag, vec![coming]).await;
        }
        let midnight = BEGIN + Duration::days(2);
        close(&store, midnight, midnight + world.lag + Duration::days(2)).await.expect("closed");
        for store in [&store as &dyn Store, &Whole(&store)] {
            assert_eq!(query::unraised(store, &BTreeSet::new(), Some(midnight)).await.expect("readable"), []);
        }
        let dump = query::dump(&store, "alert_log").await.expect("readable");
        let is_of_the_end = |row: &&Json| row["alert_time"] == pedwatch::id::time(midnight);
        assert_eq!(dump.iter().filter(is_of_the_end).count(), 1, "{dump:#?}");
    });
}

/// The law once found this: where something came late for one namespace, of which everything was open then, answers about an
/// instant before lacked what was closed of the others.
#[test]
fn what_comes_late_for_one_namespace_hides_nothing_of_another() {
    block_on(async {
        let write = |after_millis, number| Step {
            after_millis,
            object: 0,
            what: What::Write(number),
            skew_millis: 0,
            delays_seconds: vec![0],
        };
        const DAY: i64 = 86_400_000;
        let history = |steps| History { steps, versions: Vec::new() };
        let late = Step { delays_seconds: vec![6 * 86_400], ..write(0, 3) };
        let histories = vec![history(vec![write(0, 3), write(DAY, 5)]), history(vec![late])];
        let world = World { histories, nights: Vec::new(), lag: Duration::zero() };
        let store = Sqlite::in_memory().expect("memory");
        let midnight = BEGIN + Duration::days(4);
        let mut is_closed = false;
        for (at, coming) in world.agenda() {
            if at > midnight && !is_closed {
                close(&store, midnight, midnight + Duration::hours(3)).await.expect("closed");
                is_closed = true;
            }
            arrive(&store, at, vec![coming]).await;
        }
        assert!(is_closed, "nothing comes late");
        let whole = Whole(&store);
        let span = (BEGIN, BEGIN + Duration::days(3));
        let bill = billed(&whole, span).await;
        assert_eq!(bill.len(), 3, "{bill:#?}");
        assert_eq!(billed(&store, span).await, bill);
        let at = BEGIN + Duration::days(2);
        let shown = async |store: &dyn Store| format!("{:#?}", status(store, at).await);
        assert_eq!(shown(&store).await, shown(&whole).await);
    });
}

/// The law once found this: of an object with so many writes that may turn out to be something else that those before are not
/// carried in, the first that is was told as a change.
#[test]
fn what_is_carried_in_first_is_no_change() {
    block_on(async {
        let step = |after_millis, what| Step { after_millis, object: 0, what, skew_millis: 0, delays_seconds: vec![0] };
        let what = [
            What::Status,
            What::HeldDelete,
            What::Status,
            What::Bare(1),
            What::Write(2),
            What::Status,
            What::Write(1),
            What::Bare(1),
        ];
        let made = [step(301_889, What::Delete), step(88_447, What::Bare(1))];
        let steps = made.into_iter().chain(what.map(|what| step(1_000, what))).collect();
        let world = World {
            histories: vec![History { steps, versions: Vec::new() }],
            nights: Vec::new(),
            lag: Duration::zero(),
        };
        let store = Sqlite::in_memory().expect("memory");
        for (at, coming) in world.agenda() {
            arrive(&store, at, vec![coming]).await;
        }
        let midnight = BEGIN + Duration::days(1);
        close(&store, midnight, midnight + Duration::hours(2)).await.expect("closed");
        let carried = query::dump(&store, "carried_writes").await.expect("readable");
        assert!(carried.iter().any(|row| row["carried"] == "first"), "{carried:?}");
        let span = (BEGIN + Duration::hours(6), midnight + Duration::hours(7));
        let found = billed(&store, span).await;
        assert_eq!(found, billed(&Whole(&store), span).await);
        assert!(found.len() > 3, "{found:?}");
    });
}
