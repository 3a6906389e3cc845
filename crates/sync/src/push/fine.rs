//! Small files on a slow link: of one that was edited, what changed travels.
//!
//! A small file is sent as a whole, which on a usual link is the fastest. Where a byte takes longer than it takes to look whether it can be
//! left out, the client cuts small files as it does large ones (see `chunks`), only finer: `FastCDC` with chunks of 1 KiB
//! on average. It remembers ids and lengths of those that it sent, a hundredth of their bytes, and compares a file with what was at its path.
//! What the server has of that it copies, by the ranges that large files have. As with those, a list that is wrong costs a round trip.
//!
//! Encoded as a number of files, and for each `hash, chunks`, where each chunk is the first 8 bytes of its BLAKE3 and a
//! length of two bytes, little-endian.

use std::collections::HashMap;
use std::path::Path;

use fastcdc::v2020::{FastCDC, Normalization};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::message::Range;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwfine\0\0",
    version: 1,
};

/// Bytes of the smallest chunk, but for the last of a file; on average; of the largest.
const MIN: usize = 256;
const AVERAGE: usize = 1 << 10;
const MAX: usize = 8 << 10;
/// Bytes of the smallest file that is worth cutting.
pub(crate) const SMALLEST: usize = 4 << 10;
/// Bytes of one chunk's id and length.
const EACH: usize = 10;
/// Bytes that are remembered at most: those of a GiB of files, about.
const MAX_BYTES: usize = 10 << 20;
/// Bytes that a run takes on the link beside its content, about.
const RUN_BYTES: usize = 64;

/// The chunks of one file, encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunks(Vec<u8>);

/// The chunks of files, by their contents.
#[derive(Debug, Default)]
pub(crate) struct Fine(HashMap<Digest, Chunks>);

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Bytes that have to be sent: where they begin, and how many.
    Fresh(usize, usize),
    /// What another file has.
    Known(Range),
}

impl Chunks {
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(content.len() / AVERAGE * EACH + EACH);
        let mut left = content;
        while !left.is_empty() {
            let cutter = FastCDC::with_level(left, MIN, AVERAGE, MAX, Normalization::Level2);
            let (_, len) = cutter.cut(0, left.len());
            let (chunk, after) = left.split_at(len);
            encoded.extend_from_slice(&Digest::of(chunk).as_bytes()[..8]);
            let len = u16::try_from(len).expect("a chunk is at most 8 KiB");
            encoded.extend_from_slice(&len.to_le_bytes());
            left = after;
        }
        Self(encoded)
    }

    /// Id and length of each, and where it begins.
    fn each(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let mut at = 0;
        self.0.chunks_exact(EACH).map(move |chunk| {
            let begins = at;
            at += usize::from(u16::from_le_bytes([chunk[8], chunk[9]]));
            (chunk, begins)
        })
    }

    /// How to make a file of these of another one, and of what has to be sent; `None` if that is not worth it.
    pub(crate) fn from(&self, source: Digest, other: &Self) -> Option<Vec<Run>> {
        let there: HashMap<&[u8], usize> = other.each().collect();
        let (mut runs, mut fresh, mut size) = (Vec::new(), 0, 0);
        for (chunk, at) in self.each() {
            let len = usize::from(u16::from_le_bytes([chunk[8], chunk[9]]));
            size = at + len;
            let known = there.get(chunk).map(|&from| from as u64);
            fresh += known.map_or(len, |_| 0);
            match (runs.last_mut(), known) {
                (Some(Run::Fresh(_, run)), None) => *run += len,
                (Some(Run::Known(range)), Some(from)) if range.from + range.len == from => {
                    range.len += len as u64;
                }
                (_, None) => runs.push(Run::Fresh(at, len)),
                (_, Some(from)) => runs.push(Run::Known(Range {
                    offset: at as u64,
                    len: len as u64,
                    source,
                    from,
                })),
            }
        }
        // Little that is packed by itself gets less small than much, of which a third may be left.
        let cost = fresh * 2 / 3 + runs.len() * RUN_BYTES;
        (cost < size / 4).then_some(runs)
    }
}

impl Fine {
    /// What is remembered at `path`. What is damaged, or of a newer version, is as good as nothing.
    pub(crate) fn load(path: &Path) -> Self {
        let read = store::read(path).ok().flatten();
        read.and_then(|bytes| decode(&bytes, path).ok())
            .unwrap_or_default()
    }

    pub(crate) fn get(&self, content: &Digest) -> Option<&Chunks> {
        self.0.get(content)
    }

    /// Remembers at `path` the chunks of those files, of these here and of `new`, that `is_there`.
    pub(crate) fn save(
        mut self,
        path: &Path,
        new: Vec<(Digest, Chunks)>,
        is_there: impl Fn(&Digest) -> bool,
    ) -> Result<(), StoreError> {
        // The latest first, where there is no room for all.
        let old = std::mem::take(&mut self.0);
        let mut left = MAX_BYTES;
        for (content, chunks) in new.into_iter().chain(old) {
            let bytes = chunks.0.len();
            if bytes <= left && is_there(&content) && self.0.insert(content, chunks).is_none() {
                left -= bytes;
            }
        }
        Replacement::of(path)?.finish(&self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(content, _)| **content);
        let bytes = sorted.iter().map(|(_, chunks)| chunks.0.len() + 40);
        let mut writer = Writer::new(FORMAT, 64 + bytes.sum::<usize>());
        writer.u64(sorted.len() as u64);
        for (content, chunks) in sorted {
            writer.digest(content);
            writer.bytes(&chunks.0);
        }
        writer.finish()
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Fine, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    let mut files = HashMap::new();
    for _ in 0..reader.u64()? {
        let (content, chunks) = (reader.digest()?, reader.bytes()?);
        if chunks.len() % EACH != 0 {
            return Err(reader.damaged("a bad chunk"));
        }
        files.insert(content, Chunks(chunks.to_vec()));
    }
    Ok(Fine(files))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Chunks, Fine, Run};
    use crate::digest::Digest;

    fn text(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let words = std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(7);
            format!("word{} ", (state >> 33) % 5000)
        });
        words.flat_map(String::into_bytes).take(len).collect()
    }

    /// What a server makes of runs.
    fn made(runs: &[Run], new: &[u8], old: &[u8]) -> Vec<u8> {
        let mut made = Vec::new();
        for run in runs {
            match *run {
                Run::Fresh(at, len) => {
                    assert_eq!(at, made.len());
                    made.extend_from_slice(&new[at..at + len]);
                }
                Run::Known(range) => {
                    assert_eq!(range.offset, made.len() as u64);
                    let [from, len] = [range.from, range.len].map(|n| usize::try_from(n).unwrap());
                    made.extend_from_slice(&old[from..from + len]);
                }
            }
        }
        made
    }

    #[test]
    fn an_edit_in_the_middle_is_a_little_between_two_ranges() {
        let old = text(14_000, 1);
        let new = [&old[..7000], b" some words ", &old[7000..]].concat();
        let runs = Chunks::of(&new)
            .from(Digest::of(&old), &Chunks::of(&old))
            .unwrap();
        assert!(
            matches!(
                runs[..],
                [Run::Known(_), Run::Fresh(_, ..6000), Run::Known(_)]
            ),
            "{runs:?}"
        );
        assert_eq!(made(&runs, &new, &old), new);
        // Another text has nothing of it, and half of one is not worth it.
        let other = Chunks::of(&text(14_000, 2));
        assert_eq!(other.from(Digest::of(&old), &Chunks::of(&old)), None);
        let half = [&old[..7000], &text(7000, 3)].concat();
        assert_eq!(
            Chunks::of(&half).from(Digest::of(&old), &Chunks::of(&old)),
            None
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_made_of_runs_is_the_file(
            len in 4096_usize..200_000, at in 0_usize..200_000, put in 0_usize..3_000, gone in 0_usize..9_000,
        ) {
            let old = text(len, 5);
            let at = at.min(len);
            let new = [&old[..at], &text(put, 6), &old[(at + gone).min(len)..]].concat();
            if let Some(runs) = Chunks::of(&new).from(Digest::of(&old), &Chunks::of(&old)) {
                prop_assert_eq!(made(&runs, &new, &old), new);
            }
        }
    }

    #[test]
    fn what_is_there_comes_back_and_damage_is_as_good_as_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("fine");
        let [a, b, gone] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let is_there = |content: &Digest| *content != gone;
        let chunks = |seed| Chunks::of(&text(9000, seed));
        assert!(Fine::load(&path).get(&a).is_none());
        let all = vec![(a, chunks(1)), (gone, chunks(2))];
        Fine::default().save(&path, all, is_there).unwrap();
        Fine::load(&path)
            .save(&path, vec![(b, chunks(3))], is_there)
            .unwrap();
        let known = Fine::load(&path);
        assert_eq!(known.get(&a), Some(&chunks(1)));
        assert_eq!(known.get(&b), Some(&chunks(3)));
        assert_eq!(known.get(&gone), None);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Fine::load(&path).get(&a).is_none());
    }
}
