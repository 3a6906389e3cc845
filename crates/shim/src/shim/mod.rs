//! One job, from claim to exit record.
//!
//! **Contract with the launcher.** The working directory is the job directory. Descriptor 0 is the
//! job's journal, locked already; 1 is the writing end of the handshake pipe; 2 is where the text
//! of a panic may go. The [`handshake`](legwork_shim::handshake) begins with one line, of a payload that runs or of why there is
//! none; in the second case the exit record has been written before. No line at all, and exit code 3, means that this shim has touched nothing: the lock
//! is somebody else's, or the directory is claimed or finished already. The exit code says no
//! more than where to look: 0 for a record of a job that ran, 2 for one of a job that did not, 4 if the directory
//! has vanished, 5 if the system refused the most basic things.
//!
//! **Order.** [`inherited`] takes the descriptors over, [`start`] reads the spec, takes the lease, forks
//! the payload ([`payload`]), claims the launch durably and only then lets the payload exec. [`watch`]
//! is the one loop of the one thread: it moves [`output`] into segments, answers [`control`], reaps,
//! and asks [`course`] what the clock demands. [`tree`] kills what is left, [`end`] writes the record.
//!
//! **Limits.** What the kernel holds a whole job to is a control group of its own ([`cgroup`]), in which the payload is born and the
//! shim is not; what each process carries by itself the child takes on before the exec ([`confine`]). Processor time the shim counts
//! itself ([`budget`]), and it measures the directory of a job with a limit of disk space ([`disk`], [`walk`], [`unnamed`]).
//!
//! **Why it is small.** A shim sleeps for as long as its job runs, so every page it has touched counts.
//! It does without a standard library and, where it can, without a C library (see `runtime`): output
//! goes from pipe to page cache inside the kernel, and the spec is forgotten once the payload runs.

mod budget;
mod cgroup;
mod clock;
mod confine;
mod connection;
mod control;
mod course;
mod desk;
mod disk;
mod end;
mod files;
mod held;
mod index_file;
mod inherited;
mod journal;
mod names;
mod output;
mod payload;
mod program;
mod ready;
mod reap;
mod segments;
mod source;
mod start;
mod starter;
mod stdin;
pub(crate) mod sys;
mod tree;
mod unnamed;
mod walk;
mod watch;
mod write_back;

use rustix::io::Errno;

use self::end::Outcome;
use self::inherited::Inherited;
use self::journal::Journal;
use self::start::Refusal;
use self::starter::Starter;

/// Everything went as it should, whatever became of the payload.
const DONE: i32 = 0;
/// The job directory is not this shim's to touch.
const NOT_OURS: i32 = 3;
/// The end could not be written down, because the directory is gone.
const UNRECORDED: i32 = 4;

/// The system refuses what every process has; nothing has been touched.
const UNABLE: i32 = 5;

/// The whole life of a shim; the result is its exit code.
pub(crate) fn run() -> i32 {
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(Errno::WOULDBLOCK) => return NOT_OURS,
        Err(_) => return UNABLE,
    };
    let Ok(mut starter) = Starter::take(inherited.null()) else {
        return UNABLE;
    };
    let mut journal = Journal::default();
    let exit = match start::start(&inherited, &starter, &mut journal) {
        Ok(running) => watch::watch(running, &inherited, &mut starter),
        Err(Refusal::NotOurs) => return NOT_OURS,
        Err(Refusal::NotStarted { why, claimed }) => {
            return end::refuse(inherited.dir(), &mut starter, journal, why, claimed);
        }
    };
    match end::record(inherited.dir(), journal, &exit) {
        Outcome::Recorded => DONE,
        Outcome::DirectoryGone => UNRECORDED,
    }
}

/// For what is worth trying and has no other way when it fails.
pub(crate) fn best_effort<T, E>(result: Result<T, E>) {
    drop(result);
}
