//! The socket in the state directory, for the users of this host.
//!
//! It is reached through a descriptor of the directory, because the path of a socket has at most 107 bytes and that of
//! a state directory may have more.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use legwork_identity::Principal;
use nix::unistd::{Uid, User};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tonic::Code;

use crate::problem::Problem;

/// Its name in the state directory.
const NAME: &str = "sock";

/// A short path to what is in a directory, valid while the file is open.
fn short(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Binds the socket. Whoever calls has the server's lock, so one that is there is of a server that died.
pub(super) fn bind(state: &Path) -> Result<(UnixListener, PathBuf), Problem> {
    let path = state.join(NAME);
    let io = |error: std::io::Error| Problem::io(&path, &error);
    let dir = File::open(state).map_err(io)?;
    let fresh = short(&dir, "sock.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(io)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(io)?;
    std::fs::rename(&fresh, short(&dir, NAME)).map_err(io)?;
    Ok((listener, path))
}

/// Connects to the server of a state directory; `None` if there is none.
///
/// # Errors
/// When there is one, and it cannot be reached.
pub async fn connect(state: &Path) -> Result<Option<UnixStream>, Problem> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let path = state.join(NAME);
    let connected = match File::open(state) {
        Ok(dir) => UnixStream::connect(short(&dir, NAME)).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(error) => Err(Problem::io(&path, &error)),
    }
}

/// Who is at the other end: our own user, or root. Anybody else is nobody here.
pub(super) fn principal(peer: UCred) -> Result<Principal, Problem> {
    let uid = peer.uid();
    if uid != 0 && uid != Uid::effective().as_raw() {
        let message = format!("user {uid} is not the user of this server");
        return Err(Problem::new(Code::PermissionDenied, "OTHER_USER", message));
    }
    let name = match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    };
    Ok(Principal::local(uid, name))
}
