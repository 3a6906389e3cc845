//! A batch of records, as a sender sends it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_records::fuzzing::batch(bytes));
