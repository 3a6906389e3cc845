//! The per-job process.
fn main() {}
