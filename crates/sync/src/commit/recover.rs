//! Completing a commit that a crash interrupted.
//!
//! The journal names what was wanted, not what was done. So a new plan is made for the same target
//! out of what is staged, what is recorded and what is on disk; what was done already is found done.

use rustix::io::Errno;

use crate::commit::stage::Staged;
use crate::commit::survey::survey;
use crate::commit::{Commit, StagedFiles, access, drift, merge};
use crate::error::{StoreError, refusal};
use crate::manifest::{self, Entry};
use crate::message::{Node, Refusal};
use crate::path::TreePath;
use crate::reconcile::{Policy, reconcile};
use crate::scan::rules::Rules;
use crate::scan::{self, Discard};
use crate::stat::Horizon;
use crate::store;
use crate::tree::{Dir, Use};
use crate::workspace::index::Index;
use crate::workspace::journal::{self, Journal};
use crate::workspace::{STAGED, Workspace};

/// What happened to an interrupted commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// There was none, or it is complete.
    Settled,
    /// Its content is not all there. The tree stays as it is, and no root is committed until the
    /// next commit.
    Unsettled,
    /// It still cannot be completed, for this reason. The tree stays as it is, and can be read; a push
    /// may [`settle`](super::settle()) for it, if one path alone is in the way.
    Failed(Refusal),
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
    Ok(redo(workspace, &index, &wanted, &journal).unwrap_or_else(Recovery::Failed))
}

fn redo(
    workspace: &Workspace,
    index: &Index,
    wanted: &[Entry],
    journal: &Journal,
) -> Result<Recovery, Refusal> {
    let failed = |(path, errno): (TreePath, Errno)| access::unseen(path.as_bytes(), errno);
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
    let tracked = index.tracked();
    access::open_all(tree, &tracked);
    access::open_all(tree, wanted);
    let drift = drift::find(tree, &tracked, trust, 2).map_err(failed)?;
    let policy = Policy {
        delete: journal.delete,
        unread: journal.unread.clone(),
    };
    let survey = survey(tree, &tracked, wanted, &drift, policy.delete).map_err(failed)?;
    let plan = reconcile(&survey.changes, &survey.strangers, &policy);
    let commit = Commit {
        workspace,
        tracked: &tracked,
        wanted,
        drift: &drift,
        survey: &survey,
        plan: &plan,
        staged: &staged,
        staging: &staging,
        generation: journal.generation,
        past: None,
    };
    if !commit.lacking().is_empty() {
        return Ok(Recovery::Unsettled);
    }
    commit.run(journal)?;
    Ok(Recovery::Settled)
}

/// What is staged, by its content.
pub(crate) fn staged_files(dir: Dir) -> StagedFiles {
    let guide = scan::Guide {
        known: scan::Known::Index(&scan::Index::new()),
        excluded: &[],
        horizon: Horizon::at(i64::MAX),
        keeper: None,
    };
    let found = scan::scan_with(dir, Rules::none(), guide, vec![Discard::default()]);
    let staged = |entry: Entry| match (entry.node, entry.stat) {
        (Node::File { exec, hash, .. }, Some(stat)) => {
            Some((entry.path, Staged { exec, hash, stat }))
        }
        _ => None,
    };
    found.entries.into_iter().filter_map(staged).collect()
}
