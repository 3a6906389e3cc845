//! `HostService`.

use legwork_jobs::{Clock, SystemClock};
use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_server::HostService;
use tonic::{Request, Response, Status};

use crate::access::Call;
use crate::protocol;

#[derive(Debug)]
pub(crate) struct HostRpc;

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
            containment: "subreaper".to_owned(),
            principal: call.principal()?.name.clone(),
        }))
    }
}
