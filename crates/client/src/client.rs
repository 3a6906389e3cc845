//! The calls.

use std::collections::BTreeMap;

use legwork_proto::v1 as wire;
use legwork_proto::v1::enroll_service_client::EnrollServiceClient;
use legwork_proto::v1::host_service_client::HostServiceClient;
use legwork_proto::v1::job_service_client::JobServiceClient;
use legwork_proto::v1::sync_service_client::SyncServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use crate::connect::Channel;
use crate::convert;
use crate::error::{CallError, Result};
use crate::input::Input;
use crate::job::Job;
use crate::logs::{LogOptions, Logs};
use crate::spec::JobSpec;

/// Jobs per page of a list.
const PAGE: u32 = 500;

/// A connection to one host. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) jobs: JobServiceClient<Channel>,
    pub(crate) sync: SyncServiceClient<Channel>,
    pub(crate) enroll: EnrollServiceClient<Channel>,
    host: HostServiceClient<Channel>,
    pub(crate) tasks: TaskTracker,
}

/// Who answers, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// The server's release.
    pub version: String,
    /// Newest protocol version it speaks.
    pub protocol: u32,
    /// Its clock, in milliseconds since the epoch.
    pub time_ms: u64,
    /// How it holds a job's processes together.
    pub containment: String,
    /// Who it takes us for.
    pub principal: String,
}

/// Which jobs to list. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListFilter {
    /// Only those not finished, or only those finished.
    pub finished: Option<bool>,
    /// Only those with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those of this name.
    pub name: Option<String>,
}

impl Client {
    /// Connects over a byte stream that leads to a server. Background work runs on `tasks`.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub async fn over<T>(io: T, tasks: TaskTracker) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let channel = Channel::over(io, &tasks).await?;
        // HTTP/2 wants an authority; who the peer is was settled when the stream was made.
        let origin = http::Uri::from_static("http://legwork");
        Ok(Self {
            jobs: JobServiceClient::with_origin(channel.clone(), origin.clone()),
            sync: SyncServiceClient::with_origin(channel.clone(), origin.clone()),
            enroll: EnrollServiceClient::with_origin(channel.clone(), origin.clone()),
            host: HostServiceClient::with_origin(channel, origin),
            tasks,
        })
    }

    /// Who answers.
    ///
    /// # Errors
    /// What the server or the connection says, as in every call.
    pub async fn info(&self) -> Result<HostInfo> {
        let info = self
            .host
            .clone()
            .info(wire::InfoRequest {})
            .await?
            .into_inner();
        Ok(HostInfo {
            version: info.version,
            protocol: info.protocol,
            time_ms: info.time_ms,
            containment: info.containment,
            principal: info.principal,
        })
    }

    /// Starts jobs: one answer for each, in order. A job whose program could not be executed is
    /// an `Ok` that is finished already; an `Err` is a spec that was refused.
    ///
    /// # Errors
    /// When the call as a whole failed. Repeating it with the same specs starts nothing twice.
    pub async fn start_many(&self, specs: &[JobSpec]) -> Result<Vec<Result<Job>>> {
        let request = wire::StartRequest {
            specs: specs.iter().map(convert::spec).collect(),
        };
        let results = self.jobs.clone().start(request).await?.into_inner().results;
        if results.len() != specs.len() {
            return Err(CallError::protocol(
                "as many results as specs were expected",
            ));
        }
        Ok(results.into_iter().map(convert::start_result).collect())
    }

    /// Starts one job.
    ///
    /// # Errors
    /// When it was refused, too.
    pub async fn start(&self, spec: &JobSpec) -> Result<Job> {
        let mut results = self.start_many(std::slice::from_ref(spec)).await?;
        results
            .pop()
            .unwrap_or_else(|| Err(CallError::protocol("no result for the spec")))
    }

    /// One job as it is now, by id or unique prefix.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn get(&self, id: &str) -> Result<Job> {
        let request = wire::GetRequest { id: id.to_owned() };
        convert::job_of(self.jobs.clone().get(request).await?.into_inner().job)
    }

    /// All jobs that pass the filter, newest first, page by page.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = wire::ListRequest {
                states: convert::states(filter.finished),
                labels: filter.labels.clone().into_iter().collect(),
                owner: filter.owner.clone(),
                name: filter.name.clone(),
                page_size: PAGE,
                page_token,
            };
            let page = self.jobs.clone().list(request).await?.into_inner();
            for job in page.jobs {
                jobs.push(convert::job(job)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(jobs);
            }
            page_token = page.next_page_token;
        }
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn wait(&self, id: &str) -> Result<Job> {
        loop {
            let request = wire::WaitRequest {
                id: id.to_owned(),
                max_wait_ms: None,
            };
            let job = convert::job_of(self.jobs.clone().wait(request).await?.into_inner().job)?;
            if job.finish().is_some() {
                return Ok(job);
            }
        }
    }

    /// A job's output.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<Logs> {
        let request = convert::logs_request(id, options);
        Ok(Logs::new(
            self.jobs.clone().logs(request).await?.into_inner(),
        ))
    }

    /// The writing end of the standard input of a job that was started with [`crate::Stdin::Pipe`].
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn input(&self, id: &str) -> Result<Input> {
        let (requests, outgoing) = mpsc::channel(4);
        let answers = self
            .jobs
            .clone()
            .input(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Input::new(id.to_owned(), requests, answers))
    }

    /// Stops a job and returns it finished: signal, grace, then the whole tree.
    /// Absent arguments mean what the job's spec says.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn stop(&self, id: &str, signal: Option<i32>, grace_ms: Option<u64>) -> Result<Job> {
        let request = wire::StopRequest {
            id: id.to_owned(),
            signal,
            grace_ms,
        };
        convert::job_of(self.jobs.clone().stop(request).await?.into_inner().job)
    }

    /// Sends a signal (a number as in signal(7)) to the main process.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`, `JOB_FINISHED`, `BAD_SIGNAL`.
    pub async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let request = wire::SignalRequest {
            id: id.to_owned(),
            signal,
        };
        self.jobs
            .clone()
            .signal(request)
            .await
            .map(drop)
            .map_err(CallError::from)
    }

    /// Removes a finished job with its output.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`, `JOB_RUNNING`.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let request = wire::RemoveRequest { id: id.to_owned() };
        self.jobs
            .clone()
            .remove(request)
            .await
            .map(drop)
            .map_err(CallError::from)
    }
}
