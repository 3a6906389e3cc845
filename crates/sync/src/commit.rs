//! The one way in which a tree changes: staged, surveyed, decided, written down, applied.
//!
//! `stage` writes and verifies content beside the tree, and `make` what the workspace has already in another place, of which some is made `early`. `drift` finds what jobs did to what the
//! mirror wrote, and `survey` where that, what is wanted and what is on disk are not all equal;
//! [`reconcile`](crate::reconcile) decides there. Then the order is: the journal; the steps, each a
//! rename or a removal (`apply`), in directories that `access` made sure may be changed; the index (this is the commit); the journal removed. Before the
//! journal nothing has happened. After it, whoever opens the workspace next makes a new plan for the
//! same target and does what is still to do (`recover`), or if that cannot be done, a push records how
//! far it came (`settle`) and goes on from there.

pub(crate) mod access;
mod apply;
pub(crate) mod drift;
pub(crate) mod early;
pub(crate) mod make;
mod recover;
mod settle;
pub(crate) mod sources;
pub(crate) mod stage;
pub(crate) mod survey;

use std::collections::HashMap;

pub(crate) use self::recover::{Recovery, recover, staged_files};
pub(crate) use self::settle::settle;

use self::apply::{Applied, Place, apply};
use self::drift::Drift;
use self::stage::Staged;
use self::survey::Survey;
use crate::digest::Digest;
use crate::error::refusal;
use crate::faults::Faults;
use crate::manifest::{self, Entry};
use crate::message::{Node, Refusal};
use crate::path::TreePath;
use crate::receive::Held;
use crate::reconcile::{Change, Plan};
use crate::stat::FileStat;
use crate::store;
use crate::tree::{Dir, Parents};
use crate::workspace::index::{self, Index};
use crate::workspace::journal::{self, Journal};
use crate::workspace::kept::CUT;
use crate::workspace::{STAGED, Workspace, trash};

/// Files that are staged, by path.
pub(crate) type StagedFiles = HashMap<TreePath, Staged>;

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

/// A file that is to be written and not staged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lack<'a> {
    pub(crate) path: &'a TreePath,
    pub(crate) exec: bool,
    pub(crate) size: u64,
    pub(crate) hash: Digest,
}

/// Everything that a commit is about.
pub(crate) struct Commit<'a> {
    pub(crate) workspace: &'a Workspace,
    /// What the mirror wrote until now.
    pub(crate) tracked: &'a [Entry],
    pub(crate) wanted: &'a [Entry],
    pub(crate) drift: &'a Drift,
    pub(crate) survey: &'a Survey<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) staged: &'a StagedFiles,
    pub(crate) staging: &'a Dir,
    pub(crate) generation: u64,
    /// Where what is replaced or removed goes, for when it comes back.
    pub(crate) past: Option<&'a Dir>,
}

impl<'a> Commit<'a> {
    /// The files that are to be written and not staged.
    pub(crate) fn lacking(&self) -> Vec<Lack<'a>> {
        let lacks = self.plan.written.iter().filter_map(|&at| {
            let change = &self.survey.changes[at];
            let Some(&Node::File { exec, size, hash }) = change.want else {
                return None;
            };
            let staged = self.staged.get(change.path);
            let there = staged.is_some_and(|staged| staged.exec == exec && staged.hash == hash);
            (!there).then_some(Lack {
                path: change.path,
                exec,
                size,
                hash,
            })
        });
        lacks.collect()
    }

    /// What is the mirror's afterwards.
    pub(crate) fn held(&self) -> Held {
        let retained = self.retained();
        let entries = self.wanted.len() + retained.len();
        Held {
            bytes: manifest::bytes(self.wanted).saturating_add(manifest::bytes(&retained)),
            entries: entries as u64,
        }
    }

    /// Writes the journal, does the steps, writes the index.
    pub(crate) fn run(&self, journal: &Journal) -> Result<(Applied, Index), Refusal> {
        self.prepare()?;
        access::open_for(&self.workspace.held.tree, &self.plan.steps)?;
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
            retained: self.retained(),
        };
        fault(faults, "index")?;
        index::save(&self.workspace.index_path(), &mut index)?;
        fault(faults, "journal removal")?;
        store::remove(&path)?;
        self.tidy()?;
        Ok((applied, index))
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
            tracked: self.tracked,
            past: self.past,
            coming: self.staged.values().map(|staged| staged.hash).collect(),
            faults: &self.workspace.faults,
        };
        apply(&place, &self.plan.steps)
            .map_err(|(path, errno)| access::denied(access::APPLY, path.as_bytes(), errno))
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
        looks.extend(touched.map(|(at, stat)| (&self.tracked[*at].path, Some(*stat))));
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

    /// What stays the mirror's, though the client no longer has it.
    fn retained(&self) -> Vec<Entry> {
        let changes = self
            .plan
            .retained
            .iter()
            .map(|&at| &self.survey.changes[at]);
        let entry = |change: &Change<'_>| {
            let was = manifest::find(self.tracked, change.path.as_bytes())?;
            let stat = change.disk.as_ref().and_then(|disk| disk.look);
            Some(Entry {
                stat: stat.filter(|_| matches!(was.node, Node::File { .. })),
                ..was.clone()
            })
        };
        changes.filter_map(entry).collect()
    }

    fn tidy(&self) -> Result<(), Refusal> {
        let held = &self.workspace.held;
        let failed = |errno| refusal("tidy", &[], errno);
        held.staging.remove_all(STAGED).map_err(failed)?;
        held.staging.remove_all(CUT).map_err(failed)?;
        store::sweep(&self.workspace.index_path());
        Ok(())
    }
}

fn fault(faults: &Faults, what: &'static str) -> Result<(), Refusal> {
    faults
        .before(what)
        .map_err(|errno| refusal(what, &[], errno))
}
