//! Who owns what: the decision for every path, as a pure function.
//!
//! Three trees are compared: what the mirror wrote at the last commit (*was*), what the client has
//! (*want*), and what is on disk (*disk*).
//!
//! | want | was | disk | decision |
//! |---|---|---|---|
//! | yes | any | as wanted | take it as it is: times stay |
//! | yes | any | nothing | write |
//! | yes | yes | as it was | replace |
//! | yes | any | same content, other exec bit | set the bit |
//! | yes | any | anything else | a job's: to the trash, then write |
//! | no | yes | as it was | delete (a directory: if nothing is left in it) |
//! | no | yes | nothing | forget |
//! | no | yes | anything else | a job's: leave it, forget that it was ours |
//! | no | yes | as it was, but nothing is to be deleted | leave it; it stays ours |
//! | no | no | any | never looked at |
//!
//! That is the *owned* way. In the *exact* way the workspace becomes what the client has and nothing else: where a job's
//! work would be left, and what is in neither tree, goes to the trash. In both, nothing is taken away at or below
//! what the client could not read, nor the directories above it: what the mirror wrote there stays its own.
//!
//! What a job put into a directory that the client removed stays, unless the client's ignore rules
//! match it: caches of sources that are gone mislead builds, so they go to the trash.

use crate::message::{Delete, Node};
use crate::path::{TreePath, is_below};
use crate::stat::FileStat;
use crate::unread::Unread;

/// What is done with what the client does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// In general.
    pub delete: Delete,
    /// Where it is not known what the client has.
    pub unread: Unread,
}

/// What is on disk at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it is, if that is known; `None` for what is surely neither as it was nor as wanted.
    pub node: Option<Node>,
    /// What it looked like.
    pub look: Option<FileStat>,
}

/// A path where the three trees are not all equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// Where.
    pub path: &'a TreePath,
    /// What the mirror wrote there.
    pub was: Option<&'a Node>,
    /// What the client has there.
    pub want: Option<&'a Node>,
    /// What is there.
    pub disk: Option<Disk>,
}

/// Something in neither tree, topmost only: in a directory that is to go, or for an exact mirror anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Where.
    pub path: TreePath,
    /// Whether the client's ignore rules match it. Not asked for an exact mirror.
    pub ignored: bool,
    /// Files and links in it, or 1; not counted but for an exact mirror.
    pub files: u64,
}

/// The decision for one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is as wanted.
    Adopt,
    /// Write what is wanted; nothing is in the way.
    Write,
    /// Replace what the mirror wrote.
    Replace,
    /// Set the exec bit.
    SetMode,
    /// Move a job's work to the trash, then write.
    Displace,
    /// Remove what the mirror wrote.
    Delete,
    /// Move a job's work to the trash; nothing takes its place.
    Discard,
    /// Leave a job's work where it is.
    Keep,
    /// Leave what the mirror wrote where it is: nothing is to be deleted, here or at all.
    Retain,
    /// It is gone already.
    Forget,
}

/// Decides for one path; see the module's table.
#[must_use]
pub fn decide(change: &Change<'_>, policy: &Policy) -> Decision {
    let disk = change.disk.as_ref();
    let node = disk.and_then(|disk| disk.node.as_ref());
    match (change.want, disk) {
        (Some(_), None) => Decision::Write,
        (Some(want), Some(_)) if node == Some(want) => Decision::Adopt,
        (Some(want), Some(_)) if node.is_some_and(|node| same_content(node, want)) => {
            Decision::SetMode
        }
        (Some(_), Some(_)) if node == change.was && node.is_some() => Decision::Replace,
        (Some(_), Some(_)) => Decision::Displace,
        (None, None) => Decision::Forget,
        (None, Some(_)) => {
            let is_ours = node == change.was && node.is_some();
            match (is_ours, policy.delete) {
                (true, _) if policy.unread.touches(change.path) => Decision::Retain,
                (false, _) if policy.unread.touches(change.path) => Decision::Keep,
                (true, Delete::Owned | Delete::Exact) => Decision::Delete,
                (true, Delete::Nothing) => Decision::Retain,
                (false, Delete::Exact) => Decision::Discard,
                (false, Delete::Owned | Delete::Nothing) => Decision::Keep,
            }
        }
    }
}

fn same_content(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (
            Node::File {
                size: a, hash: x, ..
            },
            Node::File {
                size: b, hash: y, ..
            },
        ) => a == b && x == y,
        _ => false,
    }
}

/// One step of a plan. Steps are done in the order of [`Plan::steps`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Remove a file or link that the mirror wrote, if it still looks so.
    Remove(TreePath, Option<FileStat>),
    /// Move to the trash, with all that is in it.
    Displace(TreePath),
    /// Remove a directory, if it is empty.
    RemoveDir(TreePath),
    /// Set the exec bit of a file.
    SetMode(TreePath, bool),
    /// Move what is staged, a directory with all that is in it, to where nothing is.
    Install(TreePath),
    /// Move what is staged over a file or link that the mirror wrote, if it still looks so.
    InstallOver(TreePath, Option<FileStat>),
}

impl Step {
    /// What it is about.
    #[must_use]
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Remove(path, _) | Self::Displace(path) | Self::RemoveDir(path) => path,
            Self::SetMode(path, _) | Self::Install(path) | Self::InstallOver(path, _) => path,
        }
    }
}

/// What a commit does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Which of the changes are written: their content, or link, or directory must be staged.
    pub written: Vec<usize>,
    /// Which of the changes are on disk as wanted already.
    pub adopted: Vec<usize>,
    /// Deleted because the client no longer has them.
    pub deleted: Vec<TreePath>,
    /// Files and links among those.
    pub deleted_files: u64,
    /// Moved to the trash.
    pub displaced: Vec<TreePath>,
    /// Files and links in those that nothing of the client's takes the place of.
    pub discarded_files: u64,
    /// Left in place as a job's, though the client no longer has them, or their directory.
    pub kept: Vec<TreePath>,
    /// Which of the changes are left in place as the mirror's, because nothing is to be deleted.
    pub retained: Vec<usize>,
}

impl Plan {
    /// Whether nothing on disk would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

#[derive(Default)]
struct Draft {
    plan: Plan,
    removals: Vec<Step>,
    displacements: Vec<Step>,
    emptied: Vec<TreePath>,
    /// Directories that go to the trash after what the mirror wrote in them is removed.
    buried: Vec<TreePath>,
    /// Directories of the mirror that become a file or link.
    replaced: Vec<TreePath>,
    modes: Vec<Step>,
    installs: Vec<Step>,
}

/// Makes the plan. `changes` are sorted; they cover everything below a directory that is not there.
#[must_use]
pub fn reconcile(changes: &[Change<'_>], strangers: &[Stranger], policy: &Policy) -> Plan {
    let mut draft = Draft::default();
    let mut installed: Option<&TreePath> = None;
    let mut at = 0;
    while at < changes.len() {
        let change = &changes[at];
        if installed.is_some_and(|dir| change.path.is_below(dir.as_bytes())) {
            if change.want.is_some() {
                draft.plan.written.push(at);
            }
            at += 1;
            continue;
        }
        at += match decide(change, policy) {
            Decision::Replace if change.was == Some(&Node::Dir) => {
                draft.replace_dir(changes, at, strangers)
            }
            decision => {
                draft.step(change, at, decision);
                1
            }
        };
        if let Some(Step::Install(path)) = draft.installs.last()
            && path == change.path
            && change.want == Some(&Node::Dir)
        {
            installed = Some(change.path);
        }
    }
    draft.strangers(strangers, policy);
    draft.finish()
}

impl Draft {
    fn step(&mut self, change: &Change<'_>, at: usize, decision: Decision) {
        let path = || change.path.clone();
        let look = change.disk.as_ref().and_then(|disk| disk.look);
        let install = match decision {
            Decision::Adopt => {
                self.plan.adopted.push(at);
                None
            }
            Decision::SetMode => {
                let exec = matches!(change.want, Some(Node::File { exec: true, .. }));
                self.modes.push(Step::SetMode(path(), exec));
                self.plan.adopted.push(at);
                None
            }
            Decision::Write => Some(Step::Install(path())),
            Decision::Replace if change.want == Some(&Node::Dir) => {
                self.removals.push(Step::Remove(path(), look));
                Some(Step::Install(path()))
            }
            Decision::Replace => Some(Step::InstallOver(path(), look)),
            Decision::Displace => {
                self.displacements.push(Step::Displace(path()));
                self.plan.displaced.push(path());
                Some(Step::Install(path()))
            }
            Decision::Delete => {
                self.delete(change);
                None
            }
            Decision::Discard => {
                self.displacements.push(Step::Displace(path()));
                self.plan.displaced.push(path());
                self.plan.discarded_files += 1;
                None
            }
            Decision::Keep => {
                self.plan.kept.push(path());
                None
            }
            Decision::Retain => {
                self.plan.retained.push(at);
                None
            }
            Decision::Forget => None,
        };
        if let Some(install) = install {
            self.installs.push(install);
            self.plan.written.push(at);
        }
    }

    fn delete(&mut self, change: &Change<'_>) {
        let path = change.path.clone();
        if change.was == Some(&Node::Dir) {
            self.emptied.push(path);
            return;
        }
        let look = change.disk.as_ref().and_then(|disk| disk.look);
        self.removals.push(Step::Remove(path.clone(), look));
        self.plan.deleted.push(path);
        self.plan.deleted_files += 1;
    }

    /// The client has a file or link where the mirror made a directory. What a job left in there is
    /// in the way. Returns how many changes this covers.
    fn replace_dir(&mut self, changes: &[Change<'_>], at: usize, strangers: &[Stranger]) -> usize {
        let dir = changes[at].path;
        let inside = |path: &TreePath| path.is_below(dir.as_bytes());
        let below = changes[at + 1..]
            .iter()
            .take_while(|change| inside(change.path))
            .count();
        let before = self.plan.displaced.len();
        let mut emptied = Vec::new();
        for change in &changes[at + 1..=at + below] {
            match decide(change, &Policy::default()) {
                Decision::Delete if change.was == Some(&Node::Dir) => {
                    emptied.push(change.path.clone());
                }
                Decision::Delete => self.delete(change),
                Decision::Forget => {}
                _ => self.plan.displaced.push(change.path.clone()),
            }
        }
        let left = strangers
            .iter()
            .map(|stranger| &stranger.path)
            .filter(|path| inside(path));
        self.plan.displaced.extend(left.cloned());
        if self.plan.displaced.len() > before {
            self.buried.push(dir.clone());
        } else {
            self.emptied.push(dir.clone());
            self.emptied.extend(emptied);
        }
        self.replaced.push(dir.clone());
        self.installs.push(Step::Install(dir.clone()));
        self.plan.written.push(at);
        below + 1
    }

    /// What is in neither tree.
    fn strangers(&mut self, strangers: &[Stranger], policy: &Policy) {
        for stranger in strangers {
            if self
                .replaced
                .iter()
                .any(|dir| stranger.path.is_below(dir.as_bytes()))
            {
                continue;
            }
            let goes = match policy.delete {
                Delete::Exact => true,
                Delete::Owned => stranger.ignored,
                Delete::Nothing => false,
            };
            if goes && !policy.unread.touches(&stranger.path) {
                self.displacements
                    .push(Step::Displace(stranger.path.clone()));
                self.plan.displaced.push(stranger.path.clone());
                if policy.delete == Delete::Exact {
                    self.plan.discarded_files += stranger.files;
                }
            } else {
                self.plan.kept.push(stranger.path.clone());
            }
        }
    }

    fn finish(mut self) -> Plan {
        let kept = &self.plan.kept;
        let holds = |dir: &TreePath| {
            kept.iter()
                .any(|path| is_below(path.as_bytes(), dir.as_bytes()))
        };
        self.emptied.retain(|dir| !holds(dir));
        self.emptied.sort();
        let wanted = |dir: &TreePath| {
            self.installs
                .iter()
                .any(|step| matches!(step, Step::Install(path) if path == dir))
        };
        self.plan
            .deleted
            .extend(self.emptied.iter().filter(|dir| !wanted(dir)).cloned());
        self.plan.deleted.sort();
        self.plan.displaced.sort();
        self.plan.kept.sort();
        let steps = &mut self.plan.steps;
        steps.append(&mut self.removals);
        steps.append(&mut self.displacements);
        steps.extend(self.emptied.into_iter().rev().map(Step::RemoveDir));
        steps.extend(self.buried.into_iter().map(Step::Displace));
        steps.append(&mut self.modes);
        steps.append(&mut self.installs);
        self.plan
    }
}
