//! The library as a whole, with real shims and real payloads.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, also outside of test functions"
)]

mod accepted;
mod deaf;
mod elsewhere;
mod examples;
mod frozen;
mod kept;
mod leftovers;
mod lifecycle;
mod mounted;
mod output;
mod refusals;
mod retention;
mod sandbox;
mod stdin;
mod stop;
mod survival;
mod truth;
mod versions;
