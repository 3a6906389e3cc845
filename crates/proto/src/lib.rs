//! The wire: messages and services of `proto/legwork/v1`, generated at build time, nothing by hand.
//!
//! Features choose the halves: `client` and `server`. Only the crates at the edge import this one;
//! what is meant by a message is said in the `.proto` files.

/// Version 1 of the protocol.
#[allow(
    clippy::all,
    missing_docs,
    reason = "generated; the documentation is in proto/"
)]
pub mod v1 {
    tonic::include_proto!("legwork.v1");
}

/// The encoded `FileDescriptorSet` of every service, for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
