//! What pedwatch promises, held against the fixtures, the real stores and the real binary.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that panics has failed, as it should"
)]

#[cfg(not(feature = "cloud"))]
compile_error!("the tests are of the whole program: cargo test --all-features");

mod attacks;
mod backfill;
mod billing;
mod cases;
mod cli;
#[cfg(feature = "clusters")]
mod clusters;
mod contract;
mod days;
mod docs;
mod exceptions;
mod faults;
mod figures;
mod forms;
mod github;
mod golden;
mod incident;
mod kubernetes;
mod laws;
mod ledger;
mod limits;
mod manifests;
mod monitoring;
mod oidc;
mod ped;
mod policy;
mod production;
mod proxy;
mod pubsub;
mod reality;
mod registry;
mod released;
mod replay;
mod rules;
mod schema;
mod servers;
mod snapshots;
mod start;
mod subscriber;
mod support;
mod telling;
mod terminal;
mod terraform;
mod timeline;
mod views;
