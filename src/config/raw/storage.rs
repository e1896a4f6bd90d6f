//! `[storage]`: where a report may be put.

use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::bucket::StorageConfig;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStorage {
    endpoint: String,
    anonymous: bool,
}

impl RawStorage {
    pub(super) fn validate(self, faults: &mut Faults) -> StorageConfig {
        StorageConfig { endpoint: faults.url("storage.endpoint", self.endpoint), anonymous: self.anonymous }
    }
}
