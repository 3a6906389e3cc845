//! From a job directory to a running payload.
//!
//! The claim ([`Launch`]) is durable before the gate opens, so a payload that may have run always
//! left one. The order before it is chosen so that whatever fails leaves as little as possible.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use serde::Deserialize;

use legwork_shim::exit::{NotStarted, Step};
use legwork_shim::journal::{Journal as Lines, Line};
use legwork_shim::launch::{self, Launch};
use legwork_shim::spec::{self, OnExit, Spec, Stdin};
use legwork_shim::{ByteString, layout, limits};

use super::cgroup::Cgroup;
use super::control::Control;
use super::inherited::Inherited;
use super::journal::{self, Journal};
use super::payload::{self, Ends, Failure};
use super::reap::Main;
use super::starter::Starter;
use super::{clock, confine, names};

/// The kernel's name for the time since the machine was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The times of a file that was used just now (utimensat(2)).
const NOW: Timestamps = Timestamps {
    last_access: AT_PRESENT,
    last_modification: AT_PRESENT,
};
const AT_PRESENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// Why there is no payload.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another launch has claimed or finished the job: nothing has been touched.
    NotOurs,
    /// To be recorded.
    NotStarted {
        /// Which step failed.
        why: NotStarted,
        /// Whether the claim is on disk, so that only an exit record can tell that nothing ran.
        claimed: bool,
    },
}

impl Refusal {
    /// The same, with the claim on disk.
    fn after_claim(self) -> Self {
        match self {
            Self::NotOurs => Self::NotOurs,
            Self::NotStarted { why, .. } => Self::NotStarted { why, claimed: true },
        }
    }
}

/// What a shim remembers of the spec.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Milliseconds from exec.
    pub(super) timeout_ms: Option<u64>,
    /// First signal of a stop.
    pub(super) stop_signal: i32,
    /// Milliseconds after it.
    pub(super) stop_grace_ms: u64,
    /// Bytes of output kept.
    pub(super) output_limit: u64,
    /// What becomes of what the main process leaves behind.
    pub(super) on_exit: OnExit,
    /// Milliseconds of processor time.
    pub(super) cpu_time_ms: Option<u64>,
    /// What its directory may take.
    pub(super) disk: Option<limits::Disk>,
}

/// A payload that runs, and what belongs to it.
#[derive(Debug)]
pub(super) struct Running {
    /// The main process.
    pub(super) main: Main,
    /// The control group that it was born in.
    pub(super) cgroup: Option<Cgroup>,
    /// Its standard descriptors.
    pub(super) ends: Ends,
    /// Where orders come from; open already if the payload's standard input does too.
    pub(super) control: Control,
    /// What the spec demands of the rest of its life.
    pub(super) rules: Rules,
    /// Milliseconds since the epoch, just before the exec.
    pub(super) started_at_ms: u64,
    /// The same moment on the monotonic clock.
    pub(super) started_mono_ms: u64,
    /// The lease on the workspace.
    pub(super) lease: Option<OwnedFd>,
}

fn not_started(step: Step, errno: i32, subject: ByteString) -> Refusal {
    Refusal::NotStarted {
        why: NotStarted {
            step,
            errno,
            subject,
        },
        claimed: false,
    }
}

/// Starts the payload.
///
/// # Errors
/// [`Refusal`]; in any case there is no child left.
pub(super) fn start(
    inherited: &Inherited,
    starter: &Starter,
    journal: &mut Journal,
) -> Result<Running, Refusal> {
    let spec = read_spec(inherited.journal(), journal)?;
    let lease = spec.lease.as_ref().map(|path| take_lease(path, &spec));
    let lease = lease.transpose()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| not_started(Step::Setup, e.raw_os_error(), "sub-reaper".into()))?;
    let cgroup = spec.confinement.cgroup.as_ref().map(Cgroup::make);
    let cgroup = cgroup
        .transpose()
        .map_err(|failed| not_started(Step::Limit, failed.errno.raw_os_error(), failed.subject))?;
    let (waiting, ends) = payload::fork(&spec, inherited, cgroup.as_ref())
        .map_err(|failure| blame(&spec, failure))?;
    let started_at_ms = clock::wall_ms();
    let main = Main::new(waiting.pid());
    if let Err(error) = claim(inherited.dir(), journal, main.pid(), started_at_ms) {
        waiting.abandon();
        // Nothing has run, and without the line nothing says otherwise.
        journal.cut(inherited.dir());
        return Err(not_started(
            Step::Setup,
            error.raw_os_error(),
            layout::JOURNAL.into(),
        ));
    }
    let mut control = Control::default();
    if spec.stdin == Stdin::Pipe
        && let Err(e) = control.open(inherited.dir())
    {
        waiting.abandon();
        let subject = layout::CONTROL.into();
        return Err(not_started(Step::Setup, e.raw_os_error(), subject).after_claim());
    }
    waiting
        .release()
        .map_err(|failure| blame(&spec, failure).after_claim())?;
    let started_mono_ms = clock::mono_ms();
    starter.say_started(main.pid());
    Ok(Running {
        main,
        ends,
        control,
        cgroup,
        rules: Rules::of(&spec),
        started_at_ms,
        started_mono_ms,
        lease,
    })
}

impl Rules {
    fn of(spec: &Spec) -> Self {
        Self {
            timeout_ms: spec.timeout_ms,
            stop_signal: spec.stop_signal,
            stop_grace_ms: spec.stop_grace_ms,
            output_limit: spec.output_limit,
            on_exit: spec.on_exit,
            cpu_time_ms: spec.confinement.cpu_time_ms,
            disk: spec.confinement.disk.clone(),
        }
    }
}

/// Reads what is asked, if that is all that has been written down yet.
fn read_spec(file: BorrowedFd<'_>, journal: &mut Journal) -> Result<Spec, Refusal> {
    /// What every version of the spec has.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let refused = |errno, subject: &str| not_started(Step::Spec, errno, subject.into());
    let senseless = |_| refused(libc::EINVAL, layout::JOURNAL);
    let raw = journal::read(file).map_err(|e| refused(e.raw_os_error(), layout::JOURNAL))?;
    let lines = Lines::parse_ended(&raw);
    if lines.launch.is_some() || lines.exit.is_some() {
        return Err(Refusal::NotOurs);
    }
    journal.goes_on_at(lines.end);
    let spec = lines.spec.unwrap_or_default();
    let head: Head = serde_json::from_slice(spec).map_err(senseless)?;
    if head.version > spec::VERSION {
        let subject = format!("version {}", head.version);
        return Err(refused(libc::EPROTONOSUPPORT, &subject));
    }
    serde_json::from_slice(spec).map_err(senseless)
}

/// Where it lies the user may have put anything: nothing but a file of theirs is locked with our rights.
fn take_lease(path: &ByteString, spec: &Spec) -> Result<OwnedFd, Refusal> {
    let refused = |e: Errno| not_started(Step::Lease, e.raw_os_error(), path.clone());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path.as_bytes(), flags, Mode::empty()).map_err(refused)?;
    let found = rustix::fs::fstat(&file).map_err(refused)?;
    let user = spec.run_as.as_ref().map(|user| user.uid);
    if user.is_some_and(|uid| uid != found.st_uid) {
        return Err(refused(Errno::PERM));
    }
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).map_err(refused)?;
    // Who is mirroring here sees by that that there was a job.
    rustix::fs::futimens(&file, &NOW).map_err(refused)?;
    Ok(file)
}

/// Makes the claim durable, and the spec with it: the launcher leaves that to us, so that one wait for the disk serves both.
fn claim(
    dir: BorrowedFd<'_>,
    journal: &mut Journal,
    pid: rustix::process::Pid,
    started_at_ms: u64,
) -> Result<(), Errno> {
    let number = |pid: rustix::process::Pid| pid.as_raw_nonzero().get().unsigned_abs();
    let record = Launch {
        version: launch::VERSION,
        control: legwork_shim::control::VERSION,
        boot_id: boot_id()?,
        shim_pid: number(rustix::process::getpid()),
        pid: number(pid),
        started_at_ms,
    };
    let begun = *journal;
    journal.begin(dir, Line::Launch, &record)?;
    names::make_durable(dir).inspect_err(|_| *journal = begun)
}

fn boot_id() -> Result<String, Errno> {
    let file = rustix::fs::open(BOOT_ID, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 64];
    let length = rustix::io::read(&file, &mut text)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(text.trim_end().to_owned())
}

/// Says what a failed step was about.
fn blame(spec: &Spec, failure: Failure) -> Refusal {
    let program = || spec.argv.first().cloned().unwrap_or_default();
    let subject = match failure.step {
        Step::Dir => spec.dir.clone(),
        Step::Exec => program(),
        Step::User => spec
            .run_as
            .as_ref()
            .map_or_else(ByteString::default, |user| user.uid.to_string().into()),
        Step::Spec => "argv or env".into(),
        Step::Limit => confine::subject(&spec.confinement, failure.limit),
        Step::Lease | Step::Setup | Step::Launch | Step::Other => "process".into(),
    };
    not_started(failure.step, failure.errno, subject)
}
