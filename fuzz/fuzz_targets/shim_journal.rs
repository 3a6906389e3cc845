//! The journal and the index of a job's output.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_shim::fuzzing::journal(bytes));
