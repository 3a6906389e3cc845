//! Giving up an interrupted commit that cannot be completed, without forgetting whose files are whose.
//!
//! What the commit did already becomes what the mirror wrote last, path by path; the rest stays as it was
//! recorded before. No client asked for such a tree, so no job starts on it, but the next push finds
//! it like any other and needs only what differs from it.

use rustix::io::Result;

use crate::commit::drift::{Held, content};
use crate::commit::merge;
use crate::error::{StoreError, refusal};
use crate::manifest::{self, Entry};
use crate::message::{Node, Refusal};
use crate::path::TreePath;
use crate::store;
use crate::tree::Dir;
use crate::workspace::{Workspace, index, journal};

/// Records what an interrupted commit came to, and drops its journal. The caller holds the writer lock
/// and the lease, and knows that the commit cannot be completed.
pub(crate) fn settle(workspace: &Workspace) -> std::result::Result<(), Refusal> {
    let path = workspace.journal_path();
    let Some(journal) = journal::load_undamaged(&path)? else {
        return Ok(());
    };
    let mut index = workspace.index()?;
    let wanted = merge(&index.entries, &journal.puts, &journal.gone);
    let done = done(&workspace.held.tree, &index.tracked(), &wanted);
    let has = |entries: &[Entry], entry: &Entry| {
        let found = manifest::find(entries, entry.path.as_bytes());
        found.is_some_and(|found| found.node == entry.node)
    };
    let ours = |entry: &Entry| has(&wanted, entry) || has(&index.entries, entry);
    (index.entries, index.retained) = done.into_iter().partition(ours);
    index.root = manifest::root(manifest::pairs(&index.entries));
    // Its number is taken: what it displaced lies in the trash under it.
    index.generation = journal.generation;
    let fault = |what| {
        let passed = workspace.faults.before(what);
        passed.map_err(|errno| refusal(what, &[], errno))
    };
    fault("index")?;
    index::save(&workspace.index_path(), &mut index)?;
    fault("journal removal")?;
    store::remove(&path).map_err(StoreError::into)
}

/// The entries that are the mirror's, where a commit led from `was` to `wanted` but not to its end.
fn done(tree: &Dir, was: &[Entry], wanted: &[Entry]) -> Vec<Entry> {
    let mut held = Held::new(tree);
    let mut done: Vec<Entry> = Vec::with_capacity(was.len());
    let (mut was, mut wanted) = (was.iter().peekable(), wanted.iter().peekable());
    loop {
        let next = match (was.peek(), wanted.peek()) {
            (Some(was), Some(want)) => (&was.path).min(&want.path),
            (Some(entry), None) | (None, Some(entry)) => &entry.path,
            (None, None) => break,
        };
        let was = was.next_if(|entry| entry.path == *next);
        let want = wanted.next_if(|entry| entry.path == *next);
        let entry = if was.map(|entry| &entry.node) == want.map(|entry| &entry.node) {
            was.cloned()
        } else {
            match (want, now(&mut held, next)) {
                (Some(want), Ok(Some(node))) if node == want.node => Some(want.clone()),
                (None, Ok(None)) => None,
                // Not done, or nobody can tell: it is what it was, if it was the mirror's at all.
                _ => was.cloned(),
            }
        };
        done.extend(entry.filter(|entry| has_parent(&done, &entry.path)));
    }
    done
}

/// What is at `path`; `None` for nothing.
fn now<'a>(held: &mut Held<'_, 'a>, path: &'a TreePath) -> Result<Option<Node>> {
    let (parent, name) = path.split();
    let Some(dir) = held.get(parent)? else {
        return Ok(None);
    };
    match dir.look(name)? {
        Some(look) => content(dir, name, &look).map(|(node, _)| node),
        None => Ok(None),
    }
}

/// Whether the directory that `path` is in is among `entries`.
fn has_parent(entries: &[Entry], path: &TreePath) -> bool {
    let parent = path.split().0;
    let dir = || manifest::find(entries, parent).is_some_and(|entry| entry.node == Node::Dir);
    parent.is_empty() || dir()
}
