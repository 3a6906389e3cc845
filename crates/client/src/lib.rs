//! Talk to a legwork host from a program.
//!
//! A [`Client`] keeps contact with one server: over TLS, over a Unix socket, over any byte stream, or in the same process,
//! which is how the command line works without a server. Methods
//! correspond to the calls in `proto/legwork/v1`, but speak in this crate's own types: states that carry their data,
//! errors with a reason to match on, and streams that know the offset at which to go on.
//!
//! Connections break; contact does not. A client made by [`Client::connect`] connects again by itself and goes on with
//! what was under way: what does no harm when it is done twice is repeated, with the same ids, and output and input are
//! resumed at their offsets. [`Options`] says for how long, and who hears of it. What is not repeated is a signal that may
//! have arrived.
//!
//! Ids are made here ([`JobSpec::new`]), so that a start which was answered by silence can be
//! repeated without running anything twice.

mod admin;
mod at;
mod client;
mod clocks;
mod connect;
mod contact;
mod convert;
mod dial;
mod distance;
mod enroll;
mod error;
mod first;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod in_process;
mod input;
mod job;
mod limits;
mod list;
mod live;
mod logs;
mod lost;
mod mirror;
mod mirror_wire;
mod options;
mod records;
mod spec;
mod stream;
mod target;
mod upkeep;
mod watch;

pub use admin::{Identity, Invited};
pub use at::{AtQuery, ProcessesAt};
pub use client::{Client, HostInfo};
pub use clocks::skew;
pub use connect::Heartbeat;
pub use distance::{Distance, NoDistance};
pub use enroll::{Enrolled, Joining, join};
pub use error::{CallError, Result};
pub use input::Input;
pub use job::{Cause, Finish, Job, JobStats, NotStarted, State, Status, Survivor, Usage};
pub use limits::{Containment, IoLimit, Limits, LimitsMode, OnExit, Rlimit};
pub use list::{ListFilter, Pages};
pub use logs::{
    Chunk, Found, FoundLine, LogEvent, LogFilter, LogFrom, LogOptions, LogStream, Logs, Run,
};
pub use mirror::{PullRequest, PullSource, PushRequest, WaitObserver};
pub use options::{Listener, Notice, Options, Patience};
pub use records::{
    Ack, Batches, Durability, Expected, Feed, FromMemory, FromSpool, Gone, Heard, LogProblem,
    LogReport, LogStats, Parcel, Refusal, Rejection, SendLimits, SendOptions, StreamInfo, Tail,
    TailEvent, TailFrom, TailOptions,
};
pub use spec::{JobSpec, Place, Stdin, WorkspaceRef};
pub use stream::ByteStream;
pub use target::{Dialler, Target, TlsTarget};
pub use tonic::Code;
pub use upkeep::{RestoreRequest, RestoredPaths, Trashed, Workspace};
pub use watch::WatchObserver;
