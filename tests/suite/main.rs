//! What pedwatch promises, held against the fixtures, the real stores and the real binary.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that panics has failed, as it should"
)]

mod attacks;
mod cases;
mod cli;
mod contract;
mod faults;
mod forms;
mod golden;
mod kubernetes;
mod laws;
mod limits;
mod monitoring;
mod oidc;
mod ped;
mod proxy;
mod pubsub;
mod registry;
mod released;
mod rules;
mod schema;
mod servers;
mod subscriber;
mod support;
mod terraform;
mod views;
