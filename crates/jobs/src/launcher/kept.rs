//! Shims as children of another process, the [`Keeper`](crate::Keeper).
//!
//! Whoever is restarted by a service manager together with all that is in its control group, or is confined more tightly than a
//! job may be, has somebody else start the shims: they, and the jobs below them, are then of that process's making in every respect, and
//! this process can end, be replaced and begin again without their noticing.
//!
//! One launch is one connection: a request with three descriptors (the shim's program, the locked journal, the shim's end of the
//! handshake pipe), and an answer. An answer that does not come is no refusal, since the shim may run: whoever waits at the handshake
//! hears from it, or finds the pipe closed and the lock free, which says that nothing ran.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use rustix::pipe::PipeFlags;

use super::message::{Answer, Request};
use super::{LaunchOrder, Launched, Launcher, LocalLauncher, message};
use crate::state::Liveness;

/// How long a keeper may take to answer: it does one thing at a time, each a matter of a millisecond.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has shims started by the keeper that listens at a socket of this host.
#[derive(Debug, Clone)]
pub struct KeptLauncher {
    socket: PathBuf,
}

/// There is nobody at a keeper's socket. It is what is inside of an error of [`KeptLauncher`]'s then.
#[derive(Debug, thiserror::Error)]
#[error("the keeper of jobs at {} cannot be reached: {source}", socket.display())]
pub struct KeeperAway {
    /// Where it was sought.
    pub socket: PathBuf,
    /// The system's word.
    pub source: io::Error,
}

/// What a keeper says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where jobs may have control groups.
    pub groups: Option<PathBuf>,
    /// How many shims it has, as far as it knows.
    pub shims: usize,
}

impl KeptLauncher {
    /// By the keeper at this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Asks the keeper about itself.
    ///
    /// # Errors
    /// There is no keeper, or one of another kind.
    pub fn look(&self) -> io::Result<Kept> {
        let connection = self.connect()?;
        send(&connection, &Request::Look, &[])?;
        match message::receive::<Answer>(&connection)?.0 {
            Answer::Kept { groups, shims } => Ok(Kept {
                groups: groups.map(|path| path.as_os_str().into()),
                shims,
            }),
            other => Err(strange(&other)),
        }
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let told = |source: io::Error| {
            let socket = self.socket.clone();
            io::Error::new(source.kind(), KeeperAway { socket, source })
        };
        let connected = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            for way in [Timeout::Recv, Timeout::Send] {
                set_socket_timeout(&socket, way, Some(PATIENCE))?;
            }
            connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
            Ok(socket)
        };
        connected().map_err(|errno| told(errno.into()))
    }
}

impl Launcher for KeptLauncher {
    fn launch(&self, order: LaunchOrder<'_>) -> io::Result<Launched> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let connection = self.connect()?;
        let request = Request::Launch {
            dir: order.dir.into(),
            title: order.title,
        };
        let descriptors = [order.shim.as_fd(), order.journal.as_fd(), theirs.as_fd()];
        send(&connection, &request, &descriptors)?;
        // From here on the shim may run; only the keeper's own word says that it does not.
        if let Ok((Answer::Failed { errno }, _)) = message::receive(&connection) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(Launched {
            handshake: Some(ours),
            child: None,
        })
    }

    fn liveness(&self, dir: &Path) -> Liveness {
        LocalLauncher.liveness(dir)
    }
}

fn send(to: &OwnedFd, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(message::DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = serde_json::to_vec(request)?;
    let parts = [io::IoSlice::new(&text)];
    sendmsg(to, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn strange(answer: &Answer) -> io::Error {
    io::Error::other(format!(
        "the keeper of jobs says something else: {answer:?}"
    ))
}
