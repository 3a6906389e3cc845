//! Compiles `proto/` with protox, so that no protoc is needed.

use std::error::Error;
use std::path::Path;

use prost::Message;

const FILES: [&str; 6] = [
    "legwork/v1/jobs.proto",
    "legwork/v1/sync.proto",
    "legwork/v1/host.proto",
    "legwork/v1/enroll.proto",
    "legwork/v1/records.proto",
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    std::fs::write(
        Path::new(&out).join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .build_transport(false)
        .bytes(".")
        // Lists have many jobs, and these only where one is asked for by its id.
        .boxed(".legwork.v1.Job.limits")
        .boxed(".legwork.v1.Job.containment")
        .compile_fds(descriptors)?;
    Ok(())
}
