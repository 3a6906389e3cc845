//! The calls.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_client::HostServiceClient;
use legwork_proto::v1::job_service_client::JobServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use crate::connect::Channel;
use crate::contact::{self, Contact};
use crate::convert;
use crate::distance::Distance;
use crate::error::{CallError, Result};
use crate::in_process::InProcess;
use crate::input::Input;
use crate::job::{Job, JobStats};
use crate::list::{ListFilter, Pages};
use crate::logs::{LogFilter, LogOptions, Logs};
use crate::options::Options;
use crate::spec::JobSpec;
use crate::target::Target;

/// Characters of an id that no other job will ever begin with, as far as chance allows.
const DISTINCT: usize = 8;

/// Contact with one host. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) contact: Arc<Contact>,
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
    /// How it holds a job's processes together: `cgroup` or `subreaper`.
    pub containment: String,
    /// The controllers that limits can be made of, where jobs have control groups.
    pub controllers: Vec<String>,
    /// Who it takes us for.
    pub principal: String,
}

pub(crate) fn jobs(channel: Channel) -> JobServiceClient<Channel> {
    JobServiceClient::with_origin(channel, contact::origin())
}

impl Client {
    /// Connects to a server, and connects again whenever the connection breaks. What was under way goes on then:
    /// calls that do no harm when they are made twice are repeated as they were, output is resumed where it was,
    /// and so is input. Background work runs on `tasks`.
    ///
    /// # Errors
    /// `UNREACHABLE`, `WRONG_CA`, `WRONG_SERVER`, `CERTIFICATE_REFUSED` and the like. The first attempt is the only one.
    pub async fn connect(target: Target, options: Options, tasks: TaskTracker) -> Result<Self> {
        let contact = Contact::open(target, options, tasks).await?;
        Ok(Self {
            contact: Arc::new(contact),
        })
    }

    /// As [`Self::connect`], but does not wait for the connection: whatever needs it does, and is told if it could not be made.
    /// [`Self::push`] looks at its directory meanwhile, and goes by the distance that is `expected`, which may be that of an
    /// earlier connection ([`Self::distance`]). A wrong guess costs time or bytes. Needs a runtime.
    #[must_use]
    pub fn connect_ahead(
        target: Target,
        options: Options,
        tasks: TaskTracker,
        expected: Distance,
    ) -> Self {
        Self {
            contact: Arc::new(Contact::ahead(target, options, tasks, expected)),
        }
    }

    /// How far away the server is, as its first answer told; `None` if there is no connection just now that a call could share.
    pub async fn distance(&self) -> Option<Distance> {
        self.contact.distance().await
    }

    /// Connects over a byte stream that leads to a server. There will be no other, so a call fails when it breaks.
    /// Background work runs on `tasks`.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub async fn over<T>(io: T, tasks: TaskTracker) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let channel = Channel::over(Box::new(io), None, &tasks).await?;
        Ok(Self {
            contact: Arc::new(Contact::once(channel, tasks)),
        })
    }

    /// Calls a server in this process. `services` are its gRPC services as this client may call them: a
    /// `tonic::service::Routes`, say, or what a server makes of them for one principal. Background work runs on `tasks`, and so does the server's side of
    /// each call.
    pub fn in_process<S>(services: S, tasks: TaskTracker) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let server = InProcess::new(services, tasks.clone());
        Self {
            contact: Arc::new(Contact::once(Channel::in_process(server), tasks)),
        }
    }

    /// Who answers.
    ///
    /// # Errors
    /// What the server or the connection says, as in every call.
    pub async fn info(&self) -> Result<HostInfo> {
        let call = |channel| async move {
            HostServiceClient::with_origin(channel, contact::origin())
                .info(wire::InfoRequest {})
                .await
        };
        let info = self.contact.repeat(call).await?;
        Ok(HostInfo {
            version: info.version,
            protocol: info.protocol,
            time_ms: info.time_ms,
            containment: info.containment,
            controllers: info.controllers,
            principal: info.principal,
        })
    }

    /// Starts jobs: one answer for each, in order. A job whose program could not be executed is
    /// an `Ok` that is finished already; an `Err` is a spec that was refused.
    ///
    /// # Errors
    /// When the call as a whole failed. Repeating it with the same specs starts nothing twice.
    pub async fn start_many(&self, specs: &[JobSpec]) -> Result<Vec<Result<Job>>> {
        self.start_all(specs, false).await
    }

    /// Hands jobs over: one answer for each, in order, as soon as all of them are durable on the server, which starts them in
    /// the background, whatever becomes of this client, the connection or the server's process. They are
    /// [`State::Pending`](crate::State::Pending) until then. Much quicker than [`Self::start_many`] where there are many of them;
    /// not for jobs in a mirror, which are refused with `ACCEPT_WORKSPACE`.
    ///
    /// # Errors
    /// When the call as a whole failed: then none was accepted, or the answer was lost. Repeating it with the same specs starts
    /// nothing twice.
    pub async fn accept_many(&self, specs: &[JobSpec]) -> Result<Vec<Result<Job>>> {
        self.start_all(specs, true).await
    }

    async fn start_all(&self, specs: &[JobSpec], accept: bool) -> Result<Vec<Result<Job>>> {
        let request = wire::StartRequest {
            specs: specs.iter().map(convert::spec).collect(),
            accept,
        };
        let call = |channel| {
            let request = request.clone();
            async move { jobs(channel).start(request).await }
        };
        let results = self.contact.repeat(call).await?.results;
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
        let call = |channel| {
            let request = wire::GetRequest { id: id.to_owned() };
            async move { jobs(channel).get(request).await }
        };
        convert::job_of(self.contact.repeat(call).await?.job)
    }

    /// All jobs that pass the filter, newest first.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Job>> {
        let mut found = Vec::new();
        let mut pages = self.pages(filter);
        while let Some(page) = pages.next().await? {
            found.extend(page);
        }
        Ok(found)
    }

    /// The same a page at a time, for lists too long to hold.
    #[must_use]
    pub fn pages(&self, filter: &ListFilter) -> Pages {
        Pages::new(Arc::clone(&self.contact), filter)
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn wait(&self, id: &str) -> Result<Job> {
        let mut id = self.pinned(id).await?;
        loop {
            let call = |channel| {
                let request = wire::WaitRequest {
                    id: id.clone(),
                    max_wait_ms: None,
                };
                async move { jobs(channel).wait(request).await }
            };
            let job = convert::job_of(self.contact.repeat(call).await?.job)?;
            if job.is_over() {
                return Ok(job);
            }
            id = job.id.to_string();
        }
    }

    /// Starts a job, and follows all of its output in the same round trip. A job whose program could not be executed is finished
    /// already, and its output never to be asked for.
    ///
    /// # Errors
    /// When the spec was refused, or the call failed. Repeating it with the same spec starts nothing twice.
    pub async fn run(&self, spec: &JobSpec) -> Result<(Job, Logs)> {
        match Logs::run(Arc::clone(&self.contact), spec).await {
            // An older server has two calls for it.
            Err(error) if error.code == Code::Unimplemented => {
                let job = self.start(spec).await?;
                let (contact, id) = (Arc::clone(&self.contact), job.id.to_string());
                let logs = Logs::open(contact, id, LogOptions::followed(), None).await?;
                Ok((job, logs))
            }
            answer => answer,
        }
    }

    /// A job's output. When the connection breaks, it goes on after the last byte that was given out.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<Logs> {
        let id = self.pinned(id).await?;
        Logs::open(Arc::clone(&self.contact), id, options, None).await
    }

    /// The lines of a job's output that match, found on the server. When the connection breaks, it goes on after the last line on which
    /// the server has decided.
    ///
    /// # Errors
    /// As [`Self::logs`], and `BAD_PATTERN`. `SEARCH_UNKNOWN` comes with the first event.
    pub async fn search(&self, id: &str, options: LogOptions, filter: LogFilter) -> Result<Logs> {
        let id = self.pinned(id).await?;
        Logs::open(Arc::clone(&self.contact), id, options, Some(filter)).await
    }

    /// The writing end of the standard input of a job that was started with [`crate::Stdin::Pipe`]. When the
    /// connection breaks, what the job has not taken is sent again.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn input(&self, id: &str) -> Result<Input> {
        let id = self.pinned(id).await?;
        Input::open(Arc::clone(&self.contact), id).await
    }

    /// Stops a job and returns it finished: signal, grace, then the whole tree.
    /// Absent arguments mean what the job's spec says.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn stop(&self, id: &str, signal: Option<i32>, grace_ms: Option<u64>) -> Result<Job> {
        let request = wire::StopRequest {
            id: self.pinned(id).await?,
            signal,
            grace_ms,
        };
        let call = |channel| {
            let request = request.clone();
            async move { jobs(channel).stop(request).await }
        };
        convert::job_of(self.contact.repeat(call).await?.job)
    }

    /// Sends a signal (a number as in signal(7)) to the main process. Never twice: when the connection breaks before the
    /// answer, that is an error.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`, `JOB_FINISHED`, `BAD_SIGNAL`, [`CallError::CONTACT_LOST`].
    pub async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let call = |channel| {
            let request = wire::SignalRequest {
                id: id.to_owned(),
                signal,
            };
            async move { jobs(channel).signal(request).await }
        };
        self.contact.at_most_once(call).await.map(drop)
    }

    /// Holds a job still, all of it, and returns it. Its time limit goes on.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`, `JOB_FINISHED`, `JOB_PENDING`.
    pub async fn pause(&self, id: &str) -> Result<Job> {
        let id = self.pinned(id).await?;
        let call = |channel| {
            let request = wire::PauseRequest { id: id.clone() };
            async move { jobs(channel).pause(request).await }
        };
        convert::job_of(self.contact.repeat(call).await?.job)
    }

    /// Lets a paused job go on, and returns it.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn resume(&self, id: &str) -> Result<Job> {
        let id = self.pinned(id).await?;
        let call = |channel| {
            let request = wire::ResumeRequest { id: id.clone() };
            async move { jobs(channel).resume(request).await }
        };
        convert::job_of(self.contact.repeat(call).await?.job)
    }

    /// What jobs have consumed until now, in the order of the ids; without any, of all that run, the newest first.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`.
    pub async fn stats(&self, ids: &[String]) -> Result<Vec<JobStats>> {
        let call = |channel| {
            let request = wire::StatsRequest { ids: ids.to_vec() };
            async move { jobs(channel).stats(request).await }
        };
        let told = self.contact.repeat(call).await?.jobs;
        told.into_iter().map(convert::stats).collect()
    }

    /// Removes a finished job with its output.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `JOB_AMBIGUOUS`, `JOB_RUNNING`, `JOB_NEWER`.
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.removed(id, false).await
    }

    /// The same, and also a job of a newer legwork that the server does not understand, once it cannot be running any more.
    ///
    /// # Errors
    /// As [`Self::remove`], without `JOB_NEWER`.
    pub async fn remove_whatever_it_is(&self, id: &str) -> Result<()> {
        self.removed(id, true).await
    }

    async fn removed(&self, id: &str, newer: bool) -> Result<()> {
        let id = self.pinned(id).await?;
        let call = |channel| {
            let request = wire::RemoveRequest {
                id: id.clone(),
                newer,
            };
            async move { jobs(channel).remove(request).await }
        };
        match self.contact.repeat_in_doubt(call).await {
            // The attempt whose answer was lost has removed it.
            (Err(error), true) if error.reason == "JOB_NOT_FOUND" => Ok(()),
            (result, _) => result.map(drop),
        }
    }

    /// A name of the job that will mean no other when it is used again: what is short could.
    async fn pinned(&self, id: &str) -> Result<String> {
        if !self.contact.is_kept() || id.len() >= DISTINCT {
            return Ok(id.to_owned());
        }
        Ok(self.get(id).await?.id.to_string())
    }
}
