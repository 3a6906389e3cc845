//! A source, a workspace, and what can be done to them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Sender;
use legwork_sync::error::{PullError, PushError};
use legwork_sync::link::{self, Closed, Link, Sending};
use legwork_sync::message::{Packing, Up};
use legwork_sync::pull::{self, Pulled};
use legwork_sync::push::{self, Pushed};
use legwork_sync::receive;
use legwork_sync::workspace::Workspace;

/// For what hangs: nothing takes this long, on a machine that is busy with something else either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The tests' clock: long after every file they make was made, so that nothing is racy.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)
}

/// The file system's clock, by which the server says what is too old.
pub(crate) fn files_now() -> SystemTime {
    let new = tempfile::tempfile().unwrap();
    new.metadata().unwrap().modified().unwrap()
}

pub(crate) struct Bench {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) source: PathBuf,
    pub(crate) workspace: Workspace,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let source = temp.path().join("source");
        fs::create_dir(&source).unwrap();
        let workspace = Workspace::open(&temp.path().join("workspace"), "boot").unwrap();
        Self {
            temp,
            source,
            workspace,
        }
    }

    pub(crate) fn options(&self) -> push::Options {
        push::Options {
            git_ignores: Some(self.temp.path().join("users-ignores")),
            ..push::Options::at(now())
        }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.temp.path().join("cache")
    }

    pub(crate) fn push(&self) -> Result<Pushed, PushError> {
        self.push_with(&self.options())
    }

    pub(crate) fn push_with(&self, options: &push::Options) -> Result<Pushed, PushError> {
        push_to(&self.workspace, &self.source, &self.cache(), options)
    }

    /// Pushes, and checks that afterwards exactly the source's entries are in the tree.
    pub(crate) fn mirror(&self) -> Pushed {
        let pushed = self.push().unwrap();
        assert_eq!(self.workspace.root().unwrap(), Some(pushed.summary.root));
        pushed
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.workspace.tree())
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        write(&self.source.join(path), content);
    }

    pub(crate) fn remove(&self, path: &str) {
        remove(&self.source.join(path));
    }

    /// As a job would.
    pub(crate) fn job_write(&self, path: &str, content: &str) {
        write(&self.workspace.tree().join(path), content);
    }

    pub(crate) fn job_remove(&self, path: &str) {
        remove(&self.workspace.tree().join(path));
    }

    /// Names in the staging area, but for what commits replaced.
    pub(crate) fn staging(&self) -> Vec<String> {
        let staging = fs::read_dir(self.temp.path().join("workspace/staging")).unwrap();
        let names = staging.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "past").collect()
    }

    pub(crate) fn trashed(&self) -> Vec<(String, String)> {
        let dirs = self.workspace.trash().unwrap();
        let trash = self.temp.path().join("workspace/trash");
        let found = dirs.iter().flat_map(|dir| {
            dir.paths
                .iter()
                .map(|path| (dir.name.clone(), path.clone()))
        });
        found
            .map(|(name, path)| {
                let content = fs::read_to_string(trash.join(name).join(&path)).unwrap_or_default();
                (path.to_string_lossy().into_owned(), content)
            })
            .collect()
    }

    pub(crate) fn pull(&self, globs: &[&str], force: bool) -> Result<Pulled, PullError> {
        let into = self.temp.path().join("into");
        fs::create_dir_all(&into).unwrap();
        let globs = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let options = pull::Options {
            globs,
            force,
            ..pull::Options::default()
        };
        self.pull_to(&into, &options)
    }

    /// Into the directory that was pushed.
    pub(crate) fn pull_back(&self, globs: &[&str]) -> Result<Pulled, PullError> {
        let options = pull::Options {
            globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
            pushed: Some(self.cache()),
            ..pull::Options::default()
        };
        self.pull_to(&self.source, &options)
    }

    pub(crate) fn pull_to(
        &self,
        into: &Path,
        options: &pull::Options,
    ) -> Result<Pulled, PullError> {
        let (client, server) = link::pair(4);
        let record = self.temp.path().join("record");
        thread::scope(|scope| {
            scope.spawn(|| pull::serve(&self.workspace, server));
            pull::pull(into, options, &record, client, &())
        })
    }
}

pub(crate) fn push_to(
    workspace: &Workspace,
    source: &Path,
    cache: &Path,
    options: &push::Options,
) -> Result<Pushed, PushError> {
    push_under(
        &receive::Options::default(),
        workspace,
        source,
        cache,
        options,
    )
}

pub(crate) fn push_under(
    bounds: &receive::Options,
    workspace: &Workspace,
    source: &Path,
    cache: &Path,
    options: &push::Options,
) -> Result<Pushed, PushError> {
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(|| receive::receive(workspace, bounds, server, &now));
        push::push(source, options, cache, client, &())
    })
}

pub(crate) fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn remove(path: &Path) {
    let removed = fs::remove_file(path);
    removed.or_else(|_| fs::remove_dir_all(path)).unwrap();
}

pub(crate) fn link_to(path: &Path, target: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// Bytes that are always the same and have no pattern.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Pushes to a server of the first version: it says so, and has no messages of a later one.
pub(crate) fn to_the_first_version(bench: &Bench) -> (Result<Pushed, PushError>, Vec<Up>) {
    tapped(bench, |_, message| match message {
        Up::Hello(hello) => hello.version = 1,
        // Whatever cannot be read ends the session.
        Up::Reuse(_) => *message = Up::Rebase,
        Up::Data(data) if data.packing != Packing::Plain => *message = Up::Rebase,
        _ => {}
    })
}

/// Keeps a copy of what is sent, and may change it.
struct Tap<'a> {
    inner: Sender<Up>,
    seen: &'a Mutex<Vec<Up>>,
    change: fn(usize, &mut Up),
}

impl Sending<Up> for Tap<'_> {
    fn send(&mut self, mut message: Up) -> Result<(), Closed> {
        let mut seen = self.seen.lock().unwrap();
        (self.change)(seen.len(), &mut message);
        seen.push(message.clone());
        drop(seen);
        Sending::send(&mut self.inner, message)
    }
}

/// Pushes, and tells what was sent.
pub(crate) fn tapped(
    bench: &Bench,
    change: fn(usize, &mut Up),
) -> (Result<Pushed, PushError>, Vec<Up>) {
    tapped_with(bench, &bench.options(), change)
}

pub(crate) fn tapped_with(
    bench: &Bench,
    options: &push::Options,
    change: fn(usize, &mut Up),
) -> (Result<Pushed, PushError>, Vec<Up>) {
    let seen = Mutex::new(Vec::new());
    let (client, server) = link::pair(4);
    let pushed = thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(
                &bench.workspace,
                &receive::Options::default(),
                server,
                &files_now,
            )
        });
        let sender = Tap {
            inner: client.sender,
            seen: &seen,
            change,
        };
        let link = Link {
            sender,
            receiver: client.receiver,
        };
        push::push(&bench.source, options, &bench.cache(), link, &())
    });
    (pushed, seen.into_inner().unwrap())
}

/// One letter for each message.
pub(crate) fn kinds(messages: &[Up]) -> String {
    let kind = |message: &Up| match message {
        Up::Hello(_) => 'H',
        Up::Rebase => 'R',
        Up::Delta(_) => 'd',
        Up::Data(_) => 'D',
        Up::Reuse(_) => 'U',
        Up::End(_) => 'E',
    };
    messages.iter().map(kind).collect()
}

/// What a directory holds: `/`-separated paths and what is there, readably.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(root, "");
        tree
    }

    fn add(&mut self, dir: &Path, prefix: &str) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let file_type = entry.file_type().unwrap();
            let what = if file_type.is_dir() {
                self.add(&entry.path(), &format!("{path}/"));
                "dir".to_owned()
            } else if file_type.is_symlink() {
                format!("-> {}", fs::read_link(entry.path()).unwrap().display())
            } else {
                let exec = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
                let content =
                    String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
                format!("{}: {content}", if exec { "x" } else { "f" })
            };
            self.0.insert(path, what);
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

/// Whether this process may read everything; says so, since then a test about what is unreadable
/// has nothing to test.
pub(crate) fn skip_as_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if root {
        static SAID: Mutex<()> = Mutex::new(());
        let _one = SAID.lock();
        eprintln!("SKIPPED {what}: root may read and change everything");
    }
    root
}

pub(crate) fn paths(listing: &legwork_sync::message::Listing) -> Vec<String> {
    listing
        .paths
        .iter()
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect()
}
