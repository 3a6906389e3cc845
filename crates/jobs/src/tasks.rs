//! The library's background tasks: all of them, so that closing can wait for them.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and ends them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a task that ends by itself, or with [`Self::stopping`].
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.tracker.spawn(task)
    }

    /// Runs what may block and nobody waits for, on a thread for such work. Needs a runtime.
    pub(crate) fn aside(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.tracker.spawn_blocking(work));
    }

    /// Cancelled when the library object is closed or dropped.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether nothing new may be begun.
    pub(crate) fn is_closed(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends all tasks and waits for them.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs what may block for longer than a task may, on a thread for such work.
///
/// `None` when the runtime is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    finished(tokio::task::spawn_blocking(work).await)
}

/// What became of such work. A panic goes on.
///
/// `None` when the runtime is shutting down.
pub(crate) fn finished<T>(done: Result<T, JoinError>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// A descriptor whose readiness to be read tasks can wait for. Needs a runtime.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for the sake of types that lie about their descriptor; this one is owned"
)]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
