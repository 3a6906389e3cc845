//! Durable jobs as a library: start, follow, stop; they outlive whoever started them.
//!
//! # How it works
//!
//! Every job has a directory and a process of its own, the *shim*, which is carried inside this library and runs the job's
//! command. The shim, not this library, keeps the output, the time limit and the end, so all of that goes on when the
//! process that started the job is killed. This library prepares the directory, launches the shim, and from then on only *looks*:
//! it reads files, waits for news of them, and says things to the shim over a socket (stop, signal, standard input).
//!
//! **The directory is the truth.** Any number of processes open the same state directory and tell the same, with no server
//! between them. What a job is doing follows from four facts (see [`state`]): the claim that the shim leaves before the
//! command runs, whether the shim lives, the record of the end, and the boot of the host. A shim lives as long as it holds a
//! lock that the kernel frees with it; process ids are for people. The index in `SQLite` makes lists fast, and can be thrown away.
//!
//! **Nothing is guessed.** A job whose shim was killed, or whose host was rebooted, is [`Cause::Lost`]: it has no status, it is never
//! started again, and before it is told, what it left behind is killed. What cannot be asked is not taken for gone.
//!
//! **Readers are independent.** Output is bytes with offsets in files (see [`output`]). A reader has no queue and no place in anybody's
//! list; a slow one costs nothing, and the end of the job is always its last event, after the last byte.
//!
//! # Modules, from the outside in
//!
//! The library object is [`Jobs`]; `start`, `accepted`, `stdin`, `control`, `remove` and [`output`] are what it does, `inner` is what its clones
//! share. `job_dir` reads one directory, `record` knows what a newer legwork wrote, [`state`] judges it all, `leftover` deletes what never became a job's, `index` remembers it, `watch` notices changes, `sweep` kills what was left,
//! `shim_process` finds a shim whose socket fails. `consumption` tells what a job has used until now. `retention` removes jobs that ended long ago. `limits` works out how a job is held to what it may consume, on this host. `state_dir`,
//! `shim_image` and `files` are about what is on disk; [`Launcher`] is the seam to where shims run, and [`Keeper`] a process that starts them for another. Background tasks are
//! made in `tasks` only: one passes on inotify events, and one waits for each shim that this process started.
//!
//! # Example
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use legwork_jobs::output::{OutputEvent, Read};
//! use legwork_jobs::{Clock, Config, JobId, Jobs, StartRequest, SystemClock};
//!
//! # let state = tempfile::tempdir()?;
//! # let state = state.path();
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let jobs = Jobs::open(Config::new(state))?;
//! let id = JobId::generate(SystemClock.now_ms());
//! jobs.start(StartRequest::new(id, ["/bin/echo", "hello"], "/")).await?;
//! let mut output = jobs.output(id, Read::all()).await?;
//! while let Some(event) = output.next().await {
//!     match event? {
//!         OutputEvent::Chunk(chunk) => assert_eq!(&chunk.data[..], b"hello\n"),
//!         OutputEvent::Gap { .. } => unreachable!("little was printed"),
//!         OutputEvent::End { job, .. } => assert!(job.is_some()),
//!     }
//! }
//! # Ok(()) })
//! # }
//! ```

mod accepted;
mod config;
mod consumption;
mod control;
mod ended;
mod error;
mod files;
mod id;
mod index;
mod inner;
mod job;
mod job_dir;
mod jobs;
mod keeper;
mod launcher;
mod leftover;
mod limits;
pub mod output;
mod record;
mod remove;
mod request;
mod retention;
mod shim_image;
mod shim_process;
mod start;
pub mod state;
mod state_dir;
mod stdin;
mod sweep;
mod tasks;
mod watch;
mod young;

pub use config::{Clock, Config, SystemClock};
pub use consumption::Consumption;
pub use ended::Ended;
pub use error::{IndexError, JobError, OpenError, ResolveError, StartError};
pub use id::{CODE_LEN, JobId, NotAnId, SHORT_LEN, TypedId};
pub use job::{Asked, Cursor, Job, ListQuery, Page, Rebuilt};
pub use jobs::{Jobs, Stop};
pub use keeper::Keeper;
pub use launcher::{
    KeeperAway, Kept, KeptLauncher, LaunchOrder, Launched, Launcher, LocalLauncher,
};
pub use legwork_shim::ByteString;
pub use legwork_shim::exit::{NotStarted, Step, Survivor, Usage};
pub use legwork_shim::limits::{
    Cgroup, Confinement, IoLimit, Limits, RESOURCES, Resource, Rlimit, Setting,
};
pub use legwork_shim::spec::{OnExit, RunAs, Spec, Stdin};
pub use limits::{
    CgroupRoot, Cgroups, Host, HostError, InvalidLimit, Mode as LimitsMode, Unavailable,
};
pub use record::{Newer, RecordKind};
pub use request::{Field, InvalidRequest, OUTPUT_LIMIT, STOP_GRACE, STOP_SIGNAL, StartRequest};
pub use retention::{Removed, Retention};
pub use shim_image::EMBEDDED_SHIM;
pub use state::{Cause, Finished, JobState, Liveness, LostWhy, PendingWhy, Phase, Status, Traces};
pub use stdin::StdinWriter;
