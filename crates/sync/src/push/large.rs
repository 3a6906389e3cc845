//! One large file on its way: what the server lacks of it, and where the server has the rest.

use std::os::fd::OwnedFd;

use crate::digest::Digest;
use crate::link::Closed;
use crate::message::{Data, MAX_PAGE, Piece, Range, Reuse, Up};
use crate::pack::Packer;
use crate::push::chunks::{Chunk, Cutter, Place};
use crate::push::library::Library;
use crate::push::outbox::Outbox;
use crate::tree::read;

/// Bytes that the server has, at which it is told of them: it copies while we read on.
const RANGE: u64 = 16 << 20;

/// A numbered file that was offered.
pub(crate) struct Large<'a, 'link> {
    outbox: &'a Outbox<'link>,
    number: u32,
    /// How much of it is sent, or the server was told of.
    offset: u64,
    /// What comes next and is not known, or `ranges`.
    fresh: Vec<u8>,
    ranges: Vec<Range>,
    /// Bytes at the beginning that the server has of a session that was cut off.
    skip: u64,
    packer: &'a mut Packer,
}

impl<'a, 'link> Large<'a, 'link> {
    pub(crate) fn new(outbox: &'a Outbox<'link>, number: u32, packer: &'a mut Packer) -> Self {
        Self {
            outbox,
            number,
            offset: 0,
            fresh: Vec::new(),
            ranges: Vec::new(),
            skip: 0,
            packer,
        }
    }

    /// Goes on after the first `len` bytes of this content.
    pub(crate) fn after(mut self, content: Digest, len: u64) -> Self {
        if len > 0 {
            self.skip = len;
            self.offset = len;
            self.ranges.push(Range {
                offset: 0,
                len,
                source: content,
                from: 0,
            });
        }
        self
    }

    /// Sends exactly `size` bytes of an open file, or fewer if it became shorter. Without a library nothing is cut; what is cut is
    /// returned if all of it was there.
    pub(crate) fn send(
        mut self,
        file: &OwnedFd,
        size: u64,
        library: Option<&Library>,
    ) -> Result<Option<Vec<Chunk>>, Closed> {
        let mut cutter = library.map(|library| Cutter::new(library, self.outbox.blocks));
        let frame = self.outbox.blocks.frame();
        let compares = library.is_some_and(|library| !library.is_empty());
        let mut read_so_far = 0;
        while read_so_far < size && !self.outbox.stop() {
            let mut bytes = Vec::with_capacity(frame);
            let read = read::append(file, &mut bytes).unwrap_or(0);
            bytes.truncate(usize::try_from(size - read_so_far).unwrap_or(usize::MAX));
            if read == 0 {
                break;
            }
            read_so_far += bytes.len() as u64;
            match &mut cutter {
                Some(cutter) if compares => {
                    cutter.take(&bytes, |chunk, place| self.chunk(chunk, place))?;
                }
                Some(cutter) => {
                    cutter.take(&bytes, |_, _| Ok(()))?;
                    self.plain(bytes)?;
                }
                None => self.plain(bytes)?,
            }
        }
        let chunks = match cutter {
            Some(cutter) if compares => {
                Some(cutter.finish(|chunk, place| self.chunk(chunk, place))?)
            }
            Some(cutter) => Some(cutter.finish(|_, _| Ok(()))?),
            None => None,
        };
        self.tell()?;
        self.flush()?;
        Ok(chunks.filter(|_| read_so_far == size))
    }

    /// What of the next bytes is not to be skipped.
    fn unskipped<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.skip -= skipped as u64;
        &bytes[skipped..]
    }

    fn chunk(&mut self, bytes: &[u8], place: Option<Place>) -> Result<(), Closed> {
        let all = bytes.len();
        let bytes = self.unskipped(bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let skipped = (all - bytes.len()) as u64;
        let place = place.map(|place| Place {
            offset: place.offset + skipped,
            ..place
        });
        let Some(Place { file, offset: from }) = place else {
            self.tell()?;
            self.fresh.extend_from_slice(bytes);
            return if self.fresh.len() >= self.outbox.blocks.frame() {
                self.flush()
            } else {
                Ok(())
            };
        };
        self.flush()?;
        let len = bytes.len() as u64;
        match self.ranges.last_mut() {
            Some(last) if last.source == file && last.from + last.len == from => last.len += len,
            _ => self.ranges.push(Range {
                offset: self.offset,
                len,
                source: file,
                from,
            }),
        }
        self.offset += len;
        let last = self.ranges.last().map_or(0, |last| last.len);
        if self.ranges.len() >= MAX_PAGE || last >= RANGE {
            self.tell()?;
        }
        Ok(())
    }

    /// Sends what is not known.
    fn flush(&mut self) -> Result<(), Closed> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        self.data(fresh)
    }

    /// Tells what the server has.
    fn tell(&mut self) -> Result<(), Closed> {
        let ranges = std::mem::take(&mut self.ranges);
        if ranges.is_empty() {
            return Ok(());
        }
        let file = self.number;
        self.outbox
            .reused(0, ranges.iter().map(|range| range.len).sum());
        self.outbox.send(Up::Reuse(Reuse { file, ranges }))
    }

    /// Sends what comes next, which nobody compared.
    fn plain(&mut self, mut bytes: Vec<u8>) -> Result<(), Closed> {
        let left = self.unskipped(&bytes).len();
        bytes.drain(..bytes.len() - left);
        if bytes.is_empty() {
            return Ok(());
        }
        self.tell()?;
        self.data(bytes)
    }

    fn data(&mut self, bytes: Vec<u8>) -> Result<(), Closed> {
        let Ok(len) = u32::try_from(bytes.len()) else {
            return Ok(());
        };
        let piece = Piece {
            file: self.number,
            offset: self.offset,
            len,
        };
        self.offset += u64::from(len);
        let (packing, bytes) = self.outbox.packed(self.packer, bytes);
        let data = Data {
            pieces: vec![piece],
            packing,
            bytes,
        };
        self.outbox.send_data(data)?;
        self.outbox.count(0, len.into());
        Ok(())
    }
}

/// What was cut of the files of a session, by their contents.
pub(crate) type Cut = Vec<(Digest, Vec<Chunk>)>;
