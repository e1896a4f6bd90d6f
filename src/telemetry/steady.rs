//! One line a state: what goes wrong with each of thousands of messages is said once, and then counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How soon another state is told: where two alternate, not each time.
const CHANGED_AFTER: Duration = Duration::from_secs(1);

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
    times: u64,
}

impl Steady {
    /// Something went wrong. How often it did since it was told last, if it is to be told now.
    pub fn failed(&self, what: &str) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(known) = state.as_mut() else {
            *state = Some(State { what: what.to_owned(), told: now, times: 0 });
            return Some(1);
        };
        known.times += 1;
        let patience = if known.what == what { LASTS_FOR } else { CHANGED_AFTER };
        if now - known.told < patience {
            return None;
        }
        let times = known.times;
        *known = State { what: what.to_owned(), told: now, times: 0 };
        Some(times)
    }

    /// It went well. How often it went wrong since that was told last, if it did at all.
    pub fn is_fine(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take().map(|state| state.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_until_it_changes() {
        let steady = Steady::default();
        assert_eq!(steady.is_fine(), None);
        assert_eq!(
            [steady.failed("no table"), steady.failed("no table"), steady.failed("no table")],
            [Some(1), None, None]
        );
        assert_eq!([steady.is_fine(), steady.is_fine()], [Some(2), None]);
        assert_eq!(steady.failed("no table"), Some(1));
    }
}
