//! The names of users, each asked for once: the answer may come from a directory far away.

use std::collections::HashMap;

use nix::unistd::{Uid, User};

/// Names that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Users {
    names: HashMap<u32, String>,
}

/// So many are remembered.
const MAX: usize = 10_000;

impl Users {
    /// The name of a user, else the number.
    pub(crate) fn name(&mut self, uid: u32) -> &str {
        if self.names.len() >= MAX {
            self.names.clear();
        }
        self.names
            .entry(uid)
            .or_insert_with(|| match User::from_uid(Uid::from_raw(uid)) {
                Ok(Some(user)) => user.name,
                Ok(None) | Err(_) => uid.to_string(),
            })
    }

    /// Asks again from now on: users come and go.
    pub(crate) fn forget(&mut self) {
        self.names.clear();
    }
}
