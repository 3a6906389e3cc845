//! A mirror that follows each save.
//!
//! # How
//!
//! [`Watch::begin`] mirrors all, as a push does, and on its way sets a watch on every directory that is kept (`kept`,
//! over the kernel's `events`). From then on events only say where to look (`dirty`): [`Watch::wait`] looks there, corrects
//! the tree that it holds in memory (`look`), and returns once something differs from what was committed. Then
//! [`Watch::update`] sends just that, over any link, and the server too looks only there. So the work of a save grows
//! with the save and not with the tree.
//!
//! # What is not trusted
//!
//! Events are hints: nothing is sent that was not looked at, and content is read again when it is sent. A queue that ran
//! over, very many paths at once, or another directory in the root's place is a look at everything; so is every few
//! minutes, whatever was told. A directory that is new is watched before it is listed, and looked at as a whole.
//! Where the kernel gives no watch, or events do not tell of all changes (network file systems), everything is looked at
//! every few seconds instead, and [`Watch::trouble`] says why.
//!
//! # What is committed
//!
//! The watch knows the root committed last and every path at which its tree differs from that, with what was there. A link
//! that breaks leaves both as they were: the next update sends all of it again. If it had been committed after all, or
//! somebody else committed meanwhile, the server does not know the base, and the two compare their trees as at any push.

mod dirty;
mod events;
mod kept;
mod look;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::dirty::Dirty;
pub use self::dirty::Pace;
use self::events::{Inotify, Source};
use self::kept::Kept;
use self::look::Before;
pub use self::wait::Wake;
use crate::digest::Digest;
use crate::error::PushError;
use crate::link::{Link, Receiving, Sending};
use crate::manifest;
use crate::manifest::branches::Branches;
use crate::message::{Down, Up};
use crate::observer::Observer;
use crate::path::TreePath;
use crate::push::past::Past;
use crate::push::{self, Compress, Options, Pushed, Unsent, cache};
use crate::scan::Scanned;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn wall(&self) -> SystemTime;

    /// Since some moment that does not change; never goes back.
    fn elapsed(&self) -> Duration;
}

/// Why everything has to be looked at again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This user may have no more watches (`fs.inotify.max_user_watches`, `max_user_instances`).
    Limit,
    /// The root is on a file system that does not tell of all changes.
    Network,
    /// The kernel refuses for another reason, an error number.
    Refused(i32),
}

/// First pause before a file that kept changing is tried again; then twice as long, up to the last.
const PUT_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A directory that is watched, and what is known of it.
pub struct Watch {
    root: PathBuf,
    options: Options,
    cache: PathBuf,
    pace: Pace,
    clock: Box<dyn Clock>,
    kept: Kept,
    dirty: Dirty,
    /// The tree as it was seen last, and what was hashed of it.
    tree: Scanned,
    branches: Branches,
    /// What was committed last, and where the tree differs from that.
    base: Option<Digest>,
    unsent: Before,
    /// The version that the server speaks, 0 if that is not known, and what it may have kept of earlier trees.
    peer: u32,
    past: Past,
    /// When the oldest of that was noticed.
    noticed: Option<Duration>,
    /// When what was committed was first newer than the cache on disk, and when last.
    unsaved: Option<(Duration, Duration)>,
    /// The directory that the root was at the last look at everything: device and inode.
    place: Option<(u64, u64)>,
    /// When that look ended, and how long it took.
    looked: (Duration, Duration),
    is_gone: bool,
    trouble: Option<Trouble>,
    put_off: HashMap<TreePath, Duration>,
}

impl Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("root", &self.root)
            .field("watches", &self.kept.count())
            .field("unsent", &self.unsent.len())
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch of `root`, which begins with [`Watch::begin`]. `options` and `cache` are those of a push; the time in the
    /// former does not count.
    #[must_use]
    pub fn new(
        root: &Path,
        options: Options,
        cache: &Path,
        pace: Pace,
        clock: Box<dyn Clock>,
    ) -> Self {
        let source = Inotify::open();
        let trouble = source.as_ref().err().map(|errno| wait::trouble(*errno));
        let source = source
            .ok()
            .map(|source| Box::new(source) as Box<dyn Source>);
        let watch = Self::with_source(root, options, cache, (pace, clock), source);
        Self { trouble, ..watch }
    }

    fn with_source(
        root: &Path,
        options: Options,
        cache: &Path,
        (pace, clock): (Pace, Box<dyn Clock>),
        source: Option<Box<dyn Source>>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            options,
            cache: cache.to_owned(),
            pace,
            clock,
            kept: Kept::new(source),
            dirty: Dirty::new(pace),
            tree: Scanned::default(),
            branches: Branches::default(),
            base: None,
            unsent: Before::new(),
            peer: 0,
            past: Past::default(),
            noticed: None,
            unsaved: None,
            place: None,
            looked: (Duration::ZERO, Duration::ZERO),
            is_gone: false,
            trouble: None,
            put_off: HashMap::new(),
        }
    }

    /// How content is packed from now on, as the next connection is another than the last.
    pub fn compress(&mut self, compress: Compress) {
        self.options.compress = compress;
    }

    /// Mirrors all, and watches from then on. May be called again after it failed.
    ///
    /// # Errors
    /// As [`push::push`].
    pub fn begin<S, R>(
        &mut self,
        link: Link<S, R>,
        observer: &dyn Observer,
    ) -> Result<Pushed, PushError>
    where
        S: Sending<Up>,
        R: Receiving<Down>,
    {
        let begun = self.clock.elapsed();
        let options = self.options_now();
        self.place = wait::place(&self.root);
        self.kept.begin();
        let seen = (observer, Some(&self.kept as _));
        let pushed = push::push_keeping(&self.root, &options, &self.cache, link, seen)?;
        self.kept.end();
        if let Some(writer) = &mut self.options.writer {
            // Once: who takes over from us later is not to be taken over from by itself.
            writer.takeover = false;
        }
        let committed = cache::load(&self.cache)?;
        self.base = committed.as_ref().map(|committed| committed.root);
        self.peer = committed.as_ref().map_or(0, |committed| committed.peer);
        let (entries, past) = committed
            .map(|committed| (committed.entries, committed.past))
            .unwrap_or_default();
        self.past = past;
        self.branches.clear();
        self.tree = Scanned {
            entries,
            special: pushed.special,
            unreadable: pushed.unreadable.clone(),
        };
        self.unsent.clear();
        self.noticed = None;
        self.looked_at_all(begun);
        self.dirty.rest(self.clock.elapsed());
        Ok(pushed)
    }

    /// Sends what differs from what was committed; nothing but a sign of life where nothing does. If it fails, it is still to
    /// be sent, but for a file that [keeps changing](PushError::KeepsChanging): that is left as it was committed and
    /// looked at again later.
    ///
    /// # Errors
    /// As [`push::push`].
    pub fn update<S, R>(
        &mut self,
        link: Link<S, R>,
        observer: &dyn Observer,
    ) -> Result<Pushed, PushError>
    where
        S: Sending<Up>,
        R: Receiving<Down>,
    {
        let options = self.options_now();
        let state = Unsent {
            base: self.base,
            tree: (&mut self.tree, &mut self.branches),
            paths: &self.unsent,
            peer: self.peer,
            past: &self.past,
        };
        let how = (&options, self.cache.as_path());
        let pushed = push::update(&self.root, how, link, observer, state);
        let now = self.clock.elapsed();
        self.dirty.rest(now);
        if pushed.is_err() {
            self.branches.clear();
        }
        match &pushed {
            Ok(pushed) => {
                let root = Some(pushed.summary.root);
                if self.base != root || !self.unsent.is_empty() {
                    let first = self.unsaved.map_or(now, |(first, _)| first);
                    self.unsaved = Some((first, now));
                }
                self.put_off
                    .retain(|path, _| !self.unsent.contains_key(path));
                let was: Vec<_> = self.unsent.values().flatten().cloned().collect();
                self.past = Past::after(&self.past, &was, &self.tree.entries);
                self.base = root;
                self.unsent.clear();
                self.noticed = None;
            }
            Err(PushError::Older) => self.peer = 0,
            Err(PushError::KeepsChanging { path }) => {
                if let Ok(path) = TreePath::new(path.as_os_str().as_bytes()) {
                    self.put_off(path, now);
                }
            }
            Err(_) => {}
        }
        pushed
    }

    /// Lets others write to the workspace at once. Does nothing where something is still to be sent.
    ///
    /// # Errors
    /// As [`push::push`]; then others have to wait a minute.
    pub fn leave<S, R>(&mut self, link: Link<S, R>) -> Result<(), PushError>
    where
        S: Sending<Up>,
        R: Receiving<Down>,
    {
        self.remember()?;
        if self.is_behind() {
            return Ok(());
        }
        if let Some(writer) = &mut self.options.writer {
            writer.leaves = true;
        }
        self.update(link, &()).map(drop)
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether the root was not there when it was looked for last.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// When the first change was noticed of those that are to be sent, by the clock's own count.
    #[must_use]
    pub fn noticed(&self) -> Option<Duration> {
        self.noticed
    }

    /// Why everything is looked at every few seconds, if it is.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Writes down what was committed, for whoever pushes the same directory next. Done by [`Watch::wait`] too, when there is
    /// time.
    ///
    /// # Errors
    /// [`PushError::Cache`].
    pub fn remember(&mut self) -> Result<(), PushError> {
        // What is unsent is not what was committed.
        if let Some(root) = self.base
            && self.unsaved.is_some()
            && self.unsent.is_empty()
        {
            let committed = (&root, self.tree.entries.as_slice());
            cache::save(&self.cache, committed, self.peer, &self.past)?;
            self.unsaved = None;
        }
        Ok(())
    }

    fn options_now(&self) -> Options {
        Options {
            now: self.clock.wall(),
            ..self.options.clone()
        }
    }

    /// Leaves a file as it was committed, for a while.
    fn put_off(&mut self, path: TreePath, now: Duration) {
        self.branches.touch(&path);
        let known = &mut self.tree.entries;
        let at = known.binary_search_by(|entry| entry.path.cmp(&path));
        match (self.unsent.remove(&path), at) {
            // It was sent only because the server had something else there.
            (None, _) => return,
            (Some(Some(was)), Ok(at)) => known[at] = was,
            (Some(Some(was)), Err(at)) => known.insert(at, was),
            (Some(None), Ok(at)) => {
                known.remove(at);
            }
            (Some(None), Err(_)) => {}
        }
        if let Ok(at) = known.binary_search_by(|entry| entry.path.cmp(&path)) {
            known[at].stat = None;
        }
        let pause = self.put_off.get(&path);
        let pause = pause.map_or(PUT_OFF.0, |pause| (*pause * 2).min(PUT_OFF.1));
        self.put_off.insert(path.clone(), pause);
        self.dirty.postpone(path, now + pause);
    }

    /// Takes over what a look found to be different from before; says whether there was anything.
    fn differs(&mut self, before: Before, noticed: Duration) -> bool {
        let differs = !before.is_empty();
        for (path, was) in before {
            self.branches.touch(&path);
            self.unsent.entry(path).or_insert(was);
        }
        let tree = &self.tree.entries;
        self.unsent.retain(|path, was| {
            let now = manifest::find(tree, path.as_bytes());
            now.map(|entry| &entry.node) != was.as_ref().map(|entry| &entry.node)
        });
        let since = self.noticed.map_or(noticed, |earlier| earlier.min(noticed));
        self.noticed = (!self.unsent.is_empty()).then_some(since);
        differs
    }
}
