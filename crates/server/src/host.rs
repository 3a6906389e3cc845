//! `HostService`.

use legwork_jobs::{Clock, SystemClock};
use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_server::HostService;
use tonic::{Request, Response, Status};

use crate::access::Call;
use crate::limits::KINDS;
use crate::protocol;
use crate::server::Shared;

#[derive(Debug)]
pub(crate) struct HostRpc {
    controllers: Vec<String>,
    containment: &'static str,
}

impl HostRpc {
    pub(crate) fn new(shared: &Shared) -> Self {
        let cgroups = shared.jobs.host().cgroups.as_ref();
        Self {
            controllers: cgroups.map_or_else(Vec::new, |root| {
                root.controllers().map(str::to_owned).collect()
            }),
            containment: KINDS[usize::from(cgroups.is_some())],
        }
    }
}

#[tonic::async_trait]
impl HostService for HostRpc {
    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(wire::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: protocol::NEWEST,
            time_ms: SystemClock.now_ms(),
            containment: self.containment.to_owned(),
            controllers: self.controllers.clone(),
            principal: call.principal()?.name.clone(),
        }))
    }
}
