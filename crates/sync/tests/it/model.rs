//! The decision table against a model: plans carried out on trees in memory.

use std::collections::{BTreeMap, BTreeSet};

use legwork_sync::digest::Digest;
use legwork_sync::message::{Delete, Node};
use legwork_sync::path::TreePath;
use legwork_sync::reconcile::{Change, Disk, Plan, Policy, Step, Stranger, reconcile};
use legwork_sync::unread::Unread;
use proptest::prelude::*;

type Model = BTreeMap<TreePath, Node>;

fn node(kind: u8) -> Node {
    let file = |exec, content: &[u8]| Node::File {
        exec,
        size: content.len() as u64,
        hash: Digest::of(content),
    };
    match kind {
        0 => Node::Dir,
        1 => file(false, b"1"),
        2 => file(true, b"1"),
        3 => file(false, b"22"),
        4 => Node::Symlink {
            target: b"1".to_vec(),
        },
        _ => file(false, b"333"),
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn insert(model: &mut Model, text: &str, kind: u8) {
    let mut parent = String::new();
    for name in text.split('/') {
        if !parent.is_empty() && model.get(&path(&parent)) != Some(&Node::Dir) {
            return;
        }
        parent = if parent.is_empty() {
            name.to_owned()
        } else {
            format!("{parent}/{name}")
        };
    }
    remove(model, &path(text));
    model.insert(path(text), node(kind));
}

fn remove(model: &mut Model, path: &TreePath) {
    model.retain(|other, _| other != path && !other.is_below(path.as_bytes()));
}

fn model() -> impl Strategy<Value = Model> {
    let entry = (
        "[a-c](/[a-c]){0,2}",
        prop_oneof![3 => Just(0_u8), 4 => 1_u8..5],
    );
    prop::collection::vec(entry, 0..16).prop_map(|mut entries| {
        entries.sort_by_key(|(text, _)| text.len());
        let mut model = Model::new();
        for (text, kind) in entries {
            insert(&mut model, &text, kind);
        }
        model
    })
}

/// What a job does: writes (kind 5 is content that the mirror never has), or removes.
fn job() -> impl Strategy<Value = Vec<(String, Option<u8>)>> {
    prop::collection::vec(
        ("[a-d](/[a-d]){0,2}", prop::option::weighted(0.7, 0_u8..6)),
        0..8,
    )
}

fn disk_after(was: &Model, job: &[(String, Option<u8>)]) -> Model {
    let mut disk = was.clone();
    for (text, kind) in job {
        match kind {
            Some(0) if disk.contains_key(&path(text)) => {}
            Some(kind) => insert(&mut disk, text, *kind),
            None => remove(&mut disk, &path(text)),
        }
    }
    disk
}

fn changes<'a>(was: &'a Model, want: &'a Model, disk: &Model) -> Vec<Change<'a>> {
    let paths: BTreeSet<&TreePath> = was.keys().chain(want.keys()).collect();
    let all = paths.into_iter().map(|path| Change {
        path,
        was: was.get(path),
        want: want.get(path),
        disk: disk.get(path).map(|node| Disk {
            node: Some(node.clone()),
            look: None,
        }),
    });
    all.filter(|change| {
        let disk = change.disk.as_ref().and_then(|disk| disk.node.as_ref());
        change.was != change.want || disk != change.was
    })
    .collect()
}

fn strangers(was: &Model, want: &Model, disk: &Model, exact: bool) -> Vec<Stranger> {
    let goes = |parent: &[u8]| {
        let is_dir = |model: &Model| model.get(parent) == Some(&Node::Dir);
        let stays = parent.is_empty() || is_dir(want) && is_dir(disk);
        let goes = !parent.is_empty() && is_dir(was) && is_dir(disk) && !is_dir(want);
        goes || exact && stays
    };
    let strange = disk.keys().filter(|path| {
        !was.contains_key(*path) && !want.contains_key(*path) && goes(path.split().0)
    });
    strange
        .map(|path| Stranger {
            path: path.clone(),
            ignored: path.name() == b"d",
            files: 1,
        })
        .collect()
}

/// Carries out a plan; returns what is in the trash. Panics when a step is impossible.
fn carry_out(plan: &Plan, want: &Model, disk: &mut Model) -> Model {
    let mut trash = Model::new();
    let below =
        |model: &Model, path: &TreePath| model.keys().any(|other| other.is_below(path.as_bytes()));
    for step in &plan.steps {
        match step {
            Step::Remove(path, _) => {
                assert_ne!(disk.remove(path), Some(Node::Dir), "{path:?}");
            }
            Step::Displace(path) => {
                let moved = |other: &TreePath| other == path || other.is_below(path.as_bytes());
                trash.extend(
                    disk.iter()
                        .filter(|(other, _)| moved(other))
                        .map(|(p, n)| (p.clone(), n.clone())),
                );
                assert!(disk.contains_key(path), "{path:?}");
                remove(disk, path);
            }
            Step::RemoveDir(path) => {
                assert!(!below(disk, path), "{path:?} is not empty");
                assert_eq!(disk.remove(path), Some(Node::Dir));
            }
            Step::SetMode(path, exec) => {
                let Some(Node::File { exec: bit, .. }) = disk.get_mut(path) else {
                    panic!("{path:?}")
                };
                *bit = *exec;
            }
            Step::Install(path) => {
                assert!(
                    !disk.contains_key(path) && !below(disk, path),
                    "{path:?} is in the way"
                );
                let (parent, _) = path.split();
                assert!(
                    parent.is_empty() || disk.get(parent) == Some(&Node::Dir),
                    "{path:?} has no parent"
                );
                disk.insert(path.clone(), want[path].clone());
                let inside = want
                    .iter()
                    .filter(|(other, _)| other.is_below(path.as_bytes()));
                disk.extend(inside.map(|(path, node)| (path.clone(), node.clone())));
            }
            Step::InstallOver(path, _) => {
                let old = disk.insert(path.clone(), want[path].clone());
                assert!(old.is_some_and(|old| old != Node::Dir), "{path:?}");
            }
        }
    }
    trash
}

fn same_content(a: &Node, b: &Node) -> bool {
    let bare = |node: &Node| match node {
        Node::File { size, hash, .. } => Node::File {
            exec: false,
            size: *size,
            hash: *hash,
        },
        other => other.clone(),
    };
    bare(a) == bare(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_plan_puts_the_wanted_tree_in_place_and_loses_nothing(
        was in model(), want in model(), job in job(), keep in any::<bool>(),
    ) {
        let delete = if keep { Delete::Nothing } else { Delete::Owned };
        let disk = disk_after(&was, &job);
        let changes = changes(&was, &want, &disk);
        let strangers = strangers(&was, &want, &disk, false);
        let policy = Policy { delete, unread: Unread::nothing() };
        let plan = reconcile(&changes, &strangers, &policy);
        let mut after = disk.clone();
        let trash = carry_out(&plan, &want, &mut after);
        for (path, node) in &want {
            prop_assert_eq!(after.get(path), Some(node), "{:?} is not as wanted", path);
        }
        for (path, node) in disk.iter().filter(|(_, node)| **node != Node::Dir) {
            let ours = was.get(path) == Some(node);
            let kept = [after.get(path), trash.get(path)].into_iter().flatten().any(|now| same_content(now, node));
            prop_assert!(ours || kept, "{:?} is lost", path);
            if ours && !want.contains_key(path) && !keep {
                prop_assert!(!after.contains_key(path), "{:?} should be gone", path);
            }
        }
        for (path, node) in &after {
            let foreign = !was.contains_key(path) && !want.contains_key(path);
            prop_assert!(!foreign || disk.get(path) == Some(node), "{:?} came from nowhere", path);
        }
        let retained: BTreeSet<&TreePath> = plan.retained.iter().map(|&at| changes[at].path).collect();
        let left = was.iter().filter(|(path, node)| {
            keep && !want.contains_key(*path) && after.get(*path) == Some(*node)
        });
        prop_assert_eq!(retained, left.map(|(path, _)| path).collect(), "what stays the mirror's");
        if was == want && disk == was {
            prop_assert!(plan.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn an_exact_plan_leaves_nothing_but_the_wanted_tree(
        was in model(), want in model(), job in job(),
    ) {
        let disk = disk_after(&was, &job);
        let changes = changes(&was, &want, &disk);
        let strangers = strangers(&was, &want, &disk, true);
        let policy = Policy { delete: Delete::Exact, unread: Unread::nothing() };
        let plan = reconcile(&changes, &strangers, &policy);
        let mut after = disk.clone();
        let trash = carry_out(&plan, &want, &mut after);
        prop_assert_eq!(&after, &want);
        for (path, node) in disk.iter().filter(|(_, node)| **node != Node::Dir) {
            let ours = was.get(path) == Some(node);
            let kept = [after.get(path), trash.get(path)].into_iter().flatten().any(|now| same_content(now, node));
            prop_assert!(ours || kept, "{:?} is lost", path);
        }
        prop_assert!(plan.kept.is_empty() && plan.retained.is_empty());
        if disk == want {
            prop_assert!(plan.is_empty());
        }
    }

    #[test]
    fn nothing_goes_at_or_below_what_could_not_be_read(
        was in model(), mut want in model(), job in job(), unread in "[a-c](/[a-c]){0,1}", exact in any::<bool>(),
    ) {
        // What a client that cannot read a directory has there: nothing that it knows of.
        let unread = path(&unread);
        let mut above = unread.split().0;
        while !above.is_empty() {
            let parent = TreePath::new(above).unwrap();
            remove_unless_dir(&mut want, &parent);
            above = &above[..above.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        }
        remove(&mut want, &unread);
        let disk = disk_after(&was, &job);
        let changes = changes(&was, &want, &disk);
        let strangers = strangers(&was, &want, &disk, exact);
        let delete = if exact { Delete::Exact } else { Delete::Owned };
        let policy = Policy { delete, unread: Unread::of([unread.as_bytes()]) };
        let plan = reconcile(&changes, &strangers, &policy);
        let mut after = disk.clone();
        carry_out(&plan, &want, &mut after);
        for (path, node) in &disk {
            if path == &unread || path.is_below(unread.as_bytes()) {
                prop_assert_eq!(after.get(path), Some(node), "{:?} was touched", path);
            } else if !want.contains_key(path) && exact && !unread.is_below(path.as_bytes()) {
                prop_assert!(!after.contains_key(path), "{:?} should be gone", path);
            }
        }
        for (path, node) in &want {
            prop_assert_eq!(after.get(path), Some(node), "{:?} is not as wanted", path);
        }
    }
}

/// What is above something that is there, though unreadable, is a directory.
fn remove_unless_dir(model: &mut Model, path: &TreePath) {
    if model.get(path) != Some(&Node::Dir) {
        remove(model, path);
        model.insert(path.clone(), Node::Dir);
    }
}
