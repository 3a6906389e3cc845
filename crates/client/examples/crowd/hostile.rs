//! Those who do what nobody should. Each does it once a second, on a new connection, and tells what it was answered.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use legwork_client::{FromMemory, Heard, SendOptions};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::raw::data;
use super::{Result, Who, wire};

const EVERY: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;
const DEEP: usize = 100_000;
const HUGE: usize = 100 * MIB;
/// Bytes that are sent at a time by who is slow, and the pause between them.
const CRUMB: usize = 16;
const CRUMB_EVERY: Duration = Duration::from_millis(20);

const KINDS: [Kind; 15] = [
    Kind::Pretty,
    Kind::Deep,
    Kind::LongLine,
    Kind::HugeLine,
    Kind::DuplicateKey,
    Kind::NotANumber,
    Kind::NotUtf8,
    Kind::Slow,
    Kind::Credit,
    Kind::Numbers,
    Kind::MessageTooShort,
    Kind::FieldTooShort,
    Kind::TimesTooMany,
    Kind::HalfFrame,
    Kind::Deaf,
];

/// What it is that they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// JSON over many lines, which is fine.
    Pretty,
    /// Arrays within arrays.
    Deep,
    /// A record that a message has room for, and a log has not.
    LongLine,
    /// A record of 100 MB.
    HugeLine,
    DuplicateKey,
    NotANumber,
    NotUtf8,
    /// A batch in crumbs, which is fine.
    Slow,
    /// Sends without credit.
    Credit,
    /// Leaves numbers out.
    Numbers,
    /// A message that is shorter than it says.
    MessageTooShort,
    /// A field that is longer than its message.
    FieldTooShort,
    /// More times of observation than records, which is fine.
    TimesTooMany,
    /// Stops in the middle of a frame, and stays.
    HalfFrame,
    /// Sends, and reads nothing at all, and stays.
    Deaf,
}

/// All of them, so many of each, until their time is over: what they were answered, and how often.
pub(super) async fn all(who: &Who, each: usize, over: Instant) -> Result<Value> {
    let mut all = JoinSet::new();
    for kind in KINDS {
        for number in 0..each {
            all.spawn(one(who.clone(), kind, number, over));
        }
    }
    let mut answers: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut accepted = 0;
    while let Some(told) = all.join_next().await {
        let (kind, told) = told??;
        for (answer, records) in told {
            let counts = answers.entry(format!("{kind:?}")).or_default();
            *counts.entry(answer).or_default() += 1;
            accepted += records;
        }
    }
    Ok(json!({"answers": answers, "accepted": accepted}))
}

/// What was answered, and how many records were accepted.
type Told = (String, usize);

async fn one(who: Who, kind: Kind, number: usize, over: Instant) -> Result<(Kind, Vec<Told>)> {
    let mut told = Vec::new();
    let mut next = Instant::now();
    for round in 0_u32.. {
        let name = format!("h-{kind:?}-{number}-{round}");
        told.push(act(&who, kind, &name, over).await?);
        next = Instant::now().max(next + EVERY);
        if next >= over {
            break;
        }
        sleep_until(next).await;
    }
    Ok((kind, told))
}

async fn act(who: &Who, kind: Kind, name: &str, over: Instant) -> Result<Told> {
    match kind {
        Kind::Pretty
        | Kind::Deep
        | Kind::LongLine
        | Kind::HugeLine
        | Kind::DuplicateKey
        | Kind::NotANumber
        | Kind::NotUtf8 => {
            let between = bad_record(kind, name);
            politely(who, neighbours(name, &between)).await
        }
        Kind::TimesTooMany => {
            let mut times = Vec::new();
            times.resize_with(5000, || legwork_records::Timestamp::from_micros(1));
            send(who, neighbours(name, b""), times).await
        }
        Kind::Slow => slowly(who, name).await,
        Kind::Credit => without_credit(who, name).await,
        Kind::Numbers => numbers(who, name).await,
        Kind::MessageTooShort => lie(who, name, wire::framed_as(1000, b"short"), true).await,
        Kind::FieldTooShort => {
            lie(who, name, wire::framed(&[2 << 3 | 2, 100, 1, 2, 3]), false).await
        }
        Kind::HalfFrame => half_frame(who, name, over).await,
        Kind::Deaf => deaf(who, name, over).await,
    }
}

fn bad_record(kind: Kind, name: &str) -> Vec<u8> {
    let long = |bytes: usize| format!("{{\"long\":\"{}\"}}", "x".repeat(bytes)).into_bytes();
    match kind {
        Kind::Pretty => {
            format!("{{\n  \"id\" : \"{name}-2\",\n  \"list\" : [\n    1,\n    2\n  ]\n}}").into()
        }
        Kind::Deep => [
            b"{\"deep\":".as_slice(),
            &vec![b'['; DEEP],
            &vec![b']'; DEEP],
            b"}",
        ]
        .concat(),
        Kind::LongLine => long(3 * MIB),
        Kind::HugeLine => long(HUGE),
        Kind::DuplicateKey => b"{\"a\":1,\"b\":{\"c\":1,\"\\u0063\":2}}".to_vec(),
        Kind::NotANumber => b"{\"load\":NaN}".to_vec(),
        _ => b"{\"name\":\"\xff\xfe\"}".to_vec(),
    }
}

/// Two good records, and something between them.
fn neighbours(name: &str, between: &[u8]) -> Vec<u8> {
    let good = |n: u8| format!("{{\"id\":\"{name}-{n}\"}}\n").into_bytes();
    [&good(0), between, b"\n", &good(1)].concat()
}

async fn politely(who: &Who, batch: Vec<u8>) -> Result<Told> {
    send(who, batch, Vec::new()).await
}

/// Sends a batch by the library.
async fn send(
    who: &Who,
    batch: Vec<u8>,
    observed: Vec<legwork_records::Timestamp>,
) -> Result<Told> {
    let client = who.client().await?;
    let (feed, mut source) = FromMemory::new(1);
    feed.put(batch, observed).await?;
    drop(feed);
    let (mut accepted, mut reasons) = (0, Vec::new());
    let hear = |heard| match heard {
        Heard::Ack(ack) => {
            accepted += ack.accepted.map_or(0, Iterator::count);
            reasons.extend(ack.rejections.into_iter().map(|told| told.reason));
        }
        Heard::Delayed(refusal) => reasons.push(refusal.reason),
        Heard::Welcome(_) => {}
    };
    let options = SendOptions {
        stream: who.stream.to_string(),
        ..SendOptions::default()
    };
    if let Err(error) = client.send_records(&options, &mut source, hear).await {
        return Ok((format!("REFUSED {}", error.reason), accepted));
    }
    Ok((
        format!("{accepted} accepted, {}", reasons.join(" ")),
        accepted,
    ))
}

/// Waits for the answer to one batch of one record.
async fn slowly(who: &Who, name: &str) -> Result<Told> {
    let mut call = who.call(name).await?;
    let mut batch = wire::batch(1, &neighbours(name, b""));
    while !batch.is_empty() {
        let crumb = batch.split_to(CRUMB.min(batch.len()));
        if !call.send(crumb).await? {
            break;
        }
        sleep(CRUMB_EVERY).await;
    }
    Ok(match call.answer().await? {
        Ok(_ack) => ("acknowledged".to_owned(), 2),
        Err(status) => (status, 0),
    })
}

/// Sends until it is cut off. What of it was accepted is not heard.
async fn without_credit(who: &Who, name: &str) -> Result<Told> {
    let mut call = who.call(name).await?;
    let bad = vec![b'x'; MIB];
    for sequence in 1..=64 {
        if !call.send(wire::batch(sequence, &bad)).await? {
            break;
        }
    }
    Ok((call.ending().await?, 0))
}

/// The first batch, and then the fifth.
async fn numbers(who: &Who, name: &str) -> Result<Told> {
    let mut call = who.call(name).await?;
    let good = format!("{{\"id\":\"{name}-0\"}}");
    call.send(wire::batch(1, good.as_bytes())).await?;
    if let Err(status) = call.answer().await? {
        return Ok((status, 0));
    }
    call.send(wire::batch(5, b"{\"id\":\"never\"}")).await?;
    let told = match call.answer().await? {
        Ok(answer) if contains(&answer, b"OUT_OF_ORDER") => "OUT_OF_ORDER".to_owned(),
        Ok(_other) => "another answer".to_owned(),
        Err(status) => status,
    };
    Ok((told, 1))
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// Says something about lengths that is not true.
async fn lie(who: &Who, name: &str, message: Bytes, end: bool) -> Result<Told> {
    let mut call = who.call(name).await?;
    call.out.send_data(message, end)?;
    Ok((call.ending().await?, 0))
}

/// A frame that says that it is long, and is not.
async fn half_frame(who: &Who, name: &str, over: Instant) -> Result<Told> {
    let mut stream = who.frames(name).await?;
    let mut frame = data(&wire::batch(1, &vec![b' '; 16 << 10]));
    frame.truncate(100);
    stream.write_all(&frame).await?;
    stream.flush().await?;
    sleep_until(over).await;
    Ok(("stayed".to_owned(), 0))
}

/// As many batches as the first credit is for, none of whose answers is read.
async fn deaf(who: &Who, name: &str, over: Instant) -> Result<Told> {
    let mut stream = who.frames(name).await?;
    let records = neighbours(name, b"");
    let first = data(&wire::batch(1, &records));
    let sending = async {
        stream.write_all(&first).await?;
        for sequence in 2..=1000 {
            // What is refused is answered at greatest length.
            let bad = wire::batch(sequence, b"{\"bad\":NaN}\n");
            stream.write_all(&data(&bad)).await?;
        }
        stream.flush().await
    };
    let outcome = tokio::time::timeout_at(over, sending).await;
    sleep_until(over).await;
    let told = match outcome {
        Ok(Ok(())) => "sent all",
        Ok(Err(_cut)) => "cut off",
        Err(_elapsed) => "stuck",
    };
    Ok((told.to_owned(), 2))
}
