//! What a server does by itself, from time to time: jobs that ended long ago go.

use std::time::Duration;

use legwork_jobs::Retention;

use crate::problem::Problem;
use crate::server::Server;

/// How often it is looked for jobs to remove, by whichever process has the state directory open.
const EVERY: Duration = Duration::from_hours(1);

impl Server {
    /// Removes jobs that are not to be kept, now and from time to time, until the server stops. Goes on in the background.
    pub fn keep_house(&self, retention: Retention) {
        let server = self.clone();
        drop(self.shared.tasks.spawn(async move {
            let draining = server.shared.draining.clone();
            loop {
                // A server that has just been told of other bounds has them kept at once.
                match server.shared.jobs.retain(retention, Duration::ZERO).await {
                    Ok(Some(removed)) if removed.jobs + removed.failed > 0 => tracing::info!(
                        jobs = removed.jobs,
                        bytes = removed.bytes,
                        failed = removed.failed,
                        "jobs that ended long ago were removed"
                    ),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "old jobs cannot be looked for"),
                }
                let rest = draining.run_until_cancelled(tokio::time::sleep(EVERY));
                if rest.await.is_none() {
                    return;
                }
            }
        }));
    }

    /// The same once, for a process that does not stay, unless somebody has done so within the hour.
    ///
    /// # Errors
    /// When the list of jobs cannot be read.
    pub async fn tidy(&self, retention: Retention) -> Result<(), Problem> {
        let tidied = self.shared.jobs.retain(retention, EVERY).await;
        tidied.map(drop).map_err(Problem::from)
    }
}
