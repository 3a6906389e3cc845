//! Clients that say of what is not so, or not theirs, that the server has it.

use std::fs;

use legwork_sync::digest::Digest;
use legwork_sync::manifest;
use legwork_sync::message::{Down, End, Hello, MAX_PAGE, Node, Put, Range, Refusal, Reuse, Up};
use legwork_sync::path::TreePath;

use crate::hostile::{data, end, hello, last_word, offered, put, puts, refused};
use crate::support::Bench;

/// Ranges of a file of these contents.
fn reuse(file: u32, ranges: &[(u64, u64, &[u8], u64)]) -> Up {
    let range = |&(offset, len, source, from): &(u64, u64, &[u8], u64)| Range {
        offset,
        len,
        source: Digest::of(source),
        from,
    };
    Up::Reuse(Reuse {
        file,
        ranges: ranges.iter().map(range).collect(),
    })
}

#[test]
fn ranges_that_fit_nothing_are_refused() {
    for ranges in [
        reuse(2, &[(0, 2, b"12", 0)]),
        reuse(0, &[(1, 1, b"12", 0)]),
        reuse(0, &[(0, 3, b"12", 0)]),
        reuse(0, &[(u64::MAX, 2, b"12", 0)]),
        reuse(0, &[(0, 0, b"12", 0)]),
        reuse(0, &[(0, 2, b"12", 0), (0, 2, b"12", 0)]),
    ] {
        let refusal = refused(vec![offered(), ranges.clone(), end()]);
        assert!(
            matches!(refusal, Refusal::Protocol { .. }),
            "{ranges:?}: {refusal}"
        );
    }
    let many = vec![(0, 1, &b"12"[..], 0); MAX_PAGE + 1];
    let refusal = refused(vec![offered(), reuse(0, &many)]);
    assert!(matches!(refusal, Refusal::TooMuch { .. }));
    let refusal = refused(vec![offered(), reuse(0, &[(0, u64::MAX, b"12", 0)])]);
    assert!(matches!(refusal, Refusal::TooMuch { .. }));
    // A little that stands for much counts as much.
    let size = 9 << 20;
    let claimed = Put {
        node: Node::File {
            exec: false,
            size,
            hash: Digest::of(b"never"),
        },
        ..put(b"a", b"")
    };
    let refusal = refused(vec![puts(vec![claimed]), reuse(0, &[(0, size, b"12", 0)])]);
    assert!(matches!(refusal, Refusal::TooMuch { .. }), "{refusal}");
}

/// Two files that both go on from one beginning do not write into each other.
#[test]
fn a_beginning_is_for_one_file() {
    let bench = Bench::new();
    let content = b"the beginning and the end";
    let (begun, all) = (13, content.len() as u64);
    let offers = || puts(vec![put(b"a", content), put(b"b", content)]);
    let first = data(&[(0, 0, begun)], &content[..begun as usize]);
    let cut = last_word(&bench, vec![hello(), offers(), first]);
    assert!(matches!(cut, Some(Down::Welcome(_))), "{cut:?}");
    let own = |file| reuse(file, &[(0, begun.into(), content, 0)]);
    let rest = |file| {
        let len = u32::try_from(all).unwrap() - begun;
        data(&[(file, begun.into(), len)], &content[begun as usize..])
    };
    let paths = [b"a", b"b"].map(|path| TreePath::new(*path).unwrap());
    let node = put(b"a", content).node;
    let root = manifest::root(paths.iter().map(|path| (path, &node)));
    let unread = Vec::new();
    let end = Up::End(End { root, unread });
    let said = vec![hello(), offers(), own(0), own(1), rest(1), rest(0), end];
    let answer = last_word(&bench, said);
    assert!(matches!(answer, Some(Down::Committed(_))), "{answer:?}");
    for path in ["a", "b"] {
        let there = fs::read(bench.workspace.tree().join(path)).unwrap();
        assert_eq!(there, content, "{path}");
    }
}

/// What a job has, and the mirror did not write, is not found by its hash.
#[test]
fn a_range_of_what_is_not_the_mirrors_brings_nothing() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    let secret = "a job's secret";
    bench.job_write("secret", secret);
    let Up::Hello(first) = hello() else {
        panic!("not a hello")
    };
    let base = Some(bench.workspace.root().unwrap().unwrap());
    let file = put(b"b", secret.as_bytes());
    let entries = [
        (b"a".to_vec(), put(b"a", b"1").node),
        (b"b".to_vec(), file.node.clone()),
    ];
    let paths: Vec<_> = entries
        .iter()
        .map(|(path, _)| TreePath::new(path.clone()).unwrap())
        .collect();
    let pairs = paths.iter().zip(entries.iter().map(|(_, node)| node));
    let root = manifest::root(pairs);
    let answer = last_word(
        &bench,
        vec![
            Up::Hello(Hello { base, ..first }),
            puts(vec![file]),
            reuse(0, &[(0, secret.len() as u64, secret.as_bytes(), 0)]),
            Up::End(End {
                root,
                unread: Vec::new(),
            }),
        ],
    );
    assert!(matches!(answer, Some(Down::Need(_))), "{answer:?}");
}
