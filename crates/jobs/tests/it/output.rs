//! Past, live, tail, gaps, many readers.

use std::time::Duration;

use legwork_jobs::output::{
    LinesEvent, OutputEvent, Position, Read, SearchEvent, Stream, Streams, Undecided, Wanted,
};
use legwork_jobs::{JobId, Jobs};

use crate::sandbox::{Sandbox, drain, end_of, printed, shell, until_printed};

async fn text(jobs: &Jobs, id: JobId, from: Position, streams: Streams) -> String {
    let read = Read {
        from,
        streams,
        ..Read::past()
    };
    let (bytes, _) = drain(&mut jobs.output(id, read).await.unwrap()).await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn from_anywhere_and_of_either_stream() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    // The second stream begins when the first was read.
    let gate = sandbox.path("gate");
    let script = format!(
        "echo one; while [ ! -e {0} ]; do sleep 0.01; done; echo two >&2; \
         while [ -e {0} ]; do sleep 0.01; done; echo three",
        gate.display()
    );
    let id = jobs.start(shell(&script)).await.unwrap().id;
    until_printed(&jobs, id, "one").await;
    std::fs::write(&gate, "").unwrap();
    until_printed(&jobs, id, "two").await;
    std::fs::remove_file(&gate).unwrap();
    jobs.wait(id).await.unwrap();

    use Position::{End, Offset, Start, TailLines};
    use Streams::{Raw, Stderr, Stdout};
    for (from, streams, expected) in [
        (Start, Raw, "one\ntwo\nthree\n"),
        (Start, Stdout, "one\nthree\n"),
        (Start, Stderr, "two\n"),
        (Offset(2), Raw, "e\ntwo\nthree\n"),
        (Offset(99), Raw, ""),
        (TailLines(2), Raw, "two\nthree\n"),
        (TailLines(2), Stdout, "one\nthree\n"),
        (End, Raw, ""),
    ] {
        assert_eq!(
            text(&jobs, id, from, streams).await,
            expected,
            "{from:?} {streams:?}"
        );
    }
    let read = Read {
        streams: Stderr,
        ..Read::past()
    };
    let mut errors = jobs.output(id, read).await.unwrap();
    let Some(Ok(OutputEvent::Chunk(chunk))) = errors.next().await else {
        panic!("a chunk");
    };
    assert_eq!((chunk.offset, chunk.runs[0].stream), (4, Stream::Stderr));
    assert!(chunk.runs[0].time_us > 1_600_000_000_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_followers_see_all_of_it_and_the_end_last() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 5";
    let id = jobs.start(shell(script)).await.unwrap().id;
    let expected: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let jobs = jobs.clone();
        followers
            .spawn(async move { drain(&mut jobs.output(id, Read::all()).await.unwrap()).await });
    }
    while let Some(follower) = followers.join_next().await {
        let (bytes, end) = follower.unwrap();
        assert_eq!(bytes, expected.as_bytes());
        let OutputEvent::End {
            offset,
            job: Some(job),
        } = end
        else {
            panic!("{end:?}");
        };
        assert_eq!(offset, expected.len() as u64);
        assert_eq!(end_of(&job).output_end, Some(offset));
    }
}

#[tokio::test]
async fn a_slow_follower_holds_up_nobody_and_misses_nothing() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs
        .start(shell("head -c 20000000 /dev/zero"))
        .await
        .unwrap()
        .id;
    let mut slow = jobs.output(id, Read::all()).await.unwrap();
    let first = slow.next().await.unwrap().unwrap();
    let OutputEvent::Chunk(first) = first else {
        panic!("{first:?}");
    };
    // It reads no more until the job has ended.
    jobs.wait(id).await.unwrap();
    let (rest, _) = drain(&mut slow).await;
    assert_eq!(first.data.len() + rest.len(), 20_000_000);
}

#[tokio::test]
async fn a_line_comes_while_the_job_runs() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs
        .start(shell("printf 'a\\nb\\npart'; sleep 60"))
        .await
        .unwrap()
        .id;
    until_printed(&jobs, id, "part").await;
    let mut lines = jobs.output(id, Read::all()).await.unwrap().lines();
    let Some(Ok(LinesEvent::Lines(first))) = lines.next().await else {
        panic!("lines");
    };
    let read: Vec<_> = first
        .iter()
        .map(|line| (line.offset, &line.data[..]))
        .collect();
    assert_eq!(read, [(0, &b"a"[..]), (2, b"b")]);
    // Nothing comes of a line that has not ended, until the job has.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), lines.next())
            .await
            .is_err()
    );
    jobs.signal(id, 9).await.unwrap();
    let Some(Ok(LinesEvent::Lines(last))) = lines.next().await else {
        panic!("the part");
    };
    assert_eq!((&last[0].data[..], last[0].complete), (&b"part"[..], false));
    assert!(matches!(
        lines.next().await,
        Some(Ok(LinesEvent::End { job: Some(_), .. }))
    ));
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn what_was_not_kept_is_a_gap_and_the_tail_is_there() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = shell("i=0; while [ $i -lt 15000 ]; do echo line $i; i=$((i+1)); done");
    asked.output_limit = 8000;
    let id = jobs.start(asked).await.unwrap().id;
    let job = jobs.wait(id).await.unwrap();
    let mut output = jobs.output(id, Read::all()).await.unwrap();
    let (mut at, mut missing, mut last) = (0, 0, Vec::new());
    loop {
        match output.next().await.unwrap().unwrap() {
            OutputEvent::Chunk(chunk) => {
                assert_eq!(chunk.offset, at);
                at += chunk.data.len() as u64;
                last = chunk.data.to_vec();
            }
            OutputEvent::Gap { offset, len } => {
                assert_eq!(offset, at);
                at += len;
                missing += len;
            }
            OutputEvent::End { offset, .. } => {
                assert_eq!(offset, at);
                break;
            }
        }
    }
    assert_eq!(end_of(&job).output_dropped, missing);
    assert!(last.ends_with(b"line 14999\n"));
    let tail = text(&jobs, id, Position::TailLines(1), Streams::Raw).await;
    assert_eq!(tail, "line 14999\n");
}

#[tokio::test]
async fn a_reader_that_does_not_follow_ends_at_the_present() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(shell("echo now; sleep 60")).await.unwrap().id;
    until_printed(&jobs, id, "now").await;
    let (bytes, end) = drain(&mut jobs.output(id, Read::past()).await.unwrap()).await;
    assert_eq!(bytes, b"now\n");
    assert_eq!(
        end,
        OutputEvent::End {
            offset: 4,
            job: None
        }
    );
}

#[tokio::test]
async fn silence_has_an_end_too() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(shell("true")).await.unwrap().id;
    assert_eq!(printed(&jobs, id).await, "");
}

#[tokio::test]
async fn a_search_tells_how_far_it_is_though_nothing_is_found() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let script = "echo hit; yes miss | head -c 40000000; echo hit >&2; exit 3";
    let id = jobs.start(shell(script)).await.unwrap().id;
    jobs.wait(id).await.unwrap();
    let wanted = Wanted {
        pattern: "^hit$".into(),
        ..Wanted::default()
    };
    for (streams, expected) in [(Streams::Raw, 2), (Streams::Stderr, 1)] {
        let read = Read {
            streams,
            ..Read::past()
        };
        let output = jobs.output(id, read).await.unwrap();
        let mut search = output.search(wanted.compile().unwrap(), Undecided::default());
        let (mut told, mut lines, mut end) = (Vec::new(), 0, None);
        while let Some(event) = search.next().await {
            assert!(end.is_none(), "the end is last");
            match event.unwrap() {
                SearchEvent::Found(found) => {
                    assert_eq!(
                        found.data.len(),
                        found.lines.iter().map(|line| line.len).sum::<usize>()
                    );
                    lines += found.lines.len();
                    told.push((found.next.stdout, found.next.stderr));
                }
                SearchEvent::Gap { .. } => panic!("all of it is there"),
                SearchEvent::End { job, .. } => end = job,
            }
        }
        assert_eq!(lines, expected);
        assert!(end.is_some());
        assert_eq!(told[0], (0, 0), "the first says where it begins");
        assert!(told.len() > 3 && told.is_sorted());
        let farthest = told.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
        assert!(farthest < Some(20_000_000), "{told:?}");
    }
}

#[tokio::test]
async fn a_search_that_is_asked_impatiently_loses_nothing() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(shell("seq 1 300000")).await.unwrap().id;
    let wanted = Wanted {
        pattern: "7$".into(),
        ..Wanted::default()
    };
    let output = jobs.output(id, Read::all()).await.unwrap();
    let mut search = output.search(wanted.compile().unwrap(), Undecided::default());
    let mut found = 0;
    loop {
        // Dropped whenever it is not ready, as by a select.
        let next = tokio::time::timeout(Duration::ZERO, search.next());
        match next.await {
            Err(_) => tokio::task::yield_now().await,
            Ok(Some(Ok(SearchEvent::Found(told)))) => found += told.lines.len(),
            Ok(Some(event)) => drop(event.unwrap()),
            Ok(None) => break,
        }
    }
    assert_eq!(found, 30_000);
}
