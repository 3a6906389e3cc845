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
//! are brought in by a hundred page faults, together by twenty. `order.txt` lists them by their symbols. LLD takes such a list, and is what
//! the compiler brings along for some targets; of others the build says nothing. A symbol that is not found (another
//! compiler, another version of a library) does no harm but to speed; `bench/order.py` makes the list anew.

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
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    let order = [
        "-Xlinker".to_owned(),
        format!("--symbol-ordering-file={ORDER}"),
        "-Xlinker".to_owned(),
        "--no-warn-symbol-ordering".to_owned(),
    ];
    if links_with(&order, &out) {
        for argument in &order {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
    let compiler = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let archives = ["libgcc_eh.a", "libgcc.a"].map(|name| archive(&compiler, name));
    let [Some(unwinder), Some(helpers)] = archives else {
        return;
    };
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

/// Whether the linker of this build knows these arguments. Only a program that it has linked with them tells: it may be the
/// compiler's, the distribution's or somebody's own.
#[expect(
    clippy::disallowed_methods,
    reason = "a build script asks the compiler, of which cargo tells in variables; no job is started here"
)]
fn links_with(arguments: &[String], out: &Path) -> bool {
    let source = out.join("nothing.rs");
    std::fs::write(&source, "fn main() {}").expect("OUT_DIR is writable");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}"));
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.args(linker);
    rustc.args(arguments.iter().map(|one| format!("-Clink-arg={one}")));
    rustc.arg(&source).arg("-o").arg(out.join("nothing"));
    rustc.output().is_ok_and(|done| done.status.success())
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
