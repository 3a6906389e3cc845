//! The mirrors of a state directory.
//!
//! A workspace's id follows from who owns it and what it mirrors, so the same directory of the same
//! client finds the same workspace again, and nobody can name another principal's. Its files belong to the user as whom
//! the owner's jobs run, and are touched with the rights of that user only (see [`crate::run_as`]).

mod dirs;
mod keep;
pub(crate) mod own;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_identity::{Principal, PrincipalId};
use legwork_proto::v1 as wire;
use legwork_sync::Digest;
use legwork_sync::receive::Held;
use legwork_sync::workspace::{SharedLease, Workspace};
use tokio::sync::RwLock;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Code;

pub(crate) use self::keep::busy;
use crate::problem::Problem;
use crate::run_as::{Account, Accounts};
use crate::sites::{Entry, Site, Sites};

/// Characters of a workspace's name at most.
const NAME_MAX: usize = 100;
/// How often a root that another process may commit is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Names a workspace directory: 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkspaceId(String);

impl WorkspaceId {
    /// The id of what `reference` means to `owner`.
    fn of(owner: &str, reference: &wire::WorkspaceRef) -> Result<Self, Problem> {
        let mut hash = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            // Lengths keep the parts apart.
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(owner.as_bytes());
        match &reference.by {
            Some(wire::workspace_ref::By::Name(name)) => {
                check_name(name)?;
                part(b"name");
                part(name.as_bytes());
            }
            Some(wire::workspace_ref::By::Origin(origin)) => {
                part(b"origin");
                part(origin.machine_id.as_bytes());
                part(&origin.root);
            }
            None => return Err(Problem::malformed("a workspace without a name")),
        }
        Ok(Self(hash.finalize().to_hex()[..16].to_owned()))
    }

    /// The id of the site of that name.
    pub(crate) fn of_site(name: &str) -> Result<Self, Problem> {
        check_name(name)?;
        let mut hash = blake3::Hasher::new();
        // No owner has such a name.
        hash.update(b"site\0");
        hash.update(name.as_bytes());
        Ok(Self(hash.finalize().to_hex()[..16].to_owned()))
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Self(text.to_owned()))
    }
}

/// What is said of a workspace that is not there, or not for whoever asks.
pub(crate) fn not_found() -> Problem {
    let message = "there is no such workspace";
    Problem::new(Code::NotFound, "WORKSPACE_NOT_FOUND", message)
}

fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if (1..=NAME_MAX).contains(&name.chars().count()) && name.chars().all(plain) {
        return Ok(());
    }
    let message = "a workspace's name is letters, digits, `.`, `_` and `-`, at most 100";
    Err(Problem::new(Code::InvalidArgument, "BAD_NAME", message))
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An open workspace, and as whom its files are touched; `None` as the server itself.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    pub(crate) files: Arc<Workspace>,
    user: Option<Arc<Account>>,
}

/// The open workspaces.
#[derive(Debug)]
pub(crate) struct Workspaces {
    dir: PathBuf,
    boot_id: String,
    accounts: Arc<Accounts>,
    sites: Sites,
    /// For each: held by whoever opens it, and alone by whoever removes it. Not one for all: who opens may have to wait for
    /// others of the same user.
    gates: Mutex<HashMap<WorkspaceId, Arc<RwLock<()>>>>,
    open: Mutex<HashMap<WorkspaceId, Mirror>>,
}

impl Workspaces {
    /// Workspaces under `dir`, which is made when the first is.
    pub(crate) fn new(
        dir: PathBuf,
        accounts: Arc<Accounts>,
        sites: Sites,
    ) -> Result<Self, Problem> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|e| {
            Problem::new(
                Code::Internal,
                "IO",
                format!("cannot read the boot id: {e}"),
            )
        })?;
        Ok(Self {
            dir,
            accounts,
            sites,
            gates: Mutex::default(),
            boot_id: boot_id.trim().to_owned(),
            open: Mutex::default(),
        })
    }

    /// The id of what `reference` means to somebody. Earlier versions took a user's name for the owner: what they made
    /// is found by that as long as there is nothing newer.
    pub(crate) fn id(
        &self,
        caller: &Principal,
        reference: &wire::WorkspaceRef,
    ) -> Result<WorkspaceId, Problem> {
        if let Some(wire::workspace_ref::By::Name(name)) = &reference.by
            && let Some(site) = self.sites.named(name)
        {
            let lets = site.lets(caller);
            return if lets {
                Ok(site.id.clone())
            } else {
                Err(not_found().with("workspace", name))
            };
        }
        let id = WorkspaceId::of(&caller.owner(), reference)?;
        if matches!(caller.id, PrincipalId::User(_)) && !self.dir.join(&id.0).is_dir() {
            let earlier = WorkspaceId::of(&caller.name, reference)?;
            if self.dir.join(&earlier.0).is_dir() {
                return Ok(earlier);
            }
        }
        Ok(id)
    }

    /// The workspace of somebody who is that user, made if it is not there. A site is not made by whoever uses it.
    pub(crate) async fn open(
        &self,
        id: &WorkspaceId,
        user: Option<Arc<Account>>,
    ) -> Result<Mirror, Problem> {
        self.open_for(id, user, Entry::Use).await
    }

    /// The same for whoever comes to do this with it, if it is a site.
    pub(crate) async fn open_for(
        &self,
        id: &WorkspaceId,
        user: Option<Arc<Account>>,
        entry: Entry,
    ) -> Result<Mirror, Problem> {
        if let Some(site) = self.sites.of(id) {
            return self.open_site(Arc::clone(site), user, entry).await;
        }
        if let Some(mirror) = self.known(id) {
            dirs::check_same(
                &self.dir.join(&id.0),
                mirror.user.as_deref(),
                user.as_deref(),
            )?;
            return Ok(mirror);
        }
        let gate = self.gate(id);
        let _open = gate.read().await;
        let (dir, boot_id) = (self.dir.join(&id.0), self.boot_id.clone());
        let (place, owner) = (dir.clone(), user.clone());
        blocking(move || dirs::make(&place, owner.as_deref())).await??;
        let opening = self.work(user.as_ref(), move || Workspace::open(&dir, &boot_id));
        let mirror = Mirror {
            files: Arc::new(opening.await??),
            user,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(open.entry(id.clone()).or_insert(mirror).clone())
    }

    /// Whether it was made before.
    pub(crate) fn is_there(&self, id: &WorkspaceId) -> bool {
        self.known(id).is_some() || self.dir.join(&id.0).is_dir()
    }

    /// The workspace of somebody who is that user, only if it was made before.
    pub(crate) async fn existing(
        &self,
        id: &WorkspaceId,
        user: Option<Arc<Account>>,
    ) -> Result<Mirror, Problem> {
        if self.sites.of(id).is_none() && !self.is_there(id) {
            return Err(not_found().with("workspace", id));
        }
        self.open(id, user).await
    }

    /// The workspace, only if it was made before, with the rights of the user whose it is: whoever asks may look into
    /// somebody else's.
    pub(crate) async fn anybodys(&self, id: &WorkspaceId) -> Result<Mirror, Problem> {
        let site = self.sites.of(id);
        let dir = site.map_or_else(|| self.dir.join(&id.0), |site| site.path.clone());
        let owner = blocking(move || dirs::owner(&dir)).await??;
        self.existing(id, owner.map(Arc::new)).await
    }

    /// All sites.
    pub(crate) fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Does something with a mirror's files, with the rights of its user.
    pub(crate) async fn on<T: Send + 'static>(
        &self,
        mirror: &Mirror,
        work: impl FnOnce(&Workspace) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let files = Arc::clone(&mirror.files);
        self.work(mirror.user.as_ref(), move || work(&files)).await
    }

    /// The site that this is.
    pub(crate) fn site(&self, id: &WorkspaceId) -> Option<&Arc<Site>> {
        self.sites.of(id)
    }

    /// Opens a site. It is not kept open: a directory that is held could not be unmounted, and another in its place would
    /// not be seen.
    async fn open_site(
        &self,
        site: Arc<Site>,
        user: Option<Arc<Account>>,
        entry: Entry,
    ) -> Result<Mirror, Problem> {
        let (entered, owner) = (Arc::clone(&site), user.clone());
        let own_name = self.accounts.own_name().to_owned();
        let entering = move || {
            let adoption = entered.enter(entry)?;
            let owner = owner.as_deref();
            dirs::check_site(&entered.path, owner)?;
            let name = owner.map_or(own_name.as_str(), |owner| &owner.name);
            dirs::make(&entered.store, owner).map_err(|problem| entered.no_store(problem, name))?;
            Ok::<_, Problem>(adoption)
        };
        let adoption = blocking(entering).await??;
        let (dir, tree) = (site.store.clone(), site.path.clone());
        let boot_id = self.boot_id.clone();
        let opening = self.work(user.as_ref(), move || {
            Workspace::open_at(&dir, &tree, &boot_id)
        });
        let files = Arc::new(opening.await??);
        if let (Some(adoption), Entry::Commit { .. }) = (adoption, entry) {
            blocking(move || site.adopt(&adoption)).await??;
        }
        Ok(Mirror { files, user })
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a workspace that was made before holds, as it counts for its owner.
    pub(crate) async fn measure(&self, id: &WorkspaceId) -> Result<Held, Problem> {
        if !self.is_there(id) {
            return Ok(Held::default());
        }
        let mirror = self.passing(id).await?;
        Ok(self.on(&mirror, Workspace::measure).await??)
    }

    /// A workspace that was made before, with the rights of the user whose it is. It is not kept open: most are not used before
    /// the server ends.
    pub(crate) async fn passing(&self, id: &WorkspaceId) -> Result<Mirror, Problem> {
        if let Some(mirror) = self.known(id) {
            return Ok(mirror);
        }
        if self.sites.of(id).is_some() {
            return self.anybodys(id).await;
        }
        let gate = self.gate(id);
        let _open = gate.read().await;
        let (dir, boot_id) = (self.dir.join(&id.0), self.boot_id.clone());
        if !dir.is_dir() {
            return Err(not_found().with("workspace", id));
        }
        let place = dir.clone();
        let user = blocking(move || dirs::owner(&place)).await??.map(Arc::new);
        let opening = self.work(user.as_ref(), move || Workspace::open(&dir, &boot_id));
        let files = Arc::new(opening.await??);
        Ok(Mirror { files, user })
    }

    fn gate(&self, id: &WorkspaceId) -> Arc<RwLock<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(id.clone()).or_default())
    }

    fn known(&self, id: &WorkspaceId) -> Option<Mirror> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Works on files as that user.
    async fn work<T: Send + 'static>(
        &self,
        user: Option<&Arc<Account>>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        match user {
            Some(user) => self.accounts.threads.run(user, work).await,
            None => blocking(work).await,
        }
    }

    /// Begins a session on a mirror's files, which ends by itself. It waits for its client most of the time, so its thread is its
    /// own: those that all calls share for file operations would be used up.
    pub(crate) async fn begin(
        &self,
        mirror: &Mirror,
        tasks: &TaskTracker,
        session: impl FnOnce() + Send + 'static,
    ) -> Result<(), Problem> {
        if let Some(user) = &mirror.user {
            let threads = &self.accounts.threads;
            return threads.begin(user, Some(tasks.token()), session).await;
        }
        let token = tasks.token();
        let thread = std::thread::Builder::new().name("mirror".to_owned());
        let spawned = thread.spawn(move || {
            session();
            drop(token);
        });
        spawned.map(drop).map_err(|error| {
            let message = format!("the server has no thread for one more mirror: {error}");
            Problem::new(Code::ResourceExhausted, "NO_THREAD", message)
        })
    }

    /// Keeps commits away from `root` once it is what is committed, waiting for that up to `limit`.
    pub(crate) async fn share(
        &self,
        id: &WorkspaceId,
        mirror: &Mirror,
        root: Digest,
        limit: Duration,
    ) -> Result<SharedLease, Problem> {
        let deadline = Instant::now() + limit;
        loop {
            let files = Arc::clone(&mirror.files);
            let sharing = self.work(mirror.user.as_ref(), move || files.share(&root));
            if let Some(lease) = sharing.await?? {
                return Ok(lease);
            }
            if Instant::now() >= deadline {
                let message =
                    "the tree that the job needs was not committed in time; sync and start again";
                return Err(Problem::new(Code::Aborted, "ROOT_NOT_COMMITTED", message)
                    .with("root", root)
                    .with("workspace", id));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Runs file operations where they may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| Problem::new(Code::Internal, "PANIC", panic.to_string()))
}

#[cfg(test)]
mod tests {
    use legwork_proto::v1 as wire;

    use super::WorkspaceId;

    fn named(name: &str) -> wire::WorkspaceRef {
        wire::WorkspaceRef {
            by: Some(wire::workspace_ref::By::Name(name.into())),
        }
    }

    fn origin(machine: &str, root: &'static [u8]) -> wire::WorkspaceRef {
        let origin = wire::WorkspaceOrigin {
            machine_id: machine.into(),
            root: root.into(),
        };
        wire::WorkspaceRef {
            by: Some(wire::workspace_ref::By::Origin(origin)),
        }
    }

    #[test]
    fn each_owner_machine_and_root_has_its_own() {
        let references = [
            ("a", named("x")),
            ("b", named("x")),
            ("a", named("y")),
            ("a", origin("m", b"/x")),
            ("a", origin("mx", b"/")),
            ("a", origin("m", b"/y")),
        ];
        let ids: std::collections::HashSet<String> = references
            .iter()
            .map(|(who, reference)| WorkspaceId::of(who, reference).unwrap().to_string())
            .collect();
        assert_eq!(ids.len(), references.len());
        assert!(ids.iter().all(|id| WorkspaceId::parse(id).is_some()));
    }

    #[test]
    fn names_cannot_be_paths() {
        for bad in ["", "a/b", "a\0b", "a b", &"x".repeat(101)] {
            assert_eq!(
                WorkspaceId::of("me", &named(bad)).unwrap_err().reason,
                "BAD_NAME",
                "{bad}"
            );
        }
    }
}
