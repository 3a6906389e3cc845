//! The services as a client sees them: over HTTP/2 and gRPC, in one process.

mod jobs;
mod mirrors;
mod refusals;
