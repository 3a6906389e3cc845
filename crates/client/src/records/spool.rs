//! Batches from a spool on disk, from the first that was not acknowledged, and then those that come.
//!
//! A spool is read on a thread of its own, which ends before it is read again from another place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use legwork_records::spool::{Parcel, Spool};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{Batches, Expected};

/// Batches that are read ahead.
const AHEAD: usize = 4;
/// How long the thread waits for a batch before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Batches from a spool. There is always another one to come: whoever wants to end drops what sends.
#[derive(Debug)]
pub struct FromSpool {
    spool: Arc<Spool>,
    reading: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    parcels: mpsc::Receiver<io::Result<Parcel>>,
    wanted: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl FromSpool {
    /// Batches of this spool. It is to be read by nobody else at the same time.
    #[must_use]
    pub const fn new(spool: Arc<Spool>) -> Self {
        Self {
            spool,
            reading: None,
        }
    }

    fn begin(&self) -> Reading {
        let (tell, parcels) = mpsc::channel(AHEAD);
        let wanted = Arc::new(AtomicBool::new(true));
        let (spool, still) = (Arc::clone(&self.spool), Arc::clone(&wanted));
        let thread = tokio::task::spawn_blocking(move || read(&spool, &still, &tell));
        Reading {
            parcels,
            wanted,
            thread,
        }
    }
}

fn read(spool: &Spool, wanted: &AtomicBool, tell: &mpsc::Sender<io::Result<Parcel>>) {
    let mut outgoing = spool.outgoing();
    while wanted.load(Ordering::Relaxed) {
        match outgoing.next_parcel() {
            Ok(Some(parcel)) => {
                if tell.blocking_send(Ok(parcel)).is_err() {
                    return;
                }
            }
            Ok(None) => drop(outgoing.wait(LOOK)),
            Err(error) => {
                // Nobody is left to hear it if nobody reads.
                drop(tell.blocking_send(Err(error)));
                return;
            }
        }
    }
}

impl Reading {
    /// Ends the thread.
    async fn end(self) -> io::Result<()> {
        let Self {
            parcels,
            wanted,
            thread,
        } = self;
        wanted.store(false, Ordering::Relaxed);
        drop(parcels);
        thread.await.map_err(io::Error::other)
    }
}

impl Drop for FromSpool {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.wanted.store(false, Ordering::Relaxed);
        }
    }
}

impl Batches for FromSpool {
    fn producer(&self) -> String {
        self.spool.producer()
    }

    async fn rewind(&mut self) -> io::Result<()> {
        if let Some(reading) = self.reading.take() {
            reading.end().await?;
        }
        self.reading = Some(self.begin());
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<Parcel>> {
        if self.reading.is_none() {
            self.rewind().await?;
        }
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        match reading.parcels.recv().await {
            Some(parcel) => parcel.map(Some),
            None => Err(io::Error::other("the spool is not read any more")),
        }
    }

    fn acknowledged(&mut self, sequence: u64) -> io::Result<()> {
        self.spool.acknowledged(sequence)
    }

    fn expected(&mut self, sequence: u64) -> io::Result<Expected> {
        // True says that a new producer was begun, which is as good: what is missing is told by a gap.
        self.spool.expected_by_server(sequence)?;
        Ok(Expected::Known)
    }

    fn conflict(&mut self) -> io::Result<bool> {
        self.spool.renumber().map(|()| true)
    }
}
