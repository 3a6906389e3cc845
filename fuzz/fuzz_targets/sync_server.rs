//! The messages of a server, to a client that pushes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    legwork_client::fuzzing::commit(bytes, dir.path());
});
