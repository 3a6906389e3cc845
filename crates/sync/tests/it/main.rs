//! The mirror from end to end: both sides in one process, on real directories.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, in their helpers too, and say what they skip"
)]

mod blocks;
mod bringing;
mod closed;
mod compressed;
mod crash;
mod early;
mod exact;
mod fine;
mod frozen;
mod hostile;
mod ignored;
mod large;
mod lease;
mod lying;
mod memory;
mod model;
mod moved;
mod ownership;
mod protocol;
mod pulling;
mod racing;
mod random;
mod ranges;
mod resumed;
mod room;
mod rounds;
mod stuck;
mod support;
mod trash;
mod watching;
