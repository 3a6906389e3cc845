//! A user of this host, as a login would find it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use legwork_jobs::{ByteString, RunAs};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist};

/// What jobs can find in their `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whom a job runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the primary one among them.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
    shell: PathBuf,
}

impl Account {
    /// The user of that name.
    pub(crate) fn by_name(name: &str) -> Result<Option<Self>, Errno> {
        User::from_name(name)?.map(Self::with_groups).transpose()
    }

    /// Whoever has that number. One that the user database does not know is in no other group than this.
    pub(crate) fn by_number(uid: u32, gid: u32) -> Result<Self, Errno> {
        match User::from_uid(Uid::from_raw(uid))? {
            Some(user) => Self::with_groups(user),
            None => Ok(Self {
                name: uid.to_string(),
                uid,
                gid,
                groups: vec![gid],
                home: "/".into(),
                shell: "/bin/sh".into(),
            }),
        }
    }

    fn with_groups(user: User) -> Result<Self, Errno> {
        let name = CString::new(user.name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let groups = getgrouplist(&name, user.gid)?;
        Ok(Self {
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            ..Self::without_groups(user)
        })
    }

    fn without_groups(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: Vec::new(),
            home: user.dir,
            shell: user.shell,
        }
    }

    /// The user that this process runs as, if it has a name.
    fn own() -> Option<Self> {
        let user = User::from_uid(Uid::effective()).ok().flatten();
        user.map(Self::without_groups)
    }

    /// What the user that this process runs as is called.
    pub(crate) fn own_name() -> String {
        Self::own().map_or_else(|| Uid::effective().to_string(), |own| own.name)
    }

    /// As the shim wants it.
    pub(crate) fn run_as(&self) -> RunAs {
        RunAs {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        }
    }

    /// Where a job begins that says nothing of it: at home, as at a login, or where there is none at the root.
    pub(crate) fn start_dir(&self) -> PathBuf {
        if self.home.is_absolute() && self.home.is_dir() {
            return self.home.clone();
        }
        "/".into()
    }
}

/// What a login gives: nothing of the server's own environment, which is nobody else's business. `None` is the user
/// that this process runs as.
pub(crate) fn environment(account: Option<&Account>) -> Vec<(ByteString, ByteString)> {
    let text = |text: &str| ByteString::from(text.as_bytes().to_vec());
    let mut env = vec![(text("PATH"), text(PATH)), (text("LANG"), text("C.UTF-8"))];
    let own;
    let account = match account {
        None => {
            own = Account::own();
            own.as_ref()
        }
        given => given,
    };
    if let Some(account) = account {
        let path = |path: &Path| ByteString::from(path.as_os_str().as_bytes().to_vec());
        env.push((text("HOME"), path(&account.home)));
        env.push((text("SHELL"), path(&account.shell)));
        env.push((text("USER"), text(&account.name)));
        env.push((text("LOGNAME"), text(&account.name)));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::{Account, environment};

    #[test]
    fn root_is_found_with_its_groups_and_its_home() {
        let root = Account::by_name("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Account::by_number(0, 7).unwrap(), root);
        assert_eq!(Account::by_name("no-such-user").unwrap(), None);
        let env = environment(Some(&root));
        assert!(env.contains(&("USER".into(), "root".into())));
        assert!(env.contains(&("HOME".into(), root.home.as_path().into())));
    }

    #[test]
    fn a_number_without_a_name_is_somebody_too() {
        let number = 4_000_000_123;
        let account = Account::by_number(number, 7).unwrap();
        assert_eq!((account.uid, account.groups), (number, vec![7]));
        assert_eq!(account.name, number.to_string());
    }
}
