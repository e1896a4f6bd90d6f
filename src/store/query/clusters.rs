//! Which clusters the audit log names.

use super::Query;
use crate::store::row::row;
use crate::store::{Store, StoreError};

row! {
    /// A cluster, as entries name it.
    SeenCluster in "replica_events" {
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
    }
}

/// The clusters of all entries.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn seen_clusters(store: &dyn Store) -> Result<Vec<SeenCluster>, StoreError> {
    let sql = "SELECT project_id, location, cluster_name FROM ${dataset}.replica_events \
               GROUP BY project_id, location, cluster_name ORDER BY project_id, location, cluster_name";
    Ok(store.fetch(&Query::new(sql, Vec::new())).await?.read())
}
