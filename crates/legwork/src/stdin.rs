//! Our standard input on its way to a job.

use std::io::{IsTerminal, Read};

use bytes::Bytes;
use legwork_client::{Client, Stdin};
use tokio::sync::mpsc;

use crate::error::CommandError;

/// Bytes read at once.
const BLOCK: usize = 64 * 1024;

/// What the job should read: our standard input if it is asked for, or if there may be something.
pub(crate) fn wanted(asked: bool) -> Stdin {
    if asked || (!std::io::stdin().is_terminal() && !is_null()) {
        Stdin::Pipe
    } else {
        Stdin::Null
    }
}

/// Whether standard input is closed or the null device, which never says anything.
fn is_null() -> bool {
    let Ok(ours) = rustix::fs::fstat(rustix::stdio::stdin()) else {
        return true;
    };
    let null = rustix::fs::stat("/dev/null");
    rustix::fs::FileType::from_raw_mode(ours.st_mode).is_char_device()
        && null.is_ok_and(|null| null.st_rdev == ours.st_rdev)
}

/// Copies our standard input to the job's, then closes it. Returns when either side has ended.
pub(crate) async fn forward(client: Client, id: String) -> Result<(), CommandError> {
    let mut input = client.input(&id).await?;
    let mut blocks = read_blocks()?;
    while let Some(block) = blocks.recv().await {
        if !input.write(block).await? {
            return Ok(());
        }
    }
    input.end().await.map_err(CommandError::from)
}

/// Reads on a thread of its own: a read from a terminal cannot be cancelled, only abandoned.
fn read_blocks() -> Result<mpsc::Receiver<Bytes>, CommandError> {
    let (blocks, queue) = mpsc::channel(2);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut block = vec![0; BLOCK];
            // An unreadable standard input is an ended one: the job is told so.
            while let Ok(length @ 1..) = stdin.read(&mut block) {
                if blocks
                    .blocking_send(Bytes::copy_from_slice(&block[..length]))
                    .is_err()
                {
                    return;
                }
            }
        })?;
    Ok(queue)
}
