//! Records: sending them so that none is lost and none is there twice, and reading them so that each comes once.
//!
//! [`Client::send_records`] sends what a source of [`Batches`] has: [`FromMemory`] for what somebody hands in, [`FromSpool`] for what waits in
//! a spool on disk. Connections may break as often as they like: what was not acknowledged is sent again, byte for byte and under the same
//! numbers, by which the server knows what it has.
//!
//! [`Client::tail`] reads a stream, and goes on where it was.

mod admin;
mod answers;
mod convert;
mod link;
mod memory;
mod spool;
mod tail;

pub use self::admin::{LogProblem, LogReport, LogStats, StreamInfo};
pub use self::answers::{Ack, Durability, Heard, Refusal, Rejection, SendLimits};
pub use self::link::{Batches, Expected, SendOptions};
pub use self::memory::{Feed, FromMemory, Gone};
pub use self::spool::FromSpool;
pub use self::tail::{Tail, TailEvent, TailFrom, TailOptions};
pub use legwork_records::spool::Parcel;

use legwork_proto::v1::record_service_client::RecordServiceClient;

use crate::connect::Channel;
use crate::contact::origin;

fn records(channel: Channel) -> RecordServiceClient<Channel> {
    RecordServiceClient::with_origin(channel, origin())
}
