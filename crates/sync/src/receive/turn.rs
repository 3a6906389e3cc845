//! After a round: what follows from it.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::commit::drift::{self, Drift, Failed};
use crate::commit::make::Maker;
use crate::commit::survey::{Survey, survey, survey_at};
use crate::commit::{Commit, Lack, StagedFiles, access, merge};
use crate::digest::Digest;
use crate::error::refusal;
use crate::manifest::branches::Branches;
use crate::manifest::{self, Entry};
use crate::message::{Delete, End, Hello, Node, PlanPage, Refusal, Summary, Writer};
use crate::path::TreePath;
use crate::receive::room::Tally;
use crate::receive::round::{Rounds, not_a_tree};
use crate::receive::summary;
use crate::receive::{Options, Received};
use crate::reconcile::{Plan, Policy, reconcile};
use crate::store;
use crate::tree::{Dir, Parents};
use crate::unread::Unread;
use crate::workspace::Workspace;
use crate::workspace::index::{self, Index};
use crate::workspace::journal::Journal;
use crate::workspace::kept::Kept;
use crate::workspace::past::{self, Moved};
use crate::workspace::{trash, warm};

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
    pub(crate) kept: &'a Kept,
    /// Where what is replaced goes, and may be taken from.
    pub(crate) past: Option<&'a Dir>,
    /// The clock, nanoseconds since the epoch.
    pub(crate) now_ns: i64,
    pub(crate) tally: &'a Tally<'a>,
    /// What was hashed of the index, and whether that is all that a tree's check needs: it was one before.
    pub(crate) branches: Mutex<Branches>,
    pub(crate) is_warm: bool,
    /// Large files that are removed, and freed once the client has its answer.
    pub(crate) gone: Mutex<Vec<OwnedFd>>,
}

/// What the client has, after a round.
pub(crate) struct Target {
    root: Digest,
    wanted: Vec<Entry>,
    puts: Vec<Entry>,
    gone: Vec<TreePath>,
    /// Of files that were not sent, where they are to keep the client's.
    mtimes: HashMap<TreePath, i64>,
    unread: Unread,
}

impl Target {
    /// Where it differs from the index.
    fn touched(&self) -> Vec<&TreePath> {
        let puts = self.puts.iter().map(|put| &put.path);
        puts.chain(&self.gone).collect()
    }
}

/// All that would be done, as it is told.
pub(crate) type Pages = Vec<PlanPage>;

/// What follows from a round.
pub(crate) enum Turn {
    Done(Received),
    /// It is a dry run: what would be done, in short and in full.
    Planned(Box<Summary>, Pages),
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
        let (tree, touched) = (&self.workspace.held.tree, target.touched());
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

    /// Checks what the client sent, in this round and those before, against the root that it claims at the end.
    pub(crate) fn target(
        &self,
        rounds: &mut Rounds<'_>,
        end: &End,
        staged: &mut StagedFiles,
    ) -> Result<Target, Refusal> {
        let (puts, gone) = rounds.end(&self.index.entries)?;
        let wanted = merge(&self.index.entries, &puts, &gone);
        let checked = if self.is_warm {
            manifest::check_at(&wanted, &puts, &gone)
        } else {
            manifest::check(manifest::pairs(&wanted))
        };
        checked.map_err(not_a_tree)?;
        if self.root(&wanted, (&puts, &gone)) != end.root {
            return Err(Refusal::RootMismatch);
        }
        if wanted.len() as u64 > self.options.max_entries {
            let (what, limit) = ("entries".to_owned(), self.options.max_entries);
            return Err(Refusal::TooMuch { what, limit });
        }
        forget_stale(staged, &wanted, self.staging)?;
        Ok(Target {
            root: end.root,
            wanted,
            puts,
            gone,
            mtimes: rounds.mtimes.clone(),
            unread: Unread::of(end.unread.iter().map(Vec::as_slice)),
        })
    }

    /// The root of what is wanted, which differs from the index there.
    fn root(&self, wanted: &[Entry], (puts, gone): (&[Entry], &[TreePath])) -> Digest {
        if !self.hello.touched_only {
            return manifest::root(manifest::pairs(wanted));
        }
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        let puts = puts.iter().map(|put| &put.path);
        puts.chain(gone).for_each(|path| branches.touch(path));
        branches.root(wanted)
    }

    /// What is to be decided about.
    fn survey<'t>(&'t self, target: &'t Target, drift: &Drift) -> Result<Survey<'t>, Failed> {
        let (tree, wanted) = (&self.workspace.held.tree, &target.wanted);
        if self.is_partial() {
            let both = (self.tracked, wanted.as_slice());
            return survey_at(tree, both, drift, &target.touched());
        }
        survey(tree, self.tracked, wanted, drift, self.hello.delete)
    }

    /// Commits, or says what is lacking for it.
    pub(crate) fn turn(
        &self,
        target: &Target,
        drift: &Drift,
        staged: &mut StagedFiles,
        leased: bool,
    ) -> Result<Turn, Refusal> {
        let (index, wanted, root) = (self.index, &target.wanted, target.root);
        let nothing = summary::unchanged(root, index.generation, wanted.len() as u64);
        // Even an empty tree is committed once: until then no job finds its root.
        let committed = index.generation > 0 || self.hello.dry_run;
        if root == index.root
            && drift.changed.is_empty()
            && committed
            && !is_due(&self.hello, index)
        {
            return self.unchanged(drift, nothing).map(Turn::Done);
        }
        let policy = Policy {
            delete: self.hello.delete,
            unread: target.unread.clone(),
        };
        let survey = self.survey(target, drift).map_err(failed)?;
        let plan = reconcile(&survey.changes, &survey.strangers, &policy);
        guard(&self.hello, self.tracked, wanted, &plan)?;
        let most = summary::most(&self.hello);
        let mut summary = summary::planned(nothing, &survey, &plan, most);
        let decided = (&survey, &plan);
        let same = root == index.root && plan.retained.len() == index.retained.len();
        if same && committed && !self.hello.dry_run && plan.is_empty() && drift.changed.is_empty() {
            return self.unchanged(drift, summary).map(Turn::Done);
        }
        let held = self.commit(target, drift, decided, staged).held();
        self.tally.target(held)?;
        if self.hello.dry_run {
            let pages = if self.hello.list_all {
                summary::pages(&survey, &plan)
            } else {
                Pages::new()
            };
            return Ok(Turn::Planned(Box::new(summary), pages));
        }
        let lacking = self.commit(target, drift, decided, staged).lacking();
        if !lacking.is_empty() {
            let maker = self.maker(target, drift);
            let made = maker.make(&lacking, staged, |bytes| self.tally.offer(bytes))?;
            staged.extend(made);
        }
        let commit = self.commit(target, drift, decided, staged);
        let lacking = commit.lacking();
        if !lacking.is_empty() {
            return Ok(Turn::Need(each_once(&lacking)));
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
            unread: policy.unread,
        };
        let (applied, index) = commit.run(&journal)?;
        self.tally.committed(held, applied.past.bytes);
        self.prune(commit.generation, applied.past);
        self.keep(index);
        summary::add(&mut summary.displaced, &applied.displaced, most);
        summary::add(&mut summary.kept, &applied.kept, most);
        summary.generation = commit.generation;
        if summary.displaced.total > 0 {
            summary.trash = trash::name(commit.generation);
        }
        Ok(Turn::Done(Received::Committed(summary)))
    }

    /// Removes what was replaced for too long, or is too much.
    fn prune(&self, generation: u64, moved: Moved) {
        let (staging, most) = (&self.workspace.held.staging, self.options.past_bytes);
        // What stays for now goes another time.
        if let Ok((gone, left)) = past::prune(staging, moved, (generation, self.now_ns), most) {
            let mut later = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            later.extend(gone);
            left.into_iter().for_each(|left| self.tally.pruned(left));
        }
    }

    /// Remembers what is committed for the next session, if somebody watches.
    fn keep(&self, index: Index) {
        if !is_watch(&self.hello) {
            return;
        }
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        let commit = warm::Commit {
            index,
            branches: std::mem::take(&mut *branches),
            past: self.tally.past(),
        };
        let now =
            SystemTime::UNIX_EPOCH + Duration::from_nanos(self.now_ns.try_into().unwrap_or(0));
        let path = self.workspace.index_path();
        self.workspace.warm.keep(&path, commit, now);
    }

    fn commit<'a>(
        &'a self,
        target: &'a Target,
        drift: &'a Drift,
        (survey, plan): (&'a Survey<'a>, &'a Plan),
        staged: &'a StagedFiles,
    ) -> Commit<'a> {
        Commit {
            workspace: self.workspace,
            tracked: self.tracked,
            wanted: &target.wanted,
            drift,
            survey,
            plan,
            staged,
            staging: self.staging,
            generation: self.index.generation + 1,
            past: self.past,
        }
    }

    fn maker<'a>(&'a self, target: &'a Target, drift: &'a Drift) -> Maker<'a> {
        Maker {
            tree: &self.workspace.held.tree,
            staging: self.staging,
            tracked: self.tracked,
            drift,
            kept: self.kept,
            past: self.past,
            trust: self.trust,
            mtimes: &target.mtimes,
            faults: &self.workspace.faults,
            threads: self.options.threads,
        }
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

/// Whether this is a session of a watch, which goes on.
pub(crate) fn is_watch(hello: &Hello) -> bool {
    let keeps = |writer: &Writer| writer.keeps && !writer.leaves;
    hello.touched_only && !hello.dry_run && hello.writer.as_ref().is_some_and(keeps)
}

/// Whether this session may find something to do though nothing changed: what earlier ones were told to leave, or
/// for an exact mirror what others put there.
pub(crate) fn is_due(hello: &Hello, index: &Index) -> bool {
    match hello.delete {
        Delete::Exact => true,
        Delete::Owned => !index.retained.is_empty(),
        Delete::Nothing => false,
    }
}

/// One path for each content that is lacking: the others are made of it.
fn each_once(lacking: &[Lack<'_>]) -> Vec<TreePath> {
    let mut asked = HashSet::new();
    let first = lacking.iter().filter(|lack| asked.insert(lack.hash));
    first.map(|lack| lack.path.clone()).collect()
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
fn guard(hello: &Hello, mirrored: &[Entry], wanted: &[Entry], plan: &Plan) -> Result<(), Refusal> {
    if hello.dry_run || hello.force_delete || hello.delete == Delete::Nothing {
        return Ok(());
    }
    let (tracked, would_move) = (manifest::count_files(mirrored), plan.discarded_files);
    if tracked + would_move > 0 && manifest::count_files(wanted) == 0 {
        return Err(Refusal::EmptyRoot {
            tracked: tracked + would_move,
        });
    }
    let (mut would_delete, limit) = (plan.deleted_files, MIN_DELETES.max(tracked / 2));
    if would_delete > limit {
        would_delete = would_delete.saturating_sub(moved(mirrored, wanted, plan));
    }
    if would_delete > limit {
        return Err(Refusal::MassDelete {
            would_delete,
            tracked,
            limit,
        });
    }
    if would_move > limit {
        return Err(Refusal::MassDisplace { would_move, limit });
    }
    Ok(())
}

/// Files that are deleted and whose content comes up at another path: they were moved.
fn moved(tracked: &[Entry], wanted: &[Entry], plan: &Plan) -> u64 {
    let content = |entry: &Entry| match entry.node {
        Node::File { hash, size, .. } if size > 0 => Some(hash),
        _ => None,
    };
    let mut came: HashMap<Digest, u64> = HashMap::new();
    for entry in wanted {
        let was = || manifest::find(tracked, entry.path.as_bytes());
        if let Some(hash) = content(entry)
            && was().and_then(content) != Some(hash)
        {
            *came.entry(hash).or_default() += 1;
        }
    }
    let deleted = plan.deleted.iter();
    let was = deleted.filter_map(|path| manifest::find(tracked, path.as_bytes()));
    let moved = was.filter(|was| {
        let left = content(was).and_then(|hash| came.get_mut(&hash));
        left.filter(|left| **left > 0)
            .map(|left| *left -= 1)
            .is_some()
    });
    moved.count() as u64
}
