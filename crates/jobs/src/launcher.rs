//! The seam between a job and where it runs.
//!
//! A launcher speaks of launches, not of process ids. It is handed a prepared job directory, whose lock it passes
//! on to the shim, and it alone can say whether a launch lives. What it does not know is
//! [`Liveness::Unknown`], and nothing treats that as an end.

mod kept;
mod local;
pub(crate) mod message;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;

pub use self::kept::{KeeperAway, Kept, KeptLauncher};
pub use self::local::LocalLauncher;
pub(crate) use self::local::{Parts, spawn};
use crate::state::Liveness;

/// Starts shims and knows whether they live. Its methods may block for as long as a system call.
pub trait Launcher: std::fmt::Debug + Send + Sync {
    /// Starts a shim in a prepared directory.
    ///
    /// # Errors
    /// What the system says when nothing was started.
    fn launch(&self, order: LaunchOrder<'_>) -> io::Result<Launched>;

    /// Whether the launch of the job in this directory lives.
    fn liveness(&self, dir: &Path) -> Liveness;
}

/// A launch to make.
#[derive(Debug)]
pub struct LaunchOrder<'a> {
    /// The job directory, whose journal holds the spec.
    pub dir: &'a Path,
    /// That journal, open for reading and locked: the shim inherits it.
    pub journal: OwnedFd,
    /// A shim to execute, where the launcher runs programs on this host.
    pub shim: &'a OwnedFd,
    /// What process lists show as the shim's name.
    pub title: String,
}

/// A launch that was made.
#[derive(Debug)]
pub struct Launched {
    /// What the shim says comes from here, see [`legwork_shim::handshake`]. `None` when the launcher hears
    /// nothing from its shims: the job is then returned as starting.
    pub handshake: Option<OwnedFd>,
    /// The shim, when it is a child of this process, so that it can be reaped.
    pub child: Option<Child>,
}
