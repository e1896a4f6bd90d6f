//! The highest products of a maximum and what one replica may use, for prices that are not known yet.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A maximum, what one replica may use, and who made it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// The most replicas.
    pub max_replicas: i64,
    /// CPU of one in thousandths of a core; `None` where no PED says it, and a fee cannot be told.
    pub vcpu_millis: Option<i64>,
    /// Memory of one in bytes; `None` as above.
    pub memory_bytes: Option<i64>,
    /// From when it was in force, in the span that was asked about.
    pub from: DateTime<Utc>,
    /// To when; `from` where it was asked for and did not stand for any time.
    pub to: DateTime<Utc>,
    /// The `config_id` of the version that grants it, or the `event_id` of the write that asks for it; `None` for what a
    /// snapshot found.
    pub source: Option<String>,
    /// Who was charged at its beginning.
    pub owner: Option<String>,
}

impl Peak {
    /// What a price multiplies: CPU and memory of all replicas. Products with another thing missing do not compare.
    fn product(&self) -> (Option<i128>, Option<i128>) {
        let of_all = |of_one: i64| i128::from(self.max_replicas) * i128::from(of_one);
        (self.vcpu_millis.map(of_all), self.memory_bytes.map(of_all))
    }

    /// Whether another one costs as much at least, whatever the prices are.
    fn is_covered_by(&self, other: &Peak) -> bool {
        let at_most = |left: Option<i128>, right: Option<i128>| match (left, right) {
            (Some(left), Some(right)) => left <= right,
            (left, right) => left.is_none() && right.is_none(),
        };
        let ((cpu, memory), (other_cpu, other_memory)) = (self.product(), other.product());
        let is_unpriced = cpu.is_none() && memory.is_none();
        at_most(cpu, other_cpu)
            && at_most(memory, other_memory)
            && (!is_unpriced || self.max_replicas <= other.max_replicas)
    }

    fn is_continued_by(&self, later: &Peak) -> bool {
        self.to == later.from && *self == Peak { from: self.from, to: self.to, ..later.clone() }
    }
}

/// The peaks of which none costs as much as another at every price: the highest fee of the span, at any price, is that of
/// one of them. In order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Peaks(Vec<Peak>);

impl Peaks {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peak> {
        self.0.iter()
    }

    /// Adds one; of two that cost the same the earlier stays.
    pub(super) fn add(&mut self, peak: Peak) {
        if let Some(same) = self.0.iter_mut().find(|known| known.is_continued_by(&peak)) {
            same.to = peak.to;
            return;
        }
        let stays = |known: &Peak| peak.is_covered_by(known) && !(known.is_covered_by(&peak) && peak.from < known.from);
        if self.0.iter().any(stays) {
            return;
        }
        self.0.retain(|known| !known.is_covered_by(&peak));
        let place = self.0.partition_point(|known| known.from <= peak.from);
        self.0.insert(place, peak);
    }

    /// Those of both; `later` begins where this ends, or is of another basis or object.
    pub fn join(&mut self, later: &Peaks) {
        later.iter().for_each(|peak| self.add(peak.clone()));
    }
}
