//! The services of legwork over its domain: jobs, mirrors and records.
//!
//! A [`Server`] is opened on a state directory and then serves any number of byte streams, each for the principal at its
//! other end. One layer, `guard`, decides for every call whether its caller may make it; what of the server a call
//! reaches is decided in `access`, where somebody else's things are not found.
//!
//! A handler does three things: it converts the request, calls the domain, and converts the answer.
//! Domain errors become gRPC statuses in one place, [`problem`], each with one `ErrorInfo`.
//!
//! Calls that change something run in tasks of the server's own, because tonic drops a handler when its
//! client goes away, and a start or a stop that was begun is finished.

mod access;
mod access_log;
mod answer;
mod audit;
mod authority;
mod convert;
mod enroll;
mod export;
mod floor;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod health;
mod host;
mod housekeeping;
mod in_flight;
mod input;
mod job_calls;
mod job_rules;
mod jobs;
mod joins;
mod limits;
mod listen;
mod logs;
mod metrics;
mod mirror;
mod names;
mod otlp;
mod oversize;
mod owners;
pub mod problem;
mod protocol;
mod quotas;
mod records;
mod run_as;
mod server;
mod sessions;
mod sites;
mod space;
mod start;
mod stats;
mod sync;
mod upkeep;
mod workspaces;

pub use access_log::{AccessLog, AccessLogWriter};
pub use audit::STREAM as AUDIT_STREAM;
pub use export::ExportRule;
pub use job_rules::{JobBounds, JobRule, JobRules};
pub use legwork_jobs::{Cgroups, Keeper, KeptLauncher, Rebuilt, Retention};
pub use legwork_records::{
    BadSchema, Durability, Limits as RecordLimits, Retention as RecordRetention, Schema,
};
pub use legwork_sync::workspace::TrashBounds;
pub use listen::{Limits, ServerLock, Sockets, connect};
pub use problem::{Code, Problem};
pub use quotas::Quotas;
pub use records::{RecordRules, StreamRule, check_stream};
pub use run_as::RunAs;
pub use server::{Config, Server};
pub use sites::SiteRule;
