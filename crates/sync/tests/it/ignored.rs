//! What is left out of the mirror.

use legwork_sync::push;

use crate::support::{Bench, link_to, push_to, write};

fn names(bench: &Bench) -> Vec<String> {
    bench
        .tree()
        .0
        .into_iter()
        .filter(|(_, what)| what != "dir")
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn ignore_files_nest_and_the_mirrors_own_wins() {
    let bench = Bench::new();
    bench.write(".gitignore", "*.log\n/build/\n");
    bench.write(".legworkignore", "!keep.log\nsecret*\n");
    bench.write("sub/.gitignore", "!sub.log\nlocal\n");
    for path in [
        "a.log",
        "keep.log",
        "build/x",
        "secret.key",
        "sub/build/y",
        "sub/sub.log",
        "sub/other.log",
        "sub/local",
        "sub/x",
    ] {
        bench.write(path, "x");
    }
    bench.mirror();
    let expected = [
        ".gitignore",
        ".legworkignore",
        "keep.log",
        "sub/.gitignore",
        "sub/build/y",
        "sub/sub.log",
        "sub/x",
    ];
    assert_eq!(names(&bench), expected);
}

#[test]
fn repositories_and_build_caches_are_left_out() {
    let bench = Bench::new();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    for (path, content) in [
        (".git/config", "x"),
        ("sub/.hg/x", "x"),
        ("sub/.svn/x", "x"),
        ("target/CACHEDIR.TAG", tag),
        ("target/debug/app", "x"),
        ("sub/target/CACHEDIR.TAG", "not a tag"),
        ("sub/target/kept", "x"),
        ("cache/CACHEDIR.TAG", tag),
        (".gitmodules", "x"),
        (".legwork-tmp.123", "x"),
    ] {
        bench.write(path, content);
    }
    bench.mirror();
    assert_eq!(
        names(&bench),
        [
            ".gitmodules",
            "cache/CACHEDIR.TAG",
            "sub/target/CACHEDIR.TAG",
            "sub/target/kept"
        ]
    );
}

#[test]
fn the_mirrors_own_file_brings_built_in_excludes_back() {
    let bench = Bench::new();
    bench.write(".legworkignore", "!.git/\n");
    bench.write(".git/HEAD", "x");
    bench.mirror();
    assert_eq!(names(&bench), [".git/HEAD", ".legworkignore"]);
}

#[test]
fn rules_above_count_inside_a_checkout_only() {
    let bench = Bench::new();
    let above = bench.temp.path();
    write(&above.join(".gitignore"), "*.tmp\n/source/top\n");
    for path in ["a.tmp", "top", "kept"] {
        bench.write(path, "x");
    }
    bench.mirror();
    assert_eq!(names(&bench), ["a.tmp", "kept", "top"]);
    std::fs::create_dir(above.join(".git")).unwrap();
    bench.mirror();
    assert_eq!(names(&bench), ["kept"]);
}

#[test]
fn a_checkouts_own_excludes_and_the_users_are_the_weakest() {
    let bench = Bench::new();
    let users = bench.options().git_ignores.unwrap();
    let real = bench.temp.path().join("dotfiles/ignore");
    write(&real, "*.swp\n*.a\n*.b\n*.c\n/top\n");
    std::os::unix::fs::symlink(&real, users).unwrap();
    for path in ["x.swp", "x.a", "x.b", "x.c", "x.info", "top", "sub/top"] {
        bench.write(path, "x");
    }
    bench.mirror();
    let all = ["sub/top", "top", "x.a", "x.b", "x.c", "x.info", "x.swp"];
    assert_eq!(names(&bench), all, "outside of a checkout");
    bench.write(".git/info/exclude", "*.info\n!*.b\n!*.c\n");
    bench.write(".gitignore", "!*.a\n*.c\n");
    bench.mirror();
    assert_eq!(names(&bench), [".gitignore", "sub/top", "x.a", "x.b"]);
    bench.write(".legworkignore", "!*.swp\n");
    bench.mirror();
    assert_eq!(
        names(&bench),
        [
            ".gitignore",
            ".legworkignore",
            "sub/top",
            "x.a",
            "x.b",
            "x.swp"
        ]
    );
}

#[test]
fn a_linked_worktree_has_the_excludes_of_its_repository() {
    let bench = Bench::new();
    let main = bench.temp.path().join("main/.git");
    write(&main.join("info/exclude"), "/source/*.info\n");
    write(&main.join("worktrees/w/commondir"), "../..\n");
    write(
        &bench.temp.path().join(".git"),
        "gitdir: main/.git/worktrees/w\n",
    );
    bench.write("x.info", "x");
    bench.write("kept", "x");
    bench.mirror();
    assert_eq!(names(&bench), ["kept"]);
}

#[test]
fn excluded_directories_are_left_out_wherever_they_lie() {
    let bench = Bench::new();
    bench.write(".gitignore", "!state\n");
    for path in [
        "a",
        "own/state/x",
        "own/state/deep/y",
        "own/stately",
        "state/z",
    ] {
        bench.write(path, "x");
    }
    bench.mirror();
    // Through a link, as a home directory may be reached; outside and missing ones do no harm.
    let link = bench.temp.path().join("link");
    link_to(&link, "source");
    let options = push::Options {
        exclude: vec![
            link.join("own/state"),
            bench.source.join("missing"),
            bench.source.clone(),
            bench.temp.path().to_owned(),
        ],
        ..bench.options()
    };
    for root in [&bench.source, &link] {
        push_to(&bench.workspace, root, &bench.cache(), &options).unwrap();
        assert_eq!(names(&bench), [".gitignore", "a", "own/stately", "state/z"]);
    }
}

#[test]
fn rules_that_are_too_many_for_one_matcher_hold_all_the_same() {
    let bench = Bench::new();
    let costly = |number: usize| format!("{}{number}\n", "*a".repeat(2000));
    let many: String = (0..100).map(costly).collect();
    let mut one = ignore::gitignore::GitignoreBuilder::new("/");
    for line in many.lines() {
        one.add_line(None, line).unwrap();
    }
    assert!(one.build().is_err());
    bench.write(
        ".legworkignore",
        &format!("*.key\n{many}!kept.key\n*.pem\n"),
    );
    for path in ["secret.key", "kept.key", "d/secret.pem", "d/kept"] {
        bench.write(path, "x");
    }
    bench.mirror();
    assert_eq!(names(&bench), [".legworkignore", "d/kept", "kept.key"]);
}
