//! Both ends of real handshakes, over a pipe in memory: who gets in, and what the two ends are told when somebody does not.
#![expect(clippy::unwrap_used, reason = "tests, also outside of test functions")]

mod enrolment;
mod handshake;
mod refusals;
mod world;
