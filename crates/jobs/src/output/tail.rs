//! Where the last lines begin, found from the end backwards.

use std::io;
use std::path::Path;

use super::origins::Origins;
use super::tape::{Found, Tape};
use super::{Run, Streams};

/// Bytes looked at in one step.
const BLOCK: u64 = 64 * 1024;

/// The offset at which the last `lines` lines of these streams begin. A newline at the very end ends the last line and
/// begins none.
pub(super) fn start_of_tail(dir: &Path, lines: u64, streams: Streams) -> io::Result<u64> {
    let mut tape = Tape::new(dir);
    let mut origins = Origins::new(dir);
    let end = tape.end()?;
    let mut count = Count {
        left: lines,
        seen_any: false,
    };
    if lines == 0 {
        return Ok(end);
    }
    for (start, stop) in tape.extents()?.into_iter().rev() {
        let mut stop = stop.min(end);
        while stop > start {
            let from = stop.saturating_sub(BLOCK).max(start);
            let block = read_whole(&mut tape, from, stop)?;
            origins.seek(from)?;
            let runs = origins.runs(from, block.len())?;
            if let Some(within) = count.find(&block, &runs, streams) {
                return Ok(from + within as u64);
            }
            stop = from;
        }
    }
    Ok(0)
}

fn read_whole(tape: &mut Tape, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(usize::MAX);
        match tape.read(at, want, true)? {
            Found::Data(data) => {
                at += data.len() as u64;
                block.extend(data);
            }
            // It has vanished since it was listed: what is left of it is as good as an empty line.
            Found::Gap(_) | Found::Nothing => break,
        }
    }
    Ok(block)
}

/// Lines that are still to be found.
struct Count {
    left: u64,
    seen_any: bool,
}

impl Count {
    /// The place in this block after the newline that is before the last line wanted, if it is in this block.
    fn find(&mut self, block: &[u8], runs: &[Run], streams: Streams) -> Option<usize> {
        let mut end = block.len();
        for run in runs.iter().rev() {
            let start = end - run.len;
            if streams.take(run.stream) && start < end {
                let mut part = &block[start..end];
                if !self.seen_any {
                    self.seen_any = true;
                    part = part.strip_suffix(b"\n").unwrap_or(part);
                }
                for newline in memchr::memrchr_iter(b'\n', part) {
                    self.left -= 1;
                    if self.left == 0 {
                        return Some(start + newline + 1);
                    }
                }
            }
            end = start;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use legwork_shim::index::{Entry, Stream};
    use legwork_shim::layout::segment_name;
    use proptest::prelude::*;

    use super::{BLOCK, Streams, start_of_tail};

    fn tail_of(bytes: &[u8], lines: u64) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(segment_name(0)), bytes).unwrap();
        start_of_tail(dir.path(), lines, Streams::Raw).unwrap()
    }

    #[test]
    fn as_tail_counts() {
        for (text, lines, start) in [
            ("", 3, 0),
            ("a\nb\nc\n", 0, 6),
            ("a\nb\nc\n", 1, 4),
            ("a\nb\nc", 1, 4),
            ("a\nb\nc", 2, 2),
            ("a\nb\nc\n", 9, 0),
            ("a\n\n", 1, 2),
            ("\n", 1, 0),
        ] {
            assert_eq!(tail_of(text.as_bytes(), lines), start, "{text:?} {lines}");
        }
        let long = [
            vec![b'x'; 3 * usize::try_from(BLOCK).unwrap()],
            b"\nlast".to_vec(),
        ]
        .concat();
        assert_eq!(tail_of(&long, 1), long.len() as u64 - 4);
        assert_eq!(tail_of(&long, 2), 0);
    }

    proptest! {
        #[test]
        fn of_one_stream_only_its_own_newlines_count(
            runs in prop::collection::vec((any::<bool>(), "[a\n]{1,4}"), 1..20),
            lines in 1..6_u64,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut all, mut index, mut errors) = (Vec::new(), Vec::new(), Vec::new());
            for (err, text) in &runs {
                let stream = if *err { Stream::Stderr } else { Stream::Stdout };
                index.extend(Entry { offset: all.len() as u64, time_us: 1, stream }.encode());
                if *err {
                    let start = all.len();
                    errors.extend(text.bytes().enumerate().map(|(n, byte)| (start + n, byte)));
                }
                all.extend(text.bytes());
            }
            std::fs::write(dir.path().join(segment_name(0)), &all).unwrap();
            std::fs::write(dir.path().join("index"), index).unwrap();
            let start = start_of_tail(dir.path(), lines, Streams::Stderr).unwrap();

            let text: String = errors.iter().map(|(_, byte)| char::from(*byte)).collect();
            let wanted: Vec<&str> = text.split_inclusive('\n').rev()
                .take(usize::try_from(lines).unwrap()).collect();
            let expected: String = wanted.into_iter().rev().collect();
            let found: String = errors.iter().filter(|(at, _)| *at as u64 >= start)
                .map(|(_, byte)| char::from(*byte)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
