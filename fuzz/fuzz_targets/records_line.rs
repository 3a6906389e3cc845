//! A line of a log of records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    legwork_records::fuzzing::line(bytes);
    legwork_records::fuzzing::words(bytes);
});
