//! A conversation that sends, over as many connections as it takes.
//!
//! Each answer belongs to the batch that was sent the longest ago and has none. When a batch is refused, those sent behind it are refused
//! as well, for their numbers do not follow any more: so the link hears all of their answers, waits for as long as it was told, and goes
//! back to the first batch that was not acknowledged. After a lost connection it does the same.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_records::spool::Parcel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use wire::ingest_response::Message as Told;

use super::answers::{Heard, Refusal};
use super::{convert, records};
use crate::client::Client;
use crate::contact::Contact;
use crate::error::{CallError, Result};
use crate::live::Live;
use crate::lost::is_lost;

/// Batches that may wait for the connection, beside what it has in its own buffers.
const QUEUE: usize = 8;
/// What a batch costs beside its records.
const BATCH_COST: i64 = 256;
/// Pause before batches are sent again whose refusal named none.
const PAUSE: Duration = Duration::from_secs(1);

/// Where records go.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// The stream; it is made if it is not there.
    pub stream: String,
    /// What this machine is called, for the stamp beside the sender's name.
    pub host: String,
}

/// What becomes of batches of which the server wants another one than came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is there, and will be sent.
    Known,
    /// It is not there: the server has lost what it acknowledged.
    Lost,
    /// The server wants one behind all that there are: it makes no sense.
    NeverSent,
}

/// Where batches come from, with their numbers. The same number means the same bytes, for ever.
pub trait Batches: Send {
    /// The producer under which they are numbered now.
    fn producer(&self) -> String;

    /// Goes back to the first batch that was not acknowledged.
    fn rewind(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// The next batch, once there is one; `None` when there will be no other. Has to be cancel safe.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Parcel>>> + Send;

    /// The server has everything up to this number.
    ///
    /// # Errors
    /// When that cannot be written down.
    fn acknowledged(&mut self, sequence: u64) -> io::Result<()>;

    /// The server wants this number next.
    ///
    /// # Errors
    /// When that cannot be written down.
    fn expected(&mut self, sequence: u64) -> io::Result<Expected>;

    /// Somebody else uses this producer: another one is needed. False if there is none to be had.
    ///
    /// # Errors
    /// When that cannot be written down.
    fn conflict(&mut self) -> io::Result<bool>;
}

impl Client {
    /// Sends all batches of a source, until it has no more and all are acknowledged. `hear` is told of every answer.
    ///
    /// Dropping it is safe at any time: what was not acknowledged may or may not be in the log, and is not there twice when it is sent
    /// again under its numbers.
    ///
    /// # Errors
    /// What the server says of the conversation as a whole (`ROLE`, `TOO_MANY_SENDERS`, `BAD_NAME` …), what it says of a batch that no later
    /// attempt will change, `SERVER_FORGOT` where it has lost what it acknowledged and the source has it no more, and the source's own errors, as `IO`.
    pub async fn send_records<S: Batches>(
        &self,
        options: &SendOptions,
        source: &mut S,
        mut hear: impl FnMut(Heard) + Send,
    ) -> Result<()> {
        let mut in_vain = 0;
        loop {
            let mut link = Link::open(&self.contact, options, source.producer()).await?;
            link.in_vain = in_vain;
            source.rewind().await.map_err(failed)?;
            let ended = link.run(source, &mut hear).await?;
            in_vain = link.in_vain;
            match ended {
                Ended::Done => {
                    self.contact.give_back(link.live);
                    return Ok(());
                }
                Ended::Again => {}
                Ended::Lost(status) => self.contact.lost(&link.live, status).await?,
            }
        }
    }
}

/// How a conversation ended.
enum Ended {
    /// Everything is acknowledged.
    Done,
    /// It is to be begun anew.
    Again,
    /// Contact was lost.
    Lost(Status),
}

/// One conversation.
struct Link {
    live: Live,
    requests: mpsc::Sender<wire::IngestRequest>,
    answers: Streaming<wire::IngestResponse>,
    contact: Arc<Contact>,
    credit: i64,
    under_way: VecDeque<u64>,
    /// A batch was refused: nothing is sent until everything that was under way is answered, and this time has passed.
    pause: Option<Duration>,
    /// Refusals since something was acknowledged.
    in_vain: u32,
    producer: String,
}

impl Link {
    async fn open(contact: &Arc<Contact>, options: &SendOptions, producer: String) -> Result<Self> {
        loop {
            let live = contact.live_alone().await?;
            let (requests, outgoing) = mpsc::channel(QUEUE);
            let open = wire::IngestOpen {
                stream: options.stream.clone(),
                producer: producer.clone(),
                host: options.host.clone(),
            };
            let open = request(wire::ingest_request::Message::Open(open));
            // It has room for the first.
            drop(requests.try_send(open));
            let call = records(live.channel.clone());
            match { call }.ingest(ReceiverStream::new(outgoing)).await {
                Ok(answers) => {
                    return Ok(Self {
                        live,
                        requests,
                        answers: answers.into_inner(),
                        contact: Arc::clone(contact),
                        credit: 0,
                        under_way: VecDeque::new(),
                        pause: None,
                        in_vain: 0,
                        producer,
                    });
                }
                Err(status) if is_lost(&status) => contact.lost(&live, status).await?,
                Err(status) => return Err(status.into()),
            }
        }
    }

    async fn run<S: Batches>(
        &mut self,
        source: &mut S,
        hear: &mut (impl FnMut(Heard) + Send),
    ) -> Result<Ended> {
        let requests = self.requests.clone();
        let mut ready: Option<Parcel> = None;
        let mut over = false;
        loop {
            if let Some(pause) = self.pause.filter(|_| self.under_way.is_empty()) {
                tokio::time::sleep(pause).await;
                if source.producer() != self.producer {
                    return Ok(Ended::Again);
                }
                source.rewind().await.map_err(failed)?;
                (self.pause, ready, over) = (None, None, false);
            }
            if over && self.under_way.is_empty() && self.pause.is_none() {
                return Ok(Ended::Done);
            }
            let may_send = self.pause.is_none() && self.credit > 0;
            tokio::select! {
                biased;
                answer = self.answers.message() => match answer {
                    Ok(Some(answer)) => self.take(answer, source, hear)?,
                    Ok(None) => {
                        return Ok(Ended::Lost(Status::unavailable("the conversation ended early")));
                    }
                    Err(status) if is_lost(&status) => return Ok(Ended::Lost(status)),
                    Err(status) => return Err(status.into()),
                },
                place = requests.reserve(), if may_send && ready.is_some() => {
                    let Ok(place) = place else {
                        // The call has ended; its status is in the answers.
                        self.credit = 0;
                        continue;
                    };
                    if let Some(parcel) = ready.take() {
                        self.under_way.push_back(parcel.sequence());
                        let batch = convert::batch(parcel);
                        self.credit -= cost(&batch);
                        place.send(request(wire::ingest_request::Message::Batch(batch)));
                    }
                }
                parcel = source.next(), if may_send && ready.is_none() && !over => {
                    ready = parcel.map_err(failed)?;
                    over = ready.is_none();
                }
            }
        }
    }

    /// Takes an answer.
    fn take<S: Batches>(
        &mut self,
        answer: wire::IngestResponse,
        source: &mut S,
        hear: &mut impl FnMut(Heard),
    ) -> Result<()> {
        self.contact.progress();
        let credit = i64::try_from(answer.credit);
        let credit = credit.map_err(|_| CallError::protocol("credit beyond all numbers"))?;
        self.credit = self.credit.saturating_add(credit);
        match answer.message {
            Some(Told::Welcome(welcome)) => hear(Heard::Welcome(convert::limits(welcome))),
            Some(Told::Ack(ack)) => {
                let ack = convert::ack(ack)?;
                self.answered(ack.sequence)?;
                source.acknowledged(ack.sequence).map_err(failed)?;
                self.in_vain = 0;
                hear(Heard::Ack(ack));
            }
            Some(Told::Refusal(refusal)) => {
                let refusal = convert::refusal(refusal);
                self.answered(refusal.sequence)?;
                // Those behind one that was refused say nothing new.
                if self.pause.is_none() {
                    let told = self.refused(&refusal, source)?;
                    self.pause = Some(told.max(patience(self.in_vain)));
                    self.in_vain = self.in_vain.saturating_add(1);
                    hear(Heard::Delayed(refusal));
                }
            }
            None => return Err(CallError::protocol("an answer with nothing in it")),
        }
        Ok(())
    }

    fn answered(&mut self, sequence: u64) -> Result<()> {
        if self.under_way.pop_front() == Some(sequence) {
            return Ok(());
        }
        Err(CallError::protocol("an answer to another batch"))
    }

    /// How long to wait before everything is sent again that was not acknowledged.
    fn refused<S: Batches>(&self, refusal: &Refusal, source: &mut S) -> Result<Duration> {
        match (refusal.reason.as_str(), refusal.expected) {
            ("OUT_OF_ORDER", Some(expected)) => match source.expected(expected).map_err(failed)? {
                Expected::Known => Ok(Duration::ZERO),
                Expected::Lost => Err(forgotten(refusal, expected)),
                Expected::NeverSent => {
                    Err(CallError::protocol("it expects a batch that nobody sent"))
                }
            },
            ("CONFLICT", _) if source.conflict().map_err(failed)? => Ok(Duration::ZERO),
            _ => match refusal.retry_after {
                Some(pause) => Ok(pause.min(Duration::from_secs(3600))),
                None if refusal.code == Code::Unavailable as u32 => Ok(PAUSE),
                None => Err(final_word(refusal)),
            },
        }
    }
}

/// How long to wait at least after so many refusals in vain: one may be set right at once, and a server that has nothing else to say is not
/// asked as fast as it answers.
fn patience(in_vain: u32) -> Duration {
    match in_vain {
        0 | 1 => Duration::ZERO,
        more => PAUSE.min(Duration::from_millis(5) * (1 << more.min(10))),
    }
}

fn request(message: wire::ingest_request::Message) -> wire::IngestRequest {
    wire::IngestRequest {
        message: Some(message),
    }
}

/// What a batch costs of the credit.
fn cost(batch: &wire::IngestBatch) -> i64 {
    let bytes = batch.records.len() + 8 * batch.observed_each.len();
    i64::try_from(bytes).unwrap_or(i64::MAX / 2) + BATCH_COST
}

fn forgotten(refusal: &Refusal, expected: u64) -> CallError {
    let message = format!(
        "the server expects batch {expected}, which it had acknowledged: it was set back to an earlier state. Records that it had \
         acknowledged may be gone; send them again"
    );
    CallError::new(Code::DataLoss, "SERVER_FORGOT", message)
        .with("sequence", refusal.sequence.to_string())
        .with("expected", expected.to_string())
}

fn final_word(refusal: &Refusal) -> CallError {
    let code = i32::try_from(refusal.code).unwrap_or(i32::MAX);
    CallError::new(Code::from_i32(code), &refusal.reason, &refusal.message)
        .with("sequence", refusal.sequence.to_string())
}

fn failed(error: io::Error) -> CallError {
    CallError::new(Code::Internal, "IO", error.to_string())
}
