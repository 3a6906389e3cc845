//! The messages of a server, to a client that pulls. It begins with a whole conversation, which no search would find.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("there is room");
    legwork_client::fuzzing::pulled(bytes, dir.path());
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    legwork_fuzz::mutate_from(&legwork_client::fuzzing::pull_sample(), data, size, max_size)
});
