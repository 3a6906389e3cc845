//! The workspaces of whoever asks: found, or made as long as there are not too many, and noted as theirs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_identity::{Principal, PrincipalId, Via};
use legwork_proto::v1 as wire;
use uuid::Uuid;

use super::{Mirror, WorkspaceId};
use crate::problem::Problem;
use crate::quotas::too_many_workspaces;
use crate::run_as::Account;
use crate::server::Shared;
use crate::sites::Entry;

/// Workspaces that are being made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Making {
    /// Held by whoever finds out whether there may be one more.
    turn: Arc<tokio::sync::Mutex<()>>,
    claims: Arc<Mutex<Vec<(Uuid, WorkspaceId)>>>,
}

/// One that is being made, until it is noted whose it is.
struct Claim {
    making: Making,
    owner: Uuid,
    id: WorkspaceId,
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, Vec<(Uuid, WorkspaceId)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody make another one, who `has` those that are noted.
    async fn one_more(
        &self,
        owner: Uuid,
        id: &WorkspaceId,
        has: impl Future<Output = Result<HashSet<WorkspaceId>, Problem>>,
        limit: usize,
    ) -> Result<Claim, Problem> {
        let _turn = self.turn.lock().await;
        // In this order: one that is noted meanwhile is counted all the same, and none is missed.
        let claimed = self.lock().clone().into_iter();
        let claimed = claimed.filter(|(whose, _)| *whose == owner);
        let mut all: HashSet<WorkspaceId> = claimed.map(|(_, id)| id).collect();
        all.extend(has.await?);
        // Whoever asks twice at once makes it once.
        if !all.contains(id) && all.len() >= limit {
            return Err(too_many_workspaces(limit));
        }
        self.lock().push((owner, id.clone()));
        Ok(Claim {
            making: self.clone(),
            owner,
            id: id.clone(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.making.lock();
        let own = |(owner, id): &(Uuid, WorkspaceId)| *owner == self.owner && *id == self.id;
        if let Some(at) = claims.iter().position(own) {
            claims.swap_remove(at);
        }
    }
}

/// Opens the workspace that a caller means by `reference`. A site is nobody's: it is neither made nor noted.
pub(crate) async fn open(
    shared: &Shared,
    caller: &Principal,
    user: Option<Arc<Account>>,
    id: &WorkspaceId,
    reference: &wire::WorkspaceRef,
    entry: Entry,
) -> Result<Mirror, Problem> {
    if shared.workspaces.site(id).is_some() {
        return shared.workspaces.open_for(id, user, entry).await;
    }
    let claim = claim(shared, caller, id).await?;
    let mirror = shared.workspaces.open_for(id, user, entry).await?;
    // Only now: what says whose a mirror is that is not there is swept.
    shared.owners.note(caller, id, reference).await?;
    drop(claim);
    Ok(mirror)
}

/// The right to make this workspace, if it is not there and its owner's are limited.
async fn claim(
    shared: &Shared,
    caller: &Principal,
    id: &WorkspaceId,
) -> Result<Option<Claim>, Problem> {
    let (Via::Certificate, PrincipalId::Identity(owner), Some(quotas)) =
        (caller.via, caller.id, shared.usage.quotas())
    else {
        return Ok(None);
    };
    if shared.workspaces.is_there(id) {
        return Ok(None);
    }
    let has = async { Ok(shared.owners.of(caller).await?.into_keys().collect()) };
    let claim = shared.making.one_more(owner, id, has, quotas.workspaces);
    Ok(Some(claim.await?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Making;
    use crate::workspaces::WorkspaceId;

    #[tokio::test]
    async fn those_that_are_being_made_count_once_and_until_they_are_noted() {
        let making = Making::default();
        let ids: Vec<_> = (0..4)
            .map(|number| WorkspaceId::parse(&format!("{number:016x}")).unwrap())
            .collect();
        let (alice, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let more = async |owner, at: usize, has: &[WorkspaceId]| {
            let has = async { Ok(has.iter().cloned().collect()) };
            making.one_more(owner, &ids[at], has, 3).await
        };
        let first = more(alice, 0, &[]).await.unwrap();
        let again = more(alice, 0, &[]).await.unwrap();
        // Noted by now, though its claim is still there.
        let _second = more(alice, 1, &ids[..1]).await.unwrap();
        let third = more(alice, 2, &ids[..2]).await.unwrap();
        let refused = more(alice, 3, &ids[..2]).await.err().unwrap();
        assert_eq!(refused.reason, "TOO_MANY_WORKSPACES");
        assert!(more(bob, 3, &[]).await.is_ok());
        drop(third);
        assert!(more(alice, 3, &ids[..2]).await.is_ok());
        drop(first);
        let fourth = more(alice, 3, &[]).await.unwrap();
        assert!(
            more(alice, 2, &[]).await.is_err(),
            "one is being made twice"
        );
        drop((again, fourth));
        assert!(more(alice, 2, &[]).await.is_ok());
        assert_eq!(making.lock().len(), 1);
    }
}
