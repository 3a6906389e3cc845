//! What a shim says to the process that started it, over the pipe that it inherits as its standard output.
//!
//! First comes one line: [`STARTED`] and the payload's process id, or [`FAILED`] and a [`crate::exit::NotStarted`] as JSON, after which the
//! pipe is closed. Then, while the job is young, a [`GROWN`] whenever output was written, unless the pipe is full. A pipe
//! that ends after [`SETTLED`] belongs to a job that lives on, whose directory tells the rest; one that ends without it, to a shim
//! that is about to be gone.

/// Begins the line of a payload that runs.
pub const STARTED: &str = "started ";
/// Begins the line of a payload that does not.
pub const FAILED: &str = "failed ";
/// Output was written.
pub const GROWN: &[u8] = b"\n";
/// The job has become old.
pub const SETTLED: &[u8] = b"settled\n";
