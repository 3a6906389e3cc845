//! A host's process table as JSON: collected cheaply, recorded as what changes, rebuilt as it was.
//!
//! # How it works
//!
//! **Collect.** A [`Collector`] goes through `/proc` with one held directory, one buffer and few files a process: what `ps aux` shows and more,
//! never `smaps` and never an environment. A process is known by its boot, its number and its start ([`Process::identity`]), for numbers
//! come again. Secrets in command lines are redacted by default ([`redact`]).
//!
//! **Record.** A [`Recorder`] turns one snapshot after the other into JSON records: the whole table from time to time, and between what has
//! begun, changed and ended. Each says which snapshot of which run it is, so that one that is missing is noticed.
//!
//! **Rebuild.** A [`Rebuild`] is fed lines in their order and answers with the table at a time, exactly as it was collected, or says that
//! it does not know: it never guesses across a gap.
//!
//! No threads, no clock: who calls says when.
//!
//! # Example
//!
//! ```
//! use legwork_processes::{At, Collector, Line, Rebuild, Recorder, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut collector = Collector::open(Settings::default())?;
//! let mut recorder = Recorder::new("k3v9".to_owned(), 15_000);
//! let mut rebuild = Rebuild::new(2_000_000);
//! for data in recorder.record(collector.collect()?) {
//!     rebuild.push(&Line::Record { observed: 1_000_000, data: &data });
//! }
//! let At::Known { table, .. } = rebuild.finish() else { unreachable!("nothing is missing") };
//! assert!(table.processes.values().any(|process| process.pid == std::process::id()));
//! # Ok(())
//! # }
//! ```

mod collect;
mod job;
mod process;
mod read;
mod rebuild;
mod record;
pub mod redact;
mod snapshot;
mod tty;
mod users;

pub use collect::{CollectError, Collector, Settings};
pub use process::{Change, Identity, Process};
pub use rebuild::{At, Flow, Line, Rebuild, Why};
pub use record::Recorder;
pub use snapshot::{Header, Host, Snapshot, Table};
