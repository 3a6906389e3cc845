//! Durable jobs as a library: start, follow, stop; they outlive whoever started them.

mod config;
mod error;
mod id;
mod job;
mod jobs;
mod launcher;
pub mod output;
mod request;
pub mod state;
mod stdin;

pub use config::{Clock, Config, SystemClock};
pub use error::{IndexError, JobError, OpenError, ResolveError, StartError};
pub use id::{CODE_LEN, JobId, NotAnId, SHORT_LEN, TypedId};
pub use job::{Asked, Cursor, Job, ListQuery, Page};
pub use jobs::{Jobs, Stop};
pub use launcher::{LaunchOrder, Launched, Launcher};
pub use legwork_shim::ByteString;
pub use legwork_shim::exit::{NotStarted, Step, Survivor, Usage};
pub use legwork_shim::spec::{OnExit, RunAs, Spec, Stdin};
pub use request::{Field, InvalidRequest, OUTPUT_LIMIT, STOP_GRACE, STOP_SIGNAL, StartRequest};
pub use state::{Cause, Finished, JobState, Liveness, LostWhy, PendingWhy, Phase, Status};
pub use stdin::StdinWriter;
