//! Which rows a question reads. Days that are over are *closed*: what the order said of them is stored, with what a later
//! question has to know of them. So a question reads that, and the events behind the last closing, never the history.
//!
//! Closings and late facts are marks in `watermarks`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};

use super::query::{NAMES_MAX, Value};
use super::row::{Record, Watermark};
use crate::ped::Deployment;

/// How a closing's mark begins: `days/FROM/ID`, FROM in microseconds since 1970 (0: with the first event).
pub const CLOSED: &str = "days/";

/// How the mark of late facts begins: `late/DAY/NAMESPACE`.
pub const LATE: &str = "late/";

/// Writers' clocks are apart, and appends are tried again: what was appended so long before a closing read may have been
/// stored behind its back.
const MARGIN: Duration = Duration::hours(1);

/// So long after a call that timed out its number is shown, or its alert waits for the daily job.
const CREDIT: Duration = Duration::days(1);

/// With more late namespaces than this all count as late: each is a parameter of the question.
const LATE_MAX: usize = 100;

/// Some time whose changes, and what is carried out of it, are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Identity of what it says.
    pub id: String,
    /// Where it begins; `None` with the first event.
    pub from: Option<DateTime<Utc>>,
    /// Where it ends: everything before that instant is in it, or in those before.
    pub through: DateTime<Utc>,
    /// When it was last seen to be right: facts appended since are not in it.
    pub at: DateTime<Utc>,
}

impl Closing {
    /// The mark by which readers find it: appended when all its rows are.
    pub fn mark(&self) -> Watermark {
        let begin = self.from.map_or(FIRST, |from| from.timestamp_micros());
        let name = format!("{CLOSED}{begin}/{}", self.id);
        Watermark { name, through: self.through, at: self.at }
    }

    fn of(mark: &Watermark) -> Option<Self> {
        let (from, id) = mark.name.strip_prefix(CLOSED)?.split_once('/')?;
        let from = match from.parse().ok()? {
            FIRST => None,
            micros => Some(DateTime::from_timestamp_micros(micros)?),
        };
        Some(Closing { id: id.to_owned(), from, through: mark.through, at: mark.at })
    }

    fn knows(&self, late: &Late) -> bool {
        late.at < self.at - MARGIN
    }

    fn covers(&self, instant: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from < instant) && instant <= self.through
    }
}

/// No event is as old.
const FIRST: i64 = 0;

/// The marks of events, of versions of PEDs, and of what snapshots saw, that come when their day may be closed: they stand beside them in one
/// append, so that no reader
/// takes a closing for right that does not know of them.
pub fn late_marks(records: &[Record], now: DateTime<Utc>) -> Vec<Record> {
    let mut days: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for record in records {
        let (namespace, time) = match record {
            Record::Event(event) => (&event.namespace, event.event_time),
            Record::Version(version) => (&version.namespace, version.timestamp),
            Record::Metrics(seen) => (&seen.namespace, seen.timestamp),
            _ => continue,
        };
        let day = day(time);
        if day < self::day(now) {
            days.entry(namespace).and_modify(|first| *first = (*first).min(day)).or_insert(day);
        }
    }
    let mark = |(namespace, day): (&str, DateTime<Utc>)| {
        let name = format!("{LATE}{}/{namespace}", day.format("%F"));
        Record::Watermark(Watermark { name, through: day, at: now })
    };
    days.into_iter().map(mark).collect()
}

/// When the day of a time begins.
pub fn day(time: DateTime<Utc>) -> DateTime<Utc> {
    time - Duration::microseconds(time.timestamp_micros().rem_euclid(86_400_000_000))
        - Duration::nanoseconds(i64::from(time.timestamp_subsec_nanos() % 1_000))
}

/// What is closed, and which facts came late.
#[derive(Debug, Clone, Default)]
pub struct Closings {
    /// Each once, the newest of those that cover one another's end.
    closings: Vec<Closing>,
    late: Vec<Late>,
    /// Of all that were ever stored.
    ids: BTreeSet<String>,
    /// Events from before may have expired.
    events_from: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
struct Late {
    namespace: String,
    day: DateTime<Utc>,
    at: DateTime<Utc>,
}

impl Closings {
    /// Out of marks in any order; others are passed over. Events from before `events_from` may have expired.
    pub fn new(marks: Vec<Watermark>, events_from: Option<DateTime<Utc>>) -> Self {
        let mut known: BTreeMap<String, Closing> = BTreeMap::new();
        let mut late = Vec::new();
        for mark in marks {
            if let Some(closing) = Closing::of(&mark) {
                let at = closing.at;
                let known = known.entry(closing.id.clone()).or_insert(closing);
                known.at = known.at.max(at);
            } else if let Some((_, namespace)) = mark.name.strip_prefix(LATE).and_then(|name| name.split_once('/')) {
                late.push(Late { namespace: namespace.to_owned(), day: mark.through, at: mark.at });
            }
        }
        let ids = known.keys().cloned().collect();
        let all: Vec<Closing> = known.into_values().collect();
        let newer = |one: &Closing, other: &Closing| (one.at, &one.id) > (other.at, &other.id);
        let counts =
            |closing: &&Closing| !all.iter().any(|other| newer(other, closing) && other.covers(closing.through));
        let mut closings: Vec<Closing> = all.iter().filter(counts).cloned().collect();
        closings.sort_by_key(|closing| closing.through);
        Closings { closings, late, ids, events_from }
    }

    /// Whether the events of a closing may have expired: what it says cannot be computed again, whatever comes late.
    pub fn is_frozen(&self, closing: &Closing) -> bool {
        self.events_from.is_some_and(|kept| closing.from.map_or(closing.through <= kept, |from| from < kept))
    }

    /// Whether closings know of a late fact: what is behind it was carried out of what did not.
    fn know(&self, chain: &[Closing], late: &Late, knows: impl Fn(&Closing) -> bool) -> bool {
        let concerned = |closing: &&Closing| closing.through > late.day && !self.is_frozen(closing);
        chain.iter().filter(concerned).all(knows)
    }

    /// Whether all rows of a closing are stored.
    pub fn knows(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The earliest day that something came late for since a time.
    pub fn late_since(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.late.iter().filter(|late| at - MARGIN <= late.at).map(|late| late.day).min()
    }

    /// The closings up to the last one that ends by `end`, latest first, without what came late for one of these
    /// namespaces (any, where none is named). Empty when they do not reach back to the first event.
    pub fn chain(&self, end: DateTime<Utc>, namespaces: &BTreeSet<&str>) -> Vec<Closing> {
        self.chain_that(end, |chain| self.is_right(chain, namespaces))
    }

    /// What a closing at `now` builds on: as [`Closings::chain`], and what was closed at the same `now`, by the same run. A
    /// fact of the hour before may have been stored behind the back of that; but then nobody takes either for right.
    pub fn ground(&self, end: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Closing> {
        let knows = |late: &Late, closing: &Closing| closing.knows(late) || closing.at == now && late.at < now;
        let holds =
            |chain: &[Closing]| self.late.iter().all(|late| self.know(chain, late, |closing| knows(late, closing)));
        self.chain_that(end, holds)
    }

    fn chain_that(&self, end: DateTime<Utc>, holds: impl Fn(&[Closing]) -> bool) -> Vec<Closing> {
        let ends = self.closings.iter().rev().filter(|closing| closing.through <= end);
        let mut chains = ends.map(|last| self.behind(last));
        chains.find(|chain| !chain.is_empty() && holds(chain)).unwrap_or_default()
    }

    /// The closings that lead to one, that one first; empty where one of them is missing.
    fn behind(&self, last: &Closing) -> Vec<Closing> {
        let mut chain = vec![last.clone()];
        while let Some(from) = chain.last().and_then(|closing| closing.from) {
            match self.closings.iter().find(|closing| closing.through == from) {
                Some(before) => chain.push(before.clone()),
                None => return Vec::new(),
            }
        }
        chain
    }

    fn is_right(&self, chain: &[Closing], namespaces: &BTreeSet<&str>) -> bool {
        let concerns = |late: &&Late| {
            namespaces.is_empty() || late.namespace.is_empty() || namespaces.contains(late.namespace.as_str())
        };
        self.late.iter().filter(concerns).all(|late| self.know(chain, late, |closing| closing.knows(late)))
    }

    /// What is read behind a chain of closings.
    pub fn reach_of(&self, chain: Vec<Closing>) -> Reach {
        Reach { closed: Closed::new(chain), ..Reach::default() }
    }

    /// What a question about these namespaces (all, where none is named) reads that may need everything behind `end`.
    pub fn reach(&self, end: DateTime<Utc>, namespaces: &BTreeSet<String>) -> Reach {
        let last = self.closings.iter().rev().filter(|closing| closing.through <= end).map(|last| self.behind(last));
        let Some(chain) = last.into_iter().find(|chain| !chain.is_empty()) else {
            return Reach { namespaces: namespaces.clone(), ..Reach::default() };
        };
        let names: BTreeSet<&str> = self.late.iter().map(|late| late.namespace.as_str()).collect();
        let late: BTreeSet<&str> =
            names.into_iter().filter(|name| !self.is_right(&chain, &BTreeSet::from([*name]))).collect();
        let behind_late = || self.chain(end, &late);
        let (closed, late) = match late.is_empty() {
            true => (Closed::new(chain), Vec::new()),
            // A cluster's end concerns every namespace.
            false if late.contains("") || late.len() > LATE_MAX => {
                (Closed::new(self.chain(end, &BTreeSet::new())), Vec::new())
            }
            false => (Closed::new(chain), late.iter().map(|name| (*name).to_owned()).collect()),
        };
        let closed_late = if late.is_empty() { Closed::default() } else { Closed::new(behind_late()) };
        Reach {
            namespaces: namespaces.clone(),
            closed,
            late,
            closed_late,
            until: None,
            changes_of: None,
            states_at: None,
            only_touched: false,
            deployments: Vec::new(),
        }
    }
}

/// Which closings a question goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Closed {
    /// Latest first.
    closings: Vec<Closing>,
}

impl Closed {
    fn new(closings: Vec<Closing>) -> Self {
        Closed { closings }
    }

    fn through(&self) -> Option<DateTime<Utc>> {
        self.closings.first().map(|closing| closing.through)
    }
}

/// Which rows a question reads; everything, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The namespaces it is about; all, where none is named.
    namespaces: BTreeSet<String>,
    closed: Closed,
    /// Namespaces for which something came late, with what is right for them.
    late: Vec<String>,
    closed_late: Closed,
    /// Events from then on are not read.
    until: Option<DateTime<Utc>>,
    /// The time whose stored changes it reads as well.
    changes_of: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The day before which is read from the stored days, and the states that are carried in.
    states_at: Option<DateTime<Utc>>,
    /// Whether only what was written to since is carried in: of the rest, what is stored of closed days says all.
    only_touched: bool,
    /// `NAMESPACE/NAME` of the Deployments whose stored changes and days are read; of all, where none is named.
    deployments: Vec<String>,
}

/// What stands before the parameters of those closings that hold where nothing came late.
const BASE: &str = "base";

/// A condition, and its parameters.
pub(super) type Condition = (String, Vec<(String, Value)>);

impl Reach {
    /// Everything there is about these namespaces.
    pub fn of(namespaces: &BTreeSet<String>) -> Self {
        Reach { namespaces: namespaces.clone(), ..Reach::default() }
    }

    /// The stored changes of [from, to) as well, instead of what is only carried in.
    #[must_use]
    pub fn with_changes_of(self, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Reach { changes_of: Some((from, to)), ..self }
    }

    /// What stood when a day began, and the stored changes of it up to an instant, with what is carried in.
    #[must_use]
    pub fn with_states_at(self, at: DateTime<Utc>, day: DateTime<Utc>) -> Self {
        Reach { states_at: Some(day), ..self.with_changes_of(day, at + Duration::microseconds(1)) }
    }

    /// Only what was written to since the last closing is carried in, and ordered anew: of the rest, what is stored is as it was.
    /// For who reads stored changes or days, and asks for no alerts: a limit turns on numbers that nobody touches.
    #[must_use]
    pub fn of_touched(self) -> Self {
        Reach { only_touched: true, ..self }
    }

    /// Of what was not written to since the last closing, how it stood then; the rest is carried in whole. Where that does not end
    /// with a day, everything is.
    #[must_use]
    pub fn with_states_of_the_rest(self) -> Self {
        match self.closed.through() {
            Some(through) if through == day(through) => Reach { states_at: Some(through), ..self.of_touched() },
            _ => self,
        }
    }

    /// The stored changes and days of these Deployments alone; of all, where none or too many are named.
    #[must_use]
    pub fn of_deployments(self, deployments: &[Deployment]) -> Self {
        let few = if deployments.len() <= NAMES_MAX { deployments } else { &[] };
        Reach { deployments: few.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect(), ..self }
    }

    /// Whether stored days stand for what was before.
    pub(super) fn reads_states(&self) -> bool {
        self.states_at.is_some()
    }

    /// Of `object_days`.
    pub(super) fn days(&self) -> Condition {
        let Some(before) = self.states_at.map(|day| day - Duration::days(1)) else {
            return ("FALSE".to_owned(), Vec::new());
        };
        let date = before.date_naive();
        let (condition, mut parameters) = self.condition("date", false, |closed, name| {
            let covers = |closing: &&Closing| closing.through.date_naive() > date;
            // The earliest of those that end behind it.
            match closed.closings.iter().rfind(covers) {
                None => ("FALSE".to_owned(), Vec::new()),
                Some(closing) => {
                    (format!("closing = @{name}_days"), vec![(format!("{name}_days"), Value::Text(closing.id.clone()))])
                }
            }
        });
        parameters.push(("states_date".to_owned(), Value::Time(before)));
        // Nothing around the column: that would hide its partitions, and its index.
        let (wanted, more) = self.wanted();
        parameters.extend(more);
        (format!("`date` = DATE(@states_date) AND {wanted} AND {condition}"), parameters)
    }

    /// Nothing of what was written from `until` on.
    #[must_use]
    pub fn until(self, until: DateTime<Utc>) -> Self {
        Reach { until: Some(until), ..self }
    }

    /// Behind which instant all events are read, of every namespace; `None` when of one all are.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        if self.late.is_empty() { self.closed.through() } else { self.closed.through().min(self.closed_late.through()) }
    }

    /// Since when alerts are read. A call that timed out gets its credit, and its alert, from a later number.
    pub fn alerts_since(&self) -> Option<DateTime<Utc>> {
        Some(self.since()? - CREDIT)
    }

    /// Up to when what is closed is read of any namespace; `None` where nothing is. A question about an instant before needs what
    /// is stored, even where something came late for another namespace and all of that is read.
    pub fn closed_through(&self) -> Option<DateTime<Utc>> {
        self.closed.through()
    }

    /// Whether it is everything.
    pub(super) fn is_whole(&self) -> bool {
        *self == Reach::default()
    }

    /// Whether stored changes are read.
    pub(super) fn reads_changes(&self) -> bool {
        self.changes_of.is_some() && self.closed.through().is_some()
    }

    /// Of `replica_events`.
    pub(super) fn events(&self) -> Condition {
        let (condition, mut parameters) = self.condition("event_time", true, |closed, name| {
            let Some(through) = closed.through() else { return ("TRUE".to_owned(), Vec::new()) };
            (format!("event_time >= @{name}_through"), vec![(format!("{name}_through"), Value::Time(through))])
        });
        let Some(until) = self.until else { return (condition, parameters) };
        parameters.push(("until".to_owned(), Value::Time(until)));
        (format!("event_time < @until AND {condition}"), parameters)
    }

    /// Of `carried_writes`.
    pub(super) fn carried(&self) -> Condition {
        let (events, events_parameters) = self.events();
        let (condition, mut parameters) =
            self.condition("through", true, |closed, name| match closed.closings.first() {
                None => ("FALSE".to_owned(), Vec::new()),
                Some(closing) => {
                    // Where something came late, what was not written to may be another as well.
                    let touched = if self.only_touched && name == BASE { touched(&events) } else { "TRUE".to_owned() };
                    (
                        format!("through = @{name}_carried AND closing = @{name}_closing AND {touched}"),
                        vec![
                            (format!("{name}_carried"), Value::Time(closing.through)),
                            (format!("{name}_closing"), Value::Text(closing.id.clone())),
                        ],
                    )
                }
            });
        parameters.extend(events_parameters);
        (condition, parameters)
    }

    /// Of `closed_changes`.
    pub(super) fn changes(&self) -> Condition {
        let Some((from, to)) = self.changes_of else { return ("FALSE".to_owned(), Vec::new()) };
        let (condition, mut parameters) = self.condition("effective_time", false, |closed, name| {
            let overlaps = |closing: &&Closing| closing.through > from && closing.from.is_none_or(|begin| begin < to);
            let ids: Vec<String> = closed.closings.iter().filter(overlaps).map(|closing| closing.id.clone()).collect();
            if ids.is_empty() {
                ("FALSE".to_owned(), Vec::new())
            } else {
                one_of(&format!("{name}_id"), "closing", &ids)
            }
        });
        parameters.extend([("changes_from".to_owned(), Value::Time(from)), ("changes_to".to_owned(), Value::Time(to))]);
        let (wanted, more) = self.wanted();
        parameters.extend(more);
        let within = "effective_time >= @changes_from AND effective_time < @changes_to";
        (format!("{within} AND {wanted} AND {condition}"), parameters)
    }

    /// That a row is about one of the Deployments that are named.
    fn wanted(&self) -> Condition {
        match self.deployments.is_empty() {
            true => ("TRUE".to_owned(), Vec::new()),
            false => one_of("wanted", "namespace || '/' || deployment_name", &self.deployments),
        }
    }

    /// Of `alert_log`.
    pub(super) fn alerts(&self) -> Condition {
        let (mut condition, mut parameters) = self.named("namespace");
        if let Some(since) = self.alerts_since() {
            condition = format!("alert_time >= @alerts_since AND {condition}");
            parameters.push(("alerts_since".to_owned(), Value::Time(since)));
        }
        (condition, parameters)
    }

    /// That a row is about these namespaces.
    fn named(&self, column: &str) -> Condition {
        if self.namespaces.is_empty() {
            return ("TRUE".to_owned(), Vec::new());
        }
        one_of("within", column, &self.namespaces.iter().cloned().collect::<Vec<_>>())
    }

    /// What holds for the namespaces that are late, and for the others.
    fn condition(&self, partition: &str, with_clusters: bool, of: impl Fn(&Closed, &str) -> Condition) -> Condition {
        // The end of a cluster concerns every namespace in it.
        let cluster = if with_clusters { " OR object_kind = 'Cluster'" } else { "" };
        let (named, mut parameters) = self.named("namespace");
        let (closed, more) = of(&self.closed, BASE);
        parameters.extend(more);
        if self.late.is_empty() {
            return (format!("({named}{cluster}) AND ({closed})"), parameters);
        }
        let (is_late, more) = one_of("late_namespace", "namespace", &self.late);
        parameters.extend(more);
        let (closed_late, more) = of(&self.closed_late, "late");
        parameters.extend(more);
        // Where a partition can be left out, the whole has to say so.
        let pruned = match (partition, self.since()) {
            ("event_time", Some(since)) => {
                parameters.push(("since".to_owned(), Value::Time(since)));
                "event_time >= @since AND "
            }
            _ => "",
        };
        let both = format!("(NOT ({is_late}) AND ({closed}) OR ({is_late}{cluster}) AND ({closed_late}))");
        (format!("{pruned}({named}{cluster}) AND {both}"), parameters)
    }
}

/// That an object was written to by one of these events, or may have ended with what it was in. What ended that before is for
/// those that were made again. Names hold no spaces.
fn touched(events: &str) -> String {
    let name = "namespace || ' ' || object_kind || ' ' || object_name";
    let of = |what: &str, which: &str| {
        format!(
            "(SELECT {what} FROM (SELECT * FROM ${{dataset}}.replica_events WHERE {events} AND {which}) AS touching)"
        )
    };
    let names = of(
        "touching.namespace || ' ' || touching.object_kind || ' ' || touching.object_name",
        "object_name IS NOT NULL",
    );
    let (around, clusters) =
        (of("touching.namespace", "object_name IS NULL"), of("touching.object_kind", "object_kind = 'Cluster'"));
    format!(
        "(object_name IS NULL OR object_kind = 'Cluster' OR {name} IN {names} OR namespace IN {around} OR 'Cluster' IN {clusters})"
    )
}

/// That a column holds one of these values, which become parameters whose names begin with `prefix`.
pub(super) fn one_of(prefix: &str, column: &str, values: &[String]) -> Condition {
    let parameter = |(index, value): (usize, &String)| (format!("{prefix}{index}"), Value::Text(value.clone()));
    let parameters: Vec<(String, Value)> = values.iter().enumerate().map(parameter).collect();
    let names: Vec<String> = parameters.iter().map(|(name, _)| format!("@{name}")).collect();
    (format!("{column} IN ({})", names.join(", ")), parameters)
}
