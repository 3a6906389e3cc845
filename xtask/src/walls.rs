//! The walls between the crates, held by a test over `cargo metadata`.
//!
//! [`table::ROOMS`] says which workspace crates a crate may import and which packages belong to few
//! crates only. Dev-dependencies are free: a test may look behind any wall.

mod table;

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

use crate::{Failure, Outcome};
use table::{BUILD_ONLY, RESTRICTED, ROOMS, Room, WHOLE_BUDGET};

/// Checks every wall, and that ARCHITECTURE.md names exactly the crates there are.
pub(crate) fn check(root: &Path) -> Outcome {
    let metadata = read(root)?;
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        match ROOMS.iter().find(|room| room.name == package.name.as_str()) {
            Some(room) => found.extend(offences(room, package, &metadata)),
            None => found.push(format!("{} is in no row of the walls' table", package.name)),
        }
    }
    found.extend(architecture(root, &metadata)?);
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::Rules {
        rule: "walls",
        found,
    })
}

fn read(root: &Path) -> Result<Metadata, Failure> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|error| Failure::Read {
            place: "cargo metadata".to_owned(),
            error: error.to_string(),
        })
}

/// What a package imports that its row does not allow.
fn offences(room: &Room, package: &Package, metadata: &Metadata) -> Vec<String> {
    let members: BTreeSet<_> = metadata
        .workspace_packages()
        .iter()
        .map(|member| member.name.to_string())
        .collect();
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let verdict = match dependency.kind {
            DependencyKind::Normal if members.contains(name) => workspace_edge(room, dependency),
            DependencyKind::Normal => external(room.name, dependency),
            DependencyKind::Build => build(room.name, name),
            _ => None,
        };
        found.extend(verdict.map(|why| format!("{} imports {name}: {why}", room.name)));
    }
    found
}

fn workspace_edge(room: &Room, dependency: &Dependency) -> Option<String> {
    if !room.imports.contains(&dependency.name.as_str()) {
        return Some(format!("it may import only {:?}", room.imports));
    }
    let takes = |feature: &str| dependency.features.iter().any(|have| have == feature);
    (dependency.name == "legwork-proto" && takes("server") && room.name != "legwork-server")
        .then(|| "the server half of the protocol belongs to legwork-server".to_owned())
}

fn external(room: &str, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let budget = WHOLE_BUDGET.iter().find(|(who, _)| *who == room);
    if budget.is_some_and(|(_, packages)| !packages.contains(&name)) {
        return Some("its whole dependency budget is listed in the table".to_owned());
    }
    if let Some((_, owners, why)) = RESTRICTED.iter().find(|(what, ..)| *what == name)
        && !owners.contains(&room)
    {
        return Some((*why).to_owned());
    }
    let serves = ["server", "router", "transport"];
    let tonic_server = name == "tonic"
        && room != "legwork-server"
        && dependency
            .features
            .iter()
            .any(|have| serves.contains(&have.as_str()));
    tonic_server.then(|| "tonic's server half belongs to legwork-server".to_owned())
}

fn build(room: &str, name: &str) -> Option<String> {
    let (_, owner) = BUILD_ONLY.iter().find(|(what, _)| *what == name)?;
    (*owner != room).then(|| format!("code generation belongs to {owner}"))
}

/// Differences between the crates' directories and those that headings of ARCHITECTURE.md name.
fn architecture(root: &Path, metadata: &Metadata) -> Result<Vec<String>, Failure> {
    let path = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::Read {
        place: path.display().to_string(),
        error: error.to_string(),
    })?;
    let named = headings(&text);
    let there: BTreeSet<_> = metadata
        .workspace_packages()
        .iter()
        .filter_map(|package| package.manifest_path.parent())
        .filter_map(|dir| dir.strip_prefix(&metadata.workspace_root).ok())
        .map(ToString::to_string)
        .collect();
    let missing = there.difference(&named);
    let gone = named.difference(&there);
    Ok(missing
        .map(|dir| format!("ARCHITECTURE.md has no heading for {dir}"))
        .chain(gone.map(|dir| format!("ARCHITECTURE.md describes {dir}, which is not a crate")))
        .collect())
}

/// The directories in backquotes that begin third-level headings: ``### `crates/jobs` …``.
fn headings(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(dir, _)| dir.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{check, external, headings, table};

    #[test]
    fn the_walls_stand() {
        if let Err(failure) = check(&crate::root()) {
            panic!("{failure}");
        }
    }

    #[test]
    fn every_import_in_the_table_is_a_room_of_the_table() {
        for room in table::ROOMS {
            for import in room.imports {
                assert!(table::ROOMS.iter().any(|other| other.name == *import));
            }
        }
    }

    #[test]
    fn a_breach_is_seen() {
        let raw = |name: &str, features: &str| {
            let text = format!(
                r#"{{"name":"{name}","req":"1","kind":null,"optional":false,
                "uses_default_features":false,"features":{features},"target":null,"rename":null,
                "registry":null,"source":null}}"#
            );
            serde_json::from_str::<cargo_metadata::Dependency>(&text).unwrap()
        };
        assert!(external("legwork-jobs", &raw("clap", "[]")).is_some());
        assert!(external("legwork", &raw("clap", "[]")).is_none());
        assert!(external("legwork-client", &raw("tonic", r#"["router"]"#)).is_some());
        assert!(external("legwork-server", &raw("tonic", r#"["router"]"#)).is_none());
        assert!(external("legwork-shim", &raw("tokio", "[]")).is_some());
    }

    #[test]
    fn a_heading_names_a_directory() {
        let text = "# A\n### `crates/jobs`: library\ntext `crates/other`\n## `crates/no`\n";
        assert_eq!(
            headings(text).into_iter().collect::<Vec<_>>(),
            ["crates/jobs"]
        );
    }
}
