//! Signs of life that came through the sink. They change nothing that is recorded; that they came is.

use chrono::{DateTime, Utc};

use crate::audit::Canary;
use crate::ped::Cluster;
use crate::store::query::canary::mark;
use crate::store::row::Watermark;
use crate::time;

/// Longest value of a label: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.
const NONCE_MAX: usize = 63;

/// Longest name of a cluster with its project and location.
const CLUSTER_MAX: usize = 256;

/// One that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// `projects/PROJECT/locations/LOCATION/clusters/NAME`.
    pub cluster_id: String,
    /// When it was called, by the cluster's clock.
    pub event_time: DateTime<Utc>,
    nonce: String,
}

impl Returned {
    /// What a canary's entry shows. Names that none of ours has, and times at which nothing was logged, show nothing.
    pub(super) fn of(canary: &Canary<'_>, now: DateTime<Utc>) -> Option<Self> {
        let Canary { project_id: project, location, cluster_name: name, event_time, nonce } = *canary;
        let cluster_id = Cluster { project, location, name }.to_string();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_one = nonce.len() <= NONCE_MAX && nonce.chars().all(is_part) && cluster_id.len() <= CLUSTER_MAX;
        (is_one && time::can_have_happened(event_time, now)).then(|| Returned {
            cluster_id,
            event_time,
            nonce: nonce.to_owned(),
        })
    }

    /// That it came, for whoever sent it.
    pub fn mark(&self, now: DateTime<Utc>) -> Watermark {
        Watermark { name: mark(&self.cluster_id, &self.nonce), through: self.event_time, at: now }
    }

    /// How long it took.
    pub fn seconds(&self, now: DateTime<Utc>) -> f64 {
        (now - self.event_time).as_seconds_f64()
    }
}
