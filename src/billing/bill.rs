//! The lines of a bill as they are kept: preliminary until their month is closed, final then, corrected after. Nothing is
//! ever edited: what turns out otherwise is a line more.

use chrono::{DateTime, Utc};

use crate::names::named;

named! {
    /// What a kept line is.
    pub enum State {
        /// What a month that is not closed comes to: the fee, in place of the line that it corrects.
        Preliminary = "preliminary",
        /// What the month came to when it was closed.
        Final = "final",
        /// What is to be added to the lines before it, or taken away.
        Correction = "correction",
        /// Nothing is charged for what was there, and why.
        Unpriced = "unpriced",
    }
}

/// What is kept of one Deployment and month in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub id: String,
    /// What it is.
    pub state: State,
    /// The line in whose place it stands, or that it adds to.
    pub corrects: Option<String>,
    /// The fee, or of a correction the difference, in millionths; 0 where nothing is charged.
    pub fee_micros: i64,
    /// Identity of what it was computed from.
    pub inputs: String,
    /// When.
    pub computed_at: DateTime<Utc>,
}

impl Entry {
    /// Whether it is of a month that was closed.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Final | State::Correction)
    }
}

/// How far a month is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is not closed.
    Open,
    /// It is being closed.
    Closing,
    /// It is closed.
    Closed,
}

/// What a Deployment comes to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due<'d> {
    /// The fee in millionths; `None` where nothing is charged for what was there.
    pub fee_micros: Option<i64>,
    /// Identity of what it was computed from.
    pub inputs: &'d str,
}

/// A line that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// As [`Entry::state`].
    pub state: State,
    /// As [`Entry::corrects`].
    pub corrects: Option<String>,
    /// As [`Entry::fee_micros`].
    pub fee_micros: i64,
}

/// What is charged by what is kept: of a settled line all together, else of the last.
pub fn charged(entries: &[Entry]) -> i64 {
    match entries.iter().any(Entry::is_settled) {
        true => entries.iter().filter(|entry| entry.is_settled()).map(|entry| entry.fee_micros).sum(),
        false => newest(entries).map_or(0, |entry| entry.fee_micros),
    }
}

/// The line that no other stands in the place of, or adds to. Of those of two writers at once, the later.
pub fn newest(entries: &[Entry]) -> Option<&Entry> {
    let is_last = |entry: &&Entry| !entries.iter().any(|other| other.corrects.as_ref() == Some(&entry.id));
    entries.iter().filter(is_last).max_by_key(|entry| (entry.computed_at, &entry.id))
}

/// The line that has to be added to what is kept of one Deployment and month, so that it says what is due: `None` where it
/// does. `due` is `None` where the Deployment is not billed at all.
pub fn next(entries: &[Entry], due: Option<Due<'_>>, phase: Phase) -> Option<Draft> {
    let newest = newest(entries);
    let corrects = newest.map(|entry| entry.id.clone());
    let fee_micros = due.and_then(|due| due.fee_micros).unwrap_or(0);
    if phase == Phase::Closed || entries.iter().any(Entry::is_settled) {
        let difference = fee_micros - charged(entries);
        return (difference != 0).then_some(Draft { state: State::Correction, corrects, fee_micros: difference });
    }
    let state = match (due, phase) {
        (Some(Due { fee_micros: None, .. }), _) => State::Unpriced,
        (_, Phase::Open) => State::Preliminary,
        _ => State::Final,
    };
    let inputs = due.map_or(NOTHING, |due| due.inputs);
    let is_known = match newest {
        Some(entry) => entry.state == state && entry.inputs == inputs,
        None => due.is_none(),
    };
    (!is_known).then_some(Draft { state, corrects, fee_micros })
}

/// What a Deployment that is not billed is computed from.
pub const NOTHING: &str = "nothing";
