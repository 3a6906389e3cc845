//! `JobService`: parse, call, render.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use legwork_jobs::Stop;
use legwork_proto::v1 as wire;
use legwork_proto::v1::job_service_server::JobService;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Call;
use crate::problem::Problem;
use crate::server::Shared;
use crate::{convert, input, logs, start, stats};

/// Jobs on a page at most, and by default.
const PAGE_MAX: usize = 500;
/// How long one wait call may take; a client asks again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Specs in one start call at most.
const BATCH_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct JobRpc(pub(crate) Arc<Shared>);

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl JobRpc {
    /// Lets a call run to its end even if its client goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let running = self.0.tasks.spawn(work);
        running
            .await
            .map_err(|e| Problem::new(tonic::Code::Internal, "PANIC", e.to_string()))
    }
}

#[tonic::async_trait]
impl JobService for JobRpc {
    async fn start(
        &self,
        request: Request<wire::StartRequest>,
    ) -> Result<Response<wire::StartResponse>, Status> {
        let call = Call::of(&request)?;
        let wire::StartRequest { specs, accept } = request.into_inner();
        if specs.len() > BATCH_MAX {
            return Err(
                Problem::malformed(&format!("more than {BATCH_MAX} jobs in one call")).into(),
            );
        }
        let results = self
            .to_its_end(start::all(Arc::clone(&self.0), call, specs, accept))
            .await??;
        let results = results.into_iter().map(start::told).collect();
        Ok(Response::new(wire::StartResponse { results }))
    }

    type RunStream = Answers<wire::LogsResponse>;

    async fn run(
        &self,
        request: Request<wire::RunRequest>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let call = Call::of(&request)?;
        let spec = request.into_inner().spec;
        let spec = spec.ok_or_else(|| Problem::malformed("no spec"))?;
        let (job, output) = self
            .to_its_end(start::followed(Arc::clone(&self.0), call, spec))
            .await??;
        let events = logs::started(Arc::clone(&self.0), job, output);
        Ok(Response::new(Box::pin(events)))
    }

    async fn get(
        &self,
        request: Request<wire::GetRequest>,
    ) -> Result<Response<wire::GetResponse>, Status> {
        let call = Call::of(&request)?;
        let id = self.0.seen(&call, &request.get_ref().id).await?;
        let job = self.0.jobs.get(id).await.map_err(Problem::from)?;
        let job = self.0.wire_job_and_limits(job).await;
        Ok(Response::new(wire::GetResponse { job: Some(job) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let call = Call::of(&request)?;
        let owners = self.0.listed(&call, request.get_ref().owner.as_deref())?;
        let query = convert::list_query(request.into_inner(), owners, PAGE_MAX)?;
        let page = self.0.jobs.list(&query).await.map_err(Problem::from)?;
        Ok(Response::new(wire::ListResponse {
            jobs: page
                .jobs
                .into_iter()
                .map(|job| self.0.wire_job(job))
                .collect(),
            next_page_token: page.next.map(convert::page_token).unwrap_or_default(),
        }))
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::WaitResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = self.0.seen(&call, &request.id).await?;
        let limit = request
            .max_wait_ms
            .map_or(WAIT_MAX, Duration::from_millis)
            .min(WAIT_MAX);
        // A server that stops tells what it knows; the client asks again.
        let waiting = self.0.draining.run_until_cancelled(self.0.jobs.wait(id));
        let job = match tokio::time::timeout(limit, waiting).await {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(_) => self.0.jobs.get(id).await,
        };
        let job = self.0.wire_job(job.map_err(Problem::from)?);
        Ok(Response::new(wire::WaitResponse { job: Some(job) }))
    }

    type LogsStream = Answers<wire::LogsResponse>;

    async fn logs(
        &self,
        request: Request<wire::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = self.0.seen(&call, &request.id).await?;
        let pattern = match &request.filter {
            Some(filter) => {
                let counted = self.0.usage.search(call.principal()?)?;
                Some((logs::compiled(filter).await?, counted))
            }
            None => None,
        };
        let output = self
            .0
            .jobs
            .output(id, convert::read(&request))
            .await
            .map_err(Problem::from)?;
        let shared = Arc::clone(&self.0);
        Ok(Response::new(match pattern {
            Some((pattern, counted)) => {
                let search = output.search(pattern, convert::undecided(&request));
                Box::pin(logs::found(shared, search, counted))
            }
            None => Box::pin(logs::events(shared, output)),
        }))
    }

    async fn pause(
        &self,
        request: Request<wire::PauseRequest>,
    ) -> Result<Response<wire::PauseResponse>, Status> {
        let call = Call::of(&request)?;
        let id = self.0.changeable(&call, &request.get_ref().id).await?;
        let jobs = self.0.jobs.clone();
        let paused = self.to_its_end(async move { jobs.pause(id).await }).await?;
        let job = Some(self.0.wire_job(paused.map_err(Problem::from)?));
        Ok(Response::new(wire::PauseResponse { job }))
    }

    async fn resume(
        &self,
        request: Request<wire::ResumeRequest>,
    ) -> Result<Response<wire::ResumeResponse>, Status> {
        let call = Call::of(&request)?;
        let id = self.0.changeable(&call, &request.get_ref().id).await?;
        let jobs = self.0.jobs.clone();
        let resumed = self
            .to_its_end(async move { jobs.resume(id).await })
            .await?;
        let job = Some(self.0.wire_job(resumed.map_err(Problem::from)?));
        Ok(Response::new(wire::ResumeResponse { job }))
    }

    async fn stats(
        &self,
        request: Request<wire::StatsRequest>,
    ) -> Result<Response<wire::StatsResponse>, Status> {
        let call = Call::of(&request)?;
        let jobs = stats::stats(&self.0, &call, &request.get_ref().ids).await?;
        Ok(Response::new(wire::StatsResponse { jobs }))
    }

    type InputStream = Answers<wire::InputResponse>;

    async fn input(
        &self,
        request: Request<Streaming<wire::InputRequest>>,
    ) -> Result<Response<Self::InputStream>, Status> {
        let call = Call::of(&request)?;
        let answers = input::answers(Arc::clone(&self.0), call, request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn stop(
        &self,
        request: Request<wire::StopRequest>,
    ) -> Result<Response<wire::StopResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = self.0.changeable(&call, &request.id).await?;
        let how = Stop {
            signal: request.signal,
            grace: request.grace_ms.map(Duration::from_millis),
            by: call.principal()?.name.clone(),
        };
        let jobs = self.0.jobs.clone();
        let job = self
            .to_its_end(async move { jobs.stop(id, how).await })
            .await?;
        let job = self.0.wire_job(job.map_err(Problem::from)?);
        Ok(Response::new(wire::StopResponse { job: Some(job) }))
    }

    async fn signal(
        &self,
        request: Request<wire::SignalRequest>,
    ) -> Result<Response<wire::SignalResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = self.0.changeable(&call, &request.id).await?;
        self.0
            .jobs
            .signal(id, request.signal)
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(wire::SignalResponse {}))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveRequest>,
    ) -> Result<Response<wire::RemoveResponse>, Status> {
        let call = Call::of(&request)?;
        let id = self.0.changeable(&call, &request.get_ref().id).await?;
        let (jobs, newer) = (self.0.jobs.clone(), request.get_ref().newer);
        let removal = async move {
            if newer {
                jobs.remove_whatever_it_is(id).await
            } else {
                jobs.remove(id).await
            }
        };
        self.to_its_end(removal).await?.map_err(Problem::from)?;
        Ok(Response::new(wire::RemoveResponse {}))
    }
}
