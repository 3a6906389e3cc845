//! The services of legwork over its domain: jobs and mirrors.
//!
//! A [`Server`] is opened on a state directory and then serves any number of byte streams, whoever
//! is at the other end: today the command line in the same process, over a buffer in memory.
//! A handler does three things: it converts the request, calls the domain, and converts the answer.
//! Domain errors become gRPC statuses in one place, [`problem`], each with one `ErrorInfo`.
//!
//! Calls that change something run in tasks of the server's own, because tonic drops a handler when its
//! client goes away, and a start or a stop that was begun is finished.

mod convert;
mod host;
mod input;
mod jobs;
mod logs;
mod mirror;
pub mod problem;
mod server;
mod start;
mod sync;
mod workspaces;

pub use legwork_jobs::Rebuilt;
pub use problem::{Code, Problem};
pub use server::{Config, Server};
