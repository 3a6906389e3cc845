//! Work on files with somebody else's rights.
//!
//! In a mirror a job's user may have put anything anywhere: links, other people's files under another name, a directory
//! in the place of another. So the server does not look at such files as root and decide by itself; it takes on the
//! user's identity for files, and the kernel decides as it does for the user. That identity is a property of a *thread*
//! (setfsuid(2), setfsgid(2) and, by the system call and not the C library's wrapper of it, setgroups(2)), and a thread
//! that it starts inherits it.
//!
//! **A thread that has become somebody else never goes back.** It is made for one piece of work, gives up all
//! capabilities, works, and ends. There is nothing to restore, and so no way to forget it, and no thread of a pool that
//! others use is ever somebody else. For the same reason nothing that runs on such a thread may make the runtime start a
//! thread of its pool, which would inherit the identity: it may wait for a channel or a task, not poll work of the
//! server's own.
//!
//! Only the identity for files changes. To the rest of the kernel the thread remains root's, so the user can neither
//! signal it nor trace it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Code;

use super::Account;
use crate::problem::Problem;

/// Threads of one user at a time. Who comes later waits, and waits for nobody but that user.
const THREADS_MAX: usize = 128;

/// Makes threads that are somebody else. Knows as many users as the settings name, and owners of mirrors there are.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<HashMap<u32, Arc<Semaphore>>>);

/// What is kept for as long as a thread works.
#[derive(Debug)]
struct Kept {
    _permit: OwnedSemaphorePermit,
    _token: Option<TaskTrackerToken>,
}

impl Threads {
    fn of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Semaphore::new(THREADS_MAX));
        Arc::clone(users.entry(uid).or_insert_with(fresh))
    }

    /// Does something as that user, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        account: &Arc<Account>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (done, result) = oneshot::channel();
        let work = move || {
            // Whoever asked may have left; the work is done nevertheless.
            drop(done.send(work()));
        };
        self.begin(account, None, work).await?;
        let ended = result.await;
        ended.map_err(|_| Problem::new(Code::Internal, "PANIC", "work on a mirror panicked"))
    }

    /// Begins something as that user, and waits until it has begun. The token is kept until it ends.
    pub(crate) async fn begin(
        &self,
        account: &Arc<Account>,
        token: Option<TaskTrackerToken>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), Problem> {
        let permit = self.of(account.uid).acquire_owned().await;
        let kept = Kept {
            _permit: permit.expect("the semaphore is never closed"),
            _token: token,
        };
        let (ready, taken) = oneshot::channel();
        let who = Arc::clone(account);
        let body = move || {
            let taken = take_on(&who);
            let is_taken = taken.is_ok();
            if ready.send(taken).is_ok() && is_taken {
                work();
            }
            drop(kept);
        };
        let thread = std::thread::Builder::new().name("as-user".to_owned());
        let taken = match thread.spawn(body) {
            Ok(_detached) => taken.await.unwrap_or_else(|_| Err(Errno::CANCELED.into())),
            Err(error) => Err(error),
        };
        taken.map_err(|error| {
            let message = format!("cannot work on files as user {}: {error}", account.name);
            Problem::new(Code::Internal, "USER_REFUSED", message).with("user", &account.name)
        })
    }
}

/// Makes this thread work on files as that user, for good.
fn take_on(account: &Account) -> io::Result<()> {
    let groups: Vec<_> = account.groups.iter().map(|&gid| group(gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    setfsgid(gid);
    setfsuid(uid);
    // These calls report no failure. Asked for somebody who cannot be, they change nothing and tell who it is.
    let nobody = u32::MAX;
    let is = (
        setfsuid(Uid::from_raw(nobody)),
        setfsgid(Gid::from_raw(nobody)),
    );
    if is != (uid, gid) {
        return Err(Errno::PERM.into());
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn group(gid: u32) -> rustix::thread::Gid {
    rustix::thread::Gid::from_raw(gid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::Arc;

    use nix::unistd::Uid;

    use super::Threads;
    use crate::run_as::Account;

    /// The numbers after a word in `/proc/thread-self/status`.
    fn status(word: &str) -> Vec<String> {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(word));
        let words = line.unwrap().trim_start_matches(':').split_whitespace();
        words.map(str::to_owned).collect()
    }

    fn daemon() -> Arc<Account> {
        Arc::new(Account::by_name("daemon").unwrap().unwrap())
    }

    #[tokio::test]
    async fn a_thread_is_somebody_else_with_all_it_starts_and_no_other_is() {
        if !Uid::effective().is_root() {
            return;
        }
        let (daemon, threads) = (daemon(), Threads::default());
        let look = || {
            let inside = std::thread::scope(|scope| scope.spawn(|| status("Uid")).join().unwrap());
            (
                inside,
                status("Uid"),
                status("Gid"),
                status("Groups"),
                status("CapEff"),
            )
        };
        let (inside, uids, gids, groups, capabilities) = threads.run(&daemon, look).await.unwrap();
        let (uid, gid) = (daemon.uid.to_string(), daemon.gid.to_string());
        assert_eq!(uids, ["0", "0", "0", &uid]);
        assert_eq!(inside, uids);
        assert_eq!(gids, ["0", "0", "0", &gid]);
        let all: Vec<String> = daemon.groups.iter().map(u32::to_string).collect();
        assert_eq!(groups, all);
        assert_eq!(capabilities, ["0000000000000000"]);
        assert_eq!(status("Uid"), ["0", "0", "0", "0"]);
        let here = tokio::task::spawn_blocking(|| status("Uid")).await.unwrap();
        assert_eq!(here, ["0", "0", "0", "0"]);
    }

    #[tokio::test]
    async fn files_are_theirs_and_roots_are_not() {
        if !Uid::effective().is_root() {
            return;
        }
        let (daemon, threads) = (daemon(), Threads::default());
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "root's").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let made = dir.path().join("made");
        let (theirs, roots) = (made.clone(), secret.clone());
        let (wrote, read) = threads
            .run(&daemon, move || {
                (std::fs::write(theirs, "x"), std::fs::read(roots))
            })
            .await
            .unwrap();
        wrote.unwrap();
        let denied = read.unwrap_err().kind();
        assert_eq!(denied, std::io::ErrorKind::PermissionDenied);
        let made = std::fs::metadata(made).unwrap();
        assert_eq!((made.uid(), made.gid()), (daemon.uid, daemon.gid));
    }

    #[tokio::test]
    async fn a_panic_is_told_and_gives_its_place_back() {
        if !Uid::effective().is_root() {
            return;
        }
        let (daemon, threads) = (daemon(), Threads::default());
        let panicked = threads.run::<()>(&daemon, || panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().reason, "PANIC");
        assert_eq!(threads.run(&daemon, || 7).await.unwrap(), 7);
    }
}
