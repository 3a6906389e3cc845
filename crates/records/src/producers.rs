//! Which batches of which producer are in the log, and what they were answered.
//!
//! A producer numbers its batches from 1. One that comes again gets its first answer and is not written again; one that leaves out
//! a number is refused with the number that is expected. The table is made from the lines of the log, where each batch has its
//! producer and number, and from a checkpoint that spares reading all of them.

pub(crate) mod checkpoint;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rejection::Rejections;
use crate::segment::replay::Run;
use crate::timestamp::Timestamp;

/// So many last answers of a producer are kept.
const RECENT_MAX: usize = 8;
/// So many producers of one client are kept: nobody pushes out those of others with new ones. More than one client has calls that send at a
/// time: who is still there has to be known.
const EACH_MAX: usize = 256;
/// So many missing numbers of a producer are kept.
const HOLES_MAX: usize = 64;

/// What a batch was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    /// The first number of its records and how many; `None` if that is not known any more.
    pub(crate) accepted: Option<(u64, u64)>,
    pub(crate) rejections: Rejections,
}

/// A batch, as the table sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered<'a> {
    pub(crate) client: &'a str,
    pub(crate) producer: &'a str,
    pub(crate) sequence: u64,
    /// The first number of those it stands for: its own, but for a gap.
    pub(crate) from: u64,
    pub(crate) digest: u32,
    pub(crate) session: u64,
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be written.
    New,
    /// It is there already.
    Repeat(Answer),
    /// A number was left out.
    Gap { expected: u64 },
    /// Another batch with this number is there.
    Conflict,
}

/// How to undo what [`Producers::record`] did, when the batch could not be written.
#[derive(Debug)]
pub(crate) struct Undo {
    client: String,
    producer: String,
    last: Option<u64>,
    evicted: Option<Recent>,
    hole: bool,
    sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    s: u64,
    digest: Option<u32>,
    first: u64,
    records: u64,
    /// Lines of it are missing, so where it is is not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    #[serde(default, skip_serializing_if = "Rejections::is_empty")]
    rejected: Rejections,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    last: u64,
    /// When its last batch was received, in microseconds.
    seen: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holes: Vec<u64>,
    recent: VecDeque<Recent>,
    #[serde(skip)]
    sessions: [u64; 2],
}

/// The table.
#[derive(Debug)]
pub(crate) struct Producers {
    /// By client, and then by producer.
    known: HashMap<String, HashMap<String, Producer>>,
    max: usize,
    age: Duration,
}

impl Producers {
    pub(crate) fn new(max: usize, age: Duration) -> Self {
        Self {
            known: HashMap::new(),
            max: max.max(1),
            age,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.values().map(HashMap::len).sum()
    }

    fn get(&self, client: &str, producer: &str) -> Option<&Producer> {
        self.known.get(client)?.get(producer)
    }

    fn get_mut(&mut self, client: &str, producer: &str) -> Option<&mut Producer> {
        self.known.get_mut(client)?.get_mut(producer)
    }

    /// A producer, which is new if it is not known. Then another one of the client may have to be forgotten.
    fn entry(&mut self, client: &str, producer: &str) -> &mut Producer {
        let known = self.known.entry(client.to_owned()).or_default();
        if known.len() >= EACH_MAX && !known.contains_key(producer) {
            let silent = known.iter().min_by_key(|(_, producer)| producer.seen);
            let silent = silent.map(|(name, _)| name.clone());
            silent.and_then(|name| known.remove(&name));
        }
        known.entry(producer.to_owned()).or_default()
    }

    /// Looks a batch up.
    pub(crate) fn judge(&self, batch: &Numbered<'_>) -> Verdict {
        let known = self.get(batch.client, batch.producer);
        let expected = known.map_or(1, |producer| producer.last + 1);
        if batch.from > expected || batch.sequence == 0 || batch.from > batch.sequence {
            return Verdict::Gap { expected };
        }
        let Some(producer) = known.filter(|_| batch.sequence < expected) else {
            return Verdict::New;
        };
        if producer.holes.contains(&batch.sequence) {
            return Verdict::New;
        }
        let recent = producer
            .recent
            .iter()
            .find(|recent| recent.s == batch.sequence);
        let Some(recent) = recent else {
            return Verdict::Repeat(Answer::default());
        };
        if recent.digest.is_some_and(|digest| digest != batch.digest) {
            return Verdict::Conflict;
        }
        Verdict::Repeat(Answer {
            accepted: (!recent.damaged).then_some((recent.first, recent.records)),
            rejections: recent.rejected.clone(),
        })
    }

    /// Two senders take turns with one producer: the one that was replaced goes on.
    pub(crate) fn rivals(&mut self, batch: &Numbered<'_>) -> bool {
        let Some(producer) = self.get_mut(batch.client, batch.producer) else {
            return false;
        };
        let [now, before] = producer.sessions;
        if batch.session == 0 || batch.session == now {
            return false;
        }
        producer.sessions = [batch.session, now];
        batch.session == before
    }

    /// Takes a batch that is about to be written.
    pub(crate) fn record(
        &mut self,
        batch: &Numbered<'_>,
        received: Timestamp,
        answer: &Answer,
    ) -> Undo {
        let (first, records) = answer.accepted.unwrap_or_default();
        let recent = Recent {
            s: batch.sequence,
            digest: Some(batch.digest),
            first,
            records,
            damaged: false,
            rejected: answer.rejections.clone(),
        };
        let last = self.get(batch.client, batch.producer);
        let last = last.map(|producer| producer.last);
        let producer = self.entry(batch.client, batch.producer);
        if producer.sessions == [0, 0] {
            producer.sessions = [batch.session, 0];
        }
        let (hole, evicted) = producer.take(recent, received);
        Undo {
            client: batch.client.to_owned(),
            producer: batch.producer.to_owned(),
            last,
            evicted,
            hole,
            sequence: batch.sequence,
        }
    }

    /// Takes back what was recorded. The last one first.
    pub(crate) fn undo(&mut self, undo: Undo) {
        let Some(last) = undo.last else {
            if let Some(known) = self.known.get_mut(&undo.client) {
                known.remove(&undo.producer);
            }
            return;
        };
        let Some(producer) = self.get_mut(&undo.client, &undo.producer) else {
            return;
        };
        producer.last = last;
        producer.recent.pop_back();
        if let Some(evicted) = undo.evicted {
            producer.recent.push_front(evicted);
        }
        if undo.hole {
            producer.holes.push(undo.sequence);
        }
    }

    /// Takes a batch that was found in the log.
    pub(crate) fn replay(&mut self, run: &Run) {
        if run.producer.is_empty() {
            return;
        }
        let recent = Recent {
            s: run.sequence,
            digest: run.digest,
            damaged: !run.complete(),
            first: run.first,
            records: run.records,
            rejected: run.rejections.clone(),
        };
        let fresh = self.get(&run.client, &run.producer).is_none();
        let producer = self.entry(&run.client, &run.producer);
        let from = run.gap_from.unwrap_or(run.sequence);
        if !fresh && from > producer.last + 1 {
            // Never acknowledged, or damaged: who still has them may send them.
            let missing = (producer.last + 1..from).rev();
            producer.holes.extend(missing.take(HOLES_MAX));
            let excess = producer.holes.len().saturating_sub(HOLES_MAX);
            producer.holes.drain(..excess);
        }
        match producer
            .recent
            .back_mut()
            .filter(|known| known.s == recent.s)
        {
            // Another piece of a damaged batch.
            Some(known) => {
                known.damaged = true;
                known.digest = known.digest.or(recent.digest);
            }
            None => drop(producer.take(recent, run.received)),
        }
    }

    /// Forgets who has not been heard of for long, and the longest silent where there are too many.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.forget_before(now.earlier_by(self.age).as_micros());
        if self.len() <= self.max {
            return;
        }
        let each = self.known.values().flat_map(HashMap::values);
        let mut seen: Vec<i64> = each.map(|producer| producer.seen).collect();
        // A tenth more than needed, so that this is not done for each new one.
        let last = seen.len() - 1;
        let excess = (seen.len() - (self.max - self.max / 10)).min(last);
        let (_, &mut oldest, _) = seen.select_nth_unstable(excess);
        self.forget_before(oldest);
    }

    fn forget_before(&mut self, oldest: i64) {
        for producers in self.known.values_mut() {
            producers.retain(|_, producer| producer.seen >= oldest);
        }
        self.known.retain(|_, producers| !producers.is_empty());
    }
}

impl Producer {
    /// Takes an answer: whether it filled a hole, and which answer had to give way.
    fn take(&mut self, recent: Recent, received: Timestamp) -> (bool, Option<Recent>) {
        let hole = self.holes.iter().position(|&hole| hole == recent.s);
        if let Some(hole) = hole {
            self.holes.remove(hole);
        }
        self.last = self.last.max(recent.s);
        self.seen = self.seen.max(received.as_micros());
        self.recent.push_back(recent);
        let evicted = if self.recent.len() > RECENT_MAX {
            self.recent.pop_front()
        } else {
            None
        };
        (hole.is_some(), evicted)
    }
}

#[cfg(test)]
mod tests;
