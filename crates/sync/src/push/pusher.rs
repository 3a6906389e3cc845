//! The client's part in the conversation, from the scan to the last word.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crossbeam_channel::RecvTimeoutError;
use rustix::io::Errno;

use crate::error::PushError;
use crate::link::Closed;
use crate::manifest::{self, Entry};
use crate::message::{Delta, Down, End, MAX_PAGE, Node, Summary, Up};
use crate::observer::{Observer, Progress};
use crate::path::TreePath;
use crate::push::cache::{self, Cache};
use crate::push::send::{Batch, Outbox};
use crate::push::{Options, Pushed, TICK, Unreadable, inside, since_epoch};
use crate::scan::rules::Rules;
use crate::scan::{self, Guide, Index, Keeper, Scanned, Worker};
use crate::stat::RACY_NS;
use crate::tree::{Dir, Use};

/// How often a file may change between being hashed and being sent.
const ROUNDS: u32 = 3;

/// One push under way.
pub(crate) struct Pusher<'a> {
    pub(crate) root: &'a Path,
    pub(crate) dir: Dir,
    pub(crate) options: &'a Options,
    pub(crate) outbox: &'a Outbox<'a>,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) inbox: crossbeam_channel::Receiver<Down>,
    /// Hears of the directories that the scan keeps.
    pub(crate) keeper: Option<&'a dyn Keeper>,
}

impl Pusher<'_> {
    /// Pushes against `known`, what was committed last, or against what the server says.
    pub(crate) fn run(&self, known: Option<Cache>, cache: &Path) -> Result<Pushed, PushError> {
        let (base, mut based) = match known {
            Some(known) => (known.entries, true),
            None => (self.manifest()?, false),
        };
        if !based {
            self.outbox.void.store(false, Ordering::Relaxed);
            self.outbox.send(Up::Rebase)?;
        }
        let mut tree = self.scan(&base)?;
        protect(&mut tree, &base);
        if based && self.outbox.void.load(Ordering::Relaxed) {
            self.rebase(&mut tree)?;
            based = false;
        } else {
            self.end(&base, &tree.entries)?;
        }
        let summary = self.converse(&mut tree, based)?;
        if !self.options.dry_run && (!based || base != tree.entries) {
            cache::save(cache, &summary.root, &tree.entries)?;
        }
        Ok(self.pushed(summary, tree.special, tree.unreadable))
    }

    /// Pushes the `paths` of a tree that is known, with what was committed there.
    pub(crate) fn update(
        &self,
        tree: &mut Scanned,
        paths: &BTreeMap<TreePath, Option<Entry>>,
    ) -> Result<Pushed, PushError> {
        let committed = paths.values().flatten();
        let base: Index<'_> = committed.map(|e| (e.path.as_bytes(), e)).collect();
        let names: Vec<TreePath> = paths.keys().cloned().collect();
        self.resend(tree, &names, &base);
        self.going()?;
        keep_unread(tree, paths);
        let gone = |path: &&TreePath| manifest::find(&tree.entries, path.as_bytes()).is_none();
        let was = paths.iter().filter(|(_, was)| was.is_some());
        self.finish(was.map(|(path, _)| path).filter(gone), &tree.entries)?;
        let summary = self.converse(tree, true)?;
        Ok(self.pushed(summary, tree.special, tree.unreadable.clone()))
    }

    fn pushed(&self, summary: Summary, special: u64, unreadable: Vec<Unreadable>) -> Pushed {
        Pushed {
            summary,
            dry_run: self.options.dry_run,
            sent_files: self.outbox.files.load(Ordering::Relaxed),
            sent_bytes: self.outbox.bytes.load(Ordering::Relaxed),
            special,
            unreadable,
        }
    }

    fn scan(&self, base: &[Entry]) -> Result<Scanned, PushError> {
        let index = scan::index(base);
        let batch = |_| Batch::new(self.outbox, &index);
        let sinks = (0..self.options.threads.clamp(1, 16)).map(batch).collect();
        let dir = self
            .dir
            .child(b".", Use::List)
            .map_err(|errno| PushError::Root {
                path: PathBuf::from("."),
                source: errno.into(),
            })?;
        let horizon = since_epoch(self.options.now).saturating_sub(RACY_NS);
        let rules = Rules::above(self.root, self.options.git_ignores.as_deref());
        let guide = Guide {
            known: &index,
            excluded: &inside(self.root, &self.options.exclude),
            horizon_ns: horizon,
            keeper: self.keeper,
        };
        let tree = scan::scan_with(dir, rules, guide, sinks);
        self.observer.scanned(Progress {
            files: manifest::count_files(&tree.entries),
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
        loop {
            match self.inbox.recv_timeout(TICK) {
                Ok(Down::Refused(refusal)) => return Err(PushError::Refused(refusal)),
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(Closed.into()),
                Err(RecvTimeoutError::Timeout) if self.observer.cancelled() => {
                    return Err(PushError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What the server tracks, in full.
    fn manifest(&self) -> Result<Vec<Entry>, PushError> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                Down::Welcome(_) => {}
                Down::Waiting(reason) => self.observer.waiting(reason),
                Down::Manifest(page) => {
                    for (path, node) in page.entries {
                        let path = TreePath::new(path)
                            .map_err(|bad| PushError::Protocol(bad.to_string()))?;
                        entries.push(Entry {
                            path,
                            node,
                            stat: None,
                        });
                    }
                    if page.last {
                        break;
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
        manifest::check(manifest::pairs(&entries))
            .map_err(|bad| PushError::Protocol(bad.to_string()))?;
        Ok(entries)
    }

    /// Sends what is gone, and the end of the round.
    fn end(&self, base: &[Entry], entries: &[Entry]) -> Result<(), PushError> {
        self.finish(missing(base, entries).into_iter(), entries)
    }

    fn finish<'p>(
        &self,
        gone: impl Iterator<Item = &'p TreePath>,
        entries: &[Entry],
    ) -> Result<(), PushError> {
        let gone: Vec<&TreePath> = gone.collect();
        for page in gone.chunks(MAX_PAGE) {
            let deletes = page.iter().map(|path| path.as_bytes().to_vec()).collect();
            self.outbox.send(Up::Delta(Delta {
                puts: Vec::new(),
                deletes,
            }))?;
        }
        let root = manifest::root(manifest::pairs(entries));
        Ok(self.outbox.send(Up::End(End { root }))?)
    }

    /// Begins again from what the server tracks: the cached base is not what it has.
    fn rebase(&self, tree: &mut Scanned) -> Result<(), PushError> {
        let base = self.manifest()?;
        self.outbox.void.store(false, Ordering::Relaxed);
        self.outbox.send(Up::Rebase)?;
        protect(tree, &base);
        let index = scan::index(&base);
        let changed = |entry: &&Entry| {
            index
                .get(entry.path.as_bytes())
                .is_none_or(|base| base.node != entry.node)
        };
        let paths: Vec<TreePath> = tree
            .entries
            .iter()
            .filter(changed)
            .map(|entry| entry.path.clone())
            .collect();
        self.resend(tree, &paths, &index);
        self.going()?;
        self.end(&base, &tree.entries)
    }

    /// Looks at `paths` again and sends those that differ from `base`. What cannot be read any more
    /// is dropped from the tree.
    fn resend(&self, tree: &mut Scanned, paths: &[TreePath], base: &Index<'_>) {
        let nothing = Index::new();
        let horizon = since_epoch(self.options.now).saturating_sub(RACY_NS);
        let mut worker = Worker::new(&nothing, horizon, Batch::new(self.outbox, base));
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
                Err(Errno::NOENT) => {
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

    /// Answers the server until it says its last word.
    fn converse(&self, tree: &mut Scanned, based: bool) -> Result<Summary, PushError> {
        let (mut rounds, mut needed) = (0, Vec::new());
        loop {
            match self.next()? {
                Down::Welcome(welcome) if welcome.base_known || !based => {}
                Down::Welcome(_) => self.rebase(tree)?,
                Down::Waiting(reason) => self.observer.waiting(reason),
                Down::Need(need) => {
                    for path in need.paths {
                        needed.push(offered(&tree.entries, path)?);
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
                    self.resend(tree, &std::mem::take(&mut needed), &Index::new());
                    self.going()?;
                    self.end(&before, &tree.entries)?;
                }
                Down::Committed(summary) | Down::Planned(summary) => return Ok(summary),
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// A path that the server asks for must be a file of the tree that it was told about.
fn offered(entries: &[Entry], path: Vec<u8>) -> Result<TreePath, PushError> {
    match manifest::find(entries, &path) {
        Some(entry) if matches!(entry.node, Node::File { .. }) => Ok(entry.path.clone()),
        _ => Err(PushError::Protocol(
            "asked for a file that was not offered".to_owned(),
        )),
    }
}

fn unexpected(message: &Down) -> PushError {
    let mut text = format!("{message:?}");
    text.truncate(text.find(['(', '{']).unwrap_or(text.len()));
    PushError::Protocol(format!("unexpected {text}"))
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
