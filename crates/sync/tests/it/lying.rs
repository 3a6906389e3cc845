//! Servers that lie to a client that pushes: they learn nothing that they were not told of, and are told off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use legwork_sync::digest::Digest;
use legwork_sync::error::PushError;
use legwork_sync::link::{self, Link};
use legwork_sync::manifest;
use legwork_sync::message::{
    Deed, Down, Held, HeldContent, ManifestPage, Need, Node, PlanPage, Refusal, Summary, Up,
    VERSION, Waiting, Welcome,
};
use legwork_sync::observer::Observer;
use legwork_sync::push::{self, Pushed};

use crate::support::{Bench, Tree, link_to, skip_as_root};

type Server = Link<Sender<Down>, Receiver<Up>>;

fn welcome() -> Welcome {
    Welcome {
        version: VERSION,
        root: manifest::empty_root(),
        generation: 1,
        base_known: true,
        held: false,
    }
}

/// A welcome to a client whose base is another, and what the server says it has.
fn other_base(entries: &[(&str, Node)]) -> Vec<Down> {
    let mut first = welcome();
    first.base_known = false;
    let entry = |(path, node): &(&str, Node)| (path.as_bytes().to_vec(), node.clone());
    let entries = entries.iter().map(entry).collect();
    vec![
        Down::Welcome(first),
        Down::Manifest(ManifestPage {
            entries,
            last: true,
        }),
    ]
}

fn need(paths: &[&str], last: bool) -> Down {
    let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    Down::Need(Need { paths, last })
}

fn summary(root: Digest) -> Summary {
    let nothing = legwork_sync::message::Listing::default;
    Summary {
        root,
        generation: 2,
        entries: 1,
        written: nothing(),
        written_bytes: 0,
        deleted: nothing(),
        displaced: nothing(),
        kept: nothing(),
        trash: String::new(),
    }
}

fn file(content: &[u8]) -> Node {
    Node::File {
        exec: false,
        size: content.len() as u64,
        hash: Digest::of(content),
    }
}

/// A project with things that are nobody's business, mirrored once by an honest server.
fn bench() -> Bench {
    let bench = Bench::new();
    for path in ["a", "d/e"] {
        bench.write(path, "1");
    }
    bench.write("ignored", "SECRET of the ignored");
    bench.write(".legworkignore", "ignored");
    let outside = bench.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("key"), "SECRET of others").unwrap();
    link_to(&bench.source.join("way"), outside.to_str().unwrap());
    link_to(&bench.source.join("link"), "../outside/key");
    bench.mirror();
    bench
}

/// Pushes to this server; what came of it, and all that the client said.
fn pushed(
    bench: &Bench,
    options: &push::Options,
    observer: &dyn Observer,
    serve: impl FnOnce(&Sender<Down>, &dyn Fn() -> Option<Up>) + Send,
) -> (Result<Pushed, PushError>, Vec<Up>) {
    let seen = Mutex::new(Vec::new());
    let (client, server) = link::pair(16);
    let pushed = thread::scope(|scope| {
        let seen = &seen;
        scope.spawn(move || {
            let Server { sender, receiver } = server;
            let hear = || {
                let message = receiver.recv().ok();
                seen.lock().unwrap().extend(message.clone());
                message
            };
            serve(&sender, &hear);
            drop(sender);
            while hear().is_some() {}
        });
        push::push(&bench.source, options, &bench.cache(), client, observer)
    });
    (pushed, seen.into_inner().unwrap())
}

/// Says all this, whatever the client says; how the client takes it.
fn told(bench: &Bench, messages: Vec<Down>) -> (Result<Pushed, PushError>, Vec<Up>) {
    told_with(bench, &bench.options(), messages)
}

fn told_with(
    bench: &Bench,
    options: &push::Options,
    messages: Vec<Down>,
) -> (Result<Pushed, PushError>, Vec<Up>) {
    let before = (fs::read(bench.cache()).ok(), Tree::of(&bench.source));
    let (pushed, seen) = pushed(bench, options, &(), |sender, _| {
        for message in messages {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let after = (fs::read(bench.cache()).ok(), Tree::of(&bench.source));
    if pushed.is_err() {
        assert!(
            before == after,
            "what is remembered, or what is here, changed"
        );
    }
    for message in &seen {
        if let Up::Data(data) = message {
            let text = String::from_utf8_lossy(&data.bytes);
            assert!(!text.contains("SECRET"), "sent: {text}");
        }
    }
    (pushed, seen)
}

fn refused(bench: &Bench, messages: Vec<Down>) -> String {
    match told(bench, messages) {
        (Err(PushError::Protocol(what)), _) => what,
        (other, _) => panic!("{other:?}"),
    }
}

/// The root that the client said its tree has.
fn claimed(message: &Up) -> Option<Digest> {
    match message {
        Up::End(end) => Some(end.root),
        _ => None,
    }
}

#[test]
fn nothing_is_sent_that_was_not_offered() {
    for path in [
        "ignored",
        "link",
        "way/key",
        "way",
        "d",
        "../outside/key",
        "/etc/passwd",
        "",
        "a/",
        "nothing",
    ] {
        let bench = bench();
        let asked = vec![Down::Welcome(welcome()), need(&[path], true)];
        assert_eq!(
            refused(&bench, asked),
            "asked for a file that was not offered",
            "{path:?}"
        );
        // Nor if it says that it has had it before.
        let mut asked = other_base(&[("a", file(b"1")), ("ignored", file(b"x"))]);
        asked.push(need(&[path], true));
        refused(&bench, asked);
    }
}

/// A directory that may be gone through and not listed: what is in it is known by its names alone.
#[test]
fn what_could_not_be_looked_at_is_not_read_because_a_server_names_it() {
    if skip_as_root("directories that cannot be listed") {
        return;
    }
    let bench = bench();
    bench.write("closed/key", "SECRET of the closed");
    let closed = bench.source.join("closed");
    let chmod = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o311);
    let tree = [
        ("a", file(b"1")),
        ("closed", Node::Dir),
        ("closed/key", file(b"x")),
    ];
    let mut asked = other_base(&tree);
    asked.push(need(&["closed/key"], true));
    let seen = Mutex::new(Vec::new());
    let (answer, all) = pushed(&bench, &bench.options(), &(), |sender, hear| {
        for message in asked {
            sender.send(message).unwrap();
        }
        // It answers the question too, without it. What came before it took our base is void.
        let mut ends = 0;
        while let Some(message) = hear() {
            seen.lock().unwrap().extend(claimed(&message));
            match message {
                Up::Rebase => ends = 0,
                Up::End(_) => ends += 1,
                _ => {}
            }
            if ends == 2 {
                break;
            }
        }
        let last = seen.lock().unwrap().last().copied().unwrap();
        let _over = sender.send(Down::Committed(summary(last)));
    });
    chmod(0o755);
    assert_eq!(answer.unwrap().unreadable.len(), 1);
    let said = format!("{all:?}");
    assert!(!said.contains("SECRET"), "{said}");
}

#[test]
fn a_tree_that_is_none_is_not_taken_for_a_base() {
    let long = "x".repeat(256);
    let target = vec![b'x'; 70_000];
    for entries in [
        vec![("../x", file(b""))],
        vec![("/x", file(b""))],
        vec![("x/./y", file(b""))],
        vec![("a\0b", file(b""))],
        vec![(&*long, file(b""))],
        vec![(".legwork-tmp.x", file(b""))],
        vec![("b", file(b"")), ("a", file(b""))],
        vec![("a", file(b"")), ("a", Node::Dir)],
        vec![("d/x", file(b""))],
        vec![("d", file(b"")), ("d/x", file(b""))],
        vec![("l", Node::Symlink { target })],
    ] {
        refused(&bench(), other_base(&entries));
    }
}

#[test]
fn a_commit_of_another_tree_is_none() {
    let bench = bench();
    let committed = |root| {
        vec![
            Down::Welcome(welcome()),
            Down::Committed(summary(Digest::of(root))),
        ]
    };
    let other = "the server answered for another tree than ours";
    assert_eq!(refused(&bench, committed(b"another")), other);
    // Nor is what would be one, nor one where nothing was to be done.
    let root = bench.workspace.root().unwrap().unwrap();
    let planned = Down::Planned(summary(root));
    let planned = vec![Down::Welcome(welcome()), planned];
    assert_eq!(refused(&bench, planned), "unexpected Planned");
    let dry = push::Options {
        dry_run: true,
        ..bench.options()
    };
    let committed = vec![Down::Welcome(welcome()), Down::Committed(summary(root))];
    let (answer, _) = told_with(&bench, &dry, committed);
    assert!(matches!(answer, Err(PushError::Protocol(_))), "{answer:?}");
    // What is true is taken.
    let honest = vec![Down::Welcome(welcome()), Down::Committed(summary(root))];
    assert_eq!(told(&bench, honest).0.unwrap().summary.root, root);
}

#[test]
fn messages_out_of_place_end_the_session() {
    let plan = Down::Plan(PlanPage {
        deed: Deed::Delete,
        paths: vec![b"a".to_vec()],
    });
    let with_version = |version| {
        Down::Welcome(Welcome {
            version,
            ..welcome()
        })
    };
    let again = || Down::Welcome(welcome());
    let nothing = || other_base(&[]);
    for messages in [
        vec![again(), again()],
        [nothing(), nothing()].concat(),
        [vec![again()], nothing()].concat(),
        vec![with_version(0)],
        vec![with_version(VERSION + 1)],
        vec![again(), plan],
        [vec![again()], nothing()[1..].to_vec()].concat(),
        nothing()[1..].to_vec(),
    ] {
        refused(&bench(), messages);
    }
}

#[test]
fn what_is_asked_for_without_an_end_is_not_sent_without_one() {
    // The same again and again in one question.
    let bench = bench();
    let asked = (0..10).map(|_| need(&["a"], false));
    let asked: Vec<Down> = [Down::Welcome(welcome())]
        .into_iter()
        .chain(asked)
        .collect();
    assert_eq!(
        refused(&bench, asked),
        "asked for more files than there are"
    );
    // And question after question.
    let asked = (0..100).map(|_| need(&["a", "d/e"], true));
    let asked = [Down::Welcome(welcome())]
        .into_iter()
        .chain(asked)
        .collect();
    let (answer, seen) = told(&bench, asked);
    assert!(
        matches!(answer, Err(PushError::KeepsChanging { .. })),
        "{answer:?}"
    );
    let sent = seen.iter().filter(|message| matches!(message, Up::Data(_)));
    assert!(sent.count() < 10);
}

/// It says that it has what it has not; then it is asked for, and sent.
#[test]
fn what_it_says_it_holds_is_only_believed_until_it_asks() {
    let bench = bench();
    let large = "large ".repeat(100_000);
    bench.write("new", "new content");
    bench.write("large", &large);
    let (len, whole) = (u64::MAX, false);
    let contents = vec![
        HeldContent {
            hash: Digest::of(b"new content"),
            len: 11,
            whole: true,
        },
        HeldContent {
            hash: Digest::of(large.as_bytes()),
            len,
            whole,
        },
    ];
    // Then the client waits for that list.
    fs::write(bench.temp.path().join("cache.cut"), "").unwrap();
    let first = Welcome {
        held: true,
        ..welcome()
    };
    let (answer, seen) = pushed(&bench, &bench.options(), &(), |sender, hear| {
        let last = true;
        sender.send(Down::Welcome(first)).unwrap();
        sender.send(Down::Held(Held { contents, last })).unwrap();
        while !matches!(hear(), Some(Up::End(_)) | None) {}
        sender.send(need(&["large", "new"], true)).unwrap();
        while let Some(message) = hear() {
            if let Some(root) = claimed(&message) {
                sender.send(Down::Committed(summary(root))).unwrap();
                return;
            }
        }
    });
    let answer = answer.unwrap();
    assert_eq!(answer.sent_bytes, 11 + large.len() as u64);
    let end = seen.iter().position(|one| matches!(one, Up::End(_)));
    let (before, after) = seen.split_at(end.unwrap());
    let data = |part: &[Up]| part.iter().any(|one| matches!(one, Up::Data(_)));
    assert!(!data(before) && data(after));
}

/// Cancels once it was told that the server waits.
struct Impatient(AtomicBool);

impl Observer for Impatient {
    fn waiting(&self, _reason: Waiting) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn whoever_is_kept_waiting_can_leave() {
    let endless: [fn() -> Down; 3] = [
        || Down::Waiting(Waiting::Lease),
        || need(&[], false),
        || {
            Down::Manifest(ManifestPage {
                entries: Vec::new(),
                last: false,
            })
        },
    ];
    for (base_known, message) in [(true, endless[0]), (true, endless[1]), (false, endless[2])] {
        let bench = bench();
        let impatient = Impatient(AtomicBool::new(false));
        let begun = Instant::now();
        let (answer, _) = pushed(&bench, &bench.options(), &impatient, |sender, _| {
            let first = Welcome {
                base_known,
                ..welcome()
            };
            let _first = sender.send(Down::Welcome(first));
            let _told = sender.send(Down::Waiting(Waiting::Writer));
            while sender.send(message()).is_ok() {}
        });
        assert!(matches!(answer, Err(PushError::Cancelled)), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_refusal_cannot_drive_a_terminal_by_a_path() {
    let bench = bench();
    let refusal = Refusal::BadPath {
        path: b"a\x1b]0;owned\x07".to_vec(),
        why: "no".to_owned(),
    };
    let (answer, _) = told(&bench, vec![Down::Refused(refusal)]);
    let said = answer.unwrap_err().to_string();
    assert!(!said.contains(['\x1b', '\x07']), "{said:?}");
}
