//! A path from the other side of a mirror.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_sync::fuzzing::path(bytes));
