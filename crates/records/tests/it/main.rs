//! The library from outside: what is acknowledged is there, once, whatever happens in between.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test, as tests do"
)]

mod append;
mod crash;
mod damage;
mod failing;
mod frozen;
mod kill;
mod query;
mod setup;
mod spool;
mod upkeep;
