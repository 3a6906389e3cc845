//! A frame of a mirror's content, packed or not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_sync::fuzzing::frame(bytes));
