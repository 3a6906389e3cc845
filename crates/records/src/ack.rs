//! What is handed in, and the answer.

use crate::batch::Prepared;
use crate::config::Durability;
use crate::error::AppendError;
use crate::line::is_name;
use crate::missing::Gap;
use crate::rejection::Rejections;

/// A producer's number for a batch. With one, a batch that is sent again is written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The producer: an id that the sender made for itself.
    pub producer: String,
    /// The number of the batch, from 1 without a gap.
    pub sequence: u64,
    /// What tells the sender's connection from others; 0 if that is not known.
    pub session: u64,
}

/// What a batch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Records.
    Records(Prepared),
    /// That batches were dropped by the sender, this one being the last of them.
    Gap(Gap),
}

/// What a sender hands in, with the stamps of who took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The sender's identity.
    pub client: String,
    /// The sender's host.
    pub host: String,
    /// Its number.
    pub origin: Option<Origin>,
    /// What it says.
    pub content: Content,
}

impl Batch {
    /// Bytes for which it counts in the queue.
    pub(crate) fn bytes(&self) -> usize {
        // What stands around a record.
        const ENVELOPE: usize = 256;
        match &self.content {
            Content::Records(records) => records.bytes() + (records.len() + 1) * ENVELOPE,
            Content::Gap(_) => 2 * ENVELOPE,
        }
    }

    pub(crate) fn check_names(&self) -> Result<(), AppendError> {
        let producer = self.origin.as_ref().map(|origin| origin.producer.as_str());
        let names = [
            ("client", Some(self.client.as_str())),
            ("host", Some(self.host.as_str())),
            ("producer", producer),
        ];
        for (what, name) in names {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                let name = name.chars().take(64).collect();
                return Err(AppendError::BadName { what, name });
            }
        }
        Ok(())
    }
}

/// Records that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The number of the first.
    pub first: u64,
    /// How many. Their numbers have no gap.
    pub count: u64,
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// What is in the log. `None` if it was there already and it is not known any more where.
    pub accepted: Option<Accepted>,
    /// It was there already; this is its first answer.
    pub duplicate: bool,
    /// What is promised.
    pub durability: Durability,
    /// What was refused.
    pub rejections: Rejections,
    /// Another live sender uses the same producer.
    pub rivals: bool,
}
