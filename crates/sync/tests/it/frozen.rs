//! A mirror as an earlier version left it, at both its ends, kept in `testdata`: it is known, and nothing is sent again.
//!
//! `testdata/v1` was made once, by [`a_new_version`], and is never made again. A new version of a file of a mirror gets a directory of its
//! own beside it: run that with `LEGWORK_FREEZE=v2`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use legwork_sync::workspace::Workspace;

use crate::support::Bench;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &to);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), to).unwrap();
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_mirror_of_an_earlier_version_is_known() {
    for version in fs::read_dir(testdata()).unwrap() {
        let version = version.unwrap().path();
        for boot in ["boot", "another boot"] {
            is_known(&version, boot);
        }
    }
}

fn is_known(version: &Path, boot: &str) {
    let mut bench = Bench::new();
    copy(&version.join("source"), &bench.source);
    let workspace = bench.temp.path().join("kept");
    for place in ["workspace", "cache", "record"] {
        let (from, to) = (version.join(place), bench.temp.path().join(place));
        match place {
            "workspace" => copy(&from, &workspace),
            _ => drop(fs::copy(&from, &to).unwrap()),
        }
    }
    bench.workspace = Workspace::open(&workspace, boot).unwrap();
    let root = fs::read_to_string(version.join("root")).unwrap();
    let known = bench.workspace.root().unwrap();
    // After another boot the tree is looked at before it is believed.
    assert_eq!(known.is_some(), boot == "boot");
    assert_eq!(bench.workspace.trash().unwrap().len(), 1);

    let again = bench.push().unwrap();
    assert_eq!(
        (again.sent_files, again.summary.root.to_string()),
        (0, root.trim_end().to_owned())
    );
    assert!(known.is_none_or(|known| known == again.summary.root));
    write(&bench.source.join("deep/er/file"), "changed\n");
    assert_eq!(bench.push().unwrap().sent_files, 1);
    let tree = bench.workspace.tree();
    let changed = fs::read_to_string(tree.join("deep/er/file")).unwrap();
    assert_eq!(changed, "changed\n");
    // What was pulled once is known as pulled, so that it may be brought again.
    write(&tree.join("made"), "anew\n");
    let into = bench.temp.path().join("into");
    copy(&version.join("into"), &into);
    let pulled = bench.pull(&["made"], false).unwrap();
    assert_eq!(pulled.written, [PathBuf::from("made")]);
    assert_eq!(fs::read_to_string(into.join("made")).unwrap(), "anew\n");
}

#[test]
#[ignore = "makes a new directory below testdata, which is named by LEGWORK_FREEZE"]
fn a_new_version() {
    #[expect(clippy::disallowed_methods, reason = "it is run by hand")]
    let version = std::env::var("LEGWORK_FREEZE").unwrap();
    let target = testdata().join(&version);
    assert!(version.starts_with('v') && !target.exists(), "{target:?}");
    let bench = Bench::new();
    write(&bench.source.join("deep/er/file"), "content\n");
    write(&bench.source.join("displaced"), "before\n");
    symlink("deep/er/file", bench.source.join("link")).unwrap();
    bench.push().unwrap();
    let tree = bench.workspace.tree();
    write(&tree.join("displaced"), "a job's\n");
    write(&tree.join("made"), "by a job\n");
    write(&bench.source.join("displaced"), "after\n");
    bench.push().unwrap();
    bench.pull(&["made"], false).unwrap();
    let root = bench.workspace.root().unwrap().unwrap();
    copy(&bench.source, &target.join("source"));
    copy(
        &bench.temp.path().join("workspace"),
        &target.join("workspace"),
    );
    copy(&bench.temp.path().join("into"), &target.join("into"));
    for place in ["cache", "record"] {
        fs::copy(bench.temp.path().join(place), target.join(place)).unwrap();
    }
    fs::write(target.join("root"), format!("{root}\n")).unwrap();
}
