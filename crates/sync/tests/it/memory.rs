//! Times, what is left out, and what is remembered from one commit to the next.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::support::{Bench, Tree, now, paths, push_to, skip_as_root};

#[test]
fn first_times_are_the_clients_and_later_ones_the_servers() {
    let bench = Bench::new();
    bench.write("old", "1");
    bench.write("future", "1");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let touch = |path: &str, time| {
        let file = fs::File::options()
            .write(true)
            .open(bench.source.join(path))
            .unwrap();
        file.set_modified(time).unwrap();
    };
    let mtime = |path: &str| {
        fs::metadata(bench.workspace.tree().join(path))
            .unwrap()
            .modified()
            .unwrap()
    };
    touch("old", long_ago);
    touch("future", now() + Duration::from_secs(1000));
    bench.mirror();
    assert_eq!((mtime("old"), mtime("future")), (long_ago, now()));
    bench.write("old", "2");
    touch("old", long_ago);
    bench.mirror();
    assert!(
        mtime("old") > long_ago + Duration::from_secs(1_000_000),
        "an old file over a new one is still news"
    );
    assert_eq!(mtime("future"), now());
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_of_it_is_deleted() {
    if skip_as_root("unreadable directories") {
        return;
    }
    let bench = Bench::new();
    for path in ["secret/a", "secret/b", "file", "other"] {
        bench.write(path, "1");
    }
    bench.mirror();
    let mode = |path: &str, mode| {
        fs::set_permissions(bench.source.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    bench.write("file", "2");
    bench.remove("other");
    mode("secret", 0o000);
    mode("file", 0o000);
    let pushed = bench.mirror();
    mode("secret", 0o755);
    let named: Vec<_> = pushed
        .unreadable
        .iter()
        .map(|unreadable| unreadable.path.to_str().unwrap())
        .collect();
    assert_eq!(named, ["file", "secret"]);
    assert_eq!(paths(&pushed.summary.deleted), ["other"]);
    assert_eq!(bench.tree().get("secret/b"), Some("f: 1"));
    assert_eq!(bench.tree().get("file"), Some("f: 1"));
}

#[test]
fn special_files_are_counted_and_left_out() {
    let bench = Bench::new();
    bench.write("a", "1");
    let _socket = std::os::unix::net::UnixListener::bind(bench.source.join("socket")).unwrap();
    assert_eq!(bench.mirror().special, 1);
    assert_eq!(bench.tree().0.len(), 1);
}

#[test]
fn a_lost_cache_costs_an_exchange_and_no_content() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("d/b", "2");
    bench.mirror();
    fs::remove_file(bench.cache()).unwrap();
    bench.write("a", "changed");
    let pushed = bench.mirror();
    assert_eq!((pushed.sent_files, pushed.summary.written.total), (1, 1));
}

#[test]
fn two_clients_take_turns_on_one_workspace() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "1");
    bench.mirror();
    let other = bench.temp.path().join("other");
    crate::support::write(&other.join("a"), "2");
    crate::support::write(&other.join("c/d"), "3");
    push_to(
        &bench.workspace,
        &other,
        &bench.temp.path().join("other cache"),
        &bench.options(),
    )
    .unwrap();
    assert_eq!(bench.tree(), Tree::of(&other));
    // The first client's cached base is not what the server has any more.
    bench.write("b", "4");
    let pushed = bench.mirror();
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    assert_eq!(pushed.summary.displaced.total, 0);
}

#[test]
fn after_an_unclean_boot_content_is_compared_once() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "1");
    let root = bench.mirror().summary.root;
    // Lost at the power cut: same size, and even the same look as far as one can tell.
    bench.job_write("b", "0");
    let dir = bench.temp.path().join("workspace");
    let workspace = legwork_sync::workspace::Workspace::open(&dir, "another boot").unwrap();
    assert_eq!(workspace.root().unwrap(), None);
    push_to(&workspace, &bench.source, &bench.cache(), &bench.options()).unwrap();
    assert_eq!(workspace.root().unwrap(), Some(root));
    assert_eq!(Tree::of(&workspace.tree()), Tree::of(&bench.source));
}

#[test]
fn an_empty_directory_is_a_tree_too() {
    let bench = Bench::new();
    let pushed = bench.mirror();
    assert_eq!((pushed.summary.generation, pushed.summary.entries), (1, 0));
    assert_eq!(bench.mirror().summary.generation, 1);
    bench.job_write("out", "a job's");
    assert_eq!(bench.mirror().summary.generation, 1);
    assert_eq!(bench.tree().get("out"), Some("f: a job's"));
}

#[test]
fn what_a_refused_push_staged_does_not_stay() {
    let bench = Bench::new();
    for file in 0..120 {
        bench.write(&file.to_string(), "x");
    }
    bench.mirror();
    for file in 0..119 {
        bench.remove(&file.to_string());
    }
    bench.write("new", "content");
    bench.push().unwrap_err();
    assert_eq!(bench.staging(), [""; 0]);
}
