//! How a Deployment stands: an answer, and no table.

use chrono::{DateTime, Utc};

use super::row;
use crate::policy::Verdict;

row! {
    /// One Deployment at an instant: what it and its HPAs ask for, and the limit in force.
    Standing in "status" {
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        replicas: Option<i64>,
        since: Option<DateTime<Utc>>,
        actor: Option<String>,
        on_behalf_of: Option<String>,
        event_id: Option<String>,
        hpa_max_replicas: Option<i64>,
        hpa_name: Option<String>,
        hpa_since: Option<DateTime<Utc>>,
        hpa_actor: Option<String>,
        limit_max_replicas: Option<i64>,
        limit_initial_max_replicas: Option<i64>,
        limit_id: Option<String>,
        limit_since: Option<DateTime<Utc>>,
        owner: Option<String>,
        verdict: Verdict,
        over_since: Option<DateTime<Utc>>,
        missed_writes: i64,
        in_scope: bool,
    }
}
