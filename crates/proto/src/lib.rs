//! The wire: messages and services of `proto/legwork/v1`, generated at build time, nothing by hand.
//!
//! Features choose the halves: `client` and `server`. Only the crates at the edge import this one;
//! what is meant by a message is said in the `.proto` files.

/// Version 1 of the protocol.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    clippy::doc_markdown,
    clippy::too_many_lines,
    reason = "generated; the documentation is in proto/"
)]
pub mod v1 {
    tonic::include_proto!("legwork.v1");
}

/// The encoded `FileDescriptorSet` of every service, for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
