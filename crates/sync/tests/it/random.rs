//! Random trees, random edits and random jobs, end to end.

use std::fs;
use std::path::Path;

use legwork_sync::message::Delete;
use legwork_sync::push;
use proptest::prelude::*;

use crate::support::{Bench, Tree, link_to, write};

/// What somebody does to a tree. Impossible things are skipped.
#[derive(Debug, Clone)]
enum Deed {
    Write(String, String),
    Remove(String),
    Link(String, String),
    Dir(String),
    Exec(String),
}

fn deed() -> impl Strategy<Value = Deed> {
    let path = || "[a-c](/[a-c]){0,2}";
    prop_oneof![
        4 => (path(), "[xyz]{0,2}").prop_map(|(path, content)| Deed::Write(path, content)),
        3 => path().prop_map(Deed::Remove),
        1 => (path(), "[a-c]").prop_map(|(path, target)| Deed::Link(path, target)),
        1 => path().prop_map(Deed::Dir),
        1 => path().prop_map(Deed::Exec),
    ]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), 0..12)
}

/// Links on the way would lead out of the tree: a deed goes only through real directories.
fn reachable(root: &Path, path: &str) -> bool {
    let mut here = root.to_path_buf();
    let names: Vec<&str> = path.split('/').collect();
    names[..names.len() - 1].iter().all(|name| {
        here.push(name);
        fs::symlink_metadata(&here).map_or(true, |metadata| metadata.is_dir())
    })
}

fn act(root: &Path, deed: &Deed) {
    let (Deed::Write(path, _)
    | Deed::Remove(path)
    | Deed::Link(path, _)
    | Deed::Dir(path)
    | Deed::Exec(path)) = deed;
    if !reachable(root, path) {
        return;
    }
    let full = root.join(path);
    let found = fs::symlink_metadata(&full).ok();
    match (deed, found) {
        (Deed::Write(_, content), None) => write(&full, content),
        (Deed::Write(_, content), Some(found)) if found.is_file() => write(&full, content),
        (Deed::Remove(_), Some(_)) => crate::support::remove(&full),
        (Deed::Link(_, target), None) => link_to(&full, target),
        (Deed::Dir(_), None) => fs::create_dir_all(&full).unwrap(),
        (Deed::Exec(_), Some(found)) if found.is_file() => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&full, mode).unwrap();
        }
        _ => {}
    }
}

/// Content without the exec bit, which is not a reason to keep a copy.
fn content(what: Option<&str>) -> Option<&str> {
    what.map(|what| what.trim_start_matches(['f', 'x']))
}

fn check(
    bench: &Bench,
    was: &Tree,
    before: &Tree,
    trash: &[(String, String)],
) -> Result<(), TestCaseError> {
    let (want, after) = (Tree::of(&bench.source), bench.tree());
    for (path, what) in &want.0 {
        prop_assert_eq!(
            after.get(path),
            Some(what.as_str()),
            "{} is not as wanted",
            path
        );
    }
    for (path, what) in before.0.iter().filter(|(_, what)| *what != "dir") {
        let ours = content(was.get(path)) == content(Some(what));
        if content(after.get(path)) == content(Some(what)) {
            let left = want.get(path).is_none() && was.get(path) == Some(what);
            prop_assert!(!left, "{} should be gone", path);
            continue;
        }
        let in_trash = trash.iter().any(|(name, _)| name == path);
        prop_assert!(ours || in_trash, "{} ({}) is lost", path, what);
    }
    for path in after.0.keys() {
        prop_assert!(
            want.get(path).is_some() || before.get(path).is_some(),
            "{} came from nowhere",
            path
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_client_wins_and_nothing_of_a_job_is_lost(
        first in deeds(),
        rounds in prop::collection::vec((deeds(), deeds()), 1..4),
    ) {
        let bench = Bench::new();
        let options = push::Options { force_delete: true, ..bench.options() };
        for deed in &first {
            act(&bench.source, deed);
        }
        bench.push_with(&options).unwrap();
        prop_assert_eq!(bench.tree(), Tree::of(&bench.source));
        let mut was = Tree::of(&bench.source);
        for (edits, job) in &rounds {
            for deed in job {
                act(&bench.workspace.tree(), deed);
            }
            for deed in edits {
                act(&bench.source, deed);
            }
            let before = bench.tree();
            let pushed = bench.push_with(&options).unwrap();
            let displaced: Vec<_> = bench
                .workspace
                .trash()
                .unwrap()
                .into_iter()
                .filter(|dir| dir.name == pushed.summary.trash)
                .flat_map(|dir| dir.paths)
                .map(|path| (path.to_string_lossy().into_owned(), String::new()))
                .collect();
            check(&bench, &was, &before, &displaced)?;
            let again = bench.push_with(&options).unwrap();
            prop_assert_eq!(again.summary.generation, pushed.summary.generation, "nothing is left to do");
            was = Tree::of(&bench.source);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_exact_mirror_is_the_source_whatever_jobs_do_and_what_they_made_is_in_the_trash(
        rounds in prop::collection::vec((deeds(), deeds()), 1..5),
    ) {
        let bench = Bench::new();
        let exact = push::Options { force_delete: true, delete: Delete::Exact, ..bench.options() };
        let mut was = Tree::default();
        for (edits, job) in &rounds {
            for deed in job {
                act(&bench.workspace.tree(), deed);
            }
            for deed in edits {
                act(&bench.source, deed);
            }
            let before = bench.tree();
            let pushed = bench.push_with(&exact).unwrap();
            let after = bench.tree();
            prop_assert_eq!(&after, &Tree::of(&bench.source));
            let trashed: Vec<String> = bench.trashed().into_iter().map(|(path, _)| path).collect();
            for (path, what) in before.0.iter().filter(|(_, what)| *what != "dir") {
                let ours = content(was.get(path)) == content(Some(what));
                let stays = content(after.get(path)) == content(Some(what));
                prop_assert!(ours || stays || trashed.contains(path), "{} ({}) is lost", path, what);
            }
            prop_assert_eq!(pushed.summary.kept.total, 0);
            let again = bench.push_with(&exact).unwrap();
            prop_assert_eq!(again.summary.generation, pushed.summary.generation, "nothing is left to do");
            was = after;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_not_to_be_deleted_is_deleted_once_it_may_be(
        rounds in prop::collection::vec((deeds(), any::<bool>()), 1..5),
    ) {
        let bench = Bench::new();
        let owned = push::Options { force_delete: true, ..bench.options() };
        let nothing = push::Options { delete: Delete::Nothing, ..owned.clone() };
        for (edits, keep) in &rounds {
            for deed in edits {
                act(&bench.source, deed);
            }
            let pushed = bench.push_with(if *keep { &nothing } else { &owned }).unwrap();
            prop_assert_eq!((pushed.summary.displaced.total, pushed.summary.kept.total), (0, 0));
            if !keep {
                prop_assert_eq!(bench.tree(), Tree::of(&bench.source));
            }
        }
        bench.push_with(&owned).unwrap();
        prop_assert_eq!(bench.tree(), Tree::of(&bench.source));
    }
}
