//! Results come back: what was asked for, and never over local work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use bytes::Bytes;
use legwork_sync::digest::Digest;
use legwork_sync::error::{PullError, ReceiveError};
use legwork_sync::link;
use legwork_sync::message::{
    Ask, Data, MAX_FRAME, Node, Offer, Packing, Piece, PullDown, PullUp, Put, Refusal, Want,
};
use legwork_sync::pull::{self, Pulled};

use crate::support::{Bench, Tree, link_to, write};

fn here(bench: &Bench) -> Tree {
    Tree::of(&bench.temp.path().join("into"))
}

#[test]
fn job_outputs_come_back_with_exec_bits_and_links() {
    let bench = Bench::new();
    bench.write("src", "1");
    bench.mirror();
    bench.job_write("dist/app", &"binary ".repeat(200_000));
    fs::set_permissions(
        bench.workspace.tree().join("dist/app"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    bench.job_write("dist/sub/empty", "");
    link_to(&bench.workspace.tree().join("dist/latest"), "app");
    bench.job_write("other/x.log", "log");
    let pulled = bench.pull(&["dist/", "**/*.log"], false).unwrap();
    assert_eq!(pulled.written.len(), 4);
    let mut expected = bench.tree();
    expected.0.remove("src");
    assert_eq!(here(&bench), expected);
    let again = bench.pull(&["dist/", "**/*.log"], false).unwrap();
    assert_eq!((again.written.len(), again.same), (0, 4));
}

#[test]
fn local_work_is_refused_unless_forced_and_what_was_pulled_is_replaced() {
    let bench = Bench::new();
    let path = |path: &str| bench.temp.path().join("into").join(path);
    for name in ["pulled", "mine", "edited"] {
        bench.job_write(name, "1");
    }
    write(&path("mine"), "local");
    let pulled = bench.pull(&["*"], false).unwrap();
    assert_eq!(pulled.refused, [PathBuf::from("mine")]);
    write(&path("edited"), "local");
    for name in ["pulled", "mine", "edited"] {
        bench.job_write(name, "2");
    }
    let pulled = bench.pull(&["*"], false).unwrap();
    assert_eq!(
        pulled.refused,
        [PathBuf::from("edited"), PathBuf::from("mine")]
    );
    assert_eq!(pulled.written, [PathBuf::from("pulled")]);
    let forced = bench.pull(&["*"], true).unwrap();
    assert_eq!((forced.written.len(), forced.same), (2, 1));
    assert_eq!(here(&bench).get("mine"), Some("f: 2"));
}

#[test]
fn what_is_here_as_it_was_pushed_gives_way_and_an_edit_since_does_not() {
    let bench = Bench::new();
    for name in ["formatted", "edited", "mode", "ignored"] {
        bench.write(name, "1");
    }
    bench.write(".gitignore", "ignored\n");
    bench.mirror();
    for name in ["formatted", "edited", "mode", "ignored"] {
        bench.job_write(name, "2");
    }
    bench.write("edited", "local");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.source.join("mode"), executable).unwrap();
    let all = ["*"];
    let pulled = bench.pull_back(&all).unwrap();
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(pulled.written, paths(&["formatted"]));
    assert_eq!(pulled.refused, paths(&["edited", "ignored", "mode"]));
    assert_eq!(Tree::of(&bench.source).get("edited"), Some("f: local"));
    // Pushed meanwhile, the edit is what a job changes next.
    bench.mirror();
    for name in ["formatted", "edited"] {
        bench.job_write(name, "3");
    }
    let pulled = bench.pull_back(&["formatted", "edited"]).unwrap();
    assert_eq!(pulled.written, paths(&["edited", "formatted"]));
    // Without a usable cache nothing counts as pushed.
    write(&bench.source.join("edited"), "3 ");
    bench.mirror();
    bench.job_write("edited", "4");
    fs::write(bench.cache(), "torn").unwrap();
    let pulled = bench.pull_back(&["edited"]).unwrap();
    assert_eq!(pulled.refused, paths(&["edited"]));
}

#[test]
fn a_job_gets_nothing_into_a_repository_that_was_not_asked_for() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    for path in [".git/hooks/pre-commit", "sub/.hg/hgrc", "out"] {
        bench.job_write(path, "a job's");
    }
    let pulled = bench.pull(&["**"], true).unwrap();
    assert_eq!(pulled.written, [PathBuf::from("a"), PathBuf::from("out")]);
    let pulled = bench.pull(&[".git/hooks/*"], false).unwrap();
    assert_eq!(pulled.written, [PathBuf::from(".git/hooks/pre-commit")]);
}

#[test]
fn links_at_the_destination_lead_nowhere() {
    let bench = Bench::new();
    let outside = bench.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(bench.temp.path().join("into")).unwrap();
    link_to(
        &bench.temp.path().join("into/dist"),
        outside.to_str().unwrap(),
    );
    bench.job_write("dist/app", "binary");
    let pulled = bench.pull(&["dist"], true).unwrap();
    assert_eq!(pulled.failed.len(), 1);
    assert!(Tree::of(&outside).0.is_empty());
}

/// A pull from a server that offers `entries`, and sends `bytes` for file number `file`, packed in some way.
fn from_hostile(
    bench: &Bench,
    entries: Vec<Put>,
    file: u32,
    (len, packing, bytes): (u32, Packing, Bytes),
) -> Result<Pulled, PullError> {
    let into = bench.temp.path().join("into");
    fs::create_dir_all(&into).unwrap();
    let options = pull::Options {
        globs: vec!["dist/**".to_owned()],
        force: true,
        ..pull::Options::default()
    };
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            let asked = server.receiver.recv().unwrap();
            assert!(matches!(asked, PullUp::Ask(_)));
            let offer = Offer {
                entries,
                unreadable: Vec::new(),
                last: true,
            };
            let say = |message| drop(server.sender.send(message));
            say(PullDown::Offer(offer));
            if server.receiver.recv().is_err() {
                return;
            }
            let piece = Piece {
                file,
                offset: 0,
                len,
            };
            say(PullDown::Data(Data {
                packing,
                pieces: vec![piece],
                bytes,
            }));
            say(PullDown::Done);
        });
        pull::pull(
            &into,
            &options,
            &bench.temp.path().join("record"),
            client,
            &(),
        )
    })
}

fn offer(path: &str, content: &str) -> Put {
    let (size, hash) = (content.len() as u64, Digest::of(content.as_bytes()));
    Put {
        path: path.into(),
        node: Node::File {
            exec: false,
            size,
            hash,
        },
        mtime_ns: 0,
        send: false,
    }
}

fn plain(bytes: &'static [u8]) -> (u32, Packing, Bytes) {
    let len = u32::try_from(bytes.len()).unwrap();
    (len, Packing::Plain, bytes.into())
}

#[test]
fn a_frame_of_a_server_is_unpacked_to_what_it_says_and_no_further() {
    let bench = Bench::new();
    let zstd = |content: &[u8]| Bytes::from(zstd::bulk::compress(content, 3).unwrap());
    let bomb = zstd(&vec![0; 64 << 20]);
    let huge = 64 << 20;
    let offered = || vec![offer("dist/x", "four")];
    for (len, bytes) in [
        (4, bomb.clone()),
        (huge, bomb),
        (4, zstd(b"five!")),
        (4, zstd(b"one")),
        (4, Bytes::from_static(b"four")),
        (4, Bytes::new()),
        (4, Bytes::from(vec![0; MAX_FRAME + 1])),
    ] {
        let pulled = from_hostile(&bench, offered(), 0, (len, Packing::Zstd, bytes));
        assert!(
            matches!(pulled, Err(PullError::Protocol(_))),
            "{len}: {pulled:?}"
        );
    }
    let honest = (4, Packing::Zstd, zstd(b"four"));
    let pulled = from_hostile(&bench, offered(), 0, honest).unwrap();
    assert_eq!(pulled.written, [PathBuf::from("dist/x")]);
}

#[test]
fn a_server_cannot_bring_what_was_not_asked_for() {
    let bench = Bench::new();
    let bad = [
        vec![offer("other", "x")],
        vec![offer("dist/../../etc", "x")],
        vec![offer("/dist/x", "x")],
        vec![offer("dist/x", "x"), offer("dist/x", "x")],
        vec![offer("dist/x", "x"), offer("dist/x/y", "x")],
        vec![offer("dist/b", "x"), offer("dist/a", "x")],
        vec![Put {
            node: Node::Dir,
            ..offer("dist/d", "")
        }],
    ];
    for entries in bad {
        let pulled = from_hostile(&bench, entries.clone(), 0, plain(b"x"));
        assert!(
            matches!(pulled, Err(PullError::Protocol(_))),
            "{entries:?}: {pulled:?}"
        );
    }
    for (file, bytes) in [(7, &b"x"[..]), (0, b"too long")] {
        let pulled = from_hostile(&bench, vec![offer("dist/x", "x")], file, plain(bytes));
        assert!(
            matches!(pulled, Err(PullError::Protocol(_))),
            "{file}: {pulled:?}"
        );
    }
    let pulled = from_hostile(&bench, vec![offer("dist/x", "x")], 0, plain(b"y")).unwrap();
    assert_eq!(pulled.gone, [PathBuf::from("dist/x")]);
    let files = here(&bench)
        .0
        .into_iter()
        .filter(|(_, what)| what != "dir")
        .count();
    assert_eq!(files, 0, "no half or false file stays");
}

#[test]
fn a_client_cannot_want_what_was_not_offered() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "2");
    bench.mirror();
    let many: Vec<u32> = (0..3).collect();
    for wanted in [vec![7], vec![1, 0], vec![0, 0], many] {
        let (client, server) = link::pair(16);
        let answer = thread::scope(|scope| {
            let served = scope.spawn(|| pull::serve(&bench.workspace, server));
            let ask = Ask {
                version: legwork_sync::message::VERSION,
                globs: vec!["*".to_owned()],
                compress: legwork_sync::push::Compress::default(),
            };
            client.sender.send(PullUp::Ask(ask)).unwrap();
            // Page after page, of which none says that it is the last one.
            for number in &wanted {
                let files = vec![*number];
                let _sent = client
                    .sender
                    .send(PullUp::Want(Want { files, last: false }));
            }
            let _sent = client.sender.send(PullUp::Want(Want {
                files: Vec::new(),
                last: true,
            }));
            while client.receiver.recv().is_ok() {}
            served.join().unwrap()
        });
        assert!(
            matches!(
                &answer,
                Err(ReceiveError::Refused(Refusal::Protocol { .. }))
            ),
            "{wanted:?}: {answer:?}"
        );
    }
}
