//! What inotify(7) says, passed on to all who look at the same directory or file.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_shim::layout;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::tasks::{self, Tasks};

/// What of a directory is news: files that appear or go, and a journal that is closed.
pub(super) const SHAPE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// What of a file is news: bytes that are written to it.
pub(super) const GROWTH: WatchFlags = WatchFlags::MODIFY;

/// Bytes read from the kernel at once: some hundred events.
const BUFFER: usize = 16 * 1024;
/// Bytes of an event without its name, and what a name is at most filled up with; and most bytes of one with its name.
const EVENT: usize = 16;
const EVENT_MAX: usize = EVENT + 256;

/// The inotify instance and who looks at what.
#[derive(Debug)]
pub(super) struct Kernel {
    instance: AsyncFd<OwnedFd>,
    watched: Mutex<HashMap<i32, Vec<Arc<Ear>>>>,
}

/// Where one who looks at some of it hears of all that it looks at.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// Counts up with everything.
    news: AtomicU64,
    /// Counts up with what is no growth.
    shape: AtomicU64,
    /// Counts up when the journal is closed by one who could write: a line is there, or the shim is about to be gone.
    closed: AtomicU64,
    told: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Bytes were written to a file.
    Growth,
    /// A journal was closed.
    Closing,
    /// Anything else.
    Shape,
}

/// A directory or a file that somebody looks at.
#[derive(Debug)]
pub(super) struct Subscription {
    kernel: Arc<Kernel>,
    watch: i32,
    ear: Arc<Ear>,
}

impl Ear {
    /// The number of the last news.
    pub(super) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// The number of the last news that was no growth.
    pub(super) fn shape(&self) -> u64 {
        self.shape.load(Ordering::Acquire)
    }

    /// How often the journal was closed.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits for news after that of this number. For one at a time.
    pub(super) async fn later_than(&self, number: u64) {
        while self.news() == number {
            self.told.notified().await;
        }
    }

    fn tell(&self, news: News) {
        if news == News::Closing {
            self.closed.fetch_add(1, Ordering::Release);
        }
        if news != News::Growth {
            self.shape.fetch_add(1, Ordering::Release);
        }
        self.news.fetch_add(1, Ordering::Release);
        self.told.notify_one();
    }
}

impl Kernel {
    /// Needs a runtime.
    pub(super) fn start(tasks: &Tasks) -> io::Result<Arc<Self>> {
        let instance = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let kernel = Arc::new(Self {
            instance: tasks::readable(instance)?,
            watched: Mutex::default(),
        });
        let (listener, stop) = (kernel.clone(), tasks.stopping());
        drop(tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.listen() => {}
            }
        }));
        Ok(kernel)
    }

    /// Begins to look for news of one kind, and tells this ear. All who look at one path do so for the same.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        path: &Path,
        news: WatchFlags,
        ear: &Arc<Ear>,
    ) -> io::Result<Subscription> {
        let mut table = self.table();
        let watch = inotify::add_watch(self.instance.get_ref(), path, news)?;
        table.entry(watch).or_default().push(ear.clone());
        Ok(Subscription {
            kernel: self.clone(),
            watch,
            ear: ear.clone(),
        })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<i32, Vec<Arc<Ear>>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the kernel says, for ever.
    async fn listen(&self) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        loop {
            let Ok(mut ready) = self.instance.readable().await else {
                return;
            };
            // An error is the same as nothing to read: who looks also looks by the clock. What comes after the look is told anew.
            match ready.try_io(|instance| self.pass_on(instance.get_ref(), &mut buffer)) {
                Ok(Ok(true)) => ready.retain_ready(),
                Ok(_) => ready.clear_ready(),
                Err(_nothing) => {}
            }
        }
    }

    /// Passes on one bufferful. `true` if there may be more.
    fn pass_on(&self, instance: &OwnedFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<bool> {
        let mut reader = Reader::new(instance, buffer);
        let mut read = 0;
        loop {
            let event = match reader.next() {
                Err(Errno::INTR) => continue,
                event => event?,
            };
            let name = event.file_name();
            read += EVENT_MAX.min(EVENT + name.map_or(0, |name| name.count_bytes() + EVENT));
            let of_the_journal =
                name.is_some_and(|name| name.to_bytes() == layout::JOURNAL.as_bytes());
            self.tell(event.wd(), event.events(), of_the_journal);
            if reader.is_buffer_empty() {
                // The kernel gives whole events, as many as fit.
                return Ok(read + EVENT_MAX > BUFFER);
            }
        }
    }

    fn tell(&self, watch: i32, events: ReadFlags, of_the_journal: bool) {
        let mut table = self.table();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            let all = table.values().flatten();
            return all.for_each(|ear| ear.tell(News::Shape));
        }
        let Some(ears) = table.get(&watch) else {
            return;
        };
        let news = if events.contains(ReadFlags::MODIFY) {
            Some(News::Growth)
        } else if events.contains(ReadFlags::CLOSE_WRITE) {
            of_the_journal.then_some(News::Closing)
        } else {
            Some(News::Shape)
        };
        if let Some(news) = news {
            ears.iter().for_each(|ear| ear.tell(news));
        }
        if events.contains(ReadFlags::IGNORED) {
            // What was looked at is gone; from now on the clock tells.
            table.remove(&watch);
        }
    }

    fn unsubscribe(&self, watch: i32, ear: &Arc<Ear>) {
        let mut table = self.table();
        let hash_map::Entry::Occupied(mut entry) = table.entry(watch) else {
            return;
        };
        let ears = entry.get_mut();
        if let Some(place) = ears.iter().position(|known| Arc::ptr_eq(known, ear)) {
            ears.swap_remove(place);
        }
        if ears.is_empty() {
            entry.remove();
            // Fails only when what was looked at is gone, and the watch with it.
            let gone = inotify::remove_watch(self.instance.get_ref(), watch);
            gone.unwrap_or(());
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.kernel.unsubscribe(self.watch, &self.ear);
    }
}

/// Whether the kernel sees everything that is done in this directory, also by other hosts.
pub(super) fn sees(dir: &Path) -> bool {
    // `f_type` in statfs(2): NFS, SMB 1 to 3, CIFS, AFS, Coda, Ceph, 9P, FUSE, Lustre, GFS2, OCFS2.
    let shared = |found: rustix::fs::StatFs| {
        matches!(
            found.f_type,
            0x6969
                | 0x517b
                | 0xfe53_4d42
                | 0xff53_4d42
                | 0x5346_414f
                | 0x7375_7245
                | 0x00c3_6400
                | 0x0102_1997
                | 0x6573_5546
                | 0x0bd0_0bd0
                | 0x0116_1970
                | 0x7461_636f
        )
    };
    rustix::fs::statfs(dir).is_ok_and(|found| !shared(found))
}
