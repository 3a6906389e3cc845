//! Frames that were compressed on their way. A frame says how long its content is, and no more than that is made of it.

use std::fmt;

use zstd::bulk::Decompressor;

use crate::error::{protocol, too_much};
use crate::message::{Data, MAX_FRAME, Packing, Refusal};

/// Makes frames plain. What it needs for that is made with the first.
#[derive(Default)]
pub(crate) struct Unpacker(Option<Decompressor<'static>>);

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    /// The frame as it was before it was compressed.
    pub(crate) fn plain(&mut self, mut data: Data) -> Result<Data, Refusal> {
        let size: u64 = data.pieces.iter().map(|piece| u64::from(piece.len)).sum();
        if data.bytes.len() > MAX_FRAME || size > MAX_FRAME as u64 {
            return Err(too_much("bytes in a frame", MAX_FRAME as u64));
        }
        if data.packing == Packing::Plain {
            return Ok(data);
        }
        let size = usize::try_from(size).unwrap_or(MAX_FRAME);
        let bad = |_| protocol("a frame that cannot be decompressed");
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(bad)?),
        };
        // Content that would be longer does not fit, and is an error.
        let plain = decompressor.decompress(&data.bytes, size).map_err(bad)?;
        if plain.len() != size {
            return Err(protocol("a frame that is shorter than it says"));
        }
        data.bytes = plain.into();
        data.packing = Packing::Plain;
        Ok(data)
    }
}
