//! A process that starts shims for another one, and is what they have in common with it: nothing.
//!
//! A service manager ends what is in a service's control group, and cannot start a service again while groups that were given
//! controllers live below it. So a server that is to be restarted and upgraded while jobs go on must not be where jobs are. The keeper is
//! the main process of a second service, which is started once: shims are its children, in a leaf of its group, jobs have their groups
//! beside that leaf, and limits, name spaces and rights of the jobs are those of that service.
//!
//! It has one thread, keeps nothing on disk, and knows nothing of jobs: each is a directory that it was told, and three descriptors. It does
//! no more when it ends than to have its shims stop their jobs by the rules of each, as for SIGTERM.
//!
//! Whoever owns the process waits for connections and for SIGCHLD and calls [`Keeper::answer`] and [`Keeper::reap`]. All children of the
//! process have to be the keeper's.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen,
    send, shutdown, socket_with,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::launcher::message::{self, Answer, Request};
use crate::launcher::{Parts, spawn};
use crate::limits::delegated;

/// How many connections may wait.
const BACKLOG: i32 = 1024;
/// How long somebody who has connected may take to say what for. They are the user's own programs, and say it at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts shims for whoever may open its socket.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
    groups: Option<PathBuf>,
    shims: HashSet<Pid>,
}

impl Keeper {
    /// Listens at a socket that this user alone may open, and takes the control group of this process for the jobs, if it was delegated
    /// to it. What is at the socket's place is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(socket: &Path) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listening = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = bind(&listening, &SocketAddrUnix::new(socket)?);
        rustix::process::umask(before);
        bound?;
        listen(&listening, BACKLOG)?;
        Ok(Self {
            socket: listening,
            groups: delegated::in_service(),
            shims: HashSet::new(),
        })
    }

    /// Where jobs may have control groups.
    #[must_use]
    pub fn groups(&self) -> Option<&Path> {
        self.groups.as_deref()
    }

    /// How many shims there are.
    #[must_use]
    pub fn shims(&self) -> usize {
        self.shims.len()
    }

    /// The socket, of which each connection is for [`Keeper::answer`]. It does not block, and what is taken from it has packets.
    ///
    /// # Errors
    /// There is no room for one more descriptor.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.socket.try_clone().map(UnixListener::from)
    }

    /// Answers somebody who has connected. What goes wrong with that is for the other end to notice.
    pub fn answer(&mut self, peer: UnixStream) {
        // One thing at a time: who is heard has said it, or says it soon.
        if peer.set_nonblocking(false).is_ok() {
            self.hear(&peer.into()).unwrap_or(());
        }
    }

    /// Collects shims that have ended.
    pub fn reap(&mut self) {
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            self.shims.remove(&pid);
        }
    }

    /// Lets nobody in any more and has all jobs stopped by their rules: their shims go once they are over.
    pub fn stop(&self) {
        // Who waits there is refused, instead of waiting for the end of this process.
        shutdown(&self.socket, Shutdown::Both).unwrap_or(());
        for shim in &self.shims {
            // It is a child that was not waited for: the number is its own, and signalling it cannot fail but for that.
            kill_process(*shim, Signal::TERM).unwrap_or(());
        }
    }

    fn hear(&mut self, peer: &OwnedFd) -> io::Result<()> {
        for way in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(peer, way, Some(PATIENCE))?;
        }
        let answer = match message::receive::<Request>(peer) {
            Ok((Request::Look, _)) => Answer::Kept {
                groups: self.groups.as_deref().map(Into::into),
                shims: self.shims.len(),
            },
            Ok((Request::Launch { dir, title }, descriptors)) => {
                self.launch(Path::new(dir.as_os_str()), &title, descriptors)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Answer::Failed {
                errno: Errno::NOSYS.raw_os_error(),
            },
            Err(error) => return Err(error),
        };
        send(peer, &serde_json::to_vec(&answer)?, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn launch(&mut self, dir: &Path, title: &str, descriptors: Vec<OwnedFd>) -> Answer {
        let Ok([shim, journal, handshake]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            let errno = Errno::BADF.raw_os_error();
            return Answer::Failed { errno };
        };
        let parts = Parts {
            dir,
            title,
            shim,
            journal,
            handshake,
        };
        match spawn(parts) {
            Ok(child) => {
                self.shims.insert(Pid::from_child(&child));
                Answer::Launched { pid: child.id() }
            }
            Err(error) => Answer::Failed {
                errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
            },
        }
    }
}
