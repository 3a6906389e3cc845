//! The shim of a job, of another version than ours.
//!
//! A stand-in does what a shim does as far as others can see: it makes the job's directory, holds the lock on the journal, writes records,
//! prints, and listens on the control socket. What it writes and what it answers is the test's to say, so it can be
//! of any version: [`Voice::older`] and [`Voice::newer`] are one version away from ours. It runs nothing, and lives in this process: a
//! test that drops it has killed it.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use legwork_shim::control;
use legwork_shim::index::{Entry, Stream};
use legwork_shim::{layout, lock};
use serde_json::{Value, json};
use uuid::Uuid;

/// The kind of a request to stop.
pub const STOP: u16 = 4;
/// The kind of a request to pause.
pub const PAUSE: u16 = 5;
const SIGNAL: u16 = 3;
const DONE: u16 = 0x8001;
const UNSUPPORTED: u16 = 0x8005;
/// A reply that no version has yet.
const UNHEARD: u16 = 0x8042;

/// What a stand-in writes and answers.
#[derive(Debug, Clone)]
pub struct Voice {
    /// What was asked, besides the id.
    pub spec: Value,
    /// Its claim; `null` to make none.
    pub launch: Value,
    /// Its end.
    pub exit: Value,
    /// The kind of its reply to each kind that it knows. After a stop that it knows it ends.
    pub replies: Vec<(u16, u16)>,
}

impl Voice {
    /// A version before ours: what it may leave out is not there, and it knows neither standard input nor pause.
    #[must_use]
    pub fn older() -> Self {
        Self {
            spec: json!({
                "version": 1, "argv": ["make", "test"], "env": [], "dir": "/",
                "stop_signal": 15, "stop_grace_ms": 5000, "output_limit": 1 << 20,
            }),
            launch: json!({
                "version": 1, "control": 0, "boot_id": "", "shim_pid": 1, "pid": 1, "started_at_ms": 5,
            }),
            exit: json!({
                "version": 1, "cause": {"stopped": {"by": "tester"}}, "status": {"signal": 15},
                "started_at_ms": 5, "ended_at_ms": 9, "output_end": 0,
            }),
            replies: vec![(SIGNAL, DONE), (STOP, DONE)],
        }
    }

    /// A version after ours in the way that needs no new version: fields, words, kinds of requests and lines that we do not know.
    #[must_use]
    pub fn later() -> Self {
        let mut voice = Self::older();
        voice.spec["colour"] = json!({"of": ["the", "shed"]});
        voice.spec["meta"] = json!({"created_at_ms": 5, "owner": "tester", "mood": 1});
        voice.launch["control"] = json!(2);
        voice.launch["numa"] = json!([0]);
        voice.exit["cause"] = json!({"evicted": {"for": "another"}});
        voice.exit["usage"] =
            json!({"user_us": 1, "system_us": 2, "max_rss_bytes": 3, "joules": 4});
        voice.replies.push((77, DONE));
        voice
    }

    /// A version that ours must not take for its own.
    #[must_use]
    pub fn newer() -> Self {
        let mut voice = Self::later();
        voice.spec["version"] = json!(2);
        voice.spec["stdin"] = json!("terminal");
        voice.spec["on_exit"] = json!({"hand_over": {"to": "x"}});
        voice.launch["version"] = json!(2);
        voice.launch["pid"] = json!({"in": "a pod"});
        voice.exit = json!({"version": 2, "cause": ["evicted"], "ended": "2030-01-01T00:00:00Z"});
        voice.replies = vec![(SIGNAL, DONE), (STOP, DONE), (PAUSE, UNHEARD)];
        voice
    }

    /// The same with another form of a record: the version of one that is replaced here is the test's to choose.
    #[must_use]
    pub fn with(mut self, record: &str, value: Value) -> Self {
        match record {
            "spec" => self.spec = value,
            "launch" => self.launch = value,
            "exit" => self.exit = value,
            _ => {}
        }
        self
    }
}

/// The locked journal, for as long as the shim lives.
type Held = Arc<Mutex<Option<File>>>;

/// A job whose shim is not ours.
#[derive(Debug)]
pub struct Standin {
    /// The job.
    pub id: Uuid,
    /// Its directory.
    pub dir: PathBuf,
    voice: Voice,
    held: Held,
    printed: u64,
    heard: Arc<Mutex<Vec<u16>>>,
    listening: Option<JoinHandle<()>>,
}

impl Standin {
    /// Makes a job below a directory of jobs, and begins to run it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(jobs: &Path, id: Uuid, voice: Voice) -> io::Result<Self> {
        let dir = jobs.join(id.to_string());
        DirBuilder::new().mode(0o700).create(&dir)?;
        let path = dir.join(layout::JOURNAL);
        let mut journal = File::options();
        journal.read(true).append(true).create_new(true).mode(0o600);
        let journal = journal.open(path)?;
        if !lock::acquire(&journal)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut standin = Self {
            id,
            dir,
            voice,
            held: Arc::new(Mutex::new(Some(journal))),
            printed: 0,
            heard: Arc::default(),
            listening: None,
        };
        let mut spec = standin.voice.spec.clone();
        spec["id"] = json!(id);
        standin.writes(&json!({ "spec": spec }))?;
        if !standin.voice.launch.is_null() {
            standin.writes(&json!({ "launch": standin.voice.launch }))?;
        }
        standin.listen()?;
        Ok(standin)
    }

    /// Appends a line to its journal.
    ///
    /// # Errors
    /// What the file system says.
    pub fn writes(&self, record: &Value) -> io::Result<()> {
        append(
            &self.dir.join(layout::JOURNAL),
            format!("{record}\n").as_bytes(),
        )
    }

    /// Prints to standard output.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prints(&mut self, text: &str) -> io::Result<()> {
        let entry = Entry {
            offset: self.printed,
            time_us: 1,
            stream: Stream::Stdout,
        };
        append(&self.dir.join(layout::INDEX), &entry.encode())?;
        self.printed += text.len() as u64;
        append(&self.dir.join(layout::segment_name(0)), text.as_bytes())
    }

    /// Records its end, and is gone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ends(self) -> io::Result<()> {
        self.writes(&json!({ "exit": self.voice.exit }))
    }

    /// The kinds of the requests that it was sent.
    #[must_use]
    pub fn heard(&self) -> Vec<u16> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.clone()
    }

    fn listen(&mut self) -> io::Result<()> {
        let dir = File::open(&self.dir)?;
        let listener = UnixListener::bind(address(&dir))?;
        let desk = Desk {
            journal: self.dir.join(layout::JOURNAL),
            held: Arc::clone(&self.held),
            exit: self.voice.exit.clone(),
            replies: self.voice.replies.clone(),
            heard: Arc::clone(&self.heard),
        };
        let serve = move || {
            for peer in listener.incoming().flatten() {
                desk.serve(peer);
                if lives(&desk.held).is_none() {
                    return;
                }
            }
        };
        let listening = std::thread::spawn(serve);
        self.listening = Some(listening);
        Ok(())
    }
}

fn lives(held: &Held) -> MutexGuard<'_, Option<File>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Standin {
    /// Dies as by SIGKILL.
    fn drop(&mut self) {
        drop(lives(&self.held).take());
        let Some(listening) = self.listening.take() else {
            return;
        };
        let woken =
            File::open(&self.dir).and_then(|dir| UnixStream::connect(address(&dir)).map(drop));
        // Whoever has removed the directory has taken the socket's name with it.
        if woken.is_ok() || listening.is_finished() {
            listening.join().unwrap_or(());
        }
    }
}

/// An address has room for 107 bytes.
fn address(dir: &File) -> String {
    format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), layout::CONTROL)
}

/// What the thread needs that answers.
struct Desk {
    journal: PathBuf,
    held: Held,
    exit: Value,
    replies: Vec<(u16, u16)>,
    heard: Arc<Mutex<Vec<u16>>>,
}

impl Desk {
    /// Answers a peer until that leaves, or has it stop.
    fn serve(&self, mut peer: UnixStream) {
        while let Ok((kind, _)) = control::read_frame(&mut peer) {
            self.heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(kind);
            let known = self.replies.iter().find(|(request, _)| *request == kind);
            let reply = known.map_or(UNSUPPORTED, |(_, reply)| *reply);
            let frame = [&[2, 0, 0, 0][..], &reply.to_le_bytes()].concat();
            if peer.write_all(&frame).is_err() {
                return;
            }
            if kind == STOP && known.is_some() {
                let exit = format!("{}\n", json!({"exit": self.exit}));
                append(&self.journal, exit.as_bytes()).unwrap_or(());
                drop(lives(&self.held).take());
                return;
            }
        }
    }
}

/// As a shim does: who watches is told when the file is closed.
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.append(true).create(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}
