//! `[comparison]`: when what runs and what the log says are held against each other, and what it takes.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::timeline::reality::Thresholds;

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawComparison {
    settle_seconds: i64,
    broken_sink_writes: i64,
    unused_days: i64,
    contested_changes: i64,
}

impl Default for RawComparison {
    fn default() -> Self {
        // Entries were seen 13 s late; a sink of an organization may take minutes.
        RawComparison { settle_seconds: 900, broken_sink_writes: 3, unused_days: 7, contested_changes: 4 }
    }
}

impl RawComparison {
    pub(super) fn validate(&self, faults: &mut Faults) -> Thresholds {
        let settle = faults.within("comparison.settle_seconds", self.settle_seconds, 0..=86_400);
        let writes = faults.within("comparison.broken_sink_writes", self.broken_sink_writes, 2..=1_000_000);
        let days = faults.within("comparison.unused_days", self.unused_days, 1..=365);
        let changes = faults.within("comparison.contested_changes", self.contested_changes, 3..=1_000);
        Thresholds {
            settle: Duration::seconds(settle.into()),
            broken_sink_writes: writes as usize,
            unused: Duration::days(days.into()),
            contested_changes: changes as usize,
        }
    }
}
