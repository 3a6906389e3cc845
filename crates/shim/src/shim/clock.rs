//! The two clocks: one for people, one for deadlines.
//!
//! They are read by system calls. The kernel's shortcut (vdso(7)) is faster once it has been found, but finding it costs
//! a short job more than all its looks at the clock.

use rustix::thread::{Timespec, nanosleep};

use super::sys;

/// Microseconds since the epoch, for what is written down.
pub(super) fn wall_us() -> u64 {
    let now = sys::clock(libc::CLOCK_REALTIME);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// Milliseconds since the epoch, for what is written down.
pub(super) fn wall_ms() -> u64 {
    wall_us() / 1000
}

/// Milliseconds of the monotonic clock, for everything that is waited for.
pub(super) fn mono_ms() -> u64 {
    let now = sys::clock(libc::CLOCK_MONOTONIC);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// A length of time in milliseconds, as the kernel wants it.
pub(super) fn span(ms: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
    }
}

/// Does nothing for so many milliseconds.
pub(super) fn sleep_ms(ms: u64) {
    // Nothing interrupts it: every signal is blocked.
    drop(nanosleep(&span(ms)));
}
