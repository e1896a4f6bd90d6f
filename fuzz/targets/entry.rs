//! Anything that a file or a subscription may hold is opened, decoded and judged; twice gives the same rows.

#![no_main]

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use pedwatch::config::Config;
use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::Pipeline;
use pedwatch::pipeline::message::Envelope;

fuzz_target!(|input: &[u8]| {
    let Ok(config) = Config::load(None, []) else { return };
    let pipeline = Pipeline::new(config.policy, Limits::default());
    let assess = || pipeline.assess(input, Envelope::default(), || "fuzz".to_owned(), DateTime::UNIX_EPOCH);
    assert_eq!(assess(), assess());
});
