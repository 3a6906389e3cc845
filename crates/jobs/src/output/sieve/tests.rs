//! Goal: whatever comes in whatever chunks, the lines that match are those that a look at each line finds.
//! Method: random output of both streams with gaps, against a model that knows the whole.

use bytes::Bytes;
use legwork_shim::index::Stream;
use proptest::prelude::*;
use regex::bytes::Regex;

use super::{Chunk, Found, FoundLine, Run, Sieve, Streams, Undecided};
use crate::output::Wanted;

const PATTERNS: [&str; 26] = [
    "a",
    "^a",
    "a$",
    "^$",
    "^",
    "a.*b",
    r"\bab",
    r"[^a]b",
    r"\s",
    "(?s)a.b",
    "a|b$",
    r"\Aa",
    r"b\z",
    "x*",
    "(?i)A+b",
    r"\Bb",
    r"\r",
    "(?m)^b",
    "a{2,3}",
    r"(?-u:\xff)",
    r"[^\n]{4}",
    "(a|ab)(b|$)",
    r"\W",
    "ö",
    r"(?R)a$",
    r"(?-u:[^a])$",
];

/// A byte as the model knows it; `None` is one that was not kept.
type Byte = Option<(Stream, u8)>;

#[derive(Debug, Clone)]
struct Piece {
    stderr: bool,
    gap: bool,
    text: Vec<u8>,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let byte = prop::sample::select(b"aaabbxA\n\n\r \xff\xc3\xb6".to_vec());
    let text = prop::collection::vec(byte, 1..9);
    let piece = (any::<bool>(), prop::bool::weighted(0.1), text)
        .prop_map(|(stderr, gap, text)| Piece { stderr, gap, text });
    prop::collection::vec(piece, 0..24)
}

fn stream(piece: &Piece) -> Stream {
    if piece.stderr {
        Stream::Stderr
    } else {
        Stream::Stdout
    }
}

/// Feeds what begins at `at`, in chunks of these lengths over and over, and gives what is found after each.
fn sift(sieve: &mut Sieve, whole: &[Byte], at: usize, cuts: &[usize]) -> Vec<Found> {
    let (mut at, mut cuts) = (at, cuts.iter().cycle());
    let mut found = Vec::new();
    while at < whole.len() {
        let gap = whole[at..].iter().take_while(|byte| byte.is_none()).count();
        if gap > 0 {
            sieve.end_lines(at as u64);
            found.push(sieve.take());
            at += gap;
            sieve.end_lines(at as u64);
            continue;
        }
        let bytes: Vec<_> = whole[at..]
            .iter()
            .map_while(|byte| *byte)
            .take(*cuts.next().unwrap())
            .collect();
        let runs = bytes.iter().enumerate().map(|(n, (stream, _))| Run {
            len: 1,
            stream: *stream,
            time_us: (at + n) as u64,
        });
        let chunk = Chunk {
            offset: at as u64,
            data: bytes.iter().map(|(_, byte)| *byte).collect::<Bytes>(),
            runs: runs.collect(),
        };
        at += bytes.len();
        sieve.chunk(&chunk, || false);
        found.push(sieve.take());
    }
    sieve.end_lines(whole.len() as u64);
    found.push(sieve.take());
    found
}

/// Each line that there is, with its end and its bytes.
fn lines_of(whole: &[Byte], streams: Streams, line_max: usize) -> Vec<(usize, FoundLine, Vec<u8>)> {
    let mut lines = Vec::new();
    for stream in [Stream::Stdout, Stream::Stderr]
        .into_iter()
        .filter(|stream| streams.take(*stream))
    {
        let mut line: Option<(usize, Vec<u8>)> = None;
        let mut end = |line: Option<(usize, Vec<u8>)>, end: usize| {
            lines.extend(line.map(|(offset, data)| {
                let told = FoundLine {
                    offset: offset as u64,
                    len: data.len(),
                    stream,
                    time_us: offset as u64,
                };
                (end, told, data)
            }));
        };
        for (at, byte) in whole.iter().enumerate() {
            match byte {
                None => end(line.take(), at),
                Some((of, byte)) if *of == stream => {
                    let (offset, mut data) = line.take().unwrap_or((at, Vec::new()));
                    data.push(*byte);
                    if *byte == b'\n' || data.len() == line_max {
                        end(Some((offset, data)), at);
                    } else {
                        line = Some((offset, data));
                    }
                }
                Some(_) => {}
            }
        }
        end(line.take(), whole.len());
    }
    lines.sort_by_key(|(end, line, _)| (*end, line.offset));
    lines
}

fn naive(pattern: &str, line: &[u8]) -> bool {
    let text = match line.strip_suffix(b"\n") {
        Some(text) => text.strip_suffix(b"\r").unwrap_or(text),
        None => line,
    };
    Regex::new(pattern).unwrap().is_match(text)
}

fn told(found: &[Found]) -> Vec<(FoundLine, Vec<u8>)> {
    let mut told = Vec::new();
    for found in found {
        let mut data = found.data.clone();
        for line in &found.lines {
            told.push((*line, data.split_to(line.len).to_vec()));
        }
        assert!(data.is_empty());
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn it_finds_what_a_look_at_each_line_finds_and_goes_on_anywhere(
        pieces in pieces(),
        cuts in prop::collection::vec(1..12_usize, 1..6),
        other_cuts in prop::collection::vec(1..12_usize, 1..6),
        pattern in prop_oneof![prop::sample::select(&PATTERNS[..]).prop_map(str::to_owned), "[ab.^$|x]{1,4}"],
        streams in prop::sample::select(&[Streams::Raw, Streams::Stdout, Streams::Stderr][..]),
        line_max in prop::sample::select(&[4_usize, 9, 1000][..]),
        stop in any::<prop::sample::Index>(),
    ) {
        let whole: Vec<Byte> = pieces.iter().flat_map(|piece| {
            piece.text.iter().map(|byte| (!piece.gap).then_some((stream(piece), *byte)))
        }).collect();
        let wanted = Wanted { pattern: pattern.clone(), ..Wanted::default() };
        let compiled = wanted.compile().unwrap();
        let new = |at, from| Sieve {
            line_max,
            ..Sieve::new(compiled.clone(), streams, at, from)
        };
        let expected: Vec<_> = lines_of(&whole, streams, line_max).into_iter()
            .filter(|(_, _, line)| naive(&pattern, line))
            .map(|(_, told, line)| (told, line)).collect();

        let found = sift(&mut new(0, Undecided::default()), &whole, 0, &cuts);
        prop_assert_eq!(&told(&found), &expected);

        // Another one that goes on after any of these.
        let (before, _) = found.split_at(stop.index(found.len()) + 1);
        let next = before.last().unwrap().next;
        let at = next.stdout.min(next.stderr);
        let after = sift(&mut new(at, next), &whole, usize::try_from(at).unwrap(), &other_cuts);
        prop_assert_eq!(told(&[before, &after].concat()), expected);
    }
}

#[test]
fn a_sieve_that_is_not_wanted_stops() {
    let compiled = Wanted {
        pattern: "a".into(),
        ..Wanted::default()
    }
    .compile()
    .unwrap();
    let mut sieve = Sieve::new(compiled, Streams::Raw, 0, Undecided::default());
    let run = Run {
        len: 2,
        stream: Stream::Stdout,
        time_us: 0,
    };
    let chunk = Chunk {
        offset: 0,
        data: Bytes::from_static(b"a\n"),
        runs: vec![run],
    };
    sieve.chunk(&chunk, || true);
    assert_eq!(sieve.len(), 0);
}
