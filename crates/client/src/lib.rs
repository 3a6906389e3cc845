//! Talk to a legwork host from a program.
//!
//! A [`Client`] is one HTTP/2 connection over any byte stream: a socket, a pipe to another process,
//! or a buffer in memory with the server in the same process, which is how the command line works
//! without a server. Methods correspond to the calls in `proto/legwork/v1`, but speak in this
//! crate's own types: states that carry their data, errors with a reason to match on, and streams
//! that know the offset at which to go on.
//!
//! Ids are made here ([`JobSpec::new`]), so that a start which was answered by silence can be
//! repeated without running anything twice.

mod admin;
mod client;
mod connect;
mod convert;
mod error;
mod input;
mod job;
mod logs;
mod mirror;
mod mirror_wire;
mod spec;

pub use admin::{Identity, Invited};
pub use client::{Client, HostInfo, ListFilter};
pub use error::{CallError, Result};
pub use input::Input;
pub use job::{Cause, Finish, Job, NotStarted, State, Status, Survivor, Usage};
pub use logs::{Chunk, LogEvent, LogFrom, LogOptions, LogStream, Logs, Run};
pub use mirror::{PullRequest, PullSource, PushRequest, WaitObserver};
pub use spec::{JobSpec, Place, Stdin, WorkspaceRef};
pub use tonic::Code;
