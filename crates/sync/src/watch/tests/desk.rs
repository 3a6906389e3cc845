//! A directory, a workspace, a source of events that the tests make up, and a clock that they turn.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::io::{Errno, Result};

use super::super::events::{Event, Source, Watched, What};
use super::super::{Clock, Pace, Wake, Watch};
use crate::digest::Digest;
use crate::error::PushError;
use crate::link;
use crate::message::Writer;
use crate::push::{Options, Pushed};
use crate::receive;
use crate::tree::{Dir, read};
use crate::workspace::Workspace;

/// Long after every file was made, so that nothing is racy.
pub(super) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)
}

/// Milliseconds that pass only when somebody waits.
#[derive(Debug, Default, Clone)]
pub(super) struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn wall(&self) -> SystemTime {
        wall()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
pub(super) struct Told {
    events: Mutex<VecDeque<Event>>,
    watches: Mutex<HashMap<(u64, u64), Watched>>,
    pub(super) limit: AtomicU64,
    pub(super) clock: Hands,
}

#[derive(Debug, Clone)]
struct Fake(Arc<Told>);

impl Source for Fake {
    fn watch(&self, dir: &Dir) -> Result<Watched> {
        let stat = read::look(dir)?;
        let mut watches = self.0.watches.lock().unwrap();
        let next = Watched::try_from(watches.len()).unwrap() + 1;
        let limit = self.0.limit.load(Ordering::Relaxed);
        let is_full = limit > 0 && watches.len() as u64 >= limit;
        match watches.get(&(stat.dev, stat.ino)) {
            Some(watched) => Ok(*watched),
            None if is_full => Err(Errno::NOSPC),
            None => {
                watches.insert((stat.dev, stat.ino), next);
                Ok(next)
            }
        }
    }

    fn unwatch(&self, watched: Watched) {
        let mut watches = self.0.watches.lock().unwrap();
        watches.retain(|_, known| *known != watched);
    }

    fn read(&self, timeout: Duration, into: &mut Vec<Event>) -> Result<()> {
        let mut events = self.0.events.lock().unwrap();
        if events.is_empty() {
            let micros = u64::try_from(timeout.as_micros()).unwrap();
            self.0.clock.0.fetch_add(micros, Ordering::Relaxed);
        }
        into.extend(events.drain(..));
        Ok(())
    }
}

pub(super) struct Desk {
    pub(super) temp: tempfile::TempDir,
    pub(super) source: PathBuf,
    pub(super) workspace: Workspace,
    pub(super) told: Arc<Told>,
    pub(super) watch: Watch,
}

impl Desk {
    /// Over a directory with these files, mirrored.
    pub(super) fn with(files: &[&str]) -> Self {
        let mut desk = Self::unbegun(files, 0);
        desk.begin();
        desk
    }

    pub(super) fn unbegun(files: &[&str], limit: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let source = temp.path().join("source");
        fs::create_dir(&source).unwrap();
        let workspace = Workspace::open(&temp.path().join("workspace"), "boot").unwrap();
        let told = Arc::new(Told {
            limit: limit.into(),
            ..Told::default()
        });
        let writer = Writer {
            id: Digest::of(b"this directory"),
            name: "here".to_owned(),
            keeps: true,
            takeover: false,
            leaves: false,
        };
        let options = Options {
            writer: Some(writer),
            git_ignores: None,
            ..Options::at(wall())
        };
        let watch = Watch::with_source(
            &source,
            options,
            &temp.path().join("cache"),
            (Pace::default(), Box::new(told.clock.clone())),
            Some(Box::new(Fake(Arc::clone(&told)))),
        );
        let desk = Self {
            temp,
            source,
            workspace,
            told,
            watch,
        };
        for file in files {
            desk.write(file, file);
        }
        desk
    }

    pub(super) fn begin(&mut self) -> Pushed {
        let (client, server) = link::pair(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&self.workspace, &receive::Options::default(), server, &wall)
            });
            self.watch.begin(client, &())
        })
        .unwrap()
    }

    pub(super) fn update(&mut self) -> Pushed {
        self.try_update().unwrap()
    }

    /// The watch's last session.
    pub(super) fn leave(&mut self) {
        let (client, server) = link::pair(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&self.workspace, &receive::Options::default(), server, &wall)
            });
            self.watch.leave(client)
        })
        .unwrap();
    }

    pub(super) fn try_update(&mut self) -> std::result::Result<Pushed, PushError> {
        let (client, server) = link::pair(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&self.workspace, &receive::Options::default(), server, &wall)
            });
            self.watch.update(client, &())
        })
    }

    pub(super) fn wait(&mut self, ms: u64) -> Wake {
        self.watch
            .wait(Duration::from_millis(ms), &|| false)
            .unwrap()
    }

    /// Waits for a change and mirrors it: what was written.
    pub(super) fn follows(&mut self) -> Vec<String> {
        let woken = self.wait(1000);
        assert!(matches!(woken, Wake::Changed), "{woken:?}");
        names(&self.update().summary.written.paths)
    }

    /// Nothing that is told makes anything travel.
    pub(super) fn rests(&mut self) {
        let woken = self.wait(5000);
        assert!(matches!(woken, Wake::Idle), "{woken:?}");
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn is_watched(&self, dir: &Path) -> bool {
        let stat = fs::metadata(dir).unwrap();
        let watches = self.told.watches.lock().unwrap();
        watches.contains_key(&(stat.dev(), stat.ino()))
    }

    /// An event in a directory of the source.
    pub(super) fn tell(&self, dir: &str, name: &str, what: What) {
        let stat = fs::metadata(self.source.join(dir)).unwrap();
        let watched = self.told.watches.lock().unwrap()[&(stat.dev(), stat.ino())];
        let name = name.as_bytes().into();
        let mut events = self.told.events.lock().unwrap();
        events.push_back(Event {
            watched,
            name,
            what,
        });
    }

    pub(super) fn mirrored(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.workspace.tree().join(path)).ok()
    }
}

pub(super) fn names(paths: &[Vec<u8>]) -> Vec<String> {
    let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
    paths.iter().map(text).collect()
}
