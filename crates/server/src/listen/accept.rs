//! Accepting: one loop for each socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::Listening;

/// How long to wait when the system has no descriptor or memory for another connection: at first, and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) async fn tcp(listening: Arc<Listening>, listener: TcpListener, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, source)) => {
                backoff = BACKOFF_MIN;
                let connection = Arc::clone(&listening).over_tcp(stream, source);
                listening.connections.spawn(connection);
            }
            Err(error) => pause(&error, &mut backoff).await,
        }
    }
}

pub(super) async fn local(
    listening: Arc<Listening>,
    listener: UnixListener,
    stop: CancellationToken,
) {
    let mut backoff = BACKOFF_MIN;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                backoff = BACKOFF_MIN;
                let connection = Arc::clone(&listening).over_socket(stream);
                listening.connections.spawn(connection);
            }
            Err(error) => pause(&error, &mut backoff).await,
        }
    }
}

/// A peer that left at once is no trouble. Anything else would come again at once.
async fn pause(error: &io::Error, backoff: &mut Duration) {
    let left = io::ErrorKind::ConnectionAborted;
    if error.kind() == left || error.kind() == io::ErrorKind::ConnectionReset {
        return;
    }
    if *backoff == BACKOFF_MIN {
        tracing::warn!(%error, "cannot accept connections");
    }
    tokio::time::sleep(*backoff).await;
    *backoff = (*backoff * 2).min(BACKOFF_MAX);
}
