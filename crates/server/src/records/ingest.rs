//! One call that sends: batches come, are checked and handed to the log; answers go back in the order of the batches.
//!
//! Two halves, so that neither waits for the other: one reads batches and hands them over, the other tells what became of them. What is
//! between them is bounded by the credit that the sender has ([`CREDIT`]); over all senders, by the bytes that may be under way; and for one stream, by
//! the room that its log has.
//!
//! A batch that was handed to the log is written whatever becomes of the call. When the server stops, no more batches are read, and what
//! became of those that were is told before the call ends.

mod unary;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use legwork_identity::{Principal, Via};
use legwork_proto::v1 as wire;
use legwork_records::{Ack, AppendError, Batch, BatchError, Content, Origin, Prepared, Validator};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::{Code, Status, Streaming};
use wire::ingest_request::Message;

use super::RecordShared;
use super::convert::{self, Observed};
use super::rates::Rate;
use super::senders::Sender;
use super::stream::{ENVELOPE, PERMIT, Sending, Stream};
use super::streams::is_name;
use crate::problem::Problem;
use crate::server::Shared;
use crate::workspaces::blocking;

/// Bytes that a sender may have under way, beside one batch.
pub(super) const CREDIT: i64 = 2 << 20;
/// What a batch costs beside its records.
const BATCH_COST: i64 = 256;
/// Answers that may wait to be sent.
const ANSWERS: usize = 1024;
/// Larger batches are checked on a thread for such work: they take longer than other calls may wait.
const INLINE_MAX: usize = 64 << 10;
/// How long a sender may be silent before a process that does not stay lets go of the log.
const SILENCE: Duration = Duration::from_millis(250);
/// How long a log may have no room although some was set apart for it.
const CONGESTION: Duration = Duration::from_secs(2);
/// When to try again what failed for a reason that may pass.
const LATER: Duration = Duration::from_secs(1);

/// What one call sends as.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    stream: String,
    producer: String,
    host: String,
    client: String,
    owner: String,
    limited: bool,
    number: u64,
    validator: Option<Validator>,
    /// The stream, as long as the log is to stay open for this call.
    sending: Option<Sending>,
    credit: Credit,
    _sender: Sender,
}

/// What a sender may still send. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Credit(Arc<AtomicI64>);

impl Credit {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(CREDIT)))
    }

    /// Takes what a batch costs, if anything is left.
    fn take(&self, cost: i64) -> bool {
        self.0.fetch_sub(cost, Ordering::Relaxed) > 0
    }

    /// To be called before the sender hears of it.
    pub(super) fn give_back(&self, cost: i64) {
        self.0.fetch_add(cost, Ordering::Relaxed);
    }
}

/// What becomes of a batch.
#[derive(Debug)]
pub(super) enum Pending {
    Waiting {
        sequence: u64,
        answer: oneshot::Receiver<Result<Ack, AppendError>>,
    },
    Refused(wire::IngestRefusal),
}

/// A batch that was answered, or the last word of the call.
type Answer = Result<(i64, Pending), Status>;

/// How a caller is called in lines. Names of identities have no colon, so nobody is mistaken for another.
pub(crate) fn client_name(caller: &Principal) -> String {
    match caller.via {
        Via::Certificate => caller.name.clone(),
        Via::LocalSocket { .. } | Via::InProcess => format!("local:{}", caller.name),
    }
}

impl Session {
    pub(crate) async fn open(
        shared: Arc<Shared>,
        caller: &Principal,
        mut open: wire::IngestOpen,
    ) -> Result<Self, Problem> {
        if open.host.is_empty() {
            open.host = client_name(caller);
        }
        let from = open.host.clone();
        Self::open_from(shared, caller, open, &from).await
    }

    /// The same for somebody who counts as sending from this host; from any, if it has no name.
    async fn open_from(
        shared: Arc<Shared>,
        caller: &Principal,
        open: wire::IngestOpen,
        from: &str,
    ) -> Result<Self, Problem> {
        let client = client_name(caller);
        let host = open.host;
        let producer = Some(&open.producer).filter(|producer| !producer.is_empty());
        for (what, name) in [
            ("client", Some(&client)),
            ("host", Some(&host)),
            ("producer", producer),
        ] {
            if name.is_some_and(|name| !is_name(name)) {
                return Err(bad_name(what));
            }
        }
        let records = &shared.records;
        let limit = records.streams.rules.senders_each;
        let sender = records
            .senders
            .enter(caller, from, limit, &records.streams.alarms)?;
        let limited = caller.via == Via::Certificate;
        let owner = caller.owner();
        let stream = records
            .streams
            .for_sender(&open.stream, &owner, limited)
            .await?;
        Ok(Self {
            number: records.next_session(),
            stream: open.stream,
            producer: open.producer,
            host,
            client,
            owner,
            limited,
            validator: Some(Validator::new(stream.rule.limits.clone())),
            sending: Some(stream.sending()),
            credit: Credit::new(),
            _sender: sender,
            shared,
        })
    }

    /// The first message to the sender.
    pub(super) fn welcome(&self) -> wire::IngestResponse {
        let rule = self.shared.records.streams.rules.of(&self.stream);
        let limits = &rule.limits;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let welcome = wire::IngestWelcome {
            durability: Some(convert::durability(rule.durability)),
            record_bytes_max: limits.record_bytes as u64,
            depth_max: number(limits.depth),
            batch_records_max: number(limits.batch_records),
            batch_bytes_max: limits.batch_bytes as u64,
        };
        wire::IngestResponse {
            credit: CREDIT.unsigned_abs(),
            message: Some(wire::ingest_response::Message::Welcome(welcome)),
        }
    }

    pub(super) fn credit(&self) -> Credit {
        self.credit.clone()
    }

    /// Reads batches until the sender has no more, or the server stops.
    pub(super) async fn read(
        mut self,
        mut requests: Streaming<wire::IngestRequest>,
        answers: mpsc::Sender<Answer>,
    ) {
        let draining = self.shared.draining.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = draining.cancelled() => Err(Status::from(stopping())),
                () = answers.closed() => return,
                next = self.next(&mut requests) => next,
            };
            let answer = match next {
                Ok(Some(batch)) => {
                    let cost = cost(&batch);
                    match self.take(batch, cost).await {
                        Ok(pending) => Ok((cost, pending)),
                        Err(problem) => Err(problem.into()),
                    }
                }
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let over = answer.is_err();
            if answers.send(answer).await.is_err() || over {
                return;
            }
        }
    }

    /// The next batch. The log is let go of meanwhile, if others may want it.
    async fn next(
        &mut self,
        requests: &mut Streaming<wire::IngestRequest>,
    ) -> Result<Option<wire::IngestBatch>, Status> {
        let resident = self.shared.records.streams.is_resident();
        let message = if resident || self.sending.is_none() {
            requests.message().await?
        } else {
            match tokio::time::timeout(SILENCE, requests.message()).await {
                Ok(message) => message?,
                Err(_silence) => {
                    self.sending = None;
                    requests.message().await?
                }
            }
        };
        match message.map(|request| request.message) {
            None => Ok(None),
            Some(Some(Message::Batch(batch))) => Ok(Some(batch)),
            Some(Some(Message::Open(_))) => {
                Err(Problem::malformed("a conversation that is opened twice").into())
            }
            Some(None) => Err(Problem::malformed("a message with nothing in it").into()),
        }
    }

    async fn stream(&mut self) -> Result<Arc<Stream>, Problem> {
        if let Some(sending) = &self.sending {
            return Ok(Arc::clone(sending.stream()));
        }
        let streams = &self.shared.records.streams;
        let stream = streams
            .for_sender(&self.stream, &self.owner, self.limited)
            .await?;
        self.sending = Some(stream.sending());
        Ok(stream)
    }

    /// Hands a batch over. An error ends the call.
    async fn take(&mut self, batch: wire::IngestBatch, cost: i64) -> Result<Pending, Problem> {
        if !self.credit.take(cost) {
            let message = "a batch was sent without credit: wait for answers";
            return Err(Problem::new(
                Code::FailedPrecondition,
                "CREDIT_EXCEEDED",
                message,
            ));
        }
        if !self.producer.is_empty() && batch.sequence == 0 {
            return Err(Problem::malformed(
                "batches of a producer are numbered from 1",
            ));
        }
        let sequence = batch.sequence;
        let stream = self.stream().await?;
        let (rate, owner) = (rate(&stream), self.owner.clone());
        let records = &self.shared.records;
        if self.limited
            && let Err(wait) = records.rates.check(&owner, &self.stream, rate)
        {
            return Ok(self.refuse(throttled(sequence, wait)));
        }
        let bytes = batch.records.len() as u64;
        let under_way = Arc::clone(&records.under_way);
        let wanted = records.permits(batch.records.len());
        let under_way = acquire(under_way, wanted).await?;
        let (content, count) = match self.prepare(&stream, batch).await? {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(self.refuse(convert::too_large(sequence, refused))),
        };
        if self.limited {
            let rates = &self.shared.records.rates;
            rates.take(&owner, &self.stream, rate, count, bytes);
        }
        self.hand_over(&stream, sequence, content, under_way).await
    }

    /// Checks what came.
    async fn prepare(
        &mut self,
        stream: &Arc<Stream>,
        batch: wire::IngestBatch,
    ) -> Result<Result<(Content, u64), BatchError>, Problem> {
        if let Some(gap) = batch.gap {
            if self.producer.is_empty() {
                return Err(Problem::malformed("a gap of a sender without numbers"));
            }
            return Ok(Ok((Content::Gap(convert::gap(gap)), 0)));
        }
        let observed = Observed::new(batch.observed_at, &batch.observed_each);
        let rule = &stream.rule;
        let mut validator = self
            .validator
            .take()
            .unwrap_or_else(|| Validator::new(rule.limits.clone()));
        let text = batch.records;
        let (validator, checked) = if text.len() <= INLINE_MAX && rule.schema.is_none() {
            let checked = check(&mut validator, &text, &observed, stream);
            (validator, checked)
        } else {
            let stream = Arc::clone(stream);
            blocking(move || {
                let checked = check(&mut validator, &text, &observed, &stream);
                (validator, checked)
            })
            .await?
        };
        self.validator = Some(validator);
        Ok(checked.map(|prepared| {
            let count = prepared.len() as u64 + prepared.rejections().total;
            (Content::Records(prepared), count)
        }))
    }

    async fn hand_over(
        &self,
        stream: &Arc<Stream>,
        sequence: u64,
        content: Content,
        under_way: OwnedSemaphorePermit,
    ) -> Result<Pending, Problem> {
        let wanted = match &content {
            Content::Records(records) => records.bytes() + (records.len() + 1) * ENVELOPE,
            Content::Gap(_) => 2 * ENVELOPE,
        };
        let wanted = u32::try_from(wanted / PERMIT + 1).unwrap_or(u32::MAX);
        let room = acquire(Arc::clone(&stream.room), wanted.min(stream.room_permits)).await?;
        let mut batch = Batch {
            client: self.client.clone(),
            host: self.host.clone(),
            origin: self.origin(sequence),
            content,
        };
        let deadline = tokio::time::Instant::now() + CONGESTION;
        // Kept while it waits for room, too: it is in memory all that time.
        let held = Arc::new((room, under_way));
        let mut drained = None;
        loop {
            let (tell, answer) = oneshot::channel();
            let kept = Arc::clone(&held);
            let done = move |answered| {
                // Nobody may be left to hear it.
                drop(tell.send(answered));
                drop(kept);
            };
            let Err(refused) = stream.log().try_append(batch, done) else {
                return Ok(Pending::Waiting { sequence, answer });
            };
            let error = refused.error;
            let congested = matches!(error, AppendError::Congested { .. });
            if !congested || tokio::time::Instant::now() >= deadline {
                return Ok(self.refuse(convert::refusal(sequence, &error)));
            }
            batch = refused.batch;
            // Tried again after it is known that news will come: what was taken in between is no news any more.
            drained = match drained.take() {
                None => {
                    let (tell, news) = oneshot::channel();
                    stream.log().when_drained(move || {
                        // Nobody may wait any more.
                        tell.send(()).unwrap_or_default();
                    });
                    Some(news)
                }
                Some(news) => {
                    drop(tokio::time::timeout_at(deadline, news).await);
                    None
                }
            };
        }
    }

    fn origin(&self, sequence: u64) -> Option<Origin> {
        (!self.producer.is_empty()).then(|| Origin {
            producer: self.producer.clone(),
            sequence,
            session: self.number,
        })
    }

    fn refuse(&self, refusal: wire::IngestRefusal) -> Pending {
        Pending::Refused(refusal)
    }
}

impl Pending {
    /// What to tell the sender, once it is known.
    pub(super) async fn told(self, shared: &RecordShared) -> wire::ingest_response::Message {
        use wire::ingest_response::Message::{Ack, Refusal};
        let refusal = match self {
            Self::Refused(refusal) => refusal,
            Self::Waiting { sequence, answer } => {
                match answer.await.unwrap_or(Err(AppendError::Closed)) {
                    Ok(ack) => return Ack(convert::ack(sequence, ack)),
                    Err(error) => convert::refusal(sequence, &error),
                }
            }
        };
        shared
            .streams
            .alarms
            .refused(convert::refused_for(&refusal.reason));
        Refusal(refusal)
    }
}

/// What a batch costs of the credit.
fn cost(batch: &wire::IngestBatch) -> i64 {
    let bytes = batch.records.len() + 8 * batch.observed_each.len();
    i64::try_from(bytes).unwrap_or(i64::MAX / 2) + BATCH_COST
}

fn check(
    validator: &mut Validator,
    text: &Bytes,
    observed: &Observed,
    stream: &Stream,
) -> Result<Prepared, BatchError> {
    let schema = stream.rule.schema.as_deref();
    let check = schema.map(|schema| schema as &dyn legwork_records::Check);
    validator.batch(text, observed.told(), check)
}

fn rate(stream: &Stream) -> Rate {
    Rate {
        records: stream.rule.records_per_s,
        bytes: stream.rule.bytes_per_s,
    }
}

async fn acquire(
    from: Arc<tokio::sync::Semaphore>,
    permits: u32,
) -> Result<OwnedSemaphorePermit, Problem> {
    from.acquire_many_owned(permits)
        .await
        .map_err(|_closed| stopping())
}

fn throttled(sequence: u64, wait: Duration) -> wire::IngestRefusal {
    wire::IngestRefusal {
        sequence,
        code: Code::ResourceExhausted as u32,
        reason: "THROTTLED".to_owned(),
        message: "more than you may send to this stream: send it again later".to_owned(),
        expected: None,
        retry_after_ms: Some(convert::millis(wait).max(1)),
    }
}

/// When to come again after what may pass.
pub(super) fn later() -> Option<u64> {
    Some(convert::millis(LATER))
}

fn bad_name(what: &str) -> Problem {
    let message = format!(
        "the name of the {what} is not 1 to 128 bytes without control characters, quotation marks and backslashes"
    );
    Problem::new(Code::InvalidArgument, "BAD_NAME", message)
}

fn stopping() -> Problem {
    let message = "the server is shutting down: go on when it is back";
    Problem::new(Code::Unavailable, "SHUTTING_DOWN", message)
}

/// The channel between the halves.
pub(super) fn channel() -> (mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
    mpsc::channel(ANSWERS)
}
