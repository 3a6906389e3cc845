//! What a caller asks to run, and the check that it can be asked at all.

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_shim::limits::{Confinement, Limits};
use legwork_shim::spec::{self, Meta, OnExit, RunAs, Spec, Stdin};
use legwork_shim::{ByteString, layout};

use crate::id::JobId;
use crate::limits::{self, InvalidLimit, Mode};

/// A job to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// The job's id, made by the caller: a repeated start with it finds the first one.
    pub id: JobId,
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<ByteString>,
    /// The whole environment, in order. `LEGWORK_JOB` is added to it.
    pub env: Vec<(ByteString, ByteString)>,
    /// Absolute working directory.
    pub dir: ByteString,
    /// What standard input is.
    pub stdin: Stdin,
    /// Both output streams through one pipe: exact order, one name.
    pub merge: bool,
    /// Time limit, then stopped; to the millisecond.
    pub timeout: Option<Duration>,
    /// First signal of a stop; a number as in signal(7).
    pub stop_signal: i32,
    /// From that signal to the end of the whole tree; to the millisecond.
    pub stop_grace: Duration,
    /// Bytes of output kept: the first half and the last half.
    pub output_limit: u64,
    /// What becomes of processes that the main process leaves behind.
    pub on_exit: OnExit,
    /// A file whose shared flock(2) the shim takes before the job starts, and holds while it runs. It does not wait for
    /// it: whoever may change what the file stands for must be kept away until the start has returned.
    pub lease: Option<ByteString>,
    /// The absolute path of the directory that a limit of disk space is about; `None` means `dir`.
    pub tree: Option<ByteString>,
    /// What it may consume.
    pub limits: Limits,
    /// What to do about limits that this host cannot apply.
    pub limits_mode: Mode,
    /// Whom to run as; `None` means as the caller.
    pub run_as: Option<RunAs>,
    /// A name for people; need not be unique.
    pub name: Option<String>,
    /// Key and value pairs to find jobs by.
    pub labels: BTreeMap<String, String>,
    /// Who starts it: the name of the principal.
    pub owner: String,
    /// The workspace that it runs in; kept, not looked at.
    pub workspace: Option<String>,
    /// The mirror root that it is started on; kept, not looked at.
    pub root: Option<String>,
    /// The name of the user as whom it runs; kept, not looked at.
    pub user: Option<String>,
}

/// Signal of a stop when the caller names none.
pub const STOP_SIGNAL: i32 = 15;
/// Grace of a stop when the caller names none.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Bytes of output kept when the caller names no limit.
pub const OUTPUT_LIMIT: u64 = 4 << 30;

impl StartRequest {
    /// This program in this directory, with an empty environment and the defaults for the rest.
    #[must_use]
    pub fn new<A: Into<ByteString>>(
        id: JobId,
        argv: impl IntoIterator<Item = A>,
        dir: impl Into<ByteString>,
    ) -> Self {
        Self {
            id,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: dir.into(),
            stdin: Stdin::Null,
            merge: false,
            timeout: None,
            stop_signal: STOP_SIGNAL,
            stop_grace: STOP_GRACE,
            output_limit: OUTPUT_LIMIT,
            on_exit: OnExit::Kill,
            lease: None,
            tree: None,
            limits: Limits::default(),
            limits_mode: Mode::Strict,
            run_as: None,
            name: None,
            labels: BTreeMap::new(),
            owner: String::new(),
            workspace: None,
            root: None,
            user: None,
        }
    }

    /// Checks everything that can be checked without starting.
    ///
    /// # Errors
    /// The first thing that is wrong. [`crate::Jobs::start`] asks this first.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        self.validate_command()?;
        limits::validate(&self.limits)?;
        self.validate_description()?;
        if !(1..=SIGNAL_MAX).contains(&self.stop_signal) {
            return Err(InvalidRequest::Signal {
                number: self.stop_signal,
            });
        }
        if self.timeout.is_some_and(|limit| limit.as_millis() == 0) {
            return Err(InvalidRequest::ZeroTimeout);
        }
        for duration in self.timeout.iter().chain([&self.stop_grace]) {
            if u64::try_from(duration.as_millis()).is_err() {
                return Err(InvalidRequest::TooLong {
                    duration: *duration,
                });
            }
        }
        Ok(())
    }

    fn validate_command(&self) -> Result<(), InvalidRequest> {
        if self.argv.first().is_none_or(|program| program.0.is_empty()) {
            return Err(InvalidRequest::EmptyCommand);
        }
        for (position, argument) in self.argv.iter().enumerate() {
            no_nul(argument, Field::Argument(position))?;
            if argument.0.len() > ARGUMENT_MAX {
                return Err(too_large(
                    Field::Argument(position),
                    argument.0.len(),
                    ARGUMENT_MAX,
                ));
            }
        }
        for (name, value) in &self.env {
            if name.0.is_empty() || name.0.contains(&b'=') {
                return Err(InvalidRequest::VariableName { name: name.clone() });
            }
            no_nul(name, Field::Variable(name.clone()))?;
            no_nul(value, Field::Variable(name.clone()))?;
            let size = name.0.len() + value.0.len() + 1;
            if size > ARGUMENT_MAX {
                return Err(too_large(Field::Variable(name.clone()), size, ARGUMENT_MAX));
            }
        }
        let arguments = self.argv.iter().map(|argument| argument.0.len() + 1);
        let variables = self
            .env
            .iter()
            .map(|(name, value)| name.0.len() + value.0.len() + 2);
        let size = arguments.chain(variables).sum();
        if size > COMMAND_MAX {
            return Err(too_large(Field::Command, size, COMMAND_MAX));
        }
        for (path, field) in [
            (Some(&self.dir), Field::Dir),
            (self.lease.as_ref(), Field::Lease),
        ] {
            path.map_or(Ok(()), |path| absolute(path, field))?;
        }
        Ok(())
    }

    fn validate_description(&self) -> Result<(), InvalidRequest> {
        let texts = [
            (self.name.as_deref(), Field::Name),
            (Some(self.owner.as_str()), Field::Owner),
            (self.workspace.as_deref(), Field::Workspace),
            (self.root.as_deref(), Field::Root),
            (self.user.as_deref(), Field::User),
        ];
        for (text, field) in texts {
            text.map_or(Ok(()), |text| short(text, TEXT_MAX, || field))?;
        }
        if self.labels.len() > LABELS_MAX {
            return Err(too_large(Field::Labels, self.labels.len(), LABELS_MAX));
        }
        for (key, value) in &self.labels {
            if key.is_empty() || key.contains('=') {
                return Err(InvalidRequest::LabelKey { key: key.clone() });
            }
            short(key, TEXT_MAX, || Field::Label(key.clone()))?;
            short(value, LABEL_VALUE_MAX, || Field::Label(key.clone()))?;
        }
        Ok(())
    }

    pub(crate) fn into_spec(mut self, created_at_ms: u64, confinement: Confinement) -> Spec {
        // A job that starts a job does not own it.
        self.env
            .retain(|(name, _)| name.as_bytes() != layout::JOB_ENV.as_bytes());
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Spec {
            version: spec::VERSION,
            id: self.id.uuid(),
            argv: self.argv,
            env: self.env,
            dir: self.dir,
            stdin: self.stdin,
            merge: self.merge,
            timeout_ms: self.timeout.map(ms),
            stop_signal: self.stop_signal,
            stop_grace_ms: ms(self.stop_grace),
            output_limit: self.output_limit,
            on_exit: self.on_exit,
            lease: self.lease,
            run_as: self.run_as,
            confinement,
            meta: Meta {
                created_at_ms,
                name: self.name,
                labels: self.labels,
                owner: self.owner,
                workspace: self.workspace,
                root: self.root,
                user: self.user,
                limits: self.limits,
            },
        }
    }
}

/// Bytes of one argument or variable: what Linux takes (`MAX_ARG_STRLEN` without its NUL).
pub(crate) const ARGUMENT_MAX: usize = 128 * 1024 - 1;
/// Bytes of all arguments and variables together, NULs included.
pub(crate) const COMMAND_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a path, its NUL included: `PATH_MAX`.
pub(crate) const PATH_MAX: usize = 4096;
/// Bytes of a name, an owner, a label's key.
pub(crate) const TEXT_MAX: usize = 255;
/// Bytes of a label's value.
pub(crate) const LABEL_VALUE_MAX: usize = 4096;
/// Labels of one job.
pub(crate) const LABELS_MAX: usize = 64;
/// Largest signal number of Linux.
pub(crate) const SIGNAL_MAX: i32 = 64;

fn too_large(field: Field, size: usize, limit: usize) -> InvalidRequest {
    InvalidRequest::TooLarge { field, size, limit }
}

fn no_nul(bytes: &ByteString, field: Field) -> Result<(), InvalidRequest> {
    if bytes.0.contains(&0) {
        return Err(InvalidRequest::Nul { field });
    }
    Ok(())
}

fn absolute(path: &ByteString, field: Field) -> Result<(), InvalidRequest> {
    if path.0.first() != Some(&b'/') {
        return Err(InvalidRequest::NotAbsolute {
            field,
            path: path.clone(),
        });
    }
    if path.0.len() >= PATH_MAX {
        return Err(too_large(field, path.0.len(), PATH_MAX - 1));
    }
    no_nul(path, field)
}

fn short(text: &str, limit: usize, field: impl FnOnce() -> Field) -> Result<(), InvalidRequest> {
    if text.len() > limit {
        return Err(too_large(field(), text.len(), limit));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidRequest::ControlCharacter { field: field() });
    }
    Ok(())
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The argument at this position; 0 is the program.
    Argument(usize),
    /// The environment variable of this name.
    Variable(ByteString),
    /// Arguments and environment together.
    Command,
    /// The working directory.
    Dir,
    /// The lease.
    Lease,
    /// The name.
    Name,
    /// The owner.
    Owner,
    /// The workspace.
    Workspace,
    /// The mirror root.
    Root,
    /// The name of the user.
    User,
    /// The labels together.
    Labels,
    /// The label with this key.
    Label(String),
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Argument(position) => write!(f, "argument {position}"),
            Self::Variable(name) => write!(f, "the environment variable {name:?}"),
            Self::Command => f.write_str("the arguments and the environment together"),
            Self::Dir => f.write_str("the working directory"),
            Self::Lease => f.write_str("the lease"),
            Self::Name => f.write_str("the name"),
            Self::Owner => f.write_str("the owner"),
            Self::Workspace => f.write_str("the workspace"),
            Self::Root => f.write_str("the mirror root"),
            Self::User => f.write_str("the user"),
            Self::Labels => f.write_str("the number of labels"),
            Self::Label(key) => write!(f, "the label {key:?}"),
        }
    }
}

/// Why a request cannot be a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// No program.
    #[error("there is no command to run")]
    EmptyCommand,
    /// A NUL byte where the operating system takes none.
    #[error("{field} contains a NUL byte")]
    Nul {
        /// Where.
        field: Field,
    },
    /// An environment variable's name is empty or contains `=`.
    #[error("{name:?} cannot be the name of an environment variable")]
    VariableName {
        /// The name.
        name: ByteString,
    },
    /// A path that must be absolute is not.
    #[error("{field} {path:?} is not an absolute path")]
    NotAbsolute {
        /// Which path.
        field: Field,
        /// The path.
        path: ByteString,
    },
    /// Too many bytes, or too many labels.
    #[error("{field}: {size} is over the limit of {limit}")]
    TooLarge {
        /// What.
        field: Field,
        /// Its size.
        size: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// A label's key is empty or contains `=`.
    #[error("{key:?} cannot be the key of a label")]
    LabelKey {
        /// The key.
        key: String,
    },
    /// A control character where people read.
    #[error("{field} contains a control character")]
    ControlCharacter {
        /// Where.
        field: Field,
    },
    /// No such signal.
    #[error("there is no signal {number}: signals are 1 to {SIGNAL_MAX}")]
    Signal {
        /// The number.
        number: i32,
    },
    /// A time limit of nothing.
    #[error("a time limit of zero would stop the job before it began")]
    ZeroTimeout,
    /// A limit that makes no sense.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// Longer than can be counted.
    #[error("{duration:?} is too long")]
    TooLong {
        /// The duration.
        duration: Duration,
    },
}
