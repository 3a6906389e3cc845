//! What the files of one job directory say.
//!
//! Only looks; the shim is the writer.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use legwork_shim::exit::Exit;
use legwork_shim::journal::Journal;
use legwork_shim::launch::Launch;
use legwork_shim::layout;
use legwork_shim::spec::Spec;
use uuid::Uuid;

use crate::error::JobError;
use crate::files;
use crate::id::JobId;
use crate::job::Asked;
use crate::launcher::Launcher;
use crate::record::{self, Newer, Record, Unread};
use crate::state::{self, Facts, Liveness, Source, Told, Traces};

/// One job's directory.
#[derive(Debug, Clone)]
pub(crate) struct JobDir {
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// A directory, and who knows whether its launch lives.
struct Looked<'a> {
    dir: &'a JobDir,
    launcher: &'a dyn Launcher,
}

impl Source for Looked<'_> {
    type Error = JobError;

    fn liveness(&mut self) -> Liveness {
        self.launcher.liveness(&self.dir.path)
    }

    fn told(&mut self, ended: bool) -> Result<Told, JobError> {
        let raw = self.dir.journal()?.unwrap_or_default();
        let lines = if ended {
            Journal::parse_ended(&raw)
        } else {
            Journal::parse(&raw)
        };
        let over = ended || lines.exit.is_some();
        Ok(Told {
            launch: understood(self.dir.record(lines.launch))?,
            exit: understood(self.dir.record(lines.exit))?,
            newer: record::newest(&lines),
            paused_ms: if over { None } else { self.dir.paused_ms() },
        })
    }

    fn traces(&mut self) -> Option<Traces> {
        self.dir.traces().ok()
    }
}

/// Nothing, of what only a newer version understands.
fn understood<R>(read: Result<Option<R>, JobError>) -> Result<Option<R>, JobError> {
    match read {
        Err(JobError::Newer { .. }) => Ok(None),
        read => read,
    }
}

impl JobDir {
    /// What was asked; `None` when nothing was, or the directory is gone.
    pub(crate) fn spec(&self) -> Result<Option<Spec>, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        self.record(Journal::parse(&raw).spec)
    }

    /// As much of it as can be told, if only a newer version understands the whole.
    pub(crate) fn asked(&self) -> Result<Option<Asked>, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        self.asked_in(Journal::parse(&raw).spec)
    }

    fn asked_in(&self, line: Option<&[u8]>) -> Result<Option<Asked>, JobError> {
        match self.record::<Spec>(line) {
            Err(JobError::Newer { .. }) => Ok(line.map(record::gleaned)),
            spec => Ok(spec?.as_ref().map(Asked::from)),
        }
    }

    /// What is in it that only a newer version understands.
    pub(crate) fn newer(&self) -> Result<Option<Newer>, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        Ok(record::newest(&Journal::parse_ended(&raw)))
    }

    /// The claim, if the payload may have run.
    pub(crate) fn launch(&self) -> Result<Option<Launch>, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        self.record(Journal::parse(&raw).launch)
    }

    /// What was asked, and how it ended, if that is recorded.
    pub(crate) fn asked_and_exit(&self) -> Result<(Option<Asked>, Option<Exit>), JobError> {
        let raw = self.journal()?.unwrap_or_default();
        let lines = Journal::parse(&raw);
        let exit = understood(self.record(lines.exit))?;
        Ok((self.asked_in(lines.spec)?, exit))
    }

    /// How a job ended of which nobody writes any more, if that is recorded.
    pub(crate) fn exit_of_ended(&self) -> Result<Option<Exit>, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        self.record(Journal::parse_ended(&raw).exit)
    }

    /// Whether its payload may have run, or never will. What is told is durable.
    pub(crate) fn has_begun(&self) -> Result<bool, JobError> {
        let raw = self.journal()?.unwrap_or_default();
        let lines = Journal::parse(&raw);
        if lines.launch.is_none() && lines.exit.is_none() {
            return Ok(false);
        }
        // A claim can be seen a moment before it is durable.
        let path = self.path.join(layout::JOURNAL);
        std::fs::File::open(&path)
            .and_then(|journal| journal.sync_all())
            .and_then(|()| files::sync_dir(&self.path))
            .map_err(|source| JobError::File { path, source })?;
        Ok(true)
    }

    /// Milliseconds since the epoch, when its shim paused it, unless it has gone on since. A file without a number is of a shim that is
    /// about to write it.
    fn paused_ms(&self) -> Option<u64> {
        let told = std::fs::read_to_string(self.path.join(layout::PAUSED)).ok()?;
        Some(told.parse().unwrap_or(0))
    }

    /// Whether it is there at all.
    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Whether that is there which precedes a launch.
    pub(crate) fn is_whole(&self) -> bool {
        self.path.join(layout::JOURNAL).exists()
    }

    /// Whether it holds nothing of which a job could be told: a start came to nothing before anything could run. What cannot be
    /// looked at, and what a newer version wrote, is not taken for that.
    pub(crate) fn is_leftover(&self) -> bool {
        let Ok(raw) = self.journal() else {
            return false;
        };
        let raw = raw.unwrap_or_default();
        let lines = Journal::parse_ended(&raw);
        let senseless = |spec| matches!(record::parse::<Spec>(spec), Err(Unread::Malformed(_)));
        let nothing_ran = lines.launch.is_none() && lines.exit.is_none() && lines.others == 0;
        nothing_ran && lines.spec.is_none_or(senseless) && self.has_nothing_else()
    }

    /// Whether there is no file but a journal: others would be of something that ran, or that another version knows.
    fn has_nothing_else(&self) -> bool {
        let names = scan(&self.path);
        names.is_ok_and(|names| names.iter().all(|name| name == layout::JOURNAL))
    }

    /// What its shim has left, whatever became of it.
    fn traces(&self) -> io::Result<Traces> {
        let (mut end, mut kept, mut seen_ms) = (0, 0, 0);
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let start = name.to_str().and_then(layout::segment_start);
            if start.is_none() && name != layout::INDEX && name != layout::JOURNAL {
                continue;
            }
            let file = entry.metadata()?;
            if let Some(start) = start {
                kept += file.len();
                end = start.saturating_add(file.len()).max(end);
            }
            seen_ms = modified_ms(&file).max(seen_ms);
        }
        Ok(Traces {
            output_end: end,
            output_dropped: end.saturating_sub(kept),
            seen_ms,
        })
    }

    /// Everything from which the state follows.
    pub(crate) fn facts(&self, launcher: &dyn Launcher) -> Result<Facts, JobError> {
        state::gather(&mut Looked {
            dir: self,
            launcher,
        })
    }

    /// The whole journal, if there is one.
    fn journal(&self) -> Result<Option<Vec<u8>>, JobError> {
        let path = self.path.join(layout::JOURNAL);
        files::read_if_there(&path).map_err(|source| JobError::File { path, source })
    }

    fn record<R: Record>(&self, content: Option<&[u8]>) -> Result<Option<R>, JobError> {
        let parsed = content.map(record::parse).transpose();
        parsed.map_err(|unread| match unread {
            Unread::Newer(what) => JobError::Newer {
                id: self.path.file_name().and_then(id_of),
                what,
            },
            Unread::Malformed(error) => JobError::Damaged {
                path: self.path.join(layout::JOURNAL),
                what: error.to_string(),
            },
        })
    }
}

/// Milliseconds since the epoch, when a file was last written.
pub(crate) fn modified_ms(file: &Metadata) -> u64 {
    let since = file
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The job whose directory has that name.
pub(crate) fn id_of(name: &OsStr) -> Option<JobId> {
    Uuid::try_parse(name.to_str()?).ok().map(JobId::from)
}

/// The names in a directory. In the one of all jobs: theirs, and those left from a removal.
pub(crate) fn scan(parent: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(parent)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}
