//! The messages of a client, to a server of a mirror. It begins with a whole conversation, which no search would find.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    legwork_server::fuzzing::commit(bytes, dir.path());
    legwork_server::fuzzing::pull(bytes);
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    legwork_fuzz::mutate_from(&legwork_server::fuzzing::sample(), data, size, max_size)
});
