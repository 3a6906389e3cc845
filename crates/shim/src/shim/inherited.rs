//! What the launcher hands over: a directory, a lock, a pipe for the answer.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use legwork_shim::lock;

use super::sys;

/// A shim's possessions from before its job, made safe to fork with.
#[derive(Debug)]
pub(super) struct Inherited {
    /// The job directory. Files are named relative to it, so that it may be renamed while a job runs.
    dir: OwnedFd,
    /// Both ends of nothing: what the standard descriptors become, and where dropped output goes.
    null: OwnedFd,
    /// The job's journal, locked. Closed by the end of the process.
    journal: OwnedFd,
    /// Where the signals that concern a shim are read.
    signals: OwnedFd,
    /// The file mode mask that the payload is to have.
    umask: Mode,
}

impl Inherited {
    /// Takes the descriptors over, blocks all signals and leaves the launcher's session.
    ///
    /// # Errors
    /// When the lock is not ours, or the system refuses something a process always has.
    pub(super) fn take() -> Result<Self, Errno> {
        sys::close_the_rest()?;
        sys::block_signals()?;
        let journal = rustix::io::fcntl_dupfd_cloexec(sys::stdin(), 3)?;
        if !lock::acquire(&journal)? {
            return Err(Errno::WOULDBLOCK);
        }
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        let dir = rustix::fs::open(
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let signals = sys::signal_queue(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT])?;
        // A shim that leads a session already, say under a cluster's scheduler, may keep it.
        match rustix::process::setsid() {
            Ok(_) | Err(Errno::PERM) => {}
            Err(e) => return Err(e),
        }
        // 0177 rather than 077: the control socket, too, is to be nobody else's.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        rustix::thread::set_name(c"legwork-shim")?;
        Ok(Self {
            dir,
            null,
            signals,
            journal,
            umask,
        })
    }

    /// The job directory.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The job's journal, for reading.
    pub(super) fn journal(&self) -> BorrowedFd<'_> {
        self.journal.as_fd()
    }

    /// `/dev/null`, for reading and writing.
    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Where SIGCHLD and the signals that mean a stop are read.
    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// The mask that the launcher had.
    pub(super) fn umask(&self) -> Mode {
        self.umask
    }
}
