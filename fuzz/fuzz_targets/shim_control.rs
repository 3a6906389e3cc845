//! What is said on a job's socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| legwork_shim::fuzzing::control(bytes));
