//! Servers that lie to a client that pulls: they change nothing but what was asked for, and it is told what did not come.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Sender;
use legwork_sync::digest::Digest;
use legwork_sync::error::PullError;
use legwork_sync::link;
use legwork_sync::message::{Data, Node, Offer, Packing, Piece, PullDown, PullUp, Put};
use legwork_sync::observer::Observer;
use legwork_sync::pull::{self, Pulled};

use crate::support::{Bench, Tree, link_to};

fn file(path: &str, content: &[u8]) -> Put {
    let (size, hash) = (content.len() as u64, Digest::of(content));
    let exec = false;
    put(path, Node::File { exec, size, hash })
}

fn put(path: &str, node: Node) -> Put {
    Put {
        path: path.into(),
        node,
        mtime_ns: 0,
        send: false,
    }
}

fn offer(entries: Vec<Put>) -> PullDown {
    PullDown::Offer(Offer {
        entries,
        unreadable: Vec::new(),
        last: true,
    })
}

fn data(pieces: &[(u32, u64, u32)], bytes: &'static [u8]) -> PullDown {
    let piece = |&(file, offset, len): &(u32, u64, u32)| Piece { file, offset, len };
    PullDown::Data(Data {
        pieces: pieces.iter().map(piece).collect(),
        packing: Packing::Plain,
        bytes: Bytes::from_static(bytes),
    })
}

/// Pulls `dist/**` from a server that says what `serve` says after the question and, once it has offered, after the answer.
fn pulled_from(
    bench: &Bench,
    observer: &dyn Observer,
    serve: impl FnOnce(&Sender<PullDown>) + Send,
) -> Result<Pulled, PullError> {
    let into = bench.temp.path().join("into");
    fs::create_dir_all(&into).unwrap();
    let options = pull::Options {
        globs: vec!["dist/**".to_owned()],
        force: true,
        pushed: None,
        compress: legwork_sync::push::Compress::default(),
    };
    let record = bench.temp.path().join("record");
    let (client, server) = link::pair(64);
    thread::scope(|scope| {
        scope.spawn(move || {
            let asked = server.receiver.recv().unwrap();
            assert!(matches!(asked, PullUp::Ask(_)));
            serve(&server.sender);
            drop(server.sender);
            while server.receiver.recv().is_ok() {}
        });
        pull::pull(&into, &options, &record, client, observer)
    })
}

fn said(bench: &Bench, messages: Vec<PullDown>) -> Result<Pulled, PullError> {
    pulled_from(bench, &(), |sender| {
        for message in messages {
            if sender.send(message).is_err() {
                return;
            }
        }
    })
}

/// What is at the destination but for directories.
fn here(bench: &Bench) -> Vec<(String, String)> {
    let tree = Tree::of(&bench.temp.path().join("into"));
    tree.0
        .into_iter()
        .filter(|(_, what)| what != "dir")
        .collect()
}

fn refused(messages: Vec<PullDown>) -> String {
    let bench = Bench::new();
    let outside = Tree::of(bench.temp.path());
    let what = match said(&bench, messages) {
        Err(PullError::Protocol(what)) => what,
        other => panic!("{other:?}"),
    };
    let files = |(_, what): &(String, String)| !what.starts_with("-> ");
    assert_eq!(here(&bench).into_iter().filter(files).count(), 0, "{what}");
    let now = Tree::of(bench.temp.path()).0.into_iter();
    let own = |path: &str| path.starts_with("into") || path == "record";
    let now: Vec<_> = now.filter(|(path, _)| !own(path)).collect();
    assert_eq!(now, outside.0.into_iter().collect::<Vec<_>>(), "{what}");
    what
}

#[test]
fn frames_that_fit_nothing_are_refused_and_leave_nothing() {
    let two = || offer(vec![file("dist/a", b"12"), file("dist/b", b"34")]);
    let link = Node::Symlink {
        target: b"a".to_vec(),
    };
    let with_link = || offer(vec![file("dist/a", b"12"), put("dist/l", link.clone())]);
    for frames in [
        vec![two(), data(&[(0, 1, 1)], b"2")],
        vec![two(), data(&[(0, u64::MAX, 2)], b"12")],
        vec![two(), data(&[(0, 0, 2)], b"1")],
        vec![two(), data(&[(0, 0, 1)], b"12")],
        vec![two(), data(&[(u32::MAX, 0, 2)], b"12")],
        vec![with_link(), data(&[(1, 0, 1)], b"x")],
        vec![two(), two()],
        vec![data(&[(0, 0, 2)], b"12")],
        vec![PullDown::Done],
    ] {
        refused(frames);
    }
}

#[test]
fn what_does_not_come_is_not_taken_for_done() {
    let offered = || offer(vec![file("dist/a", b"12"), file("dist/large", &[7; 9])]);
    let early = "it says that it has sent what it has not";
    assert_eq!(refused(vec![offered(), PullDown::Done]), early);
    let half = data(&[(1, 0, 4)], &[7; 4]);
    assert_eq!(refused(vec![offered(), half, PullDown::Done]), early);
    // Nor is what it says is gone told twice, or if it is there.
    let gone = |files| PullDown::Gone { files };
    let bench = Bench::new();
    let both = [
        offered(),
        data(&[(0, 0, 2)], b"12"),
        gone(vec![0, 1, 1]),
        gone(vec![1, 0]),
        PullDown::Done,
    ];
    let pulled = said(&bench, both.to_vec()).unwrap();
    assert_eq!(pulled.gone, [PathBuf::from("dist/large")]);
    assert_eq!(pulled.written, [PathBuf::from("dist/a")]);
    assert_eq!(here(&bench).len(), 1);
    refused(vec![offered(), gone(vec![7])]);
}

#[test]
fn a_size_that_nobody_has_reserves_nothing() {
    let bench = Bench::new();
    let node = Node::File {
        exec: false,
        size: u64::MAX,
        hash: Digest::of(b"x"),
    };
    let huge = vec![
        offer(vec![put("dist/huge", node)]),
        data(&[(0, 0, 4)], b"some"),
    ];
    let broken = said(&bench, huge);
    assert!(matches!(broken, Err(PullError::Closed(_))), "{broken:?}");
    assert_eq!(here(&bench), []);
}

/// Neither by a link that is there, nor by one that it offers first.
#[test]
fn links_lead_nowhere_and_are_no_directories() {
    let bench = Bench::new();
    let outside = bench.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "precious").unwrap();
    let to_outside = || Node::Symlink {
        target: outside.to_str().unwrap().into(),
    };
    let through = vec![put("dist/l", to_outside()), file("dist/l/f", b"x")];
    let through = said(&bench, vec![offer(through)]);
    assert!(
        matches!(through, Err(PullError::Protocol(_))),
        "{through:?}"
    );
    let into = bench.temp.path().join("into");
    fs::create_dir_all(into.join("dist")).unwrap();
    link_to(&into.join("dist/way"), outside.to_str().unwrap());
    link_to(&into.join("dist/g"), outside.join("f").to_str().unwrap());
    let entries = vec![file("dist/g", b"12"), file("dist/way/f", b"12")];
    let all = vec![offer(entries), data(&[(0, 0, 2)], b"12"), PullDown::Done];
    let pulled = said(&bench, all).unwrap();
    // The link gives way by force; what is behind one does not.
    assert_eq!(pulled.written, [PathBuf::from("dist/g")]);
    assert_eq!(pulled.failed.len(), 1);
    assert_eq!(Tree::of(&outside).0.len(), 1);
    assert_eq!(Tree::of(&outside).get("f"), Some("f: precious"));
    // Targets that no link has.
    let long = vec![b'x'; 70_000];
    for target in [Vec::new(), b"a\0b".to_vec(), long] {
        let links = vec![put("dist/new", Node::Symlink { target })];
        let pulled = said(&bench, vec![offer(links), PullDown::Done]).unwrap();
        assert_eq!((pulled.written.len(), pulled.failed.len()), (0, 1));
    }
}

struct Leaves(AtomicBool);

impl Observer for Leaves {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn whoever_is_offered_without_an_end_can_leave() {
    let endless: [fn() -> PullDown; 2] = [
        || {
            PullDown::Offer(Offer {
                entries: Vec::new(),
                unreadable: Vec::new(),
                last: false,
            })
        },
        || data(&[], b""),
    ];
    for (at, message) in endless.into_iter().enumerate() {
        let (bench, leaves) = (Bench::new(), Leaves(AtomicBool::new(false)));
        let begun = Instant::now();
        let pulled = pulled_from(&bench, &leaves, |sender| {
            if at == 1 {
                sender.send(offer(vec![file("dist/a", b"12")])).unwrap();
            }
            for _ in 0..1000 {
                let _told = sender.send(message());
            }
            leaves.0.store(true, Ordering::Relaxed);
            while sender.send(message()).is_ok() {}
        });
        assert!(matches!(pulled, Err(PullError::Cancelled)), "{pulled:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(here(&bench), []);
    }
}
