//! `RecordService`: logs of records, one for each stream, and who may do what with them.
//!
//! `streams` knows which there are and opens their logs, `stream` is one that is open; `ingest` is a call that sends, with `rates` and `senders`, which
//! bound it; `tail` is one that reads, in steps that `reading` makes; `figures` is what metrics tell.

mod at;
mod convert;
mod figures;
pub(crate) mod ingest;
mod rates;
mod reading;
mod rules;
mod senders;
mod stream;
mod streams;
mod tail;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt, once, unfold};
use legwork_identity::store::Identity;
use legwork_identity::{Principal, PrincipalId, policy};
use legwork_proto::v1 as wire;
use legwork_proto::v1::record_service_server::RecordService;
use legwork_records::Timestamp;
use legwork_records::fsck::fsck;
use legwork_records::query::From;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Request, Response, Status, Streaming};

pub(crate) use self::figures::{Now, Sums};
use self::ingest::Session;
use self::rates::Rates;
use self::reading::Wanted;
pub use self::rules::{RecordRules, StreamRule};
use self::senders::Senders;
use self::stream::PERMIT;
pub(crate) use self::stream::Stream;
pub use self::streams::check_stream;
use self::streams::{Known, Streams, not_found};
use self::tail::Tail;
use crate::access::Call;
use crate::export;
use crate::jobs::Answers;
use crate::problem::Problem;
use crate::server::Shared;
use crate::workspaces::blocking;

/// Bytes of a message from a sender: a batch, when each of its records was observed, and what stands around them.
pub(crate) const INGEST_BYTES_MAX: usize = (4 << 20) + (256 << 10);
/// Steps of reading under way at a time, over all calls.
const READS: usize = 4;
/// Streams on a page.
const PAGE_MAX: usize = 100;
/// How often idle logs are looked for, and all logs are tidied up.
const LOOK: Duration = Duration::from_secs(15);
const TOUR: Duration = Duration::from_hours(1);

/// What the calls about records share.
#[derive(Debug)]
pub(crate) struct RecordShared {
    pub(crate) streams: Arc<Streams>,
    rates: Rates,
    senders: Senders,
    under_way: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    checks: Mutex<()>,
    sessions: AtomicU64,
    pub(crate) exports: Exports,
}

/// What exports have done, by name.
type Exports = std::sync::Mutex<std::collections::BTreeMap<String, Arc<export::Counts>>>;

impl RecordShared {
    pub(crate) fn new(state: &Path, rules: RecordRules) -> Self {
        let under_way = rules.bytes_under_way.max(PERMIT) / PERMIT;
        Self {
            streams: Arc::new(Streams::new(state, rules)),
            rates: Rates::default(),
            senders: Senders::default(),
            under_way: Arc::new(Semaphore::new(under_way.min(Semaphore::MAX_PERMITS))),
            reads: Arc::new(Semaphore::new(READS)),
            checks: Mutex::default(),
            sessions: AtomicU64::new(1),
            exports: Exports::default(),
        }
    }

    fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// What a batch of so many bytes takes of those that may be under way.
    fn permits(&self, bytes: usize) -> u32 {
        let all = self.streams.rules.bytes_under_way.max(PERMIT) / PERMIT;
        u32::try_from((bytes / PERMIT + 1).min(all)).unwrap_or(u32::MAX)
    }

    /// The right to read for one step.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = Arc::clone(&self.reads).acquire_owned().await;
        turn.map_err(|closed| Problem::new(Code::Internal, "CLOSED", closed.to_string()))
    }

    /// Keeps logs open from now on, and looks after them until the server stops.
    pub(crate) async fn stay(&self, draining: &tokio_util::sync::CancellationToken) {
        self.streams.stay();
        loop {
            let next = tokio::time::Instant::now() + TOUR;
            if draining
                .run_until_cancelled(self.streams.tour())
                .await
                .is_none()
            {
                return;
            }
            while tokio::time::Instant::now() < next {
                let pause = tokio::time::sleep(LOOK);
                if draining.run_until_cancelled(pause).await.is_none() {
                    return;
                }
                self.streams.close_idle();
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct RecordRpc(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl RecordService for RecordRpc {
    type IngestStream = Answers<wire::IngestResponse>;

    async fn ingest(
        &self,
        request: Request<Streaming<wire::IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let call = Call::of(&request)?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(wire::ingest_request::Message::Open(open)) = first else {
            return Err(Problem::malformed("the first message does not open").into());
        };
        call.about(&open.stream);
        let session = Session::open(Arc::clone(&self.0), call.principal()?, open).await?;
        let (welcome, credit) = (session.welcome(), session.credit());
        let (tell, told) = ingest::channel();
        drop(self.0.tasks.spawn(session.read(requests, tell)));
        let shared = Arc::clone(&self.0);
        let answers = unfold(
            (shared, told, credit),
            |(shared, mut told, credit)| async move {
                let answer = match told.recv().await? {
                    Ok((cost, pending)) => {
                        let message = Some(pending.told(&shared.records).await);
                        credit.give_back(cost);
                        let credit = cost.unsigned_abs();
                        Ok(wire::IngestResponse { credit, message })
                    }
                    Err(status) => Err(status),
                };
                Some((answer, (shared, told, credit)))
            },
        );
        let first = once(std::future::ready(Ok(welcome)));
        Ok(Response::new(Box::pin(first.chain(answers))))
    }

    type TailStream = Answers<wire::TailResponse>;

    async fn tail(
        &self,
        request: Request<wire::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        call.about(&request.stream);
        let caller = call.principal()?;
        let form = request.form();
        let mut wanted = Wanted {
            since: request.since.map(convert::moment),
            until: request.until.map(convert::moment),
            clients: Some(request.clients).filter(|clients| !clients.is_empty()),
            rejected: request.rejected,
            form,
        };
        let stream = self.0.records.streams.existing(&request.stream).await?;
        if let Some(own) = self.own(caller)? {
            if streams::is_own(&stream.name) {
                return Err(not_found(&stream.name).into());
            }
            self.check_own(&stream, &own).await?;
            wanted = own.only(wanted);
        }
        let tail = Tail::open(
            Arc::clone(&self.0),
            &stream,
            wanted,
            request.from,
            request.follow,
        );
        Ok(Response::new(Box::pin(tail.await?.answers())))
    }

    type AtStream = Answers<wire::AtResponse>;

    async fn at(
        &self,
        request: Request<wire::AtRequest>,
    ) -> Result<Response<Self::AtStream>, Status> {
        let call = Call::of(&request)?;
        let rows = at::at(self, &call, request.into_inner()).await?;
        Ok(Response::new(rows))
    }

    async fn list_streams(
        &self,
        request: Request<wire::ListStreamsRequest>,
    ) -> Result<Response<wire::ListStreamsResponse>, Status> {
        let call = Call::of(&request)?;
        let after = request.into_inner().page_token;
        Ok(Response::new(self.list(call.principal()?, &after).await?))
    }

    async fn stream_stats(
        &self,
        request: Request<wire::StreamStatsRequest>,
    ) -> Result<Response<wire::StreamStatsResponse>, Status> {
        let call = Call::of(&request)?;
        let name = request.into_inner().stream;
        call.about(&name);
        let stream = self.0.records.streams.existing(&name).await?;
        let told = blocking(move || stats(&stream)).await?;
        Ok(Response::new(told))
    }

    async fn fsck(
        &self,
        request: Request<wire::FsckRequest>,
    ) -> Result<Response<wire::FsckResponse>, Status> {
        let call = Call::of(&request)?;
        let name = request.into_inner().stream;
        call.about(&name);
        streams::check_name(&name)?;
        let streams = &self.0.records.streams;
        let dir = streams.log_dir(&name);
        // One at a time: it reads as fast as the disk can.
        let _alone = self.0.records.checks.lock().await;
        let report = blocking(move || dir.is_dir().then(|| fsck(&dir))).await?;
        let report = report.ok_or_else(|| not_found(&name))?;
        let report = report.map_err(|error| Problem::io(&streams.log_dir(&name), &error))?;
        Ok(Response::new(convert::report(report)))
    }
}

/// What somebody may read who sees only their own.
#[derive(Debug)]
struct Own {
    client: String,
    /// Since when the name is theirs, if somebody else had it before.
    since: Option<Timestamp>,
}

impl Own {
    fn only(&self, wanted: Wanted) -> Wanted {
        let asked = |clients: Vec<String>| {
            let own = clients.into_iter().filter(|client| *client == self.client);
            own.collect()
        };
        let all = vec![self.client.clone()];
        Wanted {
            clients: Some(wanted.clients.map_or(all, asked)),
            since: wanted.since.max(self.since),
            ..wanted
        }
    }
}

impl RecordRpc {
    /// Whose lines somebody may read, unless those of all.
    fn own(&self, caller: &Principal) -> Result<Option<Own>, Problem> {
        if policy::sees_all(caller) {
            return Ok(None);
        }
        let since = match caller.id {
            PrincipalId::Identity(id) => {
                let known = self.0.authority.need()?.store.identities()?;
                let own = known.iter().find(|identity| identity.id == id);
                let had = |own: &Identity| {
                    let named = |other: &Identity| other.name == own.name && other.id != own.id;
                    known.iter().any(named)
                };
                // The second in which it was made may be one of who had the name before.
                own.filter(|own| had(own)).map(|own| {
                    let begins = own.created_at.as_secs().saturating_add(1);
                    convert::moment(begins.saturating_mul(1_000_000))
                })
            }
            PrincipalId::User(_) => None,
        };
        Ok(Some(Own {
            client: ingest::client_name(caller),
            since,
        }))
    }

    /// Nothing, if there is a line of theirs in the stream. Else it is as if there were no such stream.
    async fn check_own(&self, stream: &Arc<Stream>, own: &Own) -> Result<(), Problem> {
        let _turn = self.0.records.turn().await?;
        let wanted = own.only(Wanted {
            since: None,
            until: None,
            clients: None,
            rejected: true,
            form: wire::TailForm::Unspecified,
        });
        let looked = Arc::clone(stream);
        let found = blocking(move || has_any(&looked, &wanted)).await??;
        match found {
            true => Ok(()),
            false => Err(not_found(&stream.name)),
        }
    }

    async fn list(
        &self,
        caller: &Principal,
        after: &str,
    ) -> Result<wire::ListStreamsResponse, Problem> {
        let streams = Arc::clone(&self.0.records.streams);
        let known = blocking(move || streams.list()).await??;
        let mut left = known
            .into_iter()
            .filter(|known| known.name.as_str() > after);
        let page: Vec<Known> = left.by_ref().take(PAGE_MAX).collect();
        let more = left.next().is_some();
        let next = page.last().filter(|_| more).map(|last| last.name.clone());
        let own = self.own(caller)?;
        let mut found = Vec::new();
        for known in page {
            found.extend(self.one(&known.name, own.as_ref()).await);
        }
        Ok(wire::ListStreamsResponse {
            streams: found,
            next_page_token: next.unwrap_or_default(),
        })
    }

    /// One stream of the list, if the caller may know of it.
    async fn one(&self, name: &str, own: Option<&Own>) -> Option<wire::StreamInfo> {
        if own.is_some() && streams::is_own(name) {
            return None;
        }
        let unknown = |problem: &Problem| wire::StreamInfo {
            name: name.to_owned(),
            problem: problem.to_string(),
            ..wire::StreamInfo::default()
        };
        let stream = match self.0.records.streams.existing(name).await {
            Ok(stream) => stream,
            Err(problem) => return own.is_none().then(|| unknown(&problem)),
        };
        if let Some(own) = own {
            let seen = self.check_own(&stream, own).await;
            return seen.ok().map(|()| wire::StreamInfo {
                name: name.to_owned(),
                ..wire::StreamInfo::default()
            });
        }
        let told = blocking(move || convert::info(&stream.name, &stream.log().stats())).await;
        Some(told.unwrap_or_else(|problem| unknown(&problem)))
    }
}

fn has_any(stream: &Stream, wanted: &Wanted) -> Result<bool, Problem> {
    let mut reader = wanted.reader(stream, From::Start);
    while let Some(item) = reader.next_item()? {
        if matches!(item, legwork_records::query::Item::Entry(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn stats(stream: &Stream) -> wire::StreamStatsResponse {
    let stats = stream.log().stats();
    wire::StreamStatsResponse {
        info: Some(convert::info(&stream.name, &stats)),
        durability: Some(convert::durability(stream.rule.durability)),
        opened: convert::micros(stream.opened),
        segments: stats.segments as u64,
        free_bytes: stats.free_bytes,
        producers: stats.producers as u64,
        queue_bytes: stats.queue_bytes as u64,
        batches: stats.batches,
        duplicates: stats.duplicates,
        accepted: stats.accepted,
        rejected: stats.rejected.into_iter().collect(),
        written_bytes: stats.written_bytes,
        syncs: stats.syncs,
        sync_failures: stats.sync_failures,
        sync_times: stats.sync_times.to_vec(),
        senders: stream.senders.load(Ordering::Relaxed),
        readers: stream.lag().0,
    }
}
