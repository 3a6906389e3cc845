//! What a server does by itself, from time to time: jobs that ended long ago go, and what had to give way in mirrors, and what is
//! in memory for a watch that is over.

use std::time::Duration;

use legwork_jobs::{Phase, Retention};

use crate::problem::Problem;
use crate::server::Server;
use crate::sync::now;

/// How often it is looked for jobs to remove, by whichever process has the state directory open.
const EVERY: Duration = Duration::from_hours(1);
/// How often they are only counted, which is cheap, so that many short jobs do not pile up for an hour.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How often it is looked for watches that are over.
const COOL_EVERY: Duration = Duration::from_mins(1);
/// A part of those that are kept, by which they may be more until the next look.
const SLACK: u64 = 16;

impl Server {
    /// Frees the memory of watches that are over, until the server stops. Goes on in the background.
    pub(crate) fn cool(&self) {
        let server = self.clone();
        drop(self.shared.tasks.spawn(async move {
            let draining = server.shared.draining.clone();
            let pause = || draining.run_until_cancelled(tokio::time::sleep(COOL_EVERY));
            while pause().await.is_some() {
                server.shared.workspaces.cool(now());
            }
        }));
    }

    /// Removes jobs that are not to be kept, now and from time to time, until the server stops. Goes on in the background.
    pub fn keep_house(&self, retention: Retention) {
        self.cool();
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
                server.tidy_trash().await;
                let due = tokio::time::timeout(EVERY, server.too_many(retention));
                if draining.run_until_cancelled(due).await.is_none() {
                    return;
                }
            }
        }));
    }

    /// Removes what lies in the trash of mirrors for too long. Commits see to how much that is.
    async fn tidy_trash(&self) {
        let bounds = self.shared.usage.trash();
        let pruned = self.shared.workspaces.prune_trash(bounds, now()).await;
        if let Err(error) = pruned {
            tracing::warn!(%error, "mirrors cannot be looked at");
        }
    }

    /// Waits until clearly more jobs have ended than are kept.
    async fn too_many(&self, retention: Retention) {
        let Some(most) = retention.jobs else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            let counted = self.shared.jobs.count().await.unwrap_or_default();
            let ended = counted.get(&Phase::Finished).copied().unwrap_or(0);
            if ended > most + most / SLACK {
                return;
            }
        }
    }

    /// The same once, for a process that does not stay, unless somebody has done so within the hour.
    ///
    /// # Errors
    /// When the list of jobs cannot be read.
    pub async fn tidy(&self, retention: Retention) -> Result<(), Problem> {
        if self.shared.jobs.retain(retention, EVERY).await?.is_some() {
            self.tidy_trash().await;
        }
        Ok(())
    }
}
