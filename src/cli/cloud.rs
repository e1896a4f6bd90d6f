//! What speaks to Google Cloud, and to those who are told. A build with the feature `cloud` opens it; one without tells how to
//! get it.

#[cfg(not(feature = "cloud"))]
mod absent;
#[cfg(feature = "cloud")]
mod built;

#[cfg(not(feature = "cloud"))]
pub(super) use absent::{Storage, check_channels, open_bigquery, open_firestore, open_registry, without};
#[cfg(feature = "cloud")]
pub(super) use built::{
    Storage, check_channels, open_bigquery, open_channels, open_counting_bigquery, open_firestore, open_registry,
    open_telling, require_telling,
};
