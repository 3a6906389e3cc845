//! Whose each mirror is, and of what: `owners/<owner>/<workspace>`, a file each.
//!
//! A workspace's id does not tell either. The file holds one JSON object, or nothing if an earlier version made it; it is
//! the server's, while what lies in the workspace is its user's. [`space`](crate::space) counts by these files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use legwork_identity::{Principal, PrincipalId, Via};
use legwork_proto::v1 as wire;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::workspaces::{WorkspaceId, blocking};

/// Where it is written.
pub(crate) const OWNERS: &str = "owners";
/// Bytes of such a file at most: a path is in it.
const ABOUT_MAX: u64 = 64 << 10;

/// The record of owners.
#[derive(Debug)]
pub(crate) struct Owners {
    dir: PathBuf,
    workspaces: PathBuf,
}

impl Owners {
    /// Of the workspaces in a directory.
    pub(crate) fn new(state: &Path, workspaces: &Path) -> Self {
        Self {
            dir: state.join(OWNERS),
            workspaces: workspaces.to_owned(),
        }
    }

    /// The directory of somebody's.
    fn dir_of(&self, caller: &Principal) -> PathBuf {
        self.dir.join(match caller.id {
            PrincipalId::Identity(id) => id.to_string(),
            PrincipalId::User(uid) => format!("uid-{uid}"),
        })
    }

    /// Writes down that somebody has this workspace, of that; durable for who is counted by it.
    pub(crate) async fn note(
        &self,
        caller: &Principal,
        workspace: &WorkspaceId,
        reference: &wire::WorkspaceRef,
    ) -> Result<(), Problem> {
        let file = self.dir_of(caller).join(workspace.to_string());
        let (about, durable) = (told(reference), caller.via == Via::Certificate);
        blocking(move || note(&file, &about, durable).map_err(|e| Problem::io(&file, &e))).await?
    }

    /// The workspaces that somebody has, and of what they are, if that is known. What nobody has is of whoever has the
    /// state directory: earlier versions did not write down what users of the host made.
    pub(crate) async fn of(
        &self,
        caller: &Principal,
    ) -> Result<BTreeMap<WorkspaceId, Option<wire::WorkspaceRef>>, Problem> {
        let (own, all, there) = (
            self.dir_of(caller),
            self.dir.clone(),
            self.workspaces.clone(),
        );
        let is_local = caller.via != Via::Certificate;
        let look = move || -> io::Result<_> {
            let there: BTreeSet<WorkspaceId> = ids(&there)?;
            let mut found: BTreeMap<_, _> = ids(&own)?
                .into_iter()
                .filter(|id| there.contains(id))
                .map(|id| (id.clone(), about(&own.join(id.to_string()))))
                .collect();
            if is_local {
                let mut owned = BTreeSet::new();
                for owner in names(&all)? {
                    owned.extend(ids(&all.join(owner))?);
                }
                found.extend(there.difference(&owned).map(|id| (id.clone(), None)));
            }
            Ok(found)
        };
        let dir = self.dir.clone();
        blocking(move || look().map_err(|error| Problem::io(&dir, &error))).await?
    }

    /// Forgets that somebody had it.
    pub(crate) async fn forget(
        &self,
        caller: &Principal,
        workspace: &WorkspaceId,
    ) -> Result<(), Problem> {
        let file = self.dir_of(caller).join(workspace.to_string());
        // What stays is of a workspace that is not there, and so of none.
        blocking(move || drop(fs::remove_file(file))).await
    }
}

fn told(reference: &wire::WorkspaceRef) -> Value {
    match &reference.by {
        Some(wire::workspace_ref::By::Name(name)) => json!({ "name": name }),
        Some(wire::workspace_ref::By::Origin(origin)) => json!({
            "machine": origin.machine_id,
            // Only to be shown, so it need not be every path that there can be.
            "root": String::from_utf8_lossy(&origin.root),
        }),
        None => json!({}),
    }
}

fn note(file: &Path, about: &Value, durable: bool) -> io::Result<()> {
    if file.symlink_metadata().is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let dir = file.parent().unwrap_or(file);
    let above = dir.parent().unwrap_or(dir);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut written = options.open(file)?;
    written.write_all(format!("{about}\n").as_bytes())?;
    if durable {
        written.sync_all()?;
        for dir in [Some(dir), Some(above), above.parent()]
            .into_iter()
            .flatten()
        {
            File::open(dir)?.sync_all()?;
        }
    }
    Ok(())
}

fn about(file: &Path) -> Option<wire::WorkspaceRef> {
    let found = file.symlink_metadata().ok()?;
    let text = (found.len() <= ABOUT_MAX).then(|| fs::read_to_string(file).ok())??;
    let read: Value = serde_json::from_str(&text).ok()?;
    let text = |key: &str| read[key].as_str().map(str::to_owned);
    let by = match text("name") {
        Some(name) => wire::workspace_ref::By::Name(name),
        None => wire::workspace_ref::By::Origin(wire::WorkspaceOrigin {
            machine_id: text("machine")?,
            root: text("root")?.into_bytes().into(),
        }),
    };
    Some(wire::WorkspaceRef { by: Some(by) })
}

fn ids(dir: &Path) -> io::Result<BTreeSet<WorkspaceId>> {
    let found = names(dir)?;
    Ok(found
        .iter()
        .filter_map(|name| WorkspaceId::parse(name))
        .collect())
}

/// The names in a directory; none if it is not there.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries
        .map(|entry| Ok(String::from_utf8_lossy(entry?.file_name().as_bytes()).into_owned()));
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use legwork_identity::{Principal, PrincipalId, Role, Via};
    use legwork_proto::v1 as wire;

    use super::{Owners, note, told};
    use crate::workspaces::WorkspaceId;

    fn named(name: &str) -> wire::WorkspaceRef {
        wire::WorkspaceRef {
            by: Some(wire::workspace_ref::By::Name(name.to_owned())),
        }
    }

    fn identity(number: u128) -> Principal {
        Principal {
            id: PrincipalId::Identity(uuid::Uuid::from_u128(number)),
            name: "alice".to_owned(),
            roles: Role::Run.into(),
            via: Via::Certificate,
        }
    }

    #[tokio::test]
    async fn everybody_has_their_own_and_the_host_what_nobody_has() {
        let state = tempfile::tempdir().unwrap();
        let places = state.path().join("workspaces");
        let owners = Owners::new(state.path(), &places);
        let ids = ["00000000000000aa", "00000000000000bb", "00000000000000cc"];
        let id = |at: usize| WorkspaceId::parse(ids[at]).unwrap();
        for id in ids {
            fs::create_dir_all(places.join(id)).unwrap();
        }
        let (alice, host) = (identity(1), Principal::in_process(7, "me"));
        owners.note(&alice, &id(0), &named("w")).await.unwrap();
        owners.note(&host, &id(1), &named("x")).await.unwrap();
        let has = async |who: &Principal| {
            let found = owners.of(who).await.unwrap();
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(has(&alice).await, [(id(0), Some(named("w")))]);
        assert_eq!(has(&host).await, [(id(1), Some(named("x"))), (id(2), None)]);
        assert_eq!(has(&identity(2)).await, []);
        owners.forget(&alice, &id(0)).await.unwrap();
        assert_eq!(has(&alice).await, []);
        fs::remove_dir(places.join(ids[1])).unwrap();
        assert_eq!(has(&host).await, [(id(0), None), (id(2), None)]);
    }

    #[test]
    fn what_an_earlier_version_left_empty_is_filled() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("owners/me/00000000000000aa");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(super::about(&file), None);
        note(&file, &told(&named("w")), false).unwrap();
        assert_eq!(super::about(&file), Some(named("w")));
        let origin = wire::WorkspaceRef {
            by: Some(wire::workspace_ref::By::Origin(wire::WorkspaceOrigin {
                machine_id: "m".to_owned(),
                root: "/x".into(),
            })),
        };
        fs::write(&file, told(&origin).to_string()).unwrap();
        assert_eq!(super::about(&file), Some(origin));
    }
}
