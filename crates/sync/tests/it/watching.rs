//! The watch over real events.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use legwork_sync::Digest;
use legwork_sync::message::Writer;
use legwork_sync::push::{Options, Pushed};
use legwork_sync::watch::{Clock, Pace, Wake, Watch};
use legwork_sync::{link, receive};
use proptest::prelude::*;

use crate::support::{Bench, PATIENCE, Tree, now};

struct Real(Instant);

impl Clock for Real {
    fn wall(&self) -> SystemTime {
        now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Desk {
    bench: Bench,
    watch: Watch,
}

impl Desk {
    fn over(bench: Bench) -> Self {
        let pace = Pace {
            settle: Duration::from_millis(1),
            quiet: Duration::from_millis(2),
            ..Pace::default()
        };
        let clock = Box::new(Real(Instant::now()));
        // As those of the command line are: what a server remembers between its sessions is tried, too.
        let writer = Writer {
            id: Digest::of(b"this directory"),
            name: "here".to_owned(),
            keeps: true,
            takeover: false,
            leaves: false,
        };
        let options = Options {
            writer: Some(writer),
            ..bench.options()
        };
        let watch = Watch::new(&bench.source, options, &bench.cache(), pace, clock);
        let mut desk = Self { bench, watch };
        desk.session(true);
        desk
    }

    fn session(&mut self, begins: bool) -> Pushed {
        let (client, server) = link::pair(4);
        let Self { bench, watch } = self;
        thread::scope(|scope| {
            let options = receive::Options::default();
            let workspace = &bench.workspace;
            scope.spawn(move || receive::receive(workspace, &options, server, &now));
            if begins {
                watch.begin(client, &())
            } else {
                watch.update(client, &())
            }
        })
        .unwrap()
    }

    /// Mirrors until the workspace has what the source has. What the kernel has told by now is enough for that.
    fn catches_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.bench.tree() != Tree::of(&self.bench.source) {
            assert!(Instant::now() < end, "{:?}", self.bench.tree());
            match self.watch.wait(PATIENCE, &|| Instant::now() > end).unwrap() {
                Wake::Changed => self.session(false),
                woken => panic!("{woken:?} with {:?}", self.bench.tree()),
            };
        }
    }
}

fn desk() -> Desk {
    let bench = Bench::new();
    for file in ["a", "b", "d/a", "d/e/a"] {
        bench.write(file, file);
    }
    Desk::over(bench)
}

#[test]
fn editors_save_in_many_ways() {
    let mut desk = desk();
    assert_eq!(desk.watch.trouble(), None);
    let at = |desk: &Desk, path: &str| desk.bench.source.join(path);
    // In place; by a temporary file; by moving the old one away; with a new file beside it.
    fs::write(at(&desk, "a"), "in place").unwrap();
    desk.catches_up();
    fs::write(at(&desk, "d/.a.swp"), "renamed").unwrap();
    fs::rename(at(&desk, "d/.a.swp"), at(&desk, "d/a")).unwrap();
    desk.catches_up();
    fs::rename(at(&desk, "b"), at(&desk, "b~")).unwrap();
    fs::write(at(&desk, "b"), "with a backup").unwrap();
    desk.catches_up();
    // What is no content: a mode, a link, an empty directory, a removal.
    fs::set_permissions(at(&desk, "a"), fs::Permissions::from_mode(0o755)).unwrap();
    desk.catches_up();
    symlink("d/e", at(&desk, "link")).unwrap();
    fs::create_dir(at(&desk, "empty")).unwrap();
    desk.catches_up();
    fs::remove_file(at(&desk, "b~")).unwrap();
    fs::remove_dir_all(at(&desk, "d")).unwrap();
    desk.catches_up();
    // A file in the place of a directory, and the other way round.
    fs::remove_dir(at(&desk, "empty")).unwrap();
    fs::write(at(&desk, "empty"), "a file").unwrap();
    fs::remove_file(at(&desk, "link")).unwrap();
    fs::create_dir_all(at(&desk, "link/deep")).unwrap();
    fs::write(at(&desk, "link/deep/f"), "f").unwrap();
    desk.catches_up();
}

/// The next update that has something to tell.
fn next_update(desk: &mut Desk) -> Pushed {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end);
        if let Wake::Changed = desk.watch.wait(PATIENCE, &|| false).unwrap() {
            return desk.session(false);
        }
    }
}

#[test]
fn a_copy_or_a_new_name_of_what_nobody_touched_sends_no_content() {
    let bench = Bench::new();
    for number in 0..20 {
        bench.write(&format!("d/{number}"), &format!("content {number}"));
    }
    bench.write("large", &"a large file ".repeat(60_000));
    bench.write("stays", "what stays");
    let mut desk = Desk::over(bench);
    let at = |desk: &Desk, path: &str| desk.bench.source.join(path);
    // All at once: of a copy that grows a part would be seen, which is new.
    let copy = |desk: &Desk, from: &str, to: &str| {
        let whole = desk.bench.temp.path().join("whole");
        fs::copy(at(desk, from), &whole).unwrap();
        fs::rename(whole, at(desk, to)).unwrap();
    };
    let mut sent = 0;
    for (from, to) in [("d/7", "d/copy"), ("large", "copy of it")] {
        copy(&desk, from, to);
        while desk.bench.tree() != Tree::of(&desk.bench.source) {
            sent += next_update(&mut desk).sent_bytes;
        }
    }
    fs::rename(at(&desk, "d"), at(&desk, "renamed")).unwrap();
    while desk.bench.tree() != Tree::of(&desk.bench.source) {
        sent += next_update(&mut desk).sent_bytes;
    }
    assert_eq!(sent, 0);
    // What is new is sent, and what a job made of the source does not count.
    desk.bench.job_write("stays", "a job's");
    copy(&desk, "stays", "copied");
    let new = desk.bench.temp.path().join("new");
    fs::write(&new, "new content").unwrap();
    fs::rename(new, at(&desk, "new")).unwrap();
    while desk.bench.tree().get("copied") != Some("f: what stays")
        || desk.bench.tree().get("new").is_none()
    {
        sent += next_update(&mut desk).sent_bytes;
    }
    assert_eq!(sent, "what stays".len() as u64 + "new content".len() as u64);
}

#[test]
fn directories_made_at_speed_lose_nothing() {
    let mut desk = desk();
    let source = desk.bench.source.clone();
    let maker = thread::spawn(move || {
        for top in 0..20 {
            let deep = source.join(format!("n{top}/a/b/c/d/e"));
            fs::create_dir_all(&deep).unwrap();
            for dir in deep.ancestors().take(6) {
                fs::write(dir.join("file"), format!("{top}")).unwrap();
            }
        }
    });
    let end = Instant::now() + PATIENCE;
    while !maker.is_finished() {
        assert!(Instant::now() < end);
        if let Wake::Changed = desk
            .watch
            .wait(Duration::from_millis(1), &|| false)
            .unwrap()
        {
            desk.session(false);
        }
    }
    maker.join().unwrap();
    desk.catches_up();
    assert_eq!(desk.bench.tree().0.len(), 6 + 20 * 12);
}

/// Something that somebody does to a tree of few names.
#[derive(Debug, Clone)]
enum Deed {
    Write(String, u8),
    Remove(String),
    Rename(String, String),
    Link(String),
    Look,
}

fn deed() -> impl Strategy<Value = Deed> {
    let path = || "[abc](/[abc]){0,2}";
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Deed::Write(path, byte)),
        2 => path().prop_map(Deed::Remove),
        3 => (path(), path()).prop_map(|(from, to)| Deed::Rename(from, to)),
        1 => path().prop_map(Deed::Link),
        2 => Just(Deed::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is done, and whenever it is looked at in between: in the end the mirror has what the directory has.
    #[test]
    fn the_mirror_catches_up_with_anything(deeds in prop::collection::vec(deed(), 1..40)) {
        let mut desk = desk();
        for deed in deeds {
            let at = |path: &str| desk.bench.source.join(path);
            // What makes no sense just now is left.
            let _sense = match &deed {
                Deed::Write(path, byte) => {
                    let _parents = fs::create_dir_all(at(path).parent().unwrap());
                    fs::write(at(path), vec![*byte; usize::from(*byte)])
                }
                Deed::Remove(path) => fs::remove_file(at(path)).or_else(|_| fs::remove_dir_all(at(path))),
                Deed::Rename(from, to) => fs::rename(at(from), at(to)),
                Deed::Link(path) => symlink("a/b", at(path)),
                Deed::Look => {
                    if let Wake::Changed = desk.watch.wait(Duration::ZERO, &|| false).unwrap() {
                        desk.session(false);
                    }
                    Ok(())
                }
            };
        }
        desk.bench.write("last", "so that the root is not empty");
        desk.catches_up();
    }
}
