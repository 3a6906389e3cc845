//! What owners do with their workspaces beside mirroring: look at them, remove them, and take things out of the trash.

use std::sync::Arc;
use std::time::SystemTime;

use legwork_proto::v1 as wire;
use legwork_sync::path::TreePath;
use legwork_sync::workspace::{TrashDir, Wanted, Workspace};
use tonic::Code;

use crate::access::Call;
use crate::problem::Problem;
use crate::server::Shared;
use crate::sites::Site;
use crate::workspaces::{Mirror, WorkspaceId, busy, not_found};

/// Workspaces on a page: each is opened to be looked at.
const PAGE: usize = 50;
/// Characters of the beginning of an id at least.
const PREFIX_MIN: usize = 4;
/// Paths of one commit that are told with others, and alone, and their bytes.
const SOME: (usize, usize) = (100, 16 << 10);
const MANY: (usize, usize) = (10_000, 1 << 20);
/// Paths that one restore may name.
const ONLY_MAX: usize = 10_000;

/// A page of the workspaces that the caller has.
pub(crate) async fn list(
    shared: &Shared,
    call: &Call,
    after: &str,
) -> Result<wire::ListWorkspacesResponse, Problem> {
    let caller = call.principal()?;
    let mut all: Vec<(WorkspaceId, Option<wire::WorkspaceRef>, Option<Arc<Site>>)> = Vec::new();
    for (id, by) in shared.owners.of(caller).await? {
        all.push((id, by, None));
    }
    for site in shared.workspaces.sites().for_whom(caller) {
        let by = wire::workspace_ref::By::Name(site.name.clone());
        let by = wire::WorkspaceRef { by: Some(by) };
        all.push((site.id.clone(), Some(by), Some(Arc::clone(site))));
    }
    all.sort_by_key(|(id, ..)| id.to_string());
    all.retain(|(id, ..)| id.to_string().as_str() > after);
    let more = all.len() > PAGE;
    all.truncate(PAGE);
    let next = all.last().filter(|_| more).map(|(id, ..)| id.to_string());
    let mut workspaces = Vec::with_capacity(all.len());
    for (id, by, site) in all {
        let looked = look(shared, &id, site.as_deref()).await;
        let shown = looked.unwrap_or_else(|problem| wire::Workspace {
            problem: problem.message,
            ..wire::Workspace::default()
        });
        workspaces.push(wire::Workspace {
            id: id.to_string(),
            by,
            site: site.is_some(),
            ..shown
        });
    }
    Ok(wire::ListWorkspacesResponse {
        workspaces,
        next_page_token: next.unwrap_or_default(),
    })
}

async fn look(
    shared: &Shared,
    id: &WorkspaceId,
    site: Option<&Site>,
) -> Result<wire::Workspace, Problem> {
    if let Some(site) = site.filter(|site| !site.is_known()) {
        return Ok(wire::Workspace {
            tree: site.path.as_os_str().as_encoded_bytes().to_vec().into(),
            ..wire::Workspace::default()
        });
    }
    let mirror = shared.workspaces.passing(id).await?;
    shared.workspaces.on(&mirror, figures).await?
}

fn figures(files: &Workspace) -> Result<wire::Workspace, Problem> {
    let contents = files.contents()?;
    let used = files.last_used().ok();
    let used = used.and_then(|used| used.duration_since(SystemTime::UNIX_EPOCH).ok());
    let trash = files.trash_with(0)?;
    Ok(wire::Workspace {
        tree: files.tree().as_os_str().as_encoded_bytes().to_vec().into(),
        generation: contents.generation,
        entries: contents.held.entries,
        bytes: contents.held.bytes,
        trash_bytes: trash
            .iter()
            .map(|dir| dir.bytes)
            .fold(0, u64::saturating_add),
        last_used_ms: used.map_or(0, |used| {
            u64::try_from(used.as_millis()).unwrap_or(u64::MAX)
        }),
        ..wire::Workspace::default()
    })
}

/// Removes a workspace of the caller's; says which.
pub(crate) async fn remove(
    shared: &Shared,
    call: &Call,
    which: &str,
) -> Result<WorkspaceId, Problem> {
    let caller = call.principal()?;
    let id = named(shared, call, which).await?;
    call.about(&id);
    let mirror = shared.workspaces.anybodys(&id).await?;
    shared.workspaces.remove(&id, &mirror).await?;
    shared.owners.forget(caller, &id).await?;
    Ok(id)
}

/// The workspace of the caller's that is meant by a name, an id, or the beginning of one.
async fn named(shared: &Shared, call: &Call, which: &str) -> Result<WorkspaceId, Problem> {
    let caller = call.principal()?;
    let site = shared.workspaces.sites().named(which);
    if site.is_some_and(|site| site.lets(caller)) {
        let message = format!(
            "{which} is a directory of the server's admin's choosing: it is removed from server.toml, and by hand"
        );
        let problem = Problem::new(Code::FailedPrecondition, "WORKSPACE_IS_SITE", message);
        return Err(problem.with("workspace", which));
    }
    let own = shared.owners.of(caller).await?;
    let is_named = |by: &Option<wire::WorkspaceRef>| {
        let by = by.as_ref().and_then(|reference| reference.by.as_ref());
        matches!(by, Some(wire::workspace_ref::By::Name(name)) if name == which)
    };
    if let Some((id, _)) = own.iter().find(|(_, by)| is_named(by)) {
        return Ok(id.clone());
    }
    let long_enough = which.len() >= PREFIX_MIN;
    let mut begun = own
        .keys()
        .filter(|id| long_enough && id.to_string().starts_with(which));
    match (begun.next(), begun.next()) {
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => {
            let message = format!("several of your workspaces begin with {which}");
            let problem = Problem::new(Code::FailedPrecondition, "WORKSPACE_AMBIGUOUS", message);
            Err(problem.with("workspace", which))
        }
        (None, _) => Err(not_found().with("workspace", which)),
    }
}

/// The workspace of the caller's that a request is about.
async fn own(
    shared: &Shared,
    call: &Call,
    reference: Option<&wire::WorkspaceRef>,
) -> Result<(WorkspaceId, Mirror), Problem> {
    let caller = call.principal()?;
    let reference = reference.ok_or_else(|| Problem::malformed("no workspace"))?;
    let id = shared.workspaces.id(caller, reference)?;
    call.about(&id);
    let user = shared.accounts.of(caller)?;
    let mirror = shared.workspaces.existing(&id, user).await?;
    Ok((id, mirror))
}

/// What is in the trash of a workspace.
pub(crate) async fn trash(
    shared: &Shared,
    call: &Call,
    request: &wire::ListTrashRequest,
) -> Result<wire::ListTrashResponse, Problem> {
    let (_, mirror) = own(shared, call, request.workspace.as_ref()).await?;
    let room = if request.id.is_empty() { SOME } else { MANY };
    let listing = move |files: &Workspace| files.trash_with(room.0);
    let mut found = shared.workspaces.on(&mirror, listing).await??;
    if !request.id.is_empty() {
        let wanted = trash_name(&request.id)?;
        found.retain(|dir| dir.name == wanted);
        if found.is_empty() {
            return Err(no_trash(&request.id));
        }
    }
    let trash = found.iter().map(|dir| trashed(dir, room)).collect();
    Ok(wire::ListTrashResponse { trash })
}

fn trashed(dir: &TrashDir, room: (usize, usize)) -> wire::TrashedCommit {
    let paths = dir
        .paths
        .iter()
        .map(|path| path.as_os_str().as_encoded_bytes());
    wire::TrashedCommit {
        id: dir.name.clone(),
        displaced_ms: u64::try_from(dir.displaced_ns / 1_000_000).unwrap_or(0),
        bytes: dir.bytes,
        paths: Some(wire::Listing {
            total: dir.files,
            ..listing(paths, room)
        }),
    }
}

fn listing<'a>(
    paths: impl ExactSizeIterator<Item = &'a [u8]>,
    (number, bytes): (usize, usize),
) -> wire::Listing {
    let mut left = bytes;
    let total = paths.len() as u64;
    let fits = |path: &&[u8]| {
        let rest = left.checked_sub(path.len());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let paths = paths.take(number).take_while(fits);
    wire::Listing {
        total,
        paths: paths.map(|path| path.to_vec().into()).collect(),
    }
}

/// The name of a trash directory by what somebody typed: its number will do.
fn trash_name(typed: &str) -> Result<String, Problem> {
    let number: u64 = typed.parse().map_err(|_| no_trash(typed))?;
    Ok(format!("{number:010}"))
}

fn no_trash(id: &str) -> Problem {
    let message = format!("there is no {id} in this trash");
    Problem::new(Code::NotFound, "TRASH_NOT_FOUND", message).with("id", id)
}

/// Takes something out of the trash.
pub(crate) async fn restore(
    shared: &Shared,
    call: &Call,
    request: wire::RestoreTrashRequest,
) -> Result<wire::RestoreTrashResponse, Problem> {
    if request.paths.len() > ONLY_MAX {
        return Err(Problem::malformed("more paths than one restore may name"));
    }
    let path = |path: &bytes::Bytes| {
        TreePath::new(&path[..]).map_err(|bad| {
            let message = format!("{}: {bad}", String::from_utf8_lossy(path).escape_debug());
            Problem::new(Code::InvalidArgument, "BAD_PATH", message)
        })
    };
    let wanted = Wanted {
        only: request.paths.iter().map(path).collect::<Result<_, _>>()?,
        force: request.force,
    };
    let name = trash_name(&request.id)?;
    let (id, mirror) = own(shared, call, request.workspace.as_ref()).await?;
    let restoring = move |files: &Workspace| files.restore(&name, &wanted);
    let done = shared.workspaces.on(&mirror, restoring).await?;
    let done = done.map_err(|error| busy(error, &id))?;
    let listing = |paths: &[TreePath]| listing(paths.iter().map(TreePath::as_bytes), MANY);
    Ok(wire::RestoreTrashResponse {
        restored: Some(listing(&done.restored)),
        in_the_way: Some(listing(&done.in_the_way)),
        displaced: Some(listing(&done.displaced)),
    })
}
