//! A client on a bad network: what was under way goes on, and nothing is done twice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod ahead;
mod alone;
mod calls;
mod enroll;
mod input;
mod lost;
mod mirror;
mod resume;
mod run;
mod support;
