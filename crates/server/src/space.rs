//! How much the mirrors of each identity hold, so that they do not come to hold more than it may have.
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
use legwork_sync::receive::{Full, Held, Room};
use uuid::Uuid;

use crate::owners::{OWNERS, names};
use crate::problem::Problem;
use crate::quotas::Quotas;
use crate::workspaces::{WorkspaceId, Workspaces, blocking};

type Table = Mutex<HashMap<Uuid, HashMap<WorkspaceId, Part>>>;

/// What one mirror holds, and what it is receiving.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    held: Held,
    staged: u64,
}

/// What mirrors hold, by the identities that they belong to.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    held: Arc<Table>,
}

/// One mirror's part of what its owner may have.
#[derive(Debug)]
struct Share {
    held: Arc<Table>,
    owner: Uuid,
    workspace: WorkspaceId,
    limit: Quotas,
}

fn lock(held: &Table) -> MutexGuard<'_, HashMap<Uuid, HashMap<WorkspaceId, Part>>> {
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
        limit: Option<Quotas>,
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
        let bytes = each.map(|part| part.held.bytes);
        Ok(bytes.fold(0, u64::saturating_add))
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
            let found = match workspaces.measure(&workspace).await {
                Ok(found) => found,
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
                .or_insert(Part {
                    held: found,
                    staged: 0,
                });
        }
        Ok(())
    }
}

impl Share {
    /// Counts this mirror with `amount` of what `of` tells, unless that is more than before and too much with the others.
    fn take(
        &self,
        amount: u64,
        limit: u64,
        of: impl Fn(&mut Part) -> &mut u64,
    ) -> Result<(), Full> {
        let mut held = lock(&self.held);
        let each = held.entry(self.owner).or_default();
        let others = each.iter_mut().filter(|(id, _)| **id != self.workspace);
        let others = others.map(|(_, part)| *of(part));
        let elsewhere = others.fold(0, u64::saturating_add);
        let own = of(each.entry(self.workspace.clone()).or_default());
        if amount > *own && elsewhere.saturating_add(amount) > limit {
            return Err(Full { limit, elsewhere });
        }
        *own = amount;
        Ok(())
    }
}

impl Room for Share {
    fn claim(&self, bytes: u64) -> Result<(), Full> {
        let limit = self.limit.workspace_bytes;
        self.take(bytes, limit, |part| &mut part.held.bytes)
    }

    fn claim_entries(&self, entries: u64) -> Result<(), Full> {
        let limit = self.limit.workspace_entries;
        self.take(entries, limit, |part| &mut part.held.entries)
    }

    fn claim_staging(&self, bytes: u64) -> Result<(), Full> {
        self.take(bytes, self.limit.staging_bytes, |part| &mut part.staged)
    }

    fn settle(&self, held: Held) {
        let part = Part { held, staged: 0 };
        let mut table = lock(&self.held);
        let each = table.entry(self.owner).or_default();
        each.insert(self.workspace.clone(), part);
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

    use legwork_sync::receive::{Full, Held, Room};
    use uuid::Uuid;

    use super::{Share, Table, note, there};
    use crate::quotas::Quotas;
    use crate::workspaces::WorkspaceId;

    const NAMES: [&str; 2] = ["00000000000000aa", "00000000000000bb"];

    #[test]
    fn what_two_mirrors_claim_adds_up_and_less_is_never_too_much() {
        let held: Arc<Table> = Arc::default();
        let share = |owner: u128, name: &str, limit: u64| Share {
            held: Arc::clone(&held),
            owner: Uuid::from_u128(owner),
            workspace: WorkspaceId::parse(name).unwrap(),
            limit: Quotas {
                workspace_bytes: limit,
                workspace_entries: limit / 10,
                staging_bytes: limit / 2,
                ..Quotas::default()
            },
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
        a.settle(Held {
            bytes: 10,
            entries: 4,
        });
        b.claim(90).unwrap();
        b.claim_entries(6).unwrap();
        let full = |limit, elsewhere| Err(Full { limit, elsewhere });
        assert_eq!(b.claim_entries(7), full(10, 4));
        a.claim_staging(30).unwrap();
        b.claim_staging(20).unwrap();
        assert_eq!(b.claim_staging(21), full(50, 30));
        a.settle(Held::default());
        b.claim_staging(50).unwrap();
        a.settle(Held {
            bytes: 10,
            entries: 4,
        });
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
