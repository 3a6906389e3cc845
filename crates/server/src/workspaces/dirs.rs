//! The directories of workspaces: made by the server, then given to the user who works there.
//!
//! Users may not change the directory that they lie in, so what is found there is what the server made, and whose it is
//! is what the server decided.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::unistd::Uid;
use rustix::fs::{Gid, Mode, OFlags};
use tonic::Code;

use crate::problem::Problem;
use crate::run_as::Account;

/// Makes the directory for that user, or checks that it is that user's.
pub(super) fn make(dir: &Path, user: Option<&Account>) -> Result<(), Problem> {
    make_for(dir, user).map_err(|error| Problem::io(dir, &error))?;
    let found = dir.symlink_metadata();
    let owner = found.map_err(|error| Problem::io(dir, &error))?.uid();
    // Who is not root gets no directory but their own, by whatever number a file system shows them.
    if Uid::effective().is_root() {
        check_owner(dir, owner, user)?;
    }
    Ok(())
}

fn make_for(dir: &Path, user: Option<&Account>) -> io::Result<()> {
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700).create(dir)?;
    let Some(user) = user else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = File::from(rustix::fs::open(dir, flags, Mode::empty())?);
    // Made just now, or by a server that ended before the next line.
    let is_new = held.metadata()?.uid() == 0 && std::fs::read_dir(dir)?.next().is_none();
    if is_new {
        let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::fs::fchown(&held, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Whose the directory is, if it is not the server's own.
pub(super) fn owner(dir: &Path) -> Result<Option<Account>, Problem> {
    let found = match dir.symlink_metadata() {
        Ok(found) if Uid::effective().is_root() && found.uid() != 0 => found,
        // What is not there is told by whoever opens it.
        Ok(_) | Err(_) => return Ok(None),
    };
    let account = Account::by_number(found.uid(), found.gid());
    account.map(Some).map_err(|errno| {
        let message = format!("cannot look user {} up: {errno}", found.uid());
        Problem::new(Code::Internal, "USER_UNKNOWN", message)
    })
}

/// Refuses to work as one user in the open workspace of another.
pub(super) fn check_same(
    dir: &Path,
    is: Option<&Account>,
    user: Option<&Account>,
) -> Result<(), Problem> {
    check_owner(dir, is.map_or(0, |is| is.uid), user)
}

/// Refuses a site that is of another user than as whom the caller's jobs run: what is made there is that user's.
pub(super) fn check_site(path: &Path, user: Option<&Account>) -> Result<(), Problem> {
    let found = path.symlink_metadata();
    let owner = found.map_err(|error| Problem::io(path, &error))?.uid();
    let wanted = user.map_or_else(|| Uid::effective().as_raw(), |user| user.uid);
    // Who is not root may use what others let it write to.
    if owner == wanted || !Uid::effective().is_root() {
        return Ok(());
    }
    let (owner, wanted) = (called(owner), called(wanted));
    let message = format!(
        "{} is of user {owner}, and your jobs run as {wanted}: ask the server's admin to give it to {wanted}, or to name \
         {owner} for you in [run.users]",
        path.display()
    );
    Err(
        Problem::new(Code::FailedPrecondition, "WORKSPACE_OTHER_USER", message)
            .with("path", path.display())
            .with("owner", owner)
            .with("user", wanted),
    )
}

fn called(uid: u32) -> String {
    Account::by_number(uid, uid).map_or_else(|_| uid.to_string(), |account| account.name)
}

fn check_owner(dir: &Path, owner: u32, user: Option<&Account>) -> Result<(), Problem> {
    let wanted = user.map_or(0, |user| user.uid);
    if owner == wanted {
        return Ok(());
    }
    let (owner, wanted) = (called(owner), called(wanted));
    let message = format!(
        "the mirror is of user {owner}, as whom your jobs ran before; they now run as {wanted}: \
         use another mirror with --workspace, or have the server's admin remove {}",
        dir.display()
    );
    Err(
        Problem::new(Code::FailedPrecondition, "WORKSPACE_OTHER_USER", message)
            .with("path", dir.display())
            .with("owner", owner)
            .with("user", wanted),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use nix::unistd::Uid;

    use super::{check_same, make, owner};
    use crate::run_as::Account;

    #[test]
    fn a_directory_is_made_private_for_its_user_and_stays_that_users() {
        let temp = tempfile::tempdir().unwrap();
        let own = temp.path().join("workspaces/own");
        make(&own, None).unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(owner(&own).unwrap(), None);
        if !Uid::effective().is_root() {
            return;
        }
        let user = |name| Account::by_name(name).unwrap().unwrap();
        let (daemon, nobody) = (user("daemon"), user("nobody"));
        let theirs = temp.path().join("workspaces/theirs");
        for _again in 0..2 {
            make(&theirs, Some(&daemon)).unwrap();
            let found = theirs.metadata().unwrap();
            assert_eq!((found.uid(), found.mode() & 0o7777), (daemon.uid, 0o700));
        }
        assert_eq!(owner(&theirs).unwrap().unwrap().uid, daemon.uid);
        for other in [Some(&nobody), None] {
            let refusal = make(&theirs, other).unwrap_err();
            assert_eq!(refusal.reason, "WORKSPACE_OTHER_USER");
            assert!(check_same(&theirs, Some(&daemon), other).is_err());
        }
        std::fs::write(own.join("file"), "").unwrap();
        assert!(
            make(&own, Some(&daemon)).is_err(),
            "not empty: somebody worked there"
        );
        assert!(check_same(&theirs, Some(&daemon), Some(&daemon)).is_ok());
    }
}
