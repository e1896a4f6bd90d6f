//! What of the view `replica_changes` a report shows.

use chrono::{DateTime, Utc};

use super::row;
use crate::audit::{ObjectKind, Operation};
use crate::policy::{Route, Verdict};

row! {
    /// A write that changed something.
    Change in "replica_changes" {
        event_id: String,
        event_time: DateTime<Utc>,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: Option<String>,
        object_kind: ObjectKind,
        object_name: Option<String>,
        operation: Operation,
        previous_replicas: Option<i64>,
        replicas: Option<i64>,
        missed_writes: i64,
        effective: bool,
        actor: String,
        on_behalf_of: Option<String>,
        route: Route,
        limit_max_replicas: Option<i64>,
        verdict: Verdict,
    }
}
