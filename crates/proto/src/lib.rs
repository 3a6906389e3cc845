//! The wire: messages and services of `proto/legwork/v1`, and those of OTLP for logs, generated at build time. By hand is only how much a
//! message may become ([`bounded`]).
//!
//! Features choose the halves: `client` and `server`. Only the crates at the edge import this one;
//! what is meant by a message is said in the `.proto` files.

pub mod bounded;

/// Version 1 of the protocol.
#[allow(
    clippy::all,
    missing_docs,
    reason = "generated; the documentation is in proto/"
)]
pub mod v1 {
    tonic::include_proto!("legwork.v1");
}

/// Logs as OpenTelemetry sends them. The generated code names one package from another, so modules are within each other as packages are.
#[allow(
    clippy::all,
    missing_docs,
    reason = "generated; the documentation is in proto/"
)]
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.common.v1");
            }
        }
        pub mod resource {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.resource.v1");
            }
        }
        pub mod logs {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.logs.v1");
            }
        }
        pub mod collector {
            pub mod logs {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.logs.v1");
                }
            }
        }
    }
}

/// The encoded `FileDescriptorSet` of every service, for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
