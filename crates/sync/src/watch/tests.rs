//! The watch over a source of events that the tests make up.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::io::{Errno, Result};

use super::events::{Event, Source, Watched, What};
use super::{Clock, Pace, Trouble, Wake, Watch};
use crate::error::PushError;
use crate::link::{self, Closed, Link, Receiving};
use crate::message::{Down, Up};
use crate::push::{Options, Pushed};
use crate::receive;
use crate::tree::{Dir, read};
use crate::workspace::Workspace;

/// Long after every file was made, so that nothing is racy.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)
}

/// Milliseconds that pass only when somebody waits.
#[derive(Debug, Default, Clone)]
struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn wall(&self) -> SystemTime {
        wall()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Told {
    events: Mutex<VecDeque<Event>>,
    watches: Mutex<HashMap<(u64, u64), Watched>>,
    limit: AtomicU64,
    clock: Hands,
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

struct Desk {
    temp: tempfile::TempDir,
    source: PathBuf,
    workspace: Workspace,
    told: Arc<Told>,
    watch: Watch,
}

impl Desk {
    /// Over a directory with these files, mirrored.
    fn with(files: &[&str]) -> Self {
        let mut desk = Self::unbegun(files, 0);
        desk.begin();
        desk
    }

    fn unbegun(files: &[&str], limit: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let source = temp.path().join("source");
        fs::create_dir(&source).unwrap();
        let workspace = Workspace::open(&temp.path().join("workspace"), "boot").unwrap();
        let told = Arc::new(Told {
            limit: limit.into(),
            ..Told::default()
        });
        let options = Options {
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

    fn begin(&mut self) -> Pushed {
        let (client, server) = link::pair(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&self.workspace, &receive::Options::default(), server, &wall)
            });
            self.watch.begin(client, &())
        })
        .unwrap()
    }

    fn update(&mut self) -> Pushed {
        let (client, server) = link::pair(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                receive::receive(&self.workspace, &receive::Options::default(), server, &wall)
            });
            self.watch.update(client, &())
        })
        .unwrap()
    }

    fn wait(&mut self, ms: u64) -> Wake {
        self.watch
            .wait(Duration::from_millis(ms), &|| false)
            .unwrap()
    }

    /// Waits for a change and mirrors it: what was written.
    fn follows(&mut self) -> Vec<String> {
        let woken = self.wait(1000);
        assert!(matches!(woken, Wake::Changed), "{woken:?}");
        names(&self.update().summary.written.paths)
    }

    /// Nothing that is told makes anything travel.
    fn rests(&mut self) {
        let woken = self.wait(5000);
        assert!(matches!(woken, Wake::Idle), "{woken:?}");
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn is_watched(&self, dir: &Path) -> bool {
        let stat = fs::metadata(dir).unwrap();
        let watches = self.told.watches.lock().unwrap();
        watches.contains_key(&(stat.dev(), stat.ino()))
    }

    /// An event in a directory of the source.
    fn tell(&self, dir: &str, name: &str, what: What) {
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

    fn mirrored(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.workspace.tree().join(path)).ok()
    }
}

fn names(paths: &[Vec<u8>]) -> Vec<String> {
    let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
    paths.iter().map(text).collect()
}

#[test]
fn a_save_is_sent_by_its_event_alone() {
    let mut desk = Desk::with(&["a", "d/b", "d/c"]);
    desk.rests();
    desk.write("d/b", "new");
    desk.write("d/c", "nobody tells of this");
    desk.tell("d", "b", What::Done);
    let before = desk.told.clock.elapsed();
    assert_eq!(desk.follows(), ["d/b"]);
    assert_eq!(desk.told.clock.elapsed(), before, "nothing was waited for");
    assert_eq!(desk.mirrored("d/b").unwrap(), "new");
    assert_eq!(desk.mirrored("d/c").unwrap(), "d/c");
    // The full look finds what no event told.
    let woken = desk.wait(400_000);
    assert!(matches!(woken, Wake::Changed), "{woken:?}");
    assert_eq!(names(&desk.update().summary.written.paths), ["d/c"]);
}

#[test]
fn an_event_of_what_is_as_it_was_makes_nothing_travel() {
    let mut desk = Desk::with(&["a", "d/b"]);
    desk.write("a", "a");
    desk.tell("", "a", What::Done);
    desk.tell("d", "never-was", What::Gone);
    desk.tell("d", "b", What::Writing);
    desk.rests();
}

#[test]
fn a_directory_that_comes_is_watched_and_looked_at_as_a_whole() {
    let mut desk = Desk::with(&["a"]);
    desk.write("new/deep/er/file", "1");
    fs::create_dir(desk.source.join("new/empty")).unwrap();
    desk.tell("", "new", What::Directory);
    let written = desk.follows();
    assert_eq!(
        written,
        [
            "new",
            "new/deep",
            "new/deep/er",
            "new/deep/er/file",
            "new/empty"
        ]
    );
    assert!(desk.is_watched(&desk.source.join("new/deep/er")));
    desk.write("new/deep/er/file", "22");
    desk.tell("new/deep/er", "file", What::Done);
    assert_eq!(desk.follows(), ["new/deep/er/file"]);
}

#[test]
fn a_directory_that_moves_keeps_its_watch_under_its_new_name() {
    let mut desk = Desk::with(&["old/x/f", "z"]);
    fs::rename(desk.source.join("old"), desk.source.join("new")).unwrap();
    desk.tell("", "old", What::Directory);
    desk.tell("", "new", What::Directory);
    assert_eq!(desk.follows(), ["new", "new/x", "new/x/f"]);
    assert_eq!(desk.mirrored("old/x/f"), None);
    desk.write("new/x/f", "after");
    desk.tell("new/x", "f", What::Done);
    assert_eq!(desk.follows(), ["new/x/f"]);
    // Out of the tree: what it tells from there is nothing.
    fs::rename(desk.source.join("new"), desk.temp.path().join("away")).unwrap();
    desk.tell("", "new", What::Directory);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    assert_eq!(desk.update().summary.deleted.total, 3);
    desk.tell("../away/x", "f", What::Done);
    desk.rests();
}

#[test]
fn what_the_rules_leave_out_is_not_watched_and_its_events_are_nothing() {
    let mut desk = Desk::unbegun(&["a", "build/deep/out"], 0);
    desk.write(".gitignore", "/build/\n*.o\n");
    desk.begin();
    assert!(!desk.is_watched(&desk.source.join("build")));
    desk.write("x.o", "object");
    desk.tell("", "x.o", What::Done);
    desk.tell("", "build", What::Directory);
    desk.rests();
}

#[test]
fn an_edited_ignore_file_changes_what_is_kept() {
    let mut desk = Desk::unbegun(&["d/a", "d/build/out"], 0);
    desk.write("d/.gitignore", "build/\n");
    desk.begin();
    assert_eq!(desk.mirrored("d/build/out"), None);
    desk.write("d/.gitignore", "a\n");
    desk.tell("d", ".gitignore", What::Done);
    desk.follows();
    assert_eq!(desk.mirrored("d/build/out").unwrap(), "d/build/out");
    assert_eq!(desk.mirrored("d/a"), None);
    assert!(desk.is_watched(&desk.source.join("d/build")));
    desk.write(".legworkignore", "/d/\n");
    desk.tell("", ".legworkignore", What::Done);
    desk.follows();
    assert_eq!(desk.mirrored("d/build/out"), None);
    assert!(!desk.is_watched(&desk.source.join("d/build")));
}

#[test]
fn a_directory_that_turns_out_to_be_a_cache_leaves_the_mirror() {
    let mut desk = Desk::with(&["a", "target/x"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    desk.write("target/CACHEDIR.TAG", tag);
    desk.tell("target", "CACHEDIR.TAG", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    desk.update();
    assert_eq!(desk.mirrored("target/x"), None);
}

#[test]
fn lost_events_and_very_many_are_a_look_at_everything() {
    let mut desk = Desk::with(&["a", "d/b"]);
    desk.write("d/b", "unseen");
    desk.tell("", "", What::Lost);
    assert_eq!(desk.follows(), ["d/b"]);
    desk.write("d/b", "unseen again");
    for number in 0..1001 {
        desk.tell("", &format!("f{number}"), What::Done);
    }
    assert_eq!(desk.follows(), ["d/b"]);
}

#[test]
fn without_enough_watches_everything_is_looked_at_every_few_seconds() {
    let mut desk = Desk::unbegun(&["a", "d/e/b"], 2);
    desk.begin();
    assert_eq!(desk.watch.trouble(), Some(Trouble::Limit));
    desk.write("d/e/b", "nobody can tell");
    let woken = desk.wait(3000);
    assert!(matches!(woken, Wake::Changed), "{woken:?}");
    desk.update();
    desk.told.limit.store(0, Ordering::Relaxed);
    assert!(matches!(desk.wait(3000), Wake::Idle));
    assert_eq!(desk.watch.trouble(), None);
}

#[test]
fn a_limit_that_is_met_by_a_new_directory_is_noticed_then() {
    let mut desk = Desk::unbegun(&["a"], 1);
    desk.begin();
    assert_eq!(desk.watch.trouble(), None);
    desk.write("d/b", "1");
    desk.tell("", "d", What::Directory);
    desk.follows();
    assert_eq!(desk.watch.trouble(), Some(Trouble::Limit));
}

/// What a session over a link that breaks before the answer says.
fn cut(desk: &mut Desk) -> PushError {
    struct Deaf;
    impl Receiving<Down> for Deaf {
        fn receive(&mut self, _timeout: Duration) -> std::result::Result<Option<Down>, Closed> {
            Err(Closed)
        }
    }
    let (client, server) = link::pair::<Up, Down>(64);
    let link = Link {
        sender: client.sender,
        receiver: Deaf,
    };
    drop(server);
    desk.watch.update(link, &()).unwrap_err()
}

#[test]
fn what_a_broken_link_did_not_bring_is_brought_by_the_next() {
    let mut desk = Desk::with(&["a", "b", "c"]);
    desk.write("a", "1");
    fs::remove_file(desk.source.join("b")).unwrap();
    desk.tell("", "a", What::Done);
    desk.tell("", "b", What::Gone);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    assert!(matches!(cut(&mut desk), PushError::Closed(_)));
    desk.write("a", "22");
    desk.tell("", "a", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    desk.update();
    assert_eq!(
        (desk.mirrored("a").as_deref(), desk.mirrored("b")),
        (Some("22"), None)
    );
    desk.rests();
}

#[test]
fn a_change_that_is_taken_back_is_not_sent() {
    let mut desk = Desk::with(&["a", "b"]);
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    cut(&mut desk);
    desk.write("a", "a");
    desk.tell("", "a", What::Done);
    desk.rests();
    assert!(!desk.watch.is_behind());
}

#[test]
fn another_who_commits_meanwhile_is_no_trouble() {
    let mut desk = Desk::with(&["a", "b"]);
    let elsewhere = desk.temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("theirs"), "theirs").unwrap();
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            receive::receive(&desk.workspace, &receive::Options::default(), server, &wall)
        });
        let cache = desk.temp.path().join("another-cache");
        crate::push::push(&elsewhere, &Options::at(wall()), &cache, client, &())
    })
    .unwrap();
    desk.write("a", "mine");
    desk.tell("", "a", What::Done);
    assert_eq!(desk.follows(), ["a", "b"]);
    assert_eq!(desk.mirrored("theirs"), None);
}

#[test]
fn a_root_that_is_gone_empties_no_mirror_and_one_that_is_back_is_looked_at() {
    let mut desk = Desk::with(&["a", "b"]);
    let aside = desk.temp.path().join("aside");
    fs::rename(&desk.source, &aside).unwrap();
    assert!(matches!(desk.wait(1000), Wake::Gone(_)));
    assert!(matches!(desk.wait(700_000), Wake::Idle));
    fs::create_dir(&desk.source).unwrap();
    desk.write("a", "another directory's");
    desk.write("b", "b");
    assert!(matches!(desk.wait(1000), Wake::Back));
    assert_eq!(desk.follows(), ["a"]);
    // Replaced between two looks: nobody saw it gone.
    fs::rename(&desk.source, desk.temp.path().join("aside too")).unwrap();
    fs::rename(&aside, &desk.source).unwrap();
    assert_eq!(desk.follows(), ["a"]);
}

#[test]
fn what_jobs_did_elsewhere_is_left_until_the_next_full_look() {
    let mut desk = Desk::with(&["a", "Cargo.lock"]);
    fs::write(desk.workspace.tree().join("Cargo.lock"), "a job's own").unwrap();
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    assert_eq!(desk.follows(), ["a"]);
    assert_eq!(desk.mirrored("Cargo.lock").unwrap(), "a job's own");
    // What a save is about is the client's, at once.
    desk.write("Cargo.lock", "saved");
    desk.tell("", "Cargo.lock", What::Done);
    assert!(matches!(desk.wait(1000), Wake::Changed));
    let summary = desk.update().summary;
    assert_eq!(
        (names(&summary.displaced.paths), summary.displaced.total),
        (vec!["Cargo.lock".to_owned()], 1)
    );
    assert_eq!(desk.mirrored("Cargo.lock").unwrap(), "saved");
}

#[test]
fn what_was_committed_is_known_to_the_next_push() {
    let mut desk = Desk::with(&["a", "b"]);
    desk.write("a", "1");
    desk.tell("", "a", What::Done);
    desk.follows();
    desk.rests();
    let cache = desk.temp.path().join("cache");
    let known = crate::push::cache::load(&cache).unwrap().unwrap();
    assert_eq!(Some(known.root), desk.workspace.root().unwrap());
}
