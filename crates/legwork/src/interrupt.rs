//! Ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CommandError, INTERRUPTED};

/// Interrupts from the terminal, as they come.
#[derive(Debug)]
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// From here on an interrupt is ours to handle and does not end the process by itself.
    pub(crate) fn listen() -> Result<Self, CommandError> {
        Ok(Self(signal(SignalKind::interrupt())?))
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        // `None` would mean that the runtime is going away, and we with it.
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Does `work` until it is done or the user stops looking.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        result = work => result,
        () = interrupts.next() => Err(CommandError::new(
            INTERRUPTED,
            "INTERRUPTED",
            "stopped looking; what runs goes on running",
        )),
    }
}
