//! A directory held open, and the operations on the names in it.
//!
//! Kernels without openat2(2) get the same by a walk with `O_NOFOLLOW`.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, StatxAttributes,
    StatxFlags,
};
use rustix::io::{Errno, Result};

use crate::stat::FileStat;

/// What an open directory handle may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Operations on names in it; needs no permission to read the directory.
    Names,
    /// Also listing it.
    List,
}

impl Use {
    fn flags(self) -> OFlags {
        let common = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self {
            Self::Names => common | OFlags::PATH,
            Self::List => common | OFlags::RDONLY,
        }
    }
}

/// A name found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: Box<[u8]>,
    /// `Unknown` on file systems that do not say.
    pub(crate) file_type: FileType,
}

/// A directory held open.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Levels of directories that are removed where they are.
const DEPTH_MAX: u32 = 64;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

impl Dir {
    /// Opens the mirror's own directory, whatever a job did to its permissions. A link that a job put in
    /// its place is not followed: it would have the mirror written, and moved away, elsewhere.
    pub(crate) fn open_own(path: &Path) -> Result<Self> {
        let open = |usage: Use| rustix::fs::open(path, usage.flags(), Mode::empty()).map(Self);
        match open(Use::List) {
            Err(Errno::ACCESS) => {}
            done => return done,
        }
        let dir = open(Use::Names)?;
        dir.permit()?;
        dir.child(b".", Use::List)
    }

    /// Opens a directory that the user named; its own path may lead through links.
    pub(crate) fn open_root(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        rustix::fs::open(path, flags, Mode::empty()).map(Self)
    }

    /// Makes sure that this process may list and change the directory: gives its owner all access to
    /// it, if that is needed and allowed.
    pub(crate) fn permit(&self) -> Result<()> {
        let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        // As whom this thread opens files, which need not be as whom the process runs.
        let check = || match rustix::fs::accessat(self, ".", wanted, AtFlags::EACCESS) {
            // Also what a sandbox says that does not know the call with flags.
            Err(Errno::PERM) => rustix::fs::accessat(self, ".", wanted, AtFlags::empty()),
            done => done,
        };
        if check() != Err(Errno::ACCESS) {
            return check();
        }
        let mode = Mode::from_raw_mode(rustix::fs::fstat(self)?.st_mode & 0o7777);
        // The handle may be one that fchmod(2) does not take; this is the same directory.
        let handle = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        match rustix::fs::chmod(handle, mode | Mode::RWXU) {
            Ok(()) => check(),
            Err(_) => Err(Errno::ACCESS),
        }
    }

    /// As [`Dir::child`], for listing a directory that may have to be opened up first.
    fn permitted(&self, name: &[u8]) -> Result<Self> {
        let dir = self.child(name, Use::Names)?;
        dir.permit()?;
        dir.child(b".", Use::List)
    }

    /// Opens the directory `name` in this one, which may be the root of another file system.
    pub(crate) fn child(&self, name: &[u8], usage: Use) -> Result<Self> {
        rustix::fs::openat(self, name, usage.flags(), Mode::empty()).map(Self)
    }

    /// Opens the directory at `path` below this one; the empty path is this directory.
    pub(crate) fn beneath(&self, path: &[u8], usage: Use) -> Result<Self> {
        if path.is_empty() {
            return self.child(b".", usage);
        }
        if !NO_OPENAT2.load(Ordering::Relaxed) {
            match self.openat2(path, usage) {
                Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
                done => return done,
            }
        }
        self.walk(path, usage, false)
    }

    /// As [`Dir::beneath`], but into other file systems mounted there too.
    pub(crate) fn beneath_mounts(&self, path: &[u8], usage: Use) -> Result<Self> {
        if path.is_empty() {
            self.child(b".", usage)
        } else {
            self.walk(path, usage, true)
        }
    }

    /// Opens the directory at `path` below this one to use names in it, on whatever file system it is.
    pub(crate) fn beneath_any(&self, path: &[u8]) -> Result<Self> {
        match self.beneath(path, Use::Names) {
            Err(Errno::XDEV) => self.beneath_mounts(path, Use::Names),
            done => done,
        }
    }

    fn openat2(&self, path: &[u8], usage: Use) -> Result<Self> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(self, path, usage.flags(), Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done.map(Self),
            }
        }
    }

    /// As [`Dir::openat2`], name by name.
    fn walk(&self, path: &[u8], usage: Use, mounts: bool) -> Result<Self> {
        let device = rustix::fs::fstat(self)?.st_dev;
        let mut names = path.split(|&byte| byte == b'/').peekable();
        let mut here: Option<Self> = None;
        while let Some(name) = names.next() {
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::INVAL);
            }
            let usage = if names.peek().is_some() {
                Use::Names
            } else {
                usage
            };
            let next = here.as_ref().unwrap_or(self).child(name, usage)?;
            if !mounts && rustix::fs::fstat(&next)?.st_dev != device {
                return Err(Errno::XDEV);
            }
            here = Some(next);
        }
        here.ok_or(Errno::INVAL)
    }

    /// Lists the directory, which was opened for it; `.` and `..` are left out.
    pub(crate) fn names(&self, buffer: &mut [MaybeUninit<u8>]) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        let mut listing = RawDir::new(self, buffer);
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = CStr::to_bytes(entry.file_name());
            if name != b"." && name != b".." {
                let file_type = entry.file_type();
                names.push(Name {
                    name: name.into(),
                    file_type,
                });
            }
        }
        Ok(names)
    }

    /// What `name` is; a link itself, not what it points to. `None` if there is nothing.
    pub(crate) fn look(&self, name: &[u8]) -> Result<Option<FileStat>> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileStat::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel lets `name` be moved, removed and replaced, by those who may change the
    /// directory: EPERM for what is immutable or may only be appended to, EBUSY for a mount.
    pub(crate) fn movable(&self, name: &[u8]) -> Result<()> {
        let is = self.attributes(name)?;
        if is.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Err(Errno::PERM);
        }
        if is.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(Errno::BUSY);
        }
        Ok(())
    }

    /// Whether names may be made in it, but none taken away.
    pub(crate) fn only_grows(&self) -> Result<bool> {
        let is = self.attributes(b".")?;
        Ok(is.contains(StatxAttributes::APPEND))
    }

    /// None for what is not there, or where a sandbox does not know the call: what it does not tell is
    /// found when it is tried.
    fn attributes(&self, name: &[u8]) -> Result<StatxAttributes> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statx(self, name, flags, StatxFlags::empty()) {
            Ok(stat) => Ok(stat.stx_attributes),
            Err(Errno::NOENT | Errno::NOSYS | Errno::PERM) => Ok(StatxAttributes::empty()),
            Err(error) => Err(error),
        }
    }

    /// Opens the regular file `name` for reading. Never waits, whatever is there.
    pub(crate) fn read_file(&self, name: &[u8]) -> Result<OwnedFd> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat(self, name, flags, Mode::empty())
    }

    /// Opens the regular file `name` for writing, and to read what is there.
    pub(crate) fn write_file(&self, name: &[u8]) -> Result<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat(self, name, flags, Mode::empty())
    }

    /// Where the link `name` points.
    pub(crate) fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(self, name, Vec::new())?.into_bytes())
    }

    /// Makes the regular file `name`, which must not be there, under the umask.
    pub(crate) fn create_file(&self, name: &[u8], exec: bool) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = if exec { 0o755 } else { 0o644 };
        rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode))
    }

    /// Makes the directory `name` under the umask.
    pub(crate) fn make_dir(&self, name: &[u8]) -> Result<()> {
        rustix::fs::mkdirat(self, name, Mode::from_raw_mode(0o777))
    }

    /// Makes the link `name`.
    pub(crate) fn make_link(&self, name: &[u8], target: &[u8]) -> Result<()> {
        rustix::fs::symlinkat(target, self, name)
    }

    /// Removes `name`, which is not a directory.
    pub(crate) fn remove_file(&self, name: &[u8]) -> Result<()> {
        rustix::fs::unlinkat(self, name, AtFlags::empty())
    }

    /// Removes the empty directory `name`.
    pub(crate) fn remove_dir(&self, name: &[u8]) -> Result<()> {
        rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR)
    }

    /// Moves `name` to `to_name` in `to`, where nothing must be.
    pub(crate) fn move_new(&self, name: &[u8], to: &Self, to_name: &[u8]) -> Result<()> {
        match rustix::fs::renameat_with(self, name, to, to_name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) if to.look(to_name)?.is_none() => {
                rustix::fs::renameat(self, name, to, to_name)
            }
            done => done,
        }
    }

    /// Moves `name` over the file `to_name` in `to`, atomically.
    pub(crate) fn move_over(&self, name: &[u8], to: &Self, to_name: &[u8]) -> Result<()> {
        rustix::fs::renameat(self, name, to, to_name)
    }

    /// Has `name` and `to_name` in `to`, which both are there, change places; `false` where the file system cannot do that.
    pub(crate) fn exchange(&self, name: &[u8], to: &Self, to_name: &[u8]) -> Result<bool> {
        match rustix::fs::renameat_with(self, name, to, to_name, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes `name` and all below it, if it is there; closed directories of ours are opened for it.
    pub(crate) fn remove_all(&self, name: &[u8]) -> Result<()> {
        match self.remove_file(name) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            done => return done,
        }
        let top = self.permitted(name)?;
        while top.child(b".", Use::List)?.empty(&top, 0)? {}
        self.remove_dir(name)
    }

    /// Removes what is in this directory, `depth` levels below `top`; says whether there was anything. What lies very
    /// deep, as a job may make it, is moved up to `top` first: each level takes a descriptor and a piece of the stack.
    fn empty(&self, top: &Self, depth: u32) -> Result<bool> {
        let mut buffer = vec![MaybeUninit::uninit(); 4096];
        let names = self.names(&mut buffer)?;
        drop(buffer);
        for Name { name, .. } in &names {
            match self.remove_file(name) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
            let below = self.permitted(name)?;
            if depth < DEPTH_MAX {
                below.empty(top, depth + 1)?;
                self.remove_dir(name)?;
            } else {
                self.move_aside(name, top)?;
            }
        }
        Ok(!names.is_empty())
    }

    /// Moves `name` to `to`, under any name that is free there.
    fn move_aside(&self, name: &[u8], to: &Self) -> Result<()> {
        for attempt in 0_u64.. {
            match self.move_new(name, to, format!("{attempt}").as_bytes()) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                done => return done,
            }
        }
        Ok(())
    }

    /// Opens the directory at `path`, making what is missing of it.
    pub(crate) fn make_beneath(&self, path: &[u8]) -> Result<Self> {
        match self.beneath(path, Use::Names) {
            Err(Errno::NOENT) => {}
            done => return done,
        }
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (self.make_beneath(&path[..at])?, &path[at + 1..]),
            None => (self.child(b".", Use::Names)?, path),
        };
        match parent.make_dir(name) {
            Ok(()) | Err(Errno::EXIST) => parent.child(name, Use::Names),
            Err(error) => Err(error),
        }
    }
}

/// Opens the parents of paths, remembering the last: neighbours are usually handled in a row.
#[derive(Debug)]
pub(crate) struct Parents<'a> {
    root: &'a Dir,
    make: bool,
    last: Option<(Vec<u8>, Dir)>,
}

impl<'a> Parents<'a> {
    /// Opens parents that are there.
    pub(crate) fn of(root: &'a Dir) -> Self {
        Self {
            root,
            make: false,
            last: None,
        }
    }

    /// Also makes those that are missing.
    pub(crate) fn making(root: &'a Dir) -> Self {
        Self {
            root,
            make: true,
            last: None,
        }
    }

    /// The directory at `parent`, open for names.
    pub(crate) fn get(&mut self, parent: &[u8]) -> Result<&Dir> {
        if !matches!(&self.last, Some((path, _)) if path == parent) {
            self.last = None;
            let dir = if self.make {
                self.root.make_beneath(parent)?
            } else {
                self.root.beneath(parent, Use::Names)?
            };
            self.last = Some((parent.to_vec(), dir));
        }
        let (_, dir) = self.last.as_ref().expect("set above when it was not");
        Ok(dir)
    }

    /// Forgets the last: a directory was moved or removed.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{Dir, Use};

    fn fixture() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/", temp.path().join("a/out")).unwrap();
        let dir = Dir::open_root(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn no_link_and_no_dots_lead_anywhere_with_or_without_openat2() {
        let (_temp, dir) = fixture();
        let walk = |dir: &Dir, path: &[u8], usage| dir.walk(path, usage, false);
        for open in [Dir::openat2, walk] {
            assert!(open(&dir, b"a/b", Use::List).is_ok());
            for refused in ["link/b", "a/out", "a/out/etc", "../x", "a/../../x", "/etc"] {
                let refusal = open(&dir, refused.as_bytes(), Use::Names).unwrap_err();
                assert_ne!(refusal, Errno::NOENT, "{refused}");
            }
        }
    }

    #[test]
    fn missing_directories_are_made_but_not_through_links() {
        let (temp, dir) = fixture();
        assert!(dir.make_beneath(b"a/b/c/d").is_ok());
        assert!(temp.path().join("a/b/c/d").is_dir());
        assert!(dir.make_beneath(b"link/x").is_err());
        assert!(!temp.path().join("a/x").exists());
    }

    #[test]
    fn removing_all_reaches_the_deepest_with_a_small_stack() {
        let (temp, dir) = fixture();
        let mut here = dir.beneath(b"a/b", Use::List).unwrap();
        for level in 0..300 {
            for name in [b"d", b"e"] {
                here.make_dir(name).unwrap();
            }
            drop(here.create_file(b"0", level % 2 == 0).unwrap());
            here = here.child(b"d", Use::List).unwrap();
        }
        drop(here);
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(128 << 10);
            let removing = small.spawn_scoped(scope, || dir.remove_all(b"a"));
            removing.unwrap().join().unwrap().unwrap();
        });
        assert!(!temp.path().join("a").exists());
    }

    #[test]
    fn removing_all_does_not_follow_links() {
        let (temp, dir) = fixture();
        std::fs::write(temp.path().join("a/f"), "").unwrap();
        dir.remove_all(b"link").unwrap();
        assert!(temp.path().join("a/f").exists());
        dir.remove_all(b"a").unwrap();
        dir.remove_all(b"a").unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
