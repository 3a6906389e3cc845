//! The exact way: the workspace becomes what the client has, and what goes is in the trash.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use legwork_sync::error::{PushError, StoreError};
use legwork_sync::message::{Delete, Refusal};
use legwork_sync::push;
use legwork_sync::workspace::Workspace;

use crate::support::{Bench, Tree, link_to, paths, push_to, skip_as_root, write};

fn exact(bench: &Bench) -> push::Options {
    push::Options {
        delete: Delete::Exact,
        ..bench.options()
    }
}

#[test]
fn what_the_client_does_not_have_goes_to_the_trash_wherever_it_is() {
    let bench = Bench::new();
    for path in ["a", "d/x", "old/y"] {
        bench.write(path, path);
    }
    bench.write(".gitignore", "/target/\n");
    bench.mirror();
    bench.job_write("d/made", "a job's");
    bench.job_write("target/debug/out", "built");
    bench.job_write("a", "changed");
    bench.job_write("old/left", "a job's");
    link_to(&bench.workspace.tree().join("link"), "/");
    bench.remove("a");
    bench.remove("old");
    let dry = push::Options {
        dry_run: true,
        ..exact(&bench)
    };
    let planned = bench.push_with(&dry).unwrap().summary;
    let pushed = bench.push_with(&exact(&bench)).unwrap();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    let expected = ["a", "d/made", "link", "old/left", "target"];
    for summary in [&planned, &pushed.summary] {
        assert_eq!(paths(&summary.displaced), expected);
        assert_eq!(paths(&summary.deleted), ["old", "old/y"]);
        assert_eq!(summary.kept.total, 0);
    }
    let trashed: Vec<String> = bench.trashed().into_iter().map(|(path, _)| path).collect();
    let inside = ["a", "d/made", "link", "old/left", "target/debug/out"];
    assert_eq!(trashed, inside);
    let again = bench.push_with(&exact(&bench)).unwrap();
    assert_eq!(again.summary.generation, pushed.summary.generation);
}

#[test]
fn strangers_alone_are_reason_enough_and_an_ordinary_push_leaves_them() {
    let bench = Bench::new();
    bench.write("a", "1");
    let first = bench.mirror().summary.generation;
    bench.job_write("made", "a job's");
    assert_eq!(bench.mirror().summary.generation, first);
    let pushed = bench.push_with(&exact(&bench)).unwrap();
    assert_eq!(paths(&pushed.summary.displaced), ["made"]);
    assert_eq!(pushed.summary.generation, first + 1);
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

#[test]
fn many_strangers_or_an_empty_source_are_refused_unless_forced() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.mirror();
    for file in 0..51 {
        bench.job_write(&format!("many/{file}"), "x");
    }
    let Err(PushError::Refused(refused)) = bench.push_with(&exact(&bench)) else {
        panic!("not refused")
    };
    let told = Refusal::MassDisplace {
        would_move: 51,
        limit: 50,
    };
    assert_eq!(refused, told);
    bench.remove("a");
    let Err(PushError::Refused(Refusal::EmptyRoot { tracked: 52 })) =
        bench.push_with(&exact(&bench))
    else {
        panic!("not refused")
    };
    assert_eq!(bench.tree().0.len(), 53);
    let forced = push::Options {
        force_delete: true,
        ..exact(&bench)
    };
    bench.push_with(&forced).unwrap();
    assert_eq!(bench.tree().0.len(), 0);
    assert_eq!(bench.trashed().len(), 51);
}

#[test]
fn nothing_goes_where_the_client_cannot_read() {
    if skip_as_root("unreadable") {
        return;
    }
    let bench = Bench::new();
    for path in ["shut/ours", "open/ours", "gone"] {
        bench.write(path, "1");
    }
    bench.mirror();
    let nothing = push::Options {
        delete: Delete::Nothing,
        ..bench.options()
    };
    bench.write("shut/retained", "1");
    bench.mirror();
    bench.remove("shut/retained");
    bench.push_with(&nothing).unwrap();
    bench.job_write("shut/theirs", "a job's");
    bench.job_write("open/theirs", "a job's");
    bench.remove("gone");
    let shut = bench.source.join("shut");
    let mode =
        |mode| fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0).unwrap();
    for options in [bench.options(), exact(&bench)] {
        let pushed = bench.push_with(&options);
        let pushed = pushed.inspect_err(|_| mode(0o755).unwrap()).unwrap();
        assert_eq!(pushed.unreadable.len(), 1);
        for path in ["shut/ours", "shut/retained", "shut/theirs"] {
            assert!(bench.tree().get(path).is_some(), "{path}");
        }
        assert_eq!(bench.tree().get("gone"), None);
    }
    assert_eq!(bench.tree().get("open/theirs"), None);
    mode(0o755).unwrap();
    bench.push_with(&exact(&bench)).unwrap();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}

/// A tree elsewhere, with the mirror's own files beside it.
fn site(bench: &Bench) -> (Workspace, std::path::PathBuf) {
    let tree = bench.temp.path().join("site");
    fs::create_dir_all(&tree).unwrap();
    let store = bench.temp.path().join(".legwork-site");
    (Workspace::open_at(&store, &tree, "boot").unwrap(), tree)
}

#[test]
fn a_tree_elsewhere_becomes_the_clients_and_holds_nothing_else() {
    let bench = Bench::new();
    let (workspace, tree) = site(&bench);
    write(&tree.join("index.html"), "theirs");
    write(&tree.join("old/page"), "theirs");
    let options = exact(&bench);
    let push = || push_to(&workspace, &bench.source, &bench.cache(), &options).unwrap();
    bench.write("index.html", "ours");
    bench.write("a/b", "1");
    let pushed = push();
    assert_eq!(paths(&pushed.summary.displaced), ["index.html", "old"]);
    assert_eq!(Tree::of(&tree), Tree::of(&bench.source));
    fs::rename(bench.source.join("a"), bench.source.join("moved")).unwrap();
    bench.write("index.html", "edited");
    push();
    assert_eq!(Tree::of(&tree), Tree::of(&bench.source));
    // Opened anew, as after a restart of the server: it still knows what is its own.
    drop(workspace);
    let (workspace, _) = site(&bench);
    bench.remove("moved");
    let pushed = push_to(&workspace, &bench.source, &bench.cache(), &options).unwrap();
    assert_eq!(paths(&pushed.summary.deleted), ["moved", "moved/b"]);
    assert_eq!(Tree::of(&tree), Tree::of(&bench.source));
    assert_eq!(workspace.trash().unwrap()[0].paths.len(), 2);
}

#[test]
fn a_tree_on_another_file_system_is_refused() {
    let bench = Bench::new();
    let elsewhere = Path::new("/dev/shm");
    let Ok(other) = tempfile::tempdir_in(elsewhere) else {
        return;
    };
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if device(other.path()) == device(bench.temp.path()) {
        return;
    }
    let opened = Workspace::open_at(&bench.temp.path().join("store"), other.path(), "boot");
    assert!(matches!(opened, Err(StoreError::Apart { .. })));
}

#[test]
fn explained_is_what_happens() {
    use legwork_sync::explain::{Fate, Reason, State, explain};
    let bench = Bench::new();
    bench.write(".gitignore", "*.log\n/target/\n");
    bench.write("sub/.gitignore", "!keep.log\n");
    for path in [
        "a",
        "x.log",
        "sub/keep.log",
        "target/out",
        ".git/config",
        "new",
    ] {
        bench.write(path, "1");
    }
    let fate = |options: &push::Options, path: &str| {
        let told = explain(&bench.source, options, &bench.cache(), Path::new(path)).unwrap();
        (told.fate, told.state)
    };
    let (plain, new) = (bench.options(), State::New);
    assert_eq!(fate(&plain, "a"), (Fate::Taken, State::Unknown));
    bench.remove("new");
    bench.mirror();
    bench.write("new", "1");
    bench.write("sub/keep.log", "changed");
    assert_eq!(fate(&plain, "a"), (Fate::Taken, State::Same));
    assert_eq!(fate(&plain, "new"), (Fate::Taken, new));
    assert_eq!(fate(&plain, "sub/keep.log"), (Fate::Taken, State::Changed));
    assert_eq!(fate(&plain, "nowhere/at/all"), (Fate::Missing, new));
    let reason = |options: &push::Options, path: &str| match fate(options, path).0 {
        Fate::LeftOut(left_out) | Fate::Chosen(left_out) => {
            let reason = match left_out.reason {
                Reason::Rule { line, file } => format!("{line} of {}", file.display()),
                other => format!("{other:?}"),
            };
            format!("{}: {reason}", left_out.at.display())
        }
        other => format!("{other:?}"),
    };
    assert_eq!(reason(&plain, "x.log"), "x.log: *.log of .gitignore");
    assert_eq!(
        reason(&plain, "target/out"),
        "target: /target/ of .gitignore"
    );
    assert_eq!(reason(&plain, ".git/config"), ".git: Repository");
    let chosen = push::Options {
        with_git: true,
        include: vec!["target/out".to_owned()],
        ..bench.options()
    };
    for path in ["target/out", ".git/config"] {
        assert!(matches!(fate(&chosen, path).0, Fate::Chosen(_)), "{path}");
    }
    assert!(matches!(fate(&chosen, "x.log").0, Fate::LeftOut(_)));
    // What is told is what a push does.
    bench.push_with(&chosen).unwrap();
    let tree: BTreeSet<String> = bench.tree().0.into_keys().collect();
    for path in [
        "a",
        "new",
        "sub/keep.log",
        "target/out",
        ".git/config",
        "x.log",
    ] {
        let taken = matches!(fate(&chosen, path).0, Fate::Taken | Fate::Chosen(_));
        assert_eq!(tree.contains(path), taken, "{path}");
    }
}
