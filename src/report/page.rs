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

/// So many Deployments have a card, those furthest over first, and as many as have place: a card is some 8 KB, and much more
/// where much happened. The others are a table, so that a page of 10,000 Deployments stays one that can be opened.
const CARDS_MAX: usize = 300;
const CARDS_MAX_BYTES: usize = 3_000_000;

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
    cards: Vec<String>,
    rest: Vec<Rest>,
}

#[derive(Debug, Serialize)]
struct Section<'p> {
    w: &'p Words,
    currency: &'p str,
    card: &'p Card,
}

#[derive(Debug, Serialize)]
struct Figure {
    value: String,
    label: String,
}

/// One of those that have no card, or several that nothing tells apart but their names.
#[derive(Debug, Serialize)]
struct Rest {
    name: String,
    /// The names, where there are several.
    others: Vec<String>,
    cluster: String,
    owner: String,
    over: String,
    fee: String,
    state: String,
}

const TEMPLATE: &str = include_str!("page.html.jinja");
const CARD: &str = include_str!("card.html.jinja");
const STYLE: &str = include_str!("page.css");

/// Makes the page of a month, or of a span of time.
///
/// # Errors
/// [`PageFault`], never for any input, as tests show.
pub fn page(frame: &Frame<'_>, mut subjects: Vec<Subject<'_>>) -> Result<String, PageFault> {
    let words = Words::of(frame.language);
    // Those furthest over first; else the dearest.
    subjects.sort_by_cached_key(|subject| {
        let over = std::cmp::Reverse(over_micros(subject, frame));
        (over, std::cmp::Reverse(subject.fee()), subject.cluster.to_owned(), subject.name.clone())
    });
    let fault = |error: minijinja::Error| PageFault(format!("{error:#}"));
    let templates = templates().map_err(fault)?;
    let currency = frame.price.currency.as_str();
    let (mut cards, mut sections, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (number, subject) in subjects.iter().enumerate().take(CARDS_MAX) {
        let card = Card::new(number, subject, frame, words);
        let section = render(&templates, "card.html", &Section { w: words, currency, card: &card }).map_err(fault)?;
        bytes += section.len();
        if bytes > CARDS_MAX_BYTES {
            break;
        }
        cards.push(card);
        sections.push(section);
    }
    let over = cards.iter().take_while(|card| card.over_micros > 0).count().min(OFFENDERS_MAX);
    let others = subjects.get(cards.len()..).unwrap_or_default();
    let page = Page {
        w: words,
        policy: policy(),
        style: STYLE,
        title: frame.title(),
        zone: frame.zone().to_string(),
        currency,
        state: state(frame, words),
        made: frame.time(frame.now),
        owner: frame.owner,
        clusters: clusters(&subjects),
        figures: figures(frame, &subjects, words),
        offenders: cards.get(..over).unwrap_or_default(),
        owners: owners(frame, &subjects, words),
        cards: sections,
        rest: rest(others, frame, words),
    };
    render(&templates, "page.html", &page).map_err(fault)
}

fn templates() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = templates.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build()?;
    templates.set_syntax(syntax);
    // By their names they are HTML, and everything in them is escaped.
    templates.add_template("page.html", TEMPLATE)?;
    templates.add_template("card.html", CARD)?;
    Ok(templates)
}

fn render(templates: &Environment<'_>, name: &str, of: &impl Serialize) -> Result<String, minijinja::Error> {
    templates.get_template(name)?.render(Value::from(Serde(of)))
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

/// Those that were never over their limit, and are charged alike, are one row with their names: of thousands of Deployments
/// these are most, and there is nothing else to say of one. Who was over has a row of his own.
fn rest(subjects: &[Subject<'_>], frame: &Frame<'_>, words: &Words) -> Vec<Rest> {
    let (over, within): (Vec<_>, Vec<_>) = subjects.iter().partition(|subject| over_micros(subject, frame) > 0);
    let mut rest: Vec<Rest> = over.into_iter().map(|subject| row(&[subject], frame, words)).collect();
    let mut alike: BTreeMap<_, Vec<&Subject<'_>>> = BTreeMap::new();
    for subject in within {
        let key = (std::cmp::Reverse(subject.fee()), subject.owner.as_deref(), subject.cluster, subject.states());
        alike.entry(key).or_default().push(subject);
    }
    rest.extend(alike.values().map(|subjects| row(subjects, frame, words)));
    rest
}

/// Of subjects that are alike.
fn row(subjects: &[&Subject<'_>], frame: &Frame<'_>, words: &Words) -> Rest {
    let first = subjects.first();
    let of = |text: fn(&Subject<'_>) -> String| first.map_or_else(String::new, |subject| text(subject));
    let fee = first.map_or_else(String::new, |subject| frame.price.written(subject.fee()));
    let is_one = subjects.len() <= 1;
    Rest {
        name: of(|subject| subject.name.clone()),
        others: subjects.iter().filter(|_| !is_one).map(|subject| subject.name.clone()).collect(),
        cluster: of(|subject| subject.cluster.to_owned()),
        owner: of(|subject| subject.owner.clone().unwrap_or_default()),
        over: words.duration(first.map_or(0, |subject| over_micros(subject, frame))),
        fee: if is_one { fee } else { format!("{} × {fee}", subjects.len()) },
        state: first.map_or_else(String::new, |subject| states(subject, words)),
    }
}
