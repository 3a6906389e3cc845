//! What calls have in memory before anybody has decided about them: a bound on it for each identity, and for all of them together.
//!
//! A message is put together from what comes until it is whole, and a call that waits for the rest of one waits for as long as its caller
//! likes. So each call counts for something ([`CALL`]), and so does each message that has begun. What a whole message becomes is bounded
//! where it is dealt with; of a call with a single one, it counts until the call is over.
//!
//! Users of the host are not counted, as elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Code;
use uuid::Uuid;

use crate::problem::Problem;

/// What a call counts for by itself: its buffers, headers and answer.
const CALL: u64 = 32 << 10;
/// The most that one identity may have: two of the largest messages, and all its streams.
const EACH_MAX: u64 = 192 << 20;
/// The most that all of them may have.
const ALL_MAX: u64 = 512 << 20;
/// Bytes that stand before a message: whether it is packed, and its length.
const PREFIX: usize = 5;

/// Who has how much.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: u64,
    each: HashMap<Uuid, u64>,
}

/// What one call has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: InFlight,
    id: Uuid,
    bytes: u64,
}

/// Where in its messages a call is.
#[derive(Debug, Default)]
struct Place {
    prefix: [u8; PREFIX],
    /// Bytes of that which have come.
    known: usize,
    /// Bytes of the message that have not.
    left: u64,
}

/// A call's messages as they come, and what they count for.
#[derive(Debug)]
pub(crate) struct Arriving {
    held: Held,
    place: Place,
    /// Of a call with one message, that counts until it is over.
    single: bool,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an identity have one more call.
    pub(crate) fn call(&self, id: Uuid, single: bool) -> Result<Arriving, Problem> {
        let mut held = Held {
            of: self.clone(),
            id,
            bytes: 0,
        };
        held.grow(CALL)?;
        Ok(Arriving {
            held,
            place: Place::default(),
            single,
        })
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().all
    }
}

impl Held {
    fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        let mut counts = self.of.lock();
        let all = counts.all + bytes;
        let own = counts.each.entry(self.id).or_default();
        if *own + bytes > EACH_MAX {
            return Err(too_much("you have", EACH_MAX));
        }
        if all > ALL_MAX {
            return Err(too_much("all callers together have", ALL_MAX));
        }
        *own += bytes;
        counts.all = all;
        drop(counts);
        self.bytes += bytes;
        Ok(())
    }

    fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        if less == 0 {
            return;
        }
        self.bytes -= less;
        let mut counts = self.of.lock();
        counts.all -= less;
        if let Some(own) = counts.each.get_mut(&self.id) {
            *own -= less;
            if *own == 0 {
                counts.each.remove(&self.id);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Arriving {
    /// Takes a piece of what comes.
    pub(crate) fn take(&mut self, data: &[u8]) -> Result<(), Problem> {
        let before = self.place.left;
        let begun = self.place.pass(data);
        match begun {
            // It was in the middle of a message, and still is, or that is whole now.
            None if self.place.left > 0 || self.single => self.held.grow(before - self.place.left),
            None => {
                self.held.shrink_to(CALL);
                Ok(())
            }
            // What went before is whole; the last of what begins here may not be.
            Some(of_last) => {
                if !self.single {
                    self.held.shrink_to(CALL);
                }
                match self.place.left > 0 || self.single {
                    true => self.held.grow(of_last),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Place {
    /// Passes over a piece. If a message began in it, how much of the last one that did is there.
    fn pass(&mut self, mut data: &[u8]) -> Option<u64> {
        let mut begun = None;
        loop {
            let here = usize::try_from(self.left).map_or(data.len(), |left| left.min(data.len()));
            data = &data[here..];
            self.left -= here as u64;
            if let Some(of_last) = &mut begun {
                *of_last += here as u64;
            }
            if data.is_empty() {
                return begun;
            }
            let wanted = (PREFIX - self.known).min(data.len());
            self.prefix[self.known..self.known + wanted].copy_from_slice(&data[..wanted]);
            self.known += wanted;
            data = &data[wanted..];
            if self.known == PREFIX {
                let [_packed, a, b, c, d] = self.prefix;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                self.known = 0;
                begun = Some(0);
            }
        }
    }
}

fn too_much(who: &str, limit: u64) -> Problem {
    let message = format!(
        "{who} {} MiB of calls and unfinished messages under way, which is as much as may be here: wait for some to end",
        limit >> 20
    );
    Problem::new(Code::ResourceExhausted, "TOO_MUCH_IN_FLIGHT", message).with("limit", limit)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{ALL_MAX, CALL, EACH_MAX, InFlight};

    fn framed(length: u32, there: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(5 + there, b'x');
        bytes
    }

    #[test]
    fn a_message_counts_until_it_is_whole() {
        let all = InFlight::default();
        let mut call = all.call(Uuid::nil(), false).unwrap();
        let mut counts = |bytes: &[u8]| {
            call.take(bytes).unwrap();
            all.bytes() - CALL
        };
        assert_eq!(counts(&framed(100, 40)), 40);
        assert_eq!(counts(&[0; 59]), 99);
        assert_eq!(counts(&[0; 1]), 0);
        assert_eq!(counts(&framed(100, 100)), 0);
        let several = [framed(3, 3), framed(0, 0), framed(9, 4)].concat();
        assert_eq!(counts(&several), 4);
        let end_and_more = [vec![0; 5], framed(7, 6)].concat();
        assert_eq!(counts(&end_and_more), 6);
        for byte in [&[0; 1][..], &framed(1 << 30, 0)] {
            for byte in byte.chunks(1) {
                counts(byte);
            }
        }
        assert_eq!(counts(&[0; 1000]), 1000);
        drop(call);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn a_single_message_counts_until_the_call_is_over() {
        let all = InFlight::default();
        let mut call = all.call(Uuid::nil(), true).unwrap();
        call.take(&framed(10, 4)).unwrap();
        call.take(&[0; 6]).unwrap();
        assert_eq!(all.bytes(), CALL + 10);
        drop(call);
        assert_eq!(all.bytes(), 0);
        assert!(all.lock().each.is_empty());
    }

    #[test]
    fn each_has_so_much_and_all_have_so_much() {
        let all = InFlight::default();
        let piece = usize::try_from(EACH_MAX - CALL).unwrap();
        let mut held = Vec::new();
        let mut refused = "";
        for number in 0..ALL_MAX / EACH_MAX + 1 {
            let id = Uuid::from_u128(number.into());
            let mut call = all.call(id, false).unwrap();
            match call.take(&framed(u32::MAX, piece)) {
                Ok(()) => {
                    let more = all.call(id, true).unwrap_err();
                    assert_eq!(more.reason, "TOO_MUCH_IN_FLIGHT");
                    assert!(more.message.starts_with("you have 192 MiB"), "{more}");
                }
                Err(problem) => {
                    refused = problem.reason;
                    assert!(problem.message.starts_with("all callers"), "{problem}");
                }
            }
            held.push(call);
        }
        assert_eq!(refused, "TOO_MUCH_IN_FLIGHT");
        held.clear();
        assert_eq!(all.bytes(), 0);
    }
}
