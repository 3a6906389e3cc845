//! Those who send as everybody should: 50 records a second, in one batch, each acknowledged.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use legwork_client::{Client, FromMemory, Heard, SendOptions};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Result, Who, spread};

const BATCH: usize = 50;
const EVERY: Duration = Duration::from_secs(1);

/// Somebody who is connected.
pub(super) struct Sender {
    number: usize,
    client: Client,
    stream: String,
}

/// What came of one of them.
#[derive(Default)]
struct Sent {
    accepted: usize,
    refused: u64,
    delayed: usize,
    took: Vec<Duration>,
}

/// So many of them, on a connection each.
pub(super) async fn connect(who: &[Who], count: usize) -> Result<Vec<Sender>> {
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let who = who[number % who.len()].clone();
        connecting.spawn(async move {
            let client = who.client().await?;
            let stream = who.stream.to_string();
            Result::Ok(Sender {
                number,
                client,
                stream,
            })
        });
    }
    let mut senders = Vec::with_capacity(count);
    while let Some(connected) = connecting.join_next().await {
        senders.push(connected??);
    }
    Ok(senders)
}

/// They send for so long, not all at the same moment, and wait for their last answers.
pub(super) async fn send(senders: Vec<Sender>, time: Duration) -> Result<Value> {
    let count = u32::try_from(senders.len().max(1))?;
    let batches = usize::try_from(time.as_secs())?;
    let begun = tokio::time::Instant::now();
    let mut sending = JoinSet::new();
    for (place, sender) in (0..).zip(senders) {
        sending.spawn(sender.send(begun + EVERY * place / count, batches));
    }
    let mut all = Sent::default();
    while let Some(sent) = sending.join_next().await {
        let sent = sent??;
        all.accepted += sent.accepted;
        all.refused += sent.refused;
        all.delayed += sent.delayed;
        all.took.extend(sent.took);
    }
    Ok(json!({
        "sent": batches * usize::try_from(count)? * BATCH,
        "accepted": all.accepted,
        "refused": all.refused,
        "delayed": all.delayed,
        "seconds": begun.elapsed().as_secs_f64(),
        "answers": spread(all.took),
    }))
}

impl Sender {
    async fn send(self, begin: tokio::time::Instant, batches: usize) -> Result<Sent> {
        let (feed, mut source) = FromMemory::new(batches);
        let begun = Mutex::new(VecDeque::new());
        let note = || begun.lock().expect("nobody panics with it");
        let feeding = async {
            let feed = feed;
            for batch in 0..batches {
                tokio::time::sleep_until(begin + EVERY * u32::try_from(batch)?).await;
                let records = self.records(batch);
                note().push_back(Instant::now());
                feed.put(records, Vec::new()).await?;
            }
            Result::Ok(())
        };
        let mut sent = Sent::default();
        let hear = |heard| match heard {
            Heard::Ack(ack) => {
                sent.accepted += ack.accepted.map_or(0, Iterator::count);
                sent.refused += ack.rejected;
                sent.took.extend(note().pop_front().map(|at| at.elapsed()));
            }
            Heard::Delayed(_) => sent.delayed += 1,
            Heard::Welcome(_) => {}
        };
        let options = SendOptions {
            stream: self.stream.clone(),
            ..SendOptions::default()
        };
        let sending = async {
            let sent = self.client.send_records(&options, &mut source, hear).await;
            sent.map_err(Into::into)
        };
        tokio::try_join!(feeding, sending)?;
        Ok(sent)
    }

    /// A batch of records of 300 bytes, which all say which they are.
    fn records(&self, batch: usize) -> Vec<u8> {
        let mut text = String::with_capacity(BATCH * 301);
        for n in 0..BATCH {
            let begin = text.len();
            let written = write!(text, r#"{{"id":"g-{}-{batch}-{n}","text":""#, self.number);
            written.expect("memory takes all");
            text.extend(std::iter::repeat_n('x', 298 - (text.len() - begin)));
            text.push_str("\"}\n");
        }
        text.into_bytes()
    }
}
