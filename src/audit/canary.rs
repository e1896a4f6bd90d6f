//! The entry of a dry run that `pedwatch canary` made, to see that what is written in a cluster comes back.
//!
//! It hides nothing: only what was not stored is one. And it is believed in nothing but that an entry of this cluster came.

use chrono::{DateTime, Utc};

use super::entry::{ClusterLabels, Entry, Payload};
use super::method::{Call, ObjectKind, Operation};
use crate::time;

/// The Deployment that it is of, and the label that tells one from the next. Neither is chosen, so that the object is known
/// wherever an entry of it is read.
pub const CANARY: &str = "pedwatch-canary";

/// A sign of life that came through the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary<'e> {
    /// Google Cloud project of the cluster.
    pub project_id: &'e str,
    /// Region or zone of the cluster.
    pub location: &'e str,
    /// Name of the cluster.
    pub cluster_name: &'e str,
    /// `timestamp`: when the call happened, by the cluster's clock.
    pub event_time: DateTime<Utc>,
    /// Which one: what its label holds.
    pub nonce: &'e str,
}

/// The canary that an answered call is, where it is one: a patch of that label, of which `is_dry_run` or the versions tell
/// that it was not stored. Clusters that are too old to label dry runs show the version that the patch was of.
pub(super) fn canary<'e>(
    entry: &'e Entry<'_>,
    payload: &'e Payload<'_>,
    call: &Call<'_>,
    is_dry_run: bool,
) -> Option<Canary<'e>> {
    let is_of_it = call.kind == ObjectKind::Deployment
        && call.operation == Operation::Patch
        && !call.is_status
        && call.name == Some(CANARY);
    let sent = payload.request.metadata.as_ref().filter(|_| is_of_it)?;
    let nonce = sent.labels.0.as_ref()?.canary.get()?;
    let version = sent.resource_version.get();
    let stored = payload.response.metadata.as_ref().and_then(|metadata| metadata.resource_version.get());
    if !is_dry_run && (version.is_none() || version != stored) {
        return None;
    }
    let cluster: &ClusterLabels<'_> = entry.resource.0.as_ref()?.labels.0.as_ref()?;
    Some(Canary {
        project_id: cluster.project_id.get()?,
        location: cluster.location.get()?,
        cluster_name: cluster.cluster_name.get()?,
        event_time: time::read(entry.timestamp.get()?)?,
        nonce,
    })
}
