//! The per-job process: it starts one program, keeps its output, and writes down how it ended.
//!
//! See the module `shim` for how it works, and the library of the same crate for the files and messages
//! it works with. It takes no arguments and reads no environment: everything is in the job directory,
//! which is its working directory, and in the three descriptors that its launcher gives it.
//!
//! What it stands on is the module `runtime`: nothing but the kernel, or a C library where that is not provided for.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]

extern crate alloc;
#[cfg(all(feature = "std", not(test)))]
extern crate std;

mod runtime;
mod shim;

/// Never called: the test harness has a `main` of its own. It only keeps the program in use.
#[cfg(test)]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(u8::try_from(shim::run()).unwrap_or(u8::MAX))
}
