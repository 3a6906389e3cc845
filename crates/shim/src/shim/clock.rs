//! The two clocks: one for people, one for deadlines.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the epoch, for what is written down.
pub(super) fn wall_us() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// Milliseconds since the epoch, for what is written down.
pub(super) fn wall_ms() -> u64 {
    wall_us() / 1000
}

/// Milliseconds of the monotonic clock, for everything that is waited for.
pub(super) fn mono_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
