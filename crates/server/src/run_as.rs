//! As whom jobs run, and as whom the files of their mirrors are touched.
//!
//! A server that is root runs the jobs of an identity as the system user that the settings name for it, and works in its
//! mirrors with the rights of that user ([`thread`]). Whoever is at the server's own socket, or is the process itself,
//! is a user of this host already, and runs jobs as that. The users are looked up once, when the server begins: what
//! cannot work is found then, and a start asks no directory service.

mod account;
mod reach;
mod thread;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use legwork_identity::{Principal, Via};
use nix::unistd::Uid;
use tonic::Code;

pub(crate) use self::account::{Account, environment};
pub(crate) use self::reach::WORKSPACES;
pub(crate) use self::thread::Threads;
use crate::problem::Problem;

/// As whom the jobs of others run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunAs {
    /// The user for everybody who is not in `users`.
    pub user: Option<String>,
    /// Users by the name of the identity.
    pub users: BTreeMap<String, String>,
    /// Jobs may run as root.
    pub allow_root: bool,
}

/// The users of a server, looked up.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    default: Option<Arc<Account>>,
    by_identity: BTreeMap<String, Arc<Account>>,
    pub(crate) threads: Threads,
    own_name: OnceLock<String>,
}

impl RunAs {
    /// Looks the users up and checks that this server may be them.
    pub(crate) fn resolve(&self) -> Result<Accounts, Problem> {
        let names_nobody = self.user.is_none() && self.users.is_empty();
        if Uid::effective().is_root() && names_nobody && !self.allow_root {
            let message = "as root, this server would run everybody's jobs as root";
            return Err(Problem::new(Code::FailedPrecondition, "ROOT", message));
        }
        let default = self.user.as_deref().map(|name| self.find("user", name));
        let by_identity = self.users.iter().map(|(identity, name)| {
            let found = self.find(&format!("users.{identity}"), name)?;
            Ok((identity.clone(), found))
        });
        Ok(Accounts {
            by_identity: by_identity.collect::<Result<_, Problem>>()?,
            default: default.transpose()?,
            ..Accounts::default()
        })
    }

    /// The user that the settings name with this key.
    fn find(&self, key: &str, name: &str) -> Result<Arc<Account>, Problem> {
        let bad = |reason, what: String| {
            let message = format!("run.{key} = {name:?}: {what}");
            Problem::new(Code::FailedPrecondition, reason, message)
                .with("key", format!("run.{key}"))
                .with("user", name)
        };
        let found = Account::by_name(name)
            .map_err(|errno| bad("USER_UNKNOWN", format!("cannot look the user up: {errno}")))?;
        let account =
            found.ok_or_else(|| bad("USER_UNKNOWN", "there is no such user here".to_owned()))?;
        let own = Uid::effective();
        if !own.is_root() && account.uid != own.as_raw() {
            let what = format!(
                "this server runs as {}, and only root can run jobs as another user",
                Account::own_name()
            );
            return Err(bad("NOT_ROOT", what));
        }
        if account.uid == 0 && !self.allow_root {
            let what = "jobs run as root only if --allow-root or run.allow_root says so";
            return Err(bad("ROOT_USER", what.to_owned()));
        }
        Ok(Arc::new(account))
    }
}

impl Accounts {
    /// As whom somebody's jobs run; `None` means as the server itself.
    pub(crate) fn of(&self, caller: &Principal) -> Result<Option<Arc<Account>>, Problem> {
        match caller.via {
            Via::InProcess | Via::LocalSocket { .. } => return Ok(None),
            Via::Certificate => {}
        }
        let mapped = self.by_identity.get(&caller.name);
        let Some(account) = mapped.or(self.default.as_ref()) else {
            if self.by_identity.is_empty() {
                return Ok(None);
            }
            let message = format!(
                "this server has no user as whom the jobs of {name} run: its admin can name one in server.toml, \
                 by `user` in [run] or `{name}` in [run.users]",
                name = caller.name
            );
            return Err(Problem::new(Code::PermissionDenied, "NO_RUN_USER", message)
                .with("identity", &caller.name));
        };
        let is_other = account.uid != Uid::effective().as_raw();
        Ok(is_other.then(|| Arc::clone(account)))
    }

    /// What the user is called as whom this server runs.
    pub(crate) fn own_name(&self) -> &str {
        self.own_name.get_or_init(Account::own_name)
    }

    /// Lets the users pass through the state directory to their mirrors, and sees nothing else of it.
    pub(crate) async fn admit(&self, state: &Path) -> Result<(), Problem> {
        let own = Uid::effective().as_raw();
        let named = self.by_identity.values().chain(&self.default);
        let others: Vec<&Arc<Account>> = named.filter(|account| account.uid != own).collect();
        if others.is_empty() {
            return Ok(());
        }
        reach::open_up(state)?;
        for account in others {
            let (state, user) = (state.to_owned(), account.name.clone());
            let reached = self
                .threads
                .run(account, move || reach::check(&state, &user));
            reached.await??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use legwork_identity::{Principal, PrincipalId, Role, Via};
    use nix::unistd::Uid;

    use super::{Account, RunAs};

    fn identity(name: &str) -> Principal {
        Principal {
            id: PrincipalId::Identity(uuid::Uuid::nil()),
            name: name.to_owned(),
            roles: Role::Run.into(),
            via: Via::Certificate,
        }
    }

    fn settings(user: Option<&str>, users: &[(&str, &str)]) -> RunAs {
        let owned = |(identity, user): &(&str, &str)| ((*identity).to_owned(), (*user).to_owned());
        RunAs {
            user: user.map(str::to_owned),
            users: users.iter().map(owned).collect(),
            allow_root: false,
        }
    }

    fn refusal(settings: &RunAs) -> (&'static str, String) {
        let problem = settings.resolve().unwrap_err();
        (problem.reason, problem.message)
    }

    #[test]
    fn a_user_that_is_not_there_is_named_with_its_key() {
        let (reason, message) = refusal(&settings(Some("no-such-user"), &[]));
        assert_eq!(reason, "USER_UNKNOWN");
        assert!(message.contains("run.user = \"no-such-user\""), "{message}");
        let (reason, message) = refusal(&settings(None, &[("alice", "no-such-user")]));
        assert_eq!(reason, "USER_UNKNOWN");
        assert!(message.contains("run.users.alice"), "{message}");
    }

    #[test]
    fn root_has_to_be_told_and_others_cannot_be_somebody_else() {
        let (named, nobody) = (settings(Some("root"), &[]), settings(None, &[]));
        if Uid::effective().is_root() {
            assert_eq!(refusal(&named).0, "ROOT_USER");
            assert_eq!(refusal(&nobody).0, "ROOT");
            let told = RunAs {
                allow_root: true,
                ..named
            };
            let accounts = told.resolve().unwrap();
            assert!(accounts.of(&identity("alice")).unwrap().is_none());
        } else {
            assert_eq!(refusal(&named).0, "NOT_ROOT");
            assert!(nobody.resolve().is_ok());
            let own = settings(Some(&Account::own_name()), &[]).resolve().unwrap();
            assert!(own.of(&identity("alice")).unwrap().is_none());
        }
    }

    #[test]
    fn each_identity_has_its_own_user_or_the_common_one_or_none() {
        if !Uid::effective().is_root() {
            return;
        }
        let name = |settings: &RunAs, who: &Principal| {
            let account = settings.resolve().unwrap().of(who);
            account.map(|account| account.map(|account| account.name.clone()))
        };
        let mapped = settings(None, &[("alice", "daemon")]);
        let user = name(&mapped, &identity("alice")).unwrap();
        assert_eq!(user.as_deref(), Some("daemon"));
        assert_eq!(
            name(&mapped, &identity("bob")).unwrap_err().reason,
            "NO_RUN_USER"
        );
        let told = RunAs {
            allow_root: true,
            ..mapped
        };
        assert!(
            name(&told, &identity("bob")).is_err(),
            "root is nobody's default"
        );
        let both = settings(Some("nobody"), &[("alice", "daemon")]);
        let user = name(&both, &identity("bob")).unwrap();
        assert_eq!(user.as_deref(), Some("nobody"));
        let local = Principal::local(0, "alice");
        assert_eq!(name(&both, &local).unwrap(), None);
    }
}
