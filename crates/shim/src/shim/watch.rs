//! The loop: everything that happens between the exec and the exit record.

use alloc::string::String;
use alloc::vec::Vec;

use rustix::event::PollFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::Pid;

use legwork_shim::exit::{self, Cause, Exit, Status, Survivor, Usage};
use legwork_shim::index::Stream;

use crate::runtime::release_memory;

use super::budget::{self, Budget};
use super::cgroup::Cgroup;
use super::control::Control;
use super::course::{Course, Next, Sight};
use super::desk::Desk;
use super::disk::Disk;
use super::held::Held;
use super::inherited::Inherited;
use super::output::Output;
use super::ready::{Interest, Ready, Token};
use super::reap::{self, Main};
use super::source::Source;
use super::start::Running;
use super::starter::Starter;
use super::stdin::Stdin;
use super::{best_effort, clock, tree};

/// What a job must outlive before it gets a control socket, in milliseconds.
const SETTLED_MS: u64 = 20;
/// Time until the socket is tried again where it could not be made, for want of disk space say, in milliseconds.
const SETTLE_AGAIN_MS: u64 = 1000;
/// Time between two syncs of new output, in milliseconds.
const SYNC_MS: u64 = 5000;
/// Time between two sweeps of a tree that does not die at once, in milliseconds.
const SWEEP_MS: u64 = 20;
/// Time between two looks for processes that others have put into the control group, in milliseconds.
const STRANGERS_MS: u64 = 100;
/// Bytes of a `signalfd_siginfo`.
const SIGNAL_INFO: usize = 128;

/// Most reads of one stream after the end of the tree: what a widened pipe can hold, and then some.
const LAST_READS: usize = 4;

/// A job in flight.
struct Watch<'a> {
    inherited: &'a Inherited,
    starter: &'a mut Starter,
    main: Main,
    cgroup: Option<Cgroup>,
    held: Held<'a>,
    budget: Option<Budget>,
    disk: Option<Disk>,
    disk_bytes: Option<u64>,
    course: Course,
    output: Output<'a>,
    sources: [Option<Source>; 2],
    stdin: Stdin,
    control: Control,
    _lease: Option<OwnedFd>,
    settle_at: Option<u64>,
    sync_at: Option<u64>,
}

/// Watches over the payload until nothing of it is left; the result is the record to be written.
pub(super) fn watch(running: Running, inherited: &Inherited, starter: &mut Starter) -> Exit {
    let (started_at_ms, started) = (running.started_at_ms, running.started_mono_ms);
    let mut watch = Watch::new(running, inherited, starter);
    let survivors = watch.run();
    watch.end(started_at_ms, started, survivors)
}

impl<'a> Watch<'a> {
    fn new(running: Running, inherited: &'a Inherited, starter: &'a mut Starter) -> Self {
        let started = running.started_mono_ms;
        let (ends, rules) = (running.ends, running.rules);
        Self {
            inherited,
            starter,
            main: running.main,
            cgroup: running.cgroup,
            held: Held::new(inherited.dir()),
            budget: rules
                .cpu_time_ms
                .map(|limit| Budget::new(limit, budget::processors(), started)),
            disk: rules
                .disk
                .as_ref()
                .and_then(|asked| Disk::new(asked, started)),
            disk_bytes: None,
            course: Course::new(&rules, started),
            output: Output::new(inherited.dir(), inherited.null(), rules.output_limit),
            sources: [
                Some(Source::new(ends.stdout, Stream::Stdout)),
                ends.stderr.map(|pipe| Source::new(pipe, Stream::Stderr)),
            ],
            stdin: Stdin::new(ends.stdin),
            control: running.control,
            _lease: running.lease,
            settle_at: Some(started + SETTLED_MS),
            sync_at: None,
        }
    }

    /// The loop. The result is what could not be killed.
    fn run(&mut self) -> Vec<Survivor> {
        loop {
            let now = clock::mono_ms();
            let sight = self.sight(now);
            let until = match self.course.next(sight) {
                Next::Wait(until) => until,
                Next::Signal(number) => {
                    self.signal(number);
                    continue;
                }
                Next::Kill => {
                    self.kill();
                    Some(now + SWEEP_MS)
                }
                Next::End if sight.childless => return Vec::new(),
                Next::End => return tree::survivors(self.members()),
            };
            self.tick(now);
            let used = self.budget.as_ref().map(Budget::look_at);
            let held = self.disk.as_ref().map(Disk::look_at);
            // Nobody tells when those leave the control group that are not the shim's to wait for.
            let strangers = self.main.childless().then_some(now + STRANGERS_MS);
            let timers = [until, self.settle_at, self.sync_at, used, held, strangers];
            let ready = self.wait(now, timers.into_iter().flatten().min());
            // Reaping first: a stop that arrives together with the end of the main process is too late.
            if ready.has(Token::Signals) {
                self.read_signals();
            }
            self.read_sources(&ready);
            self.serve(&ready);
        }
    }

    /// Whether no process of the job is left: none to wait for, and none in its control group, where others may have put one.
    fn is_alone(&self) -> bool {
        self.main.childless() && !self.cgroup.as_ref().is_some_and(Cgroup::populated)
    }

    /// The processes in its control group, if it has one.
    fn members(&self) -> Vec<Pid> {
        self.cgroup.as_ref().map_or_else(Vec::new, Cgroup::members)
    }

    /// Sends the first signal of a stop, which nobody can act on who is held still.
    fn signal(&mut self, number: i32) {
        self.held.release(self.cgroup.as_ref());
        self.main.stop(number);
    }

    fn kill(&self) {
        if let Some(group) = &self.cgroup {
            group.kill();
        }
        best_effort(self.main.signal(libc::SIGKILL));
        tree::sweep();
    }

    fn sight(&self, now: u64) -> Sight {
        Sight {
            now,
            main_ended: self.main.status().is_some(),
            childless: self.is_alone(),
            output_open: self.sources.iter().any(Option::is_some),
        }
    }

    /// Sleeps until something is ready or the time has come.
    fn wait(&self, now: u64, until: Option<u64>) -> Ready {
        let mut interest = Interest::new(self.inherited.signals());
        for (at, source) in self.sources.iter().enumerate() {
            if let Some(source) = source {
                interest.add(Token::Source(at), source.pipe(), PollFlags::IN);
            }
        }
        if let Some(pipe) = self.stdin.pipe() {
            // Without interest in room, poll still tells when the last reader has gone.
            let room = self.control.waits();
            let flags = if room {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            interest.add(Token::Stdin, pipe, flags);
        }
        if let Some(listener) = self.control.listener() {
            interest.add(Token::Listener, listener, PollFlags::IN);
        }
        for (at, connection) in self.control.connections().iter().enumerate() {
            if let Some(flags) = connection.interest() {
                interest.add(Token::Connection(at), connection.socket(), flags);
            }
        }
        interest.wait(now, until)
    }

    /// Reaps, and takes a termination signal for a stop.
    fn read_signals(&mut self) {
        let mut raw = [0; SIGNAL_INFO];
        while let Ok(SIGNAL_INFO) = rustix::io::read(self.inherited.signals(), &mut raw) {
            let number = i32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            if number != libc::SIGCHLD {
                let by = String::from("a signal to the shim");
                let cause = Cause::Stopped { by };
                let first = self.course.stop(clock::mono_ms(), cause, None, None);
                self.main.reap();
                self.signal(first);
            }
        }
        self.main.reap();
    }

    fn read_sources(&mut self, ready: &Ready) {
        for (token, flags) in ready.iter() {
            if let Token::Source(at) = token {
                if flags.contains(PollFlags::IN) {
                    self.read_source(at);
                } else {
                    // Empty, and the last writer has gone.
                    self.sources[at] = None;
                }
            }
        }
    }

    /// Reads a stream that has something, once.
    fn read_source(&mut self, at: usize) {
        let Some(Some(source)) = self.sources.get_mut(at) else {
            return;
        };
        match self
            .output
            .take(source.pipe(), source.stream(), clock::wall_us())
        {
            Ok(0) => self.sources[at] = None,
            Ok(bytes) => {
                self.starter.say_grown();
                let now = clock::mono_ms();
                source.took(bytes);
                self.course.output(now);
                self.sync_at.get_or_insert(now + SYNC_MS);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.sources[at] = None,
        }
    }

    /// Answers control requests.
    fn serve(&mut self, ready: &Ready) {
        for (token, flags) in ready.iter() {
            if token == Token::Stdin && flags.contains(PollFlags::ERR) {
                self.stdin.close();
            }
        }
        let room = ready.has(Token::Stdin);
        let mut desk = Desk {
            main: &self.main,
            course: &mut self.course,
            stdin: &mut self.stdin,
            cgroup: self.cgroup.as_ref(),
            held: &mut self.held,
        };
        self.control.work(
            |at, connection| ready.has(Token::Connection(at)) || (room && connection.waits()),
            &mut |request| desk.answer(request),
        );
        if ready.has(Token::Listener) {
            self.control.accept();
        }
    }

    /// Stops a job that has used the processor time that it may use.
    fn look_at_budget(&mut self, now: u64) {
        let Some(budget) = &mut self.budget else {
            return;
        };
        if now >= budget.look_at() && budget.is_spent(now, budget::used_us(self.cgroup.as_ref())) {
            self.budget = None;
            let first = self.course.stop(now, Cause::CpuTime, None, None);
            self.signal(first);
        }
    }

    /// Stops a job whose directory takes more than it may.
    fn look_at_disk(&mut self, now: u64) {
        let Some(disk) = &mut self.disk else {
            return;
        };
        if now < disk.look_at() {
            return;
        }
        let over = disk.is_over(now);
        self.disk_bytes = disk.held().or(self.disk_bytes);
        if over {
            self.disk = None;
            let first = self.course.stop(now, Cause::Disk, None, None);
            self.signal(first);
        }
    }

    /// Does what only time asks for.
    fn tick(&mut self, now: u64) {
        self.look_at_budget(now);
        self.look_at_disk(now);
        if self.settle_at.is_some_and(|at| now >= at) {
            self.settle_at = (!self.settle()).then_some(now + SETTLE_AGAIN_MS);
        }
        if self.sync_at.is_some_and(|at| now >= at) {
            self.output.sync();
            let mut busy = self.output.fresh();
            for source in self.sources.iter_mut().flatten() {
                busy |= source.rest();
            }
            self.sync_at = busy.then_some(now + SYNC_MS);
        }
    }

    /// The job is not one of the short ones: it gets what those can do without. `false` if that is to be tried again.
    fn settle(&mut self) -> bool {
        // Without the socket the job runs on, and SIGTERM to the shim still stops it.
        let heard =
            self.control.listener().is_some() || self.control.open(self.inherited.dir()).is_ok();
        self.starter.leave();
        release_memory();
        heard
    }

    /// Reads what is left in the pipes, makes the output durable and sums up.
    fn end(mut self, started_at_ms: u64, started: u64, survivors: Vec<Survivor>) -> Exit {
        self.held.release(self.cgroup.as_ref());
        let ended_at_ms = clock::wall_ms();
        for at in 0..self.sources.len() {
            for _ in 0..LAST_READS {
                if self.sources[at].as_ref().is_some_and(Source::has_more) {
                    self.read_source(at);
                }
            }
        }
        self.output.finish(clock::wall_us());
        let main_ended = self.course.main_ended_at().unwrap_or(started);
        let accounts = self.output.segments();
        let mut usage = reap::usage();
        if let Some(group) = &self.cgroup {
            group.account(&mut usage);
        }
        usage.disk_bytes = self.disk_bytes;
        Exit {
            version: exit::VERSION,
            cause: cause(self.course.cause(), self.main.status(), &usage),
            status: self.main.status(),
            started_at_ms: Some(started_at_ms),
            ended_at_ms,
            elapsed_ms: main_ended.saturating_sub(started),
            output_end: accounts.end(),
            output_dropped: accounts.dropped(),
            output_failed: accounts.failed(),
            usage,
            survivors,
        }
    }
}

/// Why it ended, with what the kernel has to say about it: who is killed for want of memory ends by itself, as far as anybody else can
/// see.
fn cause(seen: Cause, status: Option<Status>, usage: &Usage) -> Cause {
    let killed = status == Some(Status::Signal(libc::SIGKILL));
    if seen == Cause::Own && killed && usage.oom_kills.is_some_and(|kills| kills > 0) {
        return Cause::OutOfMemory;
    }
    seen
}

#[cfg(test)]
mod tests {
    use legwork_shim::exit::{Cause, Status, Usage};

    use super::cause;

    #[test]
    fn only_a_main_process_that_was_killed_makes_it_out_of_memory() {
        let usage = |oom_kills| Usage {
            oom_kills,
            ..Usage::default()
        };
        let killed = Some(Status::Signal(9));
        let told = |status, kills| cause(Cause::Own, status, &usage(kills));
        assert_eq!(told(killed, Some(1)), Cause::OutOfMemory);
        assert_eq!(told(killed, Some(0)), Cause::Own);
        assert_eq!(told(killed, None), Cause::Own);
        assert_eq!(told(Some(Status::Code(1)), Some(3)), Cause::Own);
        assert_eq!(
            cause(Cause::Timeout, killed, &usage(Some(1))),
            Cause::Timeout
        );
    }
}
