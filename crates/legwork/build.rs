//! Links the unwinder into the program instead of loading it with each start.
//!
//! The standard library asks the linker for `libgcc_s.so`. That one costs a command 0.15 ms and more before its first instruction:
//! it is found, mapped and relocated, and then it asks the processor what it can do, which is slow in a virtual machine. The
//! compiler has the same code as an archive. A file by that name, which the linker finds first, says so.
//!
//! Where there is no such archive, as with a toolchain without GCC, nothing is said and the library is loaded as ever.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    if !is_for_this_host() {
        return;
    }
    let compiler = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let archives = ["libgcc_eh.a", "libgcc.a"].map(|name| archive(&compiler, name));
    let [Some(unwinder), Some(helpers)] = archives else {
        return;
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    let script = format!("GROUP ( {} {} )\n", unwinder.display(), helpers.display());
    std::fs::write(out.join("libgcc_s.so"), script).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search=native={}", out.display());
}

/// Whether the program is dynamic, with the GNU C library, and for a machine like this one.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts of the target in variables"
)]
fn is_for_this_host() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && env::var("HOST").ok() == env::var("TARGET").ok()
        && !features.split(',').any(|feature| feature == "crt-static")
}

/// Where the compiler has it. One that has not gives the bare name back.
#[expect(
    clippy::disallowed_methods,
    reason = "a build script asks the compiler; no job is started here"
)]
fn archive(compiler: &OsString, name: &str) -> Option<PathBuf> {
    let told = Command::new(compiler)
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()?;
    let path = String::from_utf8(told.stdout).ok()?;
    let path = Path::new(path.trim());
    path.is_absolute().then(|| path.to_owned())
}
