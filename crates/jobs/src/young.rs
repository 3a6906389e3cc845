//! Jobs that this process has started a moment ago.
//!
//! Their shims tell over the handshake pipe what they do, until they settle, and as our children when they are gone. So who looks at
//! such a job needs no watch on its directory, and a command that runs a short job never has one: to make and give up the
//! kernel's instance costs it more than a millisecond, because the kernel waits for all its processors then.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legwork_shim::handshake;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::id::JobId;
use crate::launcher::Launched;
use crate::tasks::{self, Tasks};

/// Bytes of a shim's first line that are read at most: an error with a path in it.
const LINE_MAX: usize = 64 * 1024;
/// How long a shim that has closed its pipe may take to be gone. The disk may keep it for longer, but then its directory tells.
const PARTING: Duration = Duration::from_millis(100);

/// The news of all of them.
#[derive(Debug, Default)]
pub(crate) struct Young {
    jobs: Mutex<HashMap<JobId, watch::Receiver<u64>>>,
}

impl Young {
    /// Something else whenever something has happened, for as long as the job is young.
    pub(crate) fn news(&self, id: JobId) -> Option<watch::Receiver<u64>> {
        self.jobs().get(&id).cloned()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, watch::Receiver<u64>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a launch in. The result is the first line that its shim will say, empty if it says nothing, or `None` if nothing can be heard of it.
    pub(crate) fn take(
        self: &Arc<Self>,
        id: JobId,
        launched: Launched,
        tasks: &Tasks,
    ) -> Option<oneshot::Receiver<io::Result<String>>> {
        let Launched { handshake, child } = launched;
        let stop = tasks.stopping();
        let Some(pipe) = handshake else {
            drop(tasks.spawn(reap(child, stop)));
            return None;
        };
        let (say, said) = oneshot::channel();
        let (news, seen) = watch::channel(0);
        self.jobs().insert(id, seen);
        let young = self.clone();
        drop(tasks.spawn(async move {
            let mut shim = Shim::new(pipe);
            // Of a launch that was made the starter hears, whoever closes the library meanwhile.
            let line = shim.first_line().await;
            news.send_modify(|count| *count += 1);
            // Whoever asked for the start may be gone.
            drop(say.send(line));
            young.attend(id, shim, news, child, stop).await;
        }));
        Some(said)
    }

    async fn attend(
        &self,
        id: JobId,
        mut shim: Shim,
        news: watch::Sender<u64>,
        child: Option<Child>,
        stop: CancellationToken,
    ) {
        let mut gone = pin!(reap(child, stop.clone()));
        let tell = || news.send_modify(|count| *count += 1);
        let settled = stop.run_until_cancelled(shim.tells_of_growth(tell)).await;
        drop(shim);
        let is_gone = settled == Some(false) && timeout(PARTING, &mut gone).await.is_ok();
        tell();
        self.jobs().remove(&id);
        drop(news);
        if !is_gone {
            gone.await;
        }
    }
}

/// A shim at the other end of its handshake pipe.
struct Shim {
    pipe: io::Result<pipe::Receiver>,
    /// What was read and not understood yet.
    said: Vec<u8>,
}

impl Shim {
    fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: pipe::Receiver::from_owned_fd(pipe),
            said: Vec::new(),
        }
    }

    /// Reads what there is; `false` at the end.
    async fn hear(&mut self) -> io::Result<bool> {
        let pipe = self
            .pipe
            .as_mut()
            .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        Ok(pipe.read_buf(&mut self.said).await? > 0)
    }

    async fn first_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let rest = self.said.split_off(end + 1);
                let line = std::mem::replace(&mut self.said, rest);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.said.len() > LINE_MAX || !self.hear().await? {
                let said = std::mem::take(&mut self.said);
                return Ok(String::from_utf8_lossy(&said).into_owned());
            }
        }
    }

    /// Tells of growth until the shim has settled, which is `true`, or has closed its pipe.
    async fn tells_of_growth(&mut self, tell: impl Fn()) -> bool {
        loop {
            if !self.said.is_empty() {
                tell();
            }
            if self.said.contains(&handshake::SETTLED[0]) {
                return true;
            }
            self.said.clear();
            if !matches!(self.hear().await, Ok(true)) {
                return false;
            }
        }
    }
}

/// Collects a child when it ends. A child that outlives the library object is for whoever inherits it.
async fn reap(child: Option<Child>, stop: CancellationToken) {
    let Some(mut child) = child else {
        return;
    };
    let ended = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(tasks::readable);
    let Ok(pidfd) = ended else {
        tasks::blocking(move || child.wait()).await;
        return;
    };
    stop.run_until_cancelled(pidfd.readable()).await;
    // Only a child that somebody else has reaped is an error, and then there is nothing to do.
    drop(child.try_wait());
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, PipeWriter, Write};
    use std::process::{Child, Command};
    use std::sync::Arc;

    use rustix::process::{Pid, Signal, kill_process};
    use tokio::sync::{oneshot, watch};

    use super::{LINE_MAX, Young};
    use crate::id::JobId;
    use crate::launcher::Launched;
    use crate::tasks::Tasks;

    /// A job of an invented shim.
    struct Job {
        young: Arc<Young>,
        id: JobId,
        shim: PipeWriter,
        said: oneshot::Receiver<std::io::Result<String>>,
        news: watch::Receiver<u64>,
        tasks: Tasks,
    }

    fn job() -> Job {
        job_of(None)
    }

    fn job_of(child: Option<Child>) -> Job {
        let (ours, shim) = std::io::pipe().unwrap();
        let (young, tasks) = (Arc::new(Young::default()), Tasks::default());
        let id = JobId::from(uuid::Uuid::from_u128(7));
        let launched = Launched {
            handshake: Some(ours.into()),
            child,
        };
        let said = young.take(id, launched, &tasks).unwrap();
        let news = young.news(id).unwrap();
        Job {
            young,
            id,
            shim,
            said,
            news,
            tasks,
        }
    }

    #[tokio::test]
    async fn it_is_news_until_it_has_settled() {
        let mut job = job();
        job.shim.write_all(b"started 5\n").unwrap();
        assert_eq!(job.said.await.unwrap().unwrap(), "started 5\n");
        job.news.changed().await.unwrap();
        for _ in 0..2 {
            job.shim.write_all(b"\n").unwrap();
            job.news.changed().await.unwrap();
            assert!(job.young.news(job.id).is_some());
        }
        job.shim.write_all(b"\nsettled\n").unwrap();
        while job.news.changed().await.is_ok() {}
        assert!(job.young.news(job.id).is_none());
        job.tasks.close().await;
    }

    #[tokio::test]
    async fn once_it_has_settled_it_costs_no_pipe() {
        #[expect(clippy::disallowed_methods, reason = "any child will do")]
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut job = job_of(Some(child));
        job.shim.write_all(b"started 5\nsettled\n").unwrap();
        while job.news.changed().await.is_ok() {}
        let refused = job.shim.write_all(b"\n").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
        kill_process(pid, Signal::KILL).unwrap();
        job.tasks.close().await;
    }

    #[tokio::test]
    async fn a_launch_that_was_made_is_heard_of_by_whoever_closes_meanwhile() {
        let mut job = job();
        let speak = async {
            tokio::task::yield_now().await;
            job.shim.write_all(b"started 5\n").unwrap();
            assert_eq!(job.said.await.unwrap().unwrap(), "started 5\n");
        };
        tokio::join!(job.tasks.close(), speak);
        assert!(job.young.news(job.id).is_none());
    }

    #[tokio::test]
    async fn its_end_is_news() {
        let mut job = job();
        job.shim.write_all(b"failed {}\n").unwrap();
        assert_eq!(job.said.await.unwrap().unwrap(), "failed {}\n");
        job.news.changed().await.unwrap();
        let told = *job.news.borrow_and_update();
        drop(job.shim);
        while job.news.changed().await.is_ok() {}
        assert!(*job.news.borrow() > told);
        assert!(job.young.news(job.id).is_none());
    }

    #[tokio::test]
    async fn a_shim_that_says_nothing_or_too_much_is_let_be() {
        let nothing = job();
        drop(nothing.shim);
        assert_eq!(nothing.said.await.unwrap().unwrap(), "");
        let mut much = job();
        let babble = tokio::task::spawn_blocking(move || {
            drop(much.shim.write_all(&vec![b'x'; LINE_MAX * 3]));
        });
        assert!(much.said.await.unwrap().unwrap().len() > LINE_MAX);
        // Without a pause for whoever listens: more comes than the pipe holds.
        babble.await.unwrap();
    }
}
