//! Clients and servers that are not ours.

use std::fs;
use std::thread;

use bytes::Bytes;
use legwork_sync::digest::Digest;
use legwork_sync::error::{PushError, StoreError};
use legwork_sync::link;
use legwork_sync::message::{
    Data, Delete, Delta, Down, End, Hello, MAX_FRAME, MAX_PAGE, Need, Node, Packing, Piece, Put,
    Refusal, Up, VERSION, Welcome,
};
use legwork_sync::workspace::Workspace;
use legwork_sync::{manifest, push, receive};
use proptest::prelude::*;

use crate::support::{Bench, PATIENCE, Tree, files_now, link_to, write};

pub(crate) fn hello() -> Up {
    Up::Hello(Hello {
        version: VERSION,
        base: Some(manifest::empty_root()),
        dry_run: false,
        delete: Delete::Owned,
        force_delete: true,
        client_time_ns: 0,
        list_all: false,
        touched_only: false,
        named: 0,
        live: false,
        writer: None,
    })
}

pub(crate) fn put(path: &[u8], content: &[u8]) -> Put {
    let (size, hash) = (content.len() as u64, Digest::of(content));
    let node = Node::File {
        exec: false,
        size,
        hash,
    };
    Put {
        path: path.to_vec(),
        node,
        mtime_ns: 0,
        send: true,
    }
}

pub(crate) fn puts(puts: Vec<Put>) -> Up {
    Up::Delta(Delta {
        puts,
        deletes: Vec::new(),
    })
}

pub(crate) fn data(pieces: &[(u32, u64, u32)], bytes: &[u8]) -> Up {
    let piece = |&(file, offset, len): &(u32, u64, u32)| Piece { file, offset, len };
    Up::Data(Data {
        packing: Packing::Plain,
        pieces: pieces.iter().map(piece).collect(),
        bytes: Bytes::copy_from_slice(bytes),
    })
}

pub(crate) fn end() -> Up {
    Up::End(End {
        root: manifest::empty_root(),
        unread: Vec::new(),
    })
}

/// Says all this to a server, then nothing more; returns its last word.
pub(crate) fn last_word(bench: &Bench, messages: Vec<Up>) -> Option<Down> {
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        let options = receive::Options {
            max_entries: 10_000,
            max_bytes: 8 << 20,
            ..receive::Options::default()
        };
        scope.spawn(move || receive::receive(&bench.workspace, &options, server, &files_now));
        let sender = client.sender;
        scope.spawn(move || {
            for message in messages {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut last = None;
        while let Ok(message) = client.receiver.recv_timeout(PATIENCE) {
            last = Some(message);
        }
        last
    })
}

pub(crate) fn refused(messages: Vec<Up>) -> Refusal {
    let bench = Bench::new();
    let mut all = vec![hello()];
    all.extend(messages);
    match last_word(&bench, all) {
        Some(Down::Refused(refusal)) => {
            assert!(bench.tree().0.is_empty());
            refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let long = [b'x'; 256];
    let deep = "d/".repeat(300) + "f";
    let paths: [&[u8]; 10] = [
        b"",
        b".",
        b"..",
        b"a/../b",
        b"/etc/passwd",
        b"a//b",
        b"a\0b",
        b".legwork-tmp.x",
        &long,
        deep.as_bytes(),
    ];
    for path in paths {
        let refusal = refused(vec![puts(vec![put(path, b"")]), end()]);
        assert!(
            matches!(refusal, Refusal::BadPath { .. }),
            "{path:?}: {refusal}"
        );
        let delete = Up::Delta(Delta {
            puts: Vec::new(),
            deletes: vec![path.to_vec()],
        });
        assert!(matches!(
            refused(vec![delete, end()]),
            Refusal::BadPath { .. }
        ));
    }
}

#[test]
fn entries_that_are_not_a_tree_are_refused() {
    let file = |path: &str| put(path.as_bytes(), b"");
    for entries in [
        vec![file("a"), file("a")],
        vec![file("a"), file("a/b")],
        vec![file("missing/b")],
        vec![
            Put {
                node: Node::Dir,
                send: false,
                ..file("a")
            },
            file("a"),
        ],
    ] {
        let refusal = refused(vec![puts(entries.clone()), end()]);
        assert!(
            matches!(refusal, Refusal::BadPath { .. }),
            "{entries:?}: {refusal}"
        );
    }
    assert_eq!(
        refused(vec![puts(vec![file("a")]), end()]),
        Refusal::RootMismatch
    );
    let unknown = Up::Delta(Delta {
        puts: Vec::new(),
        deletes: vec![b"never".to_vec()],
    });
    assert!(matches!(
        refused(vec![unknown, end()]),
        Refusal::BadPath { .. }
    ));
    let target = Node::Symlink {
        target: b"a\0b".to_vec(),
    };
    let link = Put {
        node: target,
        send: false,
        ..file("l")
    };
    assert!(matches!(
        refused(vec![puts(vec![link]), end()]),
        Refusal::BadPath { .. }
    ));
}

/// Two files of two bytes.
pub(crate) fn offered() -> Up {
    puts(vec![put(b"a", b"12"), put(b"b", b"34")])
}

#[test]
fn data_that_fits_nothing_is_refused() {
    for frame in [
        data(&[(2, 0, 2)], b"12"),
        data(&[(u32::MAX, 0, 2)], b"12"),
        data(&[(0, 1, 1)], b"2"),
        data(&[(0, 0, 3)], b"123"),
        data(&[(0, u64::MAX, 2)], b"12"),
        data(&[(0, 0, 2)], b"1"),
        data(&[(0, 0, 2)], b"123"),
        data(&[(0, 0, 0)], b""),
        data(&[(0, 0, 1), (1, 0, 2)], b"134"),
        data(&[(0, 0, 2), (0, 0, 2)], b"1212"),
    ] {
        let refusal = refused(vec![offered(), frame.clone(), end()]);
        assert!(
            matches!(refusal, Refusal::Protocol { .. }),
            "{frame:?}: {refusal}"
        );
    }
    let oversized = data(&[(0, 0, 2)], &vec![0; MAX_FRAME + 1]);
    assert!(matches!(
        refused(vec![offered(), oversized]),
        Refusal::TooMuch { .. }
    ));
}

#[test]
fn more_than_the_server_takes_is_refused() {
    let page = |from: usize, count: usize| {
        puts(
            (from..from + count)
                .map(|file| put(file.to_string().as_bytes(), b""))
                .collect(),
        )
    };
    assert!(matches!(
        refused(vec![page(0, MAX_PAGE + 1)]),
        Refusal::TooMuch { .. }
    ));
    let pages = (0..40).map(|at| page(at * MAX_PAGE, MAX_PAGE)).collect();
    assert!(matches!(refused(pages), Refusal::TooMuch { .. }));
    let content = vec![7; MAX_FRAME];
    let mut flood = vec![puts(
        (0..9)
            .map(|file| put(file.to_string().as_bytes(), &content))
            .collect(),
    )];
    flood.extend((0..9).map(|file| data(&[(file, 0, 1 << 20)], &content)));
    assert!(matches!(refused(flood), Refusal::TooMuch { .. }));
}

#[test]
fn messages_out_of_place_are_refused() {
    let bench = Bench::new();
    assert!(matches!(
        last_word(&bench, vec![end()]),
        Some(Down::Refused(Refusal::Protocol { .. }))
    ));
    assert!(matches!(refused(vec![hello()]), Refusal::Protocol { .. }));
    assert!(matches!(
        refused(vec![Up::Rebase]),
        Refusal::Protocol { .. }
    ));
    let Up::Hello(newest) = hello() else {
        panic!("not a hello")
    };
    let ancient = Up::Hello(Hello {
        version: 0,
        ..newest
    });
    assert!(matches!(
        last_word(&bench, vec![ancient]),
        Some(Down::Refused(Refusal::Version { .. }))
    ));
}

#[test]
fn links_that_a_job_put_in_the_way_are_not_followed() {
    let bench = Bench::new();
    let outside = bench.temp.path().join("outside");
    write(&outside.join("file"), "precious");
    for path in ["d/file", "d/sub/x", "plain"] {
        bench.write(path, "1");
    }
    bench.mirror();
    bench.job_remove("d");
    bench.job_remove("plain");
    link_to(&bench.workspace.tree().join("d"), outside.to_str().unwrap());
    link_to(
        &bench.workspace.tree().join("plain"),
        outside.join("file").to_str().unwrap(),
    );
    bench.write("d/file", "2");
    bench.remove("d/sub");
    bench.write("plain", "2");
    let pushed = bench.mirror();
    assert_eq!(
        crate::support::paths(&pushed.summary.displaced),
        ["d", "plain"]
    );
    assert_eq!(Tree::of(&outside).get("file"), Some("f: precious"));
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn a_link_in_place_of_the_mirrors_own_directory_is_not_followed() {
    for own in ["tree", "staging", "trash"] {
        let bench = Bench::new();
        bench.write("a", "1");
        bench.mirror();
        let outside = bench.temp.path().join("outside");
        write(&outside.join("a"), "precious");
        let dir = bench.temp.path().join("workspace");
        fs::rename(dir.join(own), dir.join("aside")).unwrap();
        link_to(&dir.join(own), "../outside");
        let Err(StoreError::Io { path, .. }) = Workspace::open(&dir, "boot") else {
            panic!("{own} was followed")
        };
        assert_eq!(path, dir.join(own));
        assert_eq!(Tree::of(&outside).get("a"), Some("f: precious"));
    }
}

#[test]
fn a_server_cannot_ask_for_what_was_not_offered() {
    for path in ["../secret", "ignored", "d", "/etc/passwd"] {
        let bench = Bench::new();
        bench.write("a", "1");
        bench.write("d/e", "1");
        bench.write("ignored", "secret");
        bench.write(".legworkignore", "ignored");
        bench.mirror();
        let (client, server) = link::pair(16);
        thread::scope(|scope| {
            scope.spawn(move || {
                let welcome = Welcome {
                    version: VERSION,
                    root: manifest::empty_root(),
                    generation: 1,
                    base_known: true,
                    held: false,
                };
                server.sender.send(Down::Welcome(welcome)).unwrap();
                let need = Need {
                    paths: vec![path.as_bytes().to_vec()],
                    last: true,
                };
                server.sender.send(Down::Need(need)).unwrap();
                for message in server.receiver.iter() {
                    assert!(!matches!(message, Up::Data(_)), "{path} was sent");
                }
            });
            let pushed = push::push(&bench.source, &bench.options(), &bench.cache(), client, &());
            assert!(
                matches!(pushed, Err(PushError::Protocol(_))),
                "{path}: {pushed:?}"
            );
        });
    }
}

fn any_message() -> impl Strategy<Value = Up> {
    let path = prop_oneof!["[a-c]", "[a-c]/[a-c]", "[./a]{0,4}"].prop_map(String::into_bytes);
    let entry = (path.clone(), 0_u64..4, any::<bool>(), any::<bool>()).prop_map(
        |(path, size, dir, send)| {
            let node = if dir {
                Node::Dir
            } else {
                Node::File {
                    exec: send,
                    size,
                    hash: Digest::of(&[0; 3][..1]),
                }
            };
            Put {
                path,
                node,
                mtime_ns: i64::MIN,
                send,
            }
        },
    );
    let piece =
        (0_u32..4, 0_u64..3, 0_u32..4).prop_map(|(file, offset, len)| Piece { file, offset, len });
    prop_oneof![
        (
            prop::collection::vec(entry, 0..4),
            prop::collection::vec(path, 0..2)
        )
            .prop_map(|(puts, deletes)| Up::Delta(Delta { puts, deletes })),
        (prop::collection::vec(piece, 0..3), 0_usize..8).prop_map(|(pieces, len)| Up::Data(Data {
            packing: Packing::Plain,
            pieces,
            bytes: vec![0; len].into()
        })),
        Just(end()),
        Just(Up::Rebase),
        Just(hello()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_messages_are_answered_and_write_nothing_unasked(messages in prop::collection::vec(any_message(), 0..8)) {
        let bench = Bench::new();
        let mut all = vec![hello()];
        all.extend(messages);
        let _answer = last_word(&bench, all);
        prop_assert!(bench.tree().0.is_empty(), "nothing has the empty root but the empty tree");
    }
}
