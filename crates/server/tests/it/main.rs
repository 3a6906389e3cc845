//! The services as a client sees them: over HTTP/2 and gRPC, in one process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod clocks;
mod excess;
mod jobs;
mod listening;
mod metrics;
mod mirrors;
mod net;
mod quotas;
mod records;
mod refusals;
mod roles;
mod run_as;
