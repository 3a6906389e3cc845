//! Where events come from: inotify(7), one watch for each directory that is kept.
//!
//! A watch is set on a directory that is held open, through its descriptor, so it is the directory that is listed next
//! whatever its path leads to by then. The kernel knows watches by the directory itself: one that was moved keeps its
//! watch, and watching it again gives the same number.

use std::fmt::{self, Debug};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::{Errno, Result};

use crate::tree::Dir;

/// Number of a watch.
pub(crate) type Watched = i32;

/// Something happened in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where; meaningless for what was lost.
    pub(crate) watched: Watched,
    /// To which name in it; empty for the directory itself.
    pub(crate) name: Box<[u8]>,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A file is being written, or was made.
    Writing,
    /// A file is as its writer wants it.
    Done,
    /// A file is not there any more.
    Gone,
    /// A directory came, went, or became another's: all below is to be looked at.
    Directory,
    /// The directory itself was moved or removed.
    Itself,
    /// The watch is no more.
    Ended,
    /// Events were lost.
    Lost,
}

/// Gives events. Used from several threads.
pub(crate) trait Source: Send + Sync + Debug {
    /// Watches a directory.
    fn watch(&self, dir: &Dir) -> Result<Watched>;

    /// Does not watch it any more.
    fn unwatch(&self, watched: Watched);

    /// Appends what happened, waiting up to `timeout` for something.
    fn read(&self, timeout: Duration, into: &mut Vec<Event>) -> Result<()>;
}

/// The kernel's events.
pub(crate) struct Inotify {
    queue: OwnedFd,
    buffer: Mutex<Vec<MaybeUninit<u8>>>,
}

/// Bytes of events that are read at a time.
const BUFFER: usize = 64 << 10;
/// Events after which what was read is looked at, though there may be more: as many as the kernel keeps by default.
const MANY: usize = 16_384;

impl Debug for Inotify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inotify").field(&self.queue).finish()
    }
}

impl Inotify {
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            queue: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            buffer: Mutex::new(vec![MaybeUninit::uninit(); BUFFER]),
        })
    }
}

fn wanted() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
}

impl Source for Inotify {
    fn watch(&self, dir: &Dir) -> Result<Watched> {
        let held = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        inotify::add_watch(&self.queue, held, wanted())
    }

    fn unwatch(&self, watched: Watched) {
        // It may have ended with its directory.
        let _ended = inotify::remove_watch(&self.queue, watched);
    }

    fn read(&self, timeout: Duration, into: &mut Vec<Event>) -> Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.queue, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reader = Reader::new(&self.queue, &mut buffer);
        while into.len() < MANY || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => into.extend(told(&event)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn told(event: &inotify::Event<'_>) -> Option<Event> {
    let flags = event.events();
    let name: Box<[u8]> = event
        .file_name()
        .map_or(&[][..], |name| name.to_bytes())
        .into();
    let done = ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO | ReadFlags::ATTRIB;
    let what = if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        What::Lost
    } else if flags.contains(ReadFlags::IGNORED) {
        What::Ended
    } else if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
        What::Itself
    } else if flags.contains(ReadFlags::ISDIR) {
        What::Directory
    } else if flags.intersects(done) {
        What::Done
    } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        What::Gone
    } else {
        What::Writing
    };
    // Of a directory's own permissions its parent tells, too.
    let told_twice = name.is_empty() && matches!(what, What::Directory | What::Done);
    let watched = event.wd();
    (!told_twice).then_some(Event {
        watched,
        name,
        what,
    })
}
