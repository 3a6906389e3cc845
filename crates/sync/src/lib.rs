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
//! its tree, a Merkle hash. What the workspace has at another path, of an earlier commit or of a session that was cut off, is not sent, nor are
//! the parts of a large file that others have. [`receive`](receive::receive) meanwhile looks for drift in the
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
//! # Modules, from the outside in
//!
//! - the sessions: [`push`] on the client and [`receive`] on the server; [`pull`] has both ends of its own
//! - what they say: [`message`], [`link`], [`observer`], [`error`]; how content is packed: `pack`
//! - the client's look at its tree, and what it leaves out: [`scan`]; told for one path: [`explain`]; a mirror that follows each
//!   save: [`watch`]
//! - the decisions, without a system call: [`reconcile`], over [`manifest`], [`path`], [`unread`], [`stat`] and [`digest`]
//! - the change of a tree, and its completion after a crash: `commit`
//! - what a workspace is on disk: [`workspace`]; how the mirror's own files are written: `store`
//! - every access to a tree, through directory handles: `tree`
//! - writes that fail on purpose, for tests: [`faults`]
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

mod commit;
pub mod digest;
pub mod error;
pub mod explain;
pub mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod link;
pub mod manifest;
pub mod message;
pub mod observer;
mod pack;
pub mod path;
pub mod pull;
pub mod push;
pub mod receive;
pub mod reconcile;
pub mod scan;
pub mod stat;
mod store;
mod tree;
pub mod unread;
pub mod watch;
pub mod workspace;

pub use digest::Digest;
