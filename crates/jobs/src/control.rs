//! Talking to a shim that lives.
//!
//! It listens on a socket, which it makes in its first moments, and which can fail: there may have been no room for it on the disk, or
//! somebody holds the shim still. Whoever asks then gets an error in time. Only a stop as the spec has it gets through all the same,
//! as a signal to the shim's process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use legwork_shim::control::{self, FrameError, Reply, Request};
use legwork_shim::layout;
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::JobError;
use crate::id::JobId;
use crate::inner::{self, Inner};
use crate::shim_process::ShimProcess;
use crate::state::JobState;

/// How long a shim may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a shim whose job runs may be without a socket before it is taken to have none: a disk that is busy may hold it up for some
/// seconds.
const SOCKET_PATIENCE: Duration = Duration::from_secs(5);
/// Until a socket that exists is asked again.
const RETRY: Duration = Duration::from_millis(2);

/// A connection to a job's shim.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Connection {
    async fn open(dir: &Path) -> io::Result<Self> {
        let path_only = OFlags::PATH | OFlags::DIRECTORY;
        let dir = File::options()
            .read(true)
            .custom_flags(path_only.bits().cast_signed())
            .open(dir)?;
        // A socket's address has room for 107 bytes, and a state directory's name may be longer.
        let short = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), layout::CONTROL);
        Ok(Self {
            stream: UnixStream::connect(short).await?,
            received: Vec::new(),
        })
    }

    /// Asks and waits for the answer, however long it takes.
    pub(crate) async fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.stream.write_all(&request.encode()).await?;
        loop {
            if let Some((kind, payload, taken)) =
                control::split(&self.received).map_err(io::Error::other)?
            {
                let reply = Reply::decode(kind, payload).map_err(io::Error::other)?;
                self.received.drain(..taken);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Connects to a job's shim, and waits until it listens.
///
/// # Errors
/// [`JobError::Ended`] when there is no shim any more, [`JobError::Pending`] when there is none yet, [`JobError::Unreachable`] when it does not listen,
/// [`JobError::NoSocket`] when it cannot.
pub(crate) async fn reach(inner: &Arc<Inner>, id: JobId) -> Result<Connection, JobError> {
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let mut watch = inner.watch(id);
    let dir = inner.dir(id);
    loop {
        watch.look();
        let refused = match Connection::open(&dir.path).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let job = inner::refresh(inner, inner.entry(id)?).await?;
        match job.state {
            state if state.is_over() => return Err(JobError::Ended { id }),
            JobState::Pending { .. } => return Err(JobError::Pending { id }),
            _ => {}
        }
        if Instant::now() >= deadline {
            return Err(JobError::Unreachable { id });
        }
        match refused.kind() {
            io::ErrorKind::NotFound => {
                let had_time = |since: u64| {
                    let runs = Duration::from_millis(inner.clock.now_ms().saturating_sub(since));
                    runs.max(begun.elapsed()) >= SOCKET_PATIENCE
                };
                if job.state.started_at_ms().is_some_and(had_time) {
                    return Err(JobError::NoSocket { id });
                }
                let deadline = deadline.min(Instant::now() + SOCKET_PATIENCE);
                // In time or not, the loop looks again.
                timeout_at(deadline, watch.changed()).await.unwrap_or(());
            }
            // Bound and not listening yet, or the shim has just died, or too many are asking.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock => sleep(RETRY).await,
            _ => {
                return Err(JobError::File {
                    path: dir.path.join(layout::CONTROL),
                    source: refused,
                });
            }
        }
    }
}

/// Asks one thing of a job's shim.
///
/// # Errors
/// As [`reach`], and [`JobError::Unreachable`] when no answer comes.
pub(crate) async fn ask(inner: &Arc<Inner>, id: JobId, request: &Request) -> Result<(), JobError> {
    let mut connection = reach(inner, id).await?;
    match timeout(PATIENCE, connection.ask(request)).await {
        Ok(Ok(Reply::Failed(errno))) => Err(JobError::Refused {
            id,
            source: io::Error::from_raw_os_error(errno),
        }),
        Ok(Ok(Reply::Unsupported)) => Err(JobError::Unsupported { id }),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(inner, id, &error).await),
        Err(_) => Err(JobError::Unreachable { id }),
    }
}

/// Has a job stopped: over the socket, or where that fails and the stop is the spec's own, by a signal to the shim.
///
/// # Errors
/// As [`ask`], when neither will do.
pub(crate) async fn stop(
    inner: &Arc<Inner>,
    id: JobId,
    how: control::Stop,
) -> Result<(), JobError> {
    let dir = inner.dir(id);
    let shim = || ShimProcess::of(&dir, inner.boot_id());
    let wake = || shim().filter(ShimProcess::is_held).map(|held| held.wake());
    // Whoever wants an end of it wants it more than the one who held it still, and over the socket everything can be said.
    wake();
    let request = Request::Stop(how.clone());
    let mut asked = ask(inner, id, &request).await;
    if matches!(asked, Err(JobError::Unreachable { .. })) && wake().is_some() {
        asked = ask(inner, id, &request).await;
    }
    let failed = match asked {
        Err(failed @ (JobError::NoSocket { .. } | JobError::Unreachable { .. })) => failed,
        asked => return asked,
    };
    let spec = dir.spec()?.ok_or(JobError::NotFound { id })?;
    let as_the_spec = how.signal.is_none_or(|signal| signal == spec.stop_signal)
        && how.grace_ms.is_none_or(|grace| grace == spec.stop_grace_ms);
    let told = as_the_spec
        && shim().is_some_and(|shim| {
            shim.wake();
            shim.terminate()
        });
    if told {
        return Ok(());
    }
    let job = inner::refresh(inner, inner.entry(id)?).await?;
    Err(if job.state.is_over() {
        JobError::Ended { id }
    } else {
        failed
    })
}

/// Why there is no answer that could be understood.
pub(crate) async fn failed(inner: &Arc<Inner>, id: JobId, error: &io::Error) -> JobError {
    let frame = error.get_ref().and_then(|inner| inner.downcast_ref());
    match frame {
        Some(FrameError::Unknown(_)) => JobError::NewerAnswer { id },
        _ => hung_up(inner, id).await,
    }
}

/// Why a shim closed a connection before it answered.
async fn hung_up(inner: &Arc<Inner>, id: JobId) -> JobError {
    let mut watch = inner.watch(id);
    let deadline = Instant::now() + PATIENCE;
    loop {
        watch.look();
        let looked = match inner.entry(id) {
            Ok(entry) => inner::refresh(inner, entry).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(job) if job.state.is_over() => return JobError::Ended { id },
            Ok(_) if Instant::now() >= deadline => return JobError::Unreachable { id },
            // A shim that ends closes its connections a moment before its end can be seen.
            Ok(_) => timeout_at(deadline, watch.changed()).await.unwrap_or(()),
            Err(error) => return error,
        }
    }
}
