//! How many bytes the mirrors of each identity hold, so that they do not come to hold more than it may have.
//!
//! Whose a mirror is, is on disk ([`owners`](crate::owners)). How much it holds is said by its index, by which the mirror itself goes, so that
//! no second record can be wrong about it. Both are looked up once; from then on sessions say what they claim.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_identity::{Principal, PrincipalId, Via};
use legwork_sync::receive::{Full, Room};
use uuid::Uuid;

use crate::owners::{OWNERS, names};
use crate::problem::Problem;
use crate::workspaces::{WorkspaceId, Workspaces, blocking};

type Held = Mutex<HashMap<Uuid, HashMap<WorkspaceId, u64>>>;

/// What mirrors hold, by the identities that they belong to.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    held: Arc<Held>,
}

/// One mirror's part of what its owner may have.
#[derive(Debug)]
struct Share {
    held: Arc<Held>,
    owner: Uuid,
    workspace: WorkspaceId,
    limit: u64,
}

fn lock(held: &Held) -> MutexGuard<'_, HashMap<Uuid, HashMap<WorkspaceId, u64>>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Space {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            dir: state.join(OWNERS),
            held: Arc::default(),
        }
    }

    /// What a session on a workspace that is there asks; `None` if whose it is has no limit.
    pub(crate) async fn room(
        &self,
        caller: &Principal,
        workspace: &WorkspaceId,
        limit: Option<u64>,
        workspaces: &Workspaces,
    ) -> Result<Option<Arc<dyn Room>>, Problem> {
        let (Via::Certificate, PrincipalId::Identity(owner), Some(limit)) =
            (caller.via, caller.id, limit)
        else {
            return Ok(None);
        };
        let (dir, name) = (self.dir_of(owner), workspace.to_string());
        blocking(move || note(&dir, &name).map_err(|error| Problem::io(&dir, &error))).await??;
        self.look(owner, workspaces).await?;
        Ok(Some(Arc::new(Share {
            held: Arc::clone(&self.held),
            owner,
            workspace: workspace.clone(),
            limit,
        })))
    }

    /// Bytes that the mirrors of all identities hold.
    pub(crate) async fn all(&self, workspaces: &Workspaces) -> Result<u64, Problem> {
        let dir = self.dir.clone();
        let names = move || names(&dir).map_err(|error| Problem::io(&dir, &error));
        for name in blocking(names).await?? {
            if let Ok(owner) = Uuid::try_parse(&name) {
                self.look(owner, workspaces).await?;
            }
        }
        let held = lock(&self.held);
        let each = held.values().flat_map(HashMap::values);
        Ok(each.copied().fold(0, u64::saturating_add))
    }

    fn dir_of(&self, owner: Uuid) -> PathBuf {
        self.dir.join(owner.to_string())
    }

    /// Learns what somebody's mirrors hold, as far as that is not known, and forgets those that are gone.
    async fn look(&self, owner: Uuid, workspaces: &Workspaces) -> Result<(), Problem> {
        let (dir, place) = (self.dir_of(owner), workspaces.dir().to_owned());
        let there = move || there(&dir, &place).map_err(|error| Problem::io(&dir, &error));
        let there = blocking(there).await??;
        let unknown: Vec<WorkspaceId> = {
            let mut held = lock(&self.held);
            let known = held.entry(owner).or_default();
            known.retain(|workspace, _| there.contains(workspace));
            let unknown = there.iter().filter(|id| !known.contains_key(*id));
            unknown.cloned().collect()
        };
        for workspace in unknown {
            let bytes = match workspaces.measure(&workspace).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    // Its own sessions will tell. The others are not to suffer.
                    tracing::warn!(%workspace, %error, "a mirror cannot be measured");
                    continue;
                }
            };
            let mut held = lock(&self.held);
            // A session that began meanwhile knows better.
            held.entry(owner)
                .or_default()
                .entry(workspace)
                .or_insert(bytes);
        }
        Ok(())
    }
}

impl Room for Share {
    fn claim(&self, bytes: u64) -> Result<(), Full> {
        let mut held = lock(&self.held);
        let each = held.entry(self.owner).or_default();
        let others = each.iter().filter(|(id, _)| **id != self.workspace);
        let elsewhere = others.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        let before = each.get(&self.workspace).copied().unwrap_or_default();
        if bytes > before && elsewhere.saturating_add(bytes) > self.limit {
            let limit = self.limit;
            return Err(Full { limit, elsewhere });
        }
        each.insert(self.workspace.clone(), bytes);
        Ok(())
    }

    fn settle(&self, bytes: u64) {
        let mut held = lock(&self.held);
        let each = held.entry(self.owner).or_default();
        each.insert(self.workspace.clone(), bytes);
    }
}

/// Writes down that the owner of `dir` has this workspace; durable once this returns.
fn note(dir: &Path, workspace: &str) -> io::Result<()> {
    let file = dir.join(workspace);
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let above = dir.parent().unwrap_or(dir);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    File::create(&file)?;
    for dir in [Some(dir), Some(above), above.parent()]
        .into_iter()
        .flatten()
    {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// The workspaces of the owner of `dir` that are in `place`. What is not there any more is not its owner's any more.
fn there(dir: &Path, place: &Path) -> io::Result<HashSet<WorkspaceId>> {
    let mut there = HashSet::new();
    for name in names(dir)? {
        let Some(workspace) = WorkspaceId::parse(&name) else {
            continue;
        };
        if place.join(&name).symlink_metadata().is_ok() {
            there.insert(workspace);
        } else {
            // Only tidying: what stays is looked at again.
            let _stays = fs::remove_file(dir.join(&name));
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use legwork_sync::receive::{Full, Room};
    use uuid::Uuid;

    use super::{Held, Share, note, there};
    use crate::workspaces::WorkspaceId;

    const NAMES: [&str; 2] = ["00000000000000aa", "00000000000000bb"];

    #[test]
    fn what_two_mirrors_claim_adds_up_and_less_is_never_too_much() {
        let held: Arc<Held> = Arc::default();
        let share = |owner: u128, name: &str, limit| Share {
            held: Arc::clone(&held),
            owner: Uuid::from_u128(owner),
            workspace: WorkspaceId::parse(name).unwrap(),
            limit,
        };
        let [a, b] = NAMES.map(|name| share(1, name, 100));
        a.claim(60).unwrap();
        b.claim(40).unwrap();
        let full = |elsewhere| {
            Err(Full {
                limit: 100,
                elsewhere,
            })
        };
        assert_eq!(b.claim(41), full(60));
        assert_eq!(a.claim(u64::MAX), full(40));
        share(2, NAMES[0], 100).claim(100).unwrap();
        a.settle(10);
        b.claim(90).unwrap();
        // The limit is another since the server was started again.
        let (a, b) = (share(1, NAMES[0], 50), share(1, NAMES[1], 50));
        b.claim(80).unwrap();
        assert!(b.claim(81).is_err());
        b.claim(20).unwrap();
        a.claim(30).unwrap();
    }

    #[test]
    fn whose_a_mirror_is_is_private_and_forgotten_with_the_mirror() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, place) = (temp.path().join("owners/me"), temp.path().join("mirrors"));
        assert!(there(&dir, &place).unwrap().is_empty());
        for name in NAMES {
            fs::create_dir_all(place.join(name)).unwrap();
            note(&dir, name).unwrap();
            note(&dir, name).unwrap();
        }
        assert_eq!(dir.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(there(&dir, &place).unwrap().len(), 2);
        fs::remove_dir(place.join(NAMES[0])).unwrap();
        let left = there(&dir, &place).unwrap();
        assert_eq!(left, [WorkspaceId::parse(NAMES[1]).unwrap()].into());
        assert!(!dir.join(NAMES[0]).exists());
    }
}
