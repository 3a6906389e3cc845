//! What is printed is what is kept.

use legwork_shim::index::{Entry, Stream};

use crate::harness::{Job, script, until};

/// The bytes that the index gives to a stream.
fn of(stream: Stream, entries: &[Entry], output: &[u8]) -> Vec<u8> {
    let ends = entries.iter().skip(1).map(|entry| entry.offset);
    let ends = ends.chain([output.len() as u64]);
    let range = |offset: u64| usize::try_from(offset).expect("it fits");
    let runs: Vec<&[u8]> = entries
        .iter()
        .zip(ends)
        .filter(|(entry, _)| entry.stream == stream)
        .map(|(entry, end)| &output[range(entry.offset)..range(end)])
        .collect();
    runs.concat()
}

/// Bytes without a pattern, the same every time.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn sixty_four_mebibytes_from_two_streams_arrive_to_the_byte() {
    let here = tempfile::tempdir().unwrap();
    let (one, two) = (noise(32 << 20, 1), noise(32 << 20, 2));
    std::fs::write(here.path().join("one"), &one).unwrap();
    std::fs::write(here.path().join("two"), &two).unwrap();
    let mut spec = script("cat one & cat two >&2; wait");
    spec.dir = here.path().into();
    let mut job = Job::start(&spec);
    let exit = job.exit();
    let (output, index) = (job.output(), job.index());
    assert_eq!(exit.output_end, 64 << 20);
    assert_eq!((exit.output_dropped, exit.output_failed), (0, 0));
    assert!(of(Stream::Stdout, &index, &output) == one);
    assert!(of(Stream::Stderr, &index, &output) == two);
    assert!(index.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    assert!(
        index
            .windows(2)
            .all(|pair| pair[0].time_us <= pair[1].time_us)
    );
}

#[test]
fn the_index_tells_the_streams_apart_and_when() {
    let here = tempfile::tempdir().unwrap();
    let text = "for i in 1 2 3; do echo out$i; while ! [ -e go$i ]; do sleep 0.01; done; echo err$i >&2; \
                while ! [ -e on$i ]; do sleep 0.01; done; done";
    let mut spec = script(text);
    spec.dir = here.path().into();
    let mut job = Job::start(&spec);
    for step in 1..=3 {
        // Each line is there before the next is printed: nothing is held back.
        job.lines(2 * step - 1);
        std::fs::write(here.path().join(format!("go{step}")), "").unwrap();
        job.lines(2 * step);
        std::fs::write(here.path().join(format!("on{step}")), "").unwrap();
    }
    let exit = job.exit();
    let (output, index) = (job.output(), job.index());
    assert_eq!(output, b"out1\nerr1\nout2\nerr2\nout3\nerr3\n");
    assert_eq!(of(Stream::Stdout, &index, &output), b"out1\nout2\nout3\n");
    assert_eq!(of(Stream::Stderr, &index, &output), b"err1\nerr2\nerr3\n");
    assert_eq!(index.len(), 6);
    let started = exit.started_at_ms.unwrap() * 1000;
    let ended = (exit.ended_at_ms + 1) * 1000;
    assert!(
        index
            .iter()
            .all(|entry| (started..=ended).contains(&entry.time_us))
    );
}

#[test]
fn merged_streams_keep_their_exact_order() {
    let mut spec = script("for i in $(seq 500); do echo o$i; echo e$i >&2; done");
    spec.merge = true;
    let mut job = Job::start(&spec);
    job.exit();
    let expected: String = (1..=500).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert!(job.output() == expected.as_bytes());
    assert!(
        job.index()
            .iter()
            .all(|entry| entry.stream == Stream::Stdout)
    );
}

#[test]
fn a_busy_job_has_a_bounded_index() {
    let mut job = Job::start(&script("seq 300000"));
    let exit = job.exit();
    // One a millisecond, and a few for luck.
    assert!(job.index().len() as u64 <= exit.elapsed_ms + 400);
}

#[test]
fn head_and_tail_are_kept_and_the_middle_is_counted() {
    const LIMIT: u64 = 1 << 20;
    let mut spec = script("seq 1000000 1999999");
    spec.output_limit = LIMIT;
    let mut job = Job::start(&spec);
    let exit = job.exit();
    let expected: String = (1_000_000..2_000_000).map(|i| format!("{i}\n")).collect();
    let expected = expected.as_bytes();
    assert_eq!(exit.output_end, expected.len() as u64);
    let segments = job.segments();
    let kept: u64 = segments.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!((LIMIT * 7 / 8..=LIMIT).contains(&kept), "{kept}");
    assert_eq!(exit.output_dropped, exit.output_end - kept);
    assert_eq!(exit.output_failed, 0);
    assert_eq!((segments[0].0, segments[0].1.len() as u64), (0, LIMIT / 2));
    for (start, bytes) in &segments {
        let start = usize::try_from(*start).unwrap();
        assert!(bytes == &expected[start..start + bytes.len()]);
    }
    let (last, bytes) = segments.last().unwrap();
    assert_eq!(last + bytes.len() as u64, exit.output_end);
}

#[test]
fn a_tiny_limit_costs_few_files() {
    let mut spec = script("seq 100000");
    spec.output_limit = 10;
    let mut job = Job::start(&spec);
    let exit = job.exit();
    assert_eq!(exit.output_end, 588_895);
    let kept: u64 = job
        .segments()
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert!((32 * 1024..=64 * 1024).contains(&kept), "{kept}");
    assert_eq!(exit.output_dropped, exit.output_end - kept);
    assert!(job.segments().len() <= 5);
    assert!(exit.elapsed_ms < 30_000, "{exit:?}");
}

#[test]
fn with_no_room_at_all_everything_is_counted() {
    let mut spec = script("seq 100000");
    spec.output_limit = 0;
    let mut job = Job::start(&spec);
    let exit = job.exit();
    assert_eq!(exit.output_end, 588_895);
    assert_eq!(exit.output_dropped, 588_895);
    assert!(job.segments().is_empty());
    assert_eq!(job.index()[0].stream, Stream::Dropped);
}

#[test]
fn many_writers_of_small_pieces_lose_nothing() {
    let text = "for i in 1 2 3 4; do (seq 20000) & (seq 20000 >&2) & done; wait";
    let mut job = Job::start(&script(text));
    let exit = job.exit();
    assert_eq!(exit.output_end, 8 * 108_894);
    assert_eq!(job.output().len() as u64, exit.output_end);
}

#[test]
fn output_that_stops_being_read_from_files_does_not_matter() {
    // Someone holds an old segment open while it is deleted under the limit.
    let mut spec = script("seq 400000; cat");
    spec.stdin = legwork_shim::spec::Stdin::Pipe;
    spec.output_limit = 300_000;
    let mut job = Job::start(&spec);
    until("the head", || (!job.segments().is_empty()).then_some(()));
    let _held = std::fs::File::open(job.path().join("output.00000000000000000000")).unwrap();
    let mut peer = job.control();
    peer.ask(&legwork_shim::control::Request::StdinEnd);
    assert!(job.exit().output_dropped > 0);
}
