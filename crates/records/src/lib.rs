//! Records nobody can lose: JSON of the senders' own choosing, validated, stamped, ordered, kept and found again.
mod ack;
mod alarm;
mod batch;
mod config;
mod error;
pub mod faults;
pub mod fsck;
mod line;
mod log;
mod missing;
mod producers;
pub mod query;
mod rejection;
#[cfg(feature = "schema")]
mod schema;
mod segment;
pub mod spool;
mod stats;
mod timestamp;
mod validate;

pub use ack::{Accepted, Ack, Batch, Content, Origin};
pub use alarm::Alarm;
pub use batch::{BatchError, Check, Observed, Prepared};
pub use config::{Clock, Config, Durability, Packing, Retention, SystemClock};
pub use error::{AppendError, OpenError, ReadError};
pub use line::Kind;
pub use log::{Log, Recovery, Watch};
pub use missing::{Gap, GapWhy, Lost};
pub use rejection::{Flaw, Reason, Rejection, Rejections, TOLD_MAX};
#[cfg(feature = "schema")]
pub use schema::{BadSchema, Schema};
pub use stats::{SYNC_BUCKETS, Stats};
pub use timestamp::Timestamp;
pub use validate::{Limits, Validator};
