//! A launcher of the simplest kind, and ways to look at what its shims do.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use legwork_shim::control::{Reply, Request, read_frame};
use legwork_shim::exit::{Exit, NotStarted};
use legwork_shim::index::{ENTRY_LEN, Entry};
use legwork_shim::journal::{Journal, Line};
use legwork_shim::launch::Launch;
use legwork_shim::layout;
use legwork_shim::limits::Confinement;
use legwork_shim::lock;
use legwork_shim::spec::{Meta, OnExit, Spec, Stdin, VERSION};

/// After this long something is wrong, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition gives something.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A spec for a program with arguments.
pub(crate) fn spec(argv: &[&str]) -> Spec {
    Spec {
        version: VERSION,
        id: Uuid::from_u128(u128::from(std::process::id()) << 64 | unique()),
        argv: argv.iter().map(|argument| (*argument).into()).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        dir: "/".into(),
        stdin: Stdin::Null,
        merge: false,
        timeout_ms: None,
        stop_signal: libc::SIGTERM,
        stop_grace_ms: 60_000,
        output_limit: 1 << 32,
        on_exit: OnExit::Kill,
        lease: None,
        run_as: None,
        confinement: Confinement::default(),
        meta: Meta::default(),
    }
}

/// A spec for a shell script.
pub(crate) fn script(text: &str) -> Spec {
    spec(&["sh", "-c", text])
}

/// A number that no other test of this process has.
pub(crate) fn unique() -> u128 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A job directory and the shim that works in it.
pub(crate) struct Job {
    _keep: Option<TempDir>,
    path: PathBuf,
    id: Uuid,
    shim: Child,
    handshake: String,
    pipe: BufReader<ChildStdout>,
    shim_status: Option<ExitStatus>,
}

impl Job {
    /// Starts a shim in a new directory.
    pub(crate) fn start(spec: &Spec) -> Self {
        let keep = tempfile::tempdir().expect("a temporary directory");
        let path = keep.path().to_path_buf();
        let line = Line::Spec.encode(spec).expect("a spec is JSON");
        let mut job = Self::start_in(&path, spec.id, &line);
        job._keep = Some(keep);
        job
    }

    /// Starts a shim in this directory, with a first line of any content.
    pub(crate) fn start_in(path: &Path, id: Uuid, line: &[u8]) -> Self {
        let held = open_journal(path);
        assert!(lock::acquire(&held).expect("locks work here"));
        (&held).write_all(line).expect("room for a spec");
        Self::start_again(path, id, held)
    }

    /// Starts a shim in a directory that has everything already.
    pub(crate) fn start_again(path: &Path, id: Uuid, held: File) -> Self {
        let mut shim = command(program())
            .current_dir(path)
            .env_clear()
            .stdin(held)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the shim has been built");
        let mut handshake = String::new();
        let mut pipe = BufReader::new(shim.stdout.take().expect("it is piped"));
        pipe.read_line(&mut handshake).expect("a pipe can be read");
        Self {
            _keep: None,
            path: path.to_path_buf(),
            id,
            shim,
            handshake,
            pipe,
            shim_status: None,
        }
    }

    /// The first line that the shim told its launcher.
    pub(crate) fn handshake(&self) -> &str {
        &self.handshake
    }

    /// What it told after that, up to the end of the pipe.
    pub(crate) fn told_later(&mut self) -> String {
        let mut told = String::new();
        self.pipe
            .read_to_string(&mut told)
            .expect("a pipe can be read");
        told
    }

    /// What kept the job from starting, as told and as recorded.
    pub(crate) fn not_started(&mut self) -> NotStarted {
        let told = self.handshake.strip_prefix("failed ").expect("it failed");
        let told = serde_json::from_str(told).expect("a reason is JSON");
        let exit = self.recorded().expect("a record");
        assert_eq!(exit.cause, legwork_shim::exit::Cause::NotStarted(told));
        assert_eq!((exit.status, exit.started_at_ms), (None, None));
        let legwork_shim::exit::Cause::NotStarted(why) = exit.cause else {
            unreachable!("compared above")
        };
        why
    }

    /// The shim's exit code, once it has ended.
    pub(crate) fn shim_code(&mut self) -> Option<i32> {
        let shim = &mut self.shim;
        let status = *self
            .shim_status
            .get_or_insert_with(|| until("the shim's end", || shim.try_wait().expect("our child")));
        status.code()
    }

    /// The record, after the shim has ended as it should.
    pub(crate) fn exit(&mut self) -> Exit {
        assert_eq!(self.shim_code(), Some(0), "handshake: {}", self.handshake);
        assert!(!self.has(layout::CONTROL), "the socket is left behind");
        assert!(!self.has("control.tmp"));
        self.unlocked();
        assert_eq!(self.processes(), Vec::<i32>::new(), "left behind");
        self.recorded().expect("a record")
    }

    /// The record, if there is one.
    pub(crate) fn recorded(&self) -> Option<Exit> {
        let raw = self.read(layout::JOURNAL);
        let exit = Journal::parse(&raw).exit?;
        Some(serde_json::from_slice(exit).expect("a record is JSON"))
    }

    /// The claim.
    pub(crate) fn launch(&self) -> Launch {
        self.claimed().expect("a claim")
    }

    /// The claim, if there is one.
    pub(crate) fn claimed(&self) -> Option<Launch> {
        let raw = self.read(layout::JOURNAL);
        let launch = Journal::parse(&raw).launch?;
        Some(serde_json::from_slice(launch).expect("a claim is JSON"))
    }

    /// The main process.
    pub(crate) fn main(&self) -> Pid {
        pid(self.launch().pid)
    }

    /// The shim.
    pub(crate) fn shim(&self) -> Pid {
        pid(self.shim.id())
    }

    /// The job directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory has such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// Waits until nobody holds the lock. (Whatever another thread of this process is about to execute
    /// may have a copy of it for a moment after the shim's end.)
    pub(crate) fn unlocked(&self) {
        until("the lock", || (!self.alive()).then_some(()));
    }

    /// Whether somebody holds the lock.
    pub(crate) fn alive(&self) -> bool {
        lock::is_held(open_journal(&self.path)).expect("locks work here")
    }

    /// A file's content.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path.join(name)).unwrap_or_else(|e| unreachable!("{name}: {e}"))
    }

    /// The segments that there are, in order: start and content. One that its job deletes meanwhile is not there.
    pub(crate) fn segments(&self) -> Vec<(u64, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(&self.path)
            .expect("the job directory")
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let start = layout::segment_start(&name)?;
                match fs::read(self.path.join(&name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    read => Some((start, read.expect("a segment"))),
                }
            })
            .collect();
        all.sort();
        all
    }

    /// All output there is.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.segments()
            .into_iter()
            .flat_map(|(_, bytes)| bytes)
            .collect()
    }

    /// The output as text, once it has this many lines.
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        until("output", || {
            let text = String::from_utf8(self.output()).expect("text");
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (text.ends_with('\n') && lines.len() >= count).then_some(lines)
        })
    }

    /// The index.
    pub(crate) fn index(&self) -> Vec<Entry> {
        let raw = self.read(layout::INDEX);
        let (entries, torn) = raw.as_chunks::<ENTRY_LEN>();
        assert!(torn.is_empty());
        entries.iter().map(Entry::decode).collect()
    }

    /// Connects to the control socket.
    pub(crate) fn control(&self) -> Peer {
        let path = self.path.join(layout::CONTROL);
        Peer(until("the control socket", || {
            UnixStream::connect(&path).ok()
        }))
    }

    /// Living processes that carry the job's mark, zombies not counted.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("{}={}", layout::JOB_ENV, self.id.as_hyphenated());
        let all = fs::read_dir("/proc").expect("proc is mounted");
        all.filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let marked = environ
                .split(|byte| *byte == 0)
                .any(|v| v == mark.as_bytes());
            (marked && lives(pid)).then_some(pid)
        })
        .collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.shim_status.is_none() {
            // Its payload dies with it.
            drop(self.shim.kill());
            drop(self.shim.wait());
        }
    }
}

/// The shim under test: the one of this build, or the one that `LEGWORK_SHIM_BIN` names, such as the one that is
/// embedded in the jobs library.
pub(crate) fn program() -> OsString {
    std::env::var_os("LEGWORK_SHIM_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_legwork-shim").into())
}

/// Whether a process runs, that is: exists and is no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit(") ").next()?.chars().next())
        .is_some_and(|state| state != 'Z' && state != 'X')
}

/// Sends SIGSTOP and waits for it to take effect.
pub(crate) fn hold(pid: Pid) {
    kill(pid, Signal::STOP);
    until_held(pid);
}

/// Waits until a process has been stopped by such a signal.
pub(crate) fn until_held(pid: Pid) {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    until("the pause", || {
        let stat = fs::read_to_string(&stat).expect("the process is there");
        stat.contains(") T ").then_some(())
    });
}

/// A process id.
pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id")).expect("not 0")
}

/// Sends a signal.
pub(crate) fn kill(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the process is there");
}

/// Opens a job's journal.
pub(crate) fn open_journal(path: &Path) -> File {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path.join(layout::JOURNAL))
        .expect("a journal")
}

/// A program to be run by a test.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests of the shim are its launcher"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Says aloud that a test has not tested anything.
pub(crate) fn skipped(why: &str) {
    writeln!(io::stderr(), "SKIPPED: {why}").expect("standard error");
}

/// Whether the test runs as root; says so when not.
pub(crate) fn is_root(why: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(&format!("needs root: {why}"));
    }
    root
}

/// A control connection.
pub(crate) struct Peer(pub(crate) UnixStream);

impl Peer {
    /// Sends without waiting for the answer.
    pub(crate) fn send(&mut self, request: &Request) {
        self.0
            .write_all(&request.encode())
            .expect("a listening shim");
    }

    /// Waits for an answer.
    pub(crate) fn answer(&mut self) -> Reply {
        let (kind, payload) = read_frame(&mut self.0).expect("a reply");
        Reply::decode(kind, &payload).expect("a known reply")
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        self.send(request);
        self.answer()
    }

    /// Whether the shim has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}
