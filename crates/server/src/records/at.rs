//! A host's list of processes as it was at a moment.

use std::sync::Arc;

use legwork_proto::v1 as wire;
use tonic::Code;

use crate::access::Call;
use crate::jobs::Answers;
use crate::problem::Problem;
use crate::server::Shared;

/// The list.
pub(super) async fn at(
    _shared: &Arc<Shared>,
    _call: &Call,
    _request: wire::AtRequest,
) -> Result<Answers<wire::AtResponse>, Problem> {
    let message = "this server does not put lists of processes together yet";
    Err(Problem::new(
        Code::FailedPrecondition,
        "NO_SNAPSHOTS",
        message,
    ))
}
