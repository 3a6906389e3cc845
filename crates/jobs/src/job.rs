//! What is told of a job, and how to ask for many.

use std::collections::BTreeSet;

use legwork_shim::ByteString;
use legwork_shim::limits::Limits;
use legwork_shim::spec::{Meta, Spec, Stdin};

use crate::id::JobId;
use crate::state::{JobState, Phase};

/// A job: what was asked, in short, and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What was asked.
    pub asked: Asked,
    /// What it is doing.
    pub state: JobState,
}

/// The part of a spec that `ps` and `status` show; [`crate::Jobs::spec`] has the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Program and arguments.
    pub argv: Vec<ByteString>,
    /// Working directory.
    pub dir: ByteString,
    /// What standard input is.
    pub stdin: Stdin,
    /// Both output streams are one.
    pub merge: bool,
    /// Time limit in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Milliseconds between a stop's signal and the end of the whole tree.
    pub stop_grace_ms: u64,
    /// Name, labels, owner, workspace, and when it was accepted; without its limits.
    pub meta: Meta,
}

impl From<&Spec> for Asked {
    fn from(spec: &Spec) -> Self {
        Self {
            argv: spec.argv.clone(),
            dir: spec.dir.clone(),
            stdin: spec.stdin,
            merge: spec.merge,
            timeout_ms: spec.timeout_ms,
            stop_grace_ms: spec.stop_grace_ms,
            meta: Meta {
                limits: Limits::default(),
                ..spec.meta.clone()
            },
        }
    }
}

/// Which jobs to list. The default lists all.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only in these states.
    pub phases: Option<BTreeSet<Phase>>,
    /// Only of one of these owners.
    pub owners: Option<Vec<String>>,
    /// Only with this name.
    pub name: Option<String>,
    /// Only with all of these labels.
    pub labels: Vec<(String, String)>,
    /// At most so many; `None` means all.
    pub limit: Option<usize>,
    /// Continue after the page that gave this cursor.
    pub after: Option<Cursor>,
}

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// What came of building the index anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many jobs are in it.
    pub jobs: usize,
    /// Those that are not, because their files cannot be understood. They are left as they are.
    pub damaged: Vec<JobId>,
}

/// A place in the list of all jobs, newest first. Stays valid while jobs come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Acceptance of the last job told, in milliseconds since the epoch.
    pub created_at_ms: u64,
    /// That job.
    pub id: JobId,
}
