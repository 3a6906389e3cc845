//! Who sends just now, and from where: an identity has so many calls, and is alarming when they come from different hosts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_identity::{Principal, Via};
use tonic::Code;

use super::figures::Alarms;
use crate::problem::Problem;

/// Calls that send, by owner, and there by host.
type Table = HashMap<String, HashMap<String, usize>>;

/// The calls that send just now.
#[derive(Debug, Default)]
pub(crate) struct Senders(Arc<Mutex<Table>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Sender {
    table: Arc<Mutex<Table>>,
    owner: String,
    host: String,
}

impl Senders {
    /// Counts one more; a host without a name is any. Users of this host are not limited, as elsewhere, and may be on it under any name.
    pub(super) fn enter(
        &self,
        caller: &Principal,
        host: &str,
        limit: usize,
        alarms: &Alarms,
    ) -> Result<Sender, Problem> {
        let owner = caller.owner();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = table.entry(owner.clone()).or_default();
        let limited = caller.via == Via::Certificate;
        if limited && hosts.values().sum::<usize>() >= limit {
            return Err(too_many(limit));
        }
        let is_new = !hosts.contains_key(host);
        *hosts.entry(host.to_owned()).or_default() += 1;
        let named = hosts.keys().filter(|host| !host.is_empty());
        if limited && is_new && !host.is_empty() && named.clone().count() > 1 {
            let mut hosts: Vec<String> = named.cloned().collect();
            hosts.sort_unstable();
            alarms.two_hosts(&caller.name, &hosts);
        }
        drop(table);
        Ok(Sender {
            table: Arc::clone(&self.0),
            owner,
            host: host.to_owned(),
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(hosts) = table.get_mut(&self.owner) else {
            return;
        };
        if let Some(count) = hosts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&self.host);
            }
        }
        if hosts.is_empty() {
            table.remove(&self.owner);
        }
    }
}

fn too_many(limit: usize) -> Problem {
    let message = format!(
        "you send records in {limit} calls, which is as many as you may have here: close one"
    );
    Problem::new(Code::ResourceExhausted, "TOO_MANY_SENDERS", message).with("limit", limit)
}

#[cfg(test)]
mod tests {
    use legwork_identity::{Principal, PrincipalId, Role, Via};
    use uuid::Uuid;

    use super::{Alarms, Senders};

    #[test]
    fn an_identity_has_so_many_calls_and_one_host() {
        let (senders, alarms) = (Senders::default(), Alarms::default());
        let who = Principal {
            id: PrincipalId::Identity(Uuid::from_u128(1)),
            name: "web-1".to_owned(),
            roles: Role::Report.into(),
            via: Via::Certificate,
        };
        let enter = |host: &str| senders.enter(&who, host, 2, &alarms);
        let raised = || alarms.count("two_hosts");
        let first = enter("a").unwrap();
        let second = enter("a").unwrap();
        assert_eq!(raised(), 0);
        assert_eq!(enter("a").unwrap_err().reason, "TOO_MANY_SENDERS");
        drop(second);
        let other = enter("b").unwrap();
        assert_eq!(raised(), 1);
        drop((first, other));
        drop(enter("c").unwrap());
        assert_eq!(raised(), 1, "one after the other is no alarm");
        let user = Principal::local(0, "root");
        let many = ["a", "b", "c"].map(|host| senders.enter(&user, host, 2, &alarms).unwrap());
        assert_eq!((many.len(), raised()), (3, 1));
    }
}
