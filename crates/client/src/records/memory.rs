//! Batches from memory: numbered as they are handed in, and kept until they are acknowledged.
//!
//! They are gone with the process. What has to outlive it belongs into a spool ([`super::FromSpool`]).

use std::collections::VecDeque;
use std::io;

use legwork_records::Timestamp;
use legwork_records::spool::Parcel;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::link::{Batches, Expected};

/// Hands batches in.
#[derive(Debug, Clone)]
pub struct Feed(mpsc::Sender<(Vec<u8>, Vec<Timestamp>)>);

/// Nobody sends any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody sends any more")]
pub struct Gone;

impl Feed {
    /// Hands in a batch: records, a line each, and when each was observed, as far as that is known. Waits for room.
    ///
    /// # Errors
    /// When the source is gone.
    pub async fn put(&self, lines: Vec<u8>, observed: Vec<Timestamp>) -> Result<(), Gone> {
        self.0.send((lines, observed)).await.map_err(|_| Gone)
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_blocking(&self, lines: Vec<u8>, observed: Vec<Timestamp>) -> Result<(), Gone> {
        self.0.blocking_send((lines, observed)).map_err(|_| Gone)
    }
}

/// Batches from memory.
#[derive(Debug)]
pub struct FromMemory {
    producer: String,
    fed: mpsc::Receiver<(Vec<u8>, Vec<Timestamp>)>,
    /// What was not acknowledged, from the oldest on.
    kept: VecDeque<Parcel>,
    /// How many of those were handed out.
    out: usize,
    /// The number of the next batch.
    next: u64,
}

impl FromMemory {
    /// A source, and how to feed it; it has room for so many batches that were not handed out. There is no more once the last
    /// handle to feed it is dropped.
    #[must_use]
    pub fn new(room: usize) -> (Feed, Self) {
        let (feed, fed) = mpsc::channel(room.max(1));
        let source = Self {
            producer: Uuid::now_v7().simple().to_string(),
            fed,
            kept: VecDeque::new(),
            out: 0,
            next: 1,
        };
        (Feed(feed), source)
    }

    /// The number of the first batch that was not acknowledged.
    fn first(&self) -> u64 {
        self.kept.front().map_or(self.next, Parcel::sequence)
    }
}

impl Batches for FromMemory {
    fn producer(&self) -> String {
        self.producer.clone()
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.out = 0;
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<Parcel>> {
        if let Some(parcel) = self.kept.get(self.out) {
            self.out += 1;
            return Ok(Some(parcel.clone()));
        }
        let Some((lines, observed)) = self.fed.recv().await else {
            return Ok(None);
        };
        let parcel = Parcel::Records {
            sequence: self.next,
            lines,
            observed,
        };
        self.next += 1;
        self.kept.push_back(parcel.clone());
        self.out += 1;
        Ok(Some(parcel))
    }

    fn acknowledged(&mut self, sequence: u64) -> io::Result<()> {
        while self
            .kept
            .pop_front_if(|parcel| parcel.sequence() <= sequence)
            .is_some()
        {
            self.out = self.out.saturating_sub(1);
        }
        Ok(())
    }

    fn expected(&mut self, sequence: u64) -> io::Result<Expected> {
        if sequence < self.first() {
            return Ok(Expected::Lost);
        }
        if sequence > self.next {
            return Ok(Expected::NeverSent);
        }
        // It has those before.
        self.acknowledged(sequence - 1)?;
        Ok(Expected::Known)
    }

    fn conflict(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Batches, Expected, FromMemory, Parcel};

    async fn numbers(source: &mut FromMemory, count: usize) -> Vec<u64> {
        let mut found = Vec::new();
        for _ in 0..count {
            found.extend(source.next().await.unwrap().map(|parcel| parcel.sequence()));
        }
        found
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_comes_again_as_it_was() {
        let (feed, mut source) = FromMemory::new(8);
        for n in 0..4 {
            feed.put(vec![n], Vec::new()).await.unwrap();
        }
        drop(feed);
        assert_eq!(numbers(&mut source, 3).await, [1, 2, 3]);
        source.acknowledged(1).unwrap();
        source.rewind().await.unwrap();
        assert_eq!(numbers(&mut source, 3).await, [2, 3, 4]);
        source.rewind().await.unwrap();
        let Some(Parcel::Records {
            sequence, lines, ..
        }) = source.next().await.unwrap()
        else {
            panic!("a batch")
        };
        assert_eq!((sequence, lines), (2, vec![1]));
        source.acknowledged(4).unwrap();
        assert_eq!(source.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_server_that_was_set_back_is_noticed() {
        let (feed, mut source) = FromMemory::new(8);
        for n in 0..3 {
            feed.put(vec![n], Vec::new()).await.unwrap();
        }
        assert_eq!(numbers(&mut source, 3).await, [1, 2, 3]);
        source.acknowledged(1).unwrap();
        assert_eq!(source.expected(1).unwrap(), Expected::Lost);
        for beyond in [5, u64::MAX] {
            assert_eq!(source.expected(beyond).unwrap(), Expected::NeverSent);
        }
        assert_eq!(source.expected(3).unwrap(), Expected::Known);
        source.rewind().await.unwrap();
        assert_eq!(numbers(&mut source, 1).await, [3]);
    }
}
