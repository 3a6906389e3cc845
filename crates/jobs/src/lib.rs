//! Durable jobs as a library: start, follow, stop; they outlive whoever started them.

mod config;
mod control;
mod error;
mod files;
mod id;
mod index;
mod inner;
mod job;
mod job_dir;
mod jobs;
mod launcher;
pub mod output;
mod remove;
mod request;
mod shim_image;
mod start;
pub mod state;
mod state_dir;
mod stdin;
mod sweep;
mod tasks;
mod watch;

pub use config::{Clock, Config, SystemClock};
pub use error::{IndexError, JobError, OpenError, ResolveError, StartError};
pub use id::{CODE_LEN, JobId, NotAnId, SHORT_LEN, TypedId};
pub use job::{Asked, Cursor, Job, ListQuery, Page};
pub use jobs::{Jobs, Stop};
pub use launcher::{LaunchOrder, Launched, Launcher, LocalLauncher};
pub use legwork_shim::ByteString;
pub use legwork_shim::exit::{NotStarted, Step, Survivor, Usage};
pub use legwork_shim::spec::{OnExit, RunAs, Spec, Stdin};
pub use request::{Field, InvalidRequest, OUTPUT_LIMIT, STOP_GRACE, STOP_SIGNAL, StartRequest};
pub use shim_image::EMBEDDED_SHIM;
pub use state::{Cause, Finished, JobState, Liveness, LostWhy, PendingWhy, Phase, Status};
pub use stdin::StdinWriter;
