//! Records nobody can lose: JSON of the senders' own choosing, validated.

mod batch;
mod rejection;
mod timestamp;
mod validate;

pub use batch::{BatchError, Check, Observed, Prepared};
pub use rejection::{Flaw, Reason, Rejection, Rejections, TOLD_MAX};
pub use timestamp::Timestamp;
pub use validate::{Limits, Validator};
