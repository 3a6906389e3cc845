//! The file of one batch.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use legwork_shim::journal::{Journal, Line};
use legwork_shim::lock;
use legwork_shim::spec::Spec;
use serde::Deserialize;
use uuid::Uuid;

use crate::error::JobError;
use crate::files;
use crate::id::JobId;
use crate::job::Asked;
use crate::record::{self, Unread};

/// First byte of the line of a job that is not to be started any more; any other line begins with `{`.
const STRUCK: u8 = b'-';
/// First byte of a line of JSON.
const OPEN: u8 = b'{';

/// A batch, as its file was written.
#[derive(Debug)]
pub(crate) struct Batch {
    path: PathBuf,
    file: File,
    lines: Vec<Extent>,
    places: HashMap<JobId, usize>,
    /// Some lines are damaged.
    unread: bool,
    /// Some are a newer legwork's.
    newer: bool,
}

/// Where the line of a job is, without its line feed.
#[derive(Debug, Clone, Copy)]
struct Extent {
    id: JobId,
    at: u64,
    len: usize,
    /// Only a newer legwork can start it.
    newer: bool,
}

impl Batch {
    /// Reads a file. Lines that cannot be understood are left out.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)?;
        let mut batch = Self {
            path: path.to_owned(),
            file,
            lines: Vec::new(),
            places: HashMap::new(),
            unread: false,
            newer: false,
        };
        let mut at = 0;
        for line in raw.split_inclusive_mut(|byte| *byte == b'\n') {
            let len = line.len();
            if line[0] == STRUCK {
                line[0] = OPEN;
            }
            match id_in(line) {
                Some((id, newer)) => {
                    // The first of an id is the one that counts; there is no other but by damage.
                    let (place, len) = (batch.lines.len(), len - 1);
                    batch.places.entry(id).or_insert(place);
                    batch.lines.push(Extent { id, at, len, newer });
                    batch.newer |= newer;
                }
                None => batch.unread = true,
            }
            at += len as u64;
        }
        Ok(batch)
    }

    /// Puts a file in place, durably, and holds the lock on it from the beginning. On failure nothing of it stays.
    pub(super) fn publish(path: &Path, lines: &[u8]) -> io::Result<File> {
        let mut fresh = OsString::from(path);
        fresh.push(".new");
        let fresh = Path::new(&fresh);
        let parent = path.parent().unwrap_or(path);
        let written = write(fresh, lines).and_then(|file| {
            std::fs::rename(fresh, path)?;
            files::sync_dir(parent)?;
            Ok(file)
        });
        if written.is_err() {
            // The first error is the one to tell.
            for path in [fresh, path] {
                std::fs::remove_file(path).unwrap_or(());
            }
        }
        written
    }

    /// The lock on the file, if nobody else has it; to be kept for as long as its jobs are started.
    pub(super) fn hold(path: &Path) -> io::Result<Option<File>> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let held = lock::acquire(&file)? && file.metadata()?.nlink() > 0;
        Ok(held.then_some(file))
    }

    /// Takes the file away, all of whose jobs have begun or ended. One with damaged lines is kept under another name, and one with lines
    /// of a newer legwork for that.
    pub(super) fn retire(&self) -> io::Result<()> {
        let gone = if self.newer {
            return Ok(());
        } else if self.unread {
            let mut aside = OsString::from(&self.path);
            aside.push(".damaged");
            std::fs::rename(&self.path, aside)
        } else {
            std::fs::remove_file(&self.path)
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn is_held(&self) -> io::Result<bool> {
        Ok(lock::is_held(&self.file)?)
    }

    /// How many jobs can be read.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn place(&self, id: JobId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// Whether only a newer legwork understands it.
    pub(super) fn is_newer(&self, place: usize) -> bool {
        self.lines[place].newer
    }

    pub(super) fn is_struck(&self, place: usize) -> io::Result<bool> {
        let mut first = [0];
        self.file.read_exact_at(&mut first, self.lines[place].at)?;
        Ok(first[0] == STRUCK)
    }

    fn line(&self, place: usize) -> io::Result<Option<Vec<u8>>> {
        let Extent { at, len, .. } = self.lines[place];
        let mut line = vec![0; len + 1];
        self.file.read_exact_at(&mut line, at)?;
        Ok((line[0] != STRUCK).then_some(line))
    }

    /// What is to be run; `None` if that is struck.
    pub(super) fn spec(&self, place: usize) -> Result<Option<Spec>, JobError> {
        let Some(line) = self.line(place).map_err(|source| self.told(source))? else {
            return Ok(None);
        };
        let spec = Journal::parse(&line).spec;
        let unread = match spec.map(record::parse) {
            Some(Ok(spec)) => return Ok(Some(spec)),
            Some(Err(Unread::Newer(what))) => {
                let id = Some(self.id(place));
                return Err(JobError::Newer { id, what });
            }
            Some(Err(Unread::Malformed(error))) => error.to_string(),
            None => "a line of it is no spec".to_owned(),
        };
        Err(JobError::Damaged {
            path: self.path.clone(),
            what: unread,
        })
    }

    /// As much of it as can be told, if only a newer version understands the whole.
    pub(super) fn asked(&self, place: usize) -> Result<Option<Asked>, JobError> {
        if !self.is_newer(place) {
            return Ok(self.spec(place)?.as_ref().map(Asked::from));
        }
        let line = self.line(place).map_err(|source| self.told(source))?;
        let spec = |line: &[u8]| Journal::parse(line).spec.map(record::gleaned);
        Ok(line.as_deref().and_then(spec))
    }

    /// Whose line that is.
    pub(super) fn id(&self, place: usize) -> JobId {
        self.lines[place].id
    }

    /// Sees to it, durably, that the job is not started from this file any more.
    pub(super) fn strike(&self, place: usize) -> io::Result<()> {
        let file = match File::options().write(true).open(&self.path) {
            // All its jobs have begun or ended, and nobody reads it again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.write_all_at(&[STRUCK], self.lines[place].at)?;
        file.sync_data()
    }

    pub(super) fn told(&self, source: io::Error) -> JobError {
        let path = self.path.clone();
        JobError::File { path, source }
    }
}

/// What every version of a spec has.
#[derive(Deserialize)]
struct Head {
    id: Uuid,
}

/// Whose spec is in a line, and whether only a newer version understands it; `None` of one that is damaged.
fn id_in(line: &[u8]) -> Option<(JobId, bool)> {
    let spec = Journal::parse(line).spec?;
    match record::parse::<Spec>(spec) {
        Ok(spec) => Some((spec.id.into(), false)),
        Err(Unread::Newer(_)) => {
            let head: Head = serde_json::from_slice(spec).ok()?;
            Some((head.id.into(), true))
        }
        Err(Unread::Malformed(_)) => None,
    }
}

fn write(path: &Path, lines: &[u8]) -> io::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    if !lock::acquire(&file)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    file.write_all(lines)?;
    file.sync_all()?;
    Ok(file)
}

/// The line of a job.
pub(super) fn line(spec: &Spec) -> io::Result<Vec<u8>> {
    Ok(Line::Spec.encode(spec)?)
}

#[cfg(test)]
mod tests {
    use legwork_shim::limits::Confinement;

    use super::{Batch, line};
    use crate::id::JobId;
    use crate::request::StartRequest;

    fn lines() -> (Vec<JobId>, Vec<Vec<u8>>) {
        let ids: Vec<_> = (0..3).map(JobId::generate).collect();
        let spec =
            |id: &JobId| StartRequest::new(*id, ["true"], "/").into_spec(7, Confinement::default());
        let lines = ids.iter().map(|id| line(&spec(id)).unwrap()).collect();
        (ids, lines)
    }

    #[test]
    fn wherever_it_is_cut_whole_lines_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("batch");
        let (ids, lines) = lines();
        let raw = lines.concat();
        for cut in 0..=raw.len() {
            std::fs::write(&path, &raw[..cut]).unwrap();
            let batch = Batch::open(&path).unwrap();
            let mut ends = lines.iter().scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            });
            let whole = ends.clone().take_while(|end| *end <= cut).count();
            assert_eq!(batch.len(), whole);
            assert_eq!(batch.unread, cut != 0 && !ends.any(|end| end == cut));
            for (place, id) in ids.iter().enumerate() {
                assert_eq!(batch.place(*id), (place < whole).then_some(place));
            }
        }
    }

    #[test]
    fn a_line_that_is_struck_is_for_those_who_have_read_it_and_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("batch");
        let (ids, lines) = lines();
        let held = Batch::publish(&path, &lines.concat()).unwrap();
        assert!(Batch::hold(&path).unwrap().is_none());
        let before = Batch::open(&path).unwrap();
        assert!(before.is_held().unwrap());
        drop(held);
        assert!(!before.is_held().unwrap());
        before.strike(1).unwrap();
        let after = Batch::open(&path).unwrap();
        for batch in [before, after] {
            let struck: Vec<_> = (0..3).map(|at| batch.is_struck(at).unwrap()).collect();
            assert_eq!(struck, [false, true, false]);
            assert_eq!(batch.place(ids[1]), Some(1));
            assert_eq!(batch.spec(1).unwrap(), None);
            assert_eq!(batch.spec(2).unwrap().unwrap().id, ids[2].uuid());
        }
        assert!(Batch::hold(&path).unwrap().is_some());
    }
}
