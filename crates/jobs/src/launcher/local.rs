//! Shims as children of this process.
//!
//! The command is of the kind that `std` turns into a single `posix_spawn`: no code runs between fork and exec, and
//! the address space is never copied, however large the opener is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
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
        let program = format!("/proc/self/fd/{}", order.shim.as_raw_fd());
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the jobs crate's launcher"
        )]
        let mut command = Command::new(program);
        command
            .arg0(&order.title)
            .env_clear()
            .current_dir(order.dir)
            .stdin(order.journal)
            .stdout(theirs)
            .stderr(Stdio::null());
        let mut tries = 0;
        loop {
            match command.spawn() {
                Ok(child) => {
                    return Ok(Launched {
                        handshake: Some(ours),
                        child: Some(child),
                    });
                }
                // A thread that wrote the file may have forked at that moment: its child has the file open until it execs.
                Err(error) if tries < BUSY_TRIES && files::has_errno(&error, &[Errno::TXTBSY]) => {
                    tries += 1;
                    std::thread::sleep(BUSY_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
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
