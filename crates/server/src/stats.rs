//! What jobs have consumed until now.

use legwork_jobs::{Consumption, JobId, ListQuery, Phase};
use legwork_proto::v1 as wire;

use crate::access::Call;
use crate::convert;
use crate::problem::Problem;
use crate::server::Shared;

/// Jobs in one answer.
const JOBS_MAX: usize = 500;

/// Of the jobs that are named, or of all that run and that the caller may know of.
pub(crate) async fn stats(
    shared: &Shared,
    call: &Call,
    ids: &[String],
) -> Result<Vec<wire::JobStats>, Problem> {
    if ids.len() > JOBS_MAX {
        return Err(Problem::malformed(&format!("more than {JOBS_MAX} ids")));
    }
    let mut told = Vec::new();
    for typed in ids {
        let id = shared.seen(call, typed).await?;
        told.push(of(shared, id).await?);
    }
    if ids.is_empty() {
        let query = ListQuery {
            phases: Some([Phase::Running, Phase::Paused].into()),
            owners: shared.listed(call, None)?,
            limit: Some(JOBS_MAX),
            ..ListQuery::default()
        };
        for job in shared.jobs.list(&query).await?.jobs {
            // One that has gone meanwhile is no longer asked for.
            told.extend(of(shared, job.id).await);
        }
    }
    Ok(told)
}

async fn of(shared: &Shared, id: JobId) -> Result<wire::JobStats, Problem> {
    let Consumption {
        usage,
        memory_bytes,
        processes,
        elapsed_ms,
    } = shared.jobs.consumption(id).await?;
    Ok(wire::JobStats {
        job: Some(shared.wire_job(shared.jobs.get(id).await?)),
        usage: Some(convert::usage(&usage)),
        memory_bytes,
        processes,
        elapsed_ms,
    })
}
