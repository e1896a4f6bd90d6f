//! Replicas against the limit, as paths of an SVG.

use chrono::{DateTime, Datelike, Utc};
use serde::Serialize;

use super::{Frame, Subject};
use crate::timeline::Interval;

/// Of the drawing, without what the page gives it; the page scales it.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 34.0;
const BOTTOM: f64 = 18.0;
const TOP: f64 = 8.0;

/// A drawing, in its own coordinates.
#[derive(Debug, Serialize)]
pub(super) struct Plot {
    width: f64,
    height: f64,
    /// Where the axes meet.
    left: f64,
    floor: f64,
    replicas: String,
    hpa: String,
    limit: String,
    over: Vec<Band>,
    marks: Vec<Mark>,
    actual: Vec<Mark>,
    levels: Vec<Level>,
    days: Vec<Tick>,
}

/// Days between two that are named: so many names have a place.
fn every(days: usize) -> u32 {
    match days {
        ..=10 => 1,
        11..=45 => 5,
        _ => 15,
    }
}

#[derive(Debug, Serialize)]
struct Band {
    x: f64,
    width: f64,
    title: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Mark {
    x: f64,
    y: f64,
    title: String,
}

#[derive(Debug, Serialize)]
struct Level {
    y: f64,
    value: i64,
}

#[derive(Debug, Serialize)]
struct Tick {
    x: f64,
    day: u32,
}

/// From times and numbers to places.
struct Scale {
    from: i64,
    span: f64,
    most: f64,
}

#[allow(clippy::cast_precision_loss, reason = "a picture is a thousand points wide")]
impl Scale {
    fn x(&self, at: DateTime<Utc>) -> f64 {
        let part = (at.timestamp_micros() - self.from) as f64 / self.span;
        tenth(LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - 4.0))
    }

    fn y(&self, number: i64) -> f64 {
        tenth(TOP + (1.0 - number as f64 / self.most) * (HEIGHT - BOTTOM - TOP))
    }
}

fn tenth(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// Draws a Deployment. `marks` are its changes: when, the number, and what is said of each.
#[allow(clippy::cast_precision_loss, reason = "a picture is a thousand points wide")]
pub(super) fn plot(subject: &Subject<'_>, frame: &Frame<'_>, marks: Vec<(DateTime<Utc>, i64, String)>) -> Plot {
    let intervals: Vec<&Interval> =
        subject.timeline.intervals().iter().filter(|one| one.from < frame.known_until && frame.from < one.to).collect();
    let numbers = intervals.iter().flat_map(|one| {
        let limit = one.in_force.as_ref().map(|in_force| in_force.max_replicas);
        [one.replicas.asked.number(), one.hpa.asked.number(), limit].into_iter().flatten()
    });
    let most = numbers.chain(marks.iter().map(|mark| mark.1)).chain(subject.actual.iter().map(|one| one.1)).max();
    let most = most.unwrap_or(1).max(1);
    let from = frame.from.timestamp_micros();
    let span = (frame.until.timestamp_micros() - from).max(1) as f64;
    let scale = Scale { from, span, most: most as f64 };
    let path = |number: fn(&Interval) -> Option<i64>| path(&intervals, frame, &scale, number);
    let mark = |(at, number, title): (DateTime<Utc>, i64, String)| Mark { x: scale.x(at), y: scale.y(number), title };
    let every = every(frame.days().count());
    let days = frame.days().filter(|(day, ..)| day.day0().is_multiple_of(every));
    Plot {
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        floor: HEIGHT - BOTTOM,
        replicas: path(|one| one.replicas.asked.number()),
        hpa: path(|one| one.hpa.asked.number()),
        limit: path(|one| one.in_force.as_ref().map(|in_force| in_force.max_replicas)),
        over: intervals.iter().filter(|one| one.is_over()).map(|one| band(one, frame, &scale)).collect(),
        marks: marks.into_iter().map(mark).collect(),
        actual: subject.actual.iter().map(|(at, number)| mark((*at, *number, number.to_string()))).collect(),
        levels: [0, most / 2, most].into_iter().map(|value| Level { y: scale.y(value), value }).collect(),
        days: days.map(|(day, at, _)| Tick { x: scale.x(at), day: day.day() }).collect(),
    }
}

fn band(one: &Interval, frame: &Frame<'_>, scale: &Scale) -> Band {
    let (from, to) = (one.from.max(frame.from), one.to.min(frame.known_until));
    let x = scale.x(from);
    // A breach of a minute is still to be seen.
    let width = tenth((scale.x(to) - x).max(1.5));
    Band { x, width, title: format!("{} – {}", frame.time(from), frame.time(to)) }
}

/// A line of steps, broken where there is no number.
fn path(
    intervals: &[&Interval],
    frame: &Frame<'_>,
    scale: &Scale,
    number: impl Fn(&Interval) -> Option<i64>,
) -> String {
    let (mut path, mut is_on) = (String::new(), false);
    for one in intervals {
        let Some(number) = number(one) else {
            is_on = false;
            continue;
        };
        let (from, to) = (scale.x(one.from.max(frame.from)), scale.x(one.to.min(frame.known_until)));
        path.push_str(&match is_on {
            true => format!("V{}H{to}", scale.y(number)),
            false => format!("M{from} {}H{to}", scale.y(number)),
        });
        is_on = true;
    }
    path
}
