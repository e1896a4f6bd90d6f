//! One line a state: what goes wrong with each of thousands of messages is said once, and then counted; and what has an id
//! is said once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How soon another state is told: where two alternate, not each time.
const CHANGED_AFTER: Duration = Duration::from_secs(1);

/// How long nothing may go wrong before it counts as mended: where some go well and others do not, not between two.
const MENDED_AFTER: Duration = Duration::from_secs(5);

/// How often a state that lasts is told again.
const LASTS_FOR: Duration = Duration::from_secs(60);

/// What is known to be wrong.
#[derive(Debug, Default)]
pub struct Steady {
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    what: String,
    told: Instant,
    last: Instant,
    /// Since it was told.
    times: u64,
}

impl Steady {
    /// Something went wrong. How often it did since it was told last, if it is to be told now.
    pub fn failed(&self, what: &str) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(known) = state.as_mut() else {
            *state = Some(State { what: what.to_owned(), told: now, last: now, times: 0 });
            return Some(1);
        };
        known.times += 1;
        known.last = now;
        let patience = if known.what == what { LASTS_FOR } else { CHANGED_AFTER };
        if now - known.told < patience {
            return None;
        }
        let times = known.times;
        *known = State { what: what.to_owned(), told: now, last: now, times: 0 };
        Some(times)
    }

    /// It went well. How often it went wrong since that was told last, once nothing has for a while.
    pub fn recovered(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.take_if(|state| state.last.elapsed() >= MENDED_AFTER).map(|state| state.times)
    }
}

/// How many ids are known: a redelivery comes within minutes, or after an outage with all that came in between.
const RECENT_MAX: usize = 10_000;

/// The ids of late, by which something is told once.
#[derive(Debug, Default)]
pub struct Recent {
    ids: Mutex<(HashSet<String>, VecDeque<String>)>,
}

impl Recent {
    /// Whether an id was not among them. From now on it is.
    pub fn is_new(&self, id: &str) -> bool {
        let (known, order) = &mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.insert(id.to_owned()) {
            return false;
        }
        order.push_back(id.to_owned());
        if order.len() > RECENT_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_known_and_no_more_than_that() {
        let recent = Recent::default();
        assert!(recent.is_new("0") && !recent.is_new("0"));
        for id in 1..=RECENT_MAX {
            assert!(recent.is_new(&id.to_string()));
        }
        assert!(recent.is_new("0"), "it was the oldest");
        assert!(!recent.is_new(&RECENT_MAX.to_string()));
    }

    #[test]
    fn a_state_is_told_once_until_it_changes() {
        let steady = Steady::default();
        assert_eq!(steady.recovered(), None);
        assert_eq!(
            [steady.failed("no table"), steady.failed("no table"), steady.failed("no table")],
            [Some(1), None, None]
        );
        assert_eq!(steady.recovered(), None, "it has just failed");
        assert_eq!(steady.failed("no grant"), None, "it has just been told of something else");
    }
}
