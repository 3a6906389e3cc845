//! Waiting for something to send: events, looks, and the time between them.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::dirty::{Sign, Taken};
use super::events::{Event, What};
use super::look::{CACHE_TAG, Look, RULES, differences};
use super::{Trouble, Watch};
use crate::error::PushError;
use crate::manifest;
use crate::path::TreePath;
use crate::push::{self, inside, protect, since_epoch};
use crate::scan::{self, Discard, Guide, Known};
use crate::stat::Horizon;
use crate::tree::Dir;

/// How soon a wait notices that it is cancelled, or that the root is another directory.
const TICK: Duration = Duration::from_millis(250);
/// How long what was committed may be unwritten while one save follows another.
const UNSAVED: Duration = Duration::from_secs(1);
/// Looks at everything take at most one part in so many of the time.
const SHARE: u32 = 10;

/// Why a wait is over.
#[derive(Debug)]
pub enum Wake {
    /// There is something to send.
    Changed,
    /// There is nothing to send, and the time is up.
    Idle,
    /// The root cannot be opened any more. Told once; the mirror stays as it is until the root is there again.
    Gone(io::Error),
    /// The root is there again.
    Back,
    /// The caller gave up.
    Cancelled,
}

/// What a refused watch means.
pub(super) fn trouble(errno: Errno) -> Trouble {
    match errno {
        Errno::NOSPC | Errno::MFILE | Errno::NFILE | Errno::NOMEM => Trouble::Limit,
        other => Trouble::Refused(other.raw_os_error()),
    }
}

/// Which directory is at `root`: device and inode.
pub(super) fn place(root: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(root).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// File systems on which others may change files without an event here: 9P, AFS, Ceph, CIFS, Coda, FUSE, NFS, SMB.
const REMOTE: [u32; 9] = [
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
    0xff53_4d42,
    0xfe53_4d42,
    0x7375_7245,
    0x6573_5546,
    0x0000_6969,
    0x0000_517b,
];

fn is_remote(dir: &Dir) -> bool {
    // The kernel's type for it differs by architecture; the numbers have 32 bits.
    let kind = rustix::fs::fstatfs(dir).map(|stat| stat.f_type.cast_unsigned() & 0xffff_ffff);
    kind.is_ok_and(|kind| REMOTE.iter().any(|remote| u64::from(*remote) == kind))
}

impl Watch {
    /// Waits until there is something to send, for `limit` at most. Nothing that was noticed before is lost by giving up.
    ///
    /// # Errors
    /// [`PushError::Cache`], and [`PushError::Root`] if events cannot be read.
    pub fn wait(
        &mut self,
        limit: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Wake, PushError> {
        let end = self.clock.elapsed().saturating_add(limit);
        loop {
            if cancelled() {
                return Ok(Wake::Cancelled);
            }
            if let Some(wake) = self.check_root() {
                return Ok(wake);
            }
            let now = self.clock.elapsed();
            let due = self.due();
            if due <= now {
                // What was refused as it is goes on being refused until something is different.
                if self.look() && self.is_behind() {
                    return Ok(Wake::Changed);
                }
                continue;
            }
            if now >= end {
                return Ok(Wake::Idle);
            }
            let writes = self.writes_at();
            if writes <= now {
                self.remember()?;
            }
            let until = due.min(end).min(self.writes_at());
            self.read(until.saturating_sub(now).min(TICK))?;
        }
    }

    /// When to write down what was committed: once nothing follows for a while, so that what does follow does not wait for it.
    fn writes_at(&self) -> Duration {
        match self.unsaved {
            // What is unsent is not what was committed.
            Some((first, last)) if self.unsent.is_empty() => {
                (last + self.pace.quiet).min(first + UNSAVED)
            }
            _ => Duration::MAX,
        }
    }

    /// When to look at something next.
    fn due(&self) -> Duration {
        if self.is_gone {
            return Duration::MAX;
        }
        let (ended, took) = self.looked;
        let between = match self.trouble {
            Some(_) => self.pace.poll.max(took * SHARE),
            None => self.pace.whole,
        };
        let whole = ended + between;
        self.dirty.due().map_or(whole, |dirty| dirty.min(whole))
    }

    /// Whether the root is still the directory that it was.
    fn check_root(&mut self) -> Option<Wake> {
        let was_gone = self.is_gone;
        match Dir::open_root(&self.root) {
            Ok(_there) => {
                self.is_gone = false;
                if was_gone || self.place != place(&self.root) {
                    self.place = place(&self.root);
                    self.dirty.note_all(self.clock.elapsed());
                }
                was_gone.then_some(Wake::Back)
            }
            Err(errno) => {
                self.is_gone = true;
                (!was_gone).then(|| Wake::Gone(errno.into()))
            }
        }
    }

    /// Reads events, waiting up to `timeout` for one.
    fn read(&mut self, timeout: Duration) -> Result<(), PushError> {
        let mut events = Vec::new();
        match &self.kept.source {
            Some(source) => {
                let failed = |errno: Errno| PushError::Root {
                    path: self.root.clone(),
                    source: errno.into(),
                };
                source.read(timeout, &mut events).map_err(failed)?;
            }
            None => std::thread::sleep(timeout),
        }
        let now = self.clock.elapsed();
        for event in events {
            self.note(&event, now);
        }
        Ok(())
    }

    fn note(&mut self, event: &Event, now: Duration) {
        if event.what == What::Lost {
            return self.dirty.note_all(now);
        }
        let Some(parent) = self.kept.path(event.watched) else {
            return;
        };
        match event.what {
            What::Ended => return self.kept.forget(event.watched),
            What::Itself if parent.is_empty() => return self.dirty.note_all(now),
            What::Itself => return,
            _ => {}
        }
        let Ok(path) = TreePath::join(&parent, &event.name) else {
            return;
        };
        let is_known = manifest::find(&self.tree.entries, path.as_bytes()).is_some();
        let is_dir = event.what == What::Directory;
        let decides = RULES.contains(&&*event.name) || &*event.name == CACHE_TAG;
        if !is_known && !decides {
            let rules = self.kept.rules_at(&parent);
            if rules.is_some_and(|rules| rules.excludes(&parent, &event.name, is_dir)) {
                return;
            }
        }
        let sign = match event.what {
            What::Writing => Sign::Writing,
            What::Done | What::Directory if is_known => Sign::Done,
            _ => Sign::Fresh,
        };
        self.dirty.note(path, is_dir, sign, now);
    }

    /// Looks at what is dirty or, when it is time, at everything; says whether anything is different from before.
    fn look(&mut self) -> bool {
        let now = self.clock.elapsed();
        let noticed = self.dirty.since().unwrap_or(now);
        let taken = self.dirty.take(now);
        let Ok(root) = Dir::open_root(&self.root) else {
            // Found out by whoever waits next.
            self.dirty.note_all(now);
            return false;
        };
        let paths = match taken {
            Taken::Paths(paths) if !paths.is_empty() => paths,
            Taken::Paths(_) | Taken::All => return self.look_at_all(root, noticed),
        };
        let excluded = inside(&self.root, &self.options.exclude);
        let horizon = Horizon::before_scan(&root, since_epoch(self.clock.wall()));
        let mut look = Look::new(&root, &mut self.tree, &self.kept, &excluded, horizon);
        let looked = look.all(&paths);
        let before = look.before;
        let differs = self.differs(before, noticed);
        if looked.is_err() || self.kept.refused().map(trouble) != self.refused_trouble() {
            return self.look_at_all(root, noticed) || differs;
        }
        differs
    }

    /// The trouble that comes from watches that were refused.
    fn refused_trouble(&self) -> Option<Trouble> {
        self.trouble
            .filter(|trouble| *trouble != Trouble::Network && self.kept.source.is_some())
    }

    fn look_at_all(&mut self, root: Dir, noticed: Duration) -> bool {
        let begun = self.clock.elapsed();
        let options = self.options_now();
        let known = scan::index(&self.tree.entries);
        let guide = Guide {
            known: Known::Index(&known),
            excluded: &inside(&self.root, &options.exclude),
            horizon: Horizon::before_scan(&root, since_epoch(options.now)),
            keeper: Some(&self.kept),
        };
        // What is to be included was understood when the watch began.
        let Ok(rules) = push::rules(&self.root, &options) else {
            return false;
        };
        self.place = place(&self.root);
        self.kept.begin();
        let sinks = (0..options.threads.clamp(1, 16)).map(|_| Discard::default());
        let mut found = scan::scan_with(root, rules, guide, sinks.collect());
        self.kept.end();
        protect(&mut found, &self.tree.entries);
        let before = differences(&self.tree.entries, &found.entries);
        self.tree = found;
        self.branches.clear();
        self.looked_at_all(begun);
        self.differs(before, noticed)
    }

    /// Takes note of when that was, and whether events can be relied upon from here on.
    pub(super) fn looked_at_all(&mut self, begun: Duration) {
        let now = self.clock.elapsed();
        self.looked = (now, now.saturating_sub(begun));
        if self.kept.source.is_some() {
            let remote = Dir::open_root(&self.root).is_ok_and(|root| is_remote(&root));
            let refused = self.kept.refused().map(trouble);
            self.trouble = refused.or(remote.then_some(Trouble::Network));
        }
    }
}
