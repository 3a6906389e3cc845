//! Telling the service manager how we are, as `sd_notify(3)` says: a datagram to the socket that it names.
//!
//! Where no manager asks for it, nothing is told. What cannot be told is no failure: the manager then finds out by itself that
//! the time it gives has passed.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_server::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often in the time that a watchdog gives it is told that all is well.
const SIGNS: u32 = 3;

/// How a client of HTTP/2 begins: the preface and a frame of settings without any.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whoever started this process and waits for word.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manager {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names, if it names one.
    pub(crate) fn of_environment() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let number = |name| set(name)?.to_str()?.parse::<u64>().ok();
        // The interval may be meant for another process, whose environment we have inherited.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Self {
            socket: set("NOTIFY_SOCKET").and_then(|name| address(name.as_bytes())),
            watchdog: number("WATCHDOG_USEC")
                .filter(|micros| is_ours && *micros > 0)
                .map(Duration::from_micros),
        }
    }

    /// Everybody who connects is answered from here on.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// How things are, for people.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Shows signs of life to a watchdog for as long as the server greets whoever connects to its socket: that takes the
    /// runtime, its clock, and all between the socket and the services.
    pub(crate) fn watch_over(&self, tasks: &TaskTracker, state: &Path, stop: CancellationToken) {
        let Some(interval) = self.watchdog.map(|time| time / SIGNS) else {
            return;
        };
        let (manager, state) = (self.clone(), PathBuf::from(state));
        let signs = async move {
            loop {
                if let Ok(true) = tokio::time::timeout(interval, answers(&state)).await {
                    manager.tell("WATCHDOG=1");
                }
                tokio::time::sleep(interval).await;
            }
        };
        tasks.spawn(async move { stop.run_until_cancelled(signs).await });
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        let sent =
            UnixDatagram::unbound().and_then(|ours| ours.send_to_addr(text.as_bytes(), socket));
        if let Err(error) = sent {
            tracing::debug!(%error, "the service manager cannot be told");
        }
    }
}

/// Whether the server greets who connects: that somebody can connect is the kernel's doing.
async fn answers(state: &Path) -> bool {
    let Ok(Some(mut stream)) = connect(state).await else {
        return false;
    };
    let asked = stream.write_all(GREETING).await;
    asked.is_ok() && stream.read_exact(&mut [0]).await.is_ok()
}

/// A path, or with an `@` a name that is in no file system.
fn address(name: &[u8]) -> Option<SocketAddr> {
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::{Manager, address};

    #[test]
    fn what_is_told_arrives_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("legwork-notify-{}", std::process::id());
        for name in [
            path.to_str().unwrap().to_owned(),
            format!("@{abstract_name}"),
        ] {
            let socket = address(name.as_bytes()).unwrap();
            let heard = UnixDatagram::bind_addr(&socket).unwrap();
            let manager = Manager {
                socket: Some(socket),
                watchdog: None,
            };
            manager.ready("listening");
            let mut text = [0; 100];
            let length = heard.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\nSTATUS=listening");
        }
        // Nobody there, and nobody named: neither is a failure.
        drop(dir);
        Manager::default().stopping();
    }
}
