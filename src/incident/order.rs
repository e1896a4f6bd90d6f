//! One state of an object, and which of two is the newer: the order of the view `ordered_writes`, as far as it tells which
//! state is the last. A property test holds one against the other.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::audit::{Asked, ObjectState, Operation, Outcome, Source, Write};
use crate::names;
use crate::policy::Route;

/// What an entry says of the number that an object asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// So many; of an HPA, its `maxReplicas`.
    Number(i64),
    /// It was written, and the number cannot be told.
    Unknown,
    /// The object is there; nothing is said of its number.
    Nothing,
    /// The object is gone.
    Gone,
    /// The object may be gone: the entry does not tell whether.
    MayBeGone,
}

/// Where a state stands among the others of its object's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `metadata.resourceVersion`, a decimal number of any length.
    pub version: Option<String>,
    /// `metadata.generation`; a Scale has none.
    pub generation: Option<i64>,
    /// When it was written (`event_time`).
    pub time: DateTime<Utc>,
    /// Logging's id of the entry.
    pub insert_id: String,
    /// The entry.
    pub event_id: String,
}

impl Place {
    /// Where the clock puts it.
    pub(super) fn moment(&self) -> (DateTime<Utc>, &str, &str) {
        (self.time, &self.insert_id, &self.event_id)
    }

    /// Compares as the number that it is.
    pub(super) fn version_key(&self) -> Option<(usize, &str)> {
        self.version.as_deref().map(|digits| (digits.len(), digits))
    }
}

/// One state of an object, and who brought it about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub place: Place,
    /// What it says of the number.
    pub says: Says,
    /// Of an HPA the Deployment that it aims at, where the entry tells: empty for one that is not ours.
    pub target: Option<String>,
    /// Whether what it asks for is held against the limit: an HPA whose target is not found asks for nothing that counts.
    pub counts: bool,
    /// Whether the client wrote a watched field itself.
    pub touched: bool,
    /// Whether the object was created by it.
    pub creates: bool,
    /// The write; the pieces of a split entry share it.
    pub write_id: String,
    /// Who wrote it.
    pub actor: String,
    /// Whom they impersonated.
    pub on_behalf_of: Option<String>,
    /// Which way it came.
    #[serde(with = "names::text")]
    pub route: Route,
}

impl State {
    /// Which of several entries that show one version wrote it: the one with the least.
    fn claim(&self) -> u8 {
        match self.says {
            Says::Number(_) if self.creates => 1,
            Says::Number(_) if self.touched => 2,
            Says::Number(_) => 3,
            _ => 4,
        }
    }
}

/// Whether one state is newer than another of the same life. The version decides; where one shows none, the clock does.
pub(super) fn is_newer(state: &State, other: &State) -> bool {
    let (place, other_place) = (&state.place, &other.place);
    match (place.version_key(), other_place.version_key()) {
        (Some(version), Some(other_version)) => match version.cmp(&other_version) {
            Ordering::Equal => stored(&[state, other]).is_some_and(|stored| std::ptr::eq(stored, state)),
            order => order.is_gt(),
        },
        _ => place.moment() > other_place.moment(),
    }
}

/// Of the states that show one version, what was stored, by the one who stored it. A dry run answers the present version
/// with the next generation and the numbers that would have been: what shows a higher generation than another is none. A
/// Scale shows no generation; of those that are left, the first to show a number tells it.
fn stored<'s>(states: &[&'s State]) -> Option<&'s State> {
    let generation = |state: &State| state.place.generation;
    let lowest = states.iter().filter_map(|state| generation(state)).min();
    let left = || states.iter().copied().filter(|state| generation(state).is_none_or(|shown| Some(shown) == lowest));
    let number = |state: &State| matches!(state.says, Says::Number(_)).then_some(state.says);
    let first = left().filter(|state| number(state).is_some()).min_by_key(|state| state.place.moment());
    let agrees = |state: &State| {
        let is_told = |first: &State| generation(state).is_some() && generation(first).is_some();
        first.is_none_or(|first| number(state).is_none_or(|says| says == first.says || is_told(first)))
    };
    left().filter(|state| agrees(state)).min_by_key(|state| (state.claim(), state.place.moment()))
}

/// What shows the newest version of a life: which of it was stored can only be told of all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Shown(Vec<State>);

impl Shown {
    /// Dry runs of one version, each with a number of its own: more are hardly written, and must not fill a document.
    const MOST: usize = 16;

    /// Takes in a state that shows a version.
    pub(super) fn see(&mut self, state: &State) {
        let known = self.0.first().map(|known| known.place.version_key().cmp(&state.place.version_key()));
        match known {
            Some(Ordering::Greater) => return,
            Some(Ordering::Less) => self.0.clear(),
            Some(Ordering::Equal) | None => {}
        }
        if self.0.iter().any(|known| known.place.event_id == state.place.event_id && known.says == state.says) {
            return;
        }
        self.0.push(state.clone());
        self.0.sort_by(|one, other| one.place.moment().cmp(&other.place.moment()));
        self.forget();
    }

    /// What was stored, by the one who stored it.
    pub(super) fn stored(&self) -> Option<&State> {
        stored(&self.0.iter().collect::<Vec<_>>())
    }

    /// Keeps, of those that say the same, the first and the one that may have stored it.
    fn forget(&mut self) {
        let is_kept = |state: &State| {
            let same = || {
                self.0
                    .iter()
                    .filter(|other| other.says == state.says && other.place.generation == state.place.generation)
            };
            let is = |other: Option<&State>| other.is_some_and(|other| std::ptr::eq(other, state));
            is(same().next()) || is(same().min_by_key(|other| other.claim()))
        };
        let kept: Vec<State> = self.0.iter().filter(|state| is_kept(state)).take(Self::MOST).cloned().collect();
        self.0 = kept;
    }
}

/// An entry about one object, as an incident looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// `metadata.uid`: a re-created object has a new one.
    pub uid: Option<String>,
    /// When this life of the object began, to the second.
    pub born_at: Option<DateTime<Utc>>,
    /// Whether an answer shows the object, which refutes an end more than 60 s before.
    pub shows: bool,
    /// What it says.
    pub state: State,
}

impl Sighting {
    /// What a write says, given the ids of its row and which way it came. `None` where it says nothing by itself: it may not
    /// have been stored, or it is a piece of a split entry without what the answer shows.
    pub fn of(write: &Write<'_>, event_id: &str, write_id: &str, route: Route) -> Option<Self> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let shows = matches!(write.object_state, Some(ObjectState::Live | ObjectState::Terminating));
        let place = Place {
            version: owned(write.object_version),
            generation: write.generation,
            time: write.event_time,
            insert_id: write.insert_id.to_owned(),
            event_id: event_id.to_owned(),
        };
        let target = match write.effective {
            Some(false) if write.deployment_name.is_none() => Some(String::new()),
            _ => owned(write.deployment_name),
        };
        let state = State {
            place,
            says: says(write, shows)?,
            target,
            counts: write.effective != Some(false),
            touched: write.touched != Some(false),
            creates: write.operation == Operation::Create,
            write_id: write_id.to_owned(),
            actor: write.actor.name.to_owned(),
            on_behalf_of: owned(write.actor.on_behalf_of),
            route,
        };
        Some(Sighting { uid: owned(write.object_uid), born_at: write.born_at, shows, state })
    }
}

fn says(write: &Write<'_>, shows: bool) -> Option<Says> {
    let from_answer = matches!(write.asked, Asked::For(value) if value.source == Source::Response);
    if write.outcome == Outcome::Stored && write.ends() {
        return Some(Says::Gone);
    }
    if write.removes_unknown() {
        return write.split.is_none().then_some(Says::MayBeGone);
    }
    match write.asked {
        _ if write.outcome == Outcome::Uncertain => None,
        Asked::For(value) if write.split.is_none() || from_answer => Some(Says::Number(value.replicas)),
        Asked::Unknown(_) if write.split.is_none() => Some(Says::Unknown),
        _ => shows.then_some(Says::Nothing),
    }
}
