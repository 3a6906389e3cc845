//! The client's part in the conversation, from the scan to the last word.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::RecvTimeoutError;
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{PushError, StoreError};
use crate::link::Closed;
use crate::manifest::branches::Branches;
use crate::manifest::{self, Entry};
use crate::message::{Delta, Down, End, MAX_PAGE, Node, Summary, Up};
use crate::observer::{Observer, Progress};
use crate::path::TreePath;
use crate::push::base::{Base, Ground};
use crate::push::cache::{self, Stored};
use crate::push::fine::Fine;
use crate::push::library::Library;
use crate::push::outbox::Outbox;
use crate::push::past::Past;
use crate::push::planned::Planned;
use crate::push::seen::{Seen, Tree};
use crate::push::send::Batch;
use crate::push::told::{Told, forget_untold, offered, own, unexpected};
use crate::push::{Options, Pushed, TICK, Unreadable, since_epoch, told};
use crate::scan::rules::Rules;
use crate::scan::{self, Guide, Index, Keeper, Known, Scanned, Worker};
use crate::stat::Horizon;
use crate::store;
use crate::tree::{Dir, Use};
use crate::unread::Unread;

/// How often a file may change between being hashed and being sent.
const ROUNDS: u32 = 3;

/// One push under way.
pub(crate) struct Pusher<'a> {
    pub(crate) dir: Dir,
    pub(crate) rules: Arc<Rules>,
    /// Left out whatever the rules say.
    pub(crate) excluded: Vec<TreePath>,
    pub(crate) options: &'a Options,
    pub(crate) outbox: &'a Outbox<'a>,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) inbox: crossbeam_channel::Receiver<Down>,
    /// Where the chunks of large files are remembered.
    pub(crate) memory: PathBuf,
    /// The same of small files, on a slow link.
    pub(crate) fine: PathBuf,
    /// Is there while a session was cut off in the midst of content.
    pub(crate) mark: PathBuf,
    /// What the server may have kept of earlier trees.
    pub(crate) past: &'a Past,
    /// Hears of the directories that the scan keeps.
    pub(crate) keeper: Option<&'a dyn Keeper>,
    /// The server's answer to our first message came.
    pub(crate) welcomed: Cell<bool>,
}

impl Pusher<'_> {
    /// Pushes against `known`, what was committed last, or against what the server says.
    pub(crate) fn run(&self, known: Option<Stored>, cache: &Path) -> Result<Pushed, PushError> {
        let was_cut = self.mark.exists();
        let (base, root) = match known {
            // What came before the cut need not be sent again, which only the server can tell.
            Some(known) if !was_cut || self.welcome()? => {
                (Ground::stored(known.list), Some(known.root))
            }
            _ => (Ground::told(self.manifest()?), None),
        };
        let mut based = root.is_some();
        if !based {
            self.outbox.rebase()?;
        }
        let mut tree = self.scan(&base)?;
        let told = if based && self.outbox.void.load(Ordering::Relaxed) {
            based = false;
            self.rebase(tree.whole())?
        } else if let Some(root) = root.filter(|_| tree.is_same()) {
            self.claim(root, &[])?
        } else {
            self.end(base.entries(), tree.whole())?
        };
        let summary = self.converse(&mut tree, told, based)?;
        if !self.options.dry_run {
            store::remove(&self.mark)?;
        }
        let unchanged =
            based && (tree.is_same() || base.entries() == tree.whole().entries.as_slice());
        if !self.options.dry_run && !unchanged {
            let entries = &tree.whole().entries;
            self.remember(cache, &summary.root, (base.entries(), entries))?;
        }
        let told = tree.told();
        Ok(self.pushed(summary, told.special, told.unreadable))
    }

    /// Pushes the `paths` of a tree that is known, with what was committed there.
    pub(crate) fn update(
        &self,
        (tree, branches): (&mut Scanned, &mut Branches),
        paths: &BTreeMap<TreePath, Option<Entry>>,
    ) -> Result<Pushed, PushError> {
        let committed: Vec<Entry> = paths.values().flatten().cloned().collect();
        let names: Vec<TreePath> = paths.keys().cloned().collect();
        let ground = Ground::told(committed);
        let committed = ground.entries();
        let base = Base::under((&ground, paths), &tree.entries, (&self.memory, &self.fine));
        self.resend(tree, &names, Batch::new(self.outbox, &base));
        self.going()?;
        keep_unread(tree, paths);
        // Only there the tree may be another than when it was hashed last.
        names.iter().for_each(|path| branches.touch(path));
        let root = branches.root(&tree.entries);
        let gone = |path: &&TreePath| manifest::find(&tree.entries, path.as_bytes()).is_none();
        let was = committed.iter().map(|entry| &entry.path);
        self.tell_gone(was.filter(gone))?;
        self.claim(root, &tree.unreadable)?;
        let summary = self.converse(tree, root, true)?;
        if summary.root != root {
            // The server asked for files that had changed again.
            branches.clear();
        }
        store::remove(&self.mark)?;
        self.remember_chunks(&tree.entries)?;
        Ok(self.pushed(summary, tree.special, tree.unreadable.clone()))
    }

    fn base<'b>(&'b self, tree: &'b Ground) -> Base<'b> {
        Base::of(tree, &self.memory, &self.fine)
    }

    fn pushed(&self, summary: Summary, special: u64, unreadable: Vec<Unreadable>) -> Pushed {
        Pushed {
            summary,
            dry_run: self.options.dry_run,
            sent_files: self.outbox.files.load(Ordering::Relaxed),
            sent_bytes: self.outbox.bytes.load(Ordering::Relaxed),
            wire_bytes: self.outbox.wire_bytes.load(Ordering::Relaxed),
            reused_files: self.outbox.reused_files.load(Ordering::Relaxed),
            reused_bytes: self.outbox.reused_bytes.load(Ordering::Relaxed),
            special,
            unreadable,
        }
    }

    /// Waits for the server's first answer, and what it has of a session that was cut off; says whether it has our base.
    fn welcome(&self) -> Result<bool, PushError> {
        let mut base_known = false;
        loop {
            match self.next()? {
                Down::Waiting(reason) => self.observer.waiting(reason),
                Down::Welcome(welcome) => {
                    base_known = welcome.base_known;
                    if !welcome.held {
                        return Ok(base_known);
                    }
                }
                Down::Held(page) if page.last => return Ok(base_known),
                Down::Held(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Writes down what is committed.
    fn remember(
        &self,
        cache: &Path,
        root: &Digest,
        (base, entries): (&[Entry], &[Entry]),
    ) -> Result<(), StoreError> {
        let peer = self.outbox.peer.load(Ordering::Relaxed);
        let past = Past::after(self.past, base, entries);
        cache::save(cache, (root, entries), peer, &past)?;
        self.remember_chunks(entries)
    }

    /// Writes down of which chunks files are, of those that were cut up.
    fn remember_chunks(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let (cut, fine) = (self.outbox.take_cut(), self.outbox.take_fine());
        if cut.is_empty() && fine.is_empty() {
            return Ok(());
        }
        let contents: HashSet<&Digest> = entries
            .iter()
            .filter_map(|entry| match &entry.node {
                Node::File { hash, .. } => Some(hash),
                Node::Dir | Node::Symlink { .. } => None,
            })
            .collect();
        let is_there = |hash: &Digest| contents.contains(hash);
        if !fine.is_empty() {
            Fine::load(&self.fine).save(&self.fine, fine, is_there)?;
        }
        if cut.is_empty() {
            return Ok(());
        }
        Library::load(&self.memory, is_there).save(&self.memory, &cut, is_there)
    }

    fn scan<'g>(&self, ground: &'g Ground) -> Result<Seen<'g>, PushError> {
        let base = self.base(ground);
        let batch = |_| Batch::new(self.outbox, &base);
        let sinks = (0..self.options.threads.clamp(1, 16)).map(batch).collect();
        let dir = self
            .dir
            .child(b".", Use::List)
            .map_err(|errno| PushError::Root {
                path: PathBuf::from("."),
                source: errno.into(),
            })?;
        let index = match ground.list() {
            Some(_) => Index::new(),
            None => scan::index(ground.entries()),
        };
        let horizon = Horizon::before_scan(&self.dir, since_epoch(self.options.now));
        let guide = Guide {
            known: ground.list().map_or(Known::Index(&index), Known::Packed),
            excluded: &self.excluded,
            horizon,
            keeper: self.keeper,
        };
        let found = scan::look_with(dir, Arc::clone(&self.rules), guide, sinks);
        let mut tree = Seen::new(ground, found);
        self.observer.scanned(Progress {
            files: tree.files(),
            bytes: 0,
        });
        self.going()?;
        Ok(tree)
    }

    /// An error if nothing more can be sent.
    fn going(&self) -> Result<(), PushError> {
        if self.observer.cancelled() {
            return Err(PushError::Cancelled);
        }
        if self.outbox.stop() {
            Err(Closed.into())
        } else {
            Ok(())
        }
    }

    /// The server's last word, where it gave one before the link closed.
    pub(crate) fn why_closed(&self) -> PushError {
        loop {
            match self.next() {
                Ok(_) => {}
                Err(reason) => return reason,
            }
        }
    }

    fn next(&self) -> Result<Down, PushError> {
        // Also where messages never end.
        while !self.observer.cancelled() {
            match self.inbox.recv_timeout(TICK) {
                Ok(Down::Refused(refusal)) => return Err(PushError::Refused(refusal)),
                Ok(Down::Welcome(welcome)) => {
                    return told::welcome(welcome, self.welcomed.replace(true));
                }
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(Closed.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Err(PushError::Cancelled)
    }

    /// What the server tracks, in full.
    fn manifest(&self) -> Result<Vec<Entry>, PushError> {
        let mut told = Told::default();
        loop {
            match self.next()? {
                Down::Welcome(_) | Down::Held(_) => {}
                Down::Waiting(reason) => self.observer.waiting(reason),
                Down::Manifest(page) => {
                    let last = page.last;
                    told.add(page)?;
                    if last {
                        return told.tree();
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Sends what is gone, and the end of the round, whose root this is.
    fn end(&self, base: &[Entry], tree: &Scanned) -> Result<Digest, PushError> {
        self.tell_gone(missing(base, &tree.entries).into_iter())?;
        let root = manifest::root(manifest::pairs(&tree.entries));
        self.claim(root, &tree.unreadable)
    }

    /// Sends what is gone.
    fn tell_gone<'p>(&self, gone: impl Iterator<Item = &'p TreePath>) -> Result<(), PushError> {
        let gone: Vec<&TreePath> = gone.collect();
        for page in gone.chunks(MAX_PAGE) {
            let deletes = page.iter().map(|path| path.as_bytes().to_vec()).collect();
            self.outbox.send(Up::Delta(Delta {
                puts: Vec::new(),
                deletes,
            }))?;
        }
        Ok(())
    }

    /// Ends a round.
    fn claim(&self, root: Digest, unreadable: &[Unreadable]) -> Result<Digest, PushError> {
        let unread = unreadable.iter();
        let unread = Unread::of(unread.map(|unread| unread.path.as_os_str().as_bytes()));
        let unread = unread.paths().map(<[u8]>::to_vec).collect();
        self.outbox.send(Up::End(End { root, unread }))?;
        Ok(root)
    }

    /// Begins again from what the server tracks: the cached base is not what it has.
    fn rebase(&self, tree: &mut Scanned) -> Result<Digest, PushError> {
        let base = Ground::told(self.manifest()?);
        self.outbox.rebase()?;
        protect(tree, base.entries());
        let known = self.base(&base);
        let changed = |entry: &&Entry| {
            known
                .get(&entry.path)
                .is_none_or(|base| *base != entry.node)
        };
        let paths: Vec<TreePath> = tree
            .entries
            .iter()
            .filter(changed)
            .map(|entry| entry.path.clone())
            .collect();
        self.resend(tree, &paths, Batch::new(self.outbox, &known));
        self.going()?;
        self.end(base.entries(), tree)
    }

    /// Looks at `paths` again and offers them to `batch`. What cannot be read any more is dropped from the tree.
    fn resend(&self, tree: &mut Scanned, paths: &[TreePath], batch: Batch<'_, '_>) {
        let nothing = Index::new();
        let horizon = Horizon::before_scan(&self.dir, since_epoch(self.options.now));
        let mut worker = Worker::new(&nothing, horizon, batch);
        for path in paths {
            let at = tree.entries.binary_search_by(|entry| entry.path.cmp(path));
            let Ok(at) = at else { continue };
            if !matches!(tree.entries[at].node, Node::File { .. }) {
                worker.again(&tree.entries[at]);
                continue;
            }
            let parent = self.dir.beneath_mounts(path.split().0, Use::Names);
            match parent.and_then(|parent| worker.file(&parent, path.clone())) {
                Ok(entry) => tree.entries[at] = entry,
                // It is gone by now, which is no reason to keep it there.
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    tree.entries.remove(at);
                }
                Err(errno) => {
                    tree.unreadable.push(Unreadable {
                        path: path.to_path_buf(),
                        why: errno.to_string(),
                    });
                    tree.entries.remove(at);
                }
            }
        }
    }

    /// Answers the server until it says its last word, which has to be about the tree whose root we told it last.
    fn converse(
        &self,
        tree: &mut impl Tree,
        mut root: Digest,
        based: bool,
    ) -> Result<Summary, PushError> {
        let (mut rounds, mut needed) = (0, Vec::new());
        let is_dry = self.options.dry_run;
        let mut plan = Planned::default();
        loop {
            match self.next()? {
                Down::Welcome(welcome) if welcome.base_known || !based => {}
                Down::Welcome(_) => root = self.rebase(tree.whole())?,
                Down::Held(_) => {}
                Down::Waiting(reason) => self.observer.waiting(reason),
                Down::Need(need) => {
                    let tree = tree.whole();
                    for path in need.paths {
                        needed.push(offered(&tree.entries, path)?);
                    }
                    if needed.len() > tree.entries.len() {
                        return Err(told::bad("asked for more files than there are"));
                    }
                    if !need.last {
                        continue;
                    }
                    rounds += 1;
                    if rounds > ROUNDS {
                        let path = needed
                            .first()
                            .map(TreePath::to_path_buf)
                            .unwrap_or_default();
                        return Err(PushError::KeepsChanging { path });
                    }
                    let before = tree.entries.clone();
                    forget_untold(tree, &mut needed);
                    let nothing = Base::default();
                    let batch = Batch::asked(self.outbox, &nothing);
                    self.resend(tree, &std::mem::take(&mut needed), batch);
                    self.going()?;
                    root = self.end(&before, tree)?;
                }
                Down::Plan(page) if is_dry => plan.add(page)?,
                Down::Planned(summary) if is_dry => {
                    return own(plan.complete(summary), &root);
                }
                Down::Committed(summary) if !is_dry => return own(summary, &root),
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// Paths of `base` that are not in `entries`; both sorted.
fn missing<'a>(base: &'a [Entry], entries: &[Entry]) -> Vec<&'a TreePath> {
    let mut entries = entries.iter().map(|entry| &entry.path).peekable();
    let gone = |path: &&TreePath| {
        while entries.next_if(|entry| entry < path).is_some() {}
        entries.peek() != Some(path)
    };
    base.iter().map(|entry| &entry.path).filter(gone).collect()
}

/// Puts back what was committed of files that could be read at the last look, and not when they were to be sent.
fn keep_unread(tree: &mut Scanned, paths: &BTreeMap<TreePath, Option<Entry>>) {
    for unread in &tree.unreadable {
        let path = TreePath::new(unread.path.as_os_str().as_bytes());
        let was = path.ok().and_then(|path| paths.get(&path));
        if let Some(Some(was)) = was
            && let Err(at) = tree
                .entries
                .binary_search_by(|entry| entry.path.cmp(&was.path))
        {
            tree.entries.insert(at, was.clone());
        }
    }
}

/// Takes over from `base` all at and below what could not be read, so that none of it is deleted.
pub(crate) fn protect(tree: &mut Scanned, base: &[Entry]) {
    for unreadable in &tree.unreadable {
        let path = unreadable.path.as_os_str().as_bytes();
        let at = manifest::find(base, path);
        if at.is_some() || path.is_empty() {
            tree.entries
                .retain(|entry| entry.path.as_bytes() != path && !entry.path.is_below(path));
            tree.entries.extend(at.cloned());
            tree.entries.extend_from_slice(manifest::below(base, path));
        }
    }
    if !tree.unreadable.is_empty() {
        tree.entries.sort_by(|a, b| a.path.cmp(&b.path));
    }
}
