//! Names of jobs: a `UUIDv7` inside, a short code outside.
//!
//! People see and type the low 60 bits of the uuid, all of them random, as 12 characters of
//! Crockford's base32 in lower case, usually only the first eight. The time-ordered upper half never
//! shows, so that jobs started together do not look alike.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Characters of a whole code.
pub const CODE_LEN: usize = 12;
/// Characters of a code that are shown where space is short.
pub const SHORT_LEN: usize = 8;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CODE_BITS: u32 = 60;
const CODE_MASK: u64 = (1 << CODE_BITS) - 1;

/// The id of a job.
///
/// Shown as its 12-character code; `{:.8}` gives the short form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

impl JobId {
    /// A fresh id. Ids that one process makes sort in the order in which it made them.
    ///
    /// `now_ms` is in milliseconds since the epoch.
    ///
    /// # Panics
    /// When the kernel gives no random bytes, which it never refuses after boot.
    #[must_use]
    pub fn generate(now_ms: u64) -> Self {
        let mut random = [0; 10];
        let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        assert_eq!(filled, Ok(random.len()), "the kernel's random source");
        let tick = next_tick(now_ms);
        let sequence = (tick & 0xfff).to_be_bytes();
        random[..2].copy_from_slice(&sequence[6..]);
        Self(uuid::Builder::from_unix_timestamp_millis(tick >> 12, &random).into_uuid())
    }

    /// The uuid.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// The low 60 bits of the uuid: what the code spells.
    #[must_use]
    pub fn number(self) -> u64 {
        let (_, low) = self.0.as_u64_pair();
        low & CODE_MASK
    }

    /// The first eight characters of the code.
    #[must_use]
    pub fn short(self) -> String {
        format!("{self:.SHORT_LEN$}")
    }
}

/// Milliseconds in the upper 52 bits and a sequence number in the lower 12, ever growing.
fn next_tick(now_ms: u64) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = now_ms << 12;
    let after = |last: u64| now.max(last + 1);
    match LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(after(last))
    }) {
        Ok(last) | Err(last) => after(last),
    }
}

impl From<Uuid> for JobId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        let mut code = [0; CODE_LEN];
        for (place, letter) in code.iter_mut().rev().enumerate() {
            *letter = ALPHABET[(number >> (5 * place) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&code).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({} {self})", self.0)
    }
}

/// What somebody typed to name a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypedId {
    /// A whole uuid.
    Whole(JobId),
    /// The first characters of a code: every job whose [`JobId::number`] is in this range, ends included.
    Prefix {
        /// Smallest number with that prefix.
        first: u64,
        /// Largest number with that prefix.
        last: u64,
    },
}

/// Text that cannot be a job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a job id: an id is up to {CODE_LEN} letters and digits as `ps` prints them, or a uuid"
)]
pub struct NotAnId {
    /// What was typed.
    pub text: String,
}

impl std::str::FromStr for TypedId {
    type Err = NotAnId;

    /// Reads a prefix of a code in either case, `o` for `0` and `i` or `l` for `1`, or a uuid.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let refused = || NotAnId {
            text: text.chars().take(100).collect(),
        };
        if text.len() > CODE_LEN {
            return Uuid::try_parse(text)
                .map(|uuid| Self::Whole(JobId(uuid)))
                .map_err(|_| refused());
        }
        let mut number = 0;
        for letter in text.bytes() {
            number = number << 5 | digit(letter).ok_or_else(refused)?;
        }
        let open = match u32::try_from(text.len()) {
            Ok(length @ 1..) => CODE_BITS - 5 * length,
            _ => return Err(refused()),
        };
        Ok(Self::Prefix {
            first: number << open,
            last: number << open | ((1 << open) - 1),
        })
    }
}

fn digit(letter: u8) -> Option<u64> {
    let letter = match letter.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| *known == letter)?;
    u64::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{CODE_LEN, JobId, TypedId};

    fn typed(text: &str) -> TypedId {
        text.parse().unwrap()
    }

    #[test]
    fn the_code_is_pinned() {
        let id = JobId::from(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0421));
        assert_eq!(id.to_string(), "000000000111");
        assert_eq!(id.short(), "00000000");
        assert_eq!(format!("{id:.4}"), "0000");
    }

    #[test]
    fn what_cannot_be_an_id_is_refused() {
        for text in ["", "u", "not-an-id", "000000000000u", "é", "0123456789abc"] {
            assert!(text.parse::<TypedId>().is_err(), "{text}");
        }
    }

    #[test]
    fn look_alikes_are_read_as_digits() {
        assert_eq!(typed("OiL"), typed("011"));
    }

    #[test]
    fn ids_of_one_process_sort_even_within_a_millisecond() {
        let made: Vec<_> = (0..10_000)
            .map(|_| JobId::generate(1_700_000_000_000))
            .collect();
        assert!(made.is_sorted());
        assert!(made.iter().all(|id| id.uuid().get_version_num() == 7));
    }

    proptest! {
        #[test]
        fn every_prefix_finds_its_id(raw: u128, length in 1..=CODE_LEN, upper: bool) {
            let id = JobId::from(Uuid::from_u128(raw));
            let mut text = format!("{id:.length$}");
            if upper {
                text.make_ascii_uppercase();
            }
            let TypedId::Prefix { first, last } = typed(&text) else {
                return Err(TestCaseError::fail("a prefix"));
            };
            prop_assert!((first..=last).contains(&id.number()));
            prop_assert_eq!(length == CODE_LEN, first == last);
            prop_assert_eq!(typed(&id.uuid().to_string()), TypedId::Whole(id));
        }
    }
}
