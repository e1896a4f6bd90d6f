//! One Deployment on the page.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};
use serde::Serialize;

use super::plot::{Plot, plot};
use super::words::Words;
use super::{Frame, Subject};
use crate::timeline::{Asked, Interval, Object, Point};

#[derive(Debug, Serialize)]
pub(super) struct Card {
    pub(super) anchor: String,
    pub(super) name: String,
    pub(super) cluster: String,
    pub(super) owner: String,
    pub(super) fee: String,
    pub(super) state: String,
    pub(super) peak: String,
    pub(super) over: String,
    pub(super) over_micros: i64,
    plot: Plot,
    weeks: Vec<Vec<Cell>>,
    changes: Vec<Row>,
    sentences: Vec<String>,
    alerts: Vec<Alarm>,
}

/// A day of the calendar; of no text where there is none.
#[derive(Debug, Default, Serialize)]
struct Cell {
    day: Option<String>,
    value: String,
    kind: &'static str,
    title: String,
}

#[derive(Debug, Serialize)]
struct Row {
    at: String,
    object: String,
    number: String,
    limit: String,
    how: String,
    who: String,
    is_over: bool,
}

#[derive(Debug, Serialize)]
struct Alarm {
    at: String,
    severity: String,
    message: String,
    who: String,
}

/// For how long it was over its limit, in microseconds.
pub(super) fn over_micros(subject: &Subject<'_>, frame: &Frame<'_>) -> i64 {
    let over = subject.timeline.intervals().iter().filter(|one| one.is_over());
    let micros = over.map(|one| {
        let (from, to) = (one.from.max(frame.from), one.to.min(frame.known_until));
        (to.timestamp_micros() - from.timestamp_micros()).max(0)
    });
    micros.sum()
}

impl Card {
    pub(super) fn new(number: usize, subject: &Subject<'_>, frame: &Frame<'_>, words: &Words) -> Self {
        let over = over_micros(subject, frame);
        let points = points(subject, frame);
        let marks = points.iter().filter_map(|(object, point)| {
            let number = point.change.asked.number()?;
            Some((point.written_at, number, spoken(&row(object, point, subject, frame, words))))
        });
        Card {
            anchor: format!("d{number}"),
            name: subject.name.clone(),
            cluster: subject.cluster.to_owned(),
            owner: subject.owner.clone().unwrap_or_default(),
            fee: frame.price.written(subject.fee()),
            state: states(subject, words),
            peak: peak(subject, frame),
            over: words.duration(over),
            over_micros: over,
            plot: plot(subject, frame, marks.collect()),
            weeks: weeks(subject, frame, words),
            changes: points.iter().map(|(object, point)| row(object, point, subject, frame, words)).collect(),
            sentences: sentences(subject, frame, words),
            alerts: subject.alerts.iter().map(|alert| alarm(alert, frame)).collect(),
        }
    }
}

/// What has become of what it is charged.
pub(super) fn states(subject: &Subject<'_>, words: &Words) -> String {
    subject.states().into_iter().map(|state| words.state(state)).collect::<Vec<_>>().join(", ")
}

/// Why it costs that; of several months each sentence says of which it is.
fn sentences(subject: &Subject<'_>, frame: &Frame<'_>, words: &Words) -> Vec<String> {
    let is_one = frame.months.len() == 1;
    let of_month = |(month, told): (crate::billing::Month, crate::billing::Told<'_>)| {
        let sentences = words.sentences(&told).into_iter();
        sentences.map(|sentence| if is_one { sentence } else { format!("{month}: {sentence}") }).collect::<Vec<_>>()
    };
    subject.lines().flat_map(of_month).collect()
}

fn alarm(alert: &super::Alert, frame: &Frame<'_>) -> Alarm {
    Alarm {
        at: frame.time(alert.at),
        severity: alert.severity.map_or_else(String::new, |severity| severity.to_string()),
        message: alert.message.clone(),
        who: alert.actor.clone(),
    }
}

/// Changes that one card shows: a page stays one that can be opened, however often something scales.
const POINTS_MAX: usize = 300;

/// The latest changes, as they were written.
fn points<'s>(subject: &'s Subject<'_>, frame: &Frame<'_>) -> Vec<(&'s Object, &'s Point)> {
    let of = |object: &'s Object| {
        let asked = subject.timeline.asked(object).iter();
        asked.filter(|point| point.is_change).map(move |point| (object, point))
    };
    let mut points: Vec<_> = subject
        .timeline
        .objects()
        .flat_map(of)
        .filter(|(_, point)| frame.from <= point.written_at && point.written_at < frame.known_until)
        .collect();
    points.sort_by_key(|(_, point)| point.written_at);
    // The latest say most.
    points.drain(..points.len().saturating_sub(POINTS_MAX));
    points
}

fn row(object: &Object, point: &Point, subject: &Subject<'_>, frame: &Frame<'_>, words: &Words) -> Row {
    let limit = subject.timeline.in_force(point.written_at).map(|in_force| in_force.max_replicas);
    let cause = point.change.origin.cause().filter(|cause| !cause.is_snapshot());
    let number = match point.change.asked {
        Asked::Number(number) => number.to_string(),
        Asked::Unknown => words.unknown.to_owned(),
        Asked::Nothing => words.removed.to_owned(),
    };
    let is_over =
        point.change.counts() && point.change.asked.number().zip(limit).is_some_and(|(asked, max)| asked > max);
    Row {
        at: frame.time(point.written_at),
        object: format!("{} {}", object.kind, object.name),
        number,
        limit: limit.map_or_else(|| words.none.to_owned(), |limit| limit.to_string()),
        how: cause.map_or_else(String::new, |cause| format!("{} ({})", cause.operation, cause.route)),
        who: cause.map_or_else(|| words.snapshot.to_owned(), |cause| cause.actor.clone()),
        is_over,
    }
}

fn spoken(row: &Row) -> String {
    format!("{}: {} → {} / {}, {}, {}", row.at, row.object, row.number, row.limit, row.how, row.who)
}

/// The highest number, and the limit that it is the furthest above, or below.
fn peak(subject: &Subject<'_>, frame: &Frame<'_>) -> String {
    let Highest { number, limit, .. } = highest(subject, frame.from, frame.known_until);
    let text = |number: Option<i64>| number.map_or_else(|| "–".to_owned(), |number| number.to_string());
    format!("{} / {}", text(number), text(limit))
}

/// What a span of time comes to.
#[derive(Debug, Default)]
struct Highest {
    number: Option<i64>,
    limit: Option<i64>,
    is_over: bool,
    is_there: bool,
}

/// The one cut of a span: by intervals, and by what was asked for and stood for no time.
fn highest(subject: &Subject<'_>, from: DateTime<Utc>, to: DateTime<Utc>) -> Highest {
    let mut highest = Highest::default();
    for one in subject.timeline.intervals().iter().filter(|one| one.from < to && from < one.to) {
        let counts = |standing: &crate::timeline::Standing| standing.set.as_ref().is_some_and(|set| set.effective);
        let numbers = [&one.replicas, &one.hpa].into_iter().filter(|standing| counts(standing));
        highest.number = highest.number.max(numbers.filter_map(|standing| standing.asked.number()).max());
        if is_there(one) {
            highest.is_there = true;
            highest.limit = highest.limit.max(one.in_force.as_ref().map(|in_force| in_force.max_replicas));
        }
        highest.is_over |= one.is_over();
    }
    let instants = subject.timeline.objects().flat_map(|object| subject.timeline.asked(object));
    let instants = instants.filter(|point| point.is_instant && from <= point.written_at && point.written_at < to);
    highest.number = highest.number.max(instants.filter_map(|point| point.change.asked.number()).max());
    highest
}

fn is_there(one: &Interval) -> bool {
    one.replicas.asked != Asked::Nothing || one.hpa.asked != Asked::Nothing
}

/// The days, seven a week, from Monday.
fn weeks(subject: &Subject<'_>, frame: &Frame<'_>, words: &Words) -> Vec<Vec<Cell>> {
    let before = frame.days().next().map_or(0, |(first, ..)| first.weekday().num_days_from_monday());
    let mut cells: Vec<Cell> = (0..before).map(|_| Cell::default()).collect();
    cells.extend(frame.days().map(|(day, from, to)| {
        let day = day.format(if frame.is_month() { "%-d" } else { "%m-%d" }).to_string();
        if frame.known_until <= from {
            return Cell { day: Some(day), kind: "future", ..Cell::default() };
        }
        cell(day, &highest(subject, from, to.min(frame.known_until)), words)
    }));
    while !cells.len().is_multiple_of(7) {
        cells.push(Cell::default());
    }
    let mut weeks = Vec::new();
    let mut cells = cells.into_iter().peekable();
    while cells.peek().is_some() {
        weeks.push(cells.by_ref().take(7).collect());
    }
    weeks
}

fn cell(day: String, highest: &Highest, words: &Words) -> Cell {
    let Highest { number, limit, is_over, is_there } = highest;
    let text = |number: &Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let (kind, title) = match (is_there, is_over, limit) {
        (false, ..) => ("absent", words.absent),
        (_, true, _) => ("over", words.over),
        (_, _, None) => ("unregistered", words.unregistered),
        _ => ("within", words.within),
    };
    let value = match (is_there, limit) {
        (false, _) => String::new(),
        (_, None) => text(number),
        (_, Some(limit)) => format!("{}/{limit}", text(number)),
    };
    Cell { day: Some(day), value, kind, title: title.to_owned() }
}

/// The names of the clusters that subjects are in.
pub(super) fn clusters(subjects: &[Subject<'_>]) -> String {
    let names: BTreeSet<&str> = subjects.iter().map(|subject| subject.cluster).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
