//! The messages of a client, to a server of a mirror.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    legwork_server::fuzzing::commit(bytes, dir.path());
    legwork_server::fuzzing::pull(bytes);
});
