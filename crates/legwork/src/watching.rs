//! `legwork sync --watch`: a directory is mirrored until an interrupt. What is said meanwhile is in `teller`.

mod teller;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use legwork_client::{WatchObserver, WorkspaceRef};
use legwork_sync::watch::{Clock, Pace};
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::error::{CommandError, FAILED, INTERRUPTED};
use crate::files;
use crate::interrupt::Interrupts;
use crate::local::Session;
use crate::mirror::{self, How};
use crate::project::Project;
use crate::watching::teller::Teller;

/// As a shell has it for what SIGTERM ended.
const TERMINATED: u8 = 128 + 15;
/// How long an interrupt waits for what is under way.
const ENDING: Duration = Duration::from_millis(700);
/// How long it waits until all is said.
const SAYING: Duration = Duration::from_millis(200);

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
    let teller = Arc::new(Teller::start(app.out, project)?);
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
        teller.stop();
        // What was begun is left at a point that the next one goes on from, or is cut off: nothing is lost by that.
        let _cut_off = tokio::time::timeout(ENDING, watching).await;
    }
    teller.finish(SAYING)?;
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
