//! Contents that left the tree with the last commits: the server keeps some of them for when they come back.
//!
//! Which it still has it does not say. So this is a guess: what it has not any more is asked for, which takes a round trip.

use std::cmp::Ordering;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::Entry;
use crate::message::Node;
use crate::push::base::{Contents, key};
use crate::store::codec::{Reader, Writer};

/// Contents that are remembered at most, and bytes of them: about what a server keeps.
const MAX: usize = 1 << 15;
const MAX_BYTES: u64 = 256 << 20;

/// For each content the beginning of its hash, and its length; the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Past(Vec<(u64, u64)>);

impl Past {
    /// What it is after a commit that led from `was` to `now`, both sorted.
    pub(crate) fn after(earlier: &Self, was: &[Entry], now: &[Entry]) -> Self {
        let mut past = Vec::new();
        let mut now = now.iter().peekable();
        for was in was {
            let Node::File { hash, size, .. } = &was.node else {
                continue;
            };
            while now
                .next_if(|now| now.path.cmp(&was.path) == Ordering::Less)
                .is_some()
            {}
            let there = now.peek().filter(|now| now.path == was.path);
            let stays = there.is_some_and(
                |now| matches!(&now.node, Node::File { hash: now, .. } if now == hash),
            );
            if !stays && *size > 0 {
                past.push((key(hash), *size));
            }
        }
        past.extend_from_slice(&earlier.0);
        past.truncate(MAX);
        let mut bytes: u64 = 0;
        past.retain(|(_, size)| {
            bytes = bytes.saturating_add(*size);
            bytes <= MAX_BYTES
        });
        Self(past)
    }

    /// Whether this content is among them.
    pub(crate) fn contains(&self, hash: &Digest) -> bool {
        let sought = key(hash);
        self.0.iter().any(|(key, _)| *key == sought)
    }

    /// As a set.
    pub(crate) fn contents(&self) -> Contents {
        self.0.iter().map(|(key, _)| *key).collect()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.0.len() as u64);
        for (key, size) in &self.0 {
            writer.u64(*key);
            writer.u64(*size);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, StoreError> {
        let mut past = Vec::new();
        for _ in 0..reader.u64()?.min(MAX as u64) {
            past.push((reader.u64()?, reader.u64()?));
        }
        Ok(Self(past))
    }
}
