//! What this host can hold a job to.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use super::delegated;
use crate::job_dir::{self, modified_ms};

/// The magic number of a cgroup2 file system, from `linux/magic.h`.
const CGROUP2: u64 = 0x6367_7270;
/// The controllers that limits are made of.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How long nobody may have touched a group that is removed.
const LEFT_MS: u64 = 60_000;

/// What a host has for holding jobs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Where jobs have control groups, if they have any.
    pub cgroups: Option<CgroupRoot>,
    /// Numbers of the processors that this process may use.
    pub processors: Vec<u16>,
}

/// A directory of the cgroup2 file system that belongs to us alone, and in which no process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot {
    path: PathBuf,
    controllers: BTreeSet<String>,
}

/// Where jobs are to get control groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cgroups {
    /// Nowhere: limits that need one are refused.
    #[default]
    None,
    /// In what this process finds to be its own, if there is anything: the control group that it was started in, when that was
    /// delegated to it alone (as `systemd-run --scope -p Delegate=yes` does), into a part of which it moves; or one at the top of
    /// the hierarchy, when it is root and no systemd rules there.
    Auto,
    /// In this directory of a cgroup2 file system, which belongs to this library alone. It is made if its parent is there.
    At(PathBuf),
}

/// Why a directory cannot hold the control groups of jobs.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It is on another file system.
    #[error("{} is not in a control group file system of version 2", path.display())]
    NotCgroup2 {
        /// The directory.
        path: PathBuf,
    },
    /// Threads of a process are spread over such a group, and no new process can be born in it.
    #[error("{} is a control group of the type `{kind}`, and jobs need one of the type `domain`", path.display())]
    Type {
        /// The directory.
        path: PathBuf,
        /// What it is.
        kind: String,
    },
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl Host {
    /// Looks at this host, and prepares the place for control groups.
    ///
    /// # Errors
    /// A directory that was named cannot be used.
    pub fn look(cgroups: &Cgroups) -> Result<Self, HostError> {
        Ok(Self {
            cgroups: match cgroups {
                Cgroups::None => None,
                Cgroups::Auto => delegated::find().and_then(|path| CgroupRoot::open(&path).ok()),
                Cgroups::At(path) => Some(CgroupRoot::open(path)?),
            },
            processors: processors(),
        })
    }

    /// Whether jobs can be given a setting of this controller.
    #[must_use]
    pub fn controls(&self, controller: &str) -> bool {
        let has = |root: &CgroupRoot| root.controllers.contains(controller);
        self.cgroups.as_ref().is_some_and(has)
    }
}

impl CgroupRoot {
    fn open(path: &Path) -> Result<Self, HostError> {
        let told = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| HostError::Io { path, source }
        };
        match fs::DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(told(path)(error));
            }
            _ => {}
        }
        let path = fs::canonicalize(path).map_err(told(path))?;
        let found = statfs(&path).map_err(|errno| told(&path)(errno.into()))?;
        if u64::try_from(found.f_type) != Ok(CGROUP2) {
            return Err(HostError::NotCgroup2 { path });
        }
        // The root of the whole hierarchy has no type.
        let kind =
            fs::read_to_string(path.join("cgroup.type")).unwrap_or_else(|_| "domain".to_owned());
        if kind.trim() != "domain" {
            let kind = kind.trim().to_owned();
            return Err(HostError::Type { path, kind });
        }
        let file = path.join("cgroup.subtree_control");
        for controller in CONTROLLERS {
            // One that is not there, or not given to us, is missing below; the others are not.
            fs::write(&file, format!("+{controller}")).unwrap_or(());
        }
        let enabled = fs::read_to_string(&file).map_err(told(&file))?;
        let controllers = enabled.split_whitespace().map(str::to_owned).collect();
        let probe = path.join(format!("probe-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .map_err(told(&probe))?;
        Ok(Self { path, controllers })
    }

    /// Removes groups that starts left which came to nothing: empty ones that nobody has touched for a minute. A younger one may be
    /// somebody's who is about to be born in it.
    pub(crate) fn purge(&self, now_ms: u64) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries {
            let is_of_job = job_dir::id_of(&entry.file_name()).is_some();
            let is_old = || {
                let made = entry.metadata().map(|found| modified_ms(&found));
                made.is_ok_and(|made_ms| made_ms + LEFT_MS <= now_ms)
            };
            if is_of_job && is_old() {
                // The kernel keeps those that are not empty.
                fs::remove_dir(entry.path()).unwrap_or(());
            }
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The controllers whose settings jobs can be given.
    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        self.controllers.iter().map(String::as_str)
    }

    /// One that is not there.
    #[cfg(test)]
    pub(crate) fn pretended(path: &str, controllers: &[&str]) -> Self {
        Self {
            path: path.into(),
            controllers: controllers.iter().copied().map(str::to_owned).collect(),
        }
    }
}

fn processors() -> Vec<u16> {
    let Ok(cpus) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    let most = u16::try_from(rustix::thread::CpuSet::MAX_CPU).unwrap_or(u16::MAX);
    (0..most)
        .filter(|cpu| cpus.is_set(usize::from(*cpu)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CgroupRoot, Cgroups, Host, HostError, LEFT_MS};

    #[test]
    fn a_directory_of_another_file_system_is_refused() {
        let here = tempfile::tempdir().unwrap();
        let at = |path: &Path| Cgroups::At(path.to_owned());
        let refused = Host::look(&at(here.path())).unwrap_err();
        assert!(matches!(refused, HostError::NotCgroup2 { .. }), "{refused}");
        let absent = Host::look(&at(Path::new("/proc/no/such"))).unwrap_err();
        assert!(matches!(absent, HostError::Io { .. }), "{absent}");
    }

    #[test]
    fn only_old_and_empty_groups_of_jobs_are_purged() {
        let here = tempfile::tempdir().unwrap();
        let root = CgroupRoot::pretended(here.path().to_str().unwrap(), &[]);
        let job = |number| here.path().join(uuid::Uuid::from_u128(number).to_string());
        let other = here.path().join("other");
        for path in [job(1), job(2), other.clone()] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(job(2).join("kept"), "").unwrap();
        let made = std::fs::metadata(job(1)).unwrap();
        let now_ms = super::modified_ms(&made);
        root.purge(now_ms + LEFT_MS - 1);
        assert!(job(1).exists());
        root.purge(now_ms + 2 * LEFT_MS);
        assert!(!job(1).exists() && job(2).exists() && other.exists());
    }

    #[test]
    fn a_host_has_processors() {
        assert!(!Host::look(&Cgroups::None).unwrap().processors.is_empty());
    }
}
