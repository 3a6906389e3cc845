//! The main process of the jobs' unit: a [`Keeper`], told of news by the runtime.
//!
//! It is a subcommand of the same program: a script around `sleep` could move itself into a group of its own too, but cannot start a shim
//! there for a server that is not root, and what a process is born with is not changed from outside.

use std::future::pending;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use legwork_server::Keeper;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::CommandError;
use crate::mirror::count;
use crate::notify::Manager;

/// Starts shims until SIGTERM; then waits until their jobs have been stopped.
pub(crate) async fn run(socket: &Path) -> Result<u8, CommandError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = signal(SignalKind::child())?;
    let mut keeper = Keeper::open(socket)?;
    let mut listener = Some(UnixListener::from_std(keeper.listener()?)?);
    let manager = Manager::of_environment();
    manager.ready(&words(&keeper));
    let mut told = keeper.shims();
    while listener.is_some() || keeper.shims() > 0 {
        tokio::select! {
            _ = terminate.recv() => stop(&keeper, &mut listener, &manager),
            _ = interrupt.recv() => stop(&keeper, &mut listener, &manager),
            _ = child.recv() => keeper.reap(),
            peer = next(listener.as_ref()) => keeper.answer(peer?),
        }
        if told != keeper.shims() {
            told = keeper.shims();
            manager.status(&words(&keeper));
        }
    }
    Ok(0)
}

/// Nobody is let in any more, and every job is told to end.
fn stop(keeper: &Keeper, listener: &mut Option<UnixListener>, manager: &Manager) {
    *listener = None;
    manager.stopping();
    keeper.stop();
}

fn words(keeper: &Keeper) -> String {
    let jobs = count(keeper.shims() as u64, "job");
    match keeper.groups() {
        Some(_) => jobs,
        None => format!("{jobs}, without control groups"),
    }
}

/// Whoever connects next; nobody, once nobody is let in.
async fn next(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    let Some(listener) = listener else {
        return pending().await;
    };
    listener.accept().await?.0.into_std()
}
