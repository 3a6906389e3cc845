//! What a host keeps of somebody's mirrors: the workspaces themselves, and what their commits displaced.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use legwork_proto::v1 as wire;
use legwork_proto::v1::sync_service_client::SyncServiceClient;
use legwork_sync::message::Listing;

use crate::client::Client;
use crate::connect::Channel;
use crate::contact::origin;
use crate::convert;
use crate::error::Result;
use crate::mirror_wire;
use crate::spec::WorkspaceRef;

/// A workspace, as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// 16 hex digits.
    pub id: String,
    /// By what it is found; `None` if the server does not know.
    pub by: Option<WorkspaceRef>,
    /// Where its tree is there.
    pub tree: PathBuf,
    /// Whether that is a directory of the server's admin's choosing.
    pub site: bool,
    /// Commits so far.
    pub generation: u64,
    /// Files, links and directories that the mirror wrote.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of what it displaced.
    pub trash_bytes: u64,
    /// When it was last used, in milliseconds since the epoch; 0 if it was not.
    pub last_used_ms: u64,
    /// Why the figures are missing, if they are.
    pub problem: Option<String>,
}

/// What one commit displaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// What to restore it by.
    pub id: String,
    /// When, in milliseconds since the epoch.
    pub displaced_ms: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files and links, by the path that they had; the first of them.
    pub paths: Listing,
}

/// What to take out of the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// Of which workspace.
    pub workspace: WorkspaceRef,
    /// Of which commit: [`Trashed::id`].
    pub id: String,
    /// Only what is at or below these; all if there are none.
    pub paths: Vec<Vec<u8>>,
    /// What is in the way goes to the trash.
    pub force: bool,
}

/// What came out of the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredPaths {
    /// Where they were: topmost paths.
    pub restored: Listing,
    /// Still in the trash, since something else is there now.
    pub in_the_way: Listing,
    /// Moved to the trash to make way.
    pub displaced: Listing,
}

fn sync(channel: Channel) -> SyncServiceClient<Channel> {
    SyncServiceClient::with_origin(channel, origin())
}

impl Client {
    /// The workspaces that we have on the host, by id.
    ///
    /// # Errors
    /// What the server or the connection says, as in every call.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let call = |channel| {
                let request = wire::ListWorkspacesRequest {
                    page_token: page_token.clone(),
                };
                async move { sync(channel).list_workspaces(request).await }
            };
            let page = self.contact.repeat(call).await?;
            found.extend(page.workspaces.into_iter().map(workspace));
            // A server that does not go on would be asked for ever.
            if page.next_page_token.is_empty() || page.next_page_token <= page_token {
                return Ok(found);
            }
            page_token = page.next_page_token;
        }
    }

    /// Removes a workspace of ours by its name, its id or the beginning of that, with all that is in it; says its id.
    ///
    /// # Errors
    /// `WORKSPACE_NOT_FOUND`, `WORKSPACE_BUSY` while a job runs in it, `WORKSPACE_AMBIGUOUS`, `WORKSPACE_IS_SITE`.
    pub async fn remove_workspace(&self, which: &str) -> Result<String> {
        // A repeat would not find it.
        let call = |channel| {
            let request = wire::RemoveWorkspaceRequest {
                which: which.to_owned(),
            };
            async move { sync(channel).remove_workspace(request).await }
        };
        Ok(self.contact.at_most_once(call).await?.id)
    }

    /// What commits to a workspace of ours displaced, newest first; with an id only that, with more of its paths.
    ///
    /// # Errors
    /// `WORKSPACE_NOT_FOUND`, `TRASH_NOT_FOUND`.
    pub async fn trash(&self, of: &WorkspaceRef, id: Option<&str>) -> Result<Vec<Trashed>> {
        let call = |channel| {
            let request = wire::ListTrashRequest {
                workspace: Some(convert::workspace(of)),
                id: id.unwrap_or_default().to_owned(),
            };
            async move { sync(channel).list_trash(request).await }
        };
        let found = self.contact.repeat(call).await?.trash;
        let trashed = |trashed: wire::TrashedCommit| Trashed {
            id: trashed.id,
            displaced_ms: trashed.displaced_ms,
            bytes: trashed.bytes,
            paths: mirror_wire::listing(trashed.paths),
        };
        Ok(found.into_iter().map(trashed).collect())
    }

    /// Moves what a commit displaced back to where it was.
    ///
    /// # Errors
    /// `WORKSPACE_NOT_FOUND`, `TRASH_NOT_FOUND`, `WORKSPACE_BUSY` while a job runs in it, `BAD_PATH`.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<RestoredPaths> {
        // A repeat would find what was restored already in its own way.
        let call = |channel| {
            let request = wire::RestoreTrashRequest {
                workspace: Some(convert::workspace(&request.workspace)),
                id: request.id.clone(),
                paths: request.paths.iter().cloned().map(Into::into).collect(),
                force: request.force,
            };
            async move { sync(channel).restore_trash(request).await }
        };
        let done = self.contact.at_most_once(call).await?;
        Ok(RestoredPaths {
            restored: mirror_wire::listing(done.restored),
            in_the_way: mirror_wire::listing(done.in_the_way),
            displaced: mirror_wire::listing(done.displaced),
        })
    }
}

fn workspace(told: wire::Workspace) -> Workspace {
    let path = |bytes: bytes::Bytes| PathBuf::from(OsString::from_vec(bytes.into()));
    let by = told.by.and_then(|by| by.by).map(|by| match by {
        wire::workspace_ref::By::Name(name) => WorkspaceRef::Name(name),
        wire::workspace_ref::By::Origin(origin) => WorkspaceRef::Origin {
            machine_id: origin.machine_id,
            root: path(origin.root),
        },
    });
    Workspace {
        id: told.id,
        by,
        tree: path(told.tree),
        site: told.site,
        generation: told.generation,
        entries: told.entries,
        bytes: told.bytes,
        trash_bytes: told.trash_bytes,
        last_used_ms: told.last_used_ms,
        problem: (!told.problem.is_empty()).then_some(told.problem),
    }
}
