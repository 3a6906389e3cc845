//! Compiles `proto/` with protox, so that no protoc is needed, and tells where in messages lists are.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

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
    std::fs::write(Path::new(&out).join("shapes.rs"), shapes(&descriptors))?;
    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::bounded::BoundedCodec")
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .build_transport(false)
        .bytes(".")
        // Lists have many jobs, and these only where one is asked for by its id.
        .boxed(".legwork.v1.Job.limits")
        .boxed(".legwork.v1.Job.containment")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}

/// What `src/bounded.rs` needs to know of the messages of `SyncService`: where in them lists are.
fn shapes(files: &FileDescriptorSet) -> String {
    let mut messages = HashMap::new();
    for file in &files.file {
        for message in &file.message_type {
            messages.insert(format!(".{}.{}", file.package(), message.name()), message);
        }
    }
    let services = files.file.iter().flat_map(|file| &file.service);
    let methods = services
        .filter(|service| service.name() == "SyncService")
        .flat_map(|service| &service.method);
    let mut names: Vec<&str> = methods
        .flat_map(|method| [method.input_type(), method.output_type()])
        .collect();
    names.sort_unstable();
    names.dedup();
    let named = |(shape, name): (usize, &&str)| {
        let name = name.strip_prefix(".legwork.v1.");
        format!("({:?}, {shape}),", name.expect("it is ours"))
    };
    let bounded: String = names.iter().enumerate().map(named).collect();
    let mut shapes = String::new();
    let mut at = 0;
    // The list grows by what is in the messages.
    while at < names.len() {
        let message = messages[names[at]];
        let fields = message.field.iter();
        let fields: String = fields
            .filter_map(|field| shape(field, &mut names))
            .collect();
        write!(shapes, "&[{fields}],").expect("there is memory");
        at += 1;
    }
    format!(
        "const BOUNDED: &[(&str, usize)] = &[{bounded}];\nconst SHAPES: &[&[Field]] = &[{shapes}];\n"
    )
}

/// A field that is a list, a message or both, as `src/bounded.rs` writes it.
fn shape<'a>(field: &'a FieldDescriptorProto, names: &mut Vec<&'a str>) -> Option<String> {
    let is_list = field.label() == Label::Repeated;
    let inner = match field.r#type() {
        Type::Message => {
            let known = names.iter().position(|name| *name == field.type_name());
            let shape = known.unwrap_or_else(|| {
                names.push(field.type_name());
                names.len() - 1
            });
            format!("Message({shape})")
        }
        _ if !is_list => return None,
        Type::Bytes | Type::String => "Bytes".to_owned(),
        Type::Uint32 | Type::Uint64 | Type::Enum => "Numbers".to_owned(),
        other => panic!("{}: a list of {other:?} is not counted yet", field.name()),
    };
    let number = field.number();
    Some(format!(
        "Field {{ number: {number}, is_list: {is_list}, inner: Inner::{inner} }},"
    ))
}
