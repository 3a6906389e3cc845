//! `JobService` with two bounds: only a start may bring a message that is large.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use legwork_proto::v1::job_service_server::JobServiceServer;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::jobs::JobRpc;
use crate::server::Shared;

/// Bytes of one start call: a thousand jobs, each with an environment.
const START_BYTES_MAX: usize = 64 << 20;
/// The method that may be so large.
const START: &str = "/legwork.v1.JobService/Start";

type Inner = JobServiceServer<JobRpc>;

/// The same service, once for starts and once for all other calls.
#[derive(Debug, Clone)]
pub(crate) struct JobCalls {
    starts: Inner,
    others: Inner,
}

impl JobCalls {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let rpc = || Inner::new(JobRpc(Arc::clone(shared)));
        Self {
            starts: rpc().max_decoding_message_size(START_BYTES_MAX),
            others: rpc(),
        }
    }
}

impl NamedService for JobCalls {
    const NAME: &'static str = Inner::NAME;
}

impl Service<http::Request<Body>> for JobCalls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = <Inner as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            START => self.starts.call(request),
            _ => self.others.call(request),
        }
    }
}
