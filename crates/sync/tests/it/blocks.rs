//! Other sizes of chunks and frames than the usual ones, and files that are too large.

use legwork_sync::error::PushError;
use legwork_sync::message::{Refusal, Up};
use legwork_sync::push::{Blocks, Compress, Options};
use legwork_sync::receive;

use crate::support::{Bench, Tree, kinds, noise, push_under, tapped_with};

fn small(bench: &Bench) -> Options {
    let blocks = Blocks::default().with_chunk(16 << 10);
    let blocks = blocks.and_then(|blocks| blocks.with_frame(64 << 10));
    Options {
        blocks: blocks.unwrap(),
        compress: Compress::Nothing,
        ..bench.options()
    }
}

fn pushed(bench: &Bench, options: &Options) -> (u64, Vec<Up>) {
    let (pushed, seen) = tapped_with(bench, options, |_, _| {});
    let pushed = pushed.unwrap();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    (pushed.sent_bytes, seen)
}

#[test]
fn content_travels_in_pieces_of_the_size_that_was_asked_for() {
    let bench = Bench::new();
    let large = noise(2 << 20, 1);
    std::fs::write(bench.source.join("large"), &large).unwrap();
    for file in 0..200 {
        bench.write(
            &format!("small/{file}"),
            &format!("{file} of them\n").repeat(300),
        );
    }
    let (_, seen) = pushed(&bench, &small(&bench));
    let frames = seen.iter().filter_map(|message| match message {
        Up::Data(data) => Some(data.bytes.len()),
        _ => None,
    });
    let largest = frames.max().unwrap();
    assert!((64 << 10..=128 << 10).contains(&largest), "{largest}");
    // A smaller chunk is a smaller part that is sent again.
    std::fs::write(bench.source.join("large"), [&b"!"[..], &large[..]].concat()).unwrap();
    let (sent, seen) = pushed(&bench, &small(&bench));
    assert!(sent <= 64 << 10, "{sent}: {}", kinds(&seen));
    // Chunks of another size are not looked for among these, and remembered beside them.
    std::fs::write(
        bench.source.join("large"),
        [&b"!!"[..], &large[..]].concat(),
    )
    .unwrap();
    let (sent, _) = pushed(&bench, &bench.options());
    assert_eq!(sent, (2 << 20) + 2);
    std::fs::write(
        bench.source.join("large"),
        [&b"!!!"[..], &large[..]].concat(),
    )
    .unwrap();
    let (sent, _) = pushed(&bench, &bench.options());
    assert!(sent <= 256 << 10, "{sent}");
}

#[test]
fn a_file_that_is_larger_than_it_may_be_is_named() {
    let bench = Bench::new();
    bench.write("fits", "12345678");
    let options = receive::Options {
        max_file_bytes: 8,
        ..receive::Options::default()
    };
    let push = || {
        let (source, cache) = (&bench.source, &bench.cache());
        push_under(&options, &bench.workspace, source, cache, &bench.options())
    };
    push().unwrap();
    bench.write("dir/large", "123456789");
    let refused = push().unwrap_err();
    let PushError::Refused(Refusal::TooMuch { what, limit: 8 }) = &refused else {
        panic!("{refused}");
    };
    assert!(what.contains("dir/large"), "{what}");
}
