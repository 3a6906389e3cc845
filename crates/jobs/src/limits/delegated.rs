//! Finding a control group that is this process's own to share out.
//!
//! The rules are systemd's (`CGROUP_DELEGATION.md`): a group has one master, and processes live in the leaves only. So the
//! process first moves into a leaf of the group that was delegated to it, and the jobs get another one beside it. A *service* is left
//! alone, though it may be delegated: as long as jobs live below it, systemd cannot start it again. The one that there is for
//! that ([`in_service`]) ends jobs before it ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The leaf that this process moves into, and what jobs get.
const OWN: &str = "legwork";
const JOBS: &str = "jobs";
/// Where the hierarchy is, as a rule.
const USUAL: &str = "/sys/fs/cgroup";
/// At the top of a hierarchy that nobody rules.
const TOP: &str = "legwork-jobs";

/// A directory for the control groups of jobs, if there is a place for one.
pub(super) fn find() -> Option<PathBuf> {
    let mount = mount_of(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = mount.join(own_of(&groups)?.strip_prefix("/").ok()?);
    in_scope(&own).or_else(|| at_top(&mount))
}

/// In the group that this process was started in.
fn in_scope(own: &Path) -> Option<PathBuf> {
    let name = own.file_name()?;
    if name == OWN {
        // As an earlier one of our kind left it, in which we were started.
        return own
            .parent()
            .filter(|above| is_delegated(above))
            .map(|above| above.join(JOBS));
    }
    let is_service = Path::new(name)
        .extension()
        .is_some_and(|kind| kind == "service");
    if is_service {
        return None;
    }
    share_out(own)
}

/// In the group of a service whose main process this one is, for whoever is neither restarted nor upgraded while jobs live.
pub(crate) fn in_service() -> Option<PathBuf> {
    let mount = mount_of(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let jobs = share_out(&mount.join(own_of(&groups)?.strip_prefix("/").ok()?))?;
    fs::create_dir(&jobs).or_else(there_already).ok()?;
    // Whoever has looked at this place before takes it for as it was.
    enable_all(&jobs);
    Some(jobs)
}

/// Moves into a leaf of the group, if it was delegated to this process alone; the place for jobs beside that.
fn share_out(own: &Path) -> Option<PathBuf> {
    if !is_delegated(own) {
        return None;
    }
    let alone = fs::read_to_string(own.join("cgroup.procs")).ok()?;
    let me = std::process::id().to_string();
    if alone.lines().any(|pid| pid != me) {
        return None;
    }
    let leaf = own.join(OWN);
    fs::create_dir(&leaf).or_else(there_already).ok()?;
    fs::write(leaf.join("cgroup.procs"), me).ok()?;
    enable_all(own);
    Some(own.join(JOBS))
}

/// What an earlier process of our kind left will do.
fn there_already(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    }
}

/// As root where there is no systemd to mind, in the usual place: a hierarchy that somebody mounted elsewhere is theirs.
fn at_top(mount: &Path) -> Option<PathBuf> {
    let first = fs::read_to_string("/proc/1/comm").ok()?;
    let is_ours = rustix::process::geteuid().is_root() && first.trim() != "systemd";
    if !is_ours || mount != Path::new(USUAL) {
        return None;
    }
    enable_all(mount);
    Some(mount.join(TOP))
}

/// Gives what is below a group all controllers that the group has itself, as far as that can be.
fn enable_all(group: &Path) {
    let has = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in has.split_whitespace() {
        fs::write(
            group.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .unwrap_or(());
    }
}

/// Whether systemd says so, or the group belongs to us without our being root.
fn is_delegated(group: &Path) -> bool {
    let marked = ["user.delegate", "trusted.delegate"]
        .into_iter()
        .any(|name| {
            let mut value = [0; 4];
            rustix::fs::getxattr(group, name, &mut value[..])
                .is_ok_and(|length| value[..length] == *b"1")
        });
    marked || is_ours(group)
}

fn is_ours(group: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid();
    let owner = |file: PathBuf| fs::metadata(file).map(|found| found.uid());
    !me.is_root()
        && [group.to_owned(), group.join("cgroup.procs")]
            .into_iter()
            .all(|file| owner(file).is_ok_and(|uid| uid == me.as_raw()))
}

/// Where the whole cgroup2 hierarchy is mounted, from `/proc/self/mountinfo` (proc(5)).
fn mount_of(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (about, kind) = line.split_once(" - ")?;
        let mut about = about.split(' ').skip(3);
        let (root, place) = (about.next()?, about.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(place))
    })
}

/// The group of this process in that hierarchy, from `/proc/self/cgroup` (cgroups(7)).
fn own_of(cgroup: &str) -> Option<&Path> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{mount_of, own_of};

    #[test]
    fn the_hierarchy_of_version_2_is_found_beside_others() {
        let mountinfo = "24 30 0:22 / /proc rw - proc proc rw\n\
            33 24 0:28 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu\n\
            34 24 0:29 /part /mnt/part rw shared:9 - cgroup2 cgroup2 rw\n\
            35 24 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            mount_of(mountinfo).as_deref(),
            Some(Path::new("/sys/fs/cgroup"))
        );
        assert_eq!(mount_of("24 30 0:22 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn the_own_group_is_the_one_without_a_hierarchy_number() {
        let cgroup = "4:memory:/a\n0::/user.slice/run-1.scope\n";
        assert_eq!(own_of(cgroup), Some(Path::new("/user.slice/run-1.scope")));
        assert_eq!(own_of("4:memory:/a\n"), None);
    }
}
