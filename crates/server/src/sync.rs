//! `SyncService`: the mirror's blocking sessions over gRPC streams.
//!
//! A session runs on a thread of its own. It takes messages straight from the request stream and puts
//! its own on a short queue, so that flow control reaches from the disk to the client's reader.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_proto::v1::sync_service_server::SyncService;
use legwork_sync::link::{Closed, Link, Receiving, Sending};
use legwork_sync::message::{Down, PullDown, PullUp, Up};
use legwork_sync::{pull, receive};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Call;
use crate::jobs::Answers;
use crate::mirror;
use crate::problem::Problem;
use crate::quotas::Quotas;
use crate::server::Shared;
use crate::sites::Entry;
use crate::upkeep;
use crate::workspaces::{Mirror, WorkspaceId, own};

/// Messages to a client that may wait to be sent.
const QUEUE: usize = 8;

#[derive(Debug)]
pub(crate) struct SyncRpc(pub(crate) Arc<Shared>);

/// Messages from a client. The first was read already, to learn what it is about.
struct Incoming<M, A> {
    first: Option<M>,
    stream: Streaming<M>,
    runtime: Handle,
    to_client: Outgoing<A>,
}

impl<M, A> Incoming<M, A> {
    fn next(&mut self, timeout: Duration) -> Result<Option<M>, Closed> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let next = async { tokio::time::timeout(timeout, self.stream.message()).await };
        match self.runtime.block_on(next) {
            Ok(Ok(Some(message))) => Ok(Some(message)),
            Ok(Ok(None)) => Err(self.end(Problem::malformed(
                "the client's messages ended before the last answer",
            ))),
            Ok(Err(broken)) => Err(self.end(broken)),
            Err(_elapsed) => Ok(None),
        }
    }

    /// Ends the session as if the client had left, and says why in case it has not.
    fn end(&self, why: impl Into<Status>) -> Closed {
        // Whoever has left hears nothing.
        drop(self.to_client.0.blocking_send(Err(why.into())));
        Closed
    }
}

/// Messages to a client.
#[derive(Clone)]
struct Outgoing<M>(mpsc::Sender<Result<M, Status>>);

impl<M> Outgoing<M> {
    fn put(&self, message: Result<M, Problem>) -> Result<(), Closed> {
        self.0
            .blocking_send(message.map_err(Status::from))
            .map_err(|_| Closed)
    }
}

impl Receiving<Up> for Incoming<wire::CommitRequest, wire::CommitResponse> {
    fn receive(&mut self, timeout: Duration) -> Result<Option<Up>, Closed> {
        let Some(request) = self.next(timeout)? else {
            return Ok(None);
        };
        let message = request.message.ok_or_else(|| self.end(empty()))?;
        mirror::up(message)
            .map(Some)
            .map_err(|problem| self.end(problem))
    }
}

impl Receiving<PullUp> for Incoming<wire::PullRequest, wire::PullResponse> {
    fn receive(&mut self, timeout: Duration) -> Result<Option<PullUp>, Closed> {
        let Some(request) = self.next(timeout)? else {
            return Ok(None);
        };
        let message = request.message.ok_or_else(|| self.end(empty()))?;
        Ok(Some(mirror::pull_up(message)))
    }
}

fn empty() -> Problem {
    Problem::malformed("a message with nothing in it")
}

/// Messages of a commit, with the names of the jobs that it waits for.
struct CommitOutgoing {
    to_client: Outgoing<wire::CommitResponse>,
    shared: Arc<Shared>,
    workspace: WorkspaceId,
    tree: PathBuf,
    runtime: Handle,
}

impl Sending<Down> for CommitOutgoing {
    fn send(&mut self, message: Down) -> Result<(), Closed> {
        // Whoever has to look after a path there must know where that is.
        let located = |problem: Problem| problem.with("tree", self.tree.display());
        let mut answer = mirror::down(message).map_err(located);
        if let Ok(wire::CommitResponse {
            message: Some(wire::commit_response::Message::Waiting(waiting)),
        }) = &mut answer
        {
            // A task of its own: it looks at files of the server's, which this thread may not be able to.
            let (shared, workspace) = (Arc::clone(&self.shared), self.workspace.clone());
            let asked = async move { jobs_in(&shared, &workspace).await };
            let asking = self.shared.tasks.spawn_on(asked, &self.runtime);
            waiting.jobs = self.runtime.block_on(asking).unwrap_or_default();
        }
        self.to_client.put(answer)
    }
}

impl Sending<PullDown> for Outgoing<wire::PullResponse> {
    fn send(&mut self, message: PullDown) -> Result<(), Closed> {
        self.put(mirror::pull_down(message))
    }
}

/// The short ids of the jobs that run in a workspace.
async fn jobs_in(shared: &Shared, workspace: &WorkspaceId) -> Vec<String> {
    use legwork_jobs::Phase::{Paused, Running, Starting, Unknown};
    let query = legwork_jobs::ListQuery {
        phases: Some([Starting, Running, Paused, Unknown].into()),
        ..legwork_jobs::ListQuery::default()
    };
    // Only a courtesy: without the list, the client is told that it waits, but not for whom.
    let Ok(page) = shared.jobs.list(&query).await else {
        return Vec::new();
    };
    let name = workspace.to_string();
    let here = page
        .jobs
        .iter()
        .filter(|job| job.asked.meta.workspace.as_ref() == Some(&name));
    here.map(|job| job.id.short()).collect()
}

/// What the first message of a commit comes to do.
fn entry(first: &wire::CommitRequest) -> Entry {
    use wire::commit_request::Message::Hello;
    let adopt = first.adopt;
    match &first.message {
        Some(Hello(hello)) if !hello.dry_run => Entry::Commit { adopt },
        _ => Entry::Plan { adopt },
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the mirror takes its clock from here"
)]
pub(crate) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[tonic::async_trait]
impl SyncService for SyncRpc {
    type CommitStream = Answers<wire::CommitResponse>;

    async fn commit(
        &self,
        request: Request<Streaming<wire::CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        let call = Call::of(&request)?;
        let mut stream = request.into_inner();
        let first = stream
            .message()
            .await?
            .ok_or_else(|| Problem::malformed("an empty commit"))?;
        let reference = first.workspace.as_ref();
        let reference = reference.ok_or_else(|| Problem::malformed("a commit to no workspace"))?;
        let id = self.0.workspaces.id(call.principal()?, reference)?;
        call.about(&id);
        let user = self.0.accounts.of(call.principal()?)?;
        let entry = entry(&first);
        let caller = call.principal()?;
        let mirror = own::open(&self.0, caller, user, &id, reference, entry).await?;
        let bounds = self.bounds(&call, &id).await?;
        let workspace = Arc::clone(&mirror.files);
        let (to_client, answers) = mpsc::channel(QUEUE);
        let to_client = Outgoing(to_client);
        let runtime = Handle::current();
        let link = Link {
            sender: CommitOutgoing {
                to_client: to_client.clone(),
                shared: Arc::clone(&self.0),
                workspace: id,
                tree: workspace.tree(),
                runtime: runtime.clone(),
            },
            receiver: Incoming {
                first: Some(first),
                stream,
                runtime,
                to_client,
            },
        };
        let session = move || {
            // The client was told; there is nobody else to tell.
            drop(receive::receive(&workspace, &bounds, link, &now));
        };
        let (workspaces, tasks) = (&self.0.workspaces, &self.0.tasks);
        workspaces.begin(&mirror, tasks, session).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    type PullStream = Answers<wire::PullResponse>;

    async fn pull(
        &self,
        request: Request<Streaming<wire::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let call = Call::of(&request)?;
        let mut stream = request.into_inner();
        let first = stream
            .message()
            .await?
            .ok_or_else(|| Problem::malformed("an empty pull"))?;
        let source = first.source.clone().and_then(|source| source.by);
        let source = source.ok_or_else(|| Problem::malformed("a pull from nowhere"))?;
        let mirror = self.source(&call, source).await?;
        let workspace = Arc::clone(&mirror.files);
        let (to_client, answers) = mpsc::channel(QUEUE);
        let to_client = Outgoing(to_client);
        let link = Link {
            sender: to_client.clone(),
            receiver: Incoming {
                first: Some(first),
                stream,
                runtime: Handle::current(),
                to_client,
            },
        };
        let session = move || {
            // Only the day counts, for who removes what is not used any more.
            drop(workspace.touch(now()));
            // The client was told; there is nobody else to tell.
            drop(pull::serve(&workspace, link));
        };
        let (workspaces, tasks) = (&self.0.workspaces, &self.0.tasks);
        workspaces.begin(&mirror, tasks, session).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_workspaces(
        &self,
        request: Request<wire::ListWorkspacesRequest>,
    ) -> Result<Response<wire::ListWorkspacesResponse>, Status> {
        let call = Call::of(&request)?;
        let listed = upkeep::list(&self.0, &call, &request.get_ref().page_token);
        Ok(Response::new(listed.await?))
    }

    async fn remove_workspace(
        &self,
        request: Request<wire::RemoveWorkspaceRequest>,
    ) -> Result<Response<wire::RemoveWorkspaceResponse>, Status> {
        let call = Call::of(&request)?;
        let (shared, which) = (Arc::clone(&self.0), request.into_inner().which);
        let removing = async move {
            let id = upkeep::remove(&shared, &call, &which).await?.to_string();
            Ok(wire::RemoveWorkspaceResponse { id })
        };
        self.to_its_end(removing).await
    }

    async fn list_trash(
        &self,
        request: Request<wire::ListTrashRequest>,
    ) -> Result<Response<wire::ListTrashResponse>, Status> {
        let call = Call::of(&request)?;
        let listed = upkeep::trash(&self.0, &call, request.get_ref());
        Ok(Response::new(listed.await?))
    }

    async fn restore_trash(
        &self,
        request: Request<wire::RestoreTrashRequest>,
    ) -> Result<Response<wire::RestoreTrashResponse>, Status> {
        let call = Call::of(&request)?;
        let (shared, request) = (Arc::clone(&self.0), request.into_inner());
        let restoring = async move { upkeep::restore(&shared, &call, request).await };
        self.to_its_end(restoring).await
    }
}

impl SyncRpc {
    /// Lets a call run to its end even if its client goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let done = self.0.tasks.spawn(work).await;
        let done = done.map_err(|e| Problem::new(tonic::Code::Internal, "PANIC", e.to_string()))?;
        Ok(Response::new(done?))
    }

    /// What one commit may take.
    async fn bounds(
        &self,
        call: &Call,
        workspace: &WorkspaceId,
    ) -> Result<receive::Options, Problem> {
        let Shared {
            workspaces,
            space,
            usage,
            ..
        } = &*self.0;
        let (caller, limit) = (call.principal()?, usage.quotas());
        // A site is nobody's: how much it may hold is for whoever has the host to say.
        let room = match workspaces.site(workspace) {
            Some(_) => None,
            None => space.room(caller, workspace, limit, workspaces).await?,
        };
        let Quotas {
            tree_entries,
            commit_bytes,
            file_bytes,
            past_bytes,
            trash,
            ..
        } = limit.unwrap_or_default();
        Ok(receive::Options {
            room,
            trash,
            max_entries: tree_entries,
            max_bytes: commit_bytes,
            max_file_bytes: file_bytes,
            past_bytes,
            ..receive::Options::default()
        })
    }

    /// The workspace that a pull is about.
    async fn source(&self, call: &Call, by: wire::pull_source::By) -> Result<Mirror, Problem> {
        match by {
            wire::pull_source::By::Workspace(reference) => {
                let caller = call.principal()?;
                let id = self.0.workspaces.id(caller, &reference)?;
                let user = self.0.accounts.of(caller)?;
                self.0.workspaces.existing(&id, user).await
            }
            wire::pull_source::By::Job(typed) => {
                let id = self.0.changeable(call, &typed).await?;
                let job = self.0.jobs.get(id).await?;
                let name = job.asked.meta.workspace.as_deref();
                let workspace = name.and_then(WorkspaceId::parse).ok_or_else(|| {
                    let message = format!("job {} ran without a mirror", id.short());
                    Problem::new(tonic::Code::FailedPrecondition, "NO_WORKSPACE", message)
                        .with("id", id)
                })?;
                self.0.workspaces.anybodys(&workspace).await
            }
        }
    }
}
