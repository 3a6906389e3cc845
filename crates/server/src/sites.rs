//! Directories of the admin's choosing: workspaces whose tree is somewhere on the host where others look for it.
//!
//! A site is named in the settings and belongs to nobody but them; those whom they name may write to it, and for everybody
//! else it is not there. What the mirror needs beside the tree lies in its *store*, on the same file system and
//! outside the tree. The server remembers which directory it was (`record`): another one in its place, for one because a
//! file system is not mounted, is refused and not filled or emptied.

mod place;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_identity::{Principal, Via};
use tonic::Code;

use self::record::Record;
use crate::problem::Problem;
use crate::workspaces::WorkspaceId;

/// Where the server remembers them, in its state directory.
const SITES: &str = "sites";

/// What the settings say of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRule {
    /// The directory.
    pub path: PathBuf,
    /// Where the mirror's own files lie; `None` for beside the directory.
    pub store: Option<PathBuf>,
    /// The identities that may mirror to it and run jobs in it, by name.
    pub writers: BTreeSet<String>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) id: WorkspaceId,
    pub(crate) path: PathBuf,
    pub(crate) store: PathBuf,
    writers: BTreeSet<String>,
    record: PathBuf,
    /// The state directory, which no site may hold or be in.
    state: PathBuf,
}

/// What somebody is about to do with a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Use what was mirrored to it before.
    Use,
    /// Mirror to it; with `adopt` also if it is not empty, or another directory than before.
    Commit {
        /// Whether it may be taken over.
        adopt: bool,
    },
    /// See what mirroring to it would do.
    Plan {
        /// The same.
        adopt: bool,
    },
}

/// A directory that becomes a site.
#[derive(Debug)]
pub(crate) struct Adoption(Record);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sites(BTreeMap<String, Arc<Site>>);

impl Sites {
    /// Checks what the settings say, as far as it can be seen before anything is mirrored.
    pub(crate) fn new(rules: BTreeMap<String, SiteRule>, state: &Path) -> Result<Self, Problem> {
        let mut sites = BTreeMap::new();
        for (name, rule) in rules {
            let site = Site::of(&name, rule, state)?;
            sites.insert(name, Arc::new(site));
        }
        for (name, site) in &sites {
            let others = sites.iter().filter(|(other, _)| *other != name);
            for (other, there) in others {
                if let Some((a, b)) = site.meets(there) {
                    let what = format!(
                        "{} and {} of {other} are in each other",
                        a.display(),
                        b.display()
                    );
                    return Err(site.bad("path", &what));
                }
            }
        }
        Ok(Self(sites))
    }

    /// The site of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Site>> {
        self.0.get(name)
    }

    /// The site that a workspace is.
    pub(crate) fn of(&self, id: &WorkspaceId) -> Option<&Arc<Site>> {
        self.0.values().find(|site| site.id == *id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.0.values()
    }

    /// Those that somebody may write to.
    pub(crate) fn for_whom<'a>(
        &'a self,
        caller: &'a Principal,
    ) -> impl Iterator<Item = &'a Arc<Site>> {
        self.all().filter(|site| site.lets(caller))
    }
}

impl Site {
    fn of(name: &str, rule: SiteRule, state: &Path) -> Result<Self, Problem> {
        let site = Self {
            id: WorkspaceId::of_site(name)?,
            store: rule.store.unwrap_or_else(|| beside(&rule.path)),
            path: rule.path,
            writers: rule.writers,
            record: state.join(SITES).join(format!("{name}.json")),
            state: state.canonicalize().unwrap_or_else(|_| state.to_owned()),
            name: name.to_owned(),
        };
        for (key, path) in [("path", &site.path), ("store", &site.store)] {
            if !place::is_plain(path) {
                return Err(site.bad(key, "it must be an absolute path without `.` or `..`"));
            }
        }
        site.check_place()?;
        if place::meet(&site.path, &site.store) {
            return Err(site.bad(
                "store",
                "it and the directory itself must not be in each other",
            ));
        }
        Ok(site)
    }

    fn bad(&self, key: &str, what: &str) -> Problem {
        let value = if key == "store" {
            &self.store
        } else {
            &self.path
        };
        let key = format!("workspace.{}.{key}", self.name);
        let message = format!("{key} = {value:?}: {what}");
        Problem::new(Code::FailedPrecondition, "BAD_SITE", message)
            .with("key", key)
            .with("path", value.display())
    }

    /// Directories of both that are in each other.
    fn meets<'a>(&'a self, other: &'a Self) -> Option<(&'a Path, &'a Path)> {
        let own = [&self.path, &self.store];
        let theirs = [&other.path, &other.store];
        let pairs = own.into_iter().flat_map(|a| theirs.map(|b| (a, b)));
        let found = pairs.into_iter().find(|(a, b)| place::meet(a, b));
        found.map(|(a, b)| (a.as_path(), b.as_path()))
    }

    /// Refuses what nobody can mean, wherever links lead.
    fn check_place(&self) -> Result<(), Problem> {
        let led = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        for path in [self.path.clone(), led(&self.path)] {
            if let Some(why) = place::forbidden(&path, &self.state) {
                return Err(self.bad("path", &why));
            }
        }
        if place::meet(&led(&self.store), &self.state) {
            return Err(self.bad("store", "it and the state directory are in each other"));
        }
        Ok(())
    }

    /// Whether somebody may write to it. Who has the host itself may.
    pub(crate) fn lets(&self, caller: &Principal) -> bool {
        match caller.via {
            Via::LocalSocket { .. } | Via::InProcess => true,
            Via::Certificate => self.writers.contains(&caller.name),
        }
    }

    /// Whether something was mirrored to it.
    pub(crate) fn is_known(&self) -> bool {
        self.record.is_file()
    }

    /// Makes sure that this is the directory that it was, or may become it: then says what to
    /// [remember](Site::adopt). Blocks for file operations.
    pub(crate) fn enter(&self, entry: Entry) -> Result<Option<Adoption>, Problem> {
        self.check_place()?;
        let now = Record::of(&self.path, &self.store).map_err(|error| self.missing(&error))?;
        let known = Record::load(&self.record)?;
        match (known, entry) {
            (Some(known), _) if known == now => self.check_store(entry).map(|()| None),
            (None, Entry::Use) => Err(crate::workspaces::not_found().with("workspace", &self.name)),
            (None, Entry::Plan { adopt } | Entry::Commit { adopt }) => {
                if !adopt && !self.is_empty()? {
                    return Err(self.not_empty());
                }
                Ok(Some(Adoption(now)))
            }
            (Some(_), Entry::Plan { adopt: true } | Entry::Commit { adopt: true }) => {
                Ok(Some(Adoption(now)))
            }
            (Some(_), _) => {
                Err(self.replaced("another directory is there than the one that was mirrored to"))
            }
        }
    }

    /// From now on this is the directory; its store is there by now.
    pub(crate) fn adopt(&self, Adoption(record): &Adoption) -> Result<(), Problem> {
        record.save(&self.record)
    }

    /// Without its store the mirror would not know what is its own.
    fn check_store(&self, entry: Entry) -> Result<(), Problem> {
        let adopts = matches!(
            entry,
            Entry::Commit { adopt: true } | Entry::Plan { adopt: true }
        );
        if adopts || self.store.is_dir() {
            return Ok(());
        }
        let what = format!("its store {} is not there", self.store.display());
        Err(self.replaced(&what))
    }

    fn is_empty(&self) -> Result<bool, Problem> {
        let mut names =
            fs::read_dir(&self.path).map_err(|error| Problem::io(&self.path, &error))?;
        Ok(names.next().is_none())
    }

    /// Why there is no store.
    pub(crate) fn no_store(&self, problem: Problem, user: &str) -> Problem {
        if problem.reason != "IO" {
            return problem;
        }
        let message = format!(
            "the store of {} cannot be made ({}): ask the server's admin to make {} for {user}, mode 0700, or to name another \
             directory on that file system as its `store`",
            self.name,
            problem.message,
            self.store.display()
        );
        self.refusal("SITE_NO_STORE", message)
    }

    fn missing(&self, error: &std::io::Error) -> Problem {
        let message = format!(
            "the directory {} of {} cannot be used ({error}): nothing was changed; is its file system mounted?",
            self.path.display(),
            self.name
        );
        self.refusal("SITE_MISSING", message)
    }

    fn replaced(&self, what: &str) -> Problem {
        let message = format!(
            "{} of {}: {what}, and nothing was changed; if a file system is not mounted, mount it; if this is \
             meant, sync once with --adopt",
            self.path.display(),
            self.name
        );
        self.refusal("SITE_REPLACED", message)
    }

    fn not_empty(&self) -> Problem {
        let message = format!(
            "{} of {} is not empty, and nothing was mirrored to it before: look with --dry-run --adopt, then sync once with \
             --adopt; what is in the way, or with --delete exact whatever you do not have, goes to its trash",
            self.path.display(),
            self.name
        );
        self.refusal("SITE_NOT_EMPTY", message)
    }

    fn refusal(&self, reason: &'static str, message: String) -> Problem {
        Problem::new(Code::FailedPrecondition, reason, message)
            .with("workspace", &self.name)
            .with("path", self.path.display())
    }
}

/// Where the store of a directory is if nobody says where.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".legwork-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;
