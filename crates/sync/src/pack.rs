//! Content compressed on its way, where that is worth it.
//!
//! It is not for content that does not get smaller, which a look at parts of a frame tells, and not on a link that takes
//! more than can be compressed. The latter cannot be known beforehand. So [`Compress::Auto`] begins with a guess, and looks
//! now and then who waits for whom: where the workers mostly wait for the link, it compresses, and where they hardly do, it
//! does not. `unpack` is the way back.

pub(crate) mod unpack;

use std::time::Duration;

use bytes::Bytes;
use zstd::bulk::Compressor;

use crate::message::Packing;

/// When content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// As the link and the data are worth.
    #[default]
    Auto,
    /// The same, for a link of which nothing is known but that its other end is near: it begins without.
    Near,
    /// Whatever gets smaller.
    Zstd,
    /// Never.
    Nothing,
}

/// zstd's own default: about three times as fast as a link of a gigabit with source text.
const LEVEL: i32 = 3;
/// Bytes of a frame that tell whether the rest is worth the time: so many parts, of so many bytes. Not its beginning, for what is in one
/// frame may be of many kinds.
const SAMPLES: usize = 8;
const SAMPLE: usize = 8 << 10;

/// Whether `packed` is less than nineteen twentieths of `plain`.
fn pays(packed: usize, plain: usize) -> bool {
    packed.saturating_mul(20) < plain.saturating_mul(19)
}

/// Parts of a frame, from its beginning to its end.
fn sampled(plain: &[u8]) -> Vec<u8> {
    let step = (plain.len() - SAMPLE) / (SAMPLES - 1);
    let parts = (0..SAMPLES).map(|part| &plain[part * step..part * step + SAMPLE]);
    parts.collect::<Vec<_>>().concat()
}

/// One worker's compressor. Its tables take a megabyte, so it is made with the first frame.
#[derive(Default)]
pub(crate) struct Packer(Option<Compressor<'static>>);

impl Packer {
    /// The content of one frame, compressed if that makes it smaller.
    pub(crate) fn pack(&mut self, plain: Vec<u8>) -> (Packing, Bytes) {
        match self.packed(&plain) {
            Some(packed) => (Packing::Zstd, packed.into()),
            None => (Packing::Plain, plain.into()),
        }
    }

    fn packed(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let compressor = match &mut self.0 {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL).ok()?),
        };
        // As much again is worth a sample.
        if plain.len() > 2 * SAMPLES * SAMPLE {
            let sample = sampled(plain);
            let packed = compressor.compress(&sample).ok()?;
            if !pays(packed.len(), sample.len()) {
                return None;
            }
        }
        let packed = compressor.compress(plain).ok()?;
        pays(packed.len(), plain.len()).then_some(packed)
    }
}

/// Bytes on the link between two looks. More than all that lies in buffers on the way, which take it from us at any rate.
const LOOK: u64 = 24 << 20;

/// Who waits for whom.
#[derive(Debug)]
pub(crate) struct Pace {
    compress: Compress,
    on: bool,
    workers: u32,
    /// Since the last look: bytes, and how long workers waited for the link.
    bytes: u64,
    waited: Duration,
    /// When that was, since the beginning.
    looked: Duration,
}

impl Pace {
    pub(crate) fn new(compress: Compress, workers: u32) -> Self {
        Self {
            compress,
            on: matches!(compress, Compress::Auto | Compress::Zstd),
            workers,
            bytes: 0,
            waited: Duration::ZERO,
            looked: Duration::ZERO,
        }
    }

    /// The other end turned out to be further away than it seemed.
    pub(crate) fn is_far(&mut self) {
        if self.compress == Compress::Near {
            self.compress = Compress::Auto;
            self.on = true;
        }
    }

    pub(crate) fn compresses(&self) -> bool {
        self.on
    }

    /// A worker handed `bytes` to the link, and `waited` for that; `now` is since the beginning.
    pub(crate) fn sent(&mut self, bytes: u64, waited: Duration, now: Duration) {
        self.bytes += bytes;
        self.waited += waited;
        if self.bytes < LOOK || !matches!(self.compress, Compress::Auto | Compress::Near) {
            return;
        }
        let all = now.saturating_sub(self.looked) * self.workers.max(1);
        if self.on && self.waited * 4 < all {
            self.on = false;
        } else if !self.on && self.waited * 4 > all * 3 {
            self.on = true;
        }
        (self.bytes, self.waited, self.looked) = (0, Duration::ZERO, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Compress, LOOK, Pace, Packer};
    use crate::message::Packing;

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        let mut packer = Packer::default();
        let text = b"the same words, and the same words again; ".repeat(10_000);
        let mut noise = Vec::new();
        while noise.len() < 300_000 {
            let at = (noise.len() as u64).to_le_bytes();
            noise.extend_from_slice(crate::digest::Digest::of(&at).as_bytes());
        }
        let (packing, packed) = packer.pack(text.clone());
        assert_eq!(packing, Packing::Zstd);
        assert!(packed.len() < text.len() / 20);
        assert_eq!(zstd::bulk::decompress(&packed, text.len()).unwrap(), text);
        for plain in [
            noise.clone(),
            noise[..1000].to_vec(),
            Vec::new(),
            b"!".to_vec(),
        ] {
            let (packing, bytes) = packer.pack(plain.clone());
            assert_eq!((packing, &bytes[..]), (Packing::Plain, &plain[..]));
        }
        // Neither does a beginning stand for the rest, nor one part for another.
        let mixed = [&noise[..65_536], &text[..65_536]].concat().repeat(4);
        for mixed in [[noise, text].concat(), mixed] {
            let (packing, packed) = packer.pack(mixed.clone());
            assert_eq!(packing, Packing::Zstd);
            assert!(packed.len() < mixed.len() * 3 / 4);
        }
    }

    /// Sends for a while, of which each of two workers waits so many tenths.
    fn after(pace: &mut Pace, now: &mut Duration, tenths: u32) -> bool {
        *now += Duration::from_secs(1);
        pace.sent(LOOK / 2, Duration::from_millis(100) * tenths, *now);
        pace.sent(LOOK / 2, Duration::from_millis(100) * tenths, *now);
        pace.compresses()
    }

    #[test]
    fn it_follows_who_waits_for_whom() {
        let mut now = Duration::ZERO;
        let mut pace = Pace::new(Compress::Auto, 2);
        assert!(pace.compresses());
        assert!(after(&mut pace, &mut now, 9));
        assert!(after(&mut pace, &mut now, 5));
        assert!(!after(&mut pace, &mut now, 1));
        assert!(!after(&mut pace, &mut now, 5));
        assert!(after(&mut pace, &mut now, 9));
        let mut near = Pace::new(Compress::Near, 2);
        assert!(!near.compresses());
        near.sent(LOOK - 1, Duration::from_secs(9), Duration::from_secs(9));
        assert!(!near.compresses(), "too early to tell");
        near.sent(1, Duration::from_secs(9), Duration::from_secs(9));
        assert!(near.compresses());
        for (compress, on) in [(Compress::Zstd, true), (Compress::Nothing, false)] {
            let mut pace = Pace::new(compress, 2);
            assert_eq!(after(&mut pace, &mut now, 0), on);
            assert_eq!(after(&mut pace, &mut now, 10), on);
        }
    }
}
