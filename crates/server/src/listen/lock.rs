//! One server for a state directory: a lock that is held for life.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tonic::Code;

use crate::problem::Problem;

/// Held while a server serves a state directory. The system lets it go when the process ends, however it ends.
#[derive(Debug)]
pub struct ServerLock(#[expect(dead_code, reason = "open is what it has to be")] File);

impl ServerLock {
    /// Takes the lock of a state directory, which must exist.
    ///
    /// # Errors
    /// `SERVER_RUNNING` when another server has it.
    pub fn take(state: &Path) -> Result<Self, Problem> {
        let path = state.join("server.lock");
        let io = |error: std::io::Error| Problem::io(&path, &error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = std::io::read_to_string(&file).unwrap_or_default();
                let pid = holder.trim().parse::<u32>();
                let pid = pid.map_or_else(|_| String::new(), |pid| format!(" (process {pid})"));
                let message = format!(
                    "another server{pid} is serving {}: stop that one first, or use another state directory",
                    state.display()
                );
                return Err(
                    Problem::new(Code::FailedPrecondition, "SERVER_RUNNING", message)
                        .with("path", path.display()),
                );
            }
            Err(errno) => return Err(io(errno.into())),
        }
        // For people, and for the message above.
        file.set_len(0).map_err(io)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(io)?;
        Ok(Self(file))
    }
}
