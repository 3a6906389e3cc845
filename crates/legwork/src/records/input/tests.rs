//! Any text, in pieces of any length: the same records, the same lines.

use std::io::Read;

use legwork_records::{Limits, Reason};
use proptest::prelude::*;

use super::{Found, Input, RAW_MAX};

/// Gives out a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(into.len()).min(self.0.len());
        into[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// The records with their lines, and the lines and reasons of those that are none.
fn read(text: &[u8], piece: usize) -> (Vec<(u64, String)>, Vec<(u64, Reason)>) {
    let mut input = Input::new(Slow(text, piece), Limits::default());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    loop {
        let mut out = Vec::new();
        match input.next(&mut out).unwrap() {
            Found::Record { line } => good.push((line, String::from_utf8(out).unwrap())),
            Found::Bad { line, why } => bad.push((line, why.reason)),
            Found::End => return (good, bad),
        }
    }
}

fn owned(found: &[(u64, &str)]) -> Vec<(u64, String)> {
    found
        .iter()
        .map(|(line, text)| (*line, (*text).to_owned()))
        .collect()
}

#[test]
fn arrays_objects_and_lines_are_records() {
    for (text, expected) in [
        ("", &[][..]),
        (" \n\t", &[]),
        ("[]", &[]),
        ("{\"a\": 1}", &[(1, "{\"a\":1}")]),
        (
            "\u{feff}{\"a\":1}\r\n{\"b\":2}\r\n",
            &[(1, "{\"a\":1}"), (2, "{\"b\":2}")],
        ),
        ("{\"a\":1}{\"b\":2}", &[(1, "{\"a\":1}"), (1, "{\"b\":2}")]),
        (
            "[{\"a\":1},\n {\"b\":\n2}\n]\n",
            &[(1, "{\"a\":1}"), (2, "{\"b\":2}")],
        ),
        (
            "{\n  \"a\": [\n1]\n}\n{\"b\":2}",
            &[(1, "{\"a\":[1]}"), (5, "{\"b\":2}")],
        ),
    ] {
        for piece in [1, 2, 7, 1 << 20] {
            let (good, bad) = read(text.as_bytes(), piece);
            assert_eq!(
                (good, bad),
                (owned(expected), vec![]),
                "{text:?} by {piece}"
            );
        }
    }
}

#[test]
fn a_bad_one_costs_only_itself_and_is_told_with_its_line() {
    for (text, lines, reasons) in [
        (
            "{\"a\":NaN}\n{\"b\":2}\n",
            &[2][..],
            &[(1, Reason::BadNumber)][..],
        ),
        (
            "{\"a\":1,\"a\":2}\nnull\n{\"b\":2}",
            &[3],
            &[(1, Reason::DuplicateKey), (2, Reason::NotAnObject)],
        ),
        ("{\n\"a\": x\n}\n{\"b\":2}", &[4], &[(1, Reason::Syntax)]),
        (
            "[{\"a\":01}, {\"b\":2}, 7]",
            &[1],
            &[(1, Reason::Syntax), (1, Reason::NotAnObject)],
        ),
        (
            "[{\"b\":2} {\"c\":3},{\"d\":4}]",
            &[1, 1],
            &[(1, Reason::Syntax)],
        ),
        ("[{\"b\":2}] x", &[1], &[(1, Reason::Syntax)]),
        ("[{\"b\":2}", &[1], &[(1, Reason::UnexpectedEnd)]),
        ("{\"b\":2}\n{\"c\":", &[1], &[(2, Reason::UnexpectedEnd)]),
    ] {
        for piece in [1, 3, 1 << 20] {
            let (good, bad) = read(text.as_bytes(), piece);
            let found: Vec<u64> = good.iter().map(|(line, _)| *line).collect();
            assert_eq!(found, lines, "{text:?} by {piece}");
            let told: Vec<u64> = bad.iter().map(|(line, _)| *line).collect();
            let expected: Vec<u64> = reasons.iter().map(|(line, _)| *line).collect();
            assert_eq!(told, expected, "{text:?} by {piece}");
            for ((_, found), (_, expected)) in bad.iter().zip(reasons) {
                let number = [found, expected]
                    .map(|reason| matches!(reason, Reason::BadNumber | Reason::Syntax));
                assert!(
                    found == expected || number == [true, true],
                    "{text:?}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_too_long_is_passed_over_and_never_held() {
    let long = "x".repeat(3 * RAW_MAX);
    let text = format!("{{\"a\":\"{long}\"}}\n{{\"b\":2}}\n");
    let mut input = Input::new(text.as_bytes(), Limits::default());
    let mut out = Vec::new();
    let Found::Bad { line: 1, why } = input.next(&mut out).unwrap() else {
        panic!("too large")
    };
    assert_eq!(why.reason, Reason::TooLarge);
    assert!(
        input.text.capacity() < 3 * RAW_MAX,
        "{}",
        input.text.capacity()
    );
    assert_eq!(input.next(&mut out).unwrap(), Found::Record { line: 2 });
    let text = format!("[{{\"a\":\"{long}\"}},{{\"b\":2}}]");
    let (good, bad) = read(text.as_bytes(), 1 << 20);
    assert_eq!((good.len(), bad.len()), (1, 1));
}

proptest! {
    #[test]
    fn it_does_not_matter_in_which_pieces_a_text_comes(
        text in proptest::collection::vec(
            proptest::sample::select(&b"{}[]\",:\\ \n01a\xe9"[..]),
            0..60,
        ),
        piece in 1_usize..9,
    ) {
        prop_assert_eq!(read(&text, piece), read(&text, 1 << 20));
    }
}
