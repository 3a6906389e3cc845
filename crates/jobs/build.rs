//! Builds the shim as a small static program and hands it to the library to embed.
//!
//! The shim has a profile, features and a target of its own, so a dependency on its binary would not do: this runs a second
//! cargo on the same workspace and lock file. That one works in a target directory of its own, shared by all profiles
//! of the outer build, and starts from a clean environment, or else the outer build's flags and wrappers (clippy's,
//! for one) would leak into the program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file, for one address: nothing to load and nothing to relocate when it starts.
const STATIC: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
/// Nothing of a C library: the program has a start of its own. A part to be made read-only after relocation would be a
/// page more.
const BARE: [&str; 3] = [
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Crelro-level=off",
];

/// Variables of the outer build that the inner one needs to find what is already there.
const KEPT: [&str; 5] = [
    "CARGO_HOME",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
];

fn main() {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    for part in [
        "crates/shim",
        "Cargo.lock",
        "Cargo.toml",
        "crates/jobs/build.rs",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let program = build(&workspace, &shim_target_dir(&out));
    let image = std::fs::read(&program).expect("the shim that was just built is readable");
    std::fs::write(out.join("legwork-shim"), &image).expect("OUT_DIR is writable");
    println!("cargo::rustc-env=LEGWORK_SHIM_HASH={:032x}", fnv1a(&image));
}

fn variable(name: &str) -> OsString {
    std::env::var_os(name).expect("cargo sets it for build scripts")
}

/// `<target dir>/<profile>/build/<package>/out` is what cargo gives.
fn shim_target_dir(out: &Path) -> PathBuf {
    let target = out.ancestors().nth(4).unwrap_or(out);
    target.join("shim-build")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a build script runs the compiler; no job is started here"
)]
fn build(workspace: &Path, target_dir: &Path) -> PathBuf {
    let target = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--offline"])
        .args(["--package", "legwork-shim", "--bin", "legwork-shim"])
        .args(["--profile", "shim", "--target"])
        .arg(&target)
        .arg("--target-dir")
        .arg(target_dir);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_none_or(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    let mut flags = STATIC.to_vec();
    if starts_by_itself() {
        cargo.arg("--no-default-features");
        flags.extend(BARE);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let status = cargo.status().expect("cargo can be executed");
    assert!(status.success(), "building the shim failed: {status}");
    target_dir.join(target).join("shim/legwork-shim")
}

/// Whether the shim knows how to start on the target without a C library; see its module `runtime`.
fn starts_by_itself() -> bool {
    let is = |name: &str, value: &str| variable(name) == value;
    is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_POINTER_WIDTH", "64")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
}

fn is_of_the_outer_build(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "RUSTFLAGS",
        "RUSTC",
        "RUSTDOC",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
    ];
    let cargos = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
    // A linker chosen for a target is needed as much inside as outside.
    let linker = name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER");
    cargos && !linker || name.starts_with("RUSTC_") || OTHERS.contains(&name)
}

/// FNV-1a, 128 bits: tells versions apart; nothing is protected by it.
fn fnv1a(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}
