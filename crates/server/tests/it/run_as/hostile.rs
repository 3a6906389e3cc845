//! What a job of a user may lay in its mirror, and the server does not fall for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use legwork_client::{Cause, JobSpec, Place, PullSource};
use testkit::{PATIENCE, write_tree};

use super::{World, number, owners};
use crate::metrics;

#[tokio::test(flavor = "multi_thread")]
async fn links_to_what_is_roots_bring_and_change_nothing() {
    let Some(world) = World::new().await else {
        return;
    };
    world.push(&world.alice).await.unwrap();
    let tree = world.workspace().join("tree");
    fs::hard_link(&world.secret, tree.join("hard")).unwrap();
    symlink(&world.secret, tree.join("soft")).unwrap();
    symlink("/", tree.join("out")).unwrap();
    let source = || PullSource::Workspace(world.origin());
    let (pulled, into) = world
        .pull(&world.alice, source(), "{hard,soft,out/**}")
        .await;
    let failed: Vec<&Path> = pulled
        .failed
        .iter()
        .map(|failed| failed.path.as_path())
        .collect();
    assert_eq!(failed, [Path::new("hard")]);
    assert!(!into.join("hard").exists());
    assert!(
        pulled.written.iter().all(|path| path == Path::new("soft")),
        "{pulled:?}"
    );

    // In the place of a file of the mirror: it is displaced, not read and not written.
    fs::remove_file(tree.join("a")).unwrap();
    fs::hard_link(&world.secret, tree.join("a")).unwrap();
    write_tree(&world.project, &[("a", "new")]);
    drop(world.push(&world.alice).await);
    world.assert_secret_is_untouched();

    // A directory of root's in the place of one of the mirror's.
    let roots = world.net.dir.path().join("roots");
    write_tree(&roots, &[("b", "root's b")]);
    fs::remove_dir_all(tree.join("dir")).unwrap();
    symlink(&roots, tree.join("dir")).unwrap();
    write_tree(&world.project, &[("dir/b", "new"), ("dir/c", "new")]);
    drop(world.push(&world.alice).await);
    assert_eq!(fs::read_to_string(roots.join("b")).unwrap(), "root's b");
    assert!(!roots.join("c").exists());
    let at = tree.join("dir");
    assert!(at.symlink_metadata().unwrap().is_symlink() || at.join("b").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirrors_own_files_cannot_be_turned_against_root() {
    let Some(world) = World::new().await else {
        return;
    };
    world.push(&world.alice).await.unwrap();
    let workspace = world.workspace();
    let roots = world.net.dir.path().join("roots");
    fs::create_dir(&roots).unwrap();
    let pipe = rustix::fs::FileType::Fifo;
    for name in ["index", "journal", "writer", "lease"] {
        let path = workspace.join(name);
        let kept = workspace.join("kept");
        let had = fs::rename(&path, &kept).is_ok();
        let rights = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rights, 0).unwrap();
        std::os::unix::fs::chown(&path, Some(number("daemon")), None).unwrap();
        write_tree(&world.project, &[("a", name)]);
        // A refusal or not: nobody waits for somebody to write into the pipe.
        drop(world.push(&world.alice).await);
        fs::remove_file(&path).unwrap();
        symlink(&world.secret, &path).unwrap();
        drop(world.push(&world.alice).await);
        world.assert_secret_is_untouched();
        fs::remove_file(&path).unwrap();
        if had {
            fs::rename(&kept, &path).unwrap();
        }
    }
    world.push(&world.alice).await.unwrap();

    // What is opened next time: the server that is running holds the directories themselves.
    for name in ["staging", "trash"] {
        fs::remove_dir_all(workspace.join(name)).unwrap();
        symlink(&roots, workspace.join(name)).unwrap();
    }
    let world = world.restart("daemon").await;
    write_tree(&world.project, &[("a", "once more")]);
    assert_eq!(world.push(&world.alice).await.unwrap_err().reason, "IO");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_the_users_own_file_starts_nothing() {
    let Some(world) = World::new().await else {
        return;
    };
    let root = world.push(&world.alice).await.unwrap().summary.root.0;
    let lease = world.workspace().join("lease");
    fs::remove_file(&lease).unwrap();
    fs::hard_link(&world.secret, &lease).unwrap();
    let spec = JobSpec {
        place: Place {
            workspace: Some(world.origin()),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/true"])
    };
    for _ in 0..2 {
        // No root is asked for, so that the server does not look at the lease and the shim does.
        let again = JobSpec {
            id: JobSpec::new(["x"]).id,
            ..spec.clone()
        };
        let starting = tokio::time::timeout(PATIENCE, world.alice.start(&again));
        let job = starting.await.unwrap().unwrap();
        let Cause::NotStarted(detail) = &job.finish().unwrap().cause else {
            panic!("{job:?}");
        };
        assert_eq!(detail.step, "lease");
        fs::remove_file(&lease).unwrap();
        symlink(&world.secret, &lease).unwrap();
    }
    fs::remove_file(&lease).unwrap();
    let job = world.run(root, "true").await;
    assert_eq!(job.finish().unwrap().exit_code, 0);
    world.assert_secret_is_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_measured_with_its_users_rights() {
    let Some(world) = World::new().await else {
        return;
    };
    let measured = async |world: &World| {
        let page = metrics::page(world.net.metrics).await;
        metrics::figure(&page, "legwork_mirrors_bytes")
    };
    world.push(&world.alice).await.unwrap();
    assert_eq!(measured(&world).await, 2.0);
    let world = world.restart("daemon").await;
    assert_eq!(measured(&world).await, 2.0);
    // A job makes of it what only root can read.
    fs::remove_file(world.workspace().join("index")).unwrap();
    symlink(&world.secret, world.workspace().join("index")).unwrap();
    let world = world.restart("daemon").await;
    assert_eq!(measured(&world).await, 0.0);
    let mut found = Vec::new();
    owners(&world.workspace(), &mut found);
    found.retain(|(path, _)| !path.ends_with("index"));
    assert!(
        found.iter().all(|(_, uid)| *uid == number("daemon")),
        "{found:?}"
    );
    world.assert_secret_is_untouched();
}
