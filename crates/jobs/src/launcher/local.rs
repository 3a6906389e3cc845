//! Shims as children of this process.
//!
//! The command is of the kind that `std` turns into a single `posix_spawn`: no code runs between fork and exec, and
//! the address space is never copied, however large the opener is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use legwork_shim::{layout, lock};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::{LaunchOrder, Launched, Launcher};
use crate::files;
use crate::state::Liveness;

/// Runs shims on this host, as this user.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalLauncher;

/// How often to try again while another process still has the shim's file open for writing, and after how long.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

impl Launcher for LocalLauncher {
    fn launch(&self, order: LaunchOrder<'_>) -> io::Result<Launched> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let child = spawn(Parts {
            dir: order.dir,
            title: &order.title,
            shim: order.shim,
            journal: order.journal,
            handshake: theirs,
        })?;
        Ok(Launched {
            handshake: Some(ours),
            child: Some(child),
        })
    }

    fn liveness(&self, dir: &Path) -> Liveness {
        // Read-only: closing a descriptor that could write would look to watchers like the end of the shim.
        let held =
            File::open(dir.join(layout::JOURNAL)).and_then(|journal| Ok(lock::is_held(journal)?));
        match held {
            Ok(true) => Liveness::Alive,
            Ok(false) => Liveness::Ended,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Liveness::Ended,
            Err(_) => Liveness::Unknown,
        }
    }
}

/// What a shim begins with.
#[derive(Debug)]
pub(crate) struct Parts<'a, F> {
    /// Its working directory, the job's.
    pub(crate) dir: &'a Path,
    /// What process lists show.
    pub(crate) title: &'a str,
    /// Its program.
    pub(crate) shim: F,
    /// Its standard input: the locked journal.
    pub(crate) journal: OwnedFd,
    /// Its standard output: where it tells how it begins.
    pub(crate) handshake: OwnedFd,
}

/// Starts a shim as a child of this process. Our descriptors of what it got are closed.
pub(crate) fn spawn<F: AsFd>(parts: Parts<'_, F>) -> io::Result<Child> {
    let program = format!("/proc/self/fd/{}", parts.shim.as_fd().as_raw_fd());
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the jobs crate's launcher"
    )]
    let mut command = Command::new(program);
    command
        .arg0(parts.title)
        .env_clear()
        .current_dir(parts.dir)
        .stdin(parts.journal)
        .stdout(parts.handshake)
        .stderr(Stdio::null());
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => return Ok(child),
            // A thread that wrote the file may have forked at that moment: its child has the file open until it execs.
            Err(error) if tries < BUSY_TRIES && files::has_errno(&error, &[Errno::TXTBSY]) => {
                tries += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}
