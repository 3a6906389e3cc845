//! Which bytes of the output came from which stream, and when.
//!
//! The index is an array of fixed 24-byte little-endian entries. An entry says that the bytes from
//! its offset up to the next entry's offset came from one stream at about one time. The last entry
//! reaches to the end of the output. A torn last entry (file length not a multiple of 24) is ignored.
//!
//! The shim appends an entry before the bytes that it describes. A reader that takes the length of
//! the output first and reads the index after therefore knows the origin of every byte it has; an
//! entry whose bytes never came is superseded by the next one with the same offset.

/// Bytes of an encoded entry.
pub const ENTRY_LEN: usize = 24;

/// One run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the run's first byte in the output.
    pub offset: u64,
    /// Microseconds since the epoch, when the shim read that byte.
    pub time_us: u64,
    /// Where the run came from.
    pub stream: Stream,
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Standard output, or both when merged.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// Not printed by the job: bytes that were dropped. A hole in the output up to the next entry.
    Dropped = 3,
}

impl Entry {
    /// The stored form: offset, time, stream in the low byte of the last word, the rest zero.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut raw = [0; ENTRY_LEN];
        raw[..8].copy_from_slice(&self.offset.to_le_bytes());
        raw[8..16].copy_from_slice(&self.time_us.to_le_bytes());
        raw[16] = self.stream as u8;
        raw
    }

    /// Reads the stored form. A stream of a newer writer is taken for standard output.
    #[must_use]
    pub fn decode(raw: &[u8; ENTRY_LEN]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let stream = match raw[16] {
            2 => Stream::Stderr,
            3 => Stream::Dropped,
            _ => Stream::Stdout,
        };
        Self {
            offset: word(0),
            time_us: word(8),
            stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Stream};

    #[test]
    fn the_stored_form_is_pinned() {
        let entry = Entry {
            offset: 0x0102,
            time_us: 0x0304,
            stream: Stream::Stderr,
        };
        let mut expected = [0; 24];
        expected[0] = 2;
        expected[1] = 1;
        expected[8] = 4;
        expected[9] = 3;
        expected[16] = 2;
        assert_eq!(entry.encode(), expected);
        assert_eq!(Entry::decode(&expected), entry);
    }
}
