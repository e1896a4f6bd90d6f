//! A configuration: it is valid, or everything that is wrong with it is told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pedwatch::config::Config;

fuzz_target!(|text: &str| {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    std::fs::write(file.path(), text).expect("written");
    if let Err(refused) = Config::load(Some(file.path()), []) {
        assert!(!refused.to_string().is_empty());
    }
});
