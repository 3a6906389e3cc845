//! Owners as people know them: what is recorded is a number or a uuid, what is shown is a name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_identity::{Principal, PrincipalId};
use nix::unistd::{Uid, User};
use uuid::Uuid;

use crate::authority::Authority;

/// Names that are remembered. When there are more, the memory begins anew.
const KNOWN_MAX: usize = 4096;

/// Finds names, and remembers them: the name of an owner never changes.
#[derive(Debug)]
pub(crate) struct Names {
    authority: Arc<Authority>,
    known: Mutex<HashMap<String, String>>,
}

impl Names {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            known: Mutex::default(),
        }
    }

    /// Takes a name from whoever bears it.
    pub(crate) fn learn(&self, principal: &Principal) {
        self.remember(&principal.owner(), &principal.name);
    }

    /// The name of an owner; the owner itself when there is none, as for those recorded by earlier versions.
    pub(crate) fn of(&self, owner: &str) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(owner) {
            return name.clone();
        }
        drop(known);
        let name = self.look_up(owner).unwrap_or_else(|| owner.to_owned());
        self.remember(owner, &name);
        name
    }

    /// Every owner that somebody may mean by a name.
    pub(crate) fn owners(&self, name: &str) -> Vec<String> {
        let mut owners = vec![name.to_owned()];
        if let Ok(Some(user)) = User::from_name(name) {
            owners.push(PrincipalId::User(user.uid.as_raw()).to_string());
        }
        let identities = match self.authority.find() {
            Ok(Some(opened)) => opened.store.identities().unwrap_or_default(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let same = identities.iter().filter(|identity| identity.name == name);
        owners.extend(same.map(|identity| PrincipalId::Identity(identity.id).to_string()));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = known.iter().filter(|(_, known)| known.as_str() == name);
        owners.extend(named.map(|(owner, _)| owner.clone()));
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    fn look_up(&self, owner: &str) -> Option<String> {
        if let Some(uid) = owner.strip_prefix("uid:") {
            let user = User::from_uid(Uid::from_raw(uid.parse().ok()?)).ok()?;
            return user.map(|user| user.name);
        }
        let id = Uuid::try_parse(owner).ok()?;
        let identity = self.authority.find().ok()??.store.identity(id).ok()?;
        identity.map(|identity| identity.name)
    }

    fn remember(&self, owner: &str, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(owner).is_some_and(|known| known == name) {
            return;
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(owner.to_owned(), name.to_owned());
    }
}
