//! The files and messages that pass between a job's shim and whoever looks at the job.
//!
//! One directory belongs to one job and is the whole truth about it. The *launcher* makes it and in it the
//! [`journal`], takes the lock on that and writes [`spec::Spec`]; from then on the *shim* is the only writer: it claims the
//! launch with [`launch::Launch`] before anything runs, appends output to segments and
//! [`index::Entry`]s to the index, and ends the journal with [`exit::Exit`]. Readers need no permission and no
//! protocol; [`control`] exists only for what files cannot carry, such as standard input and stop.
//!
//! Every format here is versioned and additive: a reader ignores fields that it does not know, and
//! refuses a `version` above its own. Uuids come in whole; nothing here makes or shortens ids.
//!
//! Without the feature `std` this is a library for the shim's own program, which has no standard library; see its
//! module `runtime`.
#![cfg_attr(not(test), no_std)]

extern crate alloc;
#[cfg(all(feature = "std", not(test)))]
extern crate std;

pub mod bytestring;
pub mod control;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handshake;
pub mod index;
pub mod journal;
pub mod launch;
pub mod layout;
pub mod limits;
pub mod lock;
pub mod spec;
#[doc(hidden)]
pub mod sys;

pub use bytestring::ByteString;
