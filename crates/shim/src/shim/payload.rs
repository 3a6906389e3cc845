//! The fork that becomes the payload.
//!
//! The child makes itself ready (session, user, directory, standard descriptors) while the parent is
//! still writing the claim to disk, then waits at the *gate*, a close-on-exec socket pair. One byte lets
//! it through to exec; the end of the stream, which is also what the death of the shim looks like, makes
//! it leave. Backwards the gate carries why a step failed; its end without a word means that exec
//! has closed it, so the program runs.

use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use legwork_shim::exit::Step;
use legwork_shim::spec::{RunAs, Spec, Stdin};

use super::cgroup::Cgroup;
use super::inherited::Inherited;
use super::program::Program;
use super::{best_effort, confine, sys};

/// A step that failed, and its errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which one.
    pub(super) step: Step,
    /// errno(3).
    pub(super) errno: i32,
    /// Which limit, of [`Step::Limit`]: see [`confine::subject`].
    pub(super) limit: u8,
}

/// Names the step in which an error happened.
fn at(step: Step) -> impl FnOnce(Errno) -> Failure {
    move |error| Failure {
        step,
        errno: error.raw_os_error(),
        limit: 0,
    }
}

/// The shim's ends of the payload's standard descriptors.
#[derive(Debug)]
pub(super) struct Ends {
    /// Writing end, when standard input is a pipe.
    pub(super) stdin: Option<OwnedFd>,
    /// Reading end of standard output, or of both when merged.
    pub(super) stdout: OwnedFd,
    /// Reading end of standard error, unless merged.
    pub(super) stderr: Option<OwnedFd>,
}

/// A forked child that waits at the gate.
#[derive(Debug)]
pub(super) struct Waiting {
    pid: Pid,
    gate: OwnedFd,
}

/// Makes the pipes and forks.
///
/// # Errors
/// [`Step::Setup`].
pub(super) fn fork(
    spec: &Spec,
    inherited: &Inherited,
    cgroup: Option<&Cgroup>,
) -> Result<(Waiting, Ends), Failure> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(at(Step::Setup));
    let (stdout, its_stdout) = pipe()?;
    let (stderr, its_stderr) = if spec.merge { None } else { Some(pipe()?) }.unzip();
    let (its_stdin, stdin) = match spec.stdin {
        Stdin::Null => None,
        Stdin::Pipe => Some(pipe()?),
    }
    .unzip();
    let (gate, its_gate) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(at(Step::Setup))?;
    let mut child = Child {
        to_enter: None,
        parent: rustix::process::getpid(),
        stdin: its_stdin.as_ref().map_or(inherited.null(), AsFd::as_fd),
        stdout: its_stdout.as_fd(),
        stderr: its_stderr.as_ref().unwrap_or(&its_stdout).as_fd(),
        gate: its_gate.as_fd(),
        umask: inherited.umask(),
    };
    let forked = match cgroup.map(|group| (group, sys::fork_into(group.as_fd()))) {
        None => sys::fork(),
        Some((group, Err(Errno::NOSYS | Errno::INVAL | Errno::TOOBIG))) => {
            child.to_enter = Some(group);
            sys::fork()
        }
        Some((_, forked)) => forked,
    };
    let Some(pid) = forked.map_err(at(Step::Setup))? else {
        // Its own copy of the shim's end would keep the gate open after the shim's death.
        drop(gate);
        child.run(spec);
    };
    let ends = Ends {
        stdin,
        stdout,
        stderr,
    };
    Ok((Waiting { pid, gate }, ends))
}

impl Waiting {
    /// The child's id. It stays the child's until it is waited for, which only this process can do.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends the child away; it has not run anything.
    pub(super) fn abandon(self) {
        drop(self.gate);
        best_effort(rustix::process::waitpid(
            Some(self.pid),
            WaitOptions::empty(),
        ));
    }

    /// Opens the gate and waits until the program runs.
    ///
    /// # Errors
    /// The step that failed in the child, which has been reaped then.
    pub(super) fn release(self) -> Result<(), Failure> {
        let opened = rustix::io::write(&self.gate, b"!");
        if let Err(error) = opened
            && error != Errno::PIPE
        {
            // It waits for that, and would for ever. One that has gone has left a word.
            self.abandon();
            return Err(at(Step::Setup)(error));
        }
        let mut word = [0; WORD];
        let failure = match rustix::io::read(&self.gate, &mut word) {
            Ok(0) if opened.is_ok() => return Ok(()),
            Ok(WORD) => decode(word),
            // The child has died on its way, of a signal or for want of memory.
            Ok(_) | Err(_) => at(Step::Setup)(Errno::CHILD),
        };
        self.abandon();
        Err(failure)
    }
}

const STEPS: [Step; 6] = [
    Step::Setup,
    Step::User,
    Step::Dir,
    Step::Exec,
    Step::Spec,
    Step::Limit,
];

/// Bytes in which a failure crosses the gate.
const WORD: usize = 6;

fn encode(failure: Failure) -> [u8; WORD] {
    let step = STEPS.iter().position(|step| *step == failure.step);
    let [a, b, c, d] = failure.errno.to_le_bytes();
    let step = step.and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
    [step, a, b, c, d, failure.limit]
}

fn decode([step, a, b, c, d, limit]: [u8; WORD]) -> Failure {
    Failure {
        step: *STEPS.get(usize::from(step)).unwrap_or(&Step::Setup),
        errno: i32::from_le_bytes([a, b, c, d]),
        limit,
    }
}

/// The child between fork and exec. It is alone in its process, so it may allocate and fail at leisure.
struct Child<'a> {
    parent: Pid,
    stdin: BorrowedFd<'a>,
    stdout: BorrowedFd<'a>,
    stderr: BorrowedFd<'a>,
    gate: BorrowedFd<'a>,
    umask: Mode,
    /// A control group in which it could not be born.
    to_enter: Option<&'a Cgroup>,
}

impl Child<'_> {
    fn run(&self, spec: &Spec) -> ! {
        let failure = match self.prepare(spec) {
            Ok(program) => {
                let mut word = [0];
                match rustix::io::read(self.gate, &mut word) {
                    Ok(1) => self.exec(program),
                    Ok(_) | Err(_) => sys::leave(0),
                }
            }
            Err(failure) => failure,
        };
        best_effort(rustix::io::write(self.gate, &encode(failure)));
        sys::leave(0);
    }

    fn prepare(&self, spec: &Spec) -> Result<Program, Failure> {
        let program = Program::new(spec).map_err(at(Step::Spec))?;
        if let Some(group) = self.to_enter {
            group.enter().map_err(at(Step::Setup))?;
        }
        rustix::process::setsid().map_err(at(Step::Setup))?;
        rustix::process::umask(self.umask);
        rustix::stdio::dup2_stdin(self.stdin).map_err(at(Step::Setup))?;
        rustix::stdio::dup2_stdout(self.stdout).map_err(at(Step::Setup))?;
        rustix::stdio::dup2_stderr(self.stderr).map_err(at(Step::Setup))?;
        confine::apply(&spec.confinement).map_err(|failed| Failure {
            limit: failed.which,
            ..at(Step::Limit)(failed.errno)
        })?;
        if let Some(user) = &spec.run_as {
            self.give_pipes_to(user, spec.stdin == Stdin::Pipe);
            become_user(user).map_err(at(Step::User))?;
        }
        // After the change of user, which clears it. Whoever died before it was set is no longer the parent.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(at(Step::Setup))?;
        if rustix::process::getppid() != Some(self.parent) {
            sys::leave(0);
        }
        rustix::process::chdir(spec.dir.as_bytes()).map_err(at(Step::Dir))?;
        Ok(program)
    }

    /// Lets the user open `/dev/stdout` and its like, which asks for rights on the pipe itself. One who
    /// cannot still has the open descriptors.
    fn give_pipes_to(&self, user: &RunAs, stdin: bool) {
        let pipes = [self.stdout, self.stderr].into_iter();
        for pipe in pipes.chain(stdin.then_some(self.stdin)) {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            best_effort(rustix::fs::fchown(pipe, Some(uid), Some(gid)));
        }
    }

    fn exec(&self, program: Program) -> Failure {
        match sys::restore_signals() {
            Ok(()) => at(Step::Exec)(program.exec()),
            Err(error) => at(Step::Setup)(error),
        }
    }
}

/// Groups first, while there is still the right to set them. Nothing that the payload executes may
/// bring back what is given up here. A change of user takes the capabilities away by itself, unless the securebits or
/// the inheritable set that came from the launcher say otherwise: so they are put down expressly, and with the
/// inheritable ones go the ambient ones. Bounds for later are of no use after `no_new_privs`.
fn become_user(user: &RunAs) -> Result<(), Errno> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    if !uid.is_root() {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets)?;
    }
    rustix::thread::set_no_new_privs(true)
}

#[cfg(test)]
mod tests {
    use super::{Failure, STEPS, decode, encode};

    #[test]
    fn a_failure_crosses_the_gate_whole() {
        for step in STEPS {
            let failure = Failure {
                step,
                errno: libc::EACCES,
                limit: 254,
            };
            assert_eq!(decode(encode(failure)), failure);
        }
    }
}
