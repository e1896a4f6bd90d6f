//! What Pub/Sub pushes: a body around anything, or anything in the place of a body, as `serve` takes it. What is in a body comes
//! out as it would without.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use pedwatch::pipeline::message::{Envelope, open};

fn opened(input: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    open(input, Envelope::default(), |envelope, decoded| {
        found.push(format!("{:?} {}", decoded.map_err(|error| error.reason()), envelope.data.len()));
    });
    found
}

fuzz_target!(|input: &[u8]| {
    opened(input);
    let body = format!(
        r#"{{"message":{{"data":"{}","messageId":"1","publishTime":"2026-09-04T20:41:03Z"}},"subscription":"s"}}"#,
        STANDARD.encode(input)
    );
    assert!(!opened(body.as_bytes()).is_empty(), "it is neither read nor told to be unreadable");
});
