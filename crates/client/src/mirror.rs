//! Directories to a host and results back: the mirror's blocking sessions over gRPC streams.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_proto::v1::sync_service_client::SyncServiceClient;
use legwork_sync::error::{PullError, PushError, StoreError};
use legwork_sync::link::{Closed, Link, Receiving, Sending};
use legwork_sync::message::{Down, PullDown, PullUp, Refusal, Up};
use legwork_sync::observer::Observer;
use legwork_sync::pull::{self, Pulled};
use legwork_sync::push::{self, Pushed};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

use crate::client::Client;
use crate::connect::Channel;
use crate::contact;
use crate::error::{CallError, Result};
use crate::live::Live;
use crate::lost::is_lost;
use crate::spec::WorkspaceRef;
use crate::{convert, mirror_wire};

/// Messages that may wait to be sent: with frames of half a megabyte, some four megabytes.
const QUEUE: usize = 8;

/// A directory to mirror.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// Where to.
    pub workspace: WorkspaceRef,
    /// The directory.
    pub root: PathBuf,
    /// Take over a directory of the server's admin's choosing, though it is not empty, or another than before.
    pub adopt: bool,
    /// How.
    pub options: push::Options,
    /// The file that remembers the last commit to that workspace of that server.
    pub cache: PathBuf,
}

/// Files to bring back.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// From where.
    pub source: PullSource,
    /// Into this directory.
    pub into: PathBuf,
    /// Which, and how.
    pub options: pull::Options,
    /// The file that remembers what earlier pulls brought here.
    pub record: PathBuf,
}

/// Where files are brought back from.
#[derive(Debug, Clone)]
pub enum PullSource {
    /// The workspace of a job, by id or unique prefix.
    Job(String),
    /// A workspace.
    Workspace(WorkspaceRef),
}

/// The server's side of a call, once it has begun.
type Answer<M> = oneshot::Receiver<std::result::Result<Streaming<M>, Status>>;

/// What ended a stream, kept for whoever asks why the link broke.
pub(crate) type Ending = Arc<Mutex<Option<Status>>>;

/// Messages to a server; the first also says what they are about.
pub(crate) struct Outgoing<M, A> {
    queue: mpsc::Sender<M>,
    about: Option<A>,
}

impl<M, A> Outgoing<M, A> {
    fn put(&self, message: M) -> std::result::Result<(), Closed> {
        self.queue.blocking_send(message).map_err(|_| Closed)
    }
}

/// What a commit is about, and whether it may take over what is there.
pub(crate) type About = (wire::WorkspaceRef, bool);

impl Sending<Up> for Outgoing<wire::CommitRequest, About> {
    fn send(&mut self, message: Up) -> std::result::Result<(), Closed> {
        let message = Some(mirror_wire::up(message));
        let (workspace, adopt) = self.about.take().unzip();
        self.put(wire::CommitRequest {
            workspace,
            adopt: adopt.unwrap_or_default(),
            message,
        })
    }
}

impl Sending<PullUp> for Outgoing<wire::PullRequest, wire::PullSource> {
    fn send(&mut self, message: PullUp) -> std::result::Result<(), Closed> {
        let message = Some(mirror_wire::pull_up(message));
        let source = self.about.take();
        self.put(wire::PullRequest { source, message })
    }
}

/// Messages of a server; the call is made with the first of them, so that ours are under way before.
pub(crate) struct Incoming<M, O> {
    answers: Answer<M>,
    open: Option<Streaming<M>>,
    ending: Ending,
    runtime: Handle,
    observer: O,
}

impl<M, O> Incoming<M, O> {
    fn next(&mut self, timeout: Duration) -> std::result::Result<Option<M>, Closed> {
        let next = async {
            tokio::time::timeout(timeout, Self::message(&mut self.open, &mut self.answers)).await
        };
        match self.runtime.block_on(next) {
            Ok(Ok(Some(message))) => Ok(Some(message)),
            Ok(Ok(None)) => Err(Closed),
            Ok(Err(status)) => {
                *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                Err(Closed)
            }
            Err(_elapsed) => Ok(None),
        }
    }

    async fn message(
        open: &mut Option<Streaming<M>>,
        answers: &mut Answer<M>,
    ) -> std::result::Result<Option<M>, Status> {
        let stream = match open {
            Some(stream) => stream,
            None => match answers.await {
                Ok(stream) => open.insert(stream?),
                Err(_gone) => return Err(Status::unavailable("the call was dropped")),
            },
        };
        stream.message().await
    }
}

/// Hears which jobs a commit waits for.
pub trait WaitObserver: Observer + Send + Sync {
    /// The commit waits for these jobs, by short id.
    fn waiting_for_jobs(&self, jobs: &[String]) {
        let _unused = jobs;
    }
}

impl Receiving<Down> for Incoming<wire::CommitResponse, Arc<dyn WaitObserver>> {
    fn receive(&mut self, timeout: Duration) -> std::result::Result<Option<Down>, Closed> {
        let Some(answer) = self.next(timeout)? else {
            return Ok(None);
        };
        if let Some(wire::commit_response::Message::Waiting(waiting)) = &answer.message
            && !waiting.jobs.is_empty()
        {
            self.observer.waiting_for_jobs(&waiting.jobs);
        }
        mirror_wire::down(answer).map(Some).ok_or(Closed)
    }
}

impl Receiving<PullDown> for Incoming<wire::PullResponse, ()> {
    fn receive(&mut self, timeout: Duration) -> std::result::Result<Option<PullDown>, Closed> {
        let Some(answer) = self.next(timeout)? else {
            return Ok(None);
        };
        mirror_wire::pull_down(answer).map(Some).ok_or(Closed)
    }
}

/// A call as a link, and what ended it.
pub(crate) struct Call<M, R, A, O> {
    pub(crate) link: Link<Outgoing<M, A>, Incoming<R, O>>,
    pub(crate) ending: Ending,
}

/// The other ends of a link, for the call that is to be made. If it never is, the link is closed.
pub(crate) struct Ends<M, R> {
    outgoing: mpsc::Receiver<M>,
    answered: oneshot::Sender<std::result::Result<Streaming<R>, Status>>,
}

impl<M, R> Ends<M, R> {
    /// Makes the call; the messages of the link are under way before its answer is there.
    fn join<Made>(self, tasks: &TaskTracker, call: impl FnOnce(ReceiverStream<M>) -> Made)
    where
        R: Send + 'static,
        Made: Future<Output = std::result::Result<tonic::Response<Streaming<R>>, Status>>
            + Send
            + 'static,
    {
        let call = call(ReceiverStream::new(self.outgoing));
        let answered = self.answered;
        tasks.spawn(async move {
            // Nobody waits any more if the session was cancelled.
            drop(answered.send(call.await.map(tonic::Response::into_inner)));
        });
    }
}

/// The link of a call that is yet to be made, and its other ends.
fn prepare<M, R, A, O>(about: A, observer: O) -> (Call<M, R, A, O>, Ends<M, R>) {
    let (requests, outgoing) = mpsc::channel(QUEUE);
    let (answered, answers) = oneshot::channel();
    let ending = Ending::default();
    let link = Link {
        sender: Outgoing {
            queue: requests,
            about: Some(about),
        },
        receiver: Incoming {
            answers,
            open: None,
            ending: Arc::clone(&ending),
            runtime: Handle::current(),
            observer,
        },
    };
    (Call { link, ending }, Ends { outgoing, answered })
}

/// Makes a call of which our messages are under way before its answer is there.
pub(crate) fn begin<M, R, A, O, Made>(
    tasks: &TaskTracker,
    about: A,
    observer: O,
    call: impl FnOnce(ReceiverStream<M>) -> Made,
) -> Call<M, R, A, O>
where
    R: Send + 'static,
    Made: Future<Output = std::result::Result<tonic::Response<Streaming<R>>, Status>>
        + Send
        + 'static,
{
    let (begun, ends) = prepare(about, observer);
    ends.join(tasks, call);
    begun
}

impl Client {
    /// Mirrors a directory; returns when its tree is committed. When the connection breaks, it begins again from
    /// what was committed last: what the lost attempt had committed is not sent again.
    ///
    /// # Errors
    /// What the server refuses (`EMPTY_ROOT`, `MASS_DELETE`, `NO_SPACE`, …), what cannot be read here
    /// (`ROOT_UNREADABLE`), and `CANCELLED`.
    pub async fn push(
        &self,
        request: PushRequest,
        observer: Arc<dyn WaitObserver>,
    ) -> Result<Pushed> {
        loop {
            let (mut asked, heard) = (request.clone(), Forward(Arc::clone(&observer)));
            // While the connection is being made, this side looks at its tree.
            let (there, distance) = match self.contact.expected() {
                Some(expected) => (None, expected),
                None => {
                    let live = self.contact.live_alone().await?;
                    let distance = live.distance();
                    (Some(live), distance)
                }
            };
            distance.suit(&mut asked.options);
            let about = (convert::workspace(&request.workspace), request.adopt);
            let (Call { link, ending }, ends) = prepare(about, Arc::clone(&observer));
            let session = self.contact.tasks.spawn_blocking(move || {
                push::push(&asked.root, &asked.options, &asked.cache, link, &heard)
            });
            let live = match there {
                Some(live) => live,
                None => self.contact.live_alone().await?,
            };
            let mut service = sync(&live);
            ends.join(
                &self.contact.tasks,
                |up| async move { service.commit(up).await },
            );
            match session.await {
                Ok(Ok(pushed)) => {
                    self.contact.progress();
                    self.contact.give_back(live);
                    return Ok(pushed);
                }
                // What it does not know any more is not said again.
                Ok(Err(PushError::Older)) => {}
                Ok(Err(error)) => {
                    let broken = matches!(error, PushError::Closed(_));
                    let told = || push_error(error);
                    self.broken(&live, &ending, broken, told).await?;
                }
                Err(panic) => return Err(panicked(&panic)),
            }
        }
    }

    /// Brings files back. When the connection breaks, it begins again; files that are here already are not fetched twice.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `WORKSPACE_NOT_FOUND`, `NO_WORKSPACE`, `BAD_GLOB`, what keeps the destination
    /// from being written, and `CANCELLED`.
    pub async fn pull(
        &self,
        request: PullRequest,
        observer: Arc<dyn WaitObserver>,
    ) -> Result<Pulled> {
        let by = match &request.source {
            PullSource::Job(id) => wire::pull_source::By::Job(id.clone()),
            PullSource::Workspace(reference) => {
                wire::pull_source::By::Workspace(convert::workspace(reference))
            }
        };
        let about = wire::PullSource { by: Some(by) };
        loop {
            let live = self.contact.live_alone().await?;
            let mut service = sync(&live);
            let Call { link, ending } =
                begin(&self.contact.tasks, about.clone(), (), |up| async move {
                    service.pull(up).await
                });
            let (mut asked, heard) = (request.clone(), Forward(Arc::clone(&observer)));
            asked.options.compress = live.distance().compress(asked.options.compress);
            let session = self.contact.tasks.spawn_blocking(move || {
                pull::pull(&asked.into, &asked.options, &asked.record, link, &heard)
            });
            match session.await {
                Ok(Ok(pulled)) => {
                    self.contact.progress();
                    self.contact.give_back(live);
                    return Ok(pulled);
                }
                Ok(Err(error)) => {
                    let broken = matches!(error, PullError::Closed(_));
                    let told = || pull_error(error);
                    self.broken(&live, &ending, broken, told).await?;
                }
                Err(panic) => return Err(panicked(&panic)),
            }
        }
    }

    /// Decides what follows from a session that failed: nothing but another one if only the connection broke.
    pub(crate) async fn broken(
        &self,
        live: &Live,
        ending: &Ending,
        broken: bool,
        told: impl FnOnce() -> CallError,
    ) -> Result<()> {
        let said = ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        match said {
            Some(status) if is_lost(&status) => self.contact.lost(live, status).await,
            Some(status) => Err(status.into()),
            None if broken && self.contact.is_kept() => {
                let status = Status::unavailable("the connection broke");
                self.contact.lost(live, status).await
            }
            None => Err(told()),
        }
    }
}

pub(crate) fn sync(live: &Live) -> SyncServiceClient<Channel> {
    SyncServiceClient::with_origin(live.channel.clone(), contact::origin())
}

pub(crate) fn panicked(panic: &tokio::task::JoinError) -> CallError {
    CallError::new(Code::Internal, "PANIC", panic.to_string())
}

pub(crate) struct Forward(pub(crate) Arc<dyn WaitObserver>);

impl Observer for Forward {
    fn scanned(&self, progress: legwork_sync::observer::Progress) {
        self.0.scanned(progress);
    }

    fn transferred(&self, progress: legwork_sync::observer::Progress) {
        self.0.transferred(progress);
    }

    fn reused(&self, progress: legwork_sync::observer::Progress) {
        self.0.reused(progress);
    }

    fn waiting(&self, reason: legwork_sync::message::Waiting) {
        self.0.waiting(reason);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

pub(crate) fn push_error(error: PushError) -> CallError {
    let message = error.to_string();
    match error {
        PushError::Root { path, .. } => {
            CallError::new(Code::FailedPrecondition, "ROOT_UNREADABLE", message)
                .with("path", OsString::from(path).to_string_lossy())
        }
        PushError::Refused(refusal) => refused(&refusal),
        PushError::Closed(Closed) => CallError::new(Code::Unavailable, "UNREACHABLE", message),
        PushError::Older => CallError::new(Code::Aborted, "OLDER_SERVER", message),
        PushError::KeepsChanging { path } => {
            CallError::new(Code::Aborted, "KEEPS_CHANGING", message)
                .with("path", path.to_string_lossy())
        }
        PushError::Protocol(_) => CallError::new(Code::Internal, "PROTOCOL", message),
        PushError::Cache(error) => store_error(&error),
        PushError::BadInclude(_) => CallError::new(Code::InvalidArgument, "BAD_GLOB", message),
        PushError::Cancelled => CallError::new(Code::Cancelled, "CANCELLED", message),
    }
}

fn pull_error(error: PullError) -> CallError {
    let message = error.to_string();
    match error {
        PullError::Destination { path, .. } => {
            CallError::new(Code::FailedPrecondition, "DESTINATION", message)
                .with("path", path.to_string_lossy())
        }
        PullError::BadGlob { glob, .. } => {
            CallError::new(Code::InvalidArgument, "BAD_GLOB", message).with("glob", glob)
        }
        PullError::Refused(refusal) => refused(&refusal),
        PullError::Closed(Closed) => CallError::new(Code::Unavailable, "UNREACHABLE", message),
        PullError::Protocol(_) => CallError::new(Code::Internal, "PROTOCOL", message),
        PullError::Record(error) => store_error(&error),
        PullError::Cancelled => CallError::new(Code::Cancelled, "CANCELLED", message),
    }
}

/// A refusal arrives as a status; one that arrives as itself was made on this side.
fn refused(refusal: &Refusal) -> CallError {
    CallError::new(Code::FailedPrecondition, "REFUSED", refusal.to_string())
}

fn store_error(error: &StoreError) -> CallError {
    let reason = match error {
        StoreError::NewerFormat { .. } => "STATE_NEWER",
        StoreError::Damaged { .. } => "STATE_DAMAGED",
        StoreError::Busy { .. } => "BUSY",
        StoreError::Apart { .. } => "SITE_APART",
        StoreError::NoTrash { .. } => "TRASH_NOT_FOUND",
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            "NO_SPACE"
        }
        StoreError::Io { .. } => "IO",
    };
    CallError::new(Code::FailedPrecondition, reason, error.to_string())
}
