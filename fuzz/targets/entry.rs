//! Anything that a file or a subscription may hold is opened, decoded and judged; twice gives the same rows.

#![no_main]

use std::sync::LazyLock;

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use pedwatch::config::Config;
use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::Pipeline;
use pedwatch::pipeline::message::Envelope;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    let config = Config::load(None, []).expect("the defaults are valid");
    Pipeline::new(config.policy, Limits::default())
});

fuzz_target!(|input: &[u8]| {
    let assess = || PIPELINE.assess(input, Envelope::default(), || "fuzz".to_owned(), DateTime::UNIX_EPOCH);
    assert_eq!(assess(), assess());
});
