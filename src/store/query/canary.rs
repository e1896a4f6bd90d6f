//! Which signs of life came back through the sink, as `watermarks` tells it: `canary/CLUSTER/NONCE`, with the call's own time
//! in `through` and in `at` when its entry was here.

use chrono::{DateTime, Utc};

use super::{Value, select};
use crate::store::row::Watermark;
use crate::store::{Store, StoreError};

/// The name of the mark of one.
pub fn mark(cluster_id: &str, nonce: &str) -> String {
    format!("canary/{cluster_id}/{nonce}")
}

/// The marks that were made since a time.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub async fn returned(store: &dyn Store, since: DateTime<Utc>) -> Result<Vec<Watermark>, StoreError> {
    let rest = "WHERE name LIKE 'canary/%' AND `at` >= @canaries_since";
    let parameters = vec![("canaries_since".to_owned(), Value::Time(since))];
    Ok(store.fetch(&select::<Watermark>("watermarks", rest, parameters)).await?.read())
}
