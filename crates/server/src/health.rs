//! What is said of the server's health: it serves, until it is about to stop.

use legwork_proto::v1::enroll_service_server::EnrollServiceServer;
use legwork_proto::v1::host_service_server::HostServiceServer;
use legwork_proto::v1::job_service_server::JobServiceServer;
use legwork_proto::v1::record_service_server::RecordServiceServer;
use legwork_proto::v1::sync_service_server::SyncServiceServer;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::enroll::EnrollRpc;
use crate::host::HostRpc;
use crate::jobs::JobRpc;
use crate::records::RecordRpc;
use crate::sync::SyncRpc;

/// What may be asked for: the server as a whole, and each of its services.
const NAMES: [&str; 6] = [
    "",
    JobServiceServer::<JobRpc>::NAME,
    SyncServiceServer::<SyncRpc>::NAME,
    RecordServiceServer::<RecordRpc>::NAME,
    HostServiceServer::<HostRpc>::NAME,
    EnrollServiceServer::<EnrollRpc>::NAME,
];

/// The state of all services, which is one.
#[derive(Debug)]
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Everything serves.
    pub(crate) async fn serving() -> Self {
        let health = Self(HealthReporter::new());
        health.tell(ServingStatus::Serving).await;
        health
    }

    /// Nothing serves any more; who watches is told.
    pub(crate) async fn stopping(&self) {
        self.tell(ServingStatus::NotServing).await;
    }

    async fn tell(&self, status: ServingStatus) {
        for name in NAMES {
            self.0.set_service_status(name, status).await;
        }
    }

    /// The service that answers with it.
    pub(crate) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.0.clone()))
    }
}
