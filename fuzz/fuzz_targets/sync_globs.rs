//! The pattern of a pull, and a path.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_sync::fuzzing::globs(bytes));
