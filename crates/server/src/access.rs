//! Who calls, and which jobs that caller may name: the one place where somebody else's things are not found.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use legwork_identity::{Principal, policy};
use legwork_jobs::{Job, JobId};
use legwork_proto::v1 as wire;
use tonic::{Code, Request};

use crate::problem::Problem;
use crate::server::Shared;
use crate::{convert, limits};

/// One call, as the layer before the services has seen it.
#[derive(Debug)]
pub(crate) struct Call {
    caller: Option<Principal>,
    source: Option<IpAddr>,
    subject: OnceLock<String>,
}

impl Call {
    pub(crate) const fn new(caller: Option<Principal>, source: Option<IpAddr>) -> Self {
        Self {
            caller,
            source,
            subject: OnceLock::new(),
        }
    }

    /// The call that a request came with.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Problem> {
        let call = request.extensions().get::<Arc<Self>>().cloned();
        call.ok_or_else(|| {
            let message = "a call reached its service without having been admitted";
            Problem::new(Code::Internal, "NOT_ADMITTED", message)
        })
    }

    /// Who calls.
    pub(crate) fn principal(&self) -> Result<&Principal, Problem> {
        self.caller
            .as_ref()
            .ok_or_else(|| policy::Denied::Stranger.into())
    }

    /// From which address, if the call came over a network.
    pub(crate) const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Notes what the call is about, for the log.
    pub(crate) fn about(&self, subject: impl ToString) {
        self.subject.get_or_init(|| subject.to_string());
    }

    /// What the call is about, if that was found.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.subject.get().map(String::as_str)
    }
}

impl Shared {
    /// The job that the caller means, among those it may know of.
    pub(crate) async fn seen(&self, call: &Call, typed: &str) -> Result<JobId, Problem> {
        let caller = call.principal()?;
        let owner = caller.owner();
        let only = (!policy::sees_all(caller)).then_some(owner.as_str());
        let id = self.jobs.resolve(typed, only).await?;
        call.about(id.uuid());
        Ok(id)
    }

    /// Whether there is a job with this id, whoever it belongs to.
    pub(crate) async fn knows(&self, id: JobId) -> bool {
        self.jobs.get(id).await.is_ok()
    }

    /// The job that the caller means, for a call that changes it or takes more from it than its output.
    pub(crate) async fn changeable(&self, call: &Call, typed: &str) -> Result<JobId, Problem> {
        let id = self.seen(call, typed).await?;
        let caller = call.principal()?;
        // Whoever sees only their own may change what they see.
        if policy::sees_all(caller) {
            let owner = self.jobs.get(id).await?.asked.meta.owner;
            if !policy::may_change(caller, &owner) {
                let message = format!("job {} belongs to somebody else", id.short());
                return Err(
                    Problem::new(Code::PermissionDenied, "NOT_OWNER", message).with("id", id)
                );
            }
        }
        Ok(id)
    }

    /// The owners of the jobs that a list may show; `None` means all.
    pub(crate) fn listed(
        &self,
        call: &Call,
        asked: Option<&str>,
    ) -> Result<Option<Vec<String>>, Problem> {
        let caller = call.principal()?;
        let mut owners = asked.map(|name| self.names.owners(name));
        if !policy::sees_all(caller) {
            let own = caller.owner();
            match &mut owners {
                Some(asked) => asked.retain(|owner| *owner == own),
                None => owners = Some(vec![own]),
            }
        }
        Ok(owners)
    }

    /// A job as clients see it: its owner by name.
    pub(crate) fn wire_job(&self, job: Job) -> wire::Job {
        let owner = self.names.of(&job.asked.meta.owner);
        convert::job(job, owner)
    }

    /// The same, with what it is held to and how.
    pub(crate) async fn wire_job_and_limits(&self, job: Job) -> wire::Job {
        // That is in its directory only, which may be gone.
        let spec = self.jobs.spec(job.id).await;
        let mut job = self.wire_job(job);
        if let Ok(spec) = spec {
            job.limits = limits::told(spec.meta.limits).map(Box::new);
            job.containment = Some(Box::new(limits::containment(spec.confinement)));
        }
        job
    }
}
