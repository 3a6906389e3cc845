//! Sites: who may, where not, and which directory it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use legwork_identity::{Principal, PrincipalId, Role, Via};

use super::{Entry, SiteRule, Sites};

fn rule(path: &Path, store: Option<&Path>) -> SiteRule {
    SiteRule {
        path: path.to_owned(),
        store: store.map(Path::to_owned),
        writers: BTreeSet::from(["anna".to_owned()]),
    }
}

fn sites(rules: &[(&str, SiteRule)], state: &Path) -> Result<Sites, String> {
    let rules: BTreeMap<_, _> = rules
        .iter()
        .map(|(name, rule)| ((*name).to_owned(), rule.clone()))
        .collect();
    Sites::new(rules, state).map_err(|problem| {
        assert_eq!(problem.reason, "BAD_SITE", "{problem}");
        problem.message
    })
}

fn identity(name: &str) -> Principal {
    Principal {
        id: PrincipalId::Identity(uuid::Uuid::nil()),
        name: name.to_owned(),
        roles: Role::Admin.into(),
        via: Via::Certificate,
    }
}

#[test]
fn settings_that_make_no_sense_are_told_with_their_key() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let state = at("state");
    fs::create_dir_all(&state).unwrap();
    std::os::unix::fs::symlink("/etc", at("link")).unwrap();
    for (path, store, key, why) in [
        ("relative".into(), None, "path", "absolute"),
        ("/".into(), None, "path", "root of the file system"),
        (at("link"), None, "path", "directory of the system"),
        (state.clone(), None, "path", "state directory"),
        (at("a"), Some(at("a/store")), "store", "in each other"),
        (at("a"), Some(state.join("x")), "store", "state directory"),
    ] {
        let told = sites(&[("site", rule(&path, store.as_deref()))], &state).unwrap_err();
        assert!(told.contains(&format!("workspace.site.{key} = ")), "{told}");
        assert!(told.contains(why), "{told}");
    }
    let nested = [("a", rule(&at("a"), None)), ("b", rule(&at("a/b"), None))];
    assert!(
        sites(&nested, &state)
            .unwrap_err()
            .contains("in each other")
    );
    let apart = [("a", rule(&at("a"), None)), ("b", rule(&at("b"), None))];
    let apart = sites(&apart, &state).unwrap();
    assert_eq!(apart.named("a").unwrap().store, at(".legwork-a"));
    assert_ne!(apart.named("a").unwrap().id, apart.named("b").unwrap().id);
}

#[test]
fn its_writers_and_the_host_may_write_and_nobody_else() {
    let temp = tempfile::tempdir().unwrap();
    let found = sites(
        &[("site", rule(&temp.path().join("a"), None))],
        Path::new("/state"),
    )
    .unwrap();
    let site = found.named("site").unwrap();
    assert!(site.lets(&identity("anna")));
    assert!(!site.lets(&identity("bob")), "an admin is not a writer");
    assert!(site.lets(&Principal::local(0, "root")));
    assert_eq!(found.for_whom(&identity("bob")).count(), 0);
}

#[test]
fn it_stays_the_directory_that_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let state = at("state");
    fs::create_dir(&state).unwrap();
    let found = sites(&[("site", rule(&at("site"), None))], &state).unwrap();
    let site = found.named("site").unwrap();
    let plain = Entry::Commit { adopt: false };
    let reason = |entry| {
        let entered = site.enter(entry).map_err(|problem| problem.reason)?;
        if let (Some(adoption), Entry::Commit { .. }) = (entered, entry) {
            site.adopt(&adoption).unwrap();
        }
        Ok(())
    };
    assert_eq!(reason(plain), Err("SITE_MISSING"));
    fs::create_dir(at("site")).unwrap();
    fs::write(at("site/theirs"), "").unwrap();
    assert_eq!(reason(plain), Err("SITE_NOT_EMPTY"));
    assert_eq!(reason(Entry::Plan { adopt: true }), Ok(()));
    assert_eq!(
        reason(Entry::Use),
        Err("WORKSPACE_NOT_FOUND"),
        "a plan is no commit"
    );
    assert_eq!(reason(Entry::Commit { adopt: true }), Ok(()));
    assert_eq!(reason(plain), Err("SITE_REPLACED"), "no store was made");
    fs::create_dir(at(".legwork-site")).unwrap();
    assert_eq!((reason(plain), reason(Entry::Use)), (Ok(()), Ok(())));
    fs::rename(at("site"), at("aside")).unwrap();
    assert_eq!(reason(Entry::Use), Err("SITE_MISSING"));
    fs::create_dir(at("site")).unwrap();
    for entry in [plain, Entry::Use, Entry::Plan { adopt: false }] {
        assert_eq!(reason(entry), Err("SITE_REPLACED"));
    }
    assert_eq!(reason(Entry::Commit { adopt: true }), Ok(()));
    assert_eq!(reason(plain), Ok(()));
}
