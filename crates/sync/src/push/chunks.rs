//! Large files in chunks, whose ends follow from the content around them: what is put in or taken out moves few of them.
//!
//! `FastCDC` (2020) with chunks of 16 to 256 KiB, 64 KiB on average, unless somebody settled other sizes. The client remembers the chunks of what it sent (see `library`), so of a
//! changed file it sends those that no file of the last commit has, and for the others says where they are. No list of chunks ever
//! travels, and the server need not know how they are made: it verifies the whole file. So a list that is wrong
//! costs one more round trip, and so would another way to cut.

use fastcdc::v2020::{FastCDC, Normalization};

use crate::digest::Digest;
use crate::push::blocks::Blocks;
use crate::push::library::Library;

/// The first half of a chunk's BLAKE3: enough to tell chunks of one's own files apart.
pub(crate) type Id = [u8; 16];

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) id: Id,
    /// Where it begins in its file, in bytes.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) len: u32,
}

fn id(bytes: &[u8]) -> Id {
    let hash = Digest::of(bytes);
    let (id, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    *id
}

/// Where a file of the last commit has a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's content.
    pub(crate) file: Digest,
    /// Where the chunk begins in it, in bytes.
    pub(crate) offset: u64,
}

/// Cuts a file that comes in pieces.
#[derive(Debug)]
pub(crate) struct Cutter<'a> {
    known: &'a Library,
    /// Bytes of the smallest chunk but the last, of one on average, and of the largest.
    sizes: (usize, usize, usize),
    /// What came and is not cut.
    rest: Vec<u8>,
    /// Where the chunk that comes next was before: list and position. Most often it follows the one before.
    expected: Option<(usize, usize)>,
    chunks: Vec<Chunk>,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(known: &'a Library, blocks: Blocks) -> Self {
        Self {
            known,
            sizes: blocks.chunks(),
            rest: Vec::new(),
            expected: None,
            chunks: Vec::new(),
        }
    }

    /// Takes the next bytes; tells of each chunk that is complete by them, and where it is known.
    pub(crate) fn take<E>(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(&[u8], Option<Place>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.rest.extend_from_slice(bytes);
        self.cut(false, each)
    }

    /// The file is at its end: all its chunks.
    pub(crate) fn finish<E>(
        mut self,
        each: impl FnMut(&[u8], Option<Place>) -> Result<(), E>,
    ) -> Result<Vec<Chunk>, E> {
        self.cut(true, each)?;
        Ok(self.chunks)
    }

    fn cut<E>(
        &mut self,
        end: bool,
        mut each: impl FnMut(&[u8], Option<Place>) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = std::mem::take(&mut self.rest);
        let mut left = &rest[..];
        let (_, _, largest) = self.sizes;
        // Where the next chunk ends depends on no more than the largest.
        while left.len() >= largest || end && !left.is_empty() {
            let (len, id, place) = self.next(left, end);
            let (chunk, after) = left.split_at(len);
            let offset = self
                .chunks
                .last()
                .map_or(0, |last| last.offset + u64::from(last.len));
            let len = u32::try_from(len).expect("a chunk is at most 512 KiB");
            self.chunks.push(Chunk { id, offset, len });
            each(chunk, place)?;
            left = after;
        }
        let kept = rest.len() - left.len();
        self.rest = rest;
        self.rest.drain(..kept);
        Ok(())
    }

    /// The chunk at the beginning of `left`.
    fn next(&mut self, left: &[u8], end: bool) -> (usize, Id, Option<Place>) {
        // What a file has after the chunk before need only be compared, which is faster than to look for an end. The last chunk of
        // a file ends with it, and not because of what it is.
        if let Some((list, at)) = self.expected.take()
            && let Some((chunk, is_last)) = self.known.chunk(list, at)
            && let len = chunk.len as usize
            && len <= left.len()
            && (!is_last || end && len == left.len())
            && id(&left[..len]) == chunk.id
        {
            self.expected = Some((list, at + 1));
            return (len, chunk.id, self.known.place(list, at));
        }
        let (min, average, max) = self.sizes;
        let cutter = FastCDC::with_level(left, min, average, max, Normalization::Level2);
        let (_, len) = cutter.cut(0, left.len());
        let id = id(&left[..len]);
        let found = self.known.find(&id, len);
        self.expected = found.map(|(list, at)| (list, at + 1));
        let place = found.and_then(|(list, at)| self.known.place(list, at));
        (len, id, place)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::{Blocks, Chunk, Cutter, Place};
    use crate::digest::Digest;
    use crate::push::library::Library;

    /// Bytes that are always the same, and do not repeat.
    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).flatten().take(len).collect()
    }

    fn cut(library: &Library, content: &[u8], step: usize) -> (Vec<Chunk>, Vec<Option<Place>>) {
        let (mut cutter, mut places, mut seen) = (
            Cutter::new(library, Blocks::default()),
            Vec::new(),
            Vec::new(),
        );
        let mut each = |chunk: &[u8], place| {
            seen.extend_from_slice(chunk);
            places.push(place);
            Ok::<_, Infallible>(())
        };
        for part in content.chunks(step) {
            let Ok(()) = cutter.take(part, &mut each);
        }
        let Ok(chunks) = cutter.finish(&mut each);
        assert_eq!(seen, content);
        (chunks, places)
    }

    /// What is cut otherwise is not found again in files that were sent before.
    #[test]
    fn the_cuts_are_pinned() {
        let golden = include_str!("../../tests/golden/chunks.txt");
        let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
        let zeros = vec![0; 1 << 20];
        for content in [bytes(1 << 20, 1), bytes(3_000_001, 2), zeros, bytes(100, 3)] {
            let (chunks, _) = cut(&Library::default(), &content, 100_000);
            let line = |chunk: &Chunk| {
                let id: String = chunk.id.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{} {} {id}", chunk.offset, chunk.len)
            };
            for chunk in &chunks {
                assert_eq!(lines.next(), Some(&*line(chunk)));
            }
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_byte_in_front_changes_the_first_chunk_alone() {
        let before = bytes(5 << 20, 4);
        let mut library = Library::default();
        let hash = Digest::of(&before);
        library.add(hash, cut(&library, &before, 1 << 20).0);
        let after = [b"!", &before[..]].concat();
        let (chunks, places) = cut(&library, &after, 1 << 19);
        assert!(places.len() > 40 && places[0].is_none());
        for (chunk, place) in chunks.iter().zip(&places).skip(1) {
            let offset = chunk.offset - 1;
            assert_eq!(*place, Some(Place { file: hash, offset }));
        }
        // To compare with what is expected gives the same as to look for the ends.
        assert_eq!(chunks, cut(&Library::default(), &after, 1 << 20).0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn however_it_comes_it_is_cut_the_same_and_what_is_known_is_there(
            len in 0_usize..2_000_000, at in 0_usize..2_000_000, put in 0_usize..300_000, gone in 0_usize..300_000,
            steps in (1_usize..400_000, 1_usize..400_000),
        ) {
            let before = bytes(len, 5);
            let mut library = Library::default();
            let (old, _) = cut(&library, &before, steps.0);
            library.add(Digest::of(&before), old);
            let at = at.min(len);
            let after = [&before[..at], &bytes(put, 6), &before[(at + gone).min(len)..]].concat();
            let (chunks, places) = cut(&library, &after, steps.0);
            prop_assert_eq!(&chunks, &cut(&Library::default(), &after, steps.1).0);
            let (min, _, max) = Blocks::default().chunks();
            for (at, chunk) in chunks.iter().enumerate() {
                let size = chunk.len as usize;
                prop_assert!(size <= max && (size >= min || at + 1 == chunks.len()));
                if let Some(place) = places[at] {
                    let [new, old] = [chunk.offset, place.offset].map(|at| usize::try_from(at).unwrap());
                    let len = chunk.len as usize;
                    prop_assert_eq!(&after[new..new + len], &before[old..old + len]);
                }
            }
        }
    }
}
