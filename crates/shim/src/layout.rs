//! The names in a job directory.
//!
//! Besides them there may be names that end in `.tmp`: files on the way to their own names.

use alloc::format;
use alloc::string::String;

/// What was asked, that it was launched, how it ended: see [`crate::journal`]. Locked exclusively by the shim for its whole
/// life; see [`crate::lock`].
pub const JOURNAL: &str = "journal";
/// Unix stream socket for [`crate::control`]; made when the job outlives its first moments.
pub const CONTROL: &str = "control";
/// Which bytes came from where and when: [`crate::index::Entry`]s, made with the first output.
pub const INDEX: &str = "index";
/// First part of an output segment's name; the rest is the offset of its first byte.
pub const OUTPUT_PREFIX: &str = "output.";
/// Environment variable every process of a job carries: the job's id, hyphenated.
pub const JOB_ENV: &str = "LEGWORK_JOB";

/// Is there while the job is held still; holds the milliseconds since the epoch of the pause, in decimal.
pub const PAUSED: &str = "paused";

/// The name of the output segment whose first byte has offset `start` (in bytes).
#[must_use]
pub fn segment_name(start: u64) -> String {
    format!("{OUTPUT_PREFIX}{start:020}")
}

/// The start offset in bytes that a segment's name states, or `None` for any other name.
#[must_use]
pub fn segment_start(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(OUTPUT_PREFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{segment_name, segment_start};

    #[test]
    fn names_and_starts_are_inverse() {
        for start in [0, 1, 4096, u64::MAX] {
            assert_eq!(segment_start(&segment_name(start)), Some(start));
        }
        for name in ["output", "output.1", "output.0000000000000000000x", "index"] {
            assert_eq!(segment_start(name), None);
        }
    }
}
