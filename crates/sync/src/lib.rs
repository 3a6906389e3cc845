//! A one-way mirror of a directory into a workspace in which jobs run.
//!
//! The client's tree wins, and nothing is lost: the mirror deletes or overwrites only what the mirror
//! itself wrote, and moves what stands in its way to a trash that it names. A workspace remembers
//! which entries it was given and what they looked like on disk once written; whatever looks
//! different now belongs to a job.
//!
//! # How a commit goes
//!
//! [`push`](push::push) compares the directory with the manifest of the last commit (its cache),
//! sends the differences and their content without waiting for an answer, and ends with the root of
//! its tree, a Merkle hash. [`receive`](receive::receive) meanwhile looks for drift in the
//! workspace, stages and verifies what comes, and then, under the workspace's lease, decides for
//! each path (a pure function over what the mirror wrote, what the client has and what is on disk),
//! writes down its intent and applies it by renames. A crash at any point leaves the old tree, or an
//! intent that the next opening completes. [`pull`](pull::pull) brings named results back.
//!
//! The two sides speak the values of [`message`] over a [`link`]: in-process channels or whatever
//! transport the caller converts them for. Threads and bounded queues inside, blocking outside; the
//! clock and the boot id are arguments. Every operation on a tree goes through a held directory
//! handle and a single name, so that no symbolic link leads out of it.
//!
//! ```
//! use std::time::SystemTime;
//! use legwork_sync::{link, push, receive, workspace::Workspace};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (now, dir) = (SystemTime::UNIX_EPOCH, tempfile::tempdir()?);
//! let source = dir.path().join("source");
//! std::fs::create_dir(&source)?;
//! std::fs::write(source.join("hello"), "hello\n")?;
//! let workspace = Workspace::open(&dir.path().join("workspace"), "this boot")?;
//!
//! let (client, server) = link::pair(4);
//! let pushed = std::thread::scope(|scope| {
//!     scope.spawn(|| receive::receive(&workspace, &receive::Options::default(), server, &|| now));
//!     push::push(&source, &push::Options::at(now), &dir.path().join("cache"), client, &())
//! })?;
//! assert_eq!(workspace.root()?, Some(pushed.summary.root));
//! assert_eq!(std::fs::read(workspace.tree().join("hello"))?, b"hello\n");
//! # Ok(())
//! # }
//! ```

mod apply;
mod cache;
mod codec;
mod commit;
pub mod digest;
mod dir;
mod drift;
pub mod error;
pub mod faults;
mod globs;
mod index;
mod journal;
mod lease;
pub mod link;
pub mod manifest;
pub mod message;
pub mod observer;
pub mod path;
pub mod pull;
mod pull_record;
mod puller;
pub mod push;
mod pusher;
mod read;
pub mod receive;
pub mod reconcile;
mod round;
mod rules;
pub mod scan;
mod send;
mod serve_pull;
mod stage;
pub mod stat;
mod store;
mod summary;
mod survey;
mod trash;
mod turn;
mod walk;
pub mod workspace;

pub use digest::Digest;
