//! Records nobody can lose: JSON of the senders' own choosing, validated, stamped, ordered, kept and found again.
//!
//! # How it works
//!
//! **Validate.** A [`Validator`] splits what a sender hands in into records, checks each by itself in one pass, and keeps the bytes of the
//! good ones as they are but for white space. What is wrong with the others is told one by one ([`Rejections`]); a bad record
//! never costs its neighbours anything.
//!
//! **Append.** A [`Log`] is one stream in one directory, written by one thread: it takes the batches that wait, writes them at once, syncs
//! once, and then answers. An [`Ack`] says which [`Durability`] it promises, and the default is that the records are on the disk.
//! Each line of the log is a JSON object with the client's JSON as `data` and the server's stamps around it, and a CRC. So `jq`, `DuckDB` and
//! `grep` read it as it stands. The lines are the truth; indexes, packed forms and the table of producers can be made from them.
//!
//! **Once.** A sender numbers its batches ([`Origin`]). One that comes again is not written again and gets its first answer, also after a
//! restart of either end; a number that is left out is refused with the one that is expected. A [`Spool`](spool::Spool) keeps batches and
//! their numbers on the sender's disk while the server is away.
//!
//! **Read.** A [`Reader`](query::Reader) goes from the past to what comes, and is resumed where it was. It reads only blocks that, by their
//! times and clients, can have what it wants.
//!
//! **Nothing is silent.** What a spool had to drop is a `gap` line in its place, what was damaged is a `lost` line and a copy in `quarantine`, and
//! a reader is told of numbers that it cannot have. Damage and a full disk are no reasons not to open a log. Failures raise an [`Alarm`].
//!
//! Threads and bounded queues inside, blocking outside or a callback; the clock is an argument, and so are faults.
//!
//! # Modules, from the outside in
//!
//! - what comes in: `batch` splits, `validate` checks, `rejection` says what is wrong, `schema` is a check of one's own; `ack` is what is handed in and
//!   answered
//! - the log: `log` opens and holds it; in it `writer` writes groups that `group` composes of what waits in `queue`, `recover` mends what a
//!   crash left, `upkeep` packs and removes segments, `view` is what readers see
//! - what is on disk: `line`, and `segment` with its `index`, its `packed` form, and `scan` and `replay`, which read it; `missing` for what is not
//!   there; every change of a file is in [`faults`]
//! - who sent what: `producers`
//! - what goes out: [`query`], [`spool`]; [`fsck`] looks at every line, `stats` and `alarm` tell how it is
//!
//! # Example
//!
//! ```
//! use legwork_records::query::{Item, Query};
//! use legwork_records::{Batch, Config, Content, Log, Observed, Origin, Validator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let (log, _) = Log::open(Config::new(dir, "process"))?;
//! let input = br#"[{"pid": 1, "cpu": 0.10}, {"pid": NaN}]"#;
//! let ack = log.append(Batch {
//!     client: "web-1".to_owned(),
//!     host: "web-1.example".to_owned(),
//!     origin: Some(Origin { producer: "k3v9".to_owned(), sequence: 1, session: 0 }),
//!     content: Content::Records(Validator::default().batch(input, Observed::Unsaid, None)?),
//! })?;
//! assert_eq!(ack.accepted.map(|accepted| accepted.count), Some(1));
//! assert_eq!(ack.rejections.records[0].field, "/pid");
//!
//! let mut reader = log.read(Query::default());
//! let Some(Item::Entry(entry)) = reader.next_item()? else { unreachable!("one is there") };
//! assert_eq!((entry.client, entry.body), ("web-1", &br#"{"pid":1,"cpu":0.10}"#[..]));
//! # Ok(())
//! # }
//! ```

mod ack;
mod alarm;
mod batch;
mod config;
mod error;
pub mod faults;
pub mod fsck;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
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
pub use log::{Log, NotTaken, Recovery, Watch};
pub use missing::{Gap, GapWhy, Lost};
pub use rejection::{Flaw, Reason, Rejection, Rejections, TOLD_MAX};
#[cfg(feature = "schema")]
pub use schema::{BadSchema, Schema};
pub use stats::{SYNC_BUCKETS, Stats};
pub use timestamp::Timestamp;
pub use validate::{Limits, Validator};
