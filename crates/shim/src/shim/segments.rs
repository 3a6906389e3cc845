//! Which segment the next byte of output belongs to, and which segments must go: pure arithmetic.
//!
//! The first half of the limit is the *head*: offsets below it are never deleted. What comes after lives in
//! *pieces* of a sixteenth of the other half, oldest deleted first, so that at least fifteen sixteenths of
//! the tail survive and the sum never exceeds the limit, rounded up to a multiple of 64 KiB. (Tails below 1 MiB have up to four times larger
//! pieces, so that a flood does not drown in tiny files.) A segment also ends where a hole begins.

use alloc::collections::VecDeque;

/// Pieces of the tail, and of a small one.
const PIECES: u64 = 16;
/// See [`PIECES`].
const PIECES_WHEN_SMALL: u64 = 4;
/// A piece of this size is large enough, in bytes.
const PIECE_ENOUGH: u64 = 64 * 1024;

/// A limit is rounded up to a multiple of this, so that a small one does not make a file of every few bytes.
const GRAIN: u64 = 64 * 1024;

/// A stretch of output in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Offset of its first byte.
    pub(super) start: u64,
    /// Bytes in it.
    pub(super) len: u64,
}

/// Where the next bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Into the open segment, at most so many.
    Here(u64),
    /// Into a new one, at most so many.
    New(u64),
    /// Nowhere: the limit leaves no tail.
    Nowhere,
}

/// The state of a job's output.
#[derive(Debug)]
pub(super) struct Segments {
    head: u64,
    tail: u64,
    piece: u64,
    end: u64,
    open: Option<Segment>,
    closed_tail: VecDeque<Segment>,
    dropped: u64,
    failed: u64,
}

impl Segments {
    /// Nothing printed yet.
    pub(super) fn new(limit: u64) -> Self {
        let limit = limit.checked_next_multiple_of(GRAIN).unwrap_or(limit);
        let head = limit.div_ceil(2);
        let tail = limit - head;
        Self {
            head,
            tail,
            piece: (tail / PIECES)
                .max((tail / PIECES_WHEN_SMALL).min(PIECE_ENOUGH))
                .max(1),
            end: 0,
            open: None,
            closed_tail: VecDeque::new(),
            dropped: 0,
            failed: 0,
        }
    }

    /// Offset of the next byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes printed and not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Of those, the ones the disk did not take.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// The open segment.
    pub(super) fn open_segment(&self) -> Option<Segment> {
        self.open
    }

    /// Where the next bytes go.
    pub(super) fn room(&self) -> Room {
        let fresh = if self.end < self.head {
            self.head - self.end
        } else if self.tail > 0 {
            self.piece
        } else {
            return Room::Nowhere;
        };
        match self.open {
            Some(open) if open.start < self.head && self.end < self.head => Room::Here(fresh),
            Some(open) if open.start >= self.head && open.len < self.piece => {
                Room::Here(self.piece - open.len)
            }
            Some(_) | None => Room::New(fresh),
        }
    }

    /// Ends the open segment.
    pub(super) fn close(&mut self) -> Option<Segment> {
        let open = self.open.take()?;
        if open.start >= self.head {
            self.closed_tail.push_back(open);
        }
        Some(open)
    }

    /// The oldest piece that must be deleted before the next may be begun.
    pub(super) fn excess(&mut self) -> Option<Segment> {
        let kept: u64 = self.closed_tail.iter().map(|segment| segment.len).sum();
        if self.end < self.head || kept + self.piece <= self.tail {
            return None;
        }
        let oldest = self.closed_tail.pop_front()?;
        self.dropped += oldest.len;
        Some(oldest)
    }

    /// Begins a segment at the end.
    pub(super) fn begin(&mut self) {
        self.open = Some(Segment {
            start: self.end,
            len: 0,
        });
    }

    /// So many bytes went into the open segment.
    pub(super) fn kept(&mut self, bytes: u64) {
        self.end += bytes;
        if let Some(open) = &mut self.open {
            open.len += bytes;
        }
    }

    /// So many bytes are over the limit.
    pub(super) fn over_limit(&mut self, bytes: u64) {
        self.end += bytes;
        self.dropped += bytes;
    }

    /// So many bytes found no room on the disk.
    pub(super) fn lost(&mut self, bytes: u64) {
        self.over_limit(bytes);
        self.failed += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{GRAIN, Room, Segments};

    #[derive(Debug, Clone)]
    enum Event {
        Print(u64),
        Fail(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            9 => (1..600_u64).prop_map(Event::Print),
            3 => (1..60_000_u64).prop_map(Event::Print),
            1 => (1..50_u64).prop_map(Event::Fail),
        ]
    }

    /// Follows [`Segments`] as the writer does, keeping the files in a map.
    fn print(segments: &mut Segments, files: &mut BTreeMap<u64, u64>, mut bytes: u64) {
        while bytes > 0 {
            let most = match segments.room() {
                Room::Here(most) => most,
                Room::New(most) => {
                    segments.close();
                    while let Some(gone) = segments.excess() {
                        assert_eq!(files.remove(&gone.start), Some(gone.len));
                    }
                    segments.begin();
                    assert_eq!(files.insert(segments.end(), 0), None);
                    most
                }
                Room::Nowhere => {
                    segments.over_limit(bytes);
                    return;
                }
            };
            let now = most.min(bytes);
            assert!(now > 0);
            *files.last_entry().unwrap().get_mut() += now;
            segments.kept(now);
            bytes -= now;
        }
    }

    proptest! {
        #[test]
        fn head_and_tail_are_kept_and_every_byte_is_accounted_for(
            limit in prop_oneof![0..2000_u64, 1_000_000..8_000_000_u64],
            events in prop::collection::vec(event(), 0..40),
        ) {
            let mut segments = Segments::new(limit);
            let limit = limit.next_multiple_of(GRAIN);
            let mut files = BTreeMap::new();
            let (mut printed, mut failed) = (0, 0);
            for event in events {
                match event {
                    Event::Print(bytes) => {
                        print(&mut segments, &mut files, bytes);
                        printed += bytes;
                    }
                    Event::Fail(bytes) => {
                        segments.close();
                        segments.lost(bytes);
                        printed += bytes;
                        failed += bytes;
                    }
                }
                let kept: u64 = files.values().sum();
                prop_assert!(kept <= limit);
                prop_assert_eq!(segments.end(), printed);
                prop_assert_eq!(segments.failed(), failed);
                prop_assert_eq!(segments.dropped() + kept, printed);
            }
            let head = limit.div_ceil(2);
            if failed == 0 {
                let in_head: u64 = files.iter().filter(|(start, _)| **start < head).map(|(_, len)| len).sum();
                prop_assert_eq!(in_head, printed.min(head));
                let in_tail: u64 = files.range(head..).map(|(_, len)| len).sum();
                let tail = limit - head;
                let least = (tail - tail / 4).saturating_sub(1).min(printed.saturating_sub(head));
                prop_assert!(in_tail >= least, "{in_tail} of a tail of {tail}");
            }
            // The tail is one unbroken run up to the end, unless the disk failed.
            let mut at = None;
            for (start, len) in files.range(head..) {
                if let (Some(at), true) = (at, failed == 0) {
                    prop_assert_eq!(at, *start);
                }
                at = Some(start + len);
            }
        }
    }
}
