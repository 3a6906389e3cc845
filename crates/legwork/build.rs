//! How the program is linked, so that a command starts soon.
//!
//! **The unwinder** goes into the program instead of being loaded with each start. The standard library asks the linker for
//! `libgcc_s.so`. That one costs a command 0.15 ms and more before its first instruction: it is found, mapped and relocated,
//! and then it asks the processor what it can do, which is slow in a virtual machine. The compiler has the same code as an
//! archive. A file by that name, which the linker finds first, says so.
//!
//! Where there is no such archive, as with a toolchain without GCC, nothing is said and the library is loaded as ever.
//!
//! **What commands run** lies together. Their three thousand functions are a seventh of the program; scattered over all of it they
//! are brought in by a hundred page faults, together by twenty. `order.txt` lists them by their symbols, for the linker that the
//! compiler brings along for this target. A name that is not found there (another compiler, another version of a library) does no
//! harm but to speed; `bench/order.py` makes the list anew.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The symbols of what a command runs, one a line.
const ORDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/order.txt");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo::rerun-if-changed={ORDER}");
    if !is_for_this_host() {
        return;
    }
    if has_the_usual_linker() {
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={ORDER}");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
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

/// Whether the linker is the compiler's own LLD, as it is for this target since Rust 1.90 unless somebody says otherwise. Others do
/// not know the option for such a list, and stop.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts of flags and target in variables"
)]
fn has_the_usual_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|found| found == "x86_64")
        && env::var_os("RUSTC_LINKER").is_none()
        && !["link", "fuse-ld"].iter().any(|word| flags.contains(word))
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
