//! How large the pieces are in which content travels.
//!
//! All of this is for whoever sends to settle: of chunks the server never hears, and it takes any frame up to its bound
//! ([`MAX_FRAME`](crate::message::MAX_FRAME)). So two clients of one workspace may do it differently, and a change costs no more than that chunks
//! which are remembered by another size are not found.

use crate::message::TARGET_FRAME;

/// Bytes of a chunk on average, at least and at most; powers of two.
const CHUNKS: [usize; 4] = [16 << 10, 32 << 10, 64 << 10, 128 << 10];
const CHUNK: usize = 64 << 10;
/// Bytes of the smallest frame that may be asked for.
const MIN_FRAME: usize = 64 << 10;
/// Bytes of the largest chunk that there may be.
pub(crate) const MAX_CHUNK: usize = 4 * CHUNKS[CHUNKS.len() - 1];

/// Sizes of chunks and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    chunk: usize,
    frame: usize,
}

/// A size that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBlocks {
    /// Of a chunk.
    #[error("a chunk has 16, 32, 64 or 128 KiB on average, not {0} bytes")]
    Chunk(u64),
    /// Of a frame.
    #[error("a frame has between 64 and 512 KiB, not {0} bytes")]
    Frame(u64),
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            chunk: CHUNK,
            frame: TARGET_FRAME,
        }
    }
}

impl Blocks {
    /// With chunks of so many bytes on average: 16, 32, 64 or 128 KiB. The smallest is a quarter of that and the largest four times as
    /// much; files up to that are not cut.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn with_chunk(self, bytes: u64) -> Result<Self, BadBlocks> {
        let chunk = usize::try_from(bytes).ok();
        let chunk = chunk.filter(|chunk| CHUNKS.contains(chunk));
        let chunk = chunk.ok_or(BadBlocks::Chunk(bytes))?;
        Ok(Self { chunk, ..self })
    }

    /// With frames that are closed at so many bytes: 64 to 512 KiB.
    ///
    /// # Errors
    /// If it is less or more.
    pub fn with_frame(self, bytes: u64) -> Result<Self, BadBlocks> {
        let frame = usize::try_from(bytes).ok();
        let frame = frame.filter(|frame| (MIN_FRAME..=TARGET_FRAME).contains(frame));
        let frame = frame.ok_or(BadBlocks::Frame(bytes))?;
        Ok(Self { frame, ..self })
    }

    /// Bytes of the smallest chunk but the last of a file, of one on average, and of the largest.
    pub(crate) fn chunks(self) -> (usize, usize, usize) {
        (self.chunk / 4, self.chunk, self.chunk * 4)
    }

    /// Bytes of the largest file that is sent as a whole, among others in a frame.
    pub(crate) fn whole(self) -> usize {
        self.chunk * 4
    }

    /// Bytes at which a frame is closed.
    pub(crate) fn frame(self) -> usize {
        self.frame
    }

    /// What the file is called in which chunks of this size are remembered.
    pub(crate) fn memory(self) -> String {
        match self.chunk {
            CHUNK => "chunks".to_owned(),
            other => format!("chunks-{other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadBlocks, Blocks, CHUNKS, MAX_CHUNK, MIN_FRAME};
    use crate::message::{MAX_FRAME, TARGET_FRAME};

    #[test]
    fn whatever_may_be_asked_for_fits_a_frame() {
        for chunk in CHUNKS {
            for frame in [MIN_FRAME, 100_000, TARGET_FRAME] {
                let blocks = Blocks::default().with_chunk(chunk as u64);
                let blocks = blocks.and_then(|blocks| blocks.with_frame(frame as u64));
                let blocks = blocks.unwrap();
                let (_, _, largest) = blocks.chunks();
                assert!(largest <= MAX_CHUNK && blocks.whole() <= MAX_CHUNK);
                assert!(blocks.frame() + blocks.whole().max(largest) <= MAX_FRAME);
            }
        }
        for bad in [0, 1, 8 << 10, 65_537, 48 << 10, 256 << 10, u64::MAX] {
            let told = Blocks::default().with_chunk(bad);
            assert_eq!(told, Err(BadBlocks::Chunk(bad)));
        }
        for bad in [0, 65_535, (512 << 10) + 1, u64::MAX] {
            let told = Blocks::default().with_frame(bad);
            assert_eq!(told, Err(BadBlocks::Frame(bad)));
        }
    }
}
