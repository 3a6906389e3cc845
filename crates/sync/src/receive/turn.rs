//! After a round: what follows from it.

use crate::commit::drift::{self, Drift, Failed};
use crate::commit::survey::survey;
use crate::commit::{Commit, StagedFiles, access, merge};
use crate::digest::Digest;
use crate::error::refusal;
use crate::manifest::{self, Entry};
use crate::message::{Delete, Hello, Node, Refusal, Summary};
use crate::path::TreePath;
use crate::receive::room::Tally;
use crate::receive::round::{Rounds, not_a_tree};
use crate::receive::summary;
use crate::receive::{Options, Received};
use crate::reconcile::{Plan, reconcile};
use crate::store;
use crate::tree::{Dir, Parents};
use crate::workspace::Workspace;
use crate::workspace::index::{self, Index};
use crate::workspace::journal::Journal;
use crate::workspace::trash;

/// Files that may always be deleted.
const MIN_DELETES: u64 = 50;

/// What one session works with.
pub(crate) struct Context<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) options: &'a Options,
    pub(crate) hello: Hello,
    pub(crate) index: &'a Index,
    /// All that the mirror wrote: what the index tells the client of, and what it keeps beside that.
    pub(crate) tracked: &'a [Entry],
    /// Whether what files look like proves anything: not after an unclean boot.
    pub(crate) trust: bool,
    /// An interrupted commit could not be completed.
    pub(crate) unsettled: bool,
    pub(crate) staging: &'a Dir,
    pub(crate) tally: &'a Tally<'a>,
}

/// What the client has, after a round.
pub(crate) struct Target {
    root: Digest,
    wanted: Vec<Entry>,
    puts: Vec<Entry>,
    gone: Vec<TreePath>,
}

/// What follows from a round.
pub(crate) enum Turn {
    Done(Received),
    /// Files whose content is lacking.
    Need(Vec<TreePath>),
    /// The tree is to be changed, and that takes the lease. Then look again, and take another turn.
    Lease,
}

pub(crate) fn failed((path, errno): Failed) -> Refusal {
    access::unseen(path.as_bytes(), errno)
}

impl Context<'_> {
    /// How the tracked files are now.
    pub(crate) fn look(&self) -> Result<Drift, Refusal> {
        let tree = &self.workspace.held.tree;
        drift::find(tree, self.tracked, self.trust, self.options.threads).map_err(failed)
    }

    /// Whether only what this session changes is looked at.
    pub(crate) fn is_partial(&self) -> bool {
        self.hello.touched_only && self.trust && !self.unsettled && !is_due(&self.hello, self.index)
    }

    /// How the tracked files are now, as far as the session is about them.
    pub(crate) fn look_for(&self, target: &Target) -> Result<Drift, Refusal> {
        if !self.is_partial() {
            return self.look();
        }
        let puts = target.puts.iter().map(|put| &put.path);
        let touched: Vec<&TreePath> = puts.chain(&target.gone).collect();
        let tree = &self.workspace.held.tree;
        let drift = drift::find_at(tree, self.tracked, &touched, self.trust).map_err(failed)?;
        let is_dir = |at: &usize| self.tracked[*at].node == Node::Dir;
        if drift.changed.keys().any(is_dir) {
            // With a directory that is not there goes all that was in it, touched or not.
            return self.look();
        }
        Ok(drift)
    }

    /// Opens the directories that a job closed, as far as the mirror knows of them. Takes the lease.
    pub(crate) fn open_closed(&self, target: &Target) {
        let tree = &self.workspace.held.tree;
        access::open_all(tree, self.tracked);
        access::open_all(tree, &target.wanted);
    }

    /// Checks what the client sent, in this round and those before, against the root it claims.
    pub(crate) fn target(
        &self,
        rounds: &mut Rounds<'_>,
        root: Digest,
        staged: &mut StagedFiles,
    ) -> Result<Target, Refusal> {
        let (puts, gone) = rounds.end(&self.index.entries)?;
        let wanted = merge(&self.index.entries, &puts, &gone);
        manifest::check(manifest::pairs(&wanted)).map_err(not_a_tree)?;
        if manifest::root(manifest::pairs(&wanted)) != root {
            return Err(Refusal::RootMismatch);
        }
        if wanted.len() as u64 > self.options.max_entries {
            let (what, limit) = ("entries".to_owned(), self.options.max_entries);
            return Err(Refusal::TooMuch { what, limit });
        }
        forget_stale(staged, &wanted, self.staging)?;
        Ok(Target {
            root,
            wanted,
            puts,
            gone,
        })
    }

    /// Commits, or says what is lacking for it.
    pub(crate) fn turn(
        &self,
        target: &Target,
        drift: &Drift,
        staged: &StagedFiles,
        leased: bool,
    ) -> Result<Turn, Refusal> {
        let (index, wanted, root) = (self.index, &target.wanted, target.root);
        let nothing = summary::unchanged(root, index.generation, wanted);
        // Even an empty tree is committed once: until then no job finds its root.
        let committed = index.generation > 0 || self.hello.dry_run;
        if root == index.root
            && drift.changed.is_empty()
            && committed
            && !is_due(&self.hello, index)
        {
            return self.unchanged(drift, nothing).map(Turn::Done);
        }
        let survey =
            survey(&self.workspace.held.tree, self.tracked, wanted, drift).map_err(failed)?;
        let plan = reconcile(&survey.changes, &survey.strangers, self.hello.delete);
        guard(&self.hello, self.tracked, wanted, &plan)?;
        let mut summary = summary::planned(nothing, &survey, &plan);
        let commit = Commit {
            workspace: self.workspace,
            tracked: self.tracked,
            wanted,
            drift,
            survey: &survey,
            plan: &plan,
            staged,
            staging: self.staging,
            generation: index.generation + 1,
        };
        let bytes = commit.bytes();
        self.tally.target(bytes)?;
        if self.hello.dry_run {
            return Ok(Turn::Done(Received::Planned(summary)));
        }
        let lacking = commit.lacking();
        if !lacking.is_empty() {
            return Ok(Turn::Need(lacking));
        }
        if !plan.is_empty() && !leased {
            return Ok(Turn::Lease);
        }
        let journal = Journal {
            generation: commit.generation,
            delete: self.hello.delete,
            base: index.root,
            target: root,
            puts: target.puts.clone(),
            gone: target.gone.clone(),
        };
        let applied = commit.run(&journal)?;
        self.tally.committed(bytes);
        summary::add(&mut summary.displaced, &applied.displaced);
        summary::add(&mut summary.kept, &applied.kept);
        summary.generation = commit.generation;
        if summary.displaced.total > 0 {
            summary.trash = trash::name(commit.generation);
        }
        Ok(Turn::Done(Received::Committed(summary)))
    }

    /// Nothing to do to the tree. What files look like may be worth remembering.
    fn unchanged(&self, drift: &Drift, summary: Summary) -> Result<Received, Refusal> {
        if self.hello.dry_run {
            return Ok(Received::Planned(summary));
        }
        if self.trust && drift.touched.is_empty() && !self.unsettled {
            return Ok(Received::Committed(summary));
        }
        let mut index = self.index.clone();
        index.boot_id = self.workspace.boot_id().as_bytes().to_vec();
        for (at, stat) in &drift.touched {
            index.note(&self.tracked[*at].path, *stat);
        }
        index::save(&self.workspace.index_path(), &mut index)?;
        if self.unsettled {
            store::remove(&self.workspace.journal_path())?;
        }
        Ok(Received::Committed(summary))
    }
}

/// Whether this session is to delete what earlier ones were told to leave.
pub(crate) fn is_due(hello: &Hello, index: &Index) -> bool {
    hello.delete == Delete::Owned && !index.retained.is_empty()
}

/// What was staged in an earlier round and is wanted no more must not be installed with its
/// directory.
fn forget_stale(staged: &mut StagedFiles, wanted: &[Entry], staging: &Dir) -> Result<(), Refusal> {
    let is_wanted = |path: &TreePath, hash: &Digest| {
        let entry = manifest::find(wanted, path.as_bytes());
        entry.is_some_and(
            |entry| matches!(&entry.node, Node::File { hash: wanted, .. } if wanted == hash),
        )
    };
    let stale: Vec<TreePath> = staged
        .iter()
        .filter(|(path, file)| !is_wanted(path, &file.hash))
        .map(|(path, _)| path.clone())
        .collect();
    let mut parents = Parents::of(staging);
    for path in stale {
        staged.remove(&path);
        let (parent, name) = path.split();
        let removed = parents.get(parent).and_then(|dir| dir.remove_all(name));
        removed.map_err(|errno| refusal("stage", path.as_bytes(), errno))?;
    }
    Ok(())
}

/// Refuses what looks like a mistake. A dry run makes none, and is how to look before forcing.
fn guard(hello: &Hello, tracked: &[Entry], wanted: &[Entry], plan: &Plan) -> Result<(), Refusal> {
    if hello.dry_run || hello.force_delete || hello.delete == Delete::Nothing {
        return Ok(());
    }
    let tracked = manifest::count_files(tracked);
    if tracked > 0 && manifest::count_files(wanted) == 0 {
        return Err(Refusal::EmptyRoot { tracked });
    }
    let (would_delete, limit) = (plan.deleted_files, MIN_DELETES.max(tracked / 2));
    if would_delete > limit {
        return Err(Refusal::MassDelete {
            would_delete,
            tracked,
            limit,
        });
    }
    Ok(())
}
