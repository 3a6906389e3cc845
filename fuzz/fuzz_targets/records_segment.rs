//! An index or a packed segment of a log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    legwork_records::fuzzing::segment(bytes, &dir.path().join("segment"));
});
