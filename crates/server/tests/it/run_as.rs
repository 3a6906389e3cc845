//! Goal: a root server touches nothing of others for a job's user, whatever that user puts into its mirror, and mirrors
//! are that user's. Method: a server of root for two users of every system, and its own hands as the hostile user's.
//! Without root there is nothing to see: the tests pass.

mod hostile;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use legwork_client::{
    Client, Job, JobSpec, Place, PullRequest, PullSource, PushRequest, WaitObserver, WorkspaceRef,
};
use legwork_identity::Role;
use legwork_identity::tls::Credentials;
use legwork_server::{Limits, RunAs};
use legwork_sync::observer::Observer;
use legwork_sync::pull::Pulled;
use legwork_sync::{pull, push};
use nix::unistd::{Uid, User};
use testkit::{PATIENCE, write_tree};

use crate::net::Net;

struct Silent;

impl Observer for Silent {}
impl WaitObserver for Silent {}

/// A root server whose identity `alice` has the user `daemon`, and her client.
struct World {
    net: Net,
    own: Credentials,
    alice: Client,
    project: PathBuf,
    /// Of root, closed to others.
    secret: PathBuf,
}

fn mapped(user: &str) -> RunAs {
    RunAs {
        user: None,
        users: [("alice".to_owned(), user.to_owned())].into(),
        allow_root: false,
    }
}

fn number(user: &str) -> u32 {
    User::from_name(user).unwrap().unwrap().uid.as_raw()
}

impl World {
    async fn new() -> Option<Self> {
        if !Uid::effective().is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let net = Net::on(dir, Limits::default(), Some(&mapped("daemon"))).await;
        let own = net.enrolled("alice", Role::Run);
        let alice = net.client(&own).await;
        let project = net.dir.path().join("project");
        let secret = net.dir.path().join("secret");
        fs::write(&secret, "root's own").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        write_tree(&project, &[("a", "1"), ("dir/b", "2")]);
        Some(Self {
            net,
            own,
            alice,
            project,
            secret,
        })
    }

    /// The same with another server on the same files, and another user for the same identity.
    async fn restart(self, user: &str) -> Self {
        let dir = self.net.end().await;
        let net = Net::on(dir, Limits::default(), Some(&mapped(user))).await;
        let alice = net.client(&self.own).await;
        Self { net, alice, ..self }
    }

    fn origin(&self) -> WorkspaceRef {
        WorkspaceRef::Origin {
            machine_id: "m".into(),
            root: self.project.clone(),
        }
    }

    async fn push(&self, client: &Client) -> legwork_client::Result<push::Pushed> {
        self.push_watched(client, Arc::new(Silent)).await
    }

    async fn push_watched(
        &self,
        client: &Client,
        observer: Arc<dyn WaitObserver>,
    ) -> legwork_client::Result<push::Pushed> {
        #[expect(clippy::disallowed_methods, reason = "files are really changed now")]
        let now = SystemTime::now();
        let request = PushRequest {
            workspace: self.origin(),
            root: self.project.clone(),
            adopt: false,
            options: push::Options::at(now),
            cache: self.net.dir.path().join("cache"),
        };
        let pushing = client.push(request, observer);
        tokio::time::timeout(PATIENCE, pushing).await.unwrap()
    }

    async fn pull(&self, client: &Client, source: PullSource, glob: &str) -> (Pulled, PathBuf) {
        let into = tempfile::tempdir_in(self.net.dir.path()).unwrap().keep();
        let request = PullRequest {
            source,
            into: into.clone(),
            options: pull::Options {
                globs: vec![glob.into()],
                ..pull::Options::default()
            },
            record: into.join(".record"),
        };
        let pulling = tokio::time::timeout(PATIENCE, client.pull(request, Arc::new(Silent)));
        (pulling.await.unwrap().unwrap(), into)
    }

    /// A line to be run in the mirror.
    fn spec(&self, root: [u8; 32], line: &str) -> JobSpec {
        JobSpec {
            place: Place {
                workspace: Some(self.origin()),
                require_root: Some(root),
                root_wait_ms: Some(0),
                dir: "".into(),
            },
            ..JobSpec::new(["/bin/sh", "-c", line])
        }
    }

    /// Runs a line in the mirror, to its end.
    async fn run(&self, root: [u8; 32], line: &str) -> Job {
        let spec = self.spec(root, line);
        let starting = self.alice.start(&spec);
        let job = tokio::time::timeout(PATIENCE, starting).await.unwrap();
        self.alice.wait(&job.unwrap().id.to_string()).await.unwrap()
    }

    fn workspaces(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.net.state().join("workspaces")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The one workspace there is.
    fn workspace(&self) -> PathBuf {
        let mut all = self.workspaces();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn assert_secret_is_untouched(&self) {
        let found = fs::metadata(&self.secret).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o600));
        assert_eq!(fs::read_to_string(&self.secret).unwrap(), "root's own");
    }
}

/// The owners of everything at and below a path.
fn owners(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let look = fs::symlink_metadata(path).unwrap();
    found.push((path.to_owned(), look.uid()));
    if look.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            owners(&entry.unwrap().path(), found);
        }
    }
}

/// Threads of this process that are somebody else to the file system.
fn others() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let status =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let other = |status: &String| {
        let ids = status
            .lines()
            .filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"));
        ids.clone()
            .any(|line| line.split_whitespace().nth(4) != Some("0"))
    };
    status.filter(other).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_its_users_from_the_first_file_to_the_last() {
    let Some(world) = World::new().await else {
        return;
    };
    let pushed = world.push(&world.alice).await.unwrap();
    let line =
        "test $(id -un) = daemon && echo job > a && mkdir out && echo made > out/it && rm -r dir";
    let job = world.run(pushed.summary.root.0, line).await;
    assert_eq!(job.finish().unwrap().exit_code, 0, "{job:?}");
    assert_eq!(job.user.as_deref(), Some("daemon"));

    write_tree(&world.project, &[("a", "new"), ("c/d", "3")]);
    let again = world.push(&world.alice).await.unwrap();
    assert_eq!(again.summary.displaced.total, 1);
    let tree = world.workspace().join("tree");
    for (path, content) in [
        ("a", "new"),
        ("c/d", "3"),
        ("dir/b", "2"),
        ("out/it", "made\n"),
    ] {
        assert_eq!(fs::read_to_string(tree.join(path)).unwrap(), content);
    }
    let source = PullSource::Job(job.id.to_string());
    let (pulled, into) = world.pull(&world.alice, source, "out/*").await;
    assert_eq!(pulled.written, [Path::new("out/it")]);
    assert_eq!(fs::read_to_string(into.join("out/it")).unwrap(), "made\n");

    let mut found = Vec::new();
    owners(&world.workspace(), &mut found);
    let daemon = number("daemon");
    assert!(found.len() > 10);
    assert!(found.iter().all(|(_, owner)| *owner == daemon), "{found:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&world.workspace()), 0o700);
    assert_eq!(
        (
            mode(&world.net.state()),
            mode(&world.net.state().join("workspaces"))
        ),
        (0o711, 0o711)
    );
    testkit::until("threads that became somebody else end", || others() == 0).await;
}

/// Lets a job end once it was named to whoever waits for it.
struct Named(PathBuf, Mutex<Vec<String>>);

impl Observer for Named {}

impl WaitObserver for Named {
    fn waiting_for_jobs(&self, jobs: &[String]) {
        self.1.lock().unwrap().extend_from_slice(jobs);
        fs::write(self.0.join("go"), "").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_for_which_job() {
    let Some(world) = World::new().await else {
        return;
    };
    let root = world.push(&world.alice).await.unwrap().summary.root.0;
    let spec = world.spec(root, "until test -e go; do sleep 0.01; done");
    let job = world.alice.start(&spec).await.unwrap();
    write_tree(&world.project, &[("a", "new")]);
    let tree = world.workspace().join("tree");
    let named = Arc::new(Named(tree, Mutex::default()));
    let pushed = world.push_watched(&world.alice, named.clone()).await;
    assert_eq!(pushed.unwrap().summary.written.total, 1);
    let named = named.1.lock().unwrap().clone();
    assert!(
        named
            .first()
            .is_some_and(|named| job.short_id.starts_with(named)),
        "{named:?}"
    );
    testkit::until("nobody is somebody else", || others() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_user_has_no_jobs_and_no_mirror() {
    let Some(world) = World::new().await else {
        return;
    };
    let bob = world
        .net
        .client(&world.net.enrolled("bob", Role::Admin))
        .await;
    let spec = JobSpec::new(["/bin/true"]);
    let error = bob.start(&spec).await.unwrap_err();
    assert_eq!(error.reason, "NO_RUN_USER");
    assert!(error.message.contains("[run.users]"), "{error:?}");
    assert_eq!(world.push(&bob).await.unwrap_err().reason, "NO_RUN_USER");
    assert!(world.workspaces().is_empty());

    // An admin pulls from anybody's job, with the rights of whose it is.
    let root = world.push(&world.alice).await.unwrap().summary.root.0;
    let job = world.run(root, "echo result > it").await;
    fs::hard_link(&world.secret, world.workspace().join("tree/hard")).unwrap();
    let source = PullSource::Job(job.id.to_string());
    let (pulled, into) = world.pull(&bob, source, "{it,hard}").await;
    assert_eq!(pulled.written, [Path::new("it")]);
    assert_eq!(fs::read_to_string(into.join("it")).unwrap(), "result\n");
    assert_eq!(pulled.failed.len(), 1, "{pulled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_does_not_change_hands() {
    let Some(world) = World::new().await else {
        return;
    };
    let root = world.push(&world.alice).await.unwrap().summary.root.0;
    let world = world.restart("nobody").await;
    write_tree(&world.project, &[("a", "new")]);
    let error = world.push(&world.alice).await.unwrap_err();
    assert_eq!(error.reason, "WORKSPACE_OTHER_USER");
    assert!(error.message.contains("--workspace"), "{error:?}");
    let place = Place {
        workspace: Some(world.origin()),
        require_root: Some(root),
        ..Place::default()
    };
    let spec = JobSpec {
        place,
        ..JobSpec::new(["/bin/true"])
    };
    let error = world.alice.start(&spec).await.unwrap_err();
    assert_eq!(error.reason, "WORKSPACE_OTHER_USER");
    let kept = world.workspace().join("tree/a");
    assert_eq!(fs::read_to_string(kept).unwrap(), "1");
    assert_eq!(
        fs::metadata(world.workspace()).unwrap().uid(),
        number("daemon")
    );

    let world = world.restart("daemon").await;
    world.push(&world.alice).await.unwrap();
}
