//! The page: one HTML file, with a policy that lets it do nothing but be looked at.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use rust_decimal::Decimal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::card::{Card, clusters, over_micros, states};
use super::words::Words;
use super::{Billed, Frame, Subject};

/// So many Deployments have a plot, those furthest over first; the others are a table, so that a page stays one that can be
/// opened: a card is some 8 KB.
const CARDS_MAX: usize = 300;

/// How many stand at the top.
const OFFENDERS_MAX: usize = 10;

/// The template does not fit what it is given: a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("the report's template does not fit: {0}")]
pub struct PageFault(String);

#[derive(Debug, Serialize)]
struct Page<'p> {
    w: &'p Words,
    policy: String,
    style: &'static str,
    title: String,
    zone: String,
    currency: &'p str,
    state: String,
    made: String,
    owner: Option<&'p str>,
    clusters: String,
    figures: [Figure; 5],
    offenders: &'p [Card],
    owners: Vec<(String, usize, String)>,
    cards: &'p [Card],
    rest: Vec<Rest>,
}

#[derive(Debug, Serialize)]
struct Figure {
    value: String,
    label: String,
}

/// One of those that have no card.
#[derive(Debug, Serialize)]
struct Rest {
    name: String,
    cluster: String,
    owner: String,
    over: String,
    fee: String,
    state: String,
}

const TEMPLATE: &str = include_str!("page.html.jinja");
const STYLE: &str = include_str!("page.css");

/// Makes the page of a month, or of a span of time.
///
/// # Errors
/// [`PageFault`], never for any input, as tests show.
pub fn page(frame: &Frame<'_>, mut subjects: Vec<Subject<'_>>) -> Result<String, PageFault> {
    let words = Words::of(frame.language);
    // Those furthest over first; else the dearest.
    subjects.sort_by_key(|subject| {
        let over = std::cmp::Reverse(over_micros(subject, frame));
        (over, std::cmp::Reverse(subject.fee()), subject.cluster.to_owned(), subject.name.clone())
    });
    let (told, others) = subjects.split_at(subjects.len().min(CARDS_MAX));
    let cards: Vec<Card> =
        told.iter().enumerate().map(|(number, subject)| Card::new(number, subject, frame, words)).collect();
    let over = cards.iter().take_while(|card| card.over_micros > 0).count().min(OFFENDERS_MAX);
    let page = Page {
        w: words,
        policy: policy(),
        style: STYLE,
        title: frame.title(),
        zone: frame.zone().to_string(),
        currency: &frame.price.currency,
        state: state(frame, words),
        made: frame.time(frame.now),
        owner: frame.owner,
        clusters: clusters(&subjects),
        figures: figures(frame, &subjects, words),
        offenders: cards.get(..over).unwrap_or_default(),
        owners: owners(frame, &subjects, words),
        cards: &cards,
        rest: others.iter().map(|subject| rest(subject, frame, words)).collect(),
    };
    render(&page).map_err(|error| PageFault(format!("{error:#}")))
}

fn render(page: &Page<'_>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    // By its name it is HTML, and everything in it is escaped.
    environment.add_template("page.html", TEMPLATE)?;
    environment.get_template("page.html")?.render(Value::from(Serde(page)))
}

/// Nothing may be loaded and nothing run; the one style is named by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

fn state(frame: &Frame<'_>, words: &Words) -> String {
    let state = |billed: &Billed<'_>| match billed.closed_at {
        Some(at) => format!("{} {}", words.closed, frame.time(at)),
        None if billed.known_until < billed.until => words.running.to_owned(),
        None => words.open.to_owned(),
    };
    match frame.months {
        [billed] if frame.is_month() => state(billed),
        months => months.iter().map(|one| format!("{} {}", one.month, state(one))).collect::<Vec<_>>().join(", "),
    }
}

fn figures(frame: &Frame<'_>, subjects: &[Subject<'_>], words: &Words) -> [Figure; 5] {
    let over: Vec<i64> =
        subjects.iter().map(|subject| over_micros(subject, frame)).filter(|micros| *micros > 0).collect();
    let alerts: usize = subjects.iter().map(|subject| subject.alerts.len()).sum();
    let total: Decimal = subjects.iter().map(Subject::fee).sum();
    let figure = |value: String, label: &str| Figure { value, label: label.to_owned() };
    let charged = match frame.is_month() {
        true => words.total.to_owned(),
        false => {
            let months: Vec<String> = frame.months.iter().map(|billed| billed.month.to_string()).collect();
            words.whole.replace("MONTHS", &months.join(", "))
        }
    };
    [
        figure(subjects.len().to_string(), words.deployments),
        figure(over.len().to_string(), words.over_count),
        figure(words.duration(over.iter().sum()), words.over_time),
        figure(alerts.to_string(), words.alerts),
        figure(format!("{} {}", frame.price.written(total), frame.price.currency), &charged),
    ]
}

fn owners(frame: &Frame<'_>, subjects: &[Subject<'_>], words: &Words) -> Vec<(String, usize, String)> {
    let mut owners: BTreeMap<&str, (usize, Decimal)> = BTreeMap::new();
    for subject in subjects {
        let (count, fee) = owners.entry(subject.owner.as_deref().unwrap_or(words.nobody)).or_default();
        *count += 1;
        *fee += subject.fee();
    }
    owners.into_iter().map(|(owner, (count, fee))| (owner.to_owned(), count, frame.price.written(fee))).collect()
}

fn rest(subject: &Subject<'_>, frame: &Frame<'_>, words: &Words) -> Rest {
    Rest {
        name: subject.name.clone(),
        cluster: subject.cluster.to_owned(),
        owner: subject.owner.clone().unwrap_or_default(),
        over: words.duration(over_micros(subject, frame)),
        fee: frame.price.written(subject.fee()),
        state: states(subject, words),
    }
}
