//! Where what was written, what is wanted and what is on disk are not all equal.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::commit::drift::{Drift, Failed, Held, coarse, content, opened};
use crate::manifest::{self, Entry};
use crate::message::{Delete, Node};
use crate::path::TreePath;
use crate::reconcile::{Change, Disk, Stranger};
use crate::scan::rules::Rules;
use crate::tree::{Dir, Name, Use};

/// The input of a plan.
pub(crate) struct Survey<'a> {
    pub(crate) changes: Vec<Change<'a>>,
    pub(crate) strangers: Vec<Stranger>,
}

/// Levels of directories, and files in all, that are counted of what a job left.
const COUNTED_DEPTH: u32 = 64;
const COUNTED_FILES: u64 = 1_000_000;

/// Compares the tracked entries, of which `drift` says how they are now, with the wanted ones. For an exact mirror also
/// finds what is in neither, wherever it is.
pub(crate) fn survey<'a>(
    tree: &Dir,
    tracked: &'a [Entry],
    wanted: &'a [Entry],
    drift: &Drift,
    delete: Delete,
) -> Result<Survey<'a>, Failed> {
    let mut changes = Vec::new();
    let mut held = Held::new(tree);
    let (mut t, mut w) = (0, 0);
    while t < tracked.len() || w < wanted.len() {
        let order = match (tracked.get(t), wanted.get(w)) {
            (Some(was), Some(want)) => was.path.cmp(&want.path),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let was = (order != Ordering::Greater).then(|| (t, &tracked[t]));
        let want = (order != Ordering::Less).then(|| &wanted[w]);
        changes.extend(compared(&mut held, (was, want), drift)?);
        t += usize::from(was.is_some());
        w += usize::from(want.is_some());
    }
    let mut strangers = strangers(tree, &changes)?;
    if delete == Delete::Exact {
        strangers.extend(surplus(tree, tracked, wanted)?);
    }
    Ok(Survey { changes, strangers })
}

/// The same where both differ at `touched` only, and of a mirror that is not exact.
pub(crate) fn survey_at<'a>(
    tree: &Dir,
    (tracked, wanted): (&'a [Entry], &'a [Entry]),
    drift: &Drift,
    touched: &[&TreePath],
) -> Result<Survey<'a>, Failed> {
    let mut places: BTreeSet<&TreePath> = touched.iter().copied().collect();
    places.extend(drift.changed.keys().map(|&at| &tracked[at].path));
    let (mut held, mut changes) = (Held::new(tree), Vec::new());
    for path in places {
        let at = tracked.binary_search_by(|entry| entry.path.cmp(path)).ok();
        let was = at.map(|at| (at, &tracked[at]));
        let want = manifest::find(wanted, path.as_bytes());
        changes.extend(compared(&mut held, (was, want), drift)?);
    }
    let strangers = strangers(tree, &changes)?;
    Ok(Survey { changes, strangers })
}

/// What is tracked and wanted at one path, and what is there; `None` if all three are the same.
fn compared<'a>(
    held: &mut Held<'_, 'a>,
    (was, want): (Option<(usize, &'a Entry)>, Option<&'a Entry>),
    drift: &Drift,
) -> Result<Option<Change<'a>>, Failed> {
    let drifted = was.and_then(|(at, _)| drift.changed.get(&at));
    let same = was.map(|(_, entry)| &entry.node) == want.map(|entry| &entry.node);
    let Some(path) = was
        .map(|(_, entry)| entry)
        .or(want)
        .map(|entry| &entry.path)
    else {
        return Ok(None);
    };
    if same && drifted.is_none() {
        return Ok(None);
    }
    let disk = match (drifted, was) {
        (Some(now), _) => now.clone(),
        (None, Some((at, was))) => {
            let look = drift.touched.get(&at).copied().or(was.stat);
            Some(Disk {
                node: Some(was.node.clone()),
                look,
            })
        }
        (None, None) => Some(Disk {
            node: None,
            look: None,
        }),
    };
    let mut change = Change {
        path,
        was: was.map(|(_, entry)| &entry.node),
        want: want.map(|entry| &entry.node),
        disk,
    };
    look_closer(held, &mut change).map_err(|errno| (path.clone(), errno))?;
    Ok(Some(change))
}

/// Finds out what is on disk where the mirror did not write, and whether it is what is wanted.
fn look_closer<'a>(held: &mut Held<'_, 'a>, change: &mut Change<'a>) -> rustix::io::Result<()> {
    let Some(disk) = &mut change.disk else {
        return Ok(());
    };
    if disk.node.is_some() && disk.look.is_some() {
        return Ok(());
    }
    let (parent, name) = change.path.split();
    let look = match held.get(parent)? {
        Some(dir) => dir.look(name)?.map(|look| (dir, look)),
        None => None,
    };
    let Some((dir, look)) = look else {
        change.disk = None;
        return Ok(());
    };
    disk.look = Some(look);
    let possible = match change.want {
        Some(Node::File { size, .. }) => {
            look.file_type() == FileType::RegularFile && look.size == *size
        }
        Some(Node::Symlink { .. }) => look.file_type() == FileType::Symlink,
        _ => false,
    };
    if disk.node.is_none() {
        disk.node = if possible {
            content(dir, name, &look)?.0
        } else {
            coarse(&look)
        };
    }
    Ok(())
}

/// What is in the directories that are to go, and in neither tree.
fn strangers(tree: &Dir, changes: &[Change<'_>]) -> Result<Vec<Stranger>, Failed> {
    let goes = |change: &&Change<'_>| {
        let is_dir = change
            .disk
            .as_ref()
            .is_some_and(|disk| disk.node == Some(Node::Dir));
        change.was == Some(&Node::Dir) && change.want != Some(&Node::Dir) && is_dir
    };
    let going: Vec<&Change<'_>> = changes.iter().filter(goes).collect();
    if going.is_empty() {
        return Ok(Vec::new());
    }
    let known: HashSet<&[u8]> = changes
        .iter()
        .map(|change| change.path.as_bytes())
        .collect();
    let mut search = Search {
        known,
        found: Vec::new(),
        buffer: vec![MaybeUninit::uninit(); 32 << 10],
    };
    for change in going {
        let path = change.path.as_bytes();
        let failed = |errno| (change.path.clone(), errno);
        let rules = search.rules(tree, change.path.split().0).map_err(failed)?;
        if let Some(dir) = opened(tree.beneath(path, Use::List)).map_err(failed)? {
            search.dir(&dir, path, &rules).map_err(failed)?;
        }
    }
    Ok(search.found)
}

/// What is in the directories that the client has, and in neither tree.
fn surplus(tree: &Dir, tracked: &[Entry], wanted: &[Entry]) -> Result<Vec<Stranger>, Failed> {
    let mut found = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let dirs = wanted.iter().filter(|entry| entry.node == Node::Dir);
    let dirs = dirs.map(|entry| entry.path.as_bytes());
    for path in std::iter::once(&b""[..]).chain(dirs) {
        let failed = |errno| (TreePath::new(path).unwrap_or_else(|_| own_name()), errno);
        let Some(dir) = opened(tree.beneath(path, Use::List)).map_err(failed)? else {
            continue;
        };
        for name in dir.names(&mut buffer).map_err(failed)? {
            let Ok(below) = TreePath::join(path, &name.name) else {
                continue;
            };
            let known = |entries| manifest::find(entries, below.as_bytes()).is_some();
            if known(tracked) || known(wanted) {
                continue;
            }
            let mut left = COUNTED_FILES;
            count(&dir, &name, 0, &mut left);
            found.push(Stranger {
                path: below,
                ignored: false,
                files: COUNTED_FILES - left,
            });
        }
    }
    Ok(found)
}

/// What the tree itself is called in the workspace.
fn own_name() -> TreePath {
    TreePath::new(*b"tree").expect("a plain name")
}

/// Takes the number of files and links at `name` from `left`; of what cannot be looked into, one.
fn count(dir: &Dir, name: &Name, depth: u32, left: &mut u64) {
    let is_dir = name.file_type == FileType::Directory && depth < COUNTED_DEPTH;
    let inside = is_dir.then(|| {
        let below = dir.child(&name.name, Use::List)?;
        let names = below.names(&mut [MaybeUninit::uninit(); 4096])?;
        rustix::io::Result::Ok((below, names))
    });
    match inside {
        Some(Ok((below, names))) => {
            for name in names {
                if *left == 0 {
                    return;
                }
                count(&below, &name, depth + 1, left);
            }
        }
        Some(Err(_)) | None => *left = left.saturating_sub(1),
    }
}

struct Search<'a> {
    known: HashSet<&'a [u8]>,
    found: Vec<Stranger>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Search<'_> {
    /// The ignore rules in force in the directory at `path`, as they are in the workspace.
    fn rules(&mut self, tree: &Dir, path: &[u8]) -> rustix::io::Result<Arc<Rules>> {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let all = std::iter::once(0)
            .chain(ends)
            .chain((!path.is_empty()).then_some(path.len()));
        let mut rules = Arc::<Rules>::default();
        for end in all {
            let Some(dir) = opened(tree.beneath(&path[..end], Use::List))? else {
                break;
            };
            let names = dir.names(&mut self.buffer)?;
            rules = Rules::enter(&rules, &dir, &path[..end], &names);
        }
        Ok(rules)
    }

    /// Notes what is strange directly in one directory.
    fn dir(&mut self, dir: &Dir, path: &[u8], above: &Arc<Rules>) -> rustix::io::Result<()> {
        let names = dir.names(&mut self.buffer)?;
        let rules = Rules::enter(above, dir, path, &names);
        for name in &names {
            let Ok(below) = TreePath::join(path, &name.name) else {
                continue;
            };
            if !self.known.contains(below.as_bytes()) {
                let ignored = self.ignored(dir, path, name, &rules)?;
                self.found.push(Stranger {
                    path: below,
                    ignored,
                    files: 1,
                });
            }
        }
        Ok(())
    }

    /// Whether the rules match an entry or, of a directory, all that is in it.
    fn ignored(
        &mut self,
        dir: &Dir,
        path: &[u8],
        name: &Name,
        rules: &Arc<Rules>,
    ) -> rustix::io::Result<bool> {
        let is_dir = name.file_type == FileType::Directory;
        if rules.excludes(path, &name.name, is_dir)
            || is_dir && rules.excludes_cache(dir, path, &name.name)
        {
            return Ok(true);
        }
        if !is_dir {
            return Ok(false);
        }
        let below = match opened(dir.child(&name.name, Use::List)) {
            Ok(Some(below)) => below,
            Ok(None) | Err(Errno::ACCESS) => return Ok(false),
            Err(error) => return Err(error),
        };
        let names = below.names(&mut self.buffer)?;
        let path = [path, &name.name].join(&b'/');
        let rules = Rules::enter(rules, &below, &path, &names);
        for name in &names {
            if !self.ignored(&below, &path, name, &rules)? {
                return Ok(false);
            }
        }
        Ok(!names.is_empty())
    }
}
