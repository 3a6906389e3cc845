//! From a decision to a committed root, and again after a crash.
//!
//! The order is: everything staged and verified; the journal; the steps, each a rename or a
//! removal; the index (this is the commit); the journal removed. Before the journal nothing has
//! happened. After it, whoever opens the workspace next makes a new plan for the same target and
//! does what is still to do.

use std::collections::HashMap;

use rustix::io::Errno;

use crate::apply::{Applied, Place, apply};
use crate::dir::{Dir, Parents, Use};
use crate::drift::{self, Drift};
use crate::error::StoreError;
use crate::faults::Faults;
use crate::index::{self, Index};
use crate::journal::{self, Journal};
use crate::manifest::{self, Entry};
use crate::message::{Node, Refusal};
use crate::path::TreePath;
use crate::reconcile::{Plan, reconcile};
use crate::rules::Rules;
use crate::scan::{self, Discard};
use crate::stage::Staged;
use crate::stat::FileStat;
use crate::store;
use crate::survey::{Survey, survey};
use crate::trash;
use crate::workspace::{STAGED, Workspace};

/// Files that are staged, by path.
pub(crate) type StagedFiles = HashMap<TreePath, Staged>;

/// What happened to an interrupted commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// There was none, or it is complete.
    Settled,
    /// Its content is not all there. The tree stays as it is, and no root is committed until the
    /// next commit.
    Unsettled,
}

/// A failed system call as the client is told.
pub(crate) fn refusal(what: &str, path: &[u8], errno: Errno) -> Refusal {
    if matches!(errno, Errno::NOSPC | Errno::DQUOT) {
        return Refusal::NoSpace;
    }
    let (what, path) = (what.to_owned(), path.to_vec());
    Refusal::Io {
        what,
        path,
        errno: errno.raw_os_error(),
        error: errno.to_string(),
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NewerFormat { path, found, known } => {
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                Self::NewerFormat { file, found, known }
            }
            StoreError::Io { what, path, source } => {
                let errno = Errno::from_io_error(&source).unwrap_or(Errno::IO);
                refusal(
                    what,
                    path.file_name().unwrap_or_default().as_encoded_bytes(),
                    errno,
                )
            }
            StoreError::Damaged { .. } | StoreError::Busy { .. } => Self::Io {
                what: error.to_string(),
                path: Vec::new(),
                errno: 0,
                error: String::new(),
            },
        }
    }
}

/// The tracked entries with the changes applied; `puts` and `gone` are sorted.
pub(crate) fn merge(tracked: &[Entry], puts: &[Entry], gone: &[TreePath]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(tracked.len() + puts.len());
    let (mut puts, mut gone) = (puts.iter().peekable(), gone.iter().peekable());
    for was in tracked {
        while let Some(put) = puts.next_if(|put| put.path < was.path) {
            merged.push(put.clone());
        }
        while gone.next_if(|path| **path < was.path).is_some() {}
        if let Some(put) = puts.next_if(|put| put.path == was.path) {
            let stat = if put.node == was.node { was.stat } else { None };
            merged.push(Entry {
                stat,
                ..put.clone()
            });
        } else if gone.peek() != Some(&&was.path) {
            merged.push(was.clone());
        }
    }
    merged.extend(puts.cloned());
    merged
}

/// Everything that a commit is about.
pub(crate) struct Commit<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) index: &'a Index,
    pub(crate) wanted: &'a [Entry],
    pub(crate) drift: &'a Drift,
    pub(crate) survey: &'a Survey<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) staged: &'a StagedFiles,
    pub(crate) staging: &'a Dir,
    pub(crate) generation: u64,
}

impl Commit<'_> {
    /// The paths of files that are to be written and not staged.
    pub(crate) fn lacking(&self) -> Vec<TreePath> {
        lacking(self.survey, self.plan, self.staged)
    }

    /// Writes the journal, does the steps, writes the index.
    pub(crate) fn run(&self, journal: &Journal) -> Result<Applied, Refusal> {
        self.prepare()?;
        let faults = &self.workspace.faults;
        let path = self.workspace.journal_path();
        fault(faults, "journal")?;
        journal::save(&path, journal)?;
        let applied = self.apply()?;
        let mut index = Index {
            boot_id: self.workspace.boot_id().as_bytes().to_vec(),
            generation: self.generation,
            root: journal.target,
            entries: self.entries(&applied),
        };
        fault(faults, "index")?;
        index::save(&self.workspace.index_path(), &mut index)?;
        fault(faults, "journal removal")?;
        store::remove(&path)?;
        self.tidy()?;
        Ok(applied)
    }

    /// Makes the directories and links that are to be installed.
    fn prepare(&self) -> Result<(), Refusal> {
        let mut parents = Parents::making(self.staging);
        for &at in &self.plan.written {
            let change = &self.survey.changes[at];
            let (parent, name) = change.path.split();
            let failed = |errno| refusal("stage", change.path.as_bytes(), errno);
            match change.want {
                Some(Node::Dir) => {
                    fault(&self.workspace.faults, "stage directory")?;
                    self.staging
                        .make_beneath(change.path.as_bytes())
                        .map_err(failed)?;
                }
                Some(Node::Symlink { target }) => {
                    fault(&self.workspace.faults, "stage link")?;
                    let dir = parents.get(parent).map_err(failed)?;
                    dir.remove_all(name)
                        .and_then(|()| dir.make_link(name, target))
                        .map_err(failed)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&self) -> Result<Applied, Refusal> {
        let held = &self.workspace.held;
        let place = Place {
            tree: &held.tree,
            staged: self.staging,
            trash: &held.trash,
            trash_name: &trash::name(self.generation),
            faults: &self.workspace.faults,
        };
        apply(&place, &self.plan.steps)
            .map_err(|(path, errno)| refusal("apply", path.as_bytes(), errno))
    }

    /// The wanted entries with what they look like now.
    fn entries(&self, applied: &Applied) -> Vec<Entry> {
        let mut looks: Vec<(&TreePath, Option<FileStat>)> = Vec::new();
        for &at in &self.plan.adopted {
            let change = &self.survey.changes[at];
            looks.push((change.path, change.disk.as_ref().and_then(|disk| disk.look)));
        }
        for &at in &self.plan.written {
            let path = self.survey.changes[at].path;
            looks.push((path, self.staged.get(path).map(|staged| staged.stat)));
        }
        for (path, look) in &mut looks {
            *look = applied.looks.get(*path).copied().or(*look);
        }
        let touched = self.drift.touched.iter();
        looks.extend(touched.map(|(at, stat)| (&self.index.entries[*at].path, Some(*stat))));
        looks.sort_unstable_by_key(|(path, _)| *path);
        let mut entries = self.wanted.to_vec();
        let mut looks = looks.into_iter().peekable();
        for entry in &mut entries {
            while looks.next_if(|(path, _)| **path < entry.path).is_some() {}
            while let Some((_, look)) = looks.next_if(|(path, _)| **path == entry.path) {
                entry.stat = look.filter(|_| matches!(entry.node, Node::File { .. }));
            }
        }
        entries
    }

    fn tidy(&self) -> Result<(), Refusal> {
        let held = &self.workspace.held;
        let failed = |errno| refusal("tidy", &[], errno);
        held.staging.remove_all(STAGED).map_err(failed)?;
        trash::prune(&held.trash).map_err(failed)
    }
}

fn lacking(survey: &Survey<'_>, plan: &Plan, staged: &StagedFiles) -> Vec<TreePath> {
    let lacks = |at: &&usize| {
        let change = &survey.changes[**at];
        match change.want {
            Some(Node::File { exec, hash, .. }) => {
                let staged = staged.get(change.path);
                staged.is_none_or(|staged| staged.exec != *exec || staged.hash != *hash)
            }
            _ => false,
        }
    };
    let lacking = plan.written.iter().filter(lacks);
    lacking.map(|&at| survey.changes[at].path.clone()).collect()
}

fn fault(faults: &Faults, what: &'static str) -> Result<(), Refusal> {
    faults
        .before(what)
        .map_err(|errno| refusal(what, &[], errno))
}

/// Completes a commit whose journal is there. The caller holds the writer lock and the lease.
pub(crate) fn recover(workspace: &Workspace) -> Result<Recovery, StoreError> {
    let path = workspace.journal_path();
    let Some(journal) = journal::load_undamaged(&path)? else {
        let torn = path.exists();
        return Ok(if torn {
            Recovery::Unsettled
        } else {
            Recovery::Settled
        });
    };
    let index = workspace.index()?;
    if index.root == journal.target && index.generation == journal.generation {
        store::remove(&path)?;
        return Ok(Recovery::Settled);
    }
    let wanted = merge(&index.entries, &journal.puts, &journal.gone);
    let complete =
        index.root == journal.base && manifest::root(manifest::pairs(&wanted)) == journal.target;
    if !complete {
        return Ok(Recovery::Unsettled);
    }
    match redo(workspace, &index, &wanted, &journal) {
        Ok(recovery) => Ok(recovery),
        Err(refusal) => {
            let source = std::io::Error::other(refusal);
            Err(StoreError::Io {
                what: "complete the commit in",
                path,
                source,
            })
        }
    }
}

fn redo(
    workspace: &Workspace,
    index: &Index,
    wanted: &[Entry],
    journal: &Journal,
) -> Result<Recovery, Refusal> {
    let failed = |(path, errno): (TreePath, Errno)| refusal("look at", path.as_bytes(), errno);
    let staging = &workspace.held.staging;
    let (staging, staged) = match staging.child(STAGED, Use::List) {
        Ok(dir) => {
            let again = staging
                .child(STAGED, Use::List)
                .map_err(|errno| refusal("open", STAGED, errno))?;
            (dir, staged_files(again))
        }
        Err(Errno::NOENT) => {
            let fresh = workspace
                .fresh_staging()
                .map_err(|errno| refusal("stage", STAGED, errno))?;
            (fresh, StagedFiles::new())
        }
        Err(errno) => return Err(refusal("open", STAGED, errno)),
    };
    let trust = index.boot_id == workspace.boot_id().as_bytes();
    let tree = &workspace.held.tree;
    let drift = drift::find(tree, &index.entries, trust, 2).map_err(failed)?;
    let survey = survey(tree, &index.entries, wanted, &drift).map_err(failed)?;
    let plan = reconcile(&survey.changes, &survey.strangers, journal.delete);
    let commit = Commit {
        workspace,
        index,
        wanted,
        drift: &drift,
        survey: &survey,
        plan: &plan,
        staged: &staged,
        staging: &staging,
        generation: journal.generation,
    };
    if !commit.lacking().is_empty() {
        return Ok(Recovery::Unsettled);
    }
    commit.run(journal)?;
    Ok(Recovery::Settled)
}

/// What is staged, by its content.
fn staged_files(dir: Dir) -> StagedFiles {
    let found = scan::scan_with(
        dir,
        Rules::none(),
        &scan::Index::new(),
        i64::MAX,
        vec![Discard::default()],
    );
    let staged = |entry: Entry| match (entry.node, entry.stat) {
        (Node::File { exec, hash, .. }, Some(stat)) => {
            Some((entry.path, Staged { exec, hash, stat }))
        }
        _ => None,
    };
    found.entries.into_iter().filter_map(staged).collect()
}
