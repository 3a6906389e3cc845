//! Large files: of those that changed, the server is sent what it does not have.

use std::fs;

use legwork_sync::error::PushError;
use legwork_sync::message::Up;
use legwork_sync::push::Compress;

use crate::support::{Bench, Tree, kinds, noise, tapped, to_the_first_version};

/// Text as far as trees go, that no compression makes smaller.
fn letters(len: usize, seed: u64) -> String {
    noise(len, seed)
        .into_iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

const LARGE: usize = 6 << 20;
/// Two of the largest chunks: what a change in one place may cost.
const A_PLACE: u64 = 2 * (256 << 10);

fn fixture() -> (Bench, String) {
    let (bench, content) = (Bench::new(), letters(LARGE, 1));
    bench.write("large", &content);
    bench.write("small", "1");
    assert_eq!(bench.mirror().sent_bytes, LARGE as u64 + 1);
    (bench, content)
}

#[test]
fn of_a_large_file_with_a_byte_in_front_little_is_sent_and_nothing_is_asked() {
    let (bench, content) = fixture();
    bench.write("large", &format!("!{content}"));
    let (pushed, seen) = tapped(&bench, |_, _| {});
    let pushed = pushed.unwrap();
    assert!(pushed.sent_bytes <= A_PLACE, "{}", pushed.sent_bytes);
    assert_eq!(pushed.sent_bytes + pushed.reused_bytes, LARGE as u64 + 1);
    assert_eq!(kinds(&seen).matches('E').count(), 1);
    let ranges = seen.iter().map(|message| match message {
        Up::Reuse(reuse) => reuse.ranges.len(),
        _ => 0,
    });
    assert!(
        ranges.sum::<usize>() <= 4,
        "what lies side by side is told at once"
    );
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn changes_here_and_there_and_other_files_with_parts_of_it_send_what_is_new() {
    let (bench, content) = fixture();
    let (front, back) = content.split_at(LARGE / 2);
    bench.write("large", &format!("{front} and {back} end"));
    let pushed = bench.mirror();
    assert!(pushed.sent_bytes <= 2 * A_PLACE, "{}", pushed.sent_bytes);
    bench.write("another", &format!("{back}{front}"));
    let pushed = bench.mirror();
    assert!(pushed.sent_bytes <= 2 * A_PLACE, "{}", pushed.sent_bytes);
    bench.write("large", front);
    let pushed = bench.mirror();
    assert!(pushed.sent_bytes <= A_PLACE, "{}", pushed.sent_bytes);
    bench.write("large", &letters(LARGE, 2));
    assert_eq!(bench.mirror().sent_bytes, LARGE as u64);
    bench.write("large", "");
    assert_eq!(bench.mirror().sent_bytes, 0);
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn a_source_that_a_job_changed_spoils_nothing() {
    for change in [
        (|bench| bench.job_write("large", "short")) as fn(&Bench),
        |bench| bench.job_remove("large"),
        |bench| bench.job_write("large", &letters(LARGE, 3)),
    ] {
        let (bench, content) = fixture();
        bench.write("copy", &format!("{content}!"));
        bench.remove("large");
        change(&bench);
        let (pushed, seen) = tapped(&bench, |_, _| {});
        assert!(pushed.unwrap().sent_bytes >= LARGE as u64);
        assert_eq!(kinds(&seen).matches('E').count(), 2);
        let copied = fs::read_to_string(bench.workspace.tree().join("copy")).unwrap();
        assert!(copied == format!("{content}!"));
    }
}

#[test]
fn without_what_is_remembered_of_it_a_large_file_is_sent_whole() {
    let (bench, content) = fixture();
    let chunks = bench.temp.path().join("cache.chunks");
    for forgotten in ["", "damaged"] {
        fs::write(&chunks, forgotten).unwrap();
        bench.write("large", &format!("{forgotten}!{content}"));
        assert!(bench.mirror().sent_bytes > LARGE as u64);
        // And from then on it is remembered.
        bench.write("large", &format!("{forgotten}!{content}!"));
        assert!(bench.mirror().sent_bytes <= A_PLACE);
    }
}

#[test]
fn in_a_dry_run_no_content_is_sent() {
    let (bench, content) = fixture();
    bench.write("large", &format!("!{content}"));
    let options = legwork_sync::push::Options {
        dry_run: true,
        compress: Compress::Zstd,
        ..bench.options()
    };
    let planned = bench.push_with(&options).unwrap();
    assert_eq!((planned.sent_bytes, planned.summary.written.total), (0, 1));
}

/// A server of the first version, as a client finds it: it says so, and what came later is no message for it.
#[test]
fn an_older_server_is_sent_what_it_understands() {
    for first_is_older in [true, false] {
        let (bench, content) = (Bench::new(), letters(LARGE, 1));
        bench.write("large", &content);
        let (pushed, seen) = if first_is_older {
            to_the_first_version(&bench)
        } else {
            tapped(&bench, |_, _| {})
        };
        assert_eq!(pushed.unwrap().sent_bytes, LARGE as u64);
        assert!(!kinds(&seen).contains('U'));
        bench.write("large", &format!("!{content}"));
        if !first_is_older {
            // It was not as old before. If we hear that too late, it is noticed once.
            let (pushed, seen) = to_the_first_version(&bench);
            if kinds(&seen).contains('U') {
                assert!(matches!(pushed, Err(PushError::Older)), "{pushed:?}");
            }
        }
        let (pushed, seen) = to_the_first_version(&bench);
        pushed.unwrap();
        assert!(!kinds(&seen).contains('U'));
        assert_eq!(bench.tree(), Tree::of(&bench.source));
    }
}
