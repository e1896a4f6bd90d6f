//! What is known of one object: the newest state of the life that was born last, forward only.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::order::{Place, Says, Shown, Sighting, State, is_newer};

/// An answer that shows the object so long after an end refutes it: single calls are cut off at 34 s.
const REFUTES_AFTER: Duration = Duration::seconds(60);

/// An entry without a birth that is written within so long behind the birth of another life is of the life before.
const ENDS_LATE: Duration = Duration::seconds(60);

/// A birth is told to the second.
const BIRTH_PRECISION: Duration = Duration::seconds(1);

/// What an object asks for, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Who set it: the write that brought the number, not one that repeated it.
    pub set_by: State,
    /// Since when it stands; never earlier than what stood before.
    pub since: DateTime<Utc>,
    /// The number before, where it was known.
    pub previous: Option<i64>,
}

impl Standing {
    /// The number, where it is known and held against the limit.
    pub fn number(&self) -> Option<i64> {
        match self.set_by.says {
            Says::Number(number) if self.set_by.counts => Some(number),
            _ => None,
        }
    }

    /// Whether it asks for a number that cannot be told.
    pub fn is_unknown(&self) -> bool {
        self.set_by.says == Says::Unknown && self.set_by.counts
    }
}

/// The newest states of one life. What shows a version is ordered by it, what shows none by the clock; which of both is
/// the last can only be told of the newest of each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Newest {
    versioned: Shown,
    unversioned: Option<State>,
    /// The last conclusion that the object is gone.
    end: Option<State>,
    /// The last entry after which it may be gone.
    doubt: Option<State>,
}

impl Newest {
    fn see(&mut self, state: &State) {
        let is_end = matches!(state.says, Says::Gone | Says::MayBeGone);
        let slot = match state.says {
            Says::Nothing => return,
            Says::Gone => &mut self.end,
            Says::MayBeGone => &mut self.doubt,
            Says::Number(_) | Says::Unknown if state.place.version.is_some() => return self.versioned.see(state),
            Says::Number(_) | Says::Unknown => &mut self.unversioned,
        };
        let is_later = |known: &State| match is_end {
            true => state.place.time > known.place.time,
            false => is_newer(state, known),
        };
        if slot.as_ref().is_none_or(is_later) {
            *slot = Some(state.clone());
        }
    }
}

/// One life of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Life {
    uid: String,
    born_at: Option<DateTime<Utc>>,
    created: bool,
    first_time: DateTime<Utc>,
    first_version: Option<String>,
    last_seen: Option<DateTime<Utc>>,
    newest: Newest,
}

impl Life {
    fn of(uid: &str, sighting: &Sighting) -> Self {
        let mut life = Life {
            uid: uid.to_owned(),
            born_at: None,
            created: false,
            first_time: sighting.state.place.time,
            first_version: None,
            last_seen: None,
            newest: Newest::default(),
        };
        life.see(sighting);
        life
    }

    fn see(&mut self, Sighting { born_at, shows, state, .. }: &Sighting) {
        self.born_at = [self.born_at, *born_at].into_iter().flatten().min();
        self.created |= state.creates;
        self.first_time = self.first_time.min(state.place.time);
        let is_first =
            |known: &String| state.place.version_key().is_some_and(|key| key < (known.len(), known.as_str()));
        if self.first_version.as_ref().is_none_or(is_first) {
            self.first_version.clone_from(&state.place.version);
        }
        if *shows {
            self.last_seen = self.last_seen.max(Some(state.place.time));
        }
        self.newest.see(state);
    }

    /// When it began, or was seen first.
    fn starts_at(&self) -> DateTime<Utc> {
        self.born_at.unwrap_or(self.first_time)
    }

    /// Whether it was born after another one.
    fn is_after(&self, other: &Life) -> bool {
        let is_late_end = |late: &Life, born: &Life| {
            let shown = born.born_at.filter(|_| late.born_at.is_none() && !late.created);
            shown.is_some_and(|shown| late.first_time - shown <= ENDS_LATE)
        };
        if is_late_end(self, other) || is_late_end(other, self) {
            return is_late_end(other, self);
        }
        let version = |life: &Life| life.first_version.as_ref().map(|digits| (digits.len(), digits.clone()));
        let by_version = version(self).zip(version(other)).map(|(one, two)| one.cmp(&two));
        let by_birth = self.starts_at().cmp(&other.starts_at());
        by_birth.then(by_version.unwrap_or_else(|| self.first_time.cmp(&other.first_time))).is_gt()
    }

    fn refutes(&self, end: DateTime<Utc>) -> bool {
        refutes(self.last_seen, end)
    }
}

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// The life that was born last. What is of an earlier one is history, and need not be kept.
    life: Option<Life>,
    /// What shows no uid belongs to the life in which it was written.
    unnamed: Newest,
    /// When the last create was written that shows none.
    unnamed_create: Option<DateTime<Utc>>,
    standing: Option<Standing>,
}

impl Known {
    /// Takes in what an entry shows. Whether that is the object's newest state is told by [`Known::is_newest`].
    pub fn see(&mut self, sighting: &Sighting) {
        match (&sighting.uid, &mut self.life) {
            (None, _) => {
                self.unnamed.see(&sighting.state);
                if sighting.state.creates {
                    self.unnamed_create = self.unnamed_create.max(Some(sighting.state.place.time));
                }
            }
            (Some(uid), Some(life)) if life.uid == *uid => life.see(sighting),
            (Some(uid), known) => {
                let life = Life::of(uid, sighting);
                if known.as_ref().is_none_or(|known| life.is_after(known)) {
                    *known = Some(life);
                }
            }
        }
        self.stand();
    }

    /// Whether an entry is the newest state, so that it is news.
    pub fn is_newest(&self, sighting: &Sighting) -> bool {
        let newest = self.newest();
        let Place { event_id, .. } = &sighting.state.place;
        newest.is_some_and(|newest| newest.place.event_id == *event_id && newest.says == sighting.state.says)
    }

    /// The newest state: the object's end, or the last of what asks for a number.
    pub fn newest(&self) -> Option<&State> {
        let [life, unnamed] = self.present();
        let later = |slot: fn(&Newest) -> Option<&State>| {
            let from = self.begun_at();
            let unnamed = unnamed.and_then(slot);
            let unnamed = unnamed.filter(|state| from.is_none_or(|from| state.place.time >= from));
            last([life.and_then(slot), unnamed])
        };
        let end = later(|newest| newest.end.as_ref()).filter(|end| self.stands(end));
        end.or_else(|| last([later(|newest| newest.versioned.stored()), later(|newest| newest.unversioned.as_ref())]))
    }

    /// What it asks for now, given when what it was in ended (its namespace, its cluster); `None` where that is not known,
    /// or nothing.
    pub fn standing(&self, ended_around: Option<DateTime<Utc>>) -> Option<&Standing> {
        let ends = |end: &DateTime<Utc>| {
            let life = self.life.as_ref().filter(|_| !self.is_begun_anew());
            self.begun_at().is_none_or(|begun| begun < *end) && life.is_none_or(|life| !life.refutes(*end))
        };
        self.standing
            .as_ref()
            .filter(|standing| standing.set_by.says != Says::Gone && ended_around.filter(ends).is_none())
    }

    /// When an answer showed the present life last.
    pub(super) fn shown_at(&self) -> Option<DateTime<Utc>> {
        self.life.as_ref().filter(|_| !self.is_begun_anew()).and_then(|life| life.last_seen)
    }

    /// The last entry after which the object may be gone, unless a later one tells.
    pub fn doubt(&self) -> Option<&State> {
        let [life, unnamed] = self.present();
        let doubts = [life, unnamed].into_iter().flatten().filter_map(|newest| newest.doubt.as_ref());
        let doubt = doubts.max_by_key(|doubt| doubt.place.time)?;
        let told = [self.newest().map(|newest| newest.place.time), self.life.as_ref().and_then(|life| life.last_seen)];
        let is_of_it = self.begun_at().is_none_or(|begun| doubt.place.time >= begun);
        (is_of_it && told.into_iter().flatten().max() < Some(doubt.place.time)).then_some(doubt)
    }

    /// What the newest states are to be looked for in: a create without an answer begins a life that shows no uid.
    fn present(&self) -> [Option<&Newest>; 2] {
        let life = self.life.as_ref().filter(|_| !self.is_begun_anew());
        [life.map(|life| &life.newest), Some(&self.unnamed)]
    }

    fn is_begun_anew(&self) -> bool {
        let starts_at = self.life.as_ref().map(Life::starts_at);
        self.unnamed_create.zip(starts_at).is_some_and(|(created, starts_at)| created - starts_at >= BIRTH_PRECISION)
    }

    /// When the present life began, where that is known.
    fn begun_at(&self) -> Option<DateTime<Utc>> {
        if self.is_begun_anew() {
            return self.unnamed_create;
        }
        let life = self.life.as_ref()?;
        life.born_at.or(life.created.then_some(life.first_time))
    }

    fn stands(&self, end: &State) -> bool {
        let life = self.life.as_ref().filter(|_| !self.is_begun_anew());
        life.is_none_or(|life| !life.refutes(end.place.time))
    }

    /// Keeps since when the number stands, and who set it.
    fn stand(&mut self) {
        let Some(newest) = self.newest().cloned() else { return };
        let before = self.standing.take();
        let is_same = |before: &Standing| before.set_by.says == newest.says && before.set_by.counts == newest.counts;
        self.standing = Some(match before {
            Some(before) if is_same(&before) => before,
            before => Standing {
                since: before.as_ref().map_or(newest.place.time, |before| before.since.max(newest.place.time)),
                previous: before.as_ref().and_then(Standing::number),
                set_by: newest,
            },
        });
    }
}

/// Whether an object that was shown at a time had not ended at another.
pub(super) fn refutes(shown_at: Option<DateTime<Utc>>, end: DateTime<Utc>) -> bool {
    shown_at.is_some_and(|shown| shown - end > REFUTES_AFTER)
}

/// The newer one.
fn last(states: [Option<&State>; 2]) -> Option<&State> {
    match states {
        [Some(one), Some(two)] => Some(if is_newer(two, one) { two } else { one }),
        [one, two] => one.or(two),
    }
}
