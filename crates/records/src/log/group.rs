//! Batches that are written and synced together: what becomes of each, and their lines.

use std::time::Duration;

use super::queue::{Done, Job};
use crate::ack::{Accepted, Ack, Batch, Content};
use crate::alarm::Alarm;
use crate::config::Config;
use crate::error::AppendError;
use crate::line::{Extra, Head, Kind, Stamps};
use crate::missing::Lost;
use crate::producers::{Answer, Numbered, Producers, Undo, Verdict};
use crate::segment::index::{Added, client_bit};
use crate::timestamp::Timestamp;

/// The clock may be behind by so much without an alarm: it is being set right.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What was composed.
#[derive(Default)]
pub(super) struct Group {
    /// The lines, to be written behind what is there.
    pub(super) lines: Vec<u8>,
    /// Who gets which answer once they are.
    pub(super) waiting: Vec<(Done, Ack)>,
    pub(super) added: Vec<Added>,
    pub(super) undo: Vec<Undo>,
    /// The number after the last line.
    pub(super) next: u64,
    head: Head,
}

/// Where the group will be, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) next: u64,
    pub(super) offset: u64,
    pub(super) synced: u64,
    pub(super) now: Timestamp,
    pub(super) before: Timestamp,
}

impl Group {
    /// Decides about each batch, answers those that are not to be written, and writes the lines of the others to memory.
    pub(super) fn compose(
        &mut self,
        jobs: Vec<Job>,
        start: &Start,
        producers: &mut Producers,
        config: &Config,
    ) {
        self.lines.clear();
        self.added.clear();
        self.next = start.next;
        let back = start.before.since(start.now);
        if back > CLOCK_SLACK {
            config.alarm(&Alarm::ClockBack { by: back });
        }
        for Job { batch, done, .. } in jobs {
            let numbered = numbered(&batch).filter(|_| config.check_numbers);
            let rivals = numbered.is_some_and(|numbered| producers.rivals(&numbered));
            if let (true, Some(numbered)) = (rivals, numbered) {
                let (client, producer) = (numbered.client.to_owned(), numbered.producer.to_owned());
                config.alarm(&Alarm::Rivals { client, producer });
            }
            let verdict = numbered.map_or(Verdict::New, |numbered| producers.judge(&numbered));
            let (answer, duplicate) = match verdict {
                Verdict::Repeat(answer) => (answer, true),
                Verdict::New => {
                    let answer = self.write(&batch, start, config);
                    let record = |numbered| producers.record(&numbered, start.now, &answer);
                    self.undo.extend(numbered.map(record));
                    (answer, false)
                }
                refused => {
                    if let Some(numbered) = numbered {
                        done(Err(refusal(&refused, &numbered, config)));
                    }
                    continue;
                }
            };
            let ack = Ack {
                accepted: answer
                    .accepted
                    .map(|(first, count)| Accepted { first, count }),
                duplicate,
                durability: config.durability,
                rejections: answer.rejections,
                rivals,
            };
            self.waiting.push((done, ack));
        }
    }

    /// The lines of a batch: its records, and behind them what was refused.
    fn write(&mut self, batch: &Batch, start: &Start, config: &Config) -> Answer {
        let (first, offset) = (self.next, self.lines.len());
        let mut extra = Extra {
            observed: None,
            synced: offset.eq(&0).then_some(start.synced),
            clock_back: offset == 0 && start.now < start.before,
        };
        let mut answer = Answer::default();
        let note = match &batch.content {
            Content::Records(records) => {
                answer.accepted = Some((first, records.len() as u64));
                answer.rejections = records.rejections().clone();
                let told = records.is_empty() || !answer.rejections.is_empty();
                told.then(|| (Kind::Rejected, json(&answer.rejections)))
            }
            Content::Gap(gap) => {
                answer.accepted = Some((first, 0));
                Some((Kind::Gap, json(gap)))
            }
        };
        let records = answer.accepted.map_or(0, |(_, count)| count);
        let lines = records + u64::from(note.is_some());
        let origin = batch.origin.as_ref();
        let stamps = Stamps {
            client: &batch.client,
            host: &batch.host,
            stream: &config.stream,
            origin: origin.map(|origin| (origin.producer.as_str(), origin.sequence)),
            lines,
        };
        self.head.begin(start.now, &stamps);
        let mut place = 0;
        let mut line = |out: &mut Vec<u8>, observed, body| {
            extra.observed = observed;
            self.head.line(out, first + place, place, &extra, body);
            extra = Extra::default();
            place += 1;
        };
        if let Content::Records(records) = &batch.content {
            for (record, observed) in records.records() {
                line(&mut self.lines, observed, (Kind::Record, record));
            }
        }
        if let Some((kind, body)) = &note {
            line(&mut self.lines, None, (*kind, body));
        }
        self.next = first + lines;
        self.added.push(Added {
            offset: start.offset + offset as u64,
            length: (self.lines.len() - offset) as u64,
            first,
            lines,
            received: start.now,
            client: client_bit(&batch.client),
        });
        answer
    }
}

fn numbered(batch: &Batch) -> Option<Numbered<'_>> {
    let origin = batch.origin.as_ref()?;
    let (from, digest) = match &batch.content {
        Content::Records(records) => (origin.sequence, records.digest()),
        Content::Gap(gap) => (gap.first, crc32fast::hash(&[])),
    };
    Some(Numbered {
        client: &batch.client,
        producer: &origin.producer,
        sequence: origin.sequence,
        from,
        digest,
        session: origin.session,
    })
}

fn refusal(verdict: &Verdict, batch: &Numbered<'_>, config: &Config) -> AppendError {
    let (client, producer) = (batch.client.to_owned(), batch.producer.to_owned());
    let sequence = batch.sequence;
    if let Verdict::Gap { expected } = *verdict {
        return AppendError::OutOfOrder {
            producer,
            sequence,
            expected,
        };
    }
    config.alarm(&Alarm::Conflict {
        client,
        producer: producer.clone(),
        sequence,
    });
    AppendError::Conflict { producer, sequence }
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Plain data, whose keys are strings.
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

impl Group {
    /// A line of the log's own, which says what of it is lost.
    pub(super) fn lost(lost: &Lost, start: &Start, config: &Config) -> Self {
        let mut group = Self::default();
        let stamps = Stamps {
            client: "",
            host: "",
            stream: &config.stream,
            origin: None,
            lines: 1,
        };
        group.head.begin(start.now, &stamps);
        let extra = Extra {
            observed: None,
            synced: Some(start.synced),
            clock_back: start.now < start.before,
        };
        let body = json(lost);
        group
            .head
            .line(&mut group.lines, start.next, 0, &extra, (Kind::Lost, &body));
        group.next = start.next + 1;
        group.added.push(Added {
            offset: start.offset,
            length: group.lines.len() as u64,
            first: start.next,
            lines: 1,
            received: start.now,
            client: client_bit(""),
        });
        group
    }
}
