//! The mirror's own files, beside the trees: read whole, replaced by rename.
//!
//! Nothing here is fsynced. A killed process loses nothing, and after an unclean boot a checksum
//! tells a torn file, the index is distrusted, and files are compared by content.
//! What all these files have in common, from magic to checksum, is in `codec`; `packed` reads a list of entries where it is.

pub(crate) mod codec;
pub(crate) mod packed;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation::NonBlockingLockExclusive;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::error::StoreError;

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// Bytes of one of these files at most: several times what the largest tree needs. Jobs may write it.
const MAX_BYTES: u64 = 1 << 30;

/// Opens one of the mirror's own files. Jobs may write where it is: a link is not followed, a pipe not waited for.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options
        .custom_flags(careful.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let error = "not a file, though the mirror made one there";
    Err(io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The whole file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match open(path, File::options().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let length = file.metadata().map_err(failed("read", path))?.len();
    if length > MAX_BYTES {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            why: "it is larger than any that the mirror writes",
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let read = file.take(MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// A file on its way to replace another; dropped before that, it is removed.
///
/// Its own name is unique to the process and call: several may replace the same file at once.
pub(crate) struct Replacement {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Replacement {
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        loop {
            let call = CALLS.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}-{call}.new", std::process::id()));
            let temporary = PathBuf::from(name);
            match File::create_new(&temporary) {
                Ok(file) => {
                    // Says that its owner lives, in whatever pid namespace; see `sweep`.
                    let _advisory = rustix::fs::flock(&file, NonBlockingLockExclusive);
                    return Ok(Self {
                        file,
                        temporary,
                        path: path.to_owned(),
                    });
                }
                // Of a killed process, or of another pid namespace.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &temporary)(error)),
            }
        }
    }

    /// The file system's own time of its making, nanoseconds since the epoch.
    pub(crate) fn made_ns(&self) -> Result<i64, StoreError> {
        let stat = crate::tree::read::look(&self.file);
        stat.map(|stat| stat.mtime_ns)
            .map_err(|errno| failed("stat", &self.temporary)(errno.into()))
    }

    /// Writes it and puts it in place.
    pub(crate) fn finish(mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(failed("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(failed("rename", &self.temporary))?;
        self.temporary.clear();
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // The first failure is the one to be told.
            let _left = fs::remove_file(&self.temporary);
        }
    }
}

/// Age at which a temporary file is nobody's, whoever has its owner's process id by now.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Removes the temporary files that killed processes left beside `written`, a file that was replaced
/// just now. Only tidying: what cannot be looked at or removed stays.
pub(crate) fn sweep(written: &Path) {
    let Ok(now) = fs::metadata(written).and_then(|metadata| metadata.modified()) else {
        return;
    };
    let beside = written.parent().and_then(|dir| fs::read_dir(dir).ok());
    for entry in beside.into_iter().flatten().flatten() {
        if let Some(owner) = owner(&entry.file_name())
            && abandoned(&entry.path(), owner, now).unwrap_or(false)
        {
            let _stays = fs::remove_file(entry.path());
        }
    }
}

/// The process that a temporary file is named after: `<file>.<process>-<call>.new`.
fn owner(name: &OsStr) -> Option<i32> {
    let (_, own) = name.to_str()?.strip_suffix(".new")?.rsplit_once('.')?;
    let (process, call) = own.split_once('-')?;
    call.parse::<u64>().ok()?;
    process.parse().ok()
}

fn abandoned(path: &Path, owner: i32, now: SystemTime) -> io::Result<bool> {
    let file = open(path, File::options().read(true))?;
    let age = now.duration_since(file.metadata()?.modified()?);
    let dead = Pid::from_raw(owner).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH));
    let idle = dead || age.is_ok_and(|age| age > ABANDONED);
    Ok(idle && rustix::fs::flock(&file, NonBlockingLockExclusive).is_ok())
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::Duration;

    use super::{Replacement, sweep};

    #[test]
    fn two_may_replace_one_file_and_a_failure_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let (first, second) = (
            Replacement::of(&path).unwrap(),
            Replacement::of(&path).unwrap(),
        );
        first.finish(b"first").unwrap();
        second.finish(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        drop(Replacement::of(&path).unwrap());
        let in_the_way = temp.path().join("directory");
        fs::create_dir_all(in_the_way.join("full")).unwrap();
        assert!(Replacement::of(&in_the_way).unwrap().finish(b"").is_err());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_killed_processes_left_is_swept_and_what_is_being_written_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let own = std::process::id();
        // No process has a number above the kernel's maximum.
        let (dead, old, young) = (
            at("cache.4194305-7.new"),
            at(&format!("other.{own}-900.new")),
            at(&format!("other.{own}-901.new")),
        );
        let not_ours = [
            "cache",
            "a.new",
            "a.b-c.new",
            "a.4194305-7.newer",
            "a.4194305.new",
        ];
        for path in [&dead, &old, &young]
            .into_iter()
            .cloned()
            .chain(not_ours.map(at))
        {
            File::create(path).unwrap();
        }
        let written = fs::metadata(at("cache")).unwrap().modified().unwrap();
        let an_hour_ago = FileTimes::new().set_modified(written - Duration::from_secs(3601));
        let options = File::options().write(true).open(&old);
        options.unwrap().set_times(an_hour_ago).unwrap();
        // However old, and whatever its name says: somebody is at it.
        let held = Replacement::of(&at("slow")).unwrap();
        let foreign = at("slow.4194305-1.new");
        fs::rename(&held.temporary, &foreign).unwrap();
        held.file.set_times(an_hour_ago).unwrap();

        sweep(&at("cache"));
        for gone in [&dead, &old] {
            assert!(!gone.exists(), "{gone:?}");
        }
        for path in [young, foreign].into_iter().chain(not_ours.map(at)) {
            assert!(path.exists(), "{path:?}");
        }
        sweep(&at("missing"));
    }
}
