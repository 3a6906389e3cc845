//! `legwork sync --watch`: what is said while a directory is watched, and how that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use legwork_client::{CallError, WaitObserver, WatchObserver, WorkspaceRef};
use legwork_sync::message::Waiting;
use legwork_sync::observer::{self, Observer};
use legwork_sync::push::{Pushed, Unreadable};
use legwork_sync::watch::{Clock, Pace, Trouble};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::commands::sync;
use crate::error::{CommandError, FAILED, INTERRUPTED};
use crate::files;
use crate::interrupt::Interrupts;
use crate::local::Session;
use crate::mirror::{self, How};
use crate::output::Output;
use crate::progress::{Progress, Way};
use crate::project::Project;
use crate::render;

/// As a shell has it for what SIGTERM ended.
const TERMINATED: u8 = 128 + 15;
/// How long an interrupt waits for what is under way.
const ENDING: Duration = Duration::from_millis(700);

/// Mirrors the project, and each change of it until an interrupt.
pub(crate) async fn watch(
    app: &App,
    session: &Session,
    project: &Project,
    workspace: WorkspaceRef,
    how: How,
) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let _alone = alone(session, project, &workspace)?;
    let request = mirror::request(session, project, workspace, how)?;
    let teller = Arc::new(Teller::new(app.out, project));
    let clock = Arc::new(SystemClock(Instant::now()));
    let heard = Arc::clone(&teller) as Arc<dyn WatchObserver>;
    let mut watching = pin!(session.client.watch(request, Pace::default(), clock, heard));
    let mut terminated = signal(SignalKind::terminate())?;
    let (ended, code) = tokio::select! {
        ended = &mut watching => (Some(ended), INTERRUPTED),
        () = interrupts.next() => (None, INTERRUPTED),
        _ = terminated.recv() => (None, TERMINATED),
    };
    if ended.is_none() {
        teller.stopped.store(true, Ordering::Relaxed);
        // What was begun is left at a point that the next one goes on from, or is cut off: nothing is lost by that.
        let _cut_off = tokio::time::timeout(ENDING, watching).await;
    }
    teller.progress.finish();
    if let Some(failure) = teller.failure() {
        return Err(failure);
    }
    match ended {
        Some(ended) => ended.map(|()| code).map_err(CommandError::from),
        None => {
            app.out.note("not watching any more");
            Ok(code)
        }
    }
}

/// Makes sure that nobody else on this machine watches the same directory for the same mirror.
fn alone(
    session: &Session,
    project: &Project,
    workspace: &WorkspaceRef,
) -> Result<File, CommandError> {
    let root = project.root.as_os_str().as_encoded_bytes();
    let key = [mirror::key(workspace).as_bytes(), root].join(&0);
    let path = session.memory(&key, "watch")?;
    let failed = |cause: io::Error| files::failed(&path, &cause);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.mode(0o600).open(&path).map_err(failed)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut process = String::new();
        // Only to name it.
        let _unnamed = lock.read_to_string(&mut process);
        let message = format!(
            "`legwork sync --watch` runs for this mirror already, as process {}",
            process.trim()
        );
        return Err(CommandError::new(FAILED, "WATCHED", message)
            .hint("end that one first; or --workspace NAME watches for a mirror of its own"));
    }
    lock.set_len(0)
        .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
        .map_err(failed)?;
    Ok(lock)
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        mirror::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Says what happens, each thing once.
struct Teller {
    out: Output,
    root: String,
    progress: Progress,
    first: AtomicBool,
    stopped: AtomicBool,
    failed: Mutex<Option<CommandError>>,
    unread: Mutex<Vec<Unreadable>>,
}

impl Teller {
    fn new(out: Output, project: &Project) -> Self {
        Self {
            out,
            root: mirror::show(&project.root),
            progress: Progress::of(out, Way::There),
            first: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            failed: Mutex::default(),
            unread: Mutex::default(),
        }
    }

    fn failure(&self) -> Option<CommandError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take()
    }

    /// One line of JSON; who cannot be told ends the watch.
    fn json(&self, value: &serde_json::Value) {
        if let Err(failure) = self.out.json_line(value) {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(failure);
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Something that is not an update.
    fn say(&self, event: &str, text: String) {
        if self.out.json {
            self.json(&json!({"event": event, "message": text}));
        } else {
            self.progress.once(text);
        }
    }

    /// The same without what could not be read the last time, too.
    fn unless_told(&self, pushed: &Pushed) -> Pushed {
        let mut told = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = pushed.clone();
        fresh.unreadable.retain(|one| !told.contains(one));
        told.clone_from(&pushed.unreadable);
        fresh
    }

    fn tell(&self, pushed: &Pushed, took: Duration) {
        let summary = &pushed.summary;
        mirror::concerns(self.out, &self.unless_told(pushed));
        let changed = summary.written.total + summary.deleted.total;
        if changed == 0 && pushed.sent_files == 0 {
            return;
        }
        let named = if summary.written.total > 0 {
            &summary.written
        } else {
            &summary.deleted
        };
        self.out.note(&format!(
            "{}: {} written ({}), {} deleted, in {} ms",
            mirror::some(named, 1),
            summary.written.total,
            render::bytes(summary.written_bytes),
            summary.deleted.total,
            took.as_millis(),
        ));
    }
}

impl Observer for Teller {
    fn transferred(&self, progress: observer::Progress) {
        if self.first.load(Ordering::Relaxed) {
            self.progress.transferred(progress);
        }
    }

    fn waiting(&self, reason: Waiting) {
        if reason == Waiting::Writer {
            self.say(
                "waiting",
                "waiting for another commit to the same mirror; --takeover ends that".to_owned(),
            );
        }
    }

    fn cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl WaitObserver for Teller {
    fn waiting_for_jobs(&self, jobs: &[String]) {
        let jobs = jobs.join(", ");
        self.say(
            "waiting",
            format!("changes wait for {jobs} in this mirror to end; --live does not wait"),
        );
    }
}

impl WatchObserver for Teller {
    fn updated(&self, pushed: &Pushed, took: Duration) {
        let is_first = self.first.swap(false, Ordering::Relaxed);
        self.progress.finish();
        self.progress.forget();
        if self.out.json {
            let mut update = sync::to_json(pushed);
            update["event"] = json!(if is_first { "mirrored" } else { "updated" });
            update["ms"] = json!(took.as_secs_f64() * 1000.0);
            return self.json(&update);
        }
        if !is_first {
            return self.tell(pushed, took);
        }
        // What cannot be told now cannot be told later.
        let _untold = sync::tell(self.out, &self.unless_told(pushed), took);
        self.out
            .note(&format!("watching {}; Ctrl-C ends it", self.root));
    }

    fn refused(&self, error: &CallError) {
        let error = CommandError::from(error.clone());
        let hint = error.hint.map(|hint| format!(" ({hint})"));
        self.say(
            "refused",
            format!(
                "not mirrored: {}{}",
                error.message,
                hint.unwrap_or_default()
            ),
        );
    }

    fn gone(&self, why: &io::Error) {
        let text = format!(
            "{}: {why}; the mirror stays as it is until it is back",
            self.root
        );
        self.say("gone", text);
    }

    fn back(&self) {
        self.say("back", format!("{} is back", self.root));
    }

    fn trouble(&self, trouble: Option<Trouble>) {
        let text = match trouble {
            None => "each save is noticed by itself again".to_owned(),
            Some(Trouble::Limit) => {
                "this user may not watch so many directories: looking at everything every few seconds \
                 instead; `sysctl fs.inotify.max_user_watches` shows the limit"
                    .to_owned()
            }
            Some(Trouble::Network) => {
                "this file system does not tell of all changes: looking at everything every few seconds"
                    .to_owned()
            }
            Some(Trouble::Refused(errno)) => format!(
                "directories cannot be watched ({}): looking at everything every few seconds instead",
                io::Error::from_raw_os_error(errno)
            ),
        };
        self.say("trouble", text);
    }
}
