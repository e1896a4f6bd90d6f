//! A PED file: every text is applications or faults, each with a place in it.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (located, faults) = pedwatch::ped::parse(Path::new("peds/a.yaml"), text, &(2..=8));
    for fault in &faults {
        assert!(!fault.message.is_empty(), "{fault:?}");
    }
    // What was understood can be written, and read again.
    for located in located {
        assert!(located.ped.terms.json().is_object(), "{located:?}");
    }
});
