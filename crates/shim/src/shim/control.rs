//! The control socket and its connections.
//!
//! It is made under another name, listens, and then gets its own, so that whoever sees it can connect. Only
//! the shim's own user and root are heard. There is room for a few connections at a time; when
//! all are taken, one that only waits for the payload to read gives way, so that a stop always gets through.

use alloc::vec::Vec;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

use legwork_shim::control::{Reply, Request};
use legwork_shim::layout;

use crate::runtime::release_memory;

use super::best_effort;
use super::connection::Connection;

/// Connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 16;
/// The socket before it listens.
const DRAFT: &str = "control.tmp";

/// The control socket, once there is one.
#[derive(Debug, Default)]
pub(super) struct Control {
    listener: Option<OwnedFd>,
    connections: Vec<Connection>,
}

impl Control {
    /// Makes the socket.
    ///
    /// # Errors
    /// What the file system says; the job runs without, and can be stopped by SIGTERM to its shim.
    pub(super) fn open(&mut self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        let made = self.make(dir);
        if made.is_err() {
            // Left there, it would be in the way of the next attempt.
            best_effort(rustix::fs::unlinkat(dir, DRAFT, AtFlags::empty()));
        }
        made
    }

    fn make(&mut self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Relative to the working directory, which is the job directory: its path may be longer than a
        // socket address. The file mode mask (see `Inherited::take`) makes it 0600.
        bind(&socket, &SocketAddrUnix::new(DRAFT)?)?;
        listen(&socket, 8)?;
        rustix::fs::renameat(dir, DRAFT, dir, layout::CONTROL)?;
        self.listener = Some(socket);
        Ok(())
    }

    /// The descriptor on which connections arrive.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// The connections, in the order by which [`Control::work`] knows them.
    pub(super) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Whether any request waits for room in standard input.
    pub(super) fn waits(&self) -> bool {
        self.connections.iter().any(Connection::waits)
    }

    /// Takes one connection in.
    pub(super) fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(listener, flags) else {
            return;
        };
        if !may_speak(&socket) {
            return;
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            let Some(idle) = self.connections.iter().position(Connection::waits) else {
                return;
            };
            self.connections.remove(idle);
        }
        self.connections.push(Connection::new(socket));
    }

    /// Lets those connections go on for which `ready` is true.
    pub(super) fn work(
        &mut self,
        ready: impl Fn(usize, &Connection) -> bool,
        answer: &mut dyn FnMut(&Request) -> Option<Reply>,
    ) {
        let before = self.connections.len();
        let mut at = 0;
        self.connections.retain_mut(|connection| {
            let ready = ready(at, connection);
            at += 1;
            !ready || connection.work(answer).is_ok()
        });
        if self.connections.is_empty() && before > 0 {
            self.connections = Vec::new();
            release_memory();
        }
    }
}

fn may_speak(socket: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
