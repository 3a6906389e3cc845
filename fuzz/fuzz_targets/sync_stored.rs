//! The mirror's own files: index, journal, cache, chunks, hold and record.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    legwork_sync::fuzzing::stored(bytes);
    legwork_sync::fuzzing::file(bytes);
});
