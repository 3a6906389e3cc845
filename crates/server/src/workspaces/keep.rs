//! What becomes of workspaces: they are removed when their owners say so, and what had to give way in them goes with time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use legwork_sync::error::StoreError;
use legwork_sync::workspace::{self, TrashBounds, Workspace};
use tonic::Code;

use super::{Mirror, WorkspaceId, Workspaces, blocking, dirs};
use crate::owners::names;
use crate::problem::Problem;

/// How a workspace's directory ends that is being removed.
const GONE: &str = ".gone";

impl Workspaces {
    /// Removes a workspace that nobody uses, with all that is in it. Under its own name it is gone at once; if the server
    /// ends before the rest is, the next removal goes on with that.
    ///
    /// `forget` is done once that is certain, and before somebody can make another of the same name.
    pub(crate) async fn remove(
        &self,
        id: &WorkspaceId,
        mirror: &Mirror,
        forget: impl Future<Output = Result<(), Problem>>,
    ) -> Result<(), Problem> {
        {
            let gate = self.gate(id);
            let _closed = gate.write().await;
            let alone = self.on(mirror, Workspace::claim).await?;
            let _alone = alone.map_err(|error| busy(error, id))?;
            forget.await?;
            let dir = self.dir.join(&id.0);
            blocking(move || put_aside(&dir).map_err(|e| Problem::io(&dir, &e))).await??;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(id);
        }
        let dir = self.dir.clone();
        let doomed = move || names(&dir).map_err(|e| Problem::io(&dir, &e));
        for name in blocking(doomed).await?? {
            let is_ours = name.starts_with(&id.0);
            if !name.ends_with(GONE) {
                continue;
            }
            match self.empty(self.dir.join(&name)).await {
                Err(problem) if is_ours => return Err(problem),
                Err(problem) => tracing::warn!(name, %problem, "a mirror is not removed entirely"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Frees what is in memory for watches that are over.
    pub(crate) fn cool(&self, now: SystemTime) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for mirror in open.values() {
            mirror.files.cool(now);
        }
    }

    /// Removes what is beyond `bounds` from the trash of all of them.
    pub(crate) async fn prune_trash(
        &self,
        bounds: TrashBounds,
        now: SystemTime,
    ) -> Result<(), Problem> {
        let dir = self.dir.clone();
        let filled = move || -> io::Result<Vec<WorkspaceId>> {
            let ids = names(&dir)?.into_iter();
            let ids = ids.filter_map(|name| WorkspaceId::parse(&name));
            let trash = |id: &WorkspaceId| names(&dir.join(&id.0).join("trash"));
            Ok(ids
                .filter(|id| trash(id).is_ok_and(|names| !names.is_empty()))
                .collect())
        };
        let dir = self.dir.clone();
        for id in blocking(filled)
            .await?
            .map_err(|error| Problem::io(&dir, &error))?
        {
            let gate = self.gate(&id);
            let _open = gate.read().await;
            let (dir, boot_id) = (self.dir.join(&id.0), self.boot_id.clone());
            if !dir.is_dir() {
                continue;
            }
            let place = dir.clone();
            let owner = blocking(move || dirs::owner(&place)).await??.map(Arc::new);
            let prune = move || Workspace::open(&dir, &boot_id)?.prune_trash(&bounds, now);
            // One that is damaged does not keep the others.
            if let Err(error) = self.work(owner.as_ref(), prune).await? {
                tracing::warn!(workspace = %id, %error, "its trash cannot be looked at");
            }
        }
        for site in self.sites.all().filter(|site| site.is_known()) {
            // One that is not there now is told of by whoever uses it.
            if let Ok(mirror) = self.anybodys(&site.id).await {
                self.on(&mirror, move |files| files.prune_trash(&bounds, now))
                    .await??;
            }
        }
        Ok(())
    }

    /// Removes a directory that was a workspace, with the rights of the user whose it was.
    async fn empty(&self, dir: PathBuf) -> Result<(), Problem> {
        let place = dir.clone();
        let owner = blocking(move || dirs::owner(&place)).await??.map(Arc::new);
        let inside = dir.clone();
        let emptied = self.work(owner.as_ref(), move || workspace::empty(&inside));
        emptied.await??;
        blocking(move || match fs::remove_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Problem::io(&dir, &error)),
            _ => Ok(()),
        })
        .await?
    }
}

/// Renames a directory so that it is nobody's workspace.
fn put_aside(dir: &Path) -> io::Result<()> {
    for attempt in 0_u32.. {
        let gone = dir.with_extension(format!("{attempt}{GONE}"));
        match fs::rename(dir, gone) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) => {}
            done => return done,
        }
    }
    Ok(())
}

/// Why a workspace cannot be had alone.
pub(crate) fn busy(error: StoreError, id: &WorkspaceId) -> Problem {
    if !matches!(error, StoreError::Busy { .. }) {
        return error.into();
    }
    let message = "a job runs in it, or somebody is mirroring to it: nothing was changed";
    Problem::new(Code::FailedPrecondition, "WORKSPACE_BUSY", message).with("workspace", id)
}
